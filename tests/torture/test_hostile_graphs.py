"""Graphs that no page sends: every input out of range, of a wrong type, broken inside.

Whatever comes, the host refuses it, or one sentence says what is wrong, or it runs and gives noise
levels that can be sampled. The host stays up, its memory stays bounded, and a healthy graph gives
the same levels afterwards as before.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from align_your_steps.tests.host.graphs import (
    compare_graph,
    model_graph,
    optimize_graph,
    scheduler_graph,
)
from align_your_steps.tests.host.seen import saved_files
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.test_compare import scheduled, show
from align_your_steps.tests.torture.hostile import (
    LINKS,
    NODES,
    Answer,
    answered,
    fault_of,
    hostile_links,
    hostile_values,
)

# A graph and what is hostile in it, in words.
Trial = tuple[str, Graph, Any]

MEGABYTES = 10
MOST_MEMORY = 2**29  # bytes that the server's process may grow by
READ_BY_BOTH = {"all", "schedule", "more", "one more"}  # of what comes with a workflow
LISTED = 8  # faults that a failure shows
ROUND = 20  # trials
PATIENCE = 3.0  # seconds after which a trial that is at work is cancelled
SAME = re.compile(r"sigmas\.sigmas_[3-7]")  # inputs that are as the second one
# What the host's log says when something of ours has failed where nobody is told.
UNSEEN = re.compile(r"on_prompt handler.*|RuntimeWarning.*")
NOT_LOGGED = re.compile(r"^--- Logging error ---$.*?^Message: .*?$", re.DOTALL | re.MULTILINE)
OUR_FILES = "align-your-steps"


def healthy(node: str) -> Graph:
    """A small graph in which a node works; the node's id is its class."""
    base = model_graph("eps")
    if node == "AYSScheduler":
        graph = scheduler_graph(schedule="SD1.5", steps=4)
    elif node == "AYSApply":
        attach = {"model": ["model", 0], "schedule": "SD1.5"}
        graph = {
            **base,
            "apply": {"class_type": node, "inputs": attach},
            "levels": scheduled("ays_model", steps=4),
            "sigmas": show("levels"),
        }
        graph["levels"]["inputs"]["model"] = ["apply", 0]
    elif node == "AYSOptimize":
        graph = optimize_graph(budget=100, steps=2, boundary_step=1)
    elif node == "AYSCompare":
        vae = {"class_type": "AYSTestDigitsVAE", "inputs": {}}
        given = {"schedules": "simple, karras", "noises": 1, "steps": 2, "vae": ["vae", 0]}
        graph = compare_graph({**base, "vae": vae}, **given)
    elif node == "AYSMergeProfiles":
        # What the healthy Optimize AYS is saved as.
        inputs = {"results": "dpmpp_2m 2 steps cfg 3", "name": "", "same_prompts": False}
        graph = {**base, "merge": {"class_type": node, "inputs": inputs}}
    else:
        inputs = {"sigmas.sigmas_1": ["levels", 0]}
        graph = {**base, "levels": scheduled("simple", steps=4)}
        graph["plot"] = {"class_type": node, "inputs": inputs}
    return graph


def the(graph: Graph, node: str) -> dict[str, Any]:
    """The inputs of the only node of a class."""
    (inputs,) = (each["inputs"] for each in graph.values() if each["class_type"] == node)
    return inputs


def declared(server: ComfyServer, node: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every input of a node as its host declares it: name, type, limits."""
    info = server.object_info(node)["input"]
    for group in ("required", "optional"):
        for name, (kind, *rest) in info.get(group, {}).items():
            options = rest[0] if rest else {}
            if isinstance(kind, list):  # the options, on older hosts
                kind, options = "COMBO", {**options, "options": kind}
            if "template" in options:  # a growing list
                template = options["template"]
                inside = {k: v for part in template["input"].values() for k, v in part.items()}
                ((kind, *_),) = inside.values()
                names = [f"{name}.{one}" for one in template["names"]]
            else:
                names = [name]
            for each in names:
                if not SAME.fullmatch(each):
                    yield each, kind, options


def changed(node: str, name: str, value: Any) -> Graph:
    """The healthy graph of a node with one input changed."""
    graph = copy.deepcopy(healthy(node))
    the(graph, node)[name] = value
    return graph


def typed(server: ComfyServer) -> Iterator[Trial]:
    """Every input with values that are out of range or of a wrong type."""
    for node in sorted(NODES):
        for name, kind, options in declared(server, node):
            for value in hostile_values(kind, options):
                yield f"{node}.{name} = {value!r:.60}", changed(node, name, value), None


def handed_on(server: ComfyServer) -> Iterator[Trial]:
    """The same values over links: no host looks at those."""
    outputs = server.object_info("AYSTestAnything")["output"]
    for node in sorted(NODES):
        for name, kind, options in declared(server, node):
            if kind in outputs:
                most = options.get("max")  # widgets have it too, and it takes long
                for value in (v for v in hostile_values(kind, options) if v != most):
                    graph = changed(node, name, ["anything", outputs.index(kind)])
                    inputs = {"value": json.dumps(value)}
                    graph["anything"] = {"class_type": "AYSTestAnything", "inputs": inputs}
                    yield f"{node}.{name} <- {value!r:.60}", graph, None


def linked(server: ComfyServer) -> Iterator[Trial]:
    """Every input with links that lead nowhere, to a wrong type, in circles; and without any."""
    for node in sorted(NODES):
        for name, kind, _ in declared(server, node):
            graph = healthy(node)
            (own,) = (key for key, each in graph.items() if each["class_type"] == node)
            for link in hostile_links(graph, own, kind):
                yield f"{node}.{name} = {link}", changed(node, name, link), None
            if name in the(graph, node):
                del the(graph, node)[name]
                yield f"{node} without {name}", graph, None
        for name, value in (
            ("no such input", 7),
            ("model.model", ["model", 0]),
            ("", ["model", 0]),
        ):
            yield f"{node}.{name} = {value}", changed(node, name, value), None
        for value in ({}, None, []):
            graph = healthy(node)
            for each in graph.values():
                if each["class_type"] == node:
                    each["inputs"] = value
            yield f"{node} with inputs {value}", graph, None


def broken(server: ComfyServer) -> Iterator[Trial]:
    """Every linked object of every node, wrong inside."""
    info = server.object_info("AYSTestBroken")
    names = server.choices("AYSTestBroken", "what")
    for node in sorted(NODES):
        seen = set()
        for name, kind, _ in declared(server, node):
            if kind not in LINKS or (kind == "SIGMAS" and kind in seen):
                continue
            seen.add(kind)
            for what in names:
                if what.startswith(f"{kind}: "):
                    graph = changed(node, name, ["broken", info["output"].index(kind)])
                    inputs = {"what": what, "model": ["model", 0], "positive": ["positive", 0]}
                    graph["broken"] = {"class_type": "AYSTestBroken", "inputs": inputs}
                    yield f"{node}.{name}: {what}", graph, None


def long(server: ComfyServer) -> Iterator[Trial]:
    """Texts of 10 MB, lists of a million names, thousands of inputs."""
    huge = "x" * MEGABYTES * 2**20
    for node in sorted(NODES):
        for name, kind, _ in declared(server, node):
            if kind in ("STRING", "COMBO", "INT", "MODEL"):
                yield f"{node}.{name}: {MEGABYTES} MB", changed(node, name, huge), None
    for what, text in {
        "10^5 names": "simple, karras," * 50_000,
        "1250 names": "simple, " * 1250,
        "5000 unknown names": "x," * 5000,
        "10^5 unknown names": ",".join(f"mine {number}" for number in range(100_000)),
        "10^6 commas": "," * 1_000_000,
        "10^5 lines": "simple\n" * 100_000,
        "one name 10^5 times": "normal," * 100_000,
    }.items():
        yield f"AYSCompare.schedules: {what}", changed("AYSCompare", "schedules", text), None
        merge = changed("AYSMergeProfiles", "results", text)
        yield f"AYSMergeProfiles.results: {what}", merge, None
    for what, text in {
        "10^6 numbers": "5," * 1_000_000,
        "1 to 1000": ",".join(str(number) for number in range(1, 1001)),
        "a number of 10^5 digits": "9" * 100_000,
        "10^6 commas": "," * 1_000_000,
    }.items():
        yield f"AYSOptimize.more_steps: {what}", changed("AYSOptimize", "more_steps", text), None
    for node, numbers in (
        ("AYSPlot", [1, 3, 8]),
        ("AYSPlot", [8]),
        ("AYSPlot", [0, 1, 9, 1000]),
        ("AYSPlot", range(1, 1001)),
        ("AYSCompare", [2, 5]),
        ("AYSCompare", range(1, 1001)),
    ):
        graph = healthy(node)
        graph["levels"] = scheduled("simple", steps=4)
        the(graph, node).pop("sigmas.sigmas_1", None)
        the(graph, node).update({f"sigmas.sigmas_{number}": ["levels", 0] for number in numbers})
        yield f"{node}.sigmas: {numbers}", graph, None


def carried(server: ComfyServer) -> Iterator[Trial]:
    """Return what comes with a workflow, of wrong types at every depth."""
    levels = {"name": "x", "sigmas": [14.6, 1.0, 0.0]}
    deep: Any = 0
    for _ in range(60):  # ComfyUI itself copies what comes, and fails at some hundreds
        deep = [{"id": deep}]
    wrong = [None, True, 7, math.nan, "text", [], {}, [[]], {"": {}}, deep]
    for node, own in (("AYSScheduler", "scheduler"), ("AYSOptimize", "optimize")):
        graph = healthy(node)
        if node == "AYSScheduler":
            the(graph, node)["schedule"] = "auto"
        for value in wrong:
            for what, pnginfo in {
                "all": value,
                "workflow": {"workflow": value},
                "nodes": {"workflow": {"nodes": value}},
                "node": {"workflow": {"nodes": [value]}},
                "id": {"workflow": {"nodes": [{"id": value}]}},
                "type": {"workflow": {"nodes": [{"id": own, "type": value}]}},
                "properties": {"workflow": {"nodes": [{"id": own, "properties": value}]}},
                "definitions": {"workflow": {"nodes": [], "definitions": value}},
                "subgraphs": {"workflow": {"nodes": [], "definitions": {"subgraphs": value}}},
                "schedule": inside(own, value),
                "sigmas": inside(own, {**levels, "sigmas": value}),
                "level": inside(own, {**levels, "sigmas": [14.6, value, 0.0]}),
                "name": inside(own, {**levels, "name": value}),
                "more": inside(own, {**levels, "more": value}),
                "one more": inside(own, {**levels, "more": [value]}),
                "beside": {"ays_schedules": value},
                "beside it": {"ays_schedules": {own: value}},
            }.items():
                if node == "AYSScheduler" or what in READ_BY_BOTH:
                    yield f"{node}: {what} = {value!r:.40}", graph, pnginfo


def inside(node: str, schedule: Any) -> Any:
    """A workflow that carries this for a node."""
    return {"workflow": {"nodes": [{"id": node, "properties": {"ays_schedule": schedule}}]}}


GROUPS: dict[str, tuple[Callable[[ComfyServer], Iterator[Trial]], int]] = {
    "widgets: out of range, of a wrong type": (typed, 40),
    "the same over links": (handed_on, 20),
    "links that lead nowhere, inputs that are missing": (linked, 30),
    "linked objects that are wrong inside": (broken, 25),
    "10 MB of text, 10^6 numbers, 10^3 inputs": (long, 4),
    "what comes with a workflow": (carried, 12),
}


def healthy_levels(server: ComfyServer) -> list[Any]:
    """Return what healthy graphs give now, measured anew."""
    levels = []
    for node in ("AYSScheduler", "AYSApply", "AYSOptimize"):
        graph = healthy(node)
        if node == "AYSOptimize":
            the(graph, node)["reuse"] = "measure again"
        answer = answered(server, graph, patience=60.0)
        assert answer.kind == "ran" and answer.levels, (node, answer)
        levels.append(answer.levels)
    return levels


@pytest.fixture(scope="module")
def levels_before(server: ComfyServer) -> list[Any]:
    """Return what healthy graphs give before any hostile one."""
    return healthy_levels(server)


@pytest.mark.parametrize("what", GROUPS)
def test_hostile_graphs_are_told_in_a_sentence_and_the_next_one_runs(
    server: ComfyServer,
    levels_before: list[Any],
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
    what: str,
) -> None:
    group, few = GROUPS[what]
    trials = list(group(server))
    chosen = trials[:: max(1, len(trials) // at_length(few, len(trials)))]
    process = psutil.Process(server.pid)
    files, before, said = set(saved_files(server)), process.memory_info().rss, len(server.log)
    kinds: Counter[str] = Counter()
    faults, most = [], before
    for number, (trial, graph, pnginfo) in enumerate(chosen):
        answer = answered(server, graph, pnginfo, PATIENCE)
        kinds[answer.kind] += 1
        if found := fault_of(answer):
            faults.append(f"{trial}: {found}")
        server.post("/history", {"clear": True})  # it holds every graph
        if number % ROUND == 0:  # a host that misses a model looks at all that lives, each time
            server.post("/free", {"unload_models": True})
        most = max(most, process.memory_info().rss)
    lost = sum(was != now for was, now in zip(levels_before, healthy_levels(server), strict=True))
    for file in set(saved_files(server)) - files:
        file.unlink()
    log = server.log[said:]
    # ComfyUI fails to log what is no text, too.
    faults += [block[-200:] for block in NOT_LOGGED.findall(log) if OUR_FILES in block]
    faults += UNSEEN.findall(log)
    remark = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    remark += f", +{(most - before) / 2**20:.0f} MB at most"
    survived = len(chosen) - len(faults)
    fault(
        what,
        trials=len(chosen),
        survived=survived,
        lost=lost,
        remark="; ".join([remark, *faults[:LISTED]]),
    )
    assert most - before < MOST_MEMORY


def test_a_fault_is_seen() -> None:
    for said in (
        "'NoneType' object has no attribute 'clone'",
        "'samples'",
        "list index out of range",
        "",
    ):
        assert fault_of(Answer("error", own=True, said=said))
    assert fault_of(Answer("error", own=True, said="A sentence, but of many words." * 40))
    assert fault_of(Answer("ran", levels=[[14.6, math.nan, 0.0]]))
    assert fault_of(Answer("ran", levels=[[14.6, 15.0, 0.0]]))
    assert not fault_of(Answer("error", own=True, said="'steps' was 0: give 1 to 1000."))
    assert not fault_of(Answer("ran", levels=[[14.6, 1.0, 0.0]]))
