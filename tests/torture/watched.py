"""Deeds of the pack while it reads something hostile: files it opens, code it runs, time, memory.

An audit hook sees every file that Python opens, every name that it changes and every piece of code
that it compiles, imports, unpickles or starts, and cannot be removed again: it is put in once and
asleep but for `watched`.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Misdeed", "at_opening", "watched"]

PATIENCE = 60  # seconds for one batch, of milliseconds: more is a hang
MOST_GROWTH = 256 * 2**20  # bytes of one batch

CODE = ("exec", "compile", "import", "pickle", "marshal", "code.", "os.system", "os.exec")
CODE += ("os.fork", "os.posix_spawn", "subprocess", "socket", "ctypes", "shutil", "urllib", "http")
PATHS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink")
PATHS += ("os.listdir", "os.scandir", "os.truncate", "os.utime", "os.chmod", "os.mkfifo")

_roots: list[Path] | None = None
_misdeeds: list[str] = []
_before_opening: Callable[[object], None] | None = None
_installed = False


class Misdeed(BaseException):
    """Something that must never happen; no `except Exception` hides it."""


@contextmanager
def watched(*roots: Path) -> Iterator[None]:
    """Raise Misdeed if anything but the folders is touched, code is run, or it takes too much."""
    global _roots
    _install()
    peak = _peak()
    faulthandler.dump_traceback_later(3 * PATIENCE, exit=True)  # a hang that no signal ends
    previous = signal.signal(signal.SIGALRM, _hung)
    signal.alarm(PATIENCE)
    _misdeeds.clear()
    _roots = [Path(os.path.realpath(root)) for root in roots]
    try:
        yield
    finally:
        _roots = None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        faulthandler.cancel_dump_traceback_later()
    if _misdeeds:
        raise Misdeed("; ".join(_misdeeds[:5]))
    if _peak() - peak > MOST_GROWTH:
        raise Misdeed(f"memory grew by {(_peak() - peak) >> 20} MiB")


@contextmanager
def at_opening(act: Callable[[object], None]) -> Iterator[None]:
    """Call a function with the path, or the number, of each file just before it is opened."""
    global _before_opening
    _install()
    _before_opening = act
    try:
        yield
    finally:
        _before_opening = None


def _install() -> None:
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    global _before_opening
    if event == "open" and _before_opening is not None:
        act, _before_opening = _before_opening, None  # it opens files itself
        act(arguments[0])
        _before_opening = act
    if _roots is None:
        return
    if event.startswith(CODE):
        _misdeeds.append(f"{event} {arguments!r:.200}")
    elif event in PATHS:
        paths = arguments[:1] if event == "open" else arguments  # then come mode and flags
        for path in paths:
            if not isinstance(path, str | bytes | Path):  # the number of an open file
                continue
            where = Path(os.path.realpath(os.fsdecode(path)))
            if not any(where.is_relative_to(root) for root in _roots):
                _misdeeds.append(f"{event} {where}")


def _hung(*_: object) -> None:
    raise Misdeed(f"a batch took more than {PATIENCE} seconds")


def _peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
