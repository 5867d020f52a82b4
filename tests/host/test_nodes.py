"""The nodes in a real server: from a loaded MODEL to a latent sampled with its own schedule."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.host.graphs import (
    BUDGET,
    PREDICTIONS,
    STEPS,
    model_graph,
    optimize_graph,
    sampled,
    scheduler_graph,
)
from align_your_steps.tests.host.listener import Listener
from align_your_steps.tests.host.seen import network_rows, saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, PromptError


def test_the_pack_loads_without_a_warning(server: ComfyServer) -> None:
    # Up to its first answer: other tests of the shared server may have provoked errors since.
    start, _, _ = server.log.partition("To see the GUI go to")
    ours = [line for line in start.splitlines() if re.search("align.your.steps", line)]
    assert any("align-your-steps" in line for line in ours)  # the host's list of what it loads
    for line in ours:
        assert not any(word in line.lower() for word in ("warn", "error", "failed", "traceback"))


@pytest.mark.parametrize(
    "node", ["AYSScheduler", "AYSOptimize", "AYSApply", "AYSCompare", "AYSMergeProfiles"]
)
def test_every_node_stands_beside_the_hosts_schedulers(server: ComfyServer, node: str) -> None:
    info = server.object_info(node)
    assert info["category"] == server.object_info("BasicScheduler")["category"]
    for group in ("required", "optional"):
        for name, (_, *options) in info["input"].get(group, {}).items():
            assert options[0]["tooltip"], f"{node}.{name} has no tooltip"


def test_the_scheduler_name_is_in_every_drop_down(server: ComfyServer) -> None:
    for node in ("KSampler", "KSamplerAdvanced", "BasicScheduler"):
        choices = server.choices(node, "scheduler")
        assert choices[-1] == "ays_model"
        assert choices.count("ays_model") == 1


@pytest.mark.parametrize("denoiser", ["gaussian mixture", "digits"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ksampler_samples_with_the_optimised_schedule(
    server: ComfyServer, prediction: str, denoiser: str
) -> None:
    server.get("/ays_test/reset")
    graph = sampled(optimize_graph(model=model_graph(prediction, denoiser=denoiser)))
    entry = server.run(graph)
    levels = torch.tensor(shown(entry))
    assert len(levels) == STEPS + 1
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == levels.tolist()
    assert server.latent(entry, "save").isfinite().all()
    assert entry["outputs"]["optimize"]["images"], "no plot was shown"
    # Guided rows cost the network two rows; KSampler itself makes STEPS calls of them.
    assert 0 < network_rows(server) <= 2 * (BUDGET + STEPS)


def test_an_equal_prompt_after_a_restart_makes_no_call(empty_server: ComfyServer) -> None:
    server = empty_server
    before = server.run(optimize_graph())
    first = shown(before)
    server.restart()
    with Listener(server._url) as page:
        entry = server.run(optimize_graph())
    assert network_rows(server) == 0
    assert shown(entry) == first
    told, again = (one["outputs"]["report"]["text"][0].split("\n\n") for one in (before, entry))
    assert again[0].startswith("Keep sampler dpmpp_2m, choose scheduler ays_model, ")
    assert again[:2] == told[:2]
    assert "Saved result taken, no model call made." in again
    assert page.texts[-1].splitlines()[1:] == told[:2]
    changed = server.run(optimize_graph(seed=1))
    assert network_rows(server) > 0
    assert len(saved_files(server)) == 2
    assert shown(changed)[0] == first[0]


def test_optimising_again_changes_what_ksampler_samples(server: ComfyServer) -> None:
    first = server.run(sampled(optimize_graph(steps=STEPS)))
    again = server.run(sampled(optimize_graph(method="paper (KLUB)", steps=STEPS)))
    assert shown(again) != shown(first)
    assert not torch.equal(server.latent(again, "save"), server.latent(first, "save"))


def test_measure_again_measures_every_time_it_is_queued(server: ComfyServer) -> None:
    graph = optimize_graph(reuse="measure again", name="again")
    first = shown(server.run(graph))
    server.get("/ays_test/reset")
    assert shown(server.run(graph)) == first
    assert network_rows(server) > 0


def test_the_budget_is_never_exceeded(server: ComfyServer) -> None:
    for sampler in ("euler", "heun", "dpmpp_sde", "euler_ancestral"):
        server.get("/ays_test/reset")
        graph = optimize_graph("edm", sampler_name=sampler, cfg=1.0, budget=500)
        del graph["optimize"]["inputs"]["negative"]
        server.run(graph)
        assert 0 < network_rows(server) <= 500, sampler


def test_cancel_leaves_the_host_answering_and_no_file(empty_server: ComfyServer) -> None:
    server = empty_server
    server.get("/ays_test/delay?ms=20")
    prompt_id = server.queue(optimize_graph())
    server.until(lambda: server.get("/ays_test/calls")["calls"] > 20)
    server.interrupt()
    before = server.get("/ays_test/calls")["calls"]
    messages = [kind for kind, _ in server.wait(prompt_id)["status"]["messages"]]
    assert "execution_interrupted" in messages
    assert server.get("/ays_test/calls")["calls"] <= before + 2
    assert saved_files(server) == []
    server.get("/ays_test/reset")
    server.run(optimize_graph())
    assert len(saved_files(server)) == 1


def test_a_curve_for_part_of_the_denoising_reaches_ksampler(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    graph = sampled(optimize_graph(denoise=0.6, name="img2img"), denoise=0.6)
    levels = shown(server.run(graph))
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == levels
    assert levels[0] < 14.0


@pytest.mark.parametrize("denoise", [1.0, 0.6])
@pytest.mark.parametrize("sampler", ["dpm_2", "uni_pc"])
def test_samplers_that_drop_a_level_get_the_measured_ones(
    server: ComfyServer, sampler: str, denoise: float
) -> None:
    server.get("/ays_test/reset")
    graph = optimize_graph("edm", sampler_name=sampler, denoise=denoise, budget=800)
    levels = shown(server.run(sampled(graph, sampler_name=sampler, denoise=denoise)))
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == levels


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 25])
def test_an_attached_schedule_answers_any_number_of_steps(server: ComfyServer, steps: int) -> None:
    server.get("/ays_test/reset")
    graph = sampled(optimize_graph("flow"), steps=steps)
    server.run(graph)
    (line,) = server.get("/ays_test/sigmas")
    levels = torch.tensor(line["sigmas"])
    assert len(levels) == steps + 1
    assert levels[0] == 1.0
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()


def test_auto_finds_what_was_saved_for_this_model_only(empty_server: ComfyServer) -> None:
    server = empty_server
    optimised = shown(server.run(optimize_graph(name="mine")))
    assert shown(server.run(scheduler_graph(steps=STEPS))) == optimised
    measured_for = "(measured for dpmpp_2m, 5 steps, cfg 3, latent 1x8x8)"
    assert f"saved for this model: mine {measured_for}" in server.log
    assert "mine" in server.choices("AYSScheduler", "schedule")
    server.run(optimize_graph(denoise=0.6, name="newer, but of a part of the path"))
    assert shown(server.run(scheduler_graph(steps=STEPS))) == optimised
    patched = scheduler_graph(steps=STEPS)
    patch = {"model": ["model", 0], "strength": 0.1}
    patched["patched"] = {"class_type": "AYSTestPatch", "inputs": patch}
    patched["scheduler"]["inputs"]["model"] = ["patched", 0]
    other = shown(server.run(patched))
    assert other != optimised
    simple = {"model": ["model", 0], "scheduler": "simple", "steps": STEPS, "denoise": 1.0}
    patched["scheduler"] = {"class_type": "BasicScheduler", "inputs": simple}
    assert shown(server.run(patched)) == other


def test_other_numbers_of_steps_come_from_the_same_measurement(empty_server: ComfyServer) -> None:
    server = empty_server
    server.run(optimize_graph(name="measured once"))
    (file,) = saved_files(server)
    saved = read_saved(file, with_tensors=False).schedule
    derived = {len(levels) - 1: levels for levels in saved.others}
    assert {4, 8, 20} <= set(derived)
    server.get("/ays_test/reset")
    for steps in (4, 20):
        levels = shown(server.run(scheduler_graph(steps=steps)))
        assert levels == pytest.approx(derived[steps])
        assert f"derived for {steps}" in server.log
    assert network_rows(server) == 0


def test_apply_attaches_a_saved_schedule(server: ComfyServer) -> None:
    optimised = shown(server.run(optimize_graph(name="applied")))
    server.get("/ays_test/reset")
    graph = model_graph("eps")
    apply = {"model": ["model", 0], "schedule": "applied"}
    graph["apply"] = {"class_type": "AYSApply", "inputs": apply}
    server.run(sampled(graph, model=("apply", 0)))
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == optimised


def test_an_unknown_schedule_becomes_auto_with_one_warning(server: ComfyServer) -> None:
    levels = shown(server.run(scheduler_graph("v", schedule="never heard of it")))
    assert len(levels) == 11
    assert server.log.count("There is no schedule 'never heard of it'") == 1


def test_ays_model_without_a_schedule_samples_simple_and_says_so(server: ComfyServer) -> None:
    graph = model_graph("eps")
    for scheduler in ("ays_model", "simple"):
        inputs = {"model": ["model", 0], "scheduler": scheduler, "steps": 7, "denoise": 1.0}
        graph[scheduler] = {"class_type": "BasicScheduler", "inputs": inputs}
        show = {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": [scheduler, 0]}}
        graph[f"show {scheduler}"] = show
    outputs = server.run(graph)["outputs"]
    assert outputs["show ays_model"] == outputs["show simple"]
    assert "no schedule is attached to this model" in server.log


@pytest.mark.parametrize("mode", ["keep steps", "truncate"])
@pytest.mark.parametrize("schedule", ["auto", "SDXL", "nobody's"])
def test_a_denoise_of_0_is_answered_as_basic_scheduler_does(
    server: ComfyServer, mode: str, schedule: str
) -> None:
    graph = scheduler_graph(schedule=schedule, denoise=0.0, denoise_mode=mode)
    assert shown(server.run(graph)) == []
    basic = {"model": ["model", 0], "scheduler": "karras", "steps": 10, "denoise": 0.0}
    graph["scheduler"] = {"class_type": "BasicScheduler", "inputs": basic}
    assert shown(server.run(graph)) == []


def test_an_image_comes_back_as_it_was_at_a_denoise_of_0(server: ComfyServer) -> None:
    graph = scheduler_graph(denoise=0.0)
    graph["sampler"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}}
    run = {"model": "model", "positive": "positive", "negative": "negative", "sampler": "sampler"}
    links: dict[str, Any] = {name: [node, 0] for name, node in run.items()}
    links |= {"sigmas": ["scheduler", 0], "latent_image": ["latent", 0]}
    custom = {**links, "add_noise": True, "noise_seed": 1, "cfg": 3.0}
    graph["sample"] = {"class_type": "SamplerCustom", "inputs": custom}
    save = {"samples": ["sample", 0], "filename_prefix": "none"}
    graph["save"] = {"class_type": "SaveLatent", "inputs": save}
    assert not server.latent(server.run(graph), "save").any()


@pytest.mark.parametrize("denoise", [0.001, 1e-9])
def test_nearly_no_denoise_is_refused(server: ComfyServer, denoise: float) -> None:
    graph = scheduler_graph(denoise=["half", 0])
    graph["half"] = {"class_type": "PrimitiveFloat", "inputs": {"value": denoise}}
    if not server.object_info("PrimitiveFloat"):
        pytest.skip("this host has no PrimitiveFloat")
    with pytest.raises(PromptError, match=r"'denoise' was .*: give 0, or a number from 0\.01 to 1"):
        server.run(graph)


@pytest.mark.parametrize("ours, core", [("SD1.5", "SD1"), ("SDXL", "SDXL")])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_presets_equal_the_core_node(
    server: ComfyServer, ours: str, core: str, denoise: float
) -> None:
    graph = scheduler_graph(schedule=ours, denoise=denoise, denoise_mode="truncate")
    inputs = {"model_type": core, "steps": 10, "denoise": denoise}
    graph["core"] = {"class_type": "AlignYourStepsScheduler", "inputs": inputs}
    graph["show core"] = {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["core", 0]}}
    entry = server.run(graph)
    expected = entry["outputs"]["show core"]["sigmas"]
    torch.testing.assert_close(torch.tensor(shown(entry)), torch.tensor(expected))


def test_guider_and_sampler_take_precedence(server: ComfyServer) -> None:
    graph = optimize_graph("edm", positive=None, negative=None, sampler_name="euler")
    guider = {"model": ["model", 0], "conditioning": ["positive", 0]}
    graph["guider"] = {"class_type": "BasicGuider", "inputs": guider}
    graph["sampler"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "heun"}}
    graph["optimize"]["inputs"] |= {"guider": ["guider", 0], "sampler": ["sampler", 0]}
    report = server.run(graph)["outputs"]["report"]["text"][0]
    assert "heun" in report.splitlines()[0]


@pytest.mark.parametrize(
    "inputs, words",
    [
        ({"negative": None}, "no negative prompt"),
        ({"positive": None}, "no positive prompt"),
        ({"sampler_name": "lcm"}, "Choose another sampler"),
        ({"sampler_name": "dpm_adaptive"}, "its own noise levels"),
        ({"budget": 10}, "The budget was 10 calls"),
    ],
)
def test_bad_input_gets_one_clear_sentence(
    server: ComfyServer, inputs: dict[str, Any], words: str
) -> None:
    with pytest.raises(PromptError, match=words):
        server.run(optimize_graph(**inputs))
    server.run(scheduler_graph(schedule="SDXL"))


def test_a_published_preset_on_a_flow_model_is_refused(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match="flow model"):
        server.run(scheduler_graph("flow", schedule="SDXL"))


def test_a_schedule_of_a_flow_model_is_refused_on_another_kind(server: ComfyServer) -> None:
    server.run(optimize_graph("flow", name="a flow schedule"))
    with pytest.raises(PromptError, match="was measured on a flow model"):
        server.run(scheduler_graph("eps", schedule="a flow schedule"))


def test_flux_guidance_beside_a_guidance_scale_is_warned_of(server: ComfyServer) -> None:
    graph = optimize_graph("flow", cfg=2.0, positive=["flux", 0])
    flux = {"conditioning": ["positive", 0], "guidance": 3.5}
    graph["flux"] = {"class_type": "FluxGuidance", "inputs": flux}
    server.run(graph)
    assert "The prompt carries Flux guidance and cfg is 2" in server.log


def test_encoded_images_are_data_and_not_the_start(server: ComfyServer) -> None:
    empty = server.run(optimize_graph("edm"))
    server.get("/ays_test/reset")
    graph = sampled(optimize_graph("edm", latent_image=["sample", 0]), model=("model", 0))
    graph["sample"]["inputs"]["scheduler"] = "simple"
    encoded = server.run(graph)
    assert network_rows(server) > 2 * STEPS, "another latent is another request"
    assert shown(encoded)[0] == shown(empty)[0] == 80.0


def test_folders_of_the_configuration_are_read(
    server: ComfyServer, new_server: Callable[..., ComfyServer], tmp_path: Path
) -> None:
    optimised = shown(server.run(optimize_graph(name="sent by a friend")))
    (sent,) = [file for file in saved_files(server) if file.name.startswith("sent-by-a-friend")]
    (tmp_path / sent.name).write_bytes(sent.read_bytes())
    config = tmp_path / "paths.yaml"
    config.write_text(f'friends:\n  ays_schedules: "{tmp_path}"\n', encoding="utf-8")
    other = new_server(arguments=("--cpu", "--extra-model-paths-config", str(config)))
    assert "sent by a friend" in other.choices("AYSApply", "schedule")
    graph = scheduler_graph(schedule="sent by a friend", steps=STEPS)
    assert shown(other.run(graph)) == optimised
    assert saved_files(other) == []


def test_an_unwritable_folder_of_the_pack_is_replaced_by_the_users(
    new_server: Callable[..., ComfyServer],
) -> None:
    server = new_server()
    pack = server.base / "custom_nodes" / "align-your-steps" / "schedules"
    (pack / "optimized").rmdir() if (pack / "optimized").exists() else None
    (pack / "optimized").write_text("a file where the folder should be", encoding="utf-8")
    optimised = shown(server.run(optimize_graph(name="elsewhere")))
    assert list((server.base / "user" / "ays_schedules").glob("elsewhere-*.safetensors"))
    assert shown(server.run(scheduler_graph(schedule="elsewhere", steps=STEPS))) == optimised
