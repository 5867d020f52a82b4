"""Runs of a stochastic solver, a schedule beside another along one Brownian path."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..diffusion.brownian import BROWNIAN, BrownianPath
from ..diffusion.noise import generators, unit_noise
from ..plan import FEWEST_BY_DISTRIBUTION, FEWEST_NOISES
from ..runs.failures import checked_end
from ..runs.meter import NotFiniteError
from .references import References

__all__ = ["DistributionRuns"]

PATHS_HELD = 2**30  # bytes of Brownian paths that the noises run together may take


class DistributionRuns:
    """Runs of a stochastic solver on batch after batch of noise, never used before.

    fine: levels of the runs that all others are compared with, ending in 0
    """

    def __init__(self, references: References, fine: Tensor):
        self.fine = fine
        self._first = len(references.ends)
        self.runner = references.runner
        self._lab = references.runner.lab
        self._batches = 0
        self._cost = 0

    def cost(self, schedules: Sequence[Tensor]) -> int:
        """Calls that a batch of noise takes: a fine run, and one of every schedule."""
        return self.runner.cost(sum(len(levels) - 1 for levels in (self.fine, *schedules)))

    def ends(self, schedules: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]] | None:
        """End points of the stochastic solver on the next batch.

        Those of its fine run and of every schedule, all along the same Brownian paths, [B, E] each,
        infinite for a schedule that fails or has failed; None when the budget is spent, or the fine
        run fails and there are enough noises without.

        Raises NotFiniteError where there are not.
        """
        self._cost = self.cost(schedules)
        self._lab.ledger.owe(self._owed)
        if not self._lab.ledger.fits(self._cost):
            return None
        size, batch = self.runner.batch, self._first + self._batches
        self._batches += 1
        failed, together = self._lab.failed, (self.fine, *schedules)
        own = range(size)[self._lab.processes.rows(size)]
        held = self._held_at_once()

        def measure() -> dict[str, Tensor]:
            groups = [
                self._along_one_path(batch, slice(k, k + held), own, together)
                for k in range(0, len(own), held)
            ]
            ends = [torch.cat(parts) for parts in zip(*groups, strict=True)]
            return {"ends": torch.stack(ends), **failed.to_tensors(schedules)}

        try:
            found = self.runner.once("law", batch, together, measure)
        except NotFiniteError as error:
            if (self._batches - 1) * size < FEWEST_NOISES:
                raise
            failed.end(error.levels)
            return None
        failed.remember(schedules, found)
        end, *ends = found["ends"]
        return end, ends

    def _owed(self) -> int:
        """Rows that the smallest honest comparison still takes."""
        return max(0, -(-FEWEST_BY_DISTRIBUTION // self.runner.batch) - self._batches) * self._cost

    def _held_at_once(self) -> int:
        """Noises whose Brownian paths are held together."""
        path = 4 * self._cost // self.runner.batch * self._lab.problem.dim  # in bytes
        return max(1, min(self.runner.batch, PATHS_HELD // path))

    def _along_one_path(
        self, batch: int, rows: slice, own: range, schedules: Sequence[Tensor]
    ) -> list[Tensor]:
        """End points from some of the own rows, as far as they are compared."""
        problem, failed = self._lab.problem, self._lab.failed
        first = batch * self.runner.batch
        sources = generators(problem.seed, BROWNIAN, (first + row for row in own[rows]))
        path = BrownianPath(lambda: unit_noise(sources, problem.shape))
        stochastic = problem.solver.stochastic
        assert stochastic is not None

        def along(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
            return stochastic(noise, sigmas, path)

        def end(phase: str, levels: Tensor) -> Tensor:
            run = self.runner.run(phase, along, batch, levels, rows)
            return problem.compared(checked_end(run, levels))

        fine, *others = schedules
        ends = [end("law reference", fine)]
        for levels in others:
            ends.append(torch.full_like(ends[0], math.inf))
            if levels not in failed:
                try:
                    ends[-1] = end("candidates", levels)
                except NotFiniteError as error:
                    failed.add(levels, error.levels)
        return ends
