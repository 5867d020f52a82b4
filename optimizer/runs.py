"""Solver runs and profile paths of one optimisation: one meter, one budget, one stream of noise."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from .budget import Budget
from .coordinate import Coordinate
from .failures import Failures, checked_end
from .finish import Finish
from .journal import Journal, Stages, digest_of_runs
from .meter import Meter, NotFiniteError
from .noise import SELECTION, generators, unit_noise
from .profile import Denoiser, Profile
from .ranks import OneProcess, Ranks
from .select import FINALISTS, Candidate
from .solvers import (
    DETERMINISTIC_TWIN,
    Solver,
    StochasticSolver,
    builtin_solver,
    reference_solver,
    stochastic_solver,
)
from .surrogate import ELEMENTS, Track, integration_error, joined, measured_slope

__all__ = ["CONTINUED", "Better", "Progress", "Runs"]

REFINEMENT_SHARE = 0.30  # of the budget, for real runs on the noises that schedules are refined on
PROFILE_LEVELS = 32
FEWEST = 3  # candidates compared, however small the budget
FEWEST_BY_LAW = 3  # noises on which the law of samples has a standard error
COMPARED = 2**18  # elements of an end point that are kept to compare with: enough for any RMS

Progress = Callable[[str, int], None]  # (phase, denoiser rows spent so far)
Better = Callable[[Tensor], None]  # (levels [n+1] of the best schedule so far)
CONTINUED = "continued"  # the phase told while rows are those of an interrupted optimisation
ROWS = "rows, "  # before a phase: the name of the rows that a recorded run has spent


class Runs:
    """Runs schedules from shared initial noises and measures how far from the reference they end.

    Noise comes in batches 0, 1, 2, ... of equal size; every batch has one reference end point a
    noise. Arguments as for `optimize`. On several ranks each runs its own rows of a batch.

    budget: which a limit may lower, but never below what the smallest honest comparison takes
    failed: the schedules whose runs came out as NaN or infinity
    whole:  the end points [B, ...] of the tracked references, as long as the caller leaves them
    ends:   of every reference, the elements [B, E] that are compared
    """

    def __init__(
        self,
        denoise: Denoiser,
        solver: str | Solver,
        reference: Solver | None,
        meter: Meter | None,
        shape: Sequence[int],
        seed: int,
        budget: int,
        progress: Progress | None,
        journal: Journal | None = None,
        elements: Tensor | None = None,
        finish: Finish | None = None,
        better: Better | None = None,
        ranks: Ranks | OneProcess | None = None,
    ):
        self.ranks = ranks or OneProcess()
        journal, finish = self.ranks.shared(journal, finish)
        self.stages = Stages(journal)
        self.stage: int | None = None  # its batch of noise
        self.calls_per_step = getattr(solver, "calls_per_step", 2 if solver == "heun" else 1)
        self.metered = meter is not None
        self.meter = meter or Meter()
        self.charged = -self.meter.rows  # a meter of the caller's may have counted before
        self.spent: dict[str, int] = {}
        self.shape, self.seed, self.progress = shape, seed, progress
        self.budget = Budget(budget, finish)
        self.failed = Failures()
        self.twin_share = 1.0  # of the budget, for the deterministic solver
        self.recalled = 0  # rows of an interrupted optimisation
        self.about = ""  # what is recorded, if it depends on more than the levels run
        self.check: Callable[[], None] | None = None  # called after every call of a tracked run
        self.better, self.best = better, torch.empty(0)
        self.fine, self.batch, self.steps = torch.zeros(1), 0, 0
        self.rivals = -1  # schedules run from fresh noise; -1: there is no reference for it yet
        self.whole: list[Tensor] = []
        self.ends: list[Tensor] = []
        self.law_batches, self.law_cost = 0, 0
        counted = np.arange(math.prod(shape)) if elements is None else elements.numpy()
        self.compared, self.elements = _some(counted, COMPARED), _some(counted, ELEMENTS)
        self.reference_errors: list[float] = []
        self.denoise = denoise if meter is not None else self._metered(denoise)
        self.solver = self._solver(solver)
        self.stochastic = self._stochastic(solver)
        if isinstance(solver, str) and reference is None:
            self.reference_order, self.reference_calls = 3, 1
            self.reference = reference_solver(self.denoise)
        else:
            fine = reference or self.solver
            self.reference_order = getattr(fine, "order", 2)
            self.reference_calls = getattr(fine, "calls_per_step", self.calls_per_step)
            self.reference = self._charged(fine, self.reference_calls) if reference else fine

    def _solver(self, solver: str | Solver) -> Solver:
        """The solver that is judged."""
        if not isinstance(solver, str):
            return self._charged(solver, self.calls_per_step)
        return builtin_solver(DETERMINISTIC_TWIN.get(solver, solver), self.denoise)

    def _stochastic(self, solver: str | Solver) -> StochasticSolver | None:
        """The solver itself where it is to be judged by the law of its samples."""
        if isinstance(solver, str):
            return stochastic_solver(solver, self.denoise) if solver in DETERMINISTIC_TWIN else None
        # Without a common meter nobody would know what its runs cost.
        return getattr(solver, "stochastic", None) if self.metered else None

    def _charged(self, solver: Solver, calls_per_step: int) -> Solver:
        """A Solver of the caller's: without a common meter, its runs cost what it is said to."""
        if self.metered:
            return solver

        def run(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
            self.charged += (len(sigmas) - 1) * calls_per_step * len(noise)
            return solver(noise, sigmas, seed)

        return run

    def begin(
        self,
        fine: Tensor,
        every: int,
        batch: int,
        steps: int,
        coordinate: Coordinate,
        noises: int | None = None,
        first: Tensor | None = None,
    ) -> None:
        """Set the noises in a batch, the levels of the reference runs, and the steps of the others.

        fine:   ends in 0
        every:  the coarse run beside a reference takes every so many-th level
        steps:  optimised for, or the most that are compared
        noises: how many there are: the last batch may be smaller; None: any number
        first:  [...] in the place of the first noise
        """
        self.fine, self.batch, self.steps, self.current = fine, batch, steps, -1
        self.noises, self.first = noises, first
        self.coarse = torch.cat([fine[:-1:every], fine[-1:]])
        self.coordinate = coordinate

    def know(self, profile: Profile) -> None:
        """None is measured, because this one is given."""
        self.spent["profile"] = 0
        self.about = f"with profile {profile.digest}, "
        self.ranks.kept = profile

    @property
    def left(self) -> int:
        """Denoiser rows left of the budget."""
        return self.budget.rows - self.made

    @property
    def made(self) -> int:
        """Denoiser rows spent."""
        return self.meter.rows + self.charged

    @property
    def owed(self) -> int:
        """Rows that the smallest honest comparison still takes."""
        if self.law_cost:
            batches = -(-FEWEST_BY_LAW // self.batch) - self.law_batches
            return max(0, batches) * self.law_cost
        once = self.cost(self.steps)
        if self.rivals >= 0:
            return max(0, FEWEST - self.rivals) * once
        profile = 0 if "profile" in self.spent else PROFILE_LEVELS
        return profile + self.reference_cost + FEWEST * once

    def fits(self, rows: int) -> bool:
        """Whether so many more rows may be spent."""
        return self.budget.decided(lambda budget: rows <= budget - self.made)

    def ask(self) -> None:
        """Ask a limit what it leaves; on several ranks, between the runs of batches only."""
        if not self.ranks.apart:
            self.budget.ask(self.made, self.made - self.recalled, self.owed)

    def lead(self, candidate: Candidate) -> None:
        """Tell of the best schedule so far, if it is another than before."""
        if self.better is not None and not torch.equal(self.best, candidate.sigmas):
            self.best = candidate.sigmas
            self.better(candidate.sigmas)

    def cost(self, steps: int) -> int:
        """Rows that a run of so many steps on one batch takes at most."""
        return steps * self.calls_per_step * self.batch

    @property
    def reference_cost(self) -> int:
        """Rows that a reference run of one batch takes."""
        return (len(self.fine) - 1) * self.reference_calls * self.batch

    def add_reference(self) -> None:
        """Compute the end points of the next batch of noise."""
        batch = len(self.ends)

        def measure() -> dict[str, Tensor]:
            end = self.run("reference", self.reference, batch, self.fine)
            return {"end": self.compared_of(checked_end(end, self.fine))}

        self.ends.append(self.once("reference", batch, [self.fine], measure)["end"])

    def add_tracked_reference(self) -> tuple[Track, Track] | None:
        """The same, with what the runs visited, and a coarse run of the judged solver beside them.

        None if the runs pass through no meter, or the coarse one fails.
        """
        batch = len(self.ends)

        def measure() -> dict[str, Tensor]:
            end, fine = self._tracked("reference", self.reference, batch, self.fine)
            found = {"end": checked_end(end, self.fine)}
            if fine is None:
                return found
            found |= fine.to_tensors("fine")
            try:
                _, coarse = self._tracked("reference", self.solver, batch, self.coarse)
            except NotFiniteError:  # without it nothing is refined, but all can be compared
                return found
            assert coarse is not None  # the meter that has seen the one has seen the other
            return {**found, **coarse.to_tensors("coarse")}

        found = self.once("tracked reference", batch, [self.fine, self.coarse], measure)
        self.whole.append(found["end"])
        self.ends.append(self.compared_of(found["end"]))
        fine, coarse = (Track.from_tensors(found, name) for name in ("fine", "coarse"))
        if fine is None or coarse is None:
            return None
        slope = measured_slope(fine, coarse)
        self.reference_errors += integration_error(fine, slope).tolist()
        return fine, coarse

    @property
    def reference_error(self) -> float:
        """The references' own mean error by estimate; NaN if their runs pass through no meter."""
        return float(np.mean(self.reference_errors)) if self.reference_errors else math.nan

    def track(self, sigmas: Tensor, batches: int) -> Track | None:
        """What the judged solver visits with a schedule on the first so many batches of noise.

        None when refinement's share of the budget does not allow all of them, or a run fails.
        """
        once = self.cost(len(sigmas) - 1)
        cost = batches * once
        spent = self.spent.get("refinement", 0) + cost
        comparison = self.reference_cost + FEWEST * once  # must stay affordable

        def affordable(budget: int) -> bool:
            share = REFINEMENT_SHARE * int(self.twin_share * budget)
            return spent <= share and cost + comparison <= budget - self.made

        if not self.budget.decided(affordable):
            return None

        def measure(batch: int) -> dict[str, Tensor]:
            track = self._tracked("refinement", self.solver, batch, sigmas)[1]
            assert track is not None  # there is a surrogate, so there is a meter
            return track.to_tensors("run")

        tracks = []
        for k in range(batches):
            found = self._judged("refinement", k, sigmas, partial(measure, k))
            track = None if found is None else Track.from_tensors(found, "run")
            if track is None:
                return None
            tracks.append(track)
        return joined(tracks)

    def refining(self) -> bool:
        """Report progress while schedules are refined without a call: the caller may cancel.

        Returns whether to go on: a limit may leave no time for more.
        """
        self.tell("refinement")
        self.budget.ended_early |= self.budget.finishing
        return not self.budget.finishing

    def _tracked(
        self, phase: str, solver: Solver, batch: int, sigmas: Tensor
    ) -> tuple[Tensor, Track | None]:
        """A run's end point, and x and D on the kept elements at every level visited.

        Solvers with two calls a step visit a level twice: the later state is on the trajectory.

        Raises NotFiniteError also for numbers that are too large for single precision on the way.
        """
        visited: dict[float, tuple[np.ndarray, np.ndarray]] = {}

        def note(level: float, x: Tensor, D: Tensor) -> None:
            visited[level] = self._kept(x), self._kept(D)
            if self.check is not None:
                self.check()

        self.meter.observe = note
        try:
            end = self.run(phase, solver, batch, sigmas)
        finally:
            self.meter.observe = None
        if not visited:
            return end, None
        levels = np.array(sorted(visited))
        t = self.coordinate.finite_edm(levels)
        scale = t / self.coordinate.noise(levels)  # a host's x is b(s)/t times EDM's
        x = np.stack([c * visited[s][0] for s, c in zip(levels, scale, strict=True)])
        D = np.stack([visited[s][1] for s in levels])
        if len(wrong := levels[~np.isfinite(x).all((1, 2))]):
            raise NotFiniteError("The sampler's values became infinite", wrong[-1:])
        return end, Track(np.log(t), x, D, self._kept(checked_end(end, sigmas)))

    def _kept(self, x: Tensor) -> np.ndarray:
        return x.flatten(1)[:, self.elements.to(x.device)].cpu().double().numpy()

    def compared_of(self, end: Tensor) -> Tensor:
        """The elements [B, E] of end points [B, ...] that are compared."""
        return end.flatten(1)[:, self.compared.to(end.device)]

    def errors(self, candidate: Candidate, batch: int) -> list[float] | None:
        """RMS distance per element to the reference, per noise; None when the budget is spent.

        A batch beyond the references is added if its reference and the finalists' runs fit; it ends
        the comparison if its reference fails. The errors of a schedule that fails, or has failed,
        are infinite.
        """
        if candidate.sigmas in self.failed:
            return [math.inf] * self.batch
        cost = self.cost(len(candidate.sigmas) - 1)
        if batch == len(self.ends):
            runs = FINALISTS if "candidates" in self.spent else FEWEST
            if not self.fits(self.reference_cost + runs * cost):
                return None
            try:
                self.add_reference()
            except NotFiniteError as error:
                if self.rivals < 0:
                    raise
                self.failed.end(error.levels)
                return None
            self.rivals = max(self.rivals, 0)
        if not self.fits(cost):
            return None

        def measure() -> dict[str, Tensor]:
            return {"errors": self.end_points(candidate.sigmas, batch)[1]}

        self.rivals += 1
        found = self._judged("candidates", batch, candidate.sigmas, measure)
        return [math.inf] * self.batch if found is None else found["errors"].tolist()

    def end_points(self, sigmas: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """Where the judged solver ends [B, ...], and how far from the references [B].

        RMS distances per element, whatever is left of the budget.

        Raises NotFiniteError for a schedule that fails.
        """
        end = checked_end(self.run("candidates", self.solver, batch, sigmas), sigmas)
        reference = self.ends[batch][self.ranks.rows(len(self.ends[batch]))]
        return end, _rmse(self.compared_of(end), reference.to(end.device))

    def _judged(
        self, what: str, batch: int, sigmas: Tensor, measure: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor] | None:
        """As `once`, of one schedule: None if it fails, or has failed before."""

        def attempt() -> Mapping[str, Tensor]:
            try:
                return measure()
            except NotFiniteError as error:
                self.failed.add(sigmas, error.levels)
                return self.failed.to_tensors([sigmas])

        if sigmas not in self.failed:
            found = self.once(what, batch, [sigmas], attempt)
            self.failed.remember([sigmas], found)
        return None if sigmas in self.failed else found

    def once(
        self,
        what: str,
        batch: int,
        schedules: Sequence[Tensor],
        measure: Callable[[], Mapping[str, Tensor]],
        gathered: bool = False,
    ) -> Mapping[str, Tensor]:
        """What `measure` finds with schedules on one batch of noise, or had found once before.

        The rows are charged either way. gathered: `measure` itself gathers from all ranks.
        """
        if batch != self.stage:
            self.stages.begin()
            self.stage = batch
        run = f"{self.about}{what} {digest_of_runs((self.batch, *self.shape), schedules)}"
        known = self.stages.recall(run)
        if known is None:
            before = Counter(self.spent)
            found = measure() if gathered else self.together(f"{what}, {run}", measure)
            spent = {ROWS + k: torch.tensor(rows - before[k]) for k, rows in self.spent.items()}
            self.stages.note(run, {**found, **spent})
            return found
        for name, rows in known.items():
            if name.startswith(ROWS):
                phase = name.removeprefix(ROWS)
                self.spent[phase] = self.spent.get(phase, 0) + int(rows)
                self.charged += int(rows)
                self.recalled += int(rows)
        self.current = -1  # an uninterrupted optimisation would have other calls in memory
        self.tell(CONTINUED)
        return known

    def together(
        self, what: str, measure: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        """What all ranks find in their rows of one batch, all of which are counted."""
        try:
            found = self.ranks.together(what, measure, self.spent)
        finally:
            self.charged += sum(self.spent.values()) - self.made  # what others have computed
        if self.ranks.size > 1:
            self.ask()
        return found

    def run(
        self, phase: str, solver: Solver, batch: int, sigmas: Tensor, rows: slice = slice(None)
    ) -> Tensor:
        """One run on one batch of noise, or some rows of it, charged to a phase."""
        if batch != self.current:
            self.noise = self._noise(batch)
            self.current = batch
            self.meter.forget()
        self.ask()
        before = self.made
        noise = self.noise[rows]
        try:
            x_0 = solver(noise, sigmas, (self.seed + batch) % 2**63)
        finally:
            self.spent[phase] = self.spent.get(phase, 0) + self.made - before
        if x_0.shape != noise.shape:
            raise ValueError(
                f"The solver returned shape {list(x_0.shape)} for noise of shape "
                f"{list(noise.shape)}: it must return end points of the same shape."
            )
        self.tell(phase)
        return x_0

    def _noise(self, batch: int) -> Tensor:
        """This rank's noises of a batch, [B, ...]."""
        end = (batch + 1) * self.batch
        indices = range(batch * self.batch, end if self.noises is None else min(end, self.noises))
        own = indices[self.ranks.rows(len(indices))]
        noise = unit_noise(generators(self.seed, SELECTION, own), self.shape)
        if batch == 0 and self.first is not None:
            noise[0] = self.first
        return noise

    def tell(self, phase: str) -> None:
        """Report progress, and ask a limit."""
        if self.progress is not None:
            self.progress(phase, self.made)
        self.ask()

    def _metered(self, denoise: Denoiser) -> Denoiser:
        """The denoiser behind this object's meter."""

        def metered(x: Tensor, sigma: Tensor) -> Tensor:
            return self.meter(x, float(sigma[0]), lambda: denoise(x, sigma))

        return metered


def _some(elements: np.ndarray, count: int) -> Tensor:
    """So many of the elements at most, always the same ones."""
    chosen = np.random.default_rng(0).permutation(elements)[:count]
    return torch.from_numpy(np.sort(chosen))


def _rmse(x: Tensor, end: Tensor) -> Tensor:
    """RMS distance per element [B, E], of each sample."""
    return (x.double() - end.double()).square().mean(1).sqrt()
