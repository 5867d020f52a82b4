"""Fine-step end points, and how far from them other runs end."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..diffusion.solvers import Solver
from ..fit.surrogate import Track, integration_error, joined, measured_slope
from ..plan import FEWEST, Plan
from ..runs.failures import checked_end
from ..runs.meter import NotFiniteError
from ..runs.runner import Runner
from .end_points import MANY, Shown
from .select import FINALISTS, Candidate

__all__ = ["PairedErrors", "References", "refinement_track"]

LARGEST_KEPT = 2**18  # elements of samples whose end points are kept to be looked at


class References:
    """End points of a fine-step reference, batch after batch of noise.

    ends:  of every batch, the elements [B, E] that are compared
    tracked: the batches that schedules are refined on; the others are fresh to them
    whole: the end points [B, ...] of these, until they are taken
    fine:  levels of the runs, ending in 0
    shown: where the first fresh noise ends, if samples are not large: every candidate's end is
           recorded

    Arguments:
        every: the coarse run beside a reference takes every so many-th level.
    """

    def __init__(self, runner: Runner, fine: Tensor, every: int):
        self.runner, self.fine = runner, fine
        self.ends: list[Tensor] = []
        self.tracked: list[int] = []
        self.whole: list[Tensor] = []
        self.shown, self.shown_batch = Shown(LARGEST_KEPT), -1
        self._coarse = torch.cat([fine[:-1:every], fine[-1:]])
        self._errors: list[float] = []

    @property
    def cost(self) -> int:
        """Rows that a reference of one batch takes."""
        calls = self.runner.lab.problem.solver.reference_calls
        return (len(self.fine) - 1) * calls * self.runner.batch

    @property
    def error(self) -> float:
        """Their own mean RMS error by estimate; NaN if their runs pass through no meter."""
        return float(np.mean(self._errors)) if self._errors else math.nan

    def take_whole(self) -> list[Tensor]:
        """The end points [B, ...] of the tracked ones, held no longer: they may be large."""
        whole, self.whole = self.whole, []
        return whole

    def add(self) -> None:
        """Compute the end points of the next batch."""
        problem, batch = self.runner.lab.problem, len(self.ends)

        def measure() -> dict[str, Tensor]:
            end = self.runner.run("reference", problem.solver.reference, batch, self.fine)
            shown = self.shown.part(end) if batch == self.shown_batch else {}
            return {"end": problem.compared(checked_end(end, self.fine)), **shown}

        if self.shown_batch < 0:
            self.shown_batch = batch
        found = self.runner.once("reference", batch, [self.fine], measure)
        self.ends.append(found["end"])
        self.shown.keep(MANY, found)

    def add_tracked(self, check: Callable[[], None] | None = None) -> tuple[Track, Track] | None:
        """Compute them with what the runs visited, and a coarse run of the judged solver beside.

        check: called after every call

        None if the runs pass through no meter, or the coarse one fails.
        """
        problem, batch = self.runner.lab.problem, len(self.ends)
        run = partial(self.runner.tracked, "reference", batch=batch, check=check)

        def measure() -> dict[str, Tensor]:
            end, fine = run(solver=problem.solver.reference, sigmas=self.fine)
            found = {"end": checked_end(end, self.fine)}
            if fine is None:
                return found
            found |= fine.to_tensors("fine")
            try:
                _, coarse = run(solver=problem.solver.run, sigmas=self._coarse)
            except NotFiniteError:  # without it nothing is refined, but all can be compared
                return found
            assert coarse is not None  # the meter that has seen the one has seen the other
            return {**found, **coarse.to_tensors("coarse")}

        found = self.runner.once("tracked reference", batch, [self.fine, self._coarse], measure)
        self.whole.append(found["end"])
        self.tracked.append(batch)
        self.ends.append(problem.compared(found["end"]))
        fine, coarse = (Track.from_tensors(found, name) for name in ("fine", "coarse"))
        if fine is None or coarse is None:
            return None
        slope = measured_slope(fine, coarse)
        self._errors += integration_error(fine, slope).tolist()
        return fine, coarse


class PairedErrors:
    """Distances of a schedule's end points from the references of the same noises.

    RMS distances per element, one a noise.
    """

    def __init__(self, references: References):
        self._references, self._runner = references, references.runner
        self._lab = references.runner.lab
        self._made = 0  # runs
        self._known: dict[tuple[int, bytes], list[float]] = {}

    def of(self, candidate: Candidate, batch: int) -> list[float] | None:
        """Errors of a schedule on one batch; None when the budget is spent.

        Of a schedule that was run they are known, whatever its name.
        A batch beyond the references is added if its reference and the finalists' runs fit; it ends
        the comparison if its reference fails. The errors of a schedule that fails, or has failed,
        are infinite.
        """
        infinite = [math.inf] * self._runner.batch
        if candidate.sigmas in self._lab.failed:
            return infinite
        key = batch, candidate.sigmas.numpy().tobytes()
        if key in self._known:
            return self._known[key]
        cost = self._runner.cost(len(candidate.sigmas) - 1)
        if batch == len(self._references.ends) and not self._add_reference(cost):
            return None
        if not self._lab.ledger.fits(cost):
            return None

        def measure() -> dict[str, Tensor]:
            ends, errors = self.end_points(candidate.sigmas, batch)
            shown = batch == self._references.shown_batch
            return {"errors": errors, **(self._references.shown.part(ends) if shown else {})}

        self._made += 1
        found = self._runner.tried("candidates", batch, candidate.sigmas, measure)
        if found is None:
            return infinite
        self._references.shown.keep(candidate.name, found)
        self._known[key] = found["errors"].tolist()
        return self._known[key]

    def _add_reference(self, run: int) -> bool:
        """Add a reference if it fits with the runs on it, of so many rows each."""
        ledger, references = self._lab.ledger, self._references
        first = self._made == 0
        if not ledger.fits(references.cost + (FEWEST if first else FINALISTS) * run):
            return False
        try:
            references.add()
        except NotFiniteError as error:
            if first:
                raise
            self._lab.failed.end(error.levels)
            return False
        if first:
            once = self._runner.cost(self._lab.problem.steps)
            ledger.owe(lambda: max(0, FEWEST - self._made) * once)
        return True

    def end_points(
        self, sigmas: Tensor, batch: int, solver: Solver | None = None
    ) -> tuple[Tensor, Tensor]:
        """End points [B, ...] of the judged solver, and their distances from the references [B].

        solver: another one in its place, whose calls pass through the same meter

        Whatever is left of the budget. Raises NotFiniteError for a schedule that fails.
        """
        problem = self._lab.problem
        end = self._runner.run("candidates", solver or problem.solver.run, batch, sigmas)
        end = checked_end(end, sigmas)
        known = self._references.ends[batch]
        reference = known[self._lab.processes.rows(len(known))].to(end.device)
        difference = problem.compared(end).double() - reference.double()
        return end, difference.square().mean(1).sqrt()


def refinement_track(
    references: References, plan: Plan, sigmas: Tensor, batches: int
) -> Track | None:
    """Track the judged solver with a schedule on the first so many batches of noise.

    None when refinement's share of the budget does not allow all of them, or a run fails.
    """
    runner = references.runner
    lab = runner.lab
    once = runner.cost(len(sigmas) - 1)
    cost = batches * once
    spent = lab.ledger.spent.get("refinement", 0) + cost
    comparison = FEWEST * once  # must stay affordable
    if len(references.ends) == len(references.tracked):
        comparison += references.cost

    def affordable(rows: int) -> bool:
        return spent <= plan.refinement(rows) and cost + comparison <= rows - lab.ledger.made

    if not lab.ledger.decide(affordable):
        return None

    def measure(batch: int) -> dict[str, Tensor]:
        track = runner.tracked("refinement", lab.problem.solver.run, batch, sigmas)[1]
        assert track is not None  # there is a surrogate, so there is a meter
        return track.to_tensors("run")

    tracks = []
    for k in references.tracked[:batches]:
        found = runner.tried("refinement", k, sigmas, partial(measure, k))
        track = None if found is None else Track.from_tensors(found, "run")
        if track is None:
            return None
        tracks.append(track)
    return joined(tracks)
