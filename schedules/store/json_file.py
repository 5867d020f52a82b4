"""One schedule as a small JSON file, to send and to read: text, without tensors and report.

    {"format": "align_your_steps.schedule", "version": 1, "name": ..., "levels": [...],
     "provenance": {"who", "what", "when"}, "others": [[...], ...], "request": {...},
     "notes": {...}}

Calibrated samplers make it version 2, "samplers": [{"levels", "told", "weights"}, ...]; see
calibrated.py.

What other people write by hand is read too: {"levels": [...]} or {"sigmas": [...]} is enough, and
so is a list of levels alone (from_text.py).
`levels` are a Schedule's, the last one sigma_min or 0; `sigmas` are what a sampler runs, and a
final 0 that they lack is added. Such a schedule belongs to no model: it has no identity, is never
picked up by itself, and is told from others by a digest of its levels.

Files may come from anywhere: sizes are checked before anything is parsed, and all that a name, a
level or a request may be is checked as in a saved result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..from_text import as_json
from ..schedule import Schedule
from .json_text import parsed, writable
from .safe_open import opened
from .saved_schedule import (
    FORMAT,
    FORMAT_VERSION,
    OLDEST_VERSION,
    SavedSchedule,
    check_counts,
    samplers_from,
    version_of,
)
from .version import check_version

__all__ = ["LARGEST", "from_content", "from_json", "read_shared", "to_json", "to_json_bytes"]

LARGEST = 2 * 2**20  # bytes
REPORT = "report"  # a note that stays behind: it is long, and names folders


def to_json(saved: SavedSchedule) -> dict[str, Any]:
    """A result as JSON types, for `from_json`."""
    samplers = [sampler.to_dict() for sampler in saved.samplers]
    return {
        "format": FORMAT,
        "version": version_of(saved),
        **saved.schedule.to_dict(),
        "request": saved.request,
        "notes": {key: note for key, note in saved.notes.items() if _is_shared(key, note)},
        **({"samplers": samplers} if samplers else {}),
    }


def to_json_bytes(saved: SavedSchedule) -> bytes:
    """The content of a result's JSON file. Raises ValueError for what could not be read again."""
    check_counts(saved.schedule.levels, saved.schedule.others)
    data = (json.dumps(writable(to_json(saved)), indent=1, allow_nan=False) + "\n").encode()
    _check_size(len(data))
    return data


def read_shared(path: Path) -> SavedSchedule:
    """Read a JSON file and check everything in it.

    Raises ValueError, saying what is wrong with the file, and OSError if it cannot be opened.
    """
    with opened(path, links=True) as (file, size):
        _check_size(size)
        return from_json(file.read(LARGEST + 1), path.stem)


def from_json(data: bytes, name: str) -> SavedSchedule:
    """The schedule in the content of a JSON file.

    name: what it is called if the content does not say

    Raises ValueError, saying what is wrong.
    """
    data = as_json(data)
    _check_size(len(data))
    return from_content(parsed(data), name)


def from_content(content: object, name: str) -> SavedSchedule:
    """The schedule in what JSON text has given, see `from_json`."""
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object with levels")
    if content.get("format", FORMAT) != FORMAT:
        raise ValueError("it is not a schedule of this pack")
    check_version(content.get("version", FORMAT_VERSION), FORMAT_VERSION, OLDEST_VERSION)
    request, notes = (_object(content, key) for key in ("request", "notes"))
    identity = request.get("identity")
    if not isinstance(identity, str | None):
        raise ValueError("its model identity is not text")
    # A system may give a file a name that is not text.
    schedule = _schedule(content, name.encode(errors="replace").decode())
    # Levels of a flow model run from 1 to 0, of any other from far above 1.
    notes = {"flow": schedule.levels[0] <= 1.0, **notes}
    samplers = samplers_from(content.get("samplers", []))
    return SavedSchedule(schedule, identity, request, notes=notes, samplers=samplers)


def _schedule(content: dict[str, Any], name: str) -> Schedule:
    """The levels, with what is missing around them filled in."""
    levels = content.get("levels", content.get("sigmas"))
    others = content.get("others", [])
    if not isinstance(levels, list):
        raise ValueError("it holds no list of numbers called 'levels' or 'sigmas'")
    check_counts(levels, others)
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


def _is_shared(key: str, note: object) -> bool:
    """Tell whether a note can go into JSON, and should."""
    try:
        json.dumps(note, allow_nan=False)
    except ValueError:  # a figure that is no number
        return False
    return key != REPORT


def _object(content: dict[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"its '{key}' is not a JSON object")
    return value


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise ValueError(
            f"the JSON file of a schedule may have {LARGEST >> 20} MiB, but this one has {size} "
            "bytes"
        )
