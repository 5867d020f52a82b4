"""Writing a file in a folder of schedules: whole or not at all, and by one at a time."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from .folder_lock import TEMPORARY, BusyError, locked

__all__ = ["free_path", "put", "sync", "write_whole", "writing"]

_log = logging.getLogger("align_your_steps")


def write_whole(folder: Path, file_name: str, data: bytes) -> Path:
    """Write a file, which is there whole or not at all, and then outlasts a power cut."""
    with writing(folder):
        return put(folder / file_name, data)


@contextmanager
def writing(folder: Path) -> Iterator[bool]:
    """Make a folder, and hold its lock, if it has one. False if that takes too long: then whoever
    has the lock may go on with a file as it was, and writing over that would be in vain.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync(folder.parent)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder))
            in_turn = True
        except BusyError as error:
            _log.warning("Writing all the same: %s", error)
            in_turn = False
        yield in_turn


def put(path: Path, data: bytes, modified: int | None = None) -> Path:
    """Write a file beside its place, then move it there: readers never see half of it.

    modified: its time, in ns; that of the system's clock without
    """
    temporary = path.with_name(TEMPORARY.format(secrets.token_hex(8)))
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            if modified is not None:
                with suppress(OSError):  # some network disks keep times of their own
                    os.utime(temporary, ns=(modified, modified))
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    sync(path.parent)
    return path


def sync(folder: Path) -> None:
    """Let what was moved or deleted in a folder outlast a power cut, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_path(path: Path, is_taken: Callable[[Path], bool] = os.path.lexists) -> Path:
    """The path, or one with a number if it is taken: if there is something already."""
    numbered = (path if k == 1 else path.with_stem(f"{path.stem}-{k}") for k in count(1))
    return next(free for free in numbered if not is_taken(free))
