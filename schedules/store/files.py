"""The files of schedules in a folder: which there are, and what is in each."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

from ..names import looks_like, reason, visible
from .json_file import from_json, read_shared, to_json_bytes
from .memory_cache import Remembered, size_in_memory
from .saved_schedule import SavedSchedule, read_saved, saved_from, to_bytes
from .version import NewerVersionError

__all__ = [
    "JSON",
    "LONGEST_NAME",
    "SAFETENSORS",
    "Entry",
    "content_of",
    "in_folder",
    "is_newer",
    "label_of",
    "one_line",
    "read_bytes",
    "read_whole",
    "slug",
]

SAFETENSORS, JSON = ".safetensors", ".json"
LONGEST_NAME = 100  # characters

_TRIES = 20  # of listing a folder in which files are renamed
_TAG = re.compile(r"<(?=[A-Za-z/!?])")  # where HTML begins one
_log = logging.getLogger("align_your_steps")


@dataclass(frozen=True, eq=False)
class Entry:
    """A file of the store: where it is, when it was written, and its result without tensors."""

    path: Path
    modified: int  # ns
    saved: SavedSchedule
    digest: str

    @cached_property
    def label(self) -> str:
        """The result's name on one short line."""
        return label_of(self.saved)

    @cached_property
    def look(self) -> str:
        """Look of that name to a reader."""
        return looks_like(self.label)

    @property
    def with_digits(self) -> str:
        """The name that no other result has."""
        return f"{self.label} [{self.digest[:6]}]"


def label_of(saved: SavedSchedule) -> str:
    """A result's name on one line of at most 100 printable characters."""
    return one_line(saved.schedule.name)[:LONGEST_NAME].strip() or "schedule"


def one_line(name: str) -> str:
    """A name's printable characters, with single spaces, and no beginning of a tag.

    The host's page shows the entries of a drop-down as HTML, and names come from strangers.

    >>> one_line("two\\nlines \\u202e here")
    'two lines here'
    >>> one_line("steps <10, <b>bold</b>")
    'steps <10, ‹b>bold‹/b>'
    """
    spaced = (c if c.isprintable() else " " * c.isspace() for c in name)
    return _TAG.sub("‹", " ".join("".join(spaced).split()))


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
    found: list[Entry] = []
    before: list[str] | None = None
    for _ in range(_TRIES):
        names = _names(folder)
        found, gone = _read_all(folder, names)
        # What was renamed meanwhile may be missing, under both names: a system may list neither.
        # What is gone twice never was: a link that leads nowhere.
        if _names(folder) == names and gone in ([], before):
            break
        before = gone
    return found


def _names(folder: Path) -> list[str]:
    """The files of a folder that may be results, in order."""
    try:
        return sorted(name for name in os.listdir(folder) if _is_listed(name))
    except OSError:  # no such folder, or not a readable one: nothing saved there
        return []


def _read_all(folder: Path, names: list[str]) -> tuple[list[Entry], list[str]]:
    """The results in a folder's files, and the files that are not there."""
    found, gone = [], []
    for name in names:
        path = os.path.join(folder, name)  # as text: thousands of files are asked for many times
        try:
            status = _status(path)
            # A replaced file may have the age and the length of the old one.
            version = status.st_size, status.st_ino, status.st_ctime_ns
            modified = status.st_mtime_ns
            entry = _known.get((path, modified, *version), partial(_entry, path, modified))
        except FileNotFoundError:
            gone.append(path)
            continue
        except OSError as error:  # may pass, so it is tried again, but told once
            _warn_once(path, reason(error))
            continue
        if entry is not None:
            found.append(entry)
    return found, gone


def _status(path: str) -> os.stat_result:
    """Of what a link leads to, or of the link if it leads to nothing."""
    try:
        return os.stat(path)
    except OSError:
        return os.lstat(path)


def _is_listed(name: str) -> bool:
    """Hidden files are not: some systems put one beside each file that is copied."""
    return name.lower().endswith((SAFETENSORS, JSON)) and not name.startswith(".")


def _read(path: Path, *, with_tensors: bool) -> SavedSchedule:
    if path.suffix.lower() == JSON:
        return read_shared(path)
    return read_saved(path, with_tensors=with_tensors)


def _entry(name: str, modified: int) -> Entry | None:
    """The entry of one version of a file; None, and a log line, for what is not a result."""
    path = Path(name)
    try:
        saved = _read(path, with_tensors=False)
        return Entry(path, modified, saved, saved.digest)
    except OSError:
        raise
    except Exception as error:  # a hostile file fails in ways that cannot be listed
        _log.warning("Skipped the schedule file %s: %s.", visible(str(path)), reason(error))
        return None


def _size(entry: Entry | None) -> int:
    """The bytes that an entry takes in memory, about."""
    if entry is None:
        return _LEAST
    schedule = entry.saved.schedule
    samplers = [(one.levels, one.told, one.weights, one.restarts) for one in entry.saved.samplers]
    content = schedule.levels, schedule.others, samplers, entry.saved.request, entry.saved.notes
    return _LEAST + size_in_memory(content)


_LEAST = 1024  # bytes of a path, and of what is found nowhere else
_MOST = 256 * 2**20  # bytes; an optimised schedule takes 12 KB
_known: Remembered[Entry | None] = Remembered(_MOST, _size)


@lru_cache(maxsize=4096)
def _warn_once(path: str, why: str) -> None:
    _log.warning("Skipped the schedule file %s: %s.", visible(path), why)


def read_whole(path: Path) -> SavedSchedule | None:
    """A listed result with its tensors; None, and a log line, if it is there but no result now."""
    try:
        return _read(path, with_tensors=True)
    except FileNotFoundError:  # renamed or deleted since it was listed
        return None
    except Exception as error:  # as in _entry
        _log.warning("Cannot load the schedule file %s: %s.", visible(str(path)), reason(error))
        return None


def is_newer(path: Path) -> bool:
    """Tell whether there is a file that a newer version of this pack has written."""
    try:
        _read(path, with_tensors=False)
    except NewerVersionError:
        return True
    except Exception:  # there is none, or it is no schedule: nobody's work is lost
        return False
    return False


def read_bytes(data: bytes, file_name: str) -> tuple[SavedSchedule, str]:
    """The result in the content of a file, and the suffix of its format.

    The content tells the format: JSON text never has a safetensors header's length before its
    first brace. Raises ValueError, saying what is wrong with the file.
    """
    # A browser may send the path of its system, and anything else can send anything.
    name = file_name.replace("\\", "/").rpartition("/")[2]
    try:
        if data[8:9] == b"{" and not any(data[4:8]):
            return saved_from(data), SAFETENSORS
        return from_json(data, _stem(name)), JSON
    except OSError:
        raise
    except Exception as error:  # a hostile file fails in ways that cannot be listed
        what = "too new" if isinstance(error, NewerVersionError) else "not a schedule"
        shown = visible(name[:LONGEST_NAME])
        raise ValueError(f"The file '{shown}' is {what}: {reason(error)}.") from error


def _stem(name: str) -> str:
    """A file's name without its extension, as `Path.stem`, which refuses no name here."""
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name
