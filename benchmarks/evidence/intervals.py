"""Means over seeds with their intervals: Student's t, 95 %, a value for every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

__all__ = ["CONFIDENCE", "Interval", "mean_interval", "ratio_interval", "verdict"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float

    def minus(self, value: float) -> Interval:
        """The same with a number subtracted."""
        return Interval(self.value - value, self.low - value, self.high - value)

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of independent values, at least two.

    >>> mean_interval([1.0, 3.0]).value
    2.0
    """
    x = np.asarray(values, dtype=float)
    error = x.std(ddof=1) / len(x) ** 0.5
    half = float(student.ppf((1.0 + CONFIDENCE) / 2.0, len(x) - 1) * error)
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half)


def ratio_interval(ratios: Sequence[float]) -> Interval:
    """The geometric mean of positive ratios.

    >>> round(ratio_interval([1.0, 4.0]).value, 6)
    2.0
    """
    log = mean_interval(np.log(np.asarray(ratios, dtype=float)))
    return Interval(*(float(np.exp(x)) for x in (log.value, log.low, log.high)))


def verdict(difference: Interval) -> str:
    """Return what a difference of errors, ours minus another's, says.

    >>> verdict(Interval(-2.0, -3.0, -1.0)), verdict(Interval(0.1, -1.0, 1.2))
    ('wins', 'ties')
    """
    if difference.high < 0.0:
        return "wins"
    return "loses" if difference.low > 0.0 else "ties"
