"""JSON text from anywhere, parsed in bounded memory, or refused in words that a person can use.

What JSON makes in memory may take fifty times the room of its text: "[[],[],[], ..." does. So the
text's values are counted before it is parsed. The bounds are far above what the largest result
needs: levels for every number of steps from 1 to 1000 are half a million numbers in a thousand
lists.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

__all__ = ["parsed", "writable"]

NUMBERS = 600_000  # counted by the commas between them
MOST_PARTS = 100_000  # texts, lists and objects
DEEPEST = 64  # lists and objects within each other
DIGITS = 1000  # of one number

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # in UTF-8, only an escape can be half a character pair


def parsed(data: bytes | bytearray, *, what: str = "it", constants: bool = False) -> Any:
    """The value of JSON text in UTF-8.

    what: the subject of the sentence that says what is wrong with it
    constants: whether NaN and Infinity are read, which are no JSON

    Raises ValueError, as the end of a sentence about the file, for what is not JSON, has a key
    twice, a number or a character that could be written by no one again, or is beyond all bounds.
    """
    lists = data.count(b"[") + data.count(b"{")
    if data.count(b",") > NUMBERS or lists > MOST_PARTS or data.count(b'"') > 2 * MOST_PARTS:
        raise ValueError(f"{what} holds more numbers, texts or lists than any schedule has")
    try:
        text = data.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not JSON text in UTF-8") from error
    too_deep = ValueError(f"{what} has lists and objects that are nested too deeply")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_float=_float,
            parse_int=_int,
            parse_constant=float if constants else _no_constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{what} is not complete JSON text: look at {place}") from error
    except RecursionError:
        raise too_deep from None
    if not _is_shallow(value):
        raise too_deep
    if _HALF.search(data) and writable(value) != value:
        raise ValueError(f"{what} has a text with half a character")
    return value


def writable(value: Any) -> Any:
    """The value with '?' for each half of a character pair, which no file can hold.

    >>> writable({"name": "a\\ud800b"}), writable([1.5, "a"])
    ({'name': 'a?b'}, [1.5, 'a'])
    """
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode(errors="replace"))
    return value


def _is_shallow(value: object) -> bool:
    layer = [value]
    for _ in range(DEEPEST + 1):
        lists = (part for part in layer if isinstance(part, list))
        objects = (part.values() for part in layer if isinstance(part, dict))
        layer = [inner for parts in (*lists, *objects) for inner in parts]
    return not layer


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers may take different ones of two equal keys."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key[:40]!r} stands twice in one of its objects")
        found[key] = value
    return found


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= DIGITS else math.inf
    if not math.isfinite(value):
        raise ValueError("one of its numbers is too large or too long")
    return value


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError("one of its numbers is too large or too long")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"one of its numbers is {name}")
