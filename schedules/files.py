"""The files of schedules in a folder: which there are, and what is in each."""

from __future__ import annotations

import logging
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from .saved import SavedSchedule, read_saved, to_bytes
from .shared import from_json, read_shared, to_json_bytes

__all__ = [
    "JSON",
    "LONGEST_NAME",
    "SAFETENSORS",
    "Entry",
    "content_of",
    "in_folder",
    "label_of",
    "one_line",
    "read_bytes",
    "read_whole",
    "slug",
]

SAFETENSORS, JSON = ".safetensors", ".json"
LONGEST_NAME = 100  # characters

_TRIES = 20  # of reading what is changed meanwhile
_log = logging.getLogger("align_your_steps")


@dataclass(frozen=True, eq=False)
class Entry:
    """A file of the store: where it is, when it was written, and its result without tensors."""

    path: Path
    modified: int  # ns
    saved: SavedSchedule
    digest: str

    @property
    def label(self) -> str:
        """The result's name on one short line."""
        return label_of(self.saved)

    @property
    def with_digits(self) -> str:
        """The name that no other result has."""
        return f"{self.label} [{self.digest[:6]}]"


def label_of(saved: SavedSchedule) -> str:
    """A result's name on one line of at most 100 printable characters."""
    return one_line(saved.schedule.name)[:LONGEST_NAME].strip() or "schedule"


def one_line(name: str) -> str:
    """A name's printable characters, with single spaces."""
    return "".join(c for c in " ".join(name.split()) if c.isprintable()).strip()


def slug(name: str) -> str:
    """A file name from any text: ASCII letters, digits, '-', '_' and '.', at most 60 characters.

    >>> slug("My model: 10 steps"), slug("../.."), slug("con")
    ('My-model-10-steps', 'schedule', '_con')
    """
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
    if re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", safe, re.IGNORECASE):
        safe = f"_{safe}"  # these name devices on Windows, with any extension
    return safe[:60].rstrip("-.") or "schedule"


def content_of(saved: SavedSchedule, suffix: str) -> bytes:
    """A result's file, by its suffix. Raises ValueError for what could not be read again."""
    return to_json_bytes(saved) if suffix == JSON else to_bytes(saved)


def in_folder(folder: Path) -> list[Entry]:
    """The results in a folder; what is none is skipped, with one log line while it stays so."""
    found, gone = _scanned(folder)
    for _ in range(_TRIES):
        if not gone:
            break
        before = gone
        found, gone = _scanned(folder)  # what is gone may be there under another name
        if gone == before:  # a link that leads nowhere
            break
    return found


def _scanned(folder: Path) -> tuple[list[Entry], list[Path]]:
    """The results in a folder, and the files that went while they were read."""
    try:
        paths = sorted(path for path in folder.iterdir() if _is_listed(path))
    except OSError:  # no such folder, or not a readable one: nothing saved there
        return [], []
    found, gone = [], []
    for path in paths:
        try:
            entry = _entry(path, *_version(path))
        except FileNotFoundError:
            gone.append(path)
            continue
        except OSError as error:  # may pass, so it is tried again, but told once
            _warn_once(path, str(error))
            continue
        if entry is not None:
            found.append(entry)
    return found, gone


def _is_listed(path: Path) -> bool:
    """Hidden files are not: some systems put one beside each file that is copied."""
    return path.suffix.lower() in (SAFETENSORS, JSON) and not path.name.startswith(".")


def _version(path: Path) -> tuple[int, int, int, int]:
    """What a file does not share with the one that it replaces: that may be as old and as long."""
    status = path.stat() if path.exists() else path.lstat()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


def _read(path: Path, *, with_tensors: bool) -> SavedSchedule:
    """A result, all of one version: a file is opened several times, and may be replaced meanwhile.

    Raises OSError if it is gone, else what `read_saved` and `read_shared` raise.
    """
    is_json = path.suffix.lower() == JSON
    parse = read_shared if is_json else partial(read_saved, with_tensors=with_tensors)
    for _ in range(_TRIES):
        version = _version(path)
        try:
            saved = parse(path)
        except Exception:  # a hostile file fails in ways that cannot be listed
            if _version(path) == version:
                raise
        else:
            if _version(path) == version:
                return saved
    raise OSError("it is replaced all the time")


@lru_cache(maxsize=4096)
def _entry(path: Path, modified: int, size: int, *_: int) -> Entry | None:
    """The entry of one version of a file; None, and a log line, for what is not a result."""
    try:
        saved = _read(path, with_tensors=False)
        return Entry(path, modified, saved, saved.digest)
    except OSError:
        raise
    except Exception as error:  # a hostile file fails in ways that cannot be listed
        _log.warning("Skipped the schedule file %s (%d bytes): %s", path, size, error)
        return None


@lru_cache(maxsize=4096)
def _warn_once(path: Path, reason: str) -> None:
    _log.warning("Skipped the schedule file %s: %s", path, reason)


def read_whole(path: Path) -> SavedSchedule | None:
    """A listed result with its tensors; None, and a log line, if it is there but no result now."""
    try:
        return _read(path, with_tensors=True)
    except FileNotFoundError:  # renamed or deleted since it was listed
        return None
    except Exception as error:  # as in _entry
        _log.warning("Cannot load the schedule file %s: %s", path, error)
        return None


def read_bytes(data: bytes, file_name: str) -> tuple[SavedSchedule, str]:
    """The result in the content of a file, and the suffix of its format.

    The content tells the format: JSON text never has a safetensors header's length before its
    first brace. Raises ValueError, saying what is wrong with the file.
    """
    name = Path(file_name.replace("\\", "/")).name  # a browser may send the path of its system
    try:
        if data[8:9] == b"{" and not any(data[4:8]):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"received{SAFETENSORS}"
                path.write_bytes(data)
                return read_saved(path, with_tensors=True), SAFETENSORS
        return from_json(data, Path(name).stem), JSON
    except OSError:
        raise
    except Exception as error:  # a hostile file fails in ways that cannot be listed
        raise ValueError(f"The file '{name}' is not a schedule: {error}.") from error
