"""A list of schedules to compare, alone or each with a sampler, as it is written.

Names are those of KSampler's schedulers, of the published tables, of saved schedules, and 'auto'.
A sampler may stand before one: 'dpmpp_2m karras', 'dpmpp_2m + karras', 'dpmpp_2m with karras'.
They stand between commas or on lines of their own. A saved name may hold commas itself: the longest
name counts. Lists of saved results, to merge their profiles, are written in the same way.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...schedules import PRESETS
from ...schedules.store import LONGEST_NAME
from .. import host
from .limits import checked_text, shortened
from .schema import AUTO

__all__ = ["Entry", "parsed_entries", "parsed_results"]

MOST_NAMES = 24  # names: more would make neither a table nor a plot that can be read
MOST_RESULTS = 200  # to merge at a time
LISTED_NAMES = 90  # characters of saved names that an error shows
PAIR = re.compile(r"([^\s+]+)(?:\s*\+\s*|\s+with\s+|\s+)(\S.*)")  # a sampler, and a schedule

T = TypeVar("T")
FindName = Callable[[str], str | None]  # the known name that a text is


@dataclass(frozen=True)
class Entry:
    """A schedule to compare.

    name:     as it is shown
    schedule: of which name
    sampler:  that runs it; None: the one that is chosen for all
    """

    name: str
    schedule: str
    sampler: str | None = None


def parsed_entries(text: str) -> list[Entry]:
    """The schedules that a text names, each once.

    Raises ValueError, in a sentence, for a name that nothing has, and for too many.
    """
    checked_text("schedules", text)
    saved = list(host.store().list())
    # The first spelling wins where two names differ in their case alone.
    known = [*host.scheduler_names(), host.SCHEDULER_NAME, *PRESETS, AUTO, *saved]
    samplers = {name.casefold(): name for name in host.sampler_names()}

    def paired(find: FindName, text: str) -> Entry | None:
        name = find(text)
        if name is not None:
            return Entry(name, name)
        pair = PAIR.fullmatch(text)
        sampler = None if pair is None else samplers.get(pair[1].casefold())
        schedule = None if pair is None else find(pair[2])
        if sampler is None or schedule is None:
            return None
        return Entry(f"{sampler} {schedule}", schedule, sampler)

    def unknown(name: str) -> str:
        pair = PAIR.fullmatch(name)
        return _unknown(pair[2] if pair and pair[1].casefold() in samplers else name, known, saved)

    entries = _found_in(text, known, paired, unknown)
    if len(entries) > MOST_NAMES:
        raise ValueError(
            f"{len(entries)} schedules were named: compare at most {MOST_NAMES} at a time."
        )
    return entries


def parsed_results(text: str) -> list[str]:
    """The names of saved results in a text, each once.

    Raises ValueError, in a sentence, for a name that none has, and for too many.
    """
    checked_text("results", text)
    saved = list(host.store().list())
    names = _found_in(
        text, saved, lambda find, name: find(name), lambda name: _no_result(name, saved)
    )
    if len(names) > MOST_RESULTS:
        raise ValueError(
            f"{len(names)} results were named: merge at most {MOST_RESULTS} at a time, and what "
            "was merged with the others."
        )
    return names


def _found_in(
    text: str,
    known: Sequence[str],
    meant: Callable[[FindName, str], T | None],
    unknown: Callable[[str], str],
) -> list[T]:
    """What a text names, each once.

    meant:   what a name stands for, by what finds a known one; None: for nothing
    unknown: what to say of such a one
    """
    folded = {name.casefold(): name for name in reversed(known)}
    exact = {name: name for name in known}
    most = 1 + max((name.count(",") for name in known), default=0)

    def find(name: str) -> str | None:
        return exact.get(name) or folded.get(name.casefold())

    found = []
    for line in text.splitlines():
        parts = [part for part in line.split(",") if part.strip()]
        while parts:
            for count in range(min(most, len(parts)), 0, -1):  # the longest name counts
                one = meant(find, ",".join(parts[:count]).strip())
                if one is not None:
                    break
            else:
                raise ValueError(unknown(parts[0].strip()))
            found.append(one)
            parts = parts[count:]
    return list(dict.fromkeys(found))


def _unknown(name: str, known: Sequence[str], saved: Sequence[str]) -> str:
    have = f"; saved on this machine: {_joined_names(saved)}" if saved else ""
    return (
        f"There is no schedule {shortened(name)}.{_meant(name, known)} Give '{AUTO}', a scheduler "
        f"({', '.join(host.scheduler_names())}, {host.SCHEDULER_NAME}), a published table "
        f"({', '.join(PRESETS)}) or a saved schedule{have}, alone or after a sampler."
    )


def _no_result(name: str, saved: Sequence[str]) -> str:
    if not saved:
        return (
            f"There is no saved result {shortened(name)}: nothing is saved on this machine. Run "
            "Optimize AYS, or drop another machine's .safetensors file on the panel AYS schedules."
        )
    return (
        f"There is no saved result {shortened(name)}.{_meant(name, saved)} Give names as the "
        f"schedule lists show them; saved on this machine: {_joined_names(saved)}."
    )


def _meant(name: str, known: Sequence[str]) -> str:
    spelled = name[:LONGEST_NAME].casefold()
    near = difflib.get_close_matches(spelled, [k.casefold() for k in known], n=1)
    return f" Did you mean '{next(k for k in known if k.casefold() == near[0])}'?" if near else ""


def _joined_names(saved: Sequence[str]) -> str:
    more = f" … ({len(saved)} in all)"
    return textwrap.shorten(", ".join(saved), LISTED_NAMES, placeholder=more)
