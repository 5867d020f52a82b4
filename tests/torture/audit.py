"""What Python says about its own doings, sorted: what reaches another machine or program, and what
changes a file. (`sys.audit`; code that is not Python's is seen as far as it goes through Python.)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["changed_files", "opened_file", "reaches_out"]

# Every event of sockets counts: the pack has no use for a socket that connects to nothing either.
REACHING = (
    "socket.", "ssl.", "urllib.", "http.", "ftplib.", "imaplib.", "poplib.", "smtplib.",
    "telnetlib.", "nntplib.", "webbrowser.", "subprocess.", "pty.", "os.system", "os.exec",
    "os.fork", "os.posix_spawn", "os.spawn", "os.startfile",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Event -> how many of its arguments are paths; what follows may be folders that these are in.
PATHS = {
    "os.mkdir": 1, "os.rmdir": 1, "os.remove": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2,
    "os.chmod": 1, "os.chown": 1, "os.utime": 1, "os.truncate": 1,
}  # fmt: skip
FOLDERS = {"os.mkdir": 2, "os.rmdir": 1, "os.remove": 1, "os.utime": 3, "os.chmod": 2}


def reaches_out(event: str) -> bool:
    """Tell whether an event asks for another machine or another program."""
    return event.startswith(REACHING)


def changed_files(event: str, arguments: tuple[Any, ...]) -> list[Path]:
    """The files that an event makes, changes or removes."""
    if event == "open":
        file, _, flags = arguments
        return [Path(os.fsdecode(file)).absolute()] if _is_path(file) and flags & WRITING else []
    named = [file for file in arguments[: PATHS.get(event, 0)] if _is_path(file)]
    return [_within(event, arguments) / os.fsdecode(file) for file in named]


def opened_file(event: str, arguments: tuple[Any, ...]) -> Path | None:
    """The file that an event opens, to read or to write."""
    if event != "open" or not _is_path(arguments[0]):
        return None
    return Path(os.fsdecode(arguments[0])).absolute()


def _is_path(file: object) -> bool:
    return isinstance(file, str | bytes | os.PathLike)


def _within(event: str, arguments: tuple[Any, ...]) -> Path:
    """The folder that a relative path starts from."""
    place = FOLDERS.get(event)
    folder = arguments[place] if place is not None else -1
    return Path(os.readlink(f"/proc/self/fd/{folder}")) if folder not in (None, -1) else Path.cwd()
