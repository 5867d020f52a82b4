"""Hostile files, made from healthy ones: bytes, JSON trees, tensor headers and names are changed.

Each is made from a random generator alone: the same seed makes the same file.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

__all__ = [
    "NAMES",
    "changed_json",
    "falling",
    "hostile_name",
    "in_bytes",
    "in_header",
    "in_json",
    "in_tensors",
]

LENGTHS = (0, 1, 7, 8, 2**16, 2**24, 2**24 + 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
PIECES = (
    *(b"\x00", b"\x00" * 64, b"{", b"[" * 200, b'"', b"\\", b",", b"]}", b"\xff", b"\xed\xa0\x80"),
    *(b"\xef\xbb\xbf", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 50, b"\\ud800", b"\n"),
    *(b'"__metadata__":', b'"levels":', b'"version":', b"\x80\x04cos\nsystem\n."),
)
DEEP: Any = 1
for _ in range(100):
    DEEP = [DEEP]
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10_002, 2**31, 2**63, 2**64, 10**400, -(10**40)),
    *(0.0, -0.0, 1e-320, 1e-40, 1.5, 3.5e38, 1e308, math.nan, math.inf, -math.inf),
    *("", "x", "1", "auto", "\ud800", "a\x00b", "\u202etxet", "../../x", "F64", "BOOL", "I8"),
    *([], {}, [[]], [1.0], [2.0, 1.0], [1.0, 2.0], DEEP, {"identity": 5}, [0, 8], [8, 0]),
)
KEYS = ("version", "levels", "sigmas", "\ud800", "x" * 300, "notes")
NAMES = (
    *("../escape", "..", ".", "/etc/passwd", "a/b", "a\\b", "C:\\x", "\\\\host\\share", "~root"),
    *("nul", "CON", "con.txt", "LPT1", "COM¹", "aux.", "a.", " a ", "a:b", "a|b", "a?b*", "-rf"),
    *("\x00", "a\x00b", "\n", "a\nb: ERROR", "\r\n", "\x1b[31mred", "%s%n{0}", "$(id)", "`id`"),
    *("\u202egnp.exe", "a\u2066b\u2069", "a\u200bb", "\u200f", "\ufeffa", "\u3164", "\u2028x"),
    *("\ud800", "\udcff", "x" * 300, "é" * 300, "\U0001f600" * 80, "a\u0301" * 60, "auto", "AUTO"),
    *("SDХL", "au\u200dto", "ａｕｔｏ", "SVD", "mine [0f0f0f]", "", " ", "<script>", "'\""),
)


def in_bytes(random: Random, data: bytes) -> bytes:
    """One to four changes that know nothing of what the bytes mean."""
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.choice((1, 1, 2, 8, 100, 5000)))
        kind = random.randrange(8)
        if kind == 0 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + data[end:]
        elif kind == 3:
            data = data[:end] + data[at:]
        elif kind == 4:
            data = data[:at] + random.choice(PIECES) + data[at:]
        elif kind == 5:
            data = data[:at] + random.choice(PIECES) + data[end:]
        elif kind == 6:
            data = struct.pack("<Q", random.choice(LENGTHS)) + data[8:]
        else:
            data = data[:at] + random.randbytes(end - at) + data[end:]
    return data


def in_json(random: Random, data: bytes) -> bytes:
    """One to three changes of a JSON text's values and keys."""
    text = json.dumps(changed_json(random, json.loads(data)))
    if random.randrange(8) == 0:  # no object of Python's has a key twice
        text = re.sub(r'("\w+"): ', r"\1: null, \1: ", text, count=random.randint(1, 3))
    return text.encode("utf-16" if random.randrange(50) == 0 else "utf-8")


def in_header(random: Random, data: bytes) -> bytes:
    """One to three changes of a safetensors file's header, of its texts or of what is in them."""
    header, rest = _taken_apart(data)
    metadata = header.get("__metadata__", {})
    if "result" in metadata and random.randrange(3):
        metadata["result"] = in_json(random, metadata["result"].encode()).decode(errors="replace")
    else:
        header = changed_json(random, header)
    return _put_together(json.dumps(header).encode(), rest)


def in_tensors(random: Random, data: bytes) -> bytes:
    """A file that is whole, but whose levels are others, of another type, shape or order."""
    header, _ = _taken_apart(data)
    count = random.choice((0, 1, 2, 3, 11, 1001, 10_001, 10_002))
    levels = falling(random, count)
    for _ in range(random.randrange(3)):
        if levels:
            levels[random.randrange(count)] = random.choice(
                (math.nan, math.inf, -math.inf, -1.0, 0.0, -0.0, 1e-300, 1e300, 3.5e38, 1.0)
            )
    kind = random.choice(("F64", "F64", "F64", "F32", "I64", "BF16", "BOOL", "U64", "F8_E4M3"))
    packed = struct.pack(f"<{count}d", *levels)
    size = len(packed) // 8 * {"F32": 4, "BF16": 2, "BOOL": 1, "F8_E4M3": 1}.get(kind, 8)
    shape: list[int] = [count]
    if random.randrange(4) == 0:
        shape = random.choice(([1, count], [count, 1], [], [-count], [0], [2**40, 2**40]))
    begin = random.choice((0, 0, 0, 0, 8, -8))
    levels_place = {"dtype": kind, "shape": shape, "data_offsets": [begin, begin + size]}
    header = {"__metadata__": header["__metadata__"], "levels": levels_place}
    return _put_together(json.dumps(header).encode(), packed[:size])


def hostile_name(random: Random, suffix: str = "") -> str:
    """A name from NAMES, or two of them run together, or any characters."""
    kind = random.randrange(3)
    if kind == 0:
        return random.choice(NAMES) + suffix
    if kind == 1:
        return random.choice(NAMES) + random.choice(NAMES) + suffix
    points = (random.choice((0x80, 0x3000, 0xE000, 0x110000)) for _ in range(random.randint(1, 40)))
    return "".join(chr(random.randrange(most)) for most in points) + suffix


def falling(random: Random, count: int) -> list[float]:
    """Levels of a schedule."""
    return [14.6 * (1.0 - k / (count + random.random())) for k in range(count)]


def changed_json(random: Random, value: Any) -> Any:
    """JSON with one to three values or keys replaced, taken out or put in."""
    for _ in range(random.randint(1, 3)):
        places = list(_places(value))
        if not places:
            return random.choice(VALUES)
        inside, key = random.choice(places)
        kind = random.randrange(6)
        if kind < 2:
            inside[key] = deepcopy(random.choice(VALUES))
        elif kind == 2:
            inside[key] = [inside[key]]
        elif kind == 3:
            inside[key] = deepcopy(random.choice(places)[0])
        elif kind == 4:
            del inside[key]
        elif isinstance(inside, dict):
            inside[random.choice(KEYS)] = deepcopy(random.choice(VALUES))
        else:
            inside += [inside[key]] * random.choice((1, 2, 70, 1100))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object and list with each of its keys."""
    rest = [value]
    while rest:
        inside = rest.pop()
        if isinstance(inside, dict | list):
            for key in inside if isinstance(inside, dict) else range(min(len(inside), 20)):
                yield inside, key
                rest.append(inside[key])


def _taken_apart(data: bytes) -> tuple[Any, bytes]:
    """The header of a safetensors file, and what comes after it."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def _put_together(header: bytes, rest: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + rest
