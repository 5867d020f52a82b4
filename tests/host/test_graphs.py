"""Graphs that people build around an optimised schedule, in a real server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.schedules import SavedSchedule
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.host.graphs import (
    STEPS,
    model_graph,
    node,
    optimize_graph,
    pair_graph,
    sampled,
    two_samplers,
)
from align_your_steps.tests.host.host_asked import CASES, SAMPLERS
from align_your_steps.tests.host.seen import network_rows, recorded, saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, PromptError

ASKED = Path(__file__).with_name("host_asked.py")
KEPT = Path(__file__).parents[1] / "schedules" / "kept" / "0.2.0" / "pair.safetensors"


def saved(server: ComfyServer, name: str) -> SavedSchedule:
    """The one result that was saved under a name."""
    files = [file for file in saved_files(server) if file.suffix == ".safetensors"]  # no imports
    found = [read_saved(file, with_tensors=False) for file in files]
    (result,) = [result for result in found if result.schedule.name == name]
    return result


@pytest.fixture
def asked(host_answer: Callable[..., dict[str, Any]], case: str, sampler: str) -> dict[str, Any]:
    """Return what KSampler got in the host's process."""
    found: dict[str, Any] = host_answer(ASKED)[case][sampler]
    return found


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", CASES)
def test_ksampler_gets_levels_for_any_steps_and_denoise(asked: dict[str, Any]) -> None:
    assert asked["asked"] == 1100
    assert asked["wrong"] == []


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", CASES)
def test_what_differs_from_what_was_measured_is_told_once(asked: dict[str, Any]) -> None:
    assert asked["lines"] == 1
    assert "measured at 10 steps" in asked["told"]
    assert "levels drawn through those for" in asked["told"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", CASES)
def test_the_measured_levels_stay_what_they_are(asked: dict[str, Any]) -> None:
    assert asked["own"] == [True, True]


def test_every_number_of_steps_has_its_share_of_the_bar(
    host_answer: Callable[..., dict[str, Any]],
) -> None:
    assert host_answer(ASKED)["progress"] == [[140, 300], [200, 300], [200, 300]]


def test_a_second_pass_runs_the_end_of_a_longer_schedule(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    graph = sampled(optimize_graph(name="two passes"))
    model = node(graph, "again", "AYSTestRecord", model=["optimize", 0], label="second pass")
    second = dict(graph["sample"]["inputs"], model=model, latent_image=["sample", 0])
    node(graph, "second pass", "KSampler", **second | {"steps": 6, "denoise": 0.5})
    graph["save"]["inputs"]["samples"] = ["second pass", 0]
    server.run(graph)
    lines = recorded(server)
    others = {len(levels) - 1: levels for levels in saved(server, "two passes").schedule.others}
    assert lines["second pass"] == pytest.approx(others[12][-7:])
    graph["second pass"]["inputs"]["seed"] = 6
    server.run(graph)
    told = "samples 12 steps with the schedule 'two passes', measured at 5 steps"
    assert server.log.count(told) == 1


@pytest.mark.parametrize("steps", [STEPS, 7, 12])
def test_two_models_of_other_ranges_get_the_parts_of_one_schedule(
    server: ComfyServer, steps: int
) -> None:
    server.run(optimize_graph(name="base and refiner"))
    server.get("/ays_test/reset")
    graph = model_graph("eps")
    node(graph, "refiner", "AYSTestModel", **graph["model"]["inputs"] | {"prediction": "edm"})
    first, second = (
        node(graph, f"apply {name}", "AYSApply", model=[name, 0], schedule="base and refiner")
        for name in ("model", "refiner")
    )
    switch = steps // 2
    entry = server.run(two_samplers(graph, first, second, switch, steps=steps))
    lines = recorded(server)
    assert len(lines["high"]) == switch + 1
    assert len(lines["low"]) == steps - switch + 1
    assert lines["high"][-1] == lines["low"][0]
    whole = [*lines["high"], *lines["low"][1:]]
    levels = saved(server, "base and refiner").schedule
    known = {len(found) - 1: found for found in (levels.levels, *levels.others)}
    if steps in known:
        assert whole == pytest.approx(known[steps])
    assert (torch.tensor(whole).diff() < 0).all()
    assert server.latent(entry, "save").isfinite().all()


@pytest.mark.parametrize("prediction", ["eps", "flow"])
def test_a_pair_is_measured_and_sampled_with_one_schedule(
    server: ComfyServer, prediction: str
) -> None:
    name = f"pair of {prediction}"
    server.get("/ays_test/reset")
    pair = {"second_model": ["second", 0], "boundary_step": 2}
    entry = server.run(pair_graph(prediction, name=name, **pair))
    assert 0 < network_rows(server) <= 2 * 600
    levels, result = shown(entry), saved(server, name)
    assert list(result.request) == list(read_saved(KEPT, with_tensors=False).request)
    boundary = result.notes["boundary"]
    switch = sum(level > boundary for level in levels[:-1])
    assert 1 <= switch < STEPS
    report = entry["outputs"]["report"]["text"][0]
    assert f"takes over after step {switch} of {STEPS}" in report
    # Both outputs, and the name applied to the second model, carry the same levels.
    graph = pair_graph(prediction, name=name, **pair)
    node(graph, "applied", "AYSApply", model=["second", 0], schedule=name)
    for seed, second in enumerate((["optimize", 3], ["applied", 0])):
        server.get("/ays_test/reset")
        both = two_samplers(graph, ["optimize", 0], second, switch, noise_seed=seed)
        entry = server.run(both)
        lines = recorded(server)
        assert [lines["high"], lines["low"]] == [levels[: switch + 1], levels[switch:]]
        assert server.latent(entry, "save").isfinite().all()
    assert f"; the second model takes over after step {switch}." in server.log


def test_a_pair_is_another_request_than_its_first_model(server: ComfyServer) -> None:
    counted = []
    for boundary_step in (None, 3, 3):
        pair = {"second_model": ["second", 0], "boundary_step": boundary_step}
        server.get("/ays_test/reset")
        server.run(pair_graph("v", budget=300, **(pair if boundary_step else {})))
        counted.append(network_rows(server) > 0)
    assert counted == [True, True, False]


def test_a_guider_of_the_second_model_has_prompts_and_cfg_of_its_own(server: ComfyServer) -> None:
    graph = pair_graph("edm", second_guider=["guider", 0], boundary_step=2)
    guider = {"model": ["second", 0], "conditioning": ["positive", 0]}
    graph["guider"] = {"class_type": "BasicGuider", "inputs": guider}
    server.get("/ays_test/reset")
    server.run(graph)
    # The first model's guided calls cost the network two rows, the second one's a single one.
    assert 600 < network_rows(server) < 2 * 500


@pytest.mark.parametrize("boundary_step", [0, STEPS])
def test_a_pair_needs_steps_for_both(server: ComfyServer, boundary_step: int) -> None:
    graph = pair_graph(second_model=["second", 0], boundary_step=boundary_step)
    with pytest.raises(PromptError, match="number of steps that the first model runs"):
        server.run(graph)


def test_a_pair_of_two_kinds_is_refused(server: ComfyServer) -> None:
    graph = pair_graph(second_model=["flow", 0], boundary_step=2)
    node(graph, "flow", "AYSTestModel", **graph["model"]["inputs"] | {"prediction": "flow"})
    with pytest.raises(PromptError, match="only models of the same kind"):
        server.run(graph)


def test_several_numbers_of_steps_are_optimised_in_one_go(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    graph = optimize_graph("edm", name="two counts", more_steps="8; 5, 8", budget=500)
    entry = server.run(graph)
    assert network_rows(server) > 2 * 600, "each number has the budget"
    main = saved(server, "two counts").schedule
    assert main.steps == STEPS
    assert shown(entry) == list(main.levels)
    report = entry["outputs"]["report"]["text"][0]
    other = saved(server, "two counts, 8 steps").schedule
    assert [levels for levels in main.others if len(levels) == 9] == [other.levels]
    assert len(main.others) > 5, "those for other numbers are derived"
    assert "choose scheduler ays_model, 5 steps" in report
    assert "choose scheduler ays_model, 8 steps" in report
    server.get("/ays_test/reset")
    graph["optimize"]["inputs"]["more_steps"] = "8"
    server.run(sampled(graph, steps=8))
    assert network_rows(server) == 2 * 8, "all is saved; KSampler itself makes 8 calls"
    assert recorded(server)["ksampler"] == list(other.levels)


def test_cancelling_the_second_number_keeps_the_first(server: ComfyServer) -> None:
    graph = optimize_graph("v", name="kept", more_steps="4", method="paper (KLUB)")
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=2")
    before = set(saved_files(server))
    prompt_id = server.queue(graph)
    server.until(lambda: set(saved_files(server)) > before)
    server.interrupt()
    messages = [kind for kind, _ in server.wait(prompt_id)["status"]["messages"]]
    server.get("/ays_test/reset")
    assert "execution_interrupted" in messages
    (file,) = set(saved_files(server)) - before
    assert read_saved(file, with_tensors=False).schedule.name == "kept"


@pytest.mark.parametrize("text", ["5, x", "0", "-3", "2.5", "1001"])
def test_bad_numbers_of_steps_get_one_clear_sentence(server: ComfyServer, text: str) -> None:
    with pytest.raises(PromptError, match="give whole numbers of steps from 1 to 1000"):
        server.run(optimize_graph(more_steps=text))


def test_ids_of_a_subgraph_work(server: ComfyServer) -> None:
    plain = sampled(optimize_graph(name="in a subgraph"))
    ids = {name: f"12:{number}" for number, name in enumerate(plain)}

    def inside(value: Any) -> Any:
        return [ids[value[0]], value[1]] if isinstance(value, list) else value

    graph = {
        ids[name]: {**one, "inputs": {key: inside(value) for key, value in one["inputs"].items()}}
        for name, one in plain.items()
    }
    server.get("/ays_test/reset")
    outputs = server.run(graph)["outputs"]
    assert recorded(server)["ksampler"] == outputs[ids["sigmas"]]["sigmas"]
    assert outputs[ids["optimize"]]["images"]


def test_the_report_is_in_the_history_of_a_graph_that_links_nothing_to_it(
    server: ComfyServer,
) -> None:
    graph = optimize_graph(name="alone")
    alone = {name: one for name, one in graph.items() if name not in ("report", "sigmas")}
    outputs = server.run(alone)["outputs"]["optimize"]
    assert outputs["text"][0].startswith("Keep sampler dpmpp_2m, choose scheduler ")
    assert outputs["images"]


@pytest.mark.parametrize("name", ["AYSOptimize", "AYSApply"])
def test_bypassed_nodes_pass_their_model_through(server: ComfyServer, name: str) -> None:
    info = server.object_info(name)
    assert next(iter(info["input"]["required"])) == "model"
    assert info["input"]["required"]["model"][0] == info["output"][0] == "MODEL"


def test_a_prompt_queued_behind_an_optimisation_is_as_ever(server: ComfyServer) -> None:
    behind = sampled(model_graph("v"), model=("model", 0), scheduler="simple", seed=11)
    expected = server.latent(server.run(behind), "save")
    behind["sample"]["inputs"]["seed"] = 12  # else the host would answer from its cache
    server.run(behind)
    behind["sample"]["inputs"]["seed"] = 11
    before = optimize_graph("v", seed=77, method="paper (KLUB)")
    prompts = [server.queue(graph) for graph in (before, behind)]
    entries = [server.wait(prompt) for prompt in prompts]
    assert [entry["status"]["status_str"] for entry in entries] == ["success", "success"]
    assert torch.equal(server.latent(entries[1], "save"), expected)


def test_a_batch_is_sampled_with_the_schedule(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    graph = sampled(optimize_graph(name="of a batch"))
    node(graph, "batch", "EmptyLatentImage", width=64, height=64, batch_size=3)
    graph["sample"]["inputs"]["latent_image"] = ["batch", 0]
    entry = server.run(graph)
    latent = server.latent(entry, "save")
    assert latent.shape == (3, 1, 8, 8)
    assert latent.isfinite().all()
    assert recorded(server)["ksampler"] == shown(entry)


def test_samplers_that_drop_a_level_get_the_derived_ones_at_other_steps(
    server: ComfyServer,
) -> None:
    graph = optimize_graph("edm", sampler_name="dpm_2", budget=800, name="drops one")
    graph = sampled(graph, sampler_name="dpm_2", steps=6)
    model = node(graph, "eight", "AYSTestRecord", model=["optimize", 0], label="eight")
    second = dict(graph["sample"]["inputs"], model=model, steps=8, latent_image=["sample", 0])
    node(graph, "sample eight", "KSampler", **second)
    graph["save"]["inputs"]["samples"] = ["sample eight", 0]
    basic = node(
        graph, "basic", "BasicScheduler", model=["optimize", 0], scheduler="ays_model",
        steps=STEPS, denoise=1.0,
    )  # fmt: skip
    node(graph, "show basic", "AYSTestShowSigmas", sigmas=basic)
    server.get("/ays_test/reset")
    outputs = server.run(graph)["outputs"]
    schedule = saved(server, "drops one").schedule
    derived = {len(levels) - 1: levels for levels in schedule.others}
    assert recorded(server)["ksampler"] == pytest.approx(derived[6])
    assert recorded(server)["eight"] == pytest.approx(derived[8])
    assert outputs["show basic"]["sigmas"] == list(schedule.levels)


def test_any_saved_name_works_on_any_model_of_the_same_kind(server: ComfyServer) -> None:
    levels = shown(server.run(optimize_graph("eps", name="of another")))
    server.get("/ays_test/reset")
    graph = model_graph("edm")
    node(graph, "apply", "AYSApply", model=["model", 0], schedule="of another")
    server.run(sampled(graph, model=("apply", 0)))
    assert recorded(server)["ksampler"] == [80.0, *levels[1:]]
    assert "saved: of another, of another model" in server.log
