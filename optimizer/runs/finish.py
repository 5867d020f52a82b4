"""Ending an optimisation early: what is left of the time, in denoiser rows.

An optimisation with a limit asks it before and after every run how many rows may still be computed,
and takes that for what is left of its budget. So whatever is planned by the budget lands in time:
fewer references, fewer runs to refine schedules, fewer compared.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Deadline", "Ended", "Finish"]

RECENT = 0.5  # the weight of what was timed before, at every new timing


class Ended(Exception):
    """A limit leaves no more calls: what was measured so far counts."""


class Finish(Protocol):
    """Decides when an optimisation ends early."""

    def left(self, rows: int) -> float:
        """Denoiser rows that may still be computed, when `rows` have been; infinite: no limit.

        It is asked before and after every run, and after every call of the first one. 0 ends the
        optimisation with the best schedule so far, after the few runs that a comparison takes.
        """


class Deadline:
    """A limit of time as a limit of rows: the seconds left times the rows computed a second.

    The first call is not timed: it may load the model. Recent runs count most. Until a call was
    timed, and without a limit, any number of rows is left.

    Arguments:
        seconds: from now on; infinite: no limit.

    >>> now = iter([0.0, 1.0, 3.0, 4.0, 4.0, 6.0])
    >>> deadline = Deadline(10.0, clock=lambda: next(now))
    >>> [deadline.left(rows) for rows in (0, 1, 3, 3, 7)]
    [inf, inf, 12.0, 12.0, 8.0]
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.asked = clock()
        self.ends = self.asked + seconds
        self.rows = 0
        self.warm = False
        self.timed = self.took = 0.0  # rows, and seconds that they took

    @property
    def seconds(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.ends - self.clock())

    def left(self, rows: int) -> float:
        """As `Finish` has it."""
        now = self.clock()
        if rows > self.rows:
            if self.warm:
                self.timed = RECENT * self.timed + rows - self.rows
                self.took = RECENT * self.took + now - self.asked
            self.warm = True
        self.rows, self.asked = rows, now  # rows fall where an optimisation begins again
        if now >= self.ends:
            return 0.0
        return (self.ends - now) * self.timed / self.took if self.took > 0.0 else math.inf
