"""Every kind of latent that the host samples: what is measured is what will be run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.host.graphs import LATENT_BUDGET as BUDGET
from align_your_steps.tests.host.graphs import STEPS, latent_graph, optimize_graph, sampled
from align_your_steps.tests.host.host_latents import FREE_ROWS, SMALL_DEVICES
from align_your_steps.tests.host.seen import network_rows, saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError

SCRIPT = Path(__file__).with_name("host_latents.py")
AMPLE = 500  # calls: enough for batches of 2


@pytest.fixture
def measured(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return what the script has found in the host's process."""
    return host_answer(SCRIPT)


def masked(graph: Graph, value: float = 1.0) -> Graph:
    """The same with a noise mask of 32 × 32 pixels, stretched by the host to the latent's size."""
    mask = {"value": value, "width": 32, "height": 32}
    graph["mask"] = {"class_type": "SolidMask", "inputs": mask}
    graph["empty mask"] = {"class_type": "SolidMask", "inputs": {**mask, "value": 0.0, "width": 64}}
    composite = {
        "destination": ["empty mask", 0],
        "source": ["mask", 0],
        "x": 0,
        "y": 0,
        "operation": "add",
    }
    graph["half mask"] = {"class_type": "MaskComposite", "inputs": composite}
    inputs = {"samples": ["latent", 0], "mask": ["half mask", 0]}
    graph["masked"] = {"class_type": "SetLatentNoiseMask", "inputs": inputs}
    graph["optimize"]["inputs"]["latent_image"] = ["masked", 0]
    graph["sample"]["inputs"]["latent_image"] = ["masked", 0]
    return graph


def newest(server: ComfyServer) -> Any:
    """The result saved last."""
    file = max(saved_files(server), key=lambda file: file.stat().st_mtime_ns)
    return read_saved(file, with_tensors=False)


@pytest.mark.parametrize(
    "latents, prediction, shapes, whole",
    [
        ("video", "flow", [[1, 3, 2, 8, 8]], None),
        ("video", "v", [[1, 3, 8, 8]], None),
        ("image", "edm", [[2, 1, 8, 8]], [1, 8, 8]),
        ("audio and video", "flow", [[1, 2, 2, 4, 4], [1, 5, 6]], [[2, 2, 4, 4], [5, 6]]),
    ],
)
@pytest.mark.parametrize("seed, denoise", [(1, 0.5), pytest.param(0, 1.0, marks=pytest.mark.full)])
def test_latents_of_any_shape_are_optimised_and_sampled(
    server: ComfyServer,
    host_path: Path,
    latents: str,
    prediction: str,
    shapes: Any,
    whole: Any,
    seed: int,
    denoise: float,
) -> None:
    if len(shapes) > 1 and not (host_path / "comfy" / "nested_tensor.py").is_file():
        pytest.skip("this host has no nested latents")
    server.get("/ays_test/reset")
    graph = latent_graph(latents, prediction, shapes, seed, denoise=denoise)
    entry = server.run(graph)
    (line,) = server.get("/ays_test/sigmas")
    levels = shown(entry)
    assert line["sigmas"] == levels
    assert len(levels) == STEPS + 1
    assert all(s > t for s, t in pairwise(levels))
    assert entry["outputs"]["save"]["finite"] == [True]
    out = [shape[1:] for shape in entry["outputs"]["save"]["shapes"]]
    saved = newest(server).request["shape"]
    assert saved == (out if len(out) > 1 else out[0])
    assert whole in (None, saved)


def test_an_empty_latent_is_measured_at_the_resolution_that_is_sampled(server: ComfyServer) -> None:
    """Newer hosts shrink the usual empty latent for models of a coarser one."""
    graph = latent_graph("video", "eps", [])
    settings = {"width": 128, "height": 96, "batch_size": 1}  # of four channels
    graph["latent"] = {"class_type": "EmptyLatentImage", "inputs": settings}
    (out,) = server.run(graph)["outputs"]["save"]["shapes"]
    assert newest(server).request["shape"] == out[1:]


@pytest.mark.parametrize(
    "seed, denoise",
    [(1, 1.0), *(pytest.param(*p, marks=pytest.mark.full) for p in [(0, 1.0), (1, 0.5)])],
)
def test_inpainting_is_optimised_and_sampled(
    server: ComfyServer, seed: int, denoise: float
) -> None:
    server.get("/ays_test/reset")
    graph = masked(latent_graph("four channels", "eps", [[1, 4, 8, 8]], seed, denoise=denoise))
    entry = server.run(graph)
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == shown(entry)
    assert entry["outputs"]["save"]["finite"] == [True]


def test_the_size_of_an_empty_batch_makes_no_difference(server: ComfyServer) -> None:
    for count, rows in ((1, 2 * BUDGET), (3, 0)):
        graph = optimize_graph("edm", budget=BUDGET, denoise=0.5)
        given = {"shapes": json.dumps([[count, 1, 8, 8]]), "seed": 0}
        graph["latent"] = {"class_type": "AYSTestLatent", "inputs": given}
        server.get("/ays_test/reset")
        server.run(graph)
        assert (network_rows(server) > 0) == (rows > 0)
        assert network_rows(server) <= rows


def test_masks_that_differ_in_one_row_are_different_requests(measured: dict[str, Any]) -> None:
    digests = measured["digests"]
    assert digests["again"] == digests["one"]
    assert len({digests["one"], digests["other"], digests["none"], digests["start"]}) == 4


def test_a_mask_that_leaves_nothing_to_sample_is_refused(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match="noise mask of the linked latent is zero everywhere"):
        server.run(masked(latent_graph("four channels", "eps", [[1, 4, 8, 8]], 1), value=0.0))


def test_runs_are_the_hosts_own_bit_for_bit(measured: dict[str, Any], host_path: Path) -> None:
    assert len(measured["runs"]) >= 13
    assert [name for name, same in measured["runs"].items() if not same] == []
    has_nested = (host_path / "comfy" / "nested_tensor.py").is_file()
    assert ("nested start" in measured["runs"]) == has_nested


def test_the_profile_sees_the_masked_model(measured: dict[str, Any]) -> None:
    assert measured["walked"]


def test_errors_count_what_the_mask_leaves_to_the_model(measured: dict[str, Any]) -> None:
    free = measured["free"]
    assert free["no mask"] == [256, 256]
    assert free["half"] == [128, 256]
    assert 128 < free["of rows"][0] < 256


def test_a_batch_is_chosen_that_fits_beside_the_weights(measured: dict[str, Any]) -> None:
    expected = [max(2**k for k in range(5) if 2**k <= max(1.0, rows)) for rows in FREE_ROWS]
    assert measured["batches"] == expected
    assert measured["beside"] == expected


def test_the_batch_is_halved_until_it_fits(measured: dict[str, Any]) -> None:
    sizes = [16, 8, 4, 2, 1]
    for fits in SMALL_DEVICES:
        tried = measured["tried"][str(fits)]
        assert tried == [*(size for size in sizes if size > fits), *tried[-1:]]
        assert tried[-1] == next((size for size in sizes if size <= fits), None)
    assert measured["interrupted"] == 1


def test_out_of_memory_halves_the_calls_and_nothing_begins_again(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    server.get("/ays_test/fits?rows=3")
    logged, before = len(server.log), saved_files(server)
    entry = server.run(sampled(optimize_graph(denoise=0.8, budget=AMPLE), denoise=0.8))
    log = server.log[logged:]
    assert re.search(r"out of memory with \d latents at a time: calls go on with 1\.", log)
    assert log.count("out of memory") == 1
    assert len(shown(entry)) == STEPS + 1
    assert server.latent(entry, "save").isfinite().all()
    assert network_rows(server) <= 2 * (AMPLE + STEPS)
    assert len(saved_files(server)) == len(before) + 1
    server.get("/ays_test/reset")


def test_too_little_memory_for_one_latent_is_one_sentence_and_the_host_goes_on(
    server: ComfyServer,
) -> None:
    before = saved_files(server)
    for rows in (0, 1):  # a guided call takes two rows
        server.get(f"/ays_test/fits?rows={rows}")
        with pytest.raises(PromptError, match=r"memory with a single latent of \[1, 8, 8\]"):
            server.run(sampled(optimize_graph(budget=BUDGET, seed=31)))
    assert saved_files(server) == before
    server.get("/ays_test/reset")
    after = server.run(sampled(optimize_graph(budget=BUDGET, seed=31)))
    assert server.latent(after, "save").isfinite().all()
    assert len(saved_files(server)) == len(before) + 1
