"""The cache: optimised schedules in a list of folders, one file per result.

The request, which is everything that makes two results the same, gives the file its name, so a
result is replaced only by the answer to the same request. A file that is not a result is skipped,
with one log line for as long as it stays as it is.
"""

from __future__ import annotations

import logging
import math
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from .presets import PRESETS
from .saved import SavedSchedule, digest_of, read_saved, to_bytes

__all__ = ["RESERVED_NAMES", "Entry", "Store", "slug", "write_whole"]

RESERVED_NAMES = frozenset({*PRESETS, "auto"})  # a list shows these beside the saved names

_STALE = 3600.0  # seconds after which a temporary file has no writer any more
_TEMPORARY = ".ays-{}.tmp"
_log = logging.getLogger("align_your_steps")


@dataclass(frozen=True, eq=False)
class Entry:
    """A file of the store: where it is, when it was written, and its result without tensors."""

    path: Path
    modified: int  # ns
    saved: SavedSchedule
    digest: str


class Store:
    """The saved results in a list of folders.

    Arguments:
        folders: where to look, and where to write: the first that can be written wins.

    A result shows under its name. Where two results share one, or a preset or 'auto' has it, it
    shows as 'name [first six digits of its digest]'.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(Path(folder) for folder in folders)

    def save(self, saved: SavedSchedule) -> Path:
        """Write one result; it is there whole or not at all. Returns its file.

        Raises OSError if no folder can be written, ValueError for a result too large to be read
        again or with a tensor called "levels".
        """
        data = to_bytes(saved)
        file_name = f"{slug(saved.schedule.name)}-{saved.digest[:12]}.safetensors"
        failures = []
        for folder in self.folders:
            try:
                return write_whole(folder, file_name, data)
            except OSError as error:
                failures.append(f"{folder} ({error.strerror or error})")
                _log.warning("Cannot save a schedule in %s: %s", folder, error)
        raise OSError(
            f"The schedule {saved.schedule.name!r} could not be saved in any of these folders: "
            f"{', '.join(failures) or 'none given'}; make one of them writable, free some space, "
            f"or add a folder."
        )

    def list(self) -> dict[str, Entry]:
        """All results now in the folders, by the name to show, in alphabetical order."""
        return dict(sorted(self._shown(), key=lambda item: (item[0].casefold(), item[0])))

    def load(self, display_name: str, identity: str | None = None) -> SavedSchedule | None:
        """The result shown under a name; None if there is none, or if it vanished.

        'name [digits]' is understood even where 'name' suffices. A plain name that stands for
        several results is that of the model with the given identity, else the newest.
        """
        entry = self.list().get(display_name) or next(
            (entry for entry in self._entries() if _with_digits(entry) == display_name), None
        )
        if entry is None and display_name not in RESERVED_NAMES:
            named = [entry for entry in self._entries() if _label(entry) == display_name]
            own = [e for e in named if identity is not None and e.saved.identity == identity]
            entry = next(iter([*own, *named]), None)
        return _read_whole(entry.path) if entry else None

    def free_name(self, name: str, digest: str) -> str:
        """The name, or 'name (2)', 'name (3)', ... if another result has it already."""
        taken = {_label(entry) for entry in self._entries() if entry.digest != digest}
        numbered = (name if k == 1 else f"{name} ({k})" for k in count(1))
        return next(free for free in numbered if free not in taken)

    def find(self, request: Mapping[str, Any]) -> SavedSchedule | None:
        """The newest result of exactly this request; None if there is none."""
        if request.get("identity") is None:
            return None
        wanted = digest_of(request)
        found = (entry for entry in self._entries() if entry.digest == wanted)
        return next((saved for entry in found if (saved := _read_whole(entry.path))), None)

    def nearest(
        self, identity: str | None, *, steps: int, prefer: Mapping[str, Any]
    ) -> tuple[str, SavedSchedule] | None:
        """The result of a model that comes nearest to what is asked for, with the name it shows.

        First by the number of keys of `prefer` (JSON types) that its request has with the same
        value, then by |log(steps / its steps)|, then the newest. None if the model has none.
        """
        if identity is None:
            return None

        def distance(item: tuple[str, Entry]) -> tuple[int, float, int]:
            entry = item[1]
            request = entry.saved.request
            equal = sum(key in request and request[key] == prefer[key] for key in prefer)
            ratio = abs(math.log(steps / entry.saved.schedule.steps))
            return -equal, ratio, -entry.modified

        own = [item for item in self._shown() if item[1].saved.identity == identity]
        for name, entry in sorted(own, key=distance):
            if saved := _read_whole(entry.path):
                return name, saved
        return None

    def _entries(self) -> Iterator[Entry]:
        """The readable results, newest first; of copies in several folders only the newest."""
        entries = [entry for folder in self.folders for entry in _in_folder(folder)]
        seen = set()
        for entry in sorted(entries, key=lambda entry: -entry.modified):
            key = entry.digest, _label(entry)
            if key not in seen:
                seen.add(key)
                yield entry

    def _shown(self) -> Iterator[tuple[str, Entry]]:
        """Each result with the name it shows."""
        entries = tuple(self._entries())
        counts = Counter(_label(entry) for entry in entries)
        for entry in entries:
            label = _label(entry)
            # A name that already ends in digits gets its own, lest it pass for another result.
            plain = counts[label] == 1 and label not in RESERVED_NAMES
            ambiguous = re.search(r" \[[0-9a-f]{6}\]$", label)
            yield (label if plain and not ambiguous else _with_digits(entry)), entry


def slug(name: str) -> str:
    """A file name from any text: ASCII letters, digits, '-', '_' and '.', at most 60 characters.

    >>> slug("My model: 10 steps"), slug("../.."), slug("con")
    ('My-model-10-steps', 'schedule', '_con')
    """
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
    if re.match(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", safe, re.IGNORECASE):
        safe = f"_{safe}"  # these name devices on Windows, with any extension
    return safe[:60].rstrip("-.") or "schedule"


# -- names ----------------------------------------------------------------------------------


def _label(entry: Entry) -> str:
    """A result's name on one line of at most 100 printable characters."""
    words = " ".join(entry.saved.schedule.name.split())
    return "".join(c for c in words if c.isprintable())[:100].strip() or "schedule"


def _with_digits(entry: Entry) -> str:
    return f"{_label(entry)} [{entry.digest[:6]}]"


# -- writing --------------------------------------------------------------------------------


def write_whole(folder: Path, file_name: str, data: bytes) -> Path:
    """Write the file beside its place, then move it there: readers never see half of it."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    temporary = folder / _TEMPORARY.format(secrets.token_hex(8))
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / file_name)
    finally:
        with suppress(OSError):
            temporary.unlink()
    return folder / file_name


def _remove_leftovers(folder: Path) -> None:
    """Delete what writers left that did not live to move it."""
    for path in folder.glob(_TEMPORARY.format("*")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink()


# -- reading --------------------------------------------------------------------------------


def _in_folder(folder: Path) -> Iterator[Entry]:
    try:
        paths = sorted(folder.glob("*.safetensors"))
    except OSError:  # no such folder, or not a readable one: nothing saved there
        return
    for path in paths:
        try:
            status = path.stat() if path.exists() else path.lstat()
            entry = _entry(path, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:  # deleted since it was listed
            continue
        except OSError as error:  # may pass, so it is tried again, but told once
            _warn_once(path, str(error))
            continue
        if entry is not None:
            yield entry


@lru_cache(maxsize=4096)
def _entry(path: Path, modified: int, size: int) -> Entry | None:
    """The entry of one version of a file; None, and a log line, for what is not a result."""
    try:
        saved = read_saved(path, with_tensors=False)
        return Entry(path, modified, saved, saved.digest)
    except OSError:
        raise
    except Exception as error:  # a hostile file fails in ways that cannot be listed
        _log.warning("Skipped the schedule file %s (%d bytes): %s", path, size, error)
        return None


@lru_cache(maxsize=4096)
def _warn_once(path: Path, reason: str) -> None:
    _log.warning("Skipped the schedule file %s: %s", path, reason)


def _read_whole(path: Path) -> SavedSchedule | None:
    """A listed result with its tensors; None, and a log line, if it is no longer what it was."""
    try:
        return read_saved(path, with_tensors=True)
    except Exception as error:  # as in _entry
        _log.warning("Cannot load the schedule file %s: %s", path, error)
        return None
