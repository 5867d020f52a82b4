"""A schedule at another number of steps, and schedules for a denoise below 1."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .schedule import Schedule

__all__ = ["at_steps", "extend_up", "levels_at", "log_linear", "starting_at", "with_denoise"]

Levels = Sequence[float] | np.ndarray

_log = logging.getLogger("align_your_steps")


def log_linear(levels: Levels, points: int) -> tuple[float, ...]:
    """`points` levels on the curve through `levels`, piecewise log-linear in the index.

    The paper's rule for other step counts: Sabour et al. (2024), arXiv 2404.14507, Section 3.3.
    The first and (for two points or more) the last level stay exactly what they are.

    Raises ValueError for levels that are not positive: 0 has no logarithm.

    >>> [round(level, 6) for level in log_linear((8.0, 2.0), 3)]
    [8.0, 4.0, 2.0]
    """
    values = np.asarray(levels, dtype=np.float64)
    if not (points >= 1 and values.size and (values > 0).all()):  # NaN is not > 0
        raise ValueError(
            f"Log-linear interpolation needs positive levels and at least one point, but got "
            f"{points} points for the levels {values.tolist()}."
        )
    index = np.linspace(0, values.size - 1, points)
    result = np.exp(np.interp(index, np.arange(values.size), np.log(values)))
    result[0] = levels[0]
    if points > 1:
        result[-1] = levels[-1]
    return tuple(result.tolist())


def at_steps(
    schedule: Schedule, steps: int, *, sigma_min: float, quiet: bool = False
) -> tuple[float, ...]:
    """The steps + 1 levels of a schedule for any number of steps, ending in 0.

    With its own number of steps, and with others that it has levels for, these are kept, the last
    replaced by 0. Otherwise the positive levels of the nearest number are resampled:
    - it ends in a positive level: to steps + 1 levels, the last replaced by 0 (as the host
      treats the published tables);
    - it ends in 0 and has not reached sigma_min before: the same, with sigma_min for that 0;
    - it ends in 0 after sigma_min: to `steps` levels, followed by 0.

    Arguments:
        schedule: as measured or published.
        steps: at least 1. One step is [first level, 0].
        sigma_min: the model's lowest noise level, positive.
        quiet: do not log that fewer steps by interpolation cost quality.

    Raises ValueError for other steps or sigma_min, and for a schedule that has but one positive
    level at or below sigma_min.
    """
    if steps < 1:
        raise ValueError(f"A schedule needs at least 1 step, but got {steps}.")
    if not 0 < sigma_min < math.inf:
        raise ValueError(f"sigma_min must be a positive noise level, but got {sigma_min:g}.")
    levels = schedule.nearest(steps)
    if steps == len(levels) - 1:
        return (*levels[:-1], 0.0)
    if steps < len(levels) - 1 and not quiet:
        _log.info(
            "Schedule %r was made for %d steps and is interpolated to %d: fewer steps by "
            "interpolation are known to cost quality; optimise it for %d steps.",
            schedule.name, len(levels) - 1, steps, steps,
        )  # fmt: skip
    *upper, last = levels
    if last > 0:
        return (*log_linear(levels, steps + 1)[:-1], 0.0)
    if upper[-1] > sigma_min * (1 + 1e-3):
        return (*log_linear((*upper, sigma_min), steps + 1)[:-1], 0.0)
    if len(upper) == 1:
        raise ValueError(
            f"The schedule {schedule.name!r} has one level, {upper[0]:g}, above 0, which is not "
            f"above this model's sigma_min {sigma_min:g}: it cannot be given {steps} steps. "
            f"Optimise a schedule for this model."
        )
    return (*log_linear(upper, steps), 0.0)


def levels_at(
    schedule: Schedule,
    steps: int,
    *,
    denoise: float,
    sigma_min: float,
    sigma_max: float,
    quiet: bool = False,
) -> tuple[float, ...]:
    """`at_steps` for a schedule measured for a denoise of 1 or less.

    Below 1 the schedule starts below sigma_max and is the tail of what is asked for: a sampler
    asks for int(n / denoise) steps and uses the last n + 1 levels.

    Arguments:
        schedule, steps, sigma_min, quiet: as for `at_steps`.
        denoise: what the schedule was measured for.
        sigma_max: the model's highest noise level.
    """
    if denoise >= 1.0 or schedule.levels[0] > sigma_max * 0.999:  # less is a matter of rounding
        return at_steps(schedule, steps, sigma_min=sigma_min, quiet=quiet)
    # The n for which a sampler asks for int(n / denoise) = steps; less than 1e-6 is rounding.
    tail = math.ceil(steps * denoise - 1e-6)
    lower = at_steps(schedule, tail, sigma_min=sigma_min, quiet=quiet)
    return extend_up(lower, steps, sigma_max)


def starting_at(schedule: Schedule, sigma_max: float) -> Schedule:
    """The schedule on a model with another highest level: it starts there, and else is the same.

    All other levels stay: two models that share a schedule agree where one hands over to the
    other. Where the second level is not below sigma_max either, nothing is changed.

    >>> from align_your_steps.schedules import Provenance
    >>> schedule = Schedule((14.6, 1.0, 0.0), "mine", Provenance("me", "SD1.5", "2025-01-01"))
    >>> starting_at(schedule, 80.0).levels, starting_at(schedule, 0.5).levels
    ((80.0, 1.0, 0.0), (14.6, 1.0, 0.0))
    """

    def moved(levels: tuple[float, ...]) -> tuple[float, ...]:
        return (sigma_max, *levels[1:]) if levels[1] < sigma_max else levels

    return replace(
        schedule,
        levels=moved(schedule.levels),
        others=tuple(moved(levels) for levels in schedule.others),
    )


def with_denoise(
    curve: Callable[[int], Levels],
    steps: int,
    denoise: float,
    mode: str,
) -> tuple[float, ...]:
    """The lower part of a curve, for a denoise below 1.

    Arguments:
        curve: the n + 1 levels for any number of steps n.
        steps: at least 1.
        denoise: above 0, at most 1 (the whole curve).
        mode: "keep steps" runs all `steps`, on the end of a finer curve of int(steps / denoise)
            steps, as the host's KSampler and BasicScheduler do; "truncate" runs the last
            round(steps * denoise) steps of the same curve, as the host's node for the published
            tables does.

    Raises ValueError for another denoise or mode, and where truncating leaves no step.

    >>> with_denoise(lambda n: range(n, -1, -1), 4, 0.5, "keep steps")
    (4.0, 3.0, 2.0, 1.0, 0.0)
    >>> with_denoise(lambda n: range(n, -1, -1), 4, 0.5, "truncate")
    (2.0, 1.0, 0.0)
    """
    if not 0 < denoise <= 1:  # also refuses NaN
        raise ValueError(f"Denoise must be above 0 and at most 1, but got {denoise:g}.")
    if mode == "keep steps":
        total, run = int(steps / denoise), steps
    elif mode == "truncate":
        total, run = steps, round(steps * denoise)
    else:
        raise ValueError(f"Denoise mode must be 'keep steps' or 'truncate', but got {mode!r}.")
    if run < 1:
        # round(x) is 1 from just above x = 1/2; denoise is set in hundredths
        raise ValueError(
            f"Denoise {denoise:g} of {steps} steps leaves no step to run; with 'truncate' set "
            f"denoise to {(50 // steps + 1) / 100:g} or more, or steps to "
            f"{int(0.5 / denoise) + 1} or more, or choose 'keep steps'."
        )
    return tuple(float(level) for level in curve(total)[-(run + 1) :])


def extend_up(levels: Levels, steps: int, sigma_max: float) -> tuple[float, ...]:
    """A curve measured for a denoise below 1, continued to sigma_max so that it has `steps` steps.

    The new levels are log-linear from sigma_max to levels[0]; the given ones stay as they are.

    Raises ValueError if there are fewer steps than the curve has, or if there is no room for more
    between its first level and sigma_max.

    >>> [round(level, 6) for level in extend_up((2.0, 1.0, 0.0), 4, 8.0)]
    [8.0, 4.0, 2.0, 1.0, 0.0]
    """
    missing = steps - (len(levels) - 1)
    if missing < 0:
        raise ValueError(
            f"A curve of {len(levels) - 1} steps cannot be extended to {steps}; ask for at least "
            f"as many steps as it has."
        )
    if missing and not levels[0] < sigma_max < math.inf:
        raise ValueError(
            f"A curve that starts at noise level {levels[0]:g} cannot be extended up to "
            f"{sigma_max:g}; give a sigma_max above its first level."
        )
    above = log_linear((sigma_max, levels[0]), missing + 1)[:-1] if missing else ()
    return (*above, *(float(level) for level in levels))
