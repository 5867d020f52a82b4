"""Schedules on fresh noise: the first batch as soon as there are any, the others in the end.

So whatever ends an optimisation, something was measured, and the best of it is what was found.
"""

from __future__ import annotations

import torch

from .references import PairedErrors, References
from .select import Candidate, Score

__all__ = ["Fresh"]


class Fresh:
    """Batches of noise that no schedule is made from, and what was run on the first of them."""

    def __init__(self, references: References):
        self._references, self._errors = references, PairedErrors(references)
        self._batches: list[int] = []
        self._scores: list[Score] = []

    def errors(self, candidate: Candidate, k: int) -> list[float] | None:
        """Errors of a schedule on fresh batch k, see `PairedErrors.of`."""
        new = k == len(self._batches)
        batch = len(self._references.ends) if new else self._batches[k]
        measured = self._errors.of(candidate, batch)
        if new and measured is not None:
            self._batches.append(batch)
        return measured

    def race(self, candidate: Candidate) -> bool:
        """Run a schedule on the first batch, unless it was; False where that does not fit."""
        if self.has(candidate):
            return True
        measured = self.errors(candidate, 0)
        if measured is None:
            return False
        self._scores.append(Score(candidate, measured))
        best = self.best
        if best.finite:
            self._references.runner.lab.leader.lead(best.candidate)
        return True

    @property
    def raced(self) -> list[Candidate]:
        """The schedules that were run on the first batch, in that order."""
        return [score.candidate for score in self._scores]

    def has(self, candidate: Candidate) -> bool:
        """Say whether these levels were run on the first batch, under whatever name."""
        return any(torch.equal(candidate.sigmas, one.sigmas) for one in self.raced)

    @property
    def best(self) -> Score:
        """The best of those that were raced."""
        return min(self._scores, key=lambda score: score.place)
