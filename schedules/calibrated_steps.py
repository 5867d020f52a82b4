"""The steps of a run at given levels: the fitted ones of a calibrated sampler, else textbook ones.

A step is a fitted one if it goes from one level of a fitted sampler to the next, whoever made the
levels. Where a run begins among them, there are no outputs from before: it takes the weights that
were fitted to that. A sampler without such weights gives those of outputs that are not there to the
oldest that is: on exact mixtures of six kinds a half to a tenth of the error of textbook steps, but
for the last step alone, where it makes no difference; with weights of its own a run that begins
inside has a quarter of that from an image, and 0.7 where it goes on with another run's state.

All other steps are those of a textbook sampler: the model is told the level that x is at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .calibrated_sampler import CalibratedSampler

__all__ = ["Step", "keeps", "planned"]

Textbook = Callable[[Sequence[float]], Sequence[Sequence[float]]]  # weights of steps, by levels

SAME = 1e-5  # by which a level may differ from a fitted one, relative: less is rounding


@dataclass(frozen=True)
class Step:
    """One step: the level that the model is told, and the weights.

    fitted: whether they are those of a fitted sampler
    whole:  whether all outputs are there that the weights were fitted to
    weights_only: whether nothing but weights was fitted to this number of steps
    begun:  whether the run has begun inside the sampler's path
    """

    told: float
    row: tuple[float, ...]
    fitted: bool = False
    whole: bool = False
    weights_only: bool = False
    begun: bool = False


def planned(
    levels: Sequence[float], samplers: Sequence[CalibratedSampler], textbook: Textbook
) -> list[Step]:
    """The steps of a run: those of the sampler that was fitted to most of them, else textbook.

    Of samplers that were fitted to as many, one that was fitted fully comes before weights alone.

    >>> euler = lambda levels: [[1.0]] * (len(levels) - 1)
    >>> fitted = CalibratedSampler((9.0, 3.0, 0.0), (9.0, 3.1), ((1.1,), (1.5, -0.5)))
    >>> [(step.told, step.row) for step in planned([9.0, 3.0, 0.0], [fitted], euler)]
    [(9.0, (1.1,)), (3.1, (1.5, -0.5))]
    >>> [(step.told, step.row) for step in planned([3.0, 0.0], [fitted], euler)]
    [(3.1, (1.0,))]
    """
    rows = zip(levels[:-1], textbook(levels), strict=False)
    steps = [Step(told, tuple(row)) for told, row in rows]
    plans = [_with(levels, steps, sampler) for sampler in samplers] or [steps]
    return max(plans, key=_fitted_ones)


def keeps(sampler: CalibratedSampler) -> bool:
    """Tell whether a sampler leaves what a noise mask keeps as it is."""
    at_level = all(map(_same, sampler.told, sampler.levels))
    last = (sampler.weights[-1], *(rows[-1] for rows in sampler.restarts))
    return at_level and all(math.isclose(sum(row), 1.0, rel_tol=1e-9) for row in last)


def _with(levels: Sequence[float], steps: Sequence[Step], sampler: CalibratedSampler) -> list[Step]:
    """The steps of a run with what one sampler has for them."""
    steps = list(steps)
    matches = [_step_between(sampler, level, following) for level, following in pairwise(levels)]
    history = 0  # how many fitted steps in a row
    for i, k in enumerate(matches):
        if k is None:
            continue
        goes_on = i > 0 and matches[i - 1] == k - 1
        goes_on_after = i + 1 < len(matches) and matches[i + 1] == k + 1
        history = history + 1 if goes_on else 1
        row = _row(sampler, k, k + 1 - history)
        whole = len(row) <= history
        alone = len(matches) > 1 and not goes_on and not goes_on_after
        if not alone:  # one among others was fitted to what is not beside it
            steps[i] = Step(
                sampler.told[k],
                _folded(row, history),
                True,
                whole,
                sampler.weights_only,
                len(sampler.weights[k]) > history,
            )
    return steps


def _fitted_ones(steps: Sequence[Step]) -> tuple[int, int]:
    """How many steps are fitted ones, and how many of these not by their weights alone."""
    fitted = [step for step in steps if step.fitted]
    return len(fitted), sum(not step.weights_only for step in fitted)


def _row(sampler: CalibratedSampler, k: int, begun: int) -> tuple[float, ...]:
    """The weights of a step of a run that has begun at another."""
    if begun and sampler.restarts:
        return sampler.restarts[begun - 1][k - begun]
    return sampler.weights[k]


def _step_between(sampler: CalibratedSampler, level: float, following: float) -> int | None:
    """Find the step of a sampler that goes from one level to another; None: none does."""
    steps = enumerate(pairwise(sampler.levels))
    return next((k for k, (s, t) in steps if _same(s, level) and _same(t, following)), None)


def _same(level: float, other: float) -> bool:
    return math.isclose(level, other, rel_tol=SAME)


def _folded(row: Sequence[float], history: int) -> tuple[float, ...]:
    """The weights for so many outputs at most: the oldest one has those that would follow it."""
    kept = list(row[:history])
    kept[-1] += sum(row[history:])
    return tuple(kept)
