"""Texts from anywhere, to show: a message stays one line, and a name shows whose it is."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["looks_like", "printable", "reason", "visible"]

LONGEST_REASON = 300  # characters

# Letters that are drawn like Latin ones, and characters that are drawn as nothing at all though
# they count as printable: Unicode Technical Standard 39, and Default_Ignorable_Code_Point.
_DOUBLES = str.maketrans(
    "АВЕЅІЈКМНОРСТХУаеорсухіјѕһӏԁԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο",
    "ABESIJKMHOPCTXYaeopcyxijshldqw" + "ABEZHIKMNOPTYXo",
)
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0]")


def visible(text: str) -> str:
    """Text with whatever does not print written out: a file's name cannot begin a line of a log.

    >>> visible("a\\nb\\u202e.json")
    'a\\\\nb\\\\u202e.json'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def printable(text: str, encoding: str | None) -> str:
    """Text that a console of that encoding can print: what it does not have is written out.

    >>> printable("Имя ± 1", "cp1251"), printable("Имя ± 1", "cp1252")
    ('Имя ± 1', '\\\\u0418\\\\u043c\\\\u044f ± 1')
    """
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def reason(error: BaseException) -> str:
    """Say what an error calls wrong, as the end of a sentence on one line."""
    if isinstance(error, MemoryError):
        return "there is not enough memory to read it"
    if isinstance(error, RecursionError):
        return "its lists and objects are nested too deeply"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = visible(" ".join(text.split())).rstrip(". ")[:LONGEST_REASON]
    return f"a{text[1:]}" if text.startswith("A ") else text


def looks_like(name: str) -> str:
    """The look of a name: the same text for two names that a reader cannot tell apart.

    >>> looks_like("SDХL") == "SDXL", looks_like("au\\u3164to")  # the X is a Cyrillic letter
    (True, 'auto')
    """
    plain = unicodedata.normalize("NFKC", _BLANK.sub("", name))
    return " ".join(plain.translate(_DOUBLES).split())
