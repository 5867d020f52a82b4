"""Counts of what the test networks have been asked for since the process started or was reset."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
from align_your_steps.tests.torture.failing import Fault
from torch import Tensor

__all__ = ["METER"]


@dataclass
class Meter:
    """Counts of network calls and their rows, a delay to make calls slow, and a small memory.

    most: rows of the largest call
    fits: the most rows of one call; None: any number
    """

    calls: int = 0
    rows: int = 0
    most: int = 0
    delay_ms: float = 0.0
    fits: int | None = None
    fault: Fault | None = None

    def note(self, rows: int) -> None:
        """Count one call with so many rows, and take the time asked for.

        Raises what the host raises when the device's memory is exhausted.
        """
        if self.fits is not None and rows > self.fits:
            raise comfy.model_management.OOM_EXCEPTION("Allocation on device")
        self.calls += 1
        self.rows += rows
        self.most = max(self.most, rows)
        if self.delay_ms > 0:
            time.sleep(self.delay_ms / 1000)

    def answered(self, level: float, answer: Callable[[], Tensor]) -> Tensor:
        """The answer of a call at a noise level, or what becomes of it."""
        return answer() if self.fault is None else self.fault(level, answer)

    def reset(self) -> None:
        """Forget everything."""
        self.calls, self.rows, self.most, self.delay_ms, self.fits = 0, 0, 0, 0.0, None
        self.fault = None


METER = Meter()
