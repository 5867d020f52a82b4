"""Runs of a stochastic solver, a schedule beside another along one Brownian path."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .brownian import BROWNIAN, BrownianPath
from .failures import checked_end
from .meter import NotFiniteError
from .noise import generators, unit_noise
from .pool import SHORTLIST
from .runs import Runs

__all__ = ["FEWEST_NOISES", "batch_cost", "law_cost", "law_ends", "law_fits", "law_reference_steps"]

FEWEST_NOISES = 8  # on fewer than these a standard deviation says too little
TWIN_SPENT = 0.4  # of the budget, at most: nothing is compared by the twin's errors
PATHS_HELD = 2**30  # bytes of Brownian paths that the noises run together may take


def law_reference_steps(steps: int) -> int:
    """Steps of the stochastic solver's fine runs."""
    return max(24, 3 * steps + 2)


def law_cost(steps: int, runs: Runs) -> int:
    """Calls that one noise takes to be compared by the law of its samples."""
    return (law_reference_steps(steps) + SHORTLIST * steps) * runs.calls_per_step


def law_fits(budget: int, steps: int, runs: Runs) -> bool:
    """Whether a solver can be judged by the law of its samples with a budget."""
    # What is enough for this is far more than the least that a plan for the twin takes.
    enough = FEWEST_NOISES * law_cost(steps, runs)
    return runs.stochastic is not None and enough <= (1.0 - TWIN_SPENT) * budget


def batch_cost(runs: Runs, fine: Tensor, schedules: Sequence[Tensor]) -> int:
    """Calls that a batch of noise takes: a fine run, and one of every schedule."""
    return runs.cost(sum(len(levels) - 1 for levels in (fine, *schedules)))


def law_ends(
    runs: Runs, fine: Tensor, schedules: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]] | None:
    """End points of the stochastic solver on the next batch of noise, never used before.

    Those of its fine run and of every schedule, all along the same Brownian paths, [B, E] each,
    infinite for a schedule that fails or has failed; None when the budget is spent, or the fine run
    fails and there are enough noises without.

    Raises NotFiniteError where there are not.
    """
    runs.law_cost = batch_cost(runs, fine, schedules)
    if not runs.fits(runs.law_cost):
        return None
    batch = len(runs.ends) + runs.law_batches
    runs.law_batches += 1
    point = 4 * runs.law_cost // runs.batch * math.prod(runs.shape)  # a path's, in bytes
    size = max(1, min(runs.batch, PATHS_HELD // point))
    own = range(runs.batch)[runs.ranks.rows(runs.batch)]
    together = (fine, *schedules)

    def measure() -> dict[str, Tensor]:
        groups = [
            _along_one_path(runs, batch, slice(k, k + size), own, together)
            for k in range(0, len(own), size)
        ]
        ends = [torch.cat(parts) for parts in zip(*groups, strict=True)]
        return {"ends": torch.stack(ends), **runs.failed.to_tensors(schedules)}

    try:
        found = runs.once("law", batch, together, measure)
    except NotFiniteError as error:
        if (runs.law_batches - 1) * runs.batch < FEWEST_NOISES:
            raise
        runs.failed.end(error.levels)
        return None
    runs.failed.remember(schedules, found)
    end, *ends = found["ends"]
    return end, ends


def _along_one_path(
    runs: Runs, batch: int, rows: slice, own: range, schedules: Sequence[Tensor]
) -> list[Tensor]:
    """What is compared of the stochastic solver's end points, from some of the own rows."""
    first = batch * runs.batch
    sources = generators(runs.seed, BROWNIAN, (first + row for row in own[rows]))
    path = BrownianPath(lambda: unit_noise(sources, runs.shape))
    stochastic = runs.stochastic
    assert stochastic is not None

    def along(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        return stochastic(noise, sigmas, path)

    def end(phase: str, levels: Tensor) -> Tensor:
        run = runs.run(phase, along, batch, levels, rows)
        return runs.compared_of(checked_end(run, levels))

    fine, *others = schedules
    ends = [end("law reference", fine)]
    for levels in others:
        ends.append(torch.full_like(ends[0], math.inf))
        if levels not in runs.failed:
            try:
                ends[-1] = end("candidates", levels)
            except NotFiniteError as error:
                runs.failed.add(levels, error.levels)
    return ends
