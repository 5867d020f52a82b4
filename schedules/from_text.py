"""Noise levels as people write them down, or as another tool shows them, taken for what they are.

    14.6, 3.9, 1.2, 0.3, 0        with or without the final 0, commas, line breaks
    [14.6, 3.9, 1.2, 0.3]         in brackets: a list of Python's, our text for AUTOMATIC1111
    sigmas=[14.6, 3.9, 1.2, 0.3]  a list of that name in a longer text: our text for diffusers

They are what a sampler runs: where the final 0 is not written out it is added, so no level is lost.
"""

from __future__ import annotations

import json
import re

__all__ = ["as_json"]

MOST_NUMBERS = 20_000  # numbers that are looked at: a schedule of as many is refused
LONGEST = 2 * 2**20  # bytes: a longer text is no schedule

_NUMBER = re.compile(r"[+-]?(?:\d{1,99}(?:\.\d{0,99})?|\.\d{1,99})(?:[eE][+-]?\d{1,9})?", re.ASCII)
_NAMED = re.compile(
    r"\b(sigmas|timesteps)\b[\"']?[ \t]{0,9}[=:][ \t]{0,9}(?:[\w.]{1,40}\()?([\[(])"
)
_CLOSING = {"[": "]", "(": ")"}
_EDGES = " \t\r\n,;"


def as_json(data: bytes) -> bytes:
    """A written list of levels as the JSON text {"sigmas": [...]}; anything else as it is.

    Raises ValueError, as the end of a sentence about the file, for a list of timesteps.

    >>> as_json(b"14.6, 3.9, 0.3, 0")
    b'{"sigmas": [14.6, 3.9, 0.3, 0.0]}'
    >>> as_json(b'{"levels": [1, 0]}')
    b'{"levels": [1, 0]}'
    """
    if len(data) > LONGEST or data.lstrip()[:1] == b"{":
        return data
    try:
        text = data.decode("utf-8-sig").strip(_EDGES)
    except UnicodeDecodeError:
        return data
    numbers = _numbers(text)
    return data if numbers is None else json.dumps({"sigmas": numbers}).encode()


def _numbers(text: str) -> list[float] | None:
    """The levels that a text holds; None if it is none of the written forms."""
    found = _named(text)
    if "sigmas" in found:
        return _split_numbers(found["sigmas"])
    if "timesteps" in found:
        raise ValueError(
            "it holds timesteps, but noise levels (sigmas) are needed: write down the sigmas that "
            "they stand for"
        )
    bracketed = text[:1] in _CLOSING and text[-1:] == _CLOSING[text[:1]]
    numbers = _split_numbers(text[1:-1] if bracketed else text)
    # A single number is a list in brackets only.
    return numbers if numbers is not None and (bracketed or len(numbers) > 1) else None


def _named(text: str) -> dict[str, str]:
    """The first list of each name: what is within its brackets."""
    found: dict[str, str] = {}
    for match in _NAMED.finditer(text):
        end = text.find(_CLOSING[match[2]], match.end())
        if end < 0 or "sigmas" in found:
            break
        found.setdefault(match[1], text[match.end() : end])
    return found


def _split_numbers(text: str) -> list[float] | None:
    """The numbers between commas, semicolons or spaces; None for anything else among them."""
    text = text.strip(_EDGES)
    if re.search(r"[,;]\s{0,99}[,;]", text):  # one was forgotten
        return None
    words = re.split(r"[\s,;]+", text, maxsplit=MOST_NUMBERS)[:MOST_NUMBERS]
    return [float(word) for word in words] if all(map(_NUMBER.fullmatch, words)) else None
