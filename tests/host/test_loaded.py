"""Results say which checkpoint and LoRAs they were measured on, where the graph makes it known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.tests.host.families import node, optimized
from align_your_steps.tests.host.graphs import optimize_graph
from align_your_steps.tests.host.server import ComfyServer, Graph
from safetensors.torch import save_file

BUDGET = 120
LORA = "style_v2.safetensors"
CHANGED = {
    "plain": {},
    "LoRA": {"a": ("LoraLoaderModelOnly", {"lora_name": LORA, "strength_model": 0.8})},
    "LoRA at 0": {"a": ("LoraLoaderModelOnly", {"lora_name": LORA, "strength_model": 0.0})},
    "two LoRAs": {
        "a": ("LoraLoaderModelOnly", {"lora_name": LORA, "strength_model": 0.8}),
        "b": ("LoraLoaderModelOnly", {"lora_name": LORA, "strength_model": -0.25}),
    },
    "one of the host's own": {"a": ("RescaleCFG", {"multiplier": 0.7})},
    "of another pack": {"a": ("AYSTestPatch", {"strength": 0.1})},
}
SAID = {
    "plain": "SD1.5",
    "LoRA": "SD1.5 + style_v2 0.8",
    "LoRA at 0": "SD1.5",
    "two LoRAs": "SD1.5 + style_v2 0.8 + style_v2 -0.25",
    "one of the host's own": "SD1.5",
    "of another pack": "SD1.5 + AYSTestPatch",
}


@pytest.fixture(scope="module")
def files(server: ComfyServer) -> None:
    """A checkpoint, another in a folder of its own, and a LoRA for both."""
    written = node("AYSTestCheckpoint", family="SD1.5", file="SD1.5", runs=True)
    entry = server.run({"checkpoint": written})
    path = Path(entry["outputs"]["checkpoint"]["path"][0])
    folder = path.parent / "in a folder"
    folder.mkdir(exist_ok=True)
    if not (folder / "other, v1.2.safetensors").exists():
        (folder / "other, v1.2.safetensors").hardlink_to(path)
    loras = server.base / "models" / "loras"
    loras.mkdir(exist_ok=True)
    weights = {
        "lora_unet_out_2.lora_up.weight": torch.full((4, 1, 1, 1), 0.1),
        "lora_unet_out_2.lora_down.weight": torch.full((1, 320, 3, 3), 0.01),
        "lora_unet_out_2.alpha": torch.tensor(1.0),
    }
    save_file(weights, loras / LORA)


def on(changes: dict[str, tuple[str, dict[str, Any]]], **inputs: Any) -> Graph:
    """Optimize AYS with a guider around SD1.5, which passes through these nodes."""
    graph = optimized("SD1.5", "BasicGuider", "euler", BUDGET)
    last = "model"
    for name, (kind, settings) in changes.items():
        graph[name] = node(kind, model=[last, 0], **settings)
        last = name
    graph["guider"]["inputs"]["model"] = [last, 0]
    graph["optimize"]["inputs"].update(model=[last, 0], **inputs)
    return graph


def entry_of(server: ComfyServer, graph: Graph) -> dict[str, Any]:
    """Return what the list says of a graph's result."""
    before = {entry["digest"] for entry in server.get("/ays/schedules")["schedules"]}
    server.run(graph)
    found = server.get("/ays/schedules")["schedules"]
    (new,) = [entry for entry in found if entry["digest"] not in before]
    return dict(new)


@pytest.mark.parametrize("changes", CHANGED)
def test_a_result_says_what_it_was_measured_on(
    server: ComfyServer, files: None, changes: str
) -> None:
    number = list(CHANGED).index(changes)
    entry = entry_of(server, on(CHANGED[changes], seed=100 + number))
    assert entry["model"] == SAID[changes]
    name = f"{SAID[changes]}: euler 4 steps cfg 1"
    assert entry["name"] == name or entry["name"].startswith(f"{name} (")


def test_a_merge_names_both_and_a_long_name_is_cut(server: ComfyServer, files: None) -> None:
    graph = on(CHANGED["two LoRAs"], seed=120)
    other = "in a folder/other, v1.2.safetensors"
    graph["other"] = node("UNETLoader", unet_name=other, weight_dtype="default")
    graph["merge"] = node("ModelMergeSimple", model1=["model", 0], model2=["other", 0], ratio=0.5)
    graph["a"]["inputs"]["model"] = ["merge", 0]
    entry = entry_of(server, graph)
    whole = "SD1.5 & other, v1.2 + style_v2 0.8 + style_v2 -0.25"
    assert entry["model"] == whole
    assert entry["name"].startswith(f"{whole[:45]}...: euler 4 steps")


def test_a_checkpoint_that_is_not_known_is_left_unsaid(server: ComfyServer, files: None) -> None:
    graph = optimize_graph(seed=121)
    entry = entry_of(server, graph)
    assert entry["model"] is None
    assert entry["name"].startswith("dpmpp_2m 5 steps cfg 3")


def test_an_equal_result_keeps_what_it_was_measured_on(server: ComfyServer, files: None) -> None:
    """The name of the file is no part of what makes two results the same."""
    first = entry_of(server, on({}, seed=122))
    again = on({}, seed=122)
    again["model"]["inputs"]["unet_name"] = "in a folder/other, v1.2.safetensors"
    assert "no model call" in server.run(again)["outputs"]["optimize"]["text"][0]
    found = server.get("/ays/schedules")["schedules"]
    assert [entry for entry in found if entry["digest"] == first["digest"]] == [first]
