"""Runs of solvers on batch after batch of noise: charged, watched, recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..diffusion.noise import SELECTION, generators, unit_noise
from ..diffusion.solvers import Solver
from ..fit.surrogate import Track
from ..session import Lab
from .failures import checked_end
from .journal import digest_of_runs
from .meter import NotFiniteError
from .processes import Measure

__all__ = ["CONTINUED", "Runner"]

CONTINUED = "continued"  # the phase told while rows are those of an interrupted optimisation


class Runner:
    """Runs solvers from the noises of one stream, in batches 0, 1, 2, ... of equal size.

    Of several processes each runs its own rows of a batch.

    Arguments:
        batch: noises in a batch.
        noises: how many there are: the last batch may be smaller; None: any number.
        first: [...] in the place of the first noise.
    """

    def __init__(
        self, lab: Lab, batch: int, *, noises: int | None = None, first: Tensor | None = None
    ):
        self.lab, self.batch = lab, batch
        self._noises, self._first = noises, first
        self._current = -1  # the batch whose noise is at hand, and whose calls are remembered
        self._noise = torch.empty(0)

    def cost(self, steps: int) -> int:
        """Rows that a run of so many steps on one batch takes at most."""
        return steps * self.lab.problem.solver.calls_per_step * self.batch

    def run(
        self, phase: str, solver: Solver, batch: int, sigmas: Tensor, rows: slice = slice(None)
    ) -> Tensor:
        """End points [B, ...] of one run on a batch, or some of this process' rows of it."""
        problem = self.lab.problem
        if batch != self._current:
            self._noise = self._noise_of(batch)
            self._current = batch
            problem.solver.meter.forget()
        self.lab.ask()
        noise = self._noise[rows]
        own = self._own(batch)[rows]
        with self.lab.ledger.charging(phase), problem.solver.conditions.of(own):
            x_0 = solver(noise, sigmas, (problem.seed + batch) % 2**63)
        if x_0.shape != noise.shape:
            raise ValueError(
                f"The solver returned shape {list(x_0.shape)} for noise of shape "
                f"{list(noise.shape)}: it must return end points of the same shape."
            )
        self.lab.tell(phase)
        return x_0

    def tracked(
        self,
        phase: str,
        solver: Solver,
        batch: int,
        sigmas: Tensor,
        check: Callable[[], None] | None = None,
    ) -> tuple[Tensor, Track | None]:
        """A run's end points, and x and D on some elements at every level visited.

        check: called after every call

        Solvers with two calls a step visit a level twice: the later state is on the trajectory.
        None for runs that pass through no meter.

        Raises NotFiniteError also for numbers that are too large for single precision on the way.
        """
        problem = self.lab.problem
        visited: dict[float, tuple[np.ndarray, np.ndarray]] = {}

        def note(level: float, x: Tensor, D: Tensor) -> None:
            visited[level] = problem.tracked(x), problem.tracked(D)
            if check is not None:
                check()

        with problem.solver.meter.observed(note):
            end = self.run(phase, solver, batch, sigmas)
        if not visited:
            return end, None
        levels = np.array(sorted(visited))
        t = problem.coordinate.finite_edm(levels)
        scale = t / problem.coordinate.noise(levels)  # a host's x is b(s)/t times EDM's
        x = np.stack([c * visited[s][0] for s, c in zip(levels, scale, strict=True)])
        D = np.stack([visited[s][1] for s in levels])
        if len(wrong := levels[~np.isfinite(x).all((1, 2))]):
            raise NotFiniteError("The sampler's values became infinite", wrong[-1:])
        return end, Track(np.log(t), x, D, problem.tracked(checked_end(end, sigmas)))

    def once(
        self,
        what: str,
        batch: int,
        schedules: Sequence[Tensor],
        measure: Measure,
        gathered: bool = False,
    ) -> Mapping[str, Tensor]:
        """Measure with schedules on one batch of noise, or recall what was found once before.

        The rows are charged either way. gathered: `measure` itself gathers.
        """
        record = self.lab.record
        runs = digest_of_runs((self.batch, *self.lab.problem.shape), schedules)
        run = f"{what} of batch {batch} {runs}"
        known = record.recall(batch, run)
        if known is None:
            return record.make(what, run, measure, gathered)
        self.forget()  # an uninterrupted optimisation would have other calls in memory
        self.lab.tell(CONTINUED)
        return known

    def tried(
        self, what: str, batch: int, sigmas: Tensor, measure: Measure
    ) -> Mapping[str, Tensor] | None:
        """As `once`, of one schedule: None if it fails, or has failed before."""
        failed = self.lab.failed

        def attempt() -> Mapping[str, Tensor]:
            try:
                return measure()
            except NotFiniteError as error:
                failed.add(sigmas, error.levels)
                return failed.to_tensors([sigmas])

        if sigmas in failed:
            return None
        found = self.once(what, batch, [sigmas], attempt)
        failed.remember([sigmas], found)
        return None if sigmas in failed else found

    def forget(self) -> None:
        """Forget the batch at hand, because something else was run."""
        self._current = -1
        self.lab.problem.solver.meter.forget()

    def noises(self, batch: int) -> range:
        """The numbers of the noises of a batch."""
        end = (batch + 1) * self.batch
        last = end if self._noises is None else min(end, self._noises)
        return range(batch * self.batch, last)

    def _own(self, batch: int) -> range:
        """The numbers of this process' noises of a batch."""
        indices = self.noises(batch)
        return indices[self.lab.processes.rows(len(indices))]

    def _noise_of(self, batch: int) -> Tensor:
        """This process' noises of a batch, [B, ...]."""
        problem = self.lab.problem
        sources = generators(problem.seed, SELECTION, self._own(batch))
        noise = unit_noise(sources, problem.shape)
        if batch == 0 and self._first is not None:
            noise[0] = self._first
        return noise
