"""The budget of one optimisation: what was granted, or what a limit leaves of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .finish import Finish

__all__ = ["Budget"]

T = TypeVar("T")


class Budget:
    """Rows that may be spent, as decisions are made.

    granted:     with no limit
    rows:        now: what a limit leaves, which may grow again up to what was granted
    offered:     what a limit left when it was last asked, beside those spent
    finishing:   whether a limit leaves less than the least that must follow
    ended_early: whether a decision would have been another with all that was granted

    >>> class Limit:
    ...     def left(self, rows): return 20
    >>> budget = Budget(100, Limit())
    >>> budget.ask(made=50, computed=40, owed=10)
    >>> budget.rows, budget.ended_early
    (70, False)
    >>> budget.decided(lambda rows: rows >= 60), budget.ended_early
    (True, False)
    >>> budget.decided(lambda rows: rows >= 90), budget.ended_early
    (False, True)
    """

    def __init__(self, granted: int, finish: Finish | None = None):
        self.granted = self.rows = granted
        self.offered = float(granted)
        self.finish = finish
        self.finishing = self.ended_early = False

    def ask(self, made: int, computed: int, owed: int) -> None:
        """Ask what a limit leaves.

        Arguments:
            made: rows spent.
            computed: those of them that this very optimisation has computed.
            owed: rows that must still follow whatever the limit is.
        """
        if self.finish is not None:
            self.offered = min(self.finish.left(computed), self.granted - made)
            self.finishing = self.offered < owed
            self.rows = int(min(self.granted, made + max(self.offered, owed)))

    def decided(self, decide: Callable[[int], T]) -> T:
        """What follows from the rows that may be spent now; `ended_early` if that is a change."""
        now = decide(self.rows)
        self.ended_early |= self.rows != self.granted and now != decide(self.granted)
        return now
