"""A calibrated sampler as it is kept: its levels, the levels the model is told, its weights.

With levels t_0 > … > t_n = 0 and told levels s_i, all in the host's units, and r_i = t_{i+1} / t_i,

    D_i     = D(x_i, s_i)
    x_{i+1} = r_i x_i + (1 - r_i) Σ_j b_ij D_{i-j}             the newest output first

What makes such numbers is the optimiser's, and what runs them is the host's sampler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from .schedule import check_levels

__all__ = ["MOST_MIXED", "CalibratedSampler"]

MOST_MIXED = 16  # outputs in one step; four are more than any fit has


@dataclass(frozen=True)
class CalibratedSampler:
    """The numbers of a calibrated sampler, in the host's units.

    levels:  [n+1] strictly decreasing, ending in 0
    told:    [n] levels that the model is told, above 0
    weights: n rows; row i mixes 1 to i + 1 outputs, the newest first, and at most MOST_MIXED
    weights_only: whether its weights alone were fitted, from what was measured for another number
        of steps; otherwise it was fitted fully
    restarts: none, or for i = 1 … n-1 the n - i rows of a run that begins at step i

    Raises ValueError for numbers that no sampler could use, also after rounding to float32.

    >>> CalibratedSampler((14.6, 1.0, 0.0), (14.6, 1.1), ((1.0,), (1.5, -0.5))).steps
    2
    """

    levels: tuple[float, ...]
    told: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    weights_only: bool = False
    restarts: tuple[tuple[tuple[float, ...], ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(map(float, self.levels)))
        object.__setattr__(self, "told", tuple(map(float, self.told)))
        object.__setattr__(self, "weights", _floats(self.weights))
        object.__setattr__(self, "restarts", tuple(map(_floats, self.restarts)))
        check_levels(self.levels)
        if self.levels[-1] != 0.0:
            raise ValueError(f"A sampler's levels must end in 0, not in {self.levels[-1]:g}.")
        n = len(self.levels) - 1
        if len(self.told) != n or len(self.weights) != n:
            raise ValueError(
                f"A sampler of {n} steps needs {n} told levels and rows of weights, but has "
                f"{len(self.told)} and {len(self.weights)}."
            )
        if self.restarts and [len(rows) for rows in self.restarts] != [*range(n - 1, 0, -1)]:
            raise ValueError(
                f"A sampler of {n} steps has {n - 1}, {n - 2}, ... rows for runs that begin at "
                "step 1, 2, ..., or none at all."
            )
        for rows in (self.weights, *self.restarts):
            if any(not 1 <= len(row) <= min(i + 1, MOST_MIXED) for i, row in enumerate(rows)):
                raise ValueError(
                    "Row i of a sampler's weights must have 1 to i + 1 numbers, at most "
                    f"{MOST_MIXED}."
                )
        told = _rounded(self.told)
        if not (np.isfinite(told) & (told > 0.0)).all():
            raise ValueError("The levels that a model is told must be finite and above 0.")
        every = chain.from_iterable([*self.weights, *chain.from_iterable(self.restarts)])
        if not np.isfinite(_rounded(tuple(every))).all():
            raise ValueError("A sampler's weights must be finite numbers.")

    @property
    def steps(self) -> int:
        """Number of steps n."""
        return len(self.told)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for `from_dict`."""
        return {
            "levels": list(self.levels),
            "told": list(self.told),
            "weights": [list(row) for row in self.weights],
            **({"weights_only": True} if self.weights_only else {}),
            **(
                {"restarts": [list(map(list, rows)) for rows in self.restarts]}
                if self.restarts
                else {}
            ),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CalibratedSampler:
        """The sampler that `to_dict` described; ValueError for anything else."""
        try:
            levels, told, weights = (data[key] for key in ("levels", "told", "weights"))
            restarts, only = data.get("restarts", []), data.get("weights_only", False)
            rows = [levels, told, *weights, *chain.from_iterable(restarts)]
        except (KeyError, TypeError) as error:
            raise ValueError("A saved sampler needs levels, told levels and weights.") from error
        if not all(isinstance(row, list) and all(map(_is_number, row)) for row in rows):
            raise ValueError("A saved sampler's levels and weights must be lists of numbers.")
        if not isinstance(only, bool):
            raise ValueError("A saved sampler's 'weights_only' must be true or false.")
        try:
            return cls(tuple(levels), tuple(told), tuple(map(tuple, weights)), only, restarts)
        except OverflowError as error:  # an integer of hundreds of digits
            raise ValueError("A saved sampler's numbers must be finite.") from error


def _floats(rows: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in rows)


def _rounded(numbers: tuple[float, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(numbers, dtype=np.float32)


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
