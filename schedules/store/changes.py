"""Changing what is in a list of folders: save, add, rename, delete, each whole or not at all.

A change looks for what it changes once it holds the locks, so two of them are as if one had come
after the other, whichever processes they are in. What was saved last is the newest, whatever the
clock says.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from .atomic_write import free_path, put, sync, writing
from .files import (
    LONGEST_NAME,
    SAFETENSORS,
    Entry,
    content_of,
    in_folder,
    is_newer,
    label_of,
    one_line,
    read_bytes,
    read_whole,
    slug,
)
from .folder_lock import BusyError, all_locked
from .listing import RESERVED_NAMES, by_name, entries, is_reserved, shown
from .saved_schedule import SavedSchedule, digest_of

__all__ = [
    "Added",
    "NameTakenError",
    "UnknownNameError",
    "add",
    "check_name",
    "delete",
    "forget",
    "free_name",
    "rename",
    "save",
]

_NEWER = 1_000_000  # ns by which what is saved is newer than all else, at least
_RENAMED = 1_000  # ns that a renaming adds, so that no two versions of a file have one time
_log = logging.getLogger("align_your_steps")


class UnknownNameError(LookupError):
    """No schedule shows under a name."""


class NameTakenError(ValueError):
    """Another schedule has a name, or it always means something else."""


class Added(NamedTuple):
    """Account of what became of a file that somebody sent.

    name: the one that its schedule shows
    new:  whether it was not here before
    """

    name: str
    new: bool


def save(folders: Sequence[Path], saved: SavedSchedule) -> tuple[Path, list[str]]:
    """See Store.save. Returns the file, and the folders passed over, each with the reason."""
    data, digest = content_of(saved, SAFETENSORS), saved.digest
    failures: list[str] = []
    for folder in folders:
        try:
            with writing(folder) as in_turn:
                usual = folder / _file_name(saved, digest, SAFETENSORS)
                path = _path_for(usual, saved, digest) if in_turn else free_path(usual)
                return put(path, data, _newest(folders)), failures
        except OSError as error:
            failures.append(_failed(folder, error))
    raise _nowhere(saved, failures)


def add(folders: Sequence[Path], data: bytes, file_name: str, taken: Collection[str] = ()) -> Added:
    """See Store.add."""
    saved, suffix = read_bytes(data, file_name)
    digest = saved.digest
    with suppress(OSError, IndexError):
        folders[0].mkdir(parents=True, exist_ok=True)  # a folder that is not there has no lock
    with all_locked(folders):
        for name, entry in shown(folders):
            if (entry.digest, entry.saved.numbers) == (digest, saved.numbers):
                return Added(name, new=False)
        wanted = one_line(saved.schedule.name)[: LONGEST_NAME - 6].strip() or "schedule"
        saved = _named(saved, free_name(folders, wanted, taken))
        data = content_of(saved, suffix)
        failures = []
        for folder in folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path = free_path(folder / _file_name(saved, digest, suffix))
                put(path, data, _newest(folders))
                return Added(_name_of(folders, digest, label_of(saved)), new=True)
            except OSError as error:
                failures.append(_failed(folder, error))
        raise _nowhere(saved, failures)


def free_name(
    folders: Sequence[Path], name: str, taken: Collection[str] = (), digests: Collection[str] = ()
) -> str:
    """See Store.free_name."""
    others = {entry.label for entry in entries(folders) if entry.digest not in digests}
    numbered = (name if k == 1 else f"{name} ({k})" for k in count(1))
    return next(free for free in numbered if free not in others and not is_reserved(free, taken))


def check_name(name: str, taken: Collection[str] = ()) -> None:
    """See Store.check_name."""
    if is_reserved(name, taken):
        raise NameTakenError(
            f"'{one_line(name)}' always has another meaning: schedulers, published tables and "
            "'auto' keep their names. Choose another name."
        )


def rename(
    folders: Sequence[Path], display_name: str, new_name: str, taken: Collection[str] = ()
) -> str:
    """See Store.rename."""
    new = one_line(new_name)
    if not new or len(new) > LONGEST_NAME:
        raise ValueError(f"The new name has {len(new)} characters; give it 1 to {LONGEST_NAME}.")
    check_name(new, taken)
    with all_locked(folders):
        entry = _existing(folders, display_name)
        if new == entry.label:
            return display_name
        if any(other.label == new for other in entries(folders)):
            raise NameTakenError(
                f"There is already a schedule called '{new}'; choose another name, or rename "
                "or delete that one first."
            )
        done, failures = False, []
        for copy in _copies(folders, entry):
            try:
                _rename_file(copy, new)
                done = True
            except FileNotFoundError:  # deleted by someone without a lock
                continue
            except OSError as error:
                failures.append(f"{copy.path} ({error.strerror or error})")
        if failures:
            what = f"was renamed to '{new}', but not this copy" if done else "stays as it is"
            raise OSError(
                f"'{display_name}' {what}: {', '.join(failures)} cannot be changed. Make its "
                "folder writable, or ask whoever owns it."
            )
        if not done:
            raise _unknown(display_name)
        return _name_of(folders, entry.digest, new)


def delete(folders: Sequence[Path], display_name: str) -> None:
    """See Store.delete."""
    with all_locked(folders):
        failures = []
        for copy in _copies(folders, _existing(folders, display_name)):
            try:
                copy.path.unlink(missing_ok=True)
                sync(copy.path.parent)
            except OSError as error:
                failures.append(f"{copy.path} ({error.strerror or error})")
        if failures:
            raise OSError(
                f"'{display_name}' is still there: {', '.join(failures)} cannot be deleted. "
                "Make its folder writable, or delete the file yourself."
            )


def forget(folders: Sequence[Path], request: Mapping[str, Any], name: str) -> None:
    """See Store.forget."""
    wanted = digest_of(request)
    with suppress(BusyError), all_locked(folders):
        for entry in _files(folders):
            if entry.digest == wanted and entry.saved.schedule.name == name:
                with suppress(OSError):
                    entry.path.unlink(missing_ok=True)


# -- files ----------------------------------------------------------------------------------


def _path_for(usual: Path, saved: SavedSchedule, digest: str) -> Path:
    """Choose where a result goes: over an earlier answer of its name, over no other result."""
    here = {entry.path: (entry.digest, entry.label) for entry in in_folder(usual.parent)}
    same = [path for path, key in here.items() if key == (digest, label_of(saved))]
    earlier = [path for path in same if path.suffix.lower() == SAFETENSORS]
    if earlier and usual not in earlier:
        return earlier[0]
    others = here.keys() - set(earlier)
    return free_path(usual, lambda path: path in others or is_newer(path))


def _newest(folders: Sequence[Path]) -> int:
    """The time, in ns, of what is saved now."""
    return max([time.time_ns(), *(entry.modified + _NEWER for entry in _files(folders))])


def _rename_file(copy: Entry, name: str) -> None:
    """Give a file's result another name, then the file: there is one whole file all the time."""
    saved = read_whole(copy.path)
    if saved is None:
        raise FileNotFoundError(copy.path)
    saved = _named(saved, name)
    suffix = copy.path.suffix.lower()
    # No newer than before: 'auto' takes the newest of equals.
    put(copy.path, content_of(saved, suffix), copy.modified + _RENAMED)
    path = copy.path.with_name(_file_name(saved, copy.digest, suffix))
    if path != copy.path:
        with suppress(OSError):  # it has its name already, in a file of another one
            os.rename(copy.path, free_path(path))  # two names may give one file name
            sync(path.parent)


def _copies(folders: Sequence[Path], entry: Entry) -> list[Entry]:
    """The same result under the same name, wherever it is.

    The newest last: until it changes too, nobody takes an older answer for it.
    """
    key = entry.digest, entry.label
    found = [other for other in _files(folders) if (other.digest, other.label) == key]
    return sorted(found, key=lambda copy: copy.modified)


def _files(folders: Sequence[Path]) -> list[Entry]:
    """Every file with a result, copies included."""
    return [entry for folder in folders for entry in in_folder(folder)]


def _named(saved: SavedSchedule, name: str) -> SavedSchedule:
    return replace(saved, schedule=replace(saved.schedule, name=name))


def _file_name(saved: SavedSchedule, digest: str, suffix: str) -> str:
    return f"{slug(saved.schedule.name)}-{digest[:12]}{suffix}"


def _existing(folders: Sequence[Path], display_name: str) -> Entry:
    """Raises UnknownNameError if no result shows under the name."""
    entry = by_name(folders).get(display_name)
    if entry is None:
        if display_name in RESERVED_NAMES:
            raise ValueError(f"'{display_name}' is built in: it cannot be changed or deleted.")
        raise _unknown(display_name)
    return entry


def _name_of(folders: Sequence[Path], digest: str, label: str) -> str:
    """The name under which a result shows."""
    key = digest, label
    found = (name for name, entry in shown(folders) if (entry.digest, entry.label) == key)
    return next(found, label)


def _unknown(name: str) -> UnknownNameError:
    shown_name = one_line(name)[:LONGEST_NAME]
    return UnknownNameError(f"There is no schedule '{shown_name}' here any more; refresh the list.")


def _failed(folder: Path, error: OSError) -> str:
    _log.warning("Cannot save a schedule in %s: %s", folder, error)
    return f"{folder} ({error.strerror or error})"


def _nowhere(saved: SavedSchedule, failures: Sequence[str]) -> OSError:
    return OSError(
        f"The schedule {saved.schedule.name!r} could not be saved in any of these folders: "
        f"{', '.join(failures) or 'none given'}; make one of them writable, free some space, "
        f"or add a folder."
    )
