"""Levels carried with workflows and pictures, between two real servers.

`server` has optimised schedules; `away` is a machine that has never seen their files.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from align_your_steps.schedules.store.json_file import to_json
from align_your_steps.schedules.store.saved_schedule import FORMAT
from align_your_steps.schedules.store.workflow_json import unpacked
from align_your_steps.tests.host.graphs import STEPS, model_graph, optimize_graph
from align_your_steps.tests.host.seen import network_rows
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.schedules.made import with_samplers
from PIL import Image
from torch import Tensor

SUBGRAPH = "0f5ad5a5-1f3c-4f4e-9b5c-2f8f6f4f2c11"
PROPERTY = "ays_schedule"
IDS = itertools.count(5)


@pytest.fixture
def away(empty_server: ComfyServer) -> ComfyServer:
    """A server on which no schedule is saved."""
    return empty_server


@pytest.fixture
def node() -> str:
    """An id of the test's own."""
    return str(next(IDS))


@pytest.fixture(scope="module")
def mine(server: ComfyServer) -> str:
    """The name of an optimised schedule of the test model."""
    server.run(optimize_graph(name="carried home"))
    return "carried home"


@pytest.fixture(scope="module")
def found(server: ComfyServer, mine: str) -> dict[str, Any]:
    """Return what a node carries after a run where that schedule is saved."""
    _, texts = picture(server, server.run(scheduler(mine, "4"), pnginfo=workflow("4")))
    carries = carried(texts)
    assert carries is not None
    return carries


# -- graphs, workflows and pictures ---------------------------------------------------------


def drawn(graph: Graph, node: str, sampler: str) -> Graph:
    """The graph with what the node gives sampled, decoded and saved as latent and as picture."""
    settings: dict[str, Any] = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": ["latent", 0],
        "cfg": 3.0,
    }
    if sampler == "KSampler":
        settings |= {"model": [node, 0], "seed": 5, "steps": STEPS, "denoise": 1.0}
        settings |= {"sampler_name": "dpmpp_2m", "scheduler": "ays_model"}
    else:
        settings |= {"add_noise": True, "noise_seed": 5, "sampler": ["sampler", 0]}
        settings |= {"sigmas": [node, 0]}
    nodes = {
        "sampler": ("KSamplerSelect", {"sampler_name": "dpmpp_2m"}),
        "sample": (sampler, settings),
        "save": ("SaveLatent", {"samples": ["sample", 0], "filename_prefix": "carried"}),
        "vae": ("AYSTestDigitsVAE", {}),
        "decode": ("VAEDecode", {"samples": ["sample", 0], "vae": ["vae", 0]}),
        "picture": ("SaveImage", {"images": ["decode", 0], "filename_prefix": "carried"}),
    }
    made = {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}
    return {**graph, **made}


def model(node: str) -> Graph:
    """The test model, with a setting that it has no use for: the host has no earlier output."""
    return model_graph("eps", shift=1.0 + int(node.partition(":")[0]) / 100)


def scheduler(schedule: str, node: str) -> Graph:
    inputs = {"model": ["model", 0], "schedule": schedule, "steps": STEPS, "denoise": 1.0}
    inputs["denoise_mode"] = "keep steps"
    graph = {**model(node), node: {"class_type": "AYSScheduler", "inputs": inputs}}
    return drawn(graph, node, "SamplerCustom")


def apply(schedule: str, node: str) -> Graph:
    inputs = {"model": ["model", 0], "schedule": schedule}
    graph = {**model(node), node: {"class_type": "AYSApply", "inputs": inputs}}
    return drawn(graph, node, "KSampler")


def optimize(name: str, node: str, **inputs: Any) -> Graph:
    graph = optimize_graph(name=name, **inputs)
    graph[node] = graph.pop("optimize")
    del graph["sigmas"]
    graph["report"]["inputs"]["text"] = [node, 2]
    return drawn(graph, node, "KSampler")


def workflow(node: str, **properties: Any) -> dict[str, Any]:
    """Return what the page sends for pictures: of the workflow only one node."""
    ours = {"id": int(node), "type": "a node of ours", "properties": properties}
    return {"workflow": {"nodes": [{"id": 1}, ours], "links": [], "version": 0.4}}


def in_subgraph(node: str) -> dict[str, Any]:
    """A workflow with the node as number 3 of a subgraph that another node stands for."""
    inner = {"id": SUBGRAPH, "nodes": [{"id": 3, "type": "AYSScheduler"}]}
    stands = {"id": int(node), "type": SUBGRAPH, "properties": {}}
    nodes = [{"id": 3, "properties": {}}, stands]
    return {"workflow": {"nodes": nodes, "definitions": {"subgraphs": [inner]}}}


def picture(server: ComfyServer, entry: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The pixels of the saved picture, and the JSON that is in its file."""
    (saved,) = entry["outputs"]["picture"]["images"]
    with Image.open(server.output(saved["filename"], saved["subfolder"])) as image:
        texts = {key: json.loads(text) for key, text in image.info.items()}
        return image.tobytes(), texts


def latent(server: ComfyServer, entry: dict[str, Any]) -> Tensor:
    return server.latent(entry, "save")


def carried(pnginfo: dict[str, Any]) -> dict[str, Any] | None:
    """Return what our node of a workflow carries."""
    ours = pnginfo["workflow"]["nodes"][1]
    found: dict[str, Any] | None = ours["properties"].get(PROPERTY)
    return found


# -- the same picture on another machine ----------------------------------------------------


@pytest.mark.parametrize("kind", ["scheduler", "scheduler auto", "apply", "apply auto", "optimize"])
def test_a_picture_runs_the_same_where_its_schedule_never_was(
    node: str, server: ComfyServer, away: ComfyServer, mine: str, kind: str
) -> None:
    graph = {
        "scheduler": scheduler(mine, node),
        "scheduler auto": scheduler("auto", node),
        "apply": apply(mine, node),
        "apply auto": apply("auto", node),
        "optimize": optimize(mine, node),
    }[kind]
    first = server.run(graph, pnginfo=workflow(node))
    pixels, texts = picture(server, first)
    assert first["outputs"][node][PROPERTY] == [carried(texts)]

    away.get("/ays_test/reset")
    there = away.run(texts["prompt"], pnginfo={"workflow": texts["workflow"]})
    assert torch.equal(latent(away, there), latent(server, first))
    again, texts_there = picture(away, there)
    assert again == pixels
    assert network_rows(away) == 2 * STEPS, "nothing was measured"
    assert carried(texts_there) is not None, "a copy of the copy carries the levels too"
    assert "came with this workflow" in away.log

    plain = away.run(scheduler("SDXL", node), pnginfo=workflow(node))
    assert not torch.equal(latent(away, plain), latent(server, first)), "levels matter"


def test_more_steps_are_taken_from_the_workflow_too(
    node: str, server: ComfyServer, away: ComfyServer
) -> None:
    graph = optimize("several", node, more_steps="4", budget=300, method="paper (KLUB)")
    _, texts = picture(server, server.run(graph, pnginfo=workflow(node)))
    away.get("/ays_test/reset")
    entry = away.run(texts["prompt"], pnginfo={"workflow": texts["workflow"]})
    assert network_rows(away) == 2 * STEPS
    report = entry["outputs"]["report"]["text"][0]
    assert report.startswith("Keep sampler ")
    assert report.count("came with the workflow") == 2
    names = away.choices("AYSApply", "schedule")
    assert {"several", "several, 4 steps"} <= set(names), "they are saved here now"


def test_measure_again_measures_whatever_the_workflow_carries(
    node: str, away: ComfyServer, mine: str, found: dict[str, Any]
) -> None:
    away.get("/ays_test/reset")
    graph = optimize(mine, node, reuse="measure again")
    away.run(graph, pnginfo=workflow(node, ays_schedule=found))
    assert network_rows(away) > 2 * STEPS


def test_a_node_in_a_subgraph_carries_its_levels(
    node: str, server: ComfyServer, away: ComfyServer, mine: str
) -> None:
    first = server.run(scheduler(mine, f"{node}:3"), pnginfo=in_subgraph(node))
    _, texts = picture(server, first)
    outer, inner = texts["workflow"]["nodes"], texts["workflow"]["definitions"]["subgraphs"]
    assert outer[1]["properties"]["ays_schedules"]["3"]["name"] == mine
    assert PROPERTY not in json.dumps(inner), "other instances share it"
    there = away.run(texts["prompt"], pnginfo={"workflow": texts["workflow"]})
    assert torch.equal(latent(away, there), latent(server, first))


def test_instances_of_a_subgraph_carry_each_its_own(
    node: str, server: ComfyServer, away: ComfyServer, mine: str
) -> None:
    other, inner = str(next(IDS)), "3"
    graph, second = scheduler(mine, f"{node}:3"), scheduler("auto", f"{other}:3")
    imported = server.post("/ays/schedules/import", {"name": f"other {node}", "sigmas": [9, 4, 1]})
    second[f"{other}:3"]["inputs"]["schedule"] = imported["name"]
    graph[f"{other}:3"] = second[f"{other}:3"]
    again = {
        **graph["sample"]["inputs"],
        "latent_image": ["sample", 0],
        "sigmas": [f"{other}:3", 0],
    }
    graph["again"] = {"class_type": "SamplerCustom", "inputs": again}
    graph["save"]["inputs"]["samples"] = ["again", 0]
    pnginfo = in_subgraph(node)
    nodes = pnginfo["workflow"]["nodes"]
    nodes.append({**nodes[1], "id": int(other), "properties": {}})
    first = server.run(graph, pnginfo=pnginfo)
    _, texts = picture(server, first)
    held = [n["properties"]["ays_schedules"][inner]["name"] for n in texts["workflow"]["nodes"][1:]]
    assert held == [mine, imported["name"]]
    there = away.run(texts["prompt"], pnginfo={"workflow": texts["workflow"]})
    assert torch.equal(latent(away, there), latent(server, first))
    # What one has no more is not taken from the other.
    graph[f"{node}:3"]["inputs"]["schedule"] = "SDXL"
    _, texts = picture(server, server.run(graph, pnginfo={"workflow": texts["workflow"]}))
    held = [n["properties"]["ays_schedules"] for n in texts["workflow"]["nodes"][1:]]
    assert (held[0], list(held[1])) == ({}, [inner])


def test_a_node_three_subgraphs_deep_carries_its_levels(
    node: str, server: ComfyServer, away: ComfyServer, mine: str
) -> None:
    path = f"{node}:4:3"
    first = server.run(scheduler(mine, path), pnginfo=deep(node))
    _, texts = picture(server, first)
    assert list(texts["workflow"]["nodes"][1]["properties"]["ays_schedules"]) == ["4:3"]
    there = away.run(texts["prompt"], pnginfo={"workflow": texts["workflow"]})
    assert torch.equal(latent(away, there), latent(server, first))


def deep(node: str) -> dict[str, Any]:
    """A workflow whose subgraph holds a subgraph, as number 4, that holds the node."""
    pnginfo = in_subgraph(node)
    definitions = pnginfo["workflow"]["definitions"]["subgraphs"]
    definitions.append({"id": "outer", "nodes": [{"id": 4, "type": SUBGRAPH}]})
    pnginfo["workflow"]["nodes"][1]["type"] = "outer"
    return pnginfo


def test_what_older_workflows_carry_in_a_subgraph_is_read(
    node: str, away: ComfyServer, mine: str, found: dict[str, Any]
) -> None:
    pnginfo = in_subgraph(node)
    shared = pnginfo["workflow"]["definitions"]["subgraphs"][0]["nodes"][0]
    shared["properties"] = {PROPERTY: found}
    entry = away.run(scheduler(mine, f"{node}:3"), pnginfo=pnginfo)
    assert entry["outputs"][f"{node}:3"][PROPERTY][0]["levels"] == found["levels"]
    # A published table takes it back for this instance, and leaves it to the others.
    entry = away.run(scheduler("SDXL", f"{node}:3"), pnginfo=pnginfo)
    _, texts = picture(away, entry)
    assert texts["workflow"]["nodes"][1]["properties"]["ays_schedules"] == {"3": {}}
    entry = away.run(scheduler("auto", f"{node}:3"), pnginfo={"workflow": texts["workflow"]})
    assert f"{node}:3" not in entry["outputs"]


def test_a_calibrated_sampler_is_carried_to_the_last_bit(
    node: str, server: ComfyServer, away: ComfyServer, found: dict[str, Any]
) -> None:
    fitted = with_samplers()
    assert fitted.schedule.steps == STEPS
    request = {**fitted.request, "identity": found["request"]["identity"]}
    saved = {**to_json(fitted), "request": request, "name": f"fitted {node}"}
    name = server.post("/ays/schedules/import?filename=x.json", saved)["name"]
    for kind in (scheduler(name, node), apply(name, node)):
        first = server.run(kind, pnginfo=workflow(node))
        _, texts = picture(server, first)
        (carries,) = unpacked(carried(texts) or {}, "x")
        assert carries.samplers == fitted.samplers
        there = away.run(texts["prompt"], pnginfo={"workflow": texts["workflow"]})
        assert torch.equal(latent(away, there), latent(server, first))
        _, texts = picture(away, there)
        (again,) = unpacked(carried(texts) or {}, "x")
        assert again.samplers == fitted.samplers
    renamed = server.post("/ays/schedules/rename", {"name": name, "new_name": f"{name} b"})["name"]
    (row,) = [r for r in server.get("/ays/schedules")["schedules"] if r["name"] == renamed]
    assert row["calibrated"] == [3, 5]
    server.post("/ays/schedules/delete", {"name": renamed})


def test_a_graph_without_a_workflow_has_its_levels_beside_it(
    node: str, server: ComfyServer, away: ComfyServer, mine: str
) -> None:
    first = server.run(scheduler(mine, node), pnginfo={})
    _, texts = picture(server, first)
    assert texts["ays_schedules"][node]["name"] == mine
    del texts["prompt"]
    there = away.run(scheduler(mine, node), pnginfo=texts)
    assert torch.equal(latent(away, there), latent(server, first))


def test_a_graph_without_anything_beside_it_runs(node: str, server: ComfyServer, mine: str) -> None:
    entry = server.run(scheduler(mine, node))
    assert entry["outputs"][node][PROPERTY][0]["name"] == mine


@pytest.mark.parametrize("more", ["", "4, 7"])
def test_a_picture_of_ays_model_is_the_same_to_the_last_bit(
    node: str, server: ComfyServer, away: ComfyServer, more: str
) -> None:
    name = f"fitted picture {node}"
    graph = optimize(name, node, sampler_name="ays_model", budget=400, more_steps=more)
    graph["sample"]["inputs"]["sampler_name"] = "ays_model"
    fitted = apply(name, node)
    fitted["sample"]["inputs"]["sampler_name"] = "ays_model"
    server.run(graph)
    for kind in (fitted, graph):  # in this order: the second is saved there
        first = server.run(kind, pnginfo=workflow(node))
        pixels, texts = picture(server, first)
        assert len(json.dumps(carried(texts))) < 24_000
        away.get("/ays_test/reset")
        there = away.run(texts["prompt"], pnginfo={"workflow": texts["workflow"]})
        assert torch.equal(latent(away, there), latent(server, first))
        assert picture(away, there)[0] == pixels
        assert network_rows(away) == 2 * STEPS, "nothing was measured"
        plain = {**kind, "sample": {**kind["sample"]}}
        plain["sample"]["inputs"] = {**kind["sample"]["inputs"], "sampler_name": "dpmpp_2m"}
        assert not torch.equal(latent(server, server.run(plain)), latent(server, first))


# -- which schedule counts ------------------------------------------------------------------


def test_what_is_saved_here_under_that_name_counts_before_an_equal_one_that_came(
    node: str, server: ComfyServer, mine: str, found: dict[str, Any]
) -> None:
    other = {**found, "levels": [level * 0.9 for level in found["levels"]]}
    entry = server.run(scheduler(mine, node), pnginfo=workflow(node, ays_schedule=other))
    assert entry["outputs"][node][PROPERTY] == [found]


def test_another_schedule_of_the_same_name_does_not_count(
    node: str, away: ComfyServer, mine: str, found: dict[str, Any]
) -> None:
    request = {**found["request"], "seed": 3}
    away.post("/ays/schedules/import", {**found, "request": request})
    assert mine in away.choices("AYSApply", "schedule")
    entry = away.run(scheduler(mine, node), pnginfo=workflow(node, ays_schedule=found))
    assert entry["outputs"][node][PROPERTY] == [found]
    entry = away.run(scheduler(mine, node), pnginfo=workflow(node))
    assert entry["outputs"][node][PROPERTY] != [found]


def test_auto_takes_nothing_of_another_model(
    node: str, away: ComfyServer, found: dict[str, Any]
) -> None:
    for graph in (scheduler("auto", node), scheduler("another name", node)):
        graph["model"]["inputs"]["seed"] = 8
        pnginfo = workflow(node, ays_schedule=found)
        entry = away.run(graph, pnginfo=pnginfo)
        assert node not in entry["outputs"]
        _, texts = picture(away, entry)
        assert carried(texts) is None, "what was not used is not carried on"


def test_two_workflows_with_one_name_and_two_schedules_are_not_mistaken(
    node: str, away: ComfyServer, mine: str, found: dict[str, Any]
) -> None:
    request = {**found["request"], "seed": 1}
    levels = [level * 0.9 for level in found["levels"]]
    other = {**found, "request": request, "levels": levels, "others": []}
    latents = [
        latent(away, away.run(scheduler(mine, node), pnginfo=workflow(node, ays_schedule=came)))
        for came in (found, other, found)
    ]
    assert not torch.equal(latents[0], latents[1])
    assert torch.equal(latents[0], latents[2])


def test_published_tables_are_not_carried(
    node: str, server: ComfyServer, found: dict[str, Any]
) -> None:
    entry = server.run(scheduler("SDXL", node), pnginfo=workflow(node, ays_schedule=found))
    assert node not in entry["outputs"]
    _, texts = picture(server, entry)
    assert carried(texts) is None


@pytest.mark.parametrize("kind", ["scheduler", "apply auto", "optimize"])
def test_pictures_of_a_node_that_does_not_run_again_carry_its_levels_too(
    node: str, server: ComfyServer, mine: str, kind: str
) -> None:
    graph, seed = {
        "scheduler": (scheduler(mine, node), "noise_seed"),
        "apply auto": (apply("auto", node), "seed"),
        "optimize": (optimize(mine, node), "seed"),
    }[kind]
    _, first = picture(server, server.run(graph, pnginfo=workflow(node)))
    graph["sample"]["inputs"][seed] = 6
    entry = server.run(graph, pnginfo=workflow(node))
    (cached,) = [m["nodes"] for k, m in entry["status"]["messages"] if k == "execution_cached"]
    assert node in cached
    _, second = picture(server, entry)
    assert carried(second) == carried(first) is not None


def test_runs_that_are_queued_together_all_carry_the_levels_of_a_name(
    node: str, server: ComfyServer, mine: str
) -> None:
    queued = []
    for seed in range(3):
        graph = scheduler(mine, node)
        graph["sample"]["inputs"]["noise_seed"] = seed
        queued.append(server.queue(graph, workflow(node)))
    for prompt_id in queued:
        _, texts = picture(server, server.wait(prompt_id))
        assert carried(texts) is not None


# -- nothing is trusted ---------------------------------------------------------------------

HOSTILE: dict[str, Any] = {
    "no object": 5,
    "text": "[1, 0]",
    "text for levels": {"levels": "1, 0"},
    "one level": {"levels": [1.0]},
    "rising": {"levels": [1.0, 2.0, 0.0]},
    "infinite": {"levels": [1e999, 1.0, 0.0]},
    "a number of 400 digits": {"levels": [10**400, 1.0, 0.0]},
    "too many": {"levels": list(range(10_002, -1, -1))},
    "too long": {"levels": [1.0, 0.0], "notes": {"x": "y" * 3 * 2**20}},
    "a list for notes": {"levels": [1.0, 0.0], "notes": []},
    "a number for identity": {"levels": [1.0, 0.0], "request": {"identity": 3}},
    "another version": {"levels": [1.0, 0.0], "version": 9},
    "packed nonsense": {"format": FORMAT, "version": 2, "packed": "AAAA"},
    "packed by a newer version": {"format": FORMAT, "version": 3, "packed": "AAAA"},
    "text for more": {"levels": [1.0, 0.0], "more": "x"},
    "much more": {"levels": [1.0, 0.0], "more": [{}] * 1000},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_no_schedule_can_be_is_left_alone_with_one_line(
    node: str, away: ComfyServer, kind: str
) -> None:
    before = away.log.count(f"came with this workflow for node {node} is not used")
    pnginfo = json.loads(json.dumps(workflow(node, ays_schedule=HOSTILE[kind])))
    entry = away.run(scheduler(f"unknown, {kind}", node), pnginfo=pnginfo)
    assert latent(away, entry).isfinite().all()
    after = away.log.count(f"came with this workflow for node {node} is not used")
    assert after > before or not isinstance(HOSTILE[kind], dict)


@pytest.mark.parametrize(
    "change",
    [
        {"request": {"denoise": "all", "sampler": ["x"], "shape": "y", "cfg": 10**400}},
        {"notes": {"flow": 0, "sigma_min": -1, "boundary": "z", "spare_level": [1]}},
        {"notes": {"flow": False, "sigma_min": 10**300}, "request": {"denoise": 10**300}},
        {"name": "../../../etc/passwd"},
    ],
)
def test_odd_requests_and_notes_do_no_harm(
    node: str, away: ComfyServer, found: dict[str, Any], change: dict[str, Any]
) -> None:
    odd = {**found, **change}
    entry = away.run(apply(odd["name"], node), pnginfo=workflow(node, ays_schedule=odd))
    assert entry["outputs"][node][PROPERTY][0]["levels"] == odd["levels"]
    assert latent(away, entry).isfinite().all()


@pytest.mark.parametrize(
    "pnginfo",
    [
        {"workflow": None},
        {"workflow": {"nodes": {"ID": {}}}},
        {"workflow": {"nodes": [None, {"id": "ID", "properties": []}]}, "ays_schedules": []},
        {"workflow": {"nodes": [{"id": "ID", "type": {}}], "definitions": {"subgraphs": "x"}}},
    ],
)
def test_a_workflow_of_another_shape_stops_nothing(
    node: str, server: ComfyServer, mine: str, pnginfo: dict[str, Any]
) -> None:
    pnginfo = json.loads(json.dumps(pnginfo).replace("ID", node))
    entry = server.run(scheduler(mine, node), pnginfo=pnginfo)
    assert entry["outputs"][node][PROPERTY][0]["name"] == mine
    assert latent(server, entry).isfinite().all()
