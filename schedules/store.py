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
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from .files import (
    JSON,
    LONGEST_NAME,
    SAFETENSORS,
    Entry,
    content_of,
    forget,
    free_path,
    in_folder,
    one_line,
    read_bytes,
    read_whole,
    slug,
    write_whole,
)
from .presets import PRESETS
from .saved import SavedSchedule, digest_of

__all__ = ["RESERVED_NAMES", "NameTakenError", "Store", "UnknownNameError"]

RESERVED_NAMES = frozenset({*PRESETS, "auto"})  # a list shows these beside the saved names

_changes = threading.Lock()  # of names and files, by people; one at a time
_log = logging.getLogger("align_your_steps")


class UnknownNameError(LookupError):
    """No schedule shows under a name."""


class NameTakenError(ValueError):
    """Another schedule has a name."""


class Store:
    """The saved results in a list of folders.

    Arguments:
        folders: where to look, and where to write: the first that can be written wins.

    passed_over: the folders before that one which could not be written at the last save, each with
    the reason.

    A result shows under its name. Where two results share one, or a preset or 'auto' has it, it
    shows as 'name [first six digits of its digest]'.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(Path(folder) for folder in folders)
        self.passed_over: list[str] = []

    def save(self, saved: SavedSchedule) -> Path:
        """Write one result; it is there whole or not at all. Returns its file.

        Raises OSError if no folder can be written, ValueError for a result too large to be read
        again or with a tensor called "levels".
        """
        file_name = _file_name(saved, saved.digest, SAFETENSORS)
        data = content_of(saved, SAFETENSORS)
        return self._write(file_name, data, saved.schedule.name, replacing=True)

    def _write(self, file_name: str, data: bytes, name: str, *, replacing: bool) -> Path:
        """A file in the first folder that can be written; OSError if there is none."""
        self.passed_over = failures = []
        for folder in self.folders:
            try:
                path = folder / file_name if replacing else free_path(folder / file_name)
                return write_whole(folder, path.name, data)
            except OSError as error:
                failures.append(f"{folder} ({error.strerror or error})")
                _log.warning("Cannot save a schedule in %s: %s", folder, error)
        raise OSError(
            f"The schedule {name!r} could not be saved in any of these folders: "
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
            (entry for entry in self._entries() if entry.with_digits == display_name), None
        )
        if entry is None and display_name not in RESERVED_NAMES:
            named = [entry for entry in self._entries() if entry.label == display_name]
            own = [e for e in named if identity is not None and e.saved.identity == identity]
            entry = next(iter([*own, *named]), None)
        return read_whole(entry.path) if entry else None

    def holds(self, name: str, digest: str) -> bool:
        """Whether a name may stand for the result with a digest."""
        return any(
            entry.digest == digest and name in (entry.label, entry.with_digits)
            for entry in self._entries()
        )

    def free_name(self, name: str, *digests: str) -> str:
        """The name, or 'name (2)', 'name (3)', ... if a result with another digest has it."""
        taken = {entry.label for entry in self._entries() if entry.digest not in digests}
        numbered = (name if k == 1 else f"{name} ({k})" for k in count(1))
        return next(free for free in numbered if free not in taken)

    def add(self, data: bytes, file_name: str) -> str:
        """Keep a file that somebody sent; return the name that it shows.

        What is here already stays as it is. A name that another result has, or that is reserved,
        gets a number: workflows that name the other one must not change.

        Raises ValueError for what is not a schedule, OSError if no folder can be written.
        """
        saved, suffix = read_bytes(data, file_name)
        digest, levels = saved.digest, saved.schedule.levels
        with _changes:
            for name, entry in self._shown():
                if (entry.digest, entry.saved.schedule.levels) == (digest, levels):
                    return name
            wanted = one_line(saved.schedule.name)[: LONGEST_NAME - 6].strip() or "schedule"
            taken = RESERVED_NAMES.union(entry.label for entry in self._entries())
            numbered = (wanted if k == 1 else f"{wanted} ({k})" for k in count(1))
            saved = _named(saved, next(free for free in numbered if free not in taken))
            data = content_of(saved, suffix)
            file_name = _file_name(saved, digest, suffix)
            path = self._write(file_name, data, saved.schedule.name, replacing=False)
            return self._name_of(path)

    def rename(self, display_name: str, new_name: str) -> str:
        """Give a result another name, in every copy of it; return the name that it shows.

        Each copy is written whole before the old one goes.

        Raises ValueError for a name that cannot be given, NameTakenError for one that another
        result has, UnknownNameError if there is no such result, and OSError if a copy could not be
        changed, saying where it is.
        """
        new = one_line(new_name)
        if not new or len(new) > LONGEST_NAME:
            raise ValueError(
                f"The new name has {len(new)} characters; give it 1 to {LONGEST_NAME}."
            )
        if new in RESERVED_NAMES:
            raise NameTakenError(f"'{new}' always has another meaning; choose another name.")
        with _changes:
            entry = self._existing(display_name)
            if new == entry.label:
                return display_name
            if any(other.label == new for other in self._entries()):
                raise NameTakenError(
                    f"There is already a schedule called '{new}'; choose another name, or rename "
                    "or delete that one first."
                )
            done, failures = [], []
            for copy in self._copies(entry):
                try:
                    done.append(_rename_file(copy, new))
                except FileNotFoundError:  # deleted since it was listed
                    continue
                except OSError as error:
                    failures.append(f"{copy.path} ({error.strerror or error})")
            forget()
            if failures:
                what = f"was renamed to '{new}', but not this copy" if done else "stays as it is"
                raise OSError(
                    f"'{display_name}' {what}: {', '.join(failures)} cannot be changed. Make its "
                    "folder writable, or ask whoever owns it."
                )
            if not done:
                raise _unknown(display_name)
            return self._name_of(done[0])

    def delete(self, display_name: str) -> None:
        """Delete a result: every copy of it.

        Raises UnknownNameError if there is no such result, and OSError if a copy could not be
        deleted, saying where it is.
        """
        with _changes:
            failures = []
            for copy in self._copies(self._existing(display_name)):
                try:
                    copy.path.unlink(missing_ok=True)
                except OSError as error:
                    failures.append(f"{copy.path} ({error.strerror or error})")
            if failures:
                raise OSError(
                    f"'{display_name}' is still there: {', '.join(failures)} cannot be deleted. "
                    "Make its folder writable, or delete the file yourself."
                )

    def _existing(self, display_name: str) -> Entry:
        """Raises UnknownNameError if no result shows under the name."""
        entry = self.list().get(display_name)
        if entry is None:
            if display_name in RESERVED_NAMES:
                raise ValueError(f"'{display_name}' is built in: it cannot be changed or deleted.")
            raise _unknown(display_name)
        return entry

    def _copies(self, entry: Entry) -> Sequence[Entry]:
        """The same result under the same name, wherever it is."""
        found = (other for folder in self.folders for other in in_folder(folder))
        key = entry.digest, entry.label
        return [other for other in found if (other.digest, other.label) == key]

    def _name_of(self, path: Path) -> str:
        """The name under which a file, or a better copy of it, shows."""
        written = next(entry for entry in in_folder(path.parent) if entry.path == path)
        key = written.digest, written.label
        shown = (name for name, entry in self._shown() if (entry.digest, entry.label) == key)
        return next(shown, written.label)

    def forget(self, request: Mapping[str, Any], name: str) -> None:
        """Delete the results of a request under a name, as far as their files can be deleted."""
        wanted = digest_of(request)
        with _changes:
            for folder in self.folders:
                for entry in in_folder(folder):
                    if entry.digest == wanted and entry.saved.schedule.name == name:
                        with suppress(OSError):
                            entry.path.unlink(missing_ok=True)

    def find(self, request: Mapping[str, Any]) -> SavedSchedule | None:
        """The newest result of exactly this request; None if there is none."""
        if request.get("identity") is None:
            return None
        wanted = digest_of(request)
        found = (entry for entry in self._entries() if entry.digest == wanted)
        return next((saved for entry in found if (saved := read_whole(entry.path))), None)

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
            if saved := read_whole(entry.path):
                return name, saved
        return None

    def _entries(self) -> Iterator[Entry]:
        """The readable results, newest first; of copies in several folders only the newest."""
        entries = [entry for folder in self.folders for entry in in_folder(folder)]
        shown: dict[tuple[str, str], Entry] = {}
        for entry in sorted(entries, key=lambda entry: -entry.modified):
            newer = shown.setdefault((entry.digest, entry.label), entry)
            equal = newer.saved.schedule.levels == entry.saved.schedule.levels
            if equal and newer.path.suffix.lower() == JSON:  # the other format holds more
                shown[entry.digest, entry.label] = entry
        yield from shown.values()

    def _shown(self) -> Iterator[tuple[str, Entry]]:
        """Each result with the name it shows."""
        entries = tuple(self._entries())
        counts = Counter(entry.label for entry in entries)
        for entry in entries:
            label = entry.label
            # A name that already ends in digits gets its own, lest it pass for another result.
            plain = counts[label] == 1 and label not in RESERVED_NAMES
            ambiguous = re.search(r" \[[0-9a-f]{6}\]$", label)
            yield (label if plain and not ambiguous else entry.with_digits), entry


def _unknown(name: str) -> UnknownNameError:
    return UnknownNameError(f"There is no schedule '{name}' here any more; refresh the list.")


def _named(saved: SavedSchedule, name: str) -> SavedSchedule:
    return replace(saved, schedule=replace(saved.schedule, name=name))


def _file_name(saved: SavedSchedule, digest: str, suffix: str) -> str:
    return f"{slug(saved.schedule.name)}-{digest[:12]}{suffix}"


def _rename_file(copy: Entry, name: str) -> Path:
    """Write a file under another name, then delete the old one; all or nothing."""
    saved = read_whole(copy.path)
    if saved is None:
        raise FileNotFoundError(copy.path)
    saved = _named(saved, name)
    suffix = copy.path.suffix.lower()
    path = copy.path.with_name(_file_name(saved, copy.digest, suffix))
    if path != copy.path:
        path = free_path(path)  # two names may give one file name
    write_whole(path.parent, path.name, content_of(saved, suffix))
    # As old as before: 'auto' takes the newest of equals.
    os.utime(path, ns=(copy.modified, copy.modified))
    if path != copy.path:
        try:
            copy.path.unlink(missing_ok=True)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    return path
