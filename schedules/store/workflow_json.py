"""Results as a small JSON object, for a workflow to carry.

What has no samplers and is small stays readable, as older packs write it and read it:

    {**to_json(first), "more": [to_json(second), ...]}

Anything else is the same object as compact JSON text, compressed:

    {"format": "align_your_steps.schedule", "version": 2, "name": ..., "packed": base64 of zlib}

The name outside counts: the page gives a schedule another one without looking inside. Numbers are
written with all their digits, so whoever reads them samples the same picture to the last bit.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .json_file import LARGEST, from_content, to_json, to_json_bytes
from .json_text import parsed, writable
from .saved_schedule import FORMAT, FORMAT_VERSION, OLDEST_VERSION, SavedSchedule
from .version import check_version

__all__ = ["MOST_PACKED", "MOST_TEXT", "packed", "unpacked"]

MOST_TEXT = 24_000  # characters of JSON text
MOST_PACKED = 64  # results beside the first
MORE = "more"
PACKED = "packed"

# Notes without which a schedule would be sampled otherwise.
NEEDED = ("flow", "spare_level", "sigma_min", "boundary")


def packed(first: SavedSchedule, more: Sequence[SavedSchedule]) -> tuple[dict[str, Any], str]:
    """Results as JSON types of at most `MOST_TEXT` characters, and what had to be left out, or "".

    What does not fit is left out from the far end: further results, notes, levels and samplers for
    other numbers of steps. What is sampled with the first result's own number of steps is never.

    Raises ValueError for a result that could not be read again.
    """
    to_json_bytes(first)  # refuses what is too large for any reader
    more = [_own_samplers(saved) for saved in more]
    offered = more[:MOST_PACKED]
    plain = not first.samplers and not any(saved.samplers for saved in offered)
    readable = _content(first, offered)
    if plain and _length(readable) <= MOST_TEXT:
        return readable, _left_out(first, more, _all(first, offered))
    kept = _most(_all(first, offered), lambda count: _length(_cut(first, more, count)) <= MOST_TEXT)
    return _cut(first, more, kept), _left_out(first, more, kept)


def unpacked(found: Mapping[str, Any], name: str) -> list[SavedSchedule]:
    """The results in what `packed` has made, the first one first.

    name: what the first is called if the content does not say

    Raises ValueError, as the end of a sentence about it, for anything else.
    """
    content = dict(found)
    if PACKED in found:
        content = _opened(found)
        content["name"] = found.get("name", content.get("name", name))
    more = content.pop(MORE, [])
    if not isinstance(more, list) or len(more) > MOST_PACKED:
        raise ValueError(f"'{MORE}' is no list of schedules")
    # As text again: it came parsed, by a reader that bounds nothing.
    texts = (json.dumps(part).encode() for part in (content, *more))
    return [from_content(_bounded(text), name) for text in texts]


def _bounded(text: bytes) -> Any:
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text)} bytes of JSON text, and {LARGEST} are the most")
    return parsed(text)


def _opened(found: Mapping[str, Any]) -> dict[str, Any]:
    """The object inside a packed one, of bounded size."""
    if found.get("format") != FORMAT:
        raise ValueError("it is not a schedule of this pack")
    check_version(found.get("version"), FORMAT_VERSION, OLDEST_VERSION)
    text = found[PACKED]
    if not isinstance(text, str) or len(text) > LARGEST:
        raise ValueError(f"its '{PACKED}' is no text, or too long")
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(text, validate=True), LARGEST + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"its '{PACKED}' is damaged") from error
    if not unzip.eof and len(data) <= LARGEST:
        raise ValueError(f"its '{PACKED}' is damaged")
    content = _bounded(data)
    if not isinstance(content, dict):
        raise ValueError(f"its '{PACKED}' is not a JSON object")
    return content


def _own_samplers(saved: SavedSchedule) -> SavedSchedule:
    """A further result with the samplers that were fitted fully: the first one has the others."""
    return replace(saved, samplers=tuple(one for one in saved.samplers if not one.weights_only))


def _content(first: SavedSchedule, more: Sequence[SavedSchedule]) -> dict[str, Any]:
    others = [to_json(saved) for saved in more]
    content: dict[str, Any] = writable({**to_json(first), **({MORE: others} if others else {})})
    return content


def _cut(first: SavedSchedule, more: Sequence[SavedSchedule], kept: int) -> dict[str, Any]:
    """The packed object with so many parts beside the first result's own numbers."""
    samplers, others, notes, further = _shares(first, kept)
    whole = replace(
        first,
        schedule=replace(first.schedule, others=first.schedule.others[:others]),
        samplers=first.samplers[: 1 + samplers],
        notes=first.notes if notes else {k: v for k, v in first.notes.items() if k in NEEDED},
    )
    content = _content(whole, more[:further])
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    data = base64.b64encode(zlib.compress(text, 9)).decode()
    return {"format": FORMAT, "version": FORMAT_VERSION, "name": content["name"], PACKED: data}


def _all(first: SavedSchedule, more: Sequence[SavedSchedule]) -> int:
    """The parts that there are beside the first result's own numbers."""
    return len(first.samplers[1:]) + len(first.schedule.others) + 1 + len(more)


def _shares(first: SavedSchedule, kept: int) -> tuple[int, int, int, int]:
    """Of so many parts: samplers, levels for other numbers of steps, notes, further results."""
    shares = []
    for most in (len(first.samplers[1:]), len(first.schedule.others), 1):
        shares.append(min(kept, most))
        kept -= shares[-1]
    return shares[0], shares[1], shares[2], kept


def _left_out(first: SavedSchedule, more: Sequence[SavedSchedule], kept: int) -> str:
    """Name what is not among so many parts, as words."""
    samplers, others, notes, further = _shares(first, kept)
    counts = len(first.samplers[1:]) - samplers, len(first.schedule.others) - others
    lacking = (
        (counts[0], f"calibrated samplers for {counts[0]} other numbers of steps"),
        (counts[1], f"levels for {counts[1]} other numbers of steps"),
        (1 - notes, "notes on what was measured"),
        (len(more) - further, f"{len(more) - further} further results"),
    )
    return ", ".join(what for count, what in lacking if count)


def _most(parts: int, fits: Callable[[int], bool]) -> int:
    """The largest number of parts that fits; 0 if none does."""
    low, high = 0, parts + 1
    if fits(parts):
        return parts
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _length(content: Mapping[str, Any]) -> int:
    return len(json.dumps(content))
