"""What `auto` takes for a model, in a real server: the nearest, of these the least error."""

from __future__ import annotations

from typing import Any

import pytest
from align_your_steps.schedules.store.json_file import to_json
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.host.graphs import (
    STEPS,
    model_graph,
    optimize_graph,
    sampled,
    scheduler_graph,
)
from align_your_steps.tests.host.seen import saved_files, shown
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.schedules.made import with_samplers


@pytest.fixture
def measured(empty_server: ComfyServer) -> dict[str, Any]:
    """A result for the test model, as it is shared; nothing else is saved."""
    empty_server.run(optimize_graph(name="measured", budget=600))
    (file,) = saved_files(empty_server)
    return to_json(read_saved(file, with_tensors=False))


def add(server: ComfyServer, like: dict[str, Any], name: str, steps: int, **notes: Any) -> None:
    """Save a result like another one, for so many steps."""
    levels = [*(14.0 * 0.7**k for k in range(steps)), 0.0]
    request = {**like["request"], "steps": steps, "test": name}
    figures = {k: v for k, v in like["notes"].items() if k not in ("error interval", "gain")}
    changed = {"name": name, "levels": levels, "request": request, "notes": {**figures, **notes}}
    server.post("/ays/schedules/import?filename=x.json", {**like, **changed})


def applied(server: ComfyServer, steps: int) -> list[float]:
    """The levels that KSampler runs after Apply AYS Schedule with 'auto'."""
    server.get("/ays_test/reset")
    graph = model_graph("eps", denoiser="gaussian mixture")
    inputs = {"model": ["model", 0], "schedule": "auto"}
    graph["apply"] = {"class_type": "AYSApply", "inputs": inputs}
    server.run(sampled(graph, model=("apply", 0), steps=steps))
    (line,) = server.get("/ays_test/sigmas")
    levels: list[float] = line["sigmas"]
    return levels


def mixture(steps: int) -> dict[str, Any]:
    graph = scheduler_graph(steps=steps)
    return {**graph, **model_graph("eps", denoiser="gaussian mixture")}


def test_a_result_notes_what_auto_compares(measured: dict[str, Any]) -> None:
    notes = measured["notes"]
    low, high = notes["error interval"]
    assert 0.0 < low < notes["error"] < high
    ratio, least, most = notes["gain"]
    assert 0.0 < least < ratio < most
    assert notes["criterion"] == "paired error"


def test_twenty_steps_get_the_result_for_twenty(
    empty_server: ComfyServer, measured: dict[str, Any]
) -> None:
    server = empty_server
    add(server, measured, "twenty", 20, error=9.0)
    add(server, measured, "eight", 8, error=0.001)
    twenty = [*(14.0 * 0.7**k for k in range(20)), 0.0]
    assert shown(server.run(mixture(20)))[1:] == pytest.approx(twenty[1:])
    assert "saved for this model: twenty (measured for dpmpp_2m, 20 steps" in server.log
    assert "the nearest of 3" in server.log
    for steps in (20, 8):
        assert applied(server, steps)[1:] == pytest.approx([*twenty[1:steps], 0.0])
    assert applied(server, STEPS) == pytest.approx(measured["levels"], rel=1e-3)
    assert "other steps as saved for " in server.log


def test_the_least_error_is_taken_and_not_the_newest(
    empty_server: ComfyServer, measured: dict[str, Any]
) -> None:
    server = empty_server
    for name, error in (("better", 0.1), ("22 % worse", 0.122)):
        add(server, measured, name, 7, error=error, **{"error interval": [error, error * 1.02]})
    server.run(mixture(7))
    assert "saved for this model: better (" in server.log
    assert "the least error of 2 as near" in server.log


def test_a_calibrated_result_goes_before_a_plain_one(
    empty_server: ComfyServer, measured: dict[str, Any]
) -> None:
    server = empty_server
    fitted = to_json(with_samplers())
    about = {"name": "fitted", "request": {**measured["request"], "sampler": "ays_model"}}
    notes = {**measured["notes"], "error": 5.0}
    server.post("/ays/schedules/import?filename=x.json", {**fitted, **about, "notes": notes})
    add(server, measured, "newest", STEPS, error=0.001)
    levels = shown(server.run(mixture(STEPS)))
    assert levels[1:] == pytest.approx(fitted["levels"][1:])
    assert "saved for this model: fitted (" in server.log
