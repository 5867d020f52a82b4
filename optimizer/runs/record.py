"""Measurements of one optimisation: recalled from its journal, or made and recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .journal import Journal, Stages
from .ledger import Ledger
from .ranks import OneProcess, Ranks

__all__ = ["Record"]

SPENT_ROWS = "rows, "  # before a phase: the name of the rows that a recorded measurement has spent

Measure = Callable[[], Mapping[str, Tensor]]


class Record:
    """Measurements in the order in which they are asked for, each with the rows that it spent.

    Arguments:
        about: what is recorded, if it depends on more than the levels run.
    """

    def __init__(
        self, journal: Journal | None, ledger: Ledger, ranks: Ranks | OneProcess, about: str = ""
    ):
        self._stages = Stages(journal)
        self._stage: int | None = None
        self._ledger, self._ranks, self._about = ledger, ranks, about

    def recall(self, batch: int, run: str, stage: str = "") -> Mapping[str, Tensor] | None:
        """Recall what the next measurement on a batch had found, its rows charged again.

        None if it is not known. Another batch than before begins another stage.

        stage: its name, if it depends on no other one
        """
        if batch != self._stage:
            self._stages.begin(stage)
            self._stage = batch
        known = self._stages.recall(self._about + run)
        if known is not None:
            rows = {
                k.removeprefix(SPENT_ROWS): int(v)
                for k, v in known.items()
                if k.startswith(SPENT_ROWS)
            }
            self._ledger.recall(rows)
        return known

    def make(
        self, phase: str, run: str, measure: Measure, gathered: bool = False
    ) -> Mapping[str, Tensor]:
        """Measure on all ranks, and record what they find.

        run: what `recall` was asked for
        gathered: `measure` itself gathers from all ranks
        """
        before = Counter(self._ledger.spent)
        what = f"{phase}, {self._about}{run}"
        found = measure() if gathered else self.together(what, measure)
        spent = self._ledger.spent.items()
        rows = {SPENT_ROWS + name: torch.tensor(count - before[name]) for name, count in spent}
        self._stages.note(self._about + run, {**found, **rows})
        return found

    def together(self, what: str, measure: Measure) -> Mapping[str, Tensor]:
        """Measure on all ranks, each in its rows of one batch; all rows are charged."""
        found = self._ranks.together(what, measure, self._ledger)
        if self._ranks.size > 1:
            self._ledger.ask()
        return found

    def drop(self) -> None:
        """Record nothing of the current stage: it was cut short."""
        self._stages.drop()
