"""What no page sends to a server: hostile values by type, and what the server makes of them."""

from __future__ import annotations

import math
import re
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError

__all__ = [
    "LINKS",
    "Answer",
    "answered",
    "fault_of",
    "hostile_links",
    "hostile_values",
]

LONGEST = 400  # characters of a sentence for a user
NODES = {"AYSScheduler", "AYSApply", "AYSOptimize", "AYSCompare", "AYSMergeProfiles", "AYSPlot"}
LINKS = {"MODEL", "SIGMAS", "LATENT", "CONDITIONING", "GUIDER", "SAMPLER", "VAE", "AYS_PROFILE"}
# What Python, torch and numpy say of a value that nobody looked at.
BARE = [
    r"has no attribute",
    r"object (is|does|has) ",
    r"out of range",
    r"argument",
    r"NoneType|<class|\btorch\b|\bnp\.|\bnumpy\b|\bdtype\b|\bmeta\b|Traceback|0x[0-9a-f]{6}",
    r"unsupported|not implemented|not supported",
    r"expected .*(got|found)",
    r"mat1|[Ss]izes? of tensor|[Tt]ensor",
    r"invalid literal|could not convert|cannot convert|can't convert|codec",
    r"reshape|broadcast|zero-size|unhashable|recursion",
    r"division by zero",
    r"^\W*[\w.]*\W*$",  # a key, or nothing
]
# A number of any size, text of any kind: for widgets.
ODD = [
    None,
    True,
    "",
    " ",
    "seven",
    "\x00\x07\x1b[31m",
    "\ud800",
    "NaN",
    {},
    {"a": 1},
    [],
    [1, 2, 3],
]
NUMBERS = [
    0,
    -1,
    2**31,
    2**63,
    -(2**63) - 1,
    2**64,
    10**400,
    1.5,
    1e-9,
    5e-324,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
]
TEXTS = [
    "../../../etc/passwd",
    "con",
    "a/b\\c:d*e?",
    "%s %n {0} {x.__class__}",
    "<script>alert(1)</script>",
    "\u202egnp.exe\u200b\ufeff",
    "é" * 5000,
    ",",
    "\n" * 1000,
    ";'\"`$(reboot)",
]


@dataclass
class Answer:
    """Outcome of a graph.

    kind:   "refused" before it ran, "error" while it ran, "ran", "cancelled" by us
    own:    whether the words are this pack's
    said:   the words
    bare:   what of ours raised where only the host's words were told
    levels: shown noise levels
    """

    kind: str
    own: bool = False
    said: str = ""
    bare: str = ""
    levels: list[list[float]] = field(default_factory=list)


def hostile_values(kind: str, options: dict[str, Any]) -> Iterator[Any]:
    """Values for an input of a type with these limits, from the declaration in /object_info."""
    yield from ODD
    if kind in ("INT", "FLOAT"):
        yield from NUMBERS
        little = 1 if kind == "INT" else 1e-6
        for limit, beyond in (("min", -little), ("max", little)):
            if limit in options:
                yield options[limit] + beyond
                yield options[limit]
    else:
        yield from (7, -1.5, math.nan, 10**400)
    if kind in ("STRING", "COMBO"):
        yield from TEXTS
    for option in options.get("options", [])[:2]:
        yield from (f"{option} ", option.upper(), {"__value__": option})


def hostile_links(graph: Graph, node: str, kind: str) -> Iterator[Any]:
    """Links that lead nowhere, to another type, in circles, for an input of a type."""
    yield from (["no such node", 0], ["model", 99], ["model", -1], ["model", "0"], ["model", None])
    yield from ([["model", 0], 0], [None, None], [0, 0], ["model", 0, 0], ["model"], [{}, 0])
    yield from (["model", 2**64], ["model", 0.5], ["model", True])
    yield from ([node, 0], [node, 1])
    others = {"MODEL": "model", "CONDITIONING": "positive", "LATENT": "latent"}
    yield from ([other, 0] for other_kind, other in others.items() if other_kind != kind)


def answered(
    server: ComfyServer,
    graph: Graph,
    pnginfo: Any = None,
    patience: float = 20.0,
) -> Answer:
    """Send a graph and wait for its end; cancel what is still at work after so many seconds."""
    try:
        prompt_id = server.queue(graph, pnginfo)
    except PromptError as error:
        return _refused(error.details)
    except urllib.error.HTTPError as error:
        return Answer("refused", said=f"HTTP {error.code}")
    cancelled = False
    try:
        entry = server.wait(prompt_id, patience)
    except RuntimeError:
        cancelled = True
        server.interrupt()
        entry = server.wait(prompt_id, 60.0)
    for kind, details in entry["status"]["messages"]:
        if kind == "execution_error":
            own = details["node_type"] in NODES
            said = details["exception_message"].rstrip("\n")
            return Answer("error", own, said, "" if own else details["node_type"])
    levels = [shown["sigmas"] for shown in entry["outputs"].values() if "sigmas" in shown]
    return Answer("cancelled" if cancelled else "ran", levels=levels)


def _refused(details: dict[str, Any]) -> Answer:
    """Return what the host says of a graph that it does not run, in its words or in ours."""
    answer = Answer("refused", said=details["error"]["message"])
    for node in details["node_errors"].values():
        for error in node["errors"]:
            answer.said = f"{error['message']}: {error['details']}"
            trace = "".join(error.get("extra_info", {}).get("traceback", []))
            if "align-your-steps" in trace:
                answer.bare = answer.said
            if error["type"] == "custom_validation_failed":
                answer.own, answer.said = True, error["details"].split(" - ", 1)[-1]
                return answer
    return answer


def fault_of(answer: Answer) -> str:
    """Name what is wrong with an answer: no sentence, levels that nobody can sample; or nothing."""
    if answer.bare:
        return f"raised: {answer.bare}"
    if answer.own:
        said = re.sub(r" \(It says: .*\)\.$", ".", answer.said)  # what a network said is quoted
        if len(answer.said) > LONGEST:
            return f"{len(said)} characters: {said[:200]}"
        if not said.endswith("."):
            return f"no sentence: {said}"
        found = [pattern for pattern in BARE if re.search(pattern, said)]
        return f"bare: {said}" if found else ""
    for levels in answer.levels:
        if not all(math.isfinite(level) for level in levels) or levels[-1] != 0.0:
            return f"levels {levels[:20]}"
        if any(below >= above for above, below in pairwise(levels)):
            return f"levels {levels[:20]}"
    return ""
