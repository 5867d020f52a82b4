"""A schedule: falling noise levels, a name, and who measured them on what and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Provenance", "Schedule", "check_levels"]


@dataclass(frozen=True)
class Provenance:
    """Origin of a schedule: who measured it, on what, and when; free text, for a person."""

    who: str
    what: str
    when: str


@dataclass(frozen=True)
class Schedule:
    """The n + 1 noise levels of an n-step schedule, as they were measured or published.

    Arguments:
        levels: strictly decreasing, in the host's units; the last is sigma_min or 0.
        name: what a person calls it.
        provenance: who measured it, on what, when.
        others: levels for other numbers of steps, derived from the same measurement.

    Raises ValueError for levels that no sampler could use.

    >>> schedule = Schedule((14.6, 1.0, 0.03), "mine", Provenance("me", "SD1.5", "2025-01-01"))
    >>> schedule.steps
    2
    >>> schedule.sigmas
    tensor([14.6000,  1.0000,  0.0000])
    """

    levels: tuple[float, ...]
    name: str
    provenance: Provenance
    others: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(float(level) for level in self.levels))
        others = tuple(tuple(float(level) for level in levels) for levels in self.others)
        object.__setattr__(self, "others", others)
        for levels in (self.levels, *others):
            check_levels(levels)

    @property
    def steps(self) -> int:
        """Number of sampling steps that the levels make."""
        return len(self.levels) - 1

    def nearest(self, steps: int) -> tuple[float, ...]:
        """The levels for a number of steps, or those from which to interpolate to it.

        These are the shortest that are not shorter: an interpolated schedule is the better, the
        more levels it is made from.
        """
        known = sorted((self.levels, *self.others), key=len)
        return next((levels for levels in known if len(levels) > steps), known[-1])

    @property
    def sigmas(self) -> Tensor:
        """Levels for a sampler: float32 on the CPU, ending in 0; a new tensor [n+1] each time.

        Samplers and hosts write into what they get, so no two callers share one.
        """
        return torch.tensor((*self.levels[:-1], 0.0), dtype=torch.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for `from_dict`."""
        return {
            "levels": list(self.levels),
            "name": self.name,
            "provenance": asdict(self.provenance),
            "others": [list(levels) for levels in self.others],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schedule:
        """The schedule that `to_dict` described; ValueError for anything else."""
        try:
            levels, others = data["levels"], data.get("others", [])
            texts = [data["name"], *(data["provenance"][key] for key in ("who", "what", "when"))]
        except (KeyError, TypeError) as error:
            lacking = f"has no {error}" if isinstance(error, KeyError) else "has no such objects"
            raise ValueError(
                f"A saved schedule needs levels, a name and a provenance (who, what, when), but "
                f"this one {lacking}; optimise or save it again."
            ) from error
        lists = [levels, *others] if isinstance(others, list) else [None]
        numbers = all(
            isinstance(part, list) and all(type(x) in (int, float) for x in part) for part in lists
        )
        if not numbers or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                "A saved schedule's levels must be lists of numbers, and its name and provenance "
                "must be text; optimise or save it again."
            )
        try:
            return cls(tuple(levels), texts[0], Provenance(*texts[1:]), tuple(map(tuple, others)))
        except OverflowError as error:  # an integer of hundreds of digits
            raise ValueError("A schedule's levels must be finite float32 numbers.") from error


def check_levels(levels: tuple[float, ...]) -> None:
    """Raise ValueError unless the levels are a schedule, also after rounding to float32.

    Samplers compute in float32: two levels that differ only in float64 are a step of no length.
    """
    if len(levels) < 2:
        raise ValueError(
            f"A schedule needs at least two noise levels, but got {len(levels)}: give the levels "
            f"from the highest noise down to sigma_min or 0."
        )
    with np.errstate(over="ignore"):
        rounded = np.array(levels, dtype=np.float32)
    if not np.isfinite(rounded).all():
        bad = levels[int(np.argmin(np.isfinite(rounded)))]
        raise ValueError(f"A schedule's levels must be finite float32 numbers, but one is {bad:g}.")
    rising = np.flatnonzero(np.diff(rounded) >= 0)
    if rising.size:
        first = int(rising[0])
        raise ValueError(
            f"A schedule's levels must strictly decrease (in float32), but level {first + 1} is "
            f"{levels[first]:g} and the next is {levels[first + 1]:g}."
        )
    if rounded[-1] < 0:
        raise ValueError(f"A schedule must not end below 0, but its last level is {levels[-1]:g}.")
