"""The ways in which ComfyUI shows a page, and what some of them cannot do.

A test of the page asks for the fixture `way`, and is run in each: a front end and a renderer. What
a way cannot do is in the table of docs/front_ends.md and nowhere else: a test asks `can`, by the
words of the table's first column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from align_your_steps.tests.host.get_front_end import FRONT_ENDS, FrontEnd
from align_your_steps.tests.host.server import REPOSITORY

__all__ = ["TABLE", "WAYS", "Lack", "Way", "can", "lacks"]

TABLE = REPOSITORY / "docs" / "front_ends.md"
CANVAS, VUE = "classic", "Nodes 2.0"
COLUMNS = "| what is lacking | nodes | from | to | what we do |"


@dataclass(frozen=True)
class Way:
    """A front end with one of its renderers: nodes painted on a canvas, or "Nodes 2.0"."""

    front_end: FrontEnd
    vue: bool

    def __str__(self) -> str:
        """1.58-vue, for the names of tests and screenshots."""
        return f"{self.front_end}-{'vue' if self.vue else 'canvas'}"


WAYS = [Way(front_end, vue) for front_end in FRONT_ENDS for vue in (False, True)]


@dataclass(frozen=True)
class Lack:
    """A row of the table; versions are major and minor, both of them included."""

    what: str
    renderers: frozenset[str]
    first: tuple[int, ...]
    last: tuple[int, ...]


@cache
def lacks() -> dict[str, list[Lack]]:
    """The table: what is lacking, and where. Raises ValueError at a row that cannot be read."""
    text = TABLE.read_text(encoding="utf-8")
    found: dict[str, list[Lack]] = {}
    for row in text.split(COLUMNS)[1].splitlines()[2:]:
        if not row.startswith("|"):
            break
        what, nodes, first, last, _ = (cell.strip() for cell in row.strip("|").split("|"))
        renderers = frozenset((CANVAS, VUE) if nodes == "both" else (nodes,))
        if not renderers <= {CANVAS, VUE}:
            raise ValueError(f"{TABLE.name}: {nodes!r} is neither {CANVAS!r}, {VUE!r} nor 'both'.")
        lack = Lack(what, renderers, _version(first or "0"), _version(last or "999"))
        found.setdefault(what, []).append(lack)
    return found


def can(what: str, version: str, vue: bool) -> bool:
    """Tell whether a page of that version and renderer can do what the table calls by these words.

    Raises:
        LookupError: the table has no such row.
    """
    if what not in lacks():
        raise LookupError(f"{TABLE.name} has no row {what!r}: it has {sorted(lacks())}.")
    renderer, number = VUE if vue else CANVAS, _version(version)
    return not any(
        renderer in lack.renderers and lack.first <= number <= lack.last for lack in lacks()[what]
    )


def _version(text: str) -> tuple[int, ...]:
    """1.58.1 as (1, 58)."""
    if not re.fullmatch(r"\d+(\.\d+)*", text):
        raise ValueError(f"{text!r} is no version: give one such as 1.58.")
    major, minor, *_ = [*map(int, text.split(".")), 0]
    return major, minor
