"""A schedule from elsewhere in the noise levels of a given model.

Lists of levels come from papers, from other programs and from other models: some are timesteps in
truth, some go beyond what the model knows, some are for a second pass and begin inside its path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .resample import starting_at
from .schedule import Schedule

__all__ = ["OnModel", "are_timesteps", "on_model"]

LevelTuple = tuple[float, ...]
MOST_TIMESTEPS = 1000
LOWEST_TIMESTEP = 10  # above any last level that makes sense
HIGHER, LOWER = 1.001, 0.99  # times the ends of the range: less is a matter of rounding
NEAR = 0.98  # of the highest level: beside one at the top, a step to there would be wasted
INSIDE = 0.95  # of the highest level: a list that begins lower is for a second pass


@dataclass(frozen=True)
class OnModel:
    """A schedule in a model's levels.

    notes:       what was changed, each the part of a sentence
    second_pass: whether it begins inside the path
    """

    schedule: Schedule
    notes: tuple[str, ...] = ()
    second_pass: bool = False


def on_model(
    schedule: Schedule,
    *,
    sigma_min: float,
    sigma_max: float,
    timesteps: Sequence[float] | None = None,
    whole_path: bool,
    denoise: float = 1.0,
) -> OnModel:
    """The schedule with timesteps converted, and without the levels outside the model's range.

    Arguments:
        schedule: measured on another model, or a list from elsewhere.
        sigma_min, sigma_max: the model's range.
        timesteps: the ascending levels of a model that is called at the nearest of them.
        whole_path: whether it is known to be for the whole path, down from the highest level: it
            then starts at this model's. Else it may be for a second pass.
        denoise: what it was measured for; below 1 it begins where it begins.

    Raises ValueError, in a sentence, where no level is within the range.
    """
    notes = []
    if timesteps is not None and are_timesteps(schedule.levels, sigma_max):
        ends = schedule.levels[0], _lowest(schedule.levels)
        schedule = _each(schedule, lambda levels: _of_timesteps(levels, timesteps))
        levels = schedule.levels[0], _lowest(schedule.levels)
        notes.append(
            f"its numbers {ends[0]:g} … {ends[1]:g} are timesteps, taken as this model's noise "
            f"levels {levels[0]:.4g} … {levels[1]:.4g}"
        )
    notes += _outside(schedule.levels, sigma_min, sigma_max)
    name = schedule.name
    schedule = _each(schedule, lambda levels: _within(levels, sigma_min, sigma_max, name))
    if denoise < 1.0:
        return OnModel(schedule, tuple(notes))
    begins = schedule.levels[0]
    if whole_path or begins >= INSIDE * sigma_max:
        if begins < INSIDE * sigma_max:
            notes.append(f"it begins at this model's {sigma_max:.4g} in place of {begins:.4g}")
        return OnModel(starting_at(schedule, sigma_max), tuple(notes))
    notes.append(
        f"it begins at {begins:.4g}, inside this model's path from {sigma_max:.4g}: it is for a "
        "second pass and stays as it is"
    )
    return OnModel(schedule, tuple(notes), second_pass=True)


def are_timesteps(levels: Sequence[float], sigma_max: float) -> bool:
    """Tell whether a list is one of timesteps, 999 and below, where noise levels are expected.

    All of it lies above the highest level; or it is of whole numbers that begin above it, or that
    end far above any lowest level.

    >>> are_timesteps((999, 850, 455, 24, 0), 14.6), are_timesteps((14, 6, 3, 1, 0), 14.6)
    (True, False)
    """
    positive = [level for level in levels if level > 0]
    if len(positive) < 2 or positive[0] > MOST_TIMESTEPS or positive[-1] < 1:
        return False
    if positive[-1] > sigma_max * HIGHER:
        return True
    whole = all(float(level).is_integer() for level in positive)
    above = positive[0] > sigma_max * HIGHER
    return whole and (above or positive[-1] >= LOWEST_TIMESTEP)


def _of_timesteps(levels: LevelTuple, table: Sequence[float]) -> LevelTuple:
    """The levels at timesteps, log-linear between two of the table; 0 stays the end."""
    found = np.exp(np.interp(levels, np.arange(len(table)), np.log(table)))
    return tuple(float(s) if t > 0 else 0.0 for t, s in zip(levels, found, strict=True))


def _outside(levels: LevelTuple, sigma_min: float, sigma_max: float) -> list[str]:
    """Say that levels lie outside the range."""
    notes = []
    clipped = levels[0] > sigma_max * HIGHER
    above = clipped * sum(level > sigma_max * NEAR for level in levels)
    below = sum(0.0 < level < sigma_min * LOWER for level in levels[:-1])
    if above == 1:
        notes.append(f"its first level, {levels[0]:.4g}, is this model's highest, {sigma_max:.4g}")
    elif above:
        notes.append(
            f"{above} levels at or above this model's highest, {sigma_max:.4g}, have become one"
        )
    if below:
        these = "level" if below == 1 else "levels"
        notes.append(f"{below} {these} below this model's lowest, {sigma_min:.4g}, left out")
    return notes


def _within(levels: LevelTuple, sigma_min: float, sigma_max: float, name: str) -> LevelTuple:
    """The levels in the range, after one at its top if any was above it."""
    *upper, last = levels
    inside = [s for s in upper if sigma_min * LOWER <= s <= sigma_max * HIGHER]
    if len(inside) == len(upper):
        return levels
    if not inside and len(upper) > 1:
        raise ValueError(
            f"No noise level of the schedule '{name}', {levels[0]:g} … {_lowest(levels):g}, is "
            f"within this model's, {sigma_max:.4g} … {sigma_min:.4g}. Choose 'auto', or optimise "
            "a schedule for this model."
        )
    if upper[0] > sigma_max * HIGHER:
        inside = [sigma_max, *(level for level in inside if level <= sigma_max * NEAR)]
    if 0.0 < last < sigma_min * LOWER:
        last = sigma_min if inside[-1] > sigma_min else 0.0
    return (*inside, last)


def _lowest(levels: LevelTuple) -> float:
    return min((level for level in levels if level > 0), default=0.0)


def _each(schedule: Schedule, change: Callable[[LevelTuple], LevelTuple]) -> Schedule:
    """A change of all the lists of a schedule; those for other steps that it ruins are left out."""
    others = []
    for levels in schedule.others:
        try:
            others.append(replace(schedule, levels=change(levels), others=()).levels)
        except ValueError:
            continue
    return replace(schedule, levels=change(schedule.levels), others=tuple(others))
