"""What the test networks have been asked for since the process started or was reset."""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["METER"]


@dataclass
class Meter:
    """Counts of network calls and their rows, and a delay to make calls slow."""

    calls: int = 0
    rows: int = 0
    delay_ms: float = 0.0

    def note(self, rows: int) -> None:
        """Count one call with so many rows, and take the time asked for."""
        self.calls += 1
        self.rows += rows
        if self.delay_ms > 0:
            time.sleep(self.delay_ms / 1000)

    def reset(self) -> None:
        """Forget everything."""
        self.calls, self.rows, self.delay_ms = 0, 0, 0.0


METER = Meter()
