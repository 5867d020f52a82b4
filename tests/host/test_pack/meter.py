"""What the test networks have been asked for since the process started or was reset."""

from __future__ import annotations

import time
from dataclasses import dataclass

import comfy.model_management

__all__ = ["METER"]


@dataclass
class Meter:
    """Counts of network calls and their rows, a delay to make calls slow, and a small memory.

    fits: the most rows of one call; None: any number
    """

    calls: int = 0
    rows: int = 0
    delay_ms: float = 0.0
    fits: int | None = None

    def note(self, rows: int) -> None:
        """Count one call with so many rows, and take the time asked for.

        Raises what the host raises when the device's memory is exhausted.
        """
        if self.fits is not None and rows > self.fits:
            raise comfy.model_management.OOM_EXCEPTION("Allocation on device")
        self.calls += 1
        self.rows += rows
        if self.delay_ms > 0:
            time.sleep(self.delay_ms / 1000)

    def reset(self) -> None:
        """Forget everything."""
        self.calls, self.rows, self.delay_ms, self.fits = 0, 0, 0.0, None


METER = Meter()
