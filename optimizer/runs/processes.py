"""Processes that share one optimisation, as the optimisation knows them: by rows, and a gathering.

Each runs its own `rows` of a batch of noise; `gather` joins what all have found. One process, which
is what there is unless a caller brings others (ranks/), has all the rows, and gathers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor

from ..profile.profile import Profile
from .finish import Finish
from .journal import Journal
from .ledger import Ledger

__all__ = ["Measure", "OneProcess", "Processes"]

Measure = Callable[[], Mapping[str, Tensor]]


class Processes(Protocol):
    """Processes that all make every decision, from the same numbers.

    size: how many there are
    """

    size: int

    def rows(self, count: int) -> slice:
        """The rows of so many that are this process' own."""

    def gather(self, what: str, measure: Measure, ledger: Ledger) -> Mapping[str, Tensor]:
        """Measure this process' rows of one batch of noise, and join what all have found.

        Arguments:
            what: is run, the same in all processes: its phase and, after a comma, anything.
            measure: runs this process' rows.
            ledger: to which `measure` charges them: those of the others are added.
        """

    def agreed(self, arguments: str) -> AbstractContextManager[None]:
        """Around one optimisation, which has the same arguments in all processes."""

    def shared(
        self, journal: Journal | None, finish: Finish | None
    ) -> tuple[Journal | None, Finish | None]:
        """The journal and the limit that all follow."""

    def keep(self, profile: Profile) -> None:
        """Have a profile to return with the error, should a process be lost."""


class OneProcess:
    """One process that runs everything.

    >>> OneProcess().rows(7)
    slice(0, 7, None)
    """

    size = 1

    def rows(self, count: int) -> slice:
        """All rows."""
        return slice(0, count)

    def gather(self, what: str, measure: Measure, ledger: Ledger) -> Mapping[str, Tensor]:
        """Measure all rows."""
        return measure()

    def agreed(self, arguments: str) -> AbstractContextManager[None]:
        """Nothing: nobody else has any arguments."""
        return nullcontext()

    def shared(
        self, journal: Journal | None, finish: Finish | None
    ) -> tuple[Journal | None, Finish | None]:
        """Those that were given."""
        return journal, finish

    def keep(self, profile: Profile) -> None:
        """Nothing: no other process can be lost."""
