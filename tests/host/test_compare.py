"""Schedules ranked in a real server, as a script that knows nothing of our nodes ranks them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.host.graphs import COMPARED_STEPS as STEPS
from align_your_steps.tests.host.graphs import NAMES, compare_graph, model_graph, optimize_graph
from align_your_steps.tests.host.seen import network_rows, report, saved_files
from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError
from PIL import Image
from torch import Tensor

SCRIPT = Path(__file__).with_name("host_compare.py")
ROW = re.compile(r"^ *(\d+) (.+?) +(\d\S*)((?: +\S+ +\S+)?)$")


def table(entry: dict[str, Any]) -> dict[str, float]:
    """The ranked errors by name."""
    found = [ROW.match(line) for line in report(entry).splitlines()]
    rows = [row.groups() for row in found if row]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    assert max(len(line) for line in report(entry).split("```")[1].splitlines()) <= 48
    return {row[1].strip(): float(row[2]) for row in rows}


def scheduled(name: str, steps: int = STEPS, denoise: float = 1.0) -> dict[str, Any]:
    """The host's own node for a scheduler's levels."""
    inputs = {"model": ["model", 0], "scheduler": name, "steps": steps, "denoise": denoise}
    return {"class_type": "BasicScheduler", "inputs": inputs}


def show(node: str) -> dict[str, Any]:
    """The levels that a node gives, in the prompt's history."""
    return {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": [node, 0]}}


def image_of(server: ComfyServer, shown: dict[str, Any]) -> Image.Image:
    """A picture that a node shows."""
    path = server.base / shown["type"] / shown["subfolder"] / shown["filename"]
    return Image.open(path).convert("RGB")


def contains(picture: Image.Image, part: Image.Image) -> bool:
    """Tell whether a picture is a part of another one, pixel for pixel."""
    whole, looked_for = np.asarray(picture), np.asarray(part)
    windows = np.lib.stride_tricks.sliding_window_view(whole, looked_for.shape)
    rows, columns = windows.shape[:2]
    return any(
        np.array_equal(windows[y, x, 0], looked_for) for y in range(rows) for x in range(columns)
    )


def image_graph(scheduler: str, seed: int = 5, steps: int = STEPS) -> Graph:
    """KSampler with one of the schedulers."""
    settings = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": ["latent", 0],
        "seed": seed,
        "steps": steps,
        "cfg": 2.0,
        "sampler_name": "dpmpp_2m",
        "scheduler": scheduler,
        "denoise": 1.0,
    }
    save = {"samples": ["sample", 0], "filename_prefix": "compared"}
    return {
        **model_graph("eps", denoiser="digits"),
        "sample": {"class_type": "KSampler", "inputs": settings},
        "save": {"class_type": "SaveLatent", "inputs": save},
    }


@pytest.fixture
def beside_the_host(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return what the script has found in the host's process."""
    return host_answer(SCRIPT)


def test_errors_are_those_of_the_hosts_own_sampling(beside_the_host: dict[str, Any]) -> None:
    brute, ours = beside_the_host["brute"], beside_the_host["ours"]
    assert ours.keys() == brute.keys()
    for name, errors in ours.items():
        assert errors == pytest.approx(brute[name], rel=0.02)
    means = {name: sum(errors) for name, errors in brute.items()}
    assert beside_the_host["ranking"] == sorted(means, key=lambda name: means[name])


def test_the_pictures_are_those_that_ksampler_makes_of_the_seed(
    beside_the_host: dict[str, Any],
) -> None:
    same = beside_the_host["same"]
    assert {"image, 1", "four channels, 1", "video, 1"} <= same.keys()
    for case, differences in same.items():
        # To the last bit where the model's latents are not scaled, and noises not run together.
        exact = case == "image, 1"
        assert max(differences.values()) <= (0.0 if exact else 2e-5), case


def test_vaes_that_fail_are_told_apart_from_a_cancelled_run(
    beside_the_host: dict[str, Any],
) -> None:
    pictures = beside_the_host["pictures"]
    assert pictures["image"] == [[8, 6, 3], 0.0]
    assert pictures["transparent"] == [[8, 6, 3], 0.0]
    assert pictures["video"] == [[6, 4, 3], 2.0], "the frame in the middle"
    assert pictures["out of memory"] == "the VAE could not decode them: no memory left"
    assert pictures["another model's"] == "the VAE could not decode them: expected 4 channels"
    assert pictures["cancelled"] == "cancelled"


def test_schedulers_and_sigmas_are_ranked_as_ksampler_paints(server: ComfyServer) -> None:
    # A single noise: that of the seed, whose images the host itself makes.
    graph = compare_graph(noises=1, **{"sigmas.sigmas_1": ["other", 0]})
    graph["other"] = scheduled("exponential")
    entry = server.run(graph)
    errors = table(entry)
    assert set(errors) == {"simple", "normal", "karras", "beta", "sigmas 1"}
    many = server.latent(server.run(image_graph("karras", steps=150)), "save")
    for name in errors:
        own = "exponential" if name == "sigmas 1" else name
        end = server.latent(server.run(image_graph(own)), "save")
        assert errors[name] == pytest.approx(float((end - many).square().mean().sqrt()), rel=0.02)
    best = next(iter(errors))
    assert errors[best] == min(errors.values())
    assert report(entry).startswith(f"Closest to the image in many steps: '{best}'.")
    own = "exponential" if best == "sigmas 1" else best
    levels = {"best": scheduled(own), "sigmas": show("best")}
    expected = server.run({**model_graph("eps", denoiser="digits"), **levels})
    assert entry["outputs"]["sigmas"] == expected["outputs"]["sigmas"]
    (shown,) = entry["outputs"]["compare"]["text"]
    assert shown == report(entry)


def test_names_stand_for_presets_saved_schedules_and_what_is_attached(server: ComfyServer) -> None:
    base = model_graph("eps")
    base["model"]["inputs"]["seed"] = 71  # a model for which no other test saves a schedule
    inputs = {"model": ["model", 0], "schedule": "SDXL"}
    base["attached"] = {"class_type": "AYSApply", "inputs": inputs}
    names = "sd1.5, SDXL\nAYS_MODEL, ddim_uniform, simple, simple,\n, auto"
    entry = server.run(compare_graph(base, model=["attached", 0], schedules=names))
    errors = table(entry)
    assert set(errors) == {"SD1.5", "SDXL", "ays_model", "simple", "auto"}
    assert errors["ays_model"] == errors["SDXL"] != errors["SD1.5"]
    assert errors["auto"] == errors["simple"]
    assert "Note: auto: nothing saved or published for this model; 'simple'." in report(entry)
    assert "Not compared: ddim_uniform, because it gives 7 steps" in report(entry)

    without = report(server.run(compare_graph(schedules="simple, ays_model")))
    assert "Not compared: ays_model, because no schedule is attached to this model." in without
    assert "It is the only one that was compared." in without


def test_a_saved_schedule_is_compared_by_its_name_with_commas(server: ComfyServer) -> None:
    name = "mine, for digits, 6 steps"
    model = model_graph("eps", denoiser="digits")
    settings = {"cfg": 2.0, "steps": STEPS, "name": name}
    server.run(optimize_graph(model=model, **settings))
    before = compare_graph(schedules=f"karras, {name}, beta")
    entry = server.run(before)
    assert set(table(entry)) == {"karras", "mine, for…6 steps", "beta"}
    assert f"Note: saved: {name}" in report(entry)

    server.get("/ays_test/reset")
    server.run(before)
    assert network_rows(server) == 0, "nothing has changed"
    for file in saved_files(server):
        if (
            file.suffix == ".safetensors"
            and read_saved(file, with_tensors=False).schedule.name == name
        ):
            file.unlink()
    with pytest.raises(PromptError, match="There is no schedule 'mine'"):
        server.run(before)


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ("simple, karas", "There is no schedule 'karas'. Did you mean 'karras'?"),
        ("", "There is nothing to compare: write names into 'schedules'"),
        (", ".join(f"{name}, {name.upper()}" for name in ("simple", "x")), "no schedule 'x'"),
        ("ays_model", "No schedule can be compared"),
        ("dpmpp_2m karas", "There is no schedule 'karas'. Did you mean 'karras'?"),
        ("dpmpp karras", "There is no schedule 'dpmpp karras'"),
    ],
)
def test_what_cannot_be_compared_at_all_is_said_in_a_sentence(
    server: ComfyServer, schedules: str, said: str
) -> None:
    server.get("/ays_test/reset")
    with pytest.raises(PromptError) as refused:
        server.run(compare_graph(schedules=schedules))
    assert said in str(refused.value)
    assert network_rows(server) == 0


@pytest.mark.parametrize("prediction", ["eps", "flow"])
def test_a_part_of_the_path_is_compared_from_one_level(
    server: ComfyServer, prediction: str
) -> None:
    base = model_graph(prediction, denoiser="digits")
    shapes = {"shapes": "[[1, 1, 8, 8]]", "seed": 3}
    base["latent"] = {"class_type": "AYSTestLatent", "inputs": shapes}
    names = "simple, normal, karras, beta, SD1.5"
    entry = server.run(compare_graph(base, schedules=names, denoise=0.5))
    start = server.run(
        {**base, "levels": scheduled("simple", denoise=0.5), "sigmas": show("levels")}
    )
    assert entry["outputs"]["sigmas"]["sigmas"][0] == start["outputs"]["sigmas"]["sigmas"][0]
    assert "starts at the noise level of 'simple'" in report(entry)
    assert {"simple", "normal", "beta"} <= table(entry).keys()
    if prediction == "flow":
        assert "Not compared: SD1.5, because the published tables are not for flow" in report(entry)
    else:
        assert "SD1.5" in table(entry)


def test_pairs_are_compared_at_equal_model_calls(server: ComfyServer) -> None:
    names = "dpmpp_2m karras, Euler + karras\nheun with normal, karras, lcm normal"
    entry = server.run(compare_graph(schedules=names, noises=1))
    errors, text = table(entry), report(entry)
    assert {"dpmpp_2m karras", "euler karras", "heun normal", "karras"} <= errors.keys()
    assert errors["karras"] == errors["dpmpp_2m karras"] != errors["euler karras"]
    assert "6 steps, 6 model calls an image: " in text
    assert "3 steps, 6 model calls an image: heun normal" in text
    assert "Note: heun calls the model 2 times a step, so it has 3 steps for as many calls." in text
    assert "Not compared: lcm normal, because " in text
    many = server.latent(server.run(image_graph("karras", steps=150)), "save")
    for name, steps in (("euler karras", STEPS), ("heun normal", 3)):
        sampler, scheduler = name.split()
        graph = image_graph(scheduler, steps=steps)
        graph["sample"]["inputs"]["sampler_name"] = sampler
        end = server.latent(server.run(graph), "save")
        assert errors[name] == pytest.approx(float((end - many).square().mean().sqrt()), rel=0.02)


def test_a_calibrated_sampler_is_one_of_the_pairs(server: ComfyServer) -> None:
    settings = {"cfg": 2.0, "steps": STEPS, "sampler_name": "ays_model", "budget": 1200}
    graph = optimize_graph(model=model_graph("eps", denoiser="digits"), **settings)
    names = "dpmpp_2m ays_model, euler normal, ays_model"
    compare = compare_graph(schedules=names, noises=8, steps_needed=True, model=["optimize", 0])
    compare |= {name: graph[name] for name in ("optimize",)}
    entry = server.run(compare)
    errors, text = table(entry), report(entry)
    assert next(iter(errors)) == "ays_model", "fitted to this very model"
    assert "6 steps, 6 model calls an image" in text
    told = re.search(r"As close as 'ays_model' with 6 steps are \(measured on (\d+) seeds", text)
    assert told is not None and int(told.group(1)) >= 4
    assert re.search(r"^- euler normal: (more than )?\d+ steps$", text, re.MULTILINE)
    assert "- dpmpp_2m ays_model" not in text, "levels of one result have one number of steps"


def test_a_saved_fit_stands_beside_pairs(server: ComfyServer) -> None:
    settings = {"cfg": 2.0, "steps": STEPS, "sampler_name": "ays_model", "budget": 600}
    model = model_graph("eps", denoiser="digits")
    server.run(optimize_graph(model=model, name="a saved fit", **settings))
    names = "a saved fit, euler normal, dpmpp_2m karras"
    graph = compare_graph(schedules=names, noises=2, sampler_name="ays_model")
    assert table(server.run(graph)).keys() == set(names.split(", "))


def test_no_further_steps_are_run_unless_they_are_asked_for(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    without = server.run(compare_graph(seed=31))
    rows = network_rows(server)
    assert "As close as" not in report(without)
    server.get("/ays_test/reset")
    entry = server.run(compare_graph(seed=31, steps_needed=True))
    assert network_rows(server) > rows
    assert table(entry) == table(without)


def test_stochastic_samplers_are_compared_by_their_twin(server: ComfyServer) -> None:
    entry = server.run(compare_graph(sampler_name="dpmpp_2m_sde", noises=2))
    assert "Note: judged with its fresh noise switched off; the reference" in report(entry)


def test_finishing_early_ranks_on_the_seeds_done(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=5")
    prompt = server.queue(compare_graph(noises=100, seed=77))
    # Past the first batch of four noises: 31 steps of the reference, 4 schedules of 6.
    server.until(lambda: network_rows(server) > 2 * 4 * (31 + 8 + 24))
    assert server.post("/ays/finish", {}) == {"finishing": True}
    entry = server.wait(prompt)
    server.get("/ays_test/reset")
    done = re.search(r"Ended early, after (\d+) of 100 seeds", report(entry))
    assert done is not None
    noises = int(done.group(1))
    assert 4 <= noises < 100
    again = server.run(compare_graph(noises=noises, seed=77))
    assert table(again) == table(entry)


def test_cancelling_leaves_the_host_as_it_was(server: ComfyServer) -> None:
    before = server.run(compare_graph(seed=1))
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=5")
    prompt = server.queue(compare_graph(noises=100, seed=78))
    server.until(lambda: network_rows(server) > 100)
    server.interrupt()
    messages = [kind for kind, _ in server.wait(prompt)["status"]["messages"]]
    assert "execution_interrupted" in messages
    assert "execution_error" not in messages
    server.get("/ays_test/reset")
    assert server.get("/ays_test/objects")["wrapped"] == 0
    assert server.post("/ays/finish", {}) == {"finishing": False}
    assert table(server.run(compare_graph(seed=1, schedules=f"{NAMES},"))) == table(before)


def test_pictures_are_shown_when_a_vae_is_linked(server: ComfyServer) -> None:
    graph = compare_graph(noises=1, vae=["vae", 0])
    graph["vae"] = {"class_type": "AYSTestDigitsVAE", "inputs": {}}
    graph["images"] = {"class_type": "PreviewImage", "inputs": {"images": ["compare", 3]}}
    graph["plot"] = {"class_type": "PreviewImage", "inputs": {"images": ["compare", 2]}}
    outputs = server.run(graph)["outputs"]
    plot, pictures, shown = (
        image_of(server, *outputs[node]["images"]) for node in ("plot", "images", "compare")
    )
    # One picture under the node: the plot, and the pictures below it.
    below = round(pictures.height * plot.width / pictures.width)
    assert shown.size == (plot.width, plot.height + below)
    assert shown.crop((0, 0, *plot.size)).tobytes() == plot.tobytes()
    # The host's own picture of the seed is among them, whatever stands around it.
    alone = image_graph("karras")
    alone["decoded"] = {
        "class_type": "VAEDecode",
        "inputs": {"samples": ["sample", 0], "vae": ["vae", 0]},
    }
    alone["vae"] = graph["vae"]
    alone["save"] = {"class_type": "PreviewImage", "inputs": {"images": ["decoded", 0]}}
    own = image_of(server, *server.run(alone)["outputs"]["save"]["images"])
    assert contains(pictures, own)

    del graph["vae"], graph["compare"]["inputs"]["vae"]
    outputs = server.run(graph)["outputs"]
    assert len(outputs["compare"]["images"]) == 1
    assert image_of(server, *outputs["images"]["images"]) == image_of(
        server, *outputs["plot"]["images"]
    )


def test_a_vae_that_fails_does_not_lose_the_measurement(server: ComfyServer) -> None:
    graph = compare_graph(noises=2, vae=["vae", 0])
    graph["vae"] = {"class_type": "AYSTestDigitsVAE", "inputs": {}}  # not of video latents
    settings = {"latents": "video", "prediction": "eps"}
    graph["model"] = {"class_type": "AYSTestLatentModel", "inputs": settings}
    shapes = {"shapes": "[[1, 3, 4, 4, 4]]", "seed": 0}
    graph["latent"] = {"class_type": "AYSTestLatent", "inputs": shapes}
    entry = server.run(graph)
    assert len(table(entry)) == 4
    assert "Note: there are no pictures: the VAE could not decode them" in report(entry)
    assert len(entry["outputs"]["compare"]["images"]) == 1


def test_a_guider_and_a_sampler_take_the_place_of_prompts_and_names(server: ComfyServer) -> None:
    expected = table(server.run(compare_graph(cfg=3.0, sampler_name="heun", noises=2)))
    graph = compare_graph(
        sampler_name="euler",
        noises=2,
        positive=None,
        negative=None,
        guider=["guider", 0],
        sampler=["sampler", 0],
    )
    prompts = {"positive": ["positive", 0], "negative": ["negative", 0]}
    guider = {"model": ["model", 0], "cfg": 3.0, **prompts}
    graph["guider"] = {"class_type": "CFGGuider", "inputs": guider}
    graph["sampler"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "heun"}}
    assert table(server.run(graph)) == expected


def test_only_what_the_mask_leaves_to_the_model_counts(server: ComfyServer) -> None:
    graph = compare_graph(noises=1, schedules="karras")
    half = {"value": 1.0, "width": 8, "height": 4}
    whole = {"value": 0.0, "width": 8, "height": 8}
    joined = {"destination": ["whole", 0], "source": ["half", 0], "x": 0, "y": 0}
    graph["half"] = {"class_type": "SolidMask", "inputs": half}
    graph["whole"] = {"class_type": "SolidMask", "inputs": whole}
    graph["mask"] = {"class_type": "MaskComposite", "inputs": {**joined, "operation": "add"}}
    masked = {"samples": ["latent", 0], "mask": ["mask", 0]}
    graph["masked"] = {"class_type": "SetLatentNoiseMask", "inputs": masked}
    graph["compare"]["inputs"]["latent_image"] = ["masked", 0]
    error = table(server.run(graph))["karras"]

    def painted(steps: int) -> Tensor:
        image = {**graph, **image_graph("karras", steps=steps)}
        image["sample"]["inputs"]["latent_image"] = ["masked", 0]
        for name in ("compare", "sigmas", "report"):
            del image[name]
        return server.latent(server.run(image), "save")

    free = (painted(STEPS) - painted(200))[..., :4, :]
    assert error == pytest.approx(float(free.square().mean().sqrt()), rel=0.02)


def test_memory_that_runs_out_makes_the_calls_smaller(server: ComfyServer) -> None:
    whole = table(server.run(compare_graph(seed=9)))
    server.get("/ays_test/fits?rows=2")  # both prompts of one noise
    small = table(server.run(compare_graph(seed=9, steps=STEPS, schedules=NAMES + " ")))
    server.get("/ays_test/reset")
    assert small == pytest.approx(whole, rel=1e-3)
