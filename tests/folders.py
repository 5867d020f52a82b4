"""Contents of a folder of schedules."""

from __future__ import annotations

from pathlib import Path

from align_your_steps.schedules.store.folder_lock import LOCK

__all__ = ["files_in"]


def files_in(folder: Path) -> list[Path]:
    """All that is in a folder but its lock, which stays: leftovers too."""
    return sorted(path for path in folder.iterdir() if path.name != LOCK)
