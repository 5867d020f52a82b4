"""The cache: optimised schedules in a list of folders, one file per result.

The request, which is everything that makes two results the same, gives the file its name, so a
result is replaced only by the answer to the same request. A file that is not a result is skipped,
with one log line for as long as it stays as it is.

Here results are looked up; `changes` saves, renames and deletes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import changes
from .changes import Added, NameTakenError, UnknownNameError
from .files import Entry, read_whole
from .listing import RESERVED_NAMES, by_name, entries, shown
from .nearest import Asked, Nearest, by_weights_only, is_whole, ranked, reason_for, steps_known
from .saved_schedule import SavedSchedule, digest_of

__all__ = [
    "RESERVED_NAMES",
    "Added",
    "Asked",
    "NameTakenError",
    "Nearest",
    "Store",
    "UnknownNameError",
]

_TRIES = 20  # of reading a result that is renamed meanwhile


class Store:
    """The saved results in a list of folders, for all threads and processes that share them.

    Arguments:
        folders: where to look, and where to write: the first that can be written wins.
        taken: names that mean something else where these are used, such as the host's schedulers:
            no result is given one. Files that have one already are listed under it.

    passed_over: the folders before that one which could not be written at the last save, each with
    the reason.

    A result shows under its name. Where two results share one, or a preset or 'auto' has it, or one
    that looks the same, it shows as 'name [first six digits of its digest]'.
    """

    def __init__(self, folders: Sequence[Path], taken: Iterable[str] = ()) -> None:
        self.folders = tuple(Path(folder) for folder in folders)
        self.taken = frozenset(taken)
        self.passed_over: list[str] = []

    def list(self) -> dict[str, Entry]:
        """All results now in the folders, by the name to show, in alphabetical order."""
        return by_name(self.folders)

    def load(self, display_name: str, identity: str | None = None) -> SavedSchedule | None:
        """The result shown under a name; None if there is none, or if it vanished.

        'name [digits]' is understood even where 'name' suffices. A plain name that stands for
        several results is that of the model with the given identity, else the newest.
        """
        found = _first_whole(lambda: self._named(display_name, identity))
        return found[1] if found else None

    def holds(self, name: str, digest: str) -> bool:
        """Tell whether a name may stand for the result with a digest."""
        return any(
            entry.digest == digest and name in (entry.label, entry.with_digits)
            for entry in entries(self.folders)
        )

    def free_name(self, name: str, *digests: str) -> str:
        """The name, or 'name (2)', ... if a result with another digest has it, or it is taken."""
        return changes.free_name(self.folders, name, self.taken, digests)

    def check_name(self, name: str) -> None:
        """Raise NameTakenError for a name that always means something else."""
        changes.check_name(name, self.taken)

    def find(self, request: Mapping[str, Any]) -> SavedSchedule | None:
        """The newest result of exactly this request; None if there is none."""
        if request.get("identity") is None:
            return None
        wanted = digest_of(request)
        found = _first_whole(
            lambda: (
                (entry.label, entry) for entry in entries(self.folders) if entry.digest == wanted
            )
        )
        return found[1] if found else None

    def nearest(self, identity: str | None, asked: Asked) -> Nearest | None:
        """The result of a model to take for what is asked, see nearest.py; None if it has none."""
        items: list[tuple[str, Entry]] = []

        def chosen() -> Iterable[tuple[str, Entry]]:
            items[:] = ranked(self._of(identity), asked)
            return items

        found = _first_whole(chosen)
        return Nearest(*found, reason_for(items, asked)) if found else None

    def by_steps(
        self, identity: str | None, sampler: str | None = None, cfg: float | None = None
    ) -> dict[int, SavedSchedule]:
        """The result of a model to take for each number of steps that it has results for.

        Without tensors; those measured for the whole path alone. One whose weights alone were
        fitted to a number of steps comes after all that were made for it.
        """
        by_count: dict[int, list[tuple[str, Entry]]] = {}
        for item in self._of(identity):
            saved = item[1].saved
            for count in steps_known(saved) if is_whole(saved) else ():
                by_count.setdefault(count, []).append(item)
        found = {}
        for count in sorted(by_count):
            near = ranked(by_count[count], Asked(count, sampler, cfg))
            results = [entry.saved for _, entry in near]
            found[count] = min(results, key=partial(by_weights_only, steps=count))
        return found

    def save(self, saved: SavedSchedule) -> Path:
        """Write one result; it is there whole or not at all, and outlasts a power cut.

        It is the newest of all from then on. Returns its file.

        Raises OSError if no folder can be written, ValueError for a result too large to be read
        again or with a tensor called "levels".
        """
        path, self.passed_over = changes.save(self.folders, saved)
        return path

    def add(self, data: bytes, file_name: str) -> Added:
        """Keep a file that somebody sent; return the name that it shows, and whether it is new.

        What is here already stays as it is. A name that another result has, or that is reserved,
        gets a number: workflows that name the other one must not change.

        Raises ValueError for what is not a schedule, OSError if no folder can be written or one
        of them stays locked.
        """
        return changes.add(self.folders, data, file_name, self.taken)

    def rename(self, display_name: str, new_name: str) -> str:
        """Give a result another name, in every copy of it; return the name that it shows.

        Each copy is there all the time, under the one name or the other.

        Raises ValueError for a name that cannot be given, NameTakenError for one that another
        result has, UnknownNameError if there is no such result, and OSError if a copy could not be
        changed, saying where it is, or if a folder stays locked.
        """
        return changes.rename(self.folders, display_name, new_name, self.taken)

    def delete(self, display_name: str) -> None:
        """Delete a result: every copy of it.

        Raises UnknownNameError if there is no such result, and OSError if a copy could not be
        deleted, saying where it is, or if a folder stays locked.
        """
        changes.delete(self.folders, display_name)

    def forget(self, request: Mapping[str, Any], name: str) -> None:
        """Delete the results of a request under a name, as far as their files can be deleted."""
        changes.forget(self.folders, request, name)

    def _of(self, identity: str | None) -> Sequence[tuple[str, Entry]]:
        """The results of a model; none of one that could not be identified."""
        if identity is None:
            return []
        return [item for item in shown(self.folders) if item[1].saved.identity == identity]

    def _named(self, name: str, identity: str | None) -> Sequence[tuple[str, Entry]]:
        """The result that a name stands for, if there is one."""
        shows = self.list().get(name)
        meant = [shows] if shows else [e for e in entries(self.folders) if e.with_digits == name]
        if not meant and name not in RESERVED_NAMES:
            named = [entry for entry in entries(self.folders) if entry.label == name]
            own = [e for e in named if identity is not None and e.saved.identity == identity]
            meant = [*own, *named]
        return [(name, entry) for entry in meant[:1]]


def _first_whole(
    chosen: Callable[[], Iterable[tuple[str, Entry]]],
) -> tuple[str, SavedSchedule] | None:
    """The first that can be read of the results that are chosen, with its name.

    They are chosen anew if one is no longer where it was: it may have been renamed, and those after
    it are older answers.
    """
    for _ in range(_TRIES):
        for name, entry in chosen():
            if saved := read_whole(entry.path):
                return name, saved
            if not os.path.lexists(entry.path):
                break
        else:
            break
    return None
