"""The names of what was compared, as people know them.

A textbook sampler has the name of the sampler of ComfyUI that it is (tests/host/test_multistep.py);
where that one is of another order, its order stands beside it.
"""

from __future__ import annotations

from ...optimizer import SMALLER, TEXTBOOK
from .. import host

__all__ = ["schedule_of", "short_name", "shown_name", "table_name"]

SAMPLERS = {
    "exponential_3": "res_multistep order 3",
    "unipc_2": "uni_pc_bh2 order 2",
    "unipc_3": "uni_pc_bh2",
}
WITH = " with "  # between a sampler and its schedule, in a sentence


def shown_name(name: str) -> str:
    """The name of a candidate, in a sentence.

    >>> [shown_name(name) for name in ("unipc_3 AYS SD1.5", "greedy", "joint 2", "karras")]
    ['uni_pc_bh2 with AYS SD1.5', 'ays_model, fitted', 'ays_model, refined', 'karras']
    >>> shown_name("karras, refined on the surrogate"), shown_name("refined x beta")
    ('karras, refined', 'between refined and beta')
    """
    sampler, _, curve = name.partition(" ")
    if curve and sampler in TEXTBOOK:
        return f"{SAMPLERS.get(sampler, sampler)}{WITH}{curve}"
    if name in ("greedy", SMALLER):
        return f"{host.SAMPLER_NAME}, fitted{' first' if name == SMALLER else ''}"
    if sampler == "earlier" and curve.isdigit():
        return f"{host.SAMPLER_NAME}, of an earlier result"
    if sampler == "joint" and curve.isdigit():
        return f"{host.SAMPLER_NAME}, refined"
    name = name.replace(", refined on the surrogate", ", refined")
    one, between, other = name.partition(" x ")
    return f"between {one} and {other}" if between else name


def schedule_of(name: str) -> str:
    """The schedule of a pair of textbook sampler and schedule.

    >>> schedule_of("unipc_3 AYS SD1.5")
    'AYS SD1.5'
    """
    return name.split(" ", 1)[1]


def table_name(name: str, longest: int) -> str:
    """The name of a candidate in a column.

    >>> table_name("euler karras", 28), table_name("unipc_2 AYS DeepFloyd IF", 28)
    ('euler, karras', 'uni_pc_bh2 ord…DeepFloyd IF')
    """
    return short_name(shown_name(name).replace(WITH, ", "), longest)


def short_name(name: str, longest: int) -> str:
    """A name of at most so many characters: the middle makes room, for names differ at the ends.

    >>> short_name("a very long name", 9)
    'a ve…name'
    """
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end].rstrip(' ,')}…{name[len(name) - end :].lstrip(' ,')}"
