"""The ledger of one optimisation: denoiser rows granted, spent, and left by a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from .finish import Finish
from .meter import Meter

__all__ = ["Ledger"]

T = TypeVar("T")


class Ledger:
    """Rows that may be spent, and rows that are, by phase.

    granted:     with no limit
    rows:        that may be spent now: what a limit leaves, which may grow again up to `granted`
    offered:     what a limit left when it was last asked, beside those spent
    spent:       by phase, of finished runs; of several processes those of all
    finishing:   whether a limit leaves less than what must still follow
    ended_early: whether a decision would have been another with all that was granted

    Arguments:
        meter: counts the rows of this process; what it has counted before is not of this ledger.
        finish: a limit; None: there is none.

    >>> class Limit:
    ...     def left(self, rows): return 20
    >>> meter = Meter()
    >>> ledger = Ledger(100, meter, Limit())
    >>> ledger.owe(lambda: 10)
    >>> with ledger.charging("reference"):
    ...     meter.charge(50)
    >>> ledger.ask(); ledger.rows, ledger.ended_early
    (70, False)
    >>> ledger.decide(lambda rows: rows >= 60), ledger.ended_early
    (True, False)
    >>> ledger.decide(lambda rows: rows >= 90), ledger.ended_early
    (False, True)
    >>> ledger.spent, ledger.fits(20), ledger.fits(21)
    ({'reference': 50}, True, False)
    """

    def __init__(self, granted: int, meter: Meter, finish: Finish | None = None):
        self.granted = self.rows = granted
        self.offered = float(granted)
        self.spent: dict[str, int] = {}
        self.finishing = self.ended_early = False
        self._finish = finish
        self._meter, self._elsewhere = meter, -meter.rows
        self._recalled = 0
        self._owed: Callable[[], int] = lambda: 0
        self._asks = True

    @property
    def made(self) -> int:
        """Rows spent, those of a run that is under way included."""
        return self._meter.rows + self._elsewhere

    @property
    def left(self) -> int:
        """Rows left of those that may be spent now."""
        return self.rows - self.made

    def fits(self, rows: int) -> bool:
        """Say whether so many more rows may be spent."""
        return self.decide(lambda budget: rows <= budget - self.made)

    def decide(self, choose: Callable[[int], T]) -> T:
        """Decide by the rows that may be spent now; set `ended_early` if a limit changes that."""
        now = choose(self.rows)
        self.ended_early |= self.rows != self.granted and now != choose(self.granted)
        return now

    def cut_short(self) -> None:
        """Note that something was left out because of the limit."""
        self.ended_early = True

    def owe(self, rows: Callable[[], int]) -> None:
        """Let a stage say which rows must still follow, whatever a limit leaves."""
        self._owed = rows

    def ask(self) -> None:
        """Ask the limit what it leaves."""
        if self._asks and self._finish is not None:
            owed = self._owed()
            left = self._finish.left(self.made - self._recalled)
            self.offered = min(left, self.granted - self.made)
            self.finishing = self.offered < max(1, owed)
            self.rows = int(min(self.granted, self.made + max(self.offered, owed)))

    @contextmanager
    def unasked(self) -> Iterator[None]:
        """Leave the limit unasked inside."""
        self._asks = False
        try:
            yield
        finally:
            self._asks = True

    @contextmanager
    def charging(self, phase: str) -> Iterator[None]:
        """Charge what is computed inside to a phase, also where it fails."""
        before = self.made
        try:
            yield
        finally:
            self.spent[phase] = self.spent.get(phase, 0) + self.made - before

    def charge(self, rows: Mapping[str, int]) -> None:
        """Charge rows by phase that this process' meter has not counted."""
        for phase, count in rows.items():
            self.spent[phase] = self.spent.get(phase, 0) + count
            self._elsewhere += count

    def recall(self, rows: Mapping[str, int]) -> None:
        """Charge rows by phase that an interrupted optimisation has spent."""
        self.charge(rows)
        self._recalled += sum(rows.values())
