"""One schedule as a small JSON file, to send and to read: text, without tensors and report.

    {"format": "align_your_steps.schedule", "version": 1, "name": ..., "levels": [...],
     "provenance": {"who", "what", "when"}, "others": [[...], ...], "request": {...},
     "notes": {...}}

What other people write by hand is read too: {"levels": [...]} or {"sigmas": [...]} is enough.
`levels` are a Schedule's, the last one sigma_min or 0; `sigmas` are what a sampler runs, and a
final 0 that they lack is added. Such a schedule belongs to no model: it has no identity, is never
picked up by itself, and is told from others by a digest of its levels.

Files may come from anywhere: sizes are checked before anything is parsed, and all that a name, a
level or a request may be is checked as in a saved result.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .saved import FORMAT, FORMAT_VERSION, MAX_LEVELS, SavedSchedule, size_of_file
from .schedule import Schedule

__all__ = ["LARGEST", "from_json", "read_shared", "to_json", "to_json_bytes"]

LARGEST = 2 * 2**20  # bytes
LISTS = 64  # of levels for other numbers of steps
REPORT = "report"  # a note that stays behind: it is long, and names folders


def to_json(saved: SavedSchedule) -> dict[str, Any]:
    """A result as JSON types, for `from_json`."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        **saved.schedule.to_dict(),
        "request": saved.request,
        "notes": {key: note for key, note in saved.notes.items() if key != REPORT},
    }


def to_json_bytes(saved: SavedSchedule) -> bytes:
    """The content of a result's JSON file. Raises ValueError if it is too large to be read."""
    data = (json.dumps(to_json(saved), indent=1, allow_nan=False) + "\n").encode()
    _check_size(len(data))
    return data


def read_shared(path: Path) -> SavedSchedule:
    """Read a JSON file and check everything in it.

    Raises ValueError or whatever the parser raises, saying what is wrong with the file.
    """
    _check_size(size_of_file(path))
    return from_json(path.read_bytes(), path.stem)


def from_json(data: bytes, name: str) -> SavedSchedule:
    """The schedule in the content of a JSON file.

    name: what it is called if the content does not say

    Raises ValueError (or RecursionError for hostile nesting), saying what is wrong.
    """
    _check_size(len(data))
    try:
        text = data.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError("it is not text in UTF-8") from error
    content = json.loads(text, object_pairs_hook=_without_repeats)
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object with levels")
    version = content.get("version", FORMAT_VERSION)
    if content.get("format", FORMAT) != FORMAT or version != FORMAT_VERSION:
        raise ValueError(f"it is not a schedule of format version {FORMAT_VERSION}")
    # NaN, a number beyond all bounds, or half a character pair could be written by no one again.
    json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    request, notes = (_object(content, key) for key in ("request", "notes"))
    identity = request.get("identity")
    if not isinstance(identity, str | None):
        raise ValueError("its model identity is not text")
    schedule = _schedule(content, name)
    # Levels of a flow model run from 1 to 0, of any other from far above 1.
    notes = {"flow": schedule.levels[0] <= 1.0, **notes}
    return SavedSchedule(schedule, identity, request, notes=notes)


def _schedule(content: dict[str, Any], name: str) -> Schedule:
    """The levels, with what is missing around them filled in."""
    levels = content.get("levels", content.get("sigmas"))
    others = content.get("others", [])
    if not isinstance(levels, list) or not isinstance(others, list) or len(others) > LISTS:
        raise ValueError("it holds no list of numbers called 'levels' or 'sigmas'")
    if any(isinstance(part, list) and len(part) > MAX_LEVELS for part in (levels, *others)):
        raise ValueError(f"a schedule has at most {MAX_LEVELS} levels")
    if "levels" not in content and levels and levels[-1] != 0:
        levels = [*levels, 0.0]
    unknown = {"who": "imported", "what": "unknown", "when": "unknown"}
    return Schedule.from_dict(
        {
            "levels": levels,
            "others": others,
            "name": content.get("name", name),
            "provenance": content.get("provenance", unknown),
        }
    )


def _object(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"its '{key}' is not a JSON object")
    return value


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers may take different ones of two equal keys."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it holds {key!r} twice")
        found[key] = value
    return found


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise ValueError(
            f"the JSON file of a schedule may have {LARGEST >> 20} MiB, but this one has {size} "
            "bytes"
        )
