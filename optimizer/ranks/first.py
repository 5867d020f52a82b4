"""The first rank's journal and limit, whose answers all ranks hear."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..runs.finish import Finish
from ..runs.journal import Journal

__all__ = ["JournalOfFirst", "LimitOfFirst", "OfFirst"]

Found = Mapping[str, Tensor] | None
OfFirst = Callable[[str, Callable[[], Found]], Found]  # gives all ranks what the first one finds


class JournalOfFirst:
    """A journal: None in all ranks but the first."""

    def __init__(self, of_first: OfFirst, journal: Journal | None):
        self._of_first, self._journal = of_first, journal

    def get(self, name: str) -> Mapping[str, Tensor] | None:
        """As `Journal` has it."""
        journal = self._journal
        return self._of_first(f"journal {name}", lambda: journal.get(name) if journal else None)

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """As `Journal` has it."""
        if self._journal is not None:
            self._journal.put(name, tensors)


class LimitOfFirst:
    """A limit: None in all ranks but the first."""

    def __init__(self, of_first: OfFirst, finish: Finish | None):
        self._of_first, self._finish = of_first, finish

    def left(self, rows: int) -> float:
        """As `Finish` has it."""

        def ask() -> dict[str, Tensor]:
            assert self._finish is not None
            return {"left": torch.tensor(self._finish.left(rows), dtype=torch.float64)}

        found = self._of_first("limit", ask)
        assert found is not None
        return float(found["left"])
