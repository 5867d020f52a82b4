"""One at a time: whoever changes a folder holds its lock, among threads and among processes.

The lock is the system's own, on a file in the folder: it goes with the process that holds it, so
nobody waits for one that was killed. Reading needs none, because every file is replaced as a whole.

Some folders have no lock: those that cannot be written, and those on disks without locks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

__all__ = ["LOCK", "PATIENCE", "TEMPORARY", "BusyError", "all_locked", "locked"]

LOCK = ".ays-lock"
TEMPORARY = ".ays-{}.tmp"  # a file that is being written
PATIENCE = 10.0  # seconds; a change takes milliseconds

_ABANDONED = 3600.0  # seconds after which a temporary file has no writer, where no lock tells


class BusyError(OSError):
    """Someone else has held the lock of a folder for too long."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, if it has one, and delete what dead writers left there.

    A thread must not take the lock of a folder twice. Raises BusyError.
    """
    from filelock import FileLock, Timeout  # 50 ms, of which reading needs nothing

    lock = None
    if folder.is_dir():  # else the lock would make one
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=PATIENCE, poll_interval=0.01)
        except Timeout:
            raise BusyError(
                f"Another program has been changing the folder {folder} for {PATIENCE:.0f} "
                "seconds; try again when it is done."
            ) from None
        except (OSError, NotImplementedError):
            lock = None
    try:
        _remove_leftovers(folder, alone=lock is not None)
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def all_locked(folders: Iterable[Path]) -> Iterator[None]:
    """Hold the locks of several folders. Raises BusyError, holding none.

    They are taken in one order, lest two of us wait for each other, and each once, whatever links
    lead to it.
    """
    with ExitStack() as held:
        for folder in sorted({os.path.realpath(folder) for folder in folders}):
            held.enter_context(locked(Path(folder)))
        yield


def _remove_leftovers(folder: Path, *, alone: bool) -> None:
    """Delete what writers left that did not live to move it: all of it, if nobody writes now."""
    for path in folder.glob(TEMPORARY.format("*")):
        with suppress(OSError):
            if alone or time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
