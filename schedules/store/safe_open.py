"""A file of a folder, opened so that nothing else can take its place.

It is opened once, and all that is asked of it is asked of what is open: between a look at a name
and the opening of it, somebody could put a link, a pipe or another file there. A file is read and
never mapped into memory: if it is cut short meanwhile, reading ends, where a map would end the
process.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["opened"]

_NO_FILE = "it is not a file, but a folder, a pipe or a device"

# What a system lacks is left out. Without NONBLOCK, opening a pipe would wait for a writer.
_FLAGS = os.O_RDONLY
for _name in ("O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):
    _FLAGS |= getattr(os, _name, 0)


@contextmanager
def opened(path: Path, *, links: bool) -> Iterator[tuple[BinaryIO, int]]:
    """A file, open for reading, and its size in bytes.

    links: whether the path may be a link to another file of the same folder

    Raises ValueError for what is no file, or not of that folder, and OSError for what cannot be
    opened.
    """
    if path.is_symlink():  # also where the system cannot refuse to follow one
        path = _target(path, links)
    try:
        number = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket
            raise ValueError(_NO_FILE) from error
        raise
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(_NO_FILE)
        with os.fdopen(number, "rb", closefd=False) as file:
            yield file, status.st_size
    finally:
        os.close(number)


def _target(path: Path, links: bool) -> Path:
    """Follow a link to where it leads, if it may lead there."""
    target = Path(os.path.realpath(path))
    if not links:
        raise ValueError("it is a link and not a file")
    if not target.is_relative_to(os.path.realpath(path.parent)):
        raise ValueError("it is a link that leads out of its folder")
    if not target.exists() or target.is_symlink():  # a link that is still one leads in a circle
        raise ValueError("it is a link that leads to no file")
    return target
