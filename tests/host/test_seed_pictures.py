"""The same seed three times under Optimize AYS: from end points that were computed anyway."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from align_your_steps.benchmarks.digits.data import to_pixels
from align_your_steps.schedules.store.saved_schedule import SavedSchedule, read_saved, saved_from
from align_your_steps.tests.host.graphs import model_graph, optimize_graph
from align_your_steps.tests.host.seen import network_rows, saved_files
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.test_compare import image_of
from align_your_steps.tests.host.test_sharing import Answer
from PIL import Image
from torch import Tensor

OUTPUTS = [
    "MODEL",
    "SIGMAS",
    "LATENT",
    "CONDITIONING",
    "GUIDER",
    "SAMPLER",
    "VAE",
]  # of AYSTestBroken
SAMPLERS = ("ays_model", "dpmpp_2m")


def pictured_graph(sampler: str, seed: int = 21, **inputs: Any) -> Graph:
    """Optimize AYS for the digits model with a VAE."""
    settings = {"sampler_name": sampler, "cfg": 2.0, "budget": 1000, "seed": seed, "steps": 4}
    named = {"name": f"pictured {sampler} {seed}"}
    graph = optimize_graph(model=model_graph("eps", denoiser="digits"), **settings, **named)
    graph["vae"] = {"class_type": "AYSTestDigitsVAE", "inputs": {}}
    graph["optimize"]["inputs"] |= {"vae": ["vae", 0], **inputs}
    return graph


def saved(server: ComfyServer, name: str) -> SavedSchedule:
    """The result of a name, as its file holds it."""
    files = [file for file in saved_files(server) if file.suffix == ".safetensors"]
    results = [read_saved(file, with_tensors=True) for file in files]
    return next(result for result in results if result.schedule.name == name)


def shown(server: ComfyServer, entry: dict[str, Any]) -> Image.Image:
    """The picture under the node."""
    return image_of(server, *entry["outputs"]["optimize"]["images"])


def report(entry: dict[str, Any]) -> str:
    """The report of a run."""
    (text,) = entry["outputs"]["optimize"]["text"]
    return str(text)


def decoded(end: Tensor) -> np.ndarray:
    """The digit [8, 8] in an end point, as the test's VAE paints it."""
    return to_pixels(end.float()).numpy()[0]


def painted(picture: Image.Image, place: int, lines: int) -> np.ndarray:
    """The digit [8, 8] at a place in the row, under so many lines of text."""
    grey = np.asarray(picture.convert("L"), dtype=float) / 255
    scale = picture.width / 812  # three images of 256 pixels, and four gaps of 11
    left, top = 11 + 267 * place, lines * 14 * 812 / 300
    middle = 32 * np.arange(8) + 16
    return grey[np.ix_(((top + middle) * scale).astype(int), ((left + middle) * scale).astype(int))]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_seed_is_shown_three_times_without_a_model_call(
    server: ComfyServer, sampler: str
) -> None:
    alone = pictured_graph(sampler)
    del alone["optimize"]["inputs"]["vae"]
    shown(server, server.run(alone))
    server.get("/ays_test/reset")
    picture = shown(server, server.run(pictured_graph(sampler)))
    assert network_rows(server) == 0, "the end points are saved with the result"
    result = saved(server, f"pictured {sampler} 21")
    titles = [title.split("\n") for title in result.notes["pictures"]]
    assert [lines[0] for lines in titles] == ["best standard", "optimized", "the goal"]
    assert titles[1][1:] == ["ays_model", "4 steps"]
    assert titles[2][1] == "many steps"
    lines = max(map(len, titles))
    for place in range(3):
        end = decoded(result.tensors[f"picture {place}"])
        assert painted(picture, place, lines) == pytest.approx(end, abs=0.02)


def test_a_vae_that_fails_loses_nothing(server: ComfyServer) -> None:
    graph = pictured_graph("ays_model", 22)
    inputs = {"what": "VAE: it fails", "model": ["model", 0], "positive": ["positive", 0]}
    graph["vae"] = {"class_type": "AYSTestBroken", "inputs": inputs}
    graph["optimize"]["inputs"]["vae"] = ["vae", OUTPUTS.index("VAE")]
    entry = server.run(graph)
    assert "There are no pictures: the VAE could not decode them" in report(entry)
    picture = shown(server, entry)
    server.get("/ays_test/reset")
    alone = pictured_graph("ays_model", 22)
    del alone["optimize"]["inputs"]["vae"]
    entry = server.run(alone)
    assert network_rows(server) == 0
    assert "There are no pictures" not in report(entry)
    assert shown(server, entry).tobytes() == picture.tobytes(), "the curve alone"


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_what_others_get_has_no_pictures(server: ComfyServer, kind: str) -> None:
    server.run(pictured_graph("ays_model"))
    name = "pictured ays_model 21"
    assert "picture 0" in saved(server, name).tensors
    data = Answer(server, "/ays/schedules/export", name=name, format=kind).data
    assert b"the goal" not in data
    if kind == "safetensors":
        exported = saved_from(data)
        assert exported.samplers == saved(server, name).samplers
        assert not exported.tensors
