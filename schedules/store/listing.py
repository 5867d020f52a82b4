"""Results that a list of folders shows, and the names under which it does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..names import looks_like
from ..presets import PRESETS
from .files import JSON, Entry, in_folder

__all__ = ["RESERVED_NAMES", "by_name", "entries", "is_reserved", "shown"]

RESERVED_NAMES = frozenset({*PRESETS, "auto"})  # a list shows these beside the saved names


def is_reserved(name: str, taken: Iterable[str]) -> bool:
    """Tell whether a name, or one that looks the same in any capitals, always means something else.

    taken: names that do, beside RESERVED_NAMES

    >>> [is_reserved(name, ["karras"]) for name in ("Auto", "Karras", "karras 2")]
    [True, True, False]
    """
    look = looks_like(name).casefold()
    return any(look == looks_like(other).casefold() for other in (*RESERVED_NAMES, *taken))


def entries(folders: Sequence[Path]) -> list[Entry]:
    """The readable results, newest first; of copies in several folders only the newest."""
    found = [entry for folder in folders for entry in in_folder(folder)]
    best: dict[tuple[str, str], Entry] = {}
    for entry in sorted(found, key=lambda entry: -entry.modified):
        newer = best.setdefault((entry.digest, entry.label), entry)
        if newer is entry:
            continue
        equal = newer.saved.numbers == entry.saved.numbers
        if equal and newer.path.suffix.lower() == JSON:  # the other format holds more
            best[entry.digest, entry.label] = entry
    return list(best.values())


def shown(folders: Sequence[Path]) -> Iterator[tuple[str, Entry]]:
    """Each result, newest first, with the name it shows."""
    found = entries(folders)
    counts = Counter(entry.look for entry in found)
    for entry in found:
        label, look = entry.label, entry.look
        # A name that already ends in digits gets its own, lest it pass for another result.
        plain = counts[look] == 1 and look not in RESERVED_NAMES
        ambiguous = re.search(r" \[[0-9a-f]{6}\]$", label)
        yield (label if plain and not ambiguous else entry.with_digits), entry


def by_name(folders: Sequence[Path]) -> dict[str, Entry]:
    """The results by the name to show, in alphabetical order."""
    return dict(sorted(shown(folders), key=lambda item: (item[0].casefold(), item[0])))
