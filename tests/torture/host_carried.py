"""A script for the host's process: workflows whose carried schedules, or all else, were changed.

    host_carried.py COUNT

It tries COUNT workflows, each from a seed of its own, and prints JSON: `trials`, `accepted` (with a
schedule that was read), `refused` (with a log line). It fails at the first that does harm.
"""

from __future__ import annotations

import base64
import importlib
import json
import logging
import sys
import tempfile
import zlib
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

NODE, SUBGRAPH = "5", "0f5ad5a5"


def main() -> None:
    """Try them all and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    from align_your_steps.nodes import host
    from align_your_steps.schedules import Store
    from align_your_steps.tests.torture.test_hostile_files import (
        KEPT,
        SHARED,
        assert_lawful,
        assert_sentence,
    )
    from align_your_steps.tests.torture.watched import watched

    carried = importlib.import_module("align_your_steps.nodes.results.workflow_levels")
    told = importlib.import_module("align_your_steps.nodes.inputs.choose")._measured_for
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("align_your_steps").addHandler(handler)
    logging.getLogger("align_your_steps").propagate = False
    folders = (KEPT, KEPT.parent / "format-2")
    both = [json.loads((one / "workflow.json").read_text(encoding="utf-8")) for one in folders]

    accepted = refused = 0

    def tried(pnginfo: Any, node: Any, prompt: Any) -> None:
        nonlocal accepted, refused
        lines.clear()
        found = carried.carried_by(node, pnginfo)
        assert len(lines) <= (not found), lines
        for saved in found:
            assert_lawful(saved)
            assert_sentence(f"chosen{told(saved, 10, 'dpmpp_2m')}")
        accepted += bool(found)
        refused += bool(lines)
        carried.carry_ahead({"prompt": prompt, "extra_data": {"extra_pnginfo": pnginfo}})
        carried.carry(node, pnginfo, found[0] if found else None, chosen="x", more=found[1:])
        assert len(carried.carried_by(node, pnginfo)) <= len(found)
        for line in lines:
            assert_sentence(line)

    with tempfile.TemporaryDirectory() as folder:
        store = Store([Path(folder)])
        store.add(SHARED, "x.json")
        host.store = lambda: store
        healthy = [({"workflow": kept}, NODE, graph(NODE)) for kept in deepcopy(both)]
        cases = [*healthy, *odd_workflows()]
        for case in healthy:
            tried(*deepcopy(case))  # what is imported at first use
        assert accepted == len(healthy)
        count = int(sys.argv[1])
        for seed in range(count):
            with watched(Path(folder)):
                kept = both[seed % len(both)]
                tried(*(changed(Random(seed), kept) if seed >= len(cases) else cases[seed]))
    print(json.dumps({"trials": count, "accepted": accepted, "refused": refused}))


def changed(random: Random, kept: dict[str, Any]) -> tuple[Any, Any, Any]:
    """A workflow, a node's id and a queued graph, with one or two of them changed."""
    from align_your_steps.tests.torture.damage import changed_json, hostile_name, in_json

    workflow = deepcopy(kept)
    (node,) = (one for one in workflow["nodes"] if "properties" in one)
    schedule = node["properties"]["ays_schedule"]
    place = random.randrange(5)
    if "packed" in schedule and random.randrange(2):
        inside = in_json(random, zlib.decompress(base64.b64decode(schedule["packed"])))
        schedule["packed"] = base64.b64encode(zlib.compress(inside)).decode()
    pnginfo: dict[str, Any] = {"workflow": workflow}
    node_id = NODE
    if place == 1:  # beside the graph
        pnginfo = {"ays_schedules": {NODE: schedule}}
    elif place == 2:  # in a subgraph that the node stands for
        inner = {**node, "id": 3}
        node.update(type=SUBGRAPH, properties={})
        workflow["definitions"] = {"subgraphs": [{"id": SUBGRAPH, "nodes": [inner]}]}
        node_id = f"{NODE}:3"
    elif place == 3:  # of an instance of a subgraph
        inner = {**node, "id": 3, "properties": {}}
        node.update(type=SUBGRAPH, properties={"ays_schedules": {"3": schedule}})
        workflow["definitions"] = {"subgraphs": [{"id": SUBGRAPH, "nodes": [inner]}]}
        node_id = f"{NODE}:3"
    if random.randrange(3):
        more = [deepcopy(schedule) for _ in range(random.choice((0, 1, 2, 65)))]
        schedule.update(changed_json(random, {**schedule, "more": more}) or {})
    else:
        pnginfo = changed_json(random, pnginfo)
    prompt = graph(node_id)
    if random.randrange(4) == 0:
        prompt = changed_json(random, prompt)
    if random.randrange(8) == 0:
        node_id = hostile_name(random)
    return pnginfo, random.choice((node_id, node_id, node_id, None)), prompt


def odd_workflows() -> list[tuple[Any, Any, Any]]:
    """An id that is too deep to be text, and a subgraph that holds itself."""
    deep: Any = []
    for _ in range(5000):  # more than the host reads; each Python has another limit
        deep = [deep]
    nodes = [{"id": deep, "type": deep, "properties": {"ays_schedule": {}}}]
    within = {"id": NODE, "type": NODE, "properties": {}}
    itself = {"nodes": [within], "definitions": {"subgraphs": [{"id": NODE, "nodes": [within]}]}}
    long = ":".join([NODE] * 1_000_000)
    return [
        ({"workflow": {"nodes": nodes}}, NODE, graph(NODE)),
        ({"workflow": {"nodes": [{"id": NODE, "properties": {"ays_schedule": {"levels": deep}}}]}},
         NODE, graph(NODE)),
        ({"workflow": itself}, long, graph(long)),
    ]  # fmt: skip


def graph(node: str) -> dict[str, Any]:
    """Return what is queued."""
    return {node: {"class_type": "AYSScheduler", "inputs": {"schedule": "measured"}}}


if __name__ == "__main__":
    main()
