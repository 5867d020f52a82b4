"""A model that fails as it is told: at a call, at noise levels, on a row, once or always."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BAD", "BrokenModel", "Fault"]

BAD = {"nan": math.nan, "inf": math.inf, "minus inf": -math.inf}


class BrokenModel(RuntimeError):
    """Error that a model raises."""


@dataclass
class Fault:
    """Failure of calls: how, and which.

    kind:   "nan", "inf" or "minus inf", what is put out; "raise" or "memory", what is raised
    call:   the first one that may fail, counted from 0
    times:  how many may
    low:    the noise levels at which it fails, from here
    high:   up to here
    row:    the only one that comes out wrong, of so many or fewer; None: all
    memory: what is raised where memory is exhausted
    calls:  how many there were
    failed: and how many of them have failed
    """

    kind: str
    call: int = 0
    times: float = math.inf
    low: float = 0.0
    high: float = math.inf
    row: int | None = None
    memory: type[Exception] = MemoryError
    calls: int = 0
    failed: int = 0

    def __call__(self, level: float, answer: Callable[[], Tensor]) -> Tensor:
        """The answer of a call at a noise level, or what becomes of it."""
        number, self.calls = self.calls, self.calls + 1
        if number < self.call or self.failed >= self.times or not self.low <= level <= self.high:
            return answer()
        self.failed += 1
        if self.kind == "raise":
            raise BrokenModel(f"The model broke at call {number}.")
        if self.kind == "memory":
            raise self.memory("Allocation on device")
        output = answer().clone()
        rows = slice(None) if self.row is None else slice(self.row, self.row + 1)
        output[rows] = torch.tensor(BAD[self.kind])
        return output
