"""Measurements of one optimisation: recalled from its journal, or made and recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from .journal import Journal, Stages
from .ledger import Ledger
from .processes import Measure, Processes

__all__ = ["Record"]

SPENT_ROWS = "rows, "  # before a phase: the name of the rows that a recorded measurement has spent


class Record:
    """Measurements in the order in which they are asked for, each with the rows that it spent.

    Arguments:
        about: what is recorded, if it depends on more than the levels run.
    """

    def __init__(
        self, journal: Journal | None, ledger: Ledger, processes: Processes, about: str = ""
    ):
        self._stages = Stages(journal)
        self._stage: int | None = None
        self._ledger, self._processes, self._about = ledger, processes, about

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
        """Measure in all processes, and record what they find.

        run: what `recall` was asked for
        gathered: `measure` itself gathers
        """
        before = Counter(self._ledger.spent)
        what = f"{phase}, {self._about}{run}"
        found = measure() if gathered else self.gather(what, measure)
        spent = self._ledger.spent.items()
        rows = {SPENT_ROWS + name: torch.tensor(count - before[name]) for name, count in spent}
        self._stages.note(self._about + run, {**found, **rows})
        return found

    def gather(self, what: str, measure: Measure) -> Mapping[str, Tensor]:
        """Measure in all processes, each its rows of one batch; all rows are charged."""
        return self._processes.gather(what, measure, self._ledger)

    def drop(self) -> None:
        """Record nothing of the current stage: it was cut short."""
        self._stages.drop()
