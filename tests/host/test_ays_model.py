"""The sampler `ays_model` in a real server: fitted by Optimize AYS, chosen twice in KSampler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.tests.host.graphs import (
    AYS,
    STEPS,
    compare_graph,
    fitted_graph,
    latent_graph,
    model_graph,
    node,
    pair_graph,
    sampled,
    twice,
    two_samplers,
)
from align_your_steps.tests.host.graphs import FITTED_BUDGET as BUDGET
from align_your_steps.tests.host.seen import network_rows, report, saved, saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError
from align_your_steps.tests.host.test_compare import table
from align_your_steps.tests.host.test_latents import masked

UNFITTED = 14  # steps that no fit of another number gives weights to


def custom(graph: Graph, model: list[Any], sigmas: list[Any]) -> Graph:
    """The same with KSamplerSelect and SamplerCustomAdvanced in the place of KSampler."""
    graph = dict(graph)
    made = node(graph, "noise", "RandomNoise", noise_seed=5)
    guider = node(
        graph, "guider", "CFGGuider", model=model, positive=["positive", 0],
        negative=["negative", 0], cfg=3.0,
    )  # fmt: skip
    sampler = node(graph, "sampler", "KSamplerSelect", sampler_name=AYS)
    node(
        graph, "sample", "SamplerCustomAdvanced", noise=made, guider=guider, sampler=sampler,
        sigmas=sigmas, latent_image=["latent", 0],
    )  # fmt: skip
    node(graph, "save", "SaveLatent", samples=["sample", 0], filename_prefix="nodes")
    return graph


def test_the_sampler_is_in_every_drop_down_once_and_last(server: ComfyServer) -> None:
    for at in ("KSampler", "KSamplerAdvanced", "KSamplerSelect", "AYSOptimize", "AYSCompare"):
        choices = server.choices(at, "sampler_name")
        assert choices[-1] == AYS
        assert choices.count(AYS) == 1


@pytest.mark.parametrize("prediction", ["eps", "flow"])
def test_ksampler_gets_the_fitted_levels_and_says_so(server: ComfyServer, prediction: str) -> None:
    server.get("/ays_test/reset")
    before = len(server.log)
    name = f"fitted {prediction}"
    entry = server.run(twice(fitted_graph(prediction, name=name)))
    assert network_rows(server) <= 2 * (BUDGET + STEPS)
    (line,) = server.get("/ays_test/sigmas")
    result = saved(server, name)
    sampler, *others = result.samplers
    assert line["sigmas"] == shown(entry) == list(sampler.levels)
    assert not sampler.weights_only and all(other.weights_only for other in others)
    assert {other.steps for other in others} == {4, *range(6, 13), 16}
    assert f"'ays_model' samples {STEPS} steps as they were fitted." in server.log[before:]
    text = entry["outputs"]["report"]["text"][0]
    assert text.startswith(
        f"Set KSampler to sampler ays_model and scheduler ays_model, {STEPS} steps, cfg 3.\n\n"
    )
    assert "the best standard choice, " in text.split("\n\n")[1]
    assert text.count("the calibrated sampler ays_model runs only in ComfyUI") == 1
    for unsaid in ("KLUB", "noises", "Profile", "not known", "greedy", "joint", "unipc"):
        assert unsaid not in text
    assert all(len(row) <= 60 for row in text.split("```")[1].splitlines())
    assert entry["outputs"]["optimize"]["images"], "no plot was shown"


def test_every_sampler_node_makes_the_same_image(server: ComfyServer) -> None:
    graph = fitted_graph("eps", name="same")
    expected = server.latent(server.run(twice(graph)), "save")
    attached = ["optimize", 0]
    basic = dict(graph)
    sigmas = node(
        basic, "levels", "BasicScheduler", model=attached, scheduler=AYS, steps=STEPS, denoise=1.0
    )
    graphs = {
        "SamplerCustomAdvanced": custom(graph, attached, ["optimize", 1]),
        "BasicScheduler": custom(basic, attached, sigmas),
    }
    for name, one in graphs.items():
        latent = server.latent(server.run(one), "save")
        assert torch.allclose(latent, expected, atol=1e-5), name


def test_apply_attaches_the_saved_sampler(server: ComfyServer) -> None:
    expected = server.latent(server.run(twice(fitted_graph("v", name="to apply"))), "save")
    graph = model_graph("v", denoiser="gaussian mixture")
    for schedule in ("to apply", "auto"):
        node(graph, "apply", "AYSApply", model=["model", 0], schedule=schedule)
        entry = server.run(sampled(graph, model=("apply", 0), sampler_name=AYS))
        assert torch.equal(server.latent(entry, "save"), expected), schedule


def test_other_samplers_get_the_plain_schedule(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    entry = server.run(sampled(fitted_graph("eps", name="plain")))
    (line,) = server.get("/ays_test/sigmas")
    result = saved(server, "plain")
    assert line["sigmas"] == result.schedule.sigmas.tolist()
    assert shown(entry) == list(result.samplers[0].levels)


@pytest.mark.parametrize("switch", range(1, STEPS))
def test_parts_of_the_path_are_sampled_with_the_fit(server: ComfyServer, switch: int) -> None:
    server.get("/ays_test/reset")
    graph = fitted_graph("edm", name="parts")
    attached = ["optimize", 0]
    entry = server.run(two_samplers(graph, attached, attached, switch, sampler_name=AYS))
    high, low = (line["sigmas"] for line in server.get("/ays_test/sigmas"))
    levels = list(saved(server, "parts").samplers[0].levels)
    assert [high, low] == [levels[: switch + 1], levels[switch:]]
    assert server.latent(entry, "save").isfinite().all()
    first = "1 step" if switch == 1 else f"{switch} steps"
    assert f"'ays_model' samples {first} as they were fitted." in server.log
    split = dict(graph)
    node(split, "split", "SplitSigmas", sigmas=["optimize", 1], step=switch)
    one = custom(split, attached, ["split", 0])
    one["no noise"] = {"class_type": "DisableNoise", "inputs": {}}
    node(
        one, "second", "SamplerCustomAdvanced", noise=["no noise", 0], guider=["guider", 0],
        sampler=["sampler", 0], sigmas=["split", 1], latent_image=["sample", 0],
    )  # fmt: skip
    one["save"]["inputs"]["samples"] = ["second", 0]
    expected = server.latent(entry, "save")
    assert torch.allclose(server.latent(server.run(one), "save"), expected, atol=1e-5)


def test_equal_prompt_after_a_restart_takes_the_saved_sampler(empty_server: ComfyServer) -> None:
    server = empty_server
    graph = twice(fitted_graph("edm", name="kept"))
    first = server.run(graph)
    server.restart()
    entry = server.run(graph)
    assert network_rows(server) == 2 * STEPS  # those of the image
    assert shown(entry) == shown(first)
    assert torch.equal(server.latent(entry, "save"), server.latent(first, "save"))


def test_more_steps_have_samplers_of_their_own(server: ComfyServer) -> None:
    graph = fitted_graph("eps", name="several fits", more_steps="3, 4")
    server.run(graph)
    samplers = saved(server, "several fits").samplers
    assert [one.steps for one in samplers if not one.weights_only] == [STEPS, 3, 4]
    for steps in (3, 4):
        server.get("/ays_test/reset")
        server.run(twice(graph, steps=steps))
        (line,) = server.get("/ays_test/sigmas")
        own = saved(server, f"several fits, {steps} steps").samplers[0]
        assert line["sigmas"] == list(own.levels)


def test_image_to_image_takes_the_last_of_more_steps_with_their_own_weights(
    server: ComfyServer,
) -> None:
    graph = fitted_graph("eps", name="image to image")
    server.run(graph)
    (of_more,) = (one for one in saved(server, "image to image").samplers if one.steps == 2 * STEPS)
    server.get("/ays_test/reset")
    before = len(server.log)
    entry = server.run(twice(graph, denoise=0.5))
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == pytest.approx(of_more.levels[STEPS:], rel=1e-6)
    assert (
        f"'ays_model' samples {STEPS} steps with weights that were fitted from a measurement for "
        "another number of steps; the run begins among them" in server.log[before:]
    )
    assert server.latent(entry, "save").isfinite().all()


def test_steps_without_a_fit_are_those_of_dpmpp_2m(server: ComfyServer) -> None:
    graph = fitted_graph("eps", name="other steps")
    before = len(server.log)
    ours = server.run(twice(graph, steps=UNFITTED))
    assert "these are not the levels that the attached sampler was fitted to" in server.log[before:]
    theirs = server.run(sampled(graph, steps=UNFITTED))
    latents = (server.latent(entry, "save") for entry in (ours, theirs))
    assert torch.allclose(*latents, atol=1e-4)


def test_without_a_fit_it_is_dpmpp_2m(server: ComfyServer) -> None:
    before = len(server.log)
    ends = [
        server.latent(server.run(sampled(model_graph("eps", denoiser="gaussian mixture"),
                                         model=("model", 0), sampler_name=name,
                                         scheduler="karras")), "save")
        for name in (AYS, "dpmpp_2m")
    ]  # fmt: skip
    assert torch.allclose(*ends, atol=1e-4)
    assert server.log[before:].count("no fitted sampler is attached to this model") == 1


def test_a_mask_is_fitted_and_what_it_keeps_is_kept(server: ComfyServer) -> None:
    before = len(server.log)
    shapes = [[1, 4, 8, 8]]
    graph = masked(latent_graph("four channels", "eps", shapes, 1, sampler_name=AYS, name="mask"))
    graph["optimize"]["inputs"]["budget"] = BUDGET
    graph["sample"]["inputs"]["sampler_name"] = AYS
    graph["save"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["sample", 0], "filename_prefix": "mask"},
    }
    node(graph, "start", "SaveLatent", samples=["latent", 0], filename_prefix="mask")
    entry = server.run(graph)
    assert f"'ays_model' samples {STEPS} steps as they were fitted." in server.log[before:]
    sampler = saved(server, "mask").samplers[0]
    assert sampler.told == sampler.levels[:-1]
    end, start = server.latent(entry, "save"), server.latent(entry, "start")
    kept = (end == start).all(1)[0]
    assert kept.any() and not kept.all()
    assert kept[:, 4:].all()


@pytest.mark.parametrize(
    "latents, prediction, shapes",
    [("video", "flow", [[1, 3, 2, 8, 8]]), ("image", "edm", [[3, 1, 8, 8]]),
     ("audio and video", "flow", [[1, 2, 2, 4, 4], [1, 5, 6]])],
)  # fmt: skip
@pytest.mark.parametrize("seed, denoise", [(1, 0.5), (0, 1.0)])
def test_latents_of_any_shape_are_fitted_and_sampled(
    server: ComfyServer,
    host_path: Path,
    latents: str,
    prediction: str,
    shapes: Any,
    seed: int,
    denoise: float,
) -> None:
    if len(shapes) > 1 and not (host_path / "comfy" / "nested_tensor.py").is_file():
        pytest.skip("this host has no nested latents")
    server.get("/ays_test/reset")
    graph = latent_graph(latents, prediction, shapes, seed, denoise=denoise, sampler_name=AYS)
    graph["optimize"]["inputs"]["budget"] = BUDGET
    graph["sample"]["inputs"]["sampler_name"] = AYS
    entry = server.run(graph)
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == shown(entry)
    assert entry["outputs"]["save"]["finite"] == [True]


def test_cancelled_fit_continues_with_the_same_result(empty_server: ComfyServer) -> None:
    server = empty_server
    graph = fitted_graph("edm", name="cancelled")
    whole = server.run(fitted_graph("edm", name="cancelled", reuse="measure again"))
    for file in saved_files(server):
        if file.suffix == ".safetensors":
            file.unlink()
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=8")
    prompt = server.queue(graph)
    server.until(lambda: network_rows(server) > 1.4 * BUDGET)  # of two for each call
    server.interrupt()
    messages = [kind for kind, _ in server.wait(prompt)["status"]["messages"]]
    assert "execution_interrupted" in messages
    server.get("/ays_test/reset")
    entry = server.run(graph)
    assert shown(entry) == shown(whole)
    assert 0 < network_rows(server) < 1.5 * BUDGET
    assert "Continued: " in entry["outputs"]["report"]["text"][0]


def test_limit_ends_a_fit_early_with_the_best_so_far(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=20")
    graph = fitted_graph("edm", name="in time", budget=16_000, minutes=0.15)
    text = server.run(graph)["outputs"]["report"]["text"][0]
    server.get("/ays_test/reset")
    assert "Ended early after " in text
    assert " choices were compared, " in text
    assert text.startswith("Set KSampler to sampler ays_model and scheduler ays_model, ")
    assert saved(server, "in time").samplers


def test_what_a_sampler_cannot_be_fitted_to_is_refused_in_a_sentence(server: ComfyServer) -> None:
    refused: dict[str, Callable[[], Any]] = {
        "a calibrated sampler takes 'measured'": lambda: server.run(
            fitted_graph(method="paper (KLUB)")
        ),
        "a calibration takes": lambda: server.run(fitted_graph(budget=20)),
    }
    for message, run in refused.items():
        with pytest.raises(PromptError, match=message):
            run()


def test_pair_is_fitted_with_a_run_for_each_model(server: ComfyServer) -> None:
    inputs = {"second_model": ["second", 0], "boundary_step": 2, "name": "two fitted"}
    graph = pair_graph(sampler_name=AYS, method="measured", budget=900, **inputs)
    text = server.run(graph)["outputs"]["report"]["text"][0]
    result = saved(server, "two fitted")
    (sampler,) = result.samplers
    first = sum(level > result.notes["boundary"] for level in sampler.levels[:-1])
    assert 0 < first < STEPS
    assert f"The second model takes over after step {first} of {STEPS}" in text
    assert all(len(row) <= i + 1 for i, row in enumerate(sampler.weights[first:]))
    server.get("/ays_test/reset")
    before = len(server.log)
    models = ["optimize", 0], ["optimize", 3]
    entry = server.run(two_samplers(graph, *models, first, sampler_name=AYS))
    high, low = (line["sigmas"] for line in server.get("/ays_test/sigmas"))
    levels = list(sampler.levels)
    assert [high, low] == [levels[: first + 1], levels[first:]]
    assert server.latent(entry, "save").isfinite().all()
    said = server.log[before:]
    assert said.count("as they were fitted.") == 2
    assert "the run begins among them" not in said


def test_compare_runs_fitted_steps_where_they_were_fitted(server: ComfyServer) -> None:
    graph = fitted_graph("eps", name="compared", steps=6, budget=1000, cfg=2.0)
    server.run(graph)
    base = model_graph("eps", denoiser="gaussian mixture")
    entry = server.run(
        compare_graph(base, sampler_name=AYS, schedules="compared, karras, simple, kl_optimal")
    )
    errors = table(entry)
    assert next(iter(errors)) == "compared"
    others = [errors[name] for name in ("karras", "simple", "kl_optimal")]
    assert errors["compared"] < 0.7 * min(others)
    assert "Closest to the image in many steps: 'compared'" in report(entry)
