"""A running process seen from outside, through Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Process"]


class Process:
    """Holdings of a process at the moment.

    Arguments:
        pid: its number; with another, or once it has ended, everything here raises OSError.
    """

    def __init__(self, pid: int) -> None:
        self.folder = Path("/proc") / str(pid)

    @property
    def memory(self) -> float:
        """Resident memory without that of mapped files, in KiB."""
        return float(self._status("RssAnon"))

    @property
    def threads(self) -> int:
        """Threads."""
        return int(self._status("Threads"))

    def handles(self) -> list[str]:
        """Return what is open: paths, pipes and sockets, each as often as it is."""
        found = []
        for handle in (self.folder / "fd").iterdir():
            try:
                found.append(os.readlink(handle))
            except FileNotFoundError:  # closed since it was listed
                continue
        return sorted(found)

    def _status(self, key: str) -> str:
        lines = (self.folder / "status").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(f"{key}:")).split()[1]
