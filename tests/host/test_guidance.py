"""Whatever guides a model: the optimiser runs what the user will run, and leaves it as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.tests.host.graphs import model_graph, optimize_graph
from align_your_steps.tests.host.host_guidance import (
    CACHED,
    COUPLED,
    LEVELS,
    OTHERS,
    PLAIN,
    RARE,
    RUNS,
    VARIANTS,
    WALK,
)
from align_your_steps.tests.host.seen import shown
from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError

SCRIPT = Path(__file__).with_name("host_guidance.py")
STEPS = len(LEVELS["one"]) - 1
ASKED = STEPS * (len(RUNS) - 1) + len(WALK)
SHARED = 3  # levels of the two schedules; the second run of one is shared altogether
COMPUTED = STEPS + STEPS - SHARED + len(WALK)
USUAL = {"CFGGuider", "class of another pack"}

GUIDERS: dict[str, dict[str, Any]] = {
    "CFGGuider": {"positive": ["positive", 0], "negative": ["negative", 0], "cfg": 3.0},
    "BasicGuider": {"conditioning": ["positive", 0]},
    "DualCFGGuider": {
        "cond1": ["positive", 0],
        "cond2": ["negative", 0],
        "negative": ["negative", 0],
        "cfg_conds": 3.0,
        "cfg_cond2_negative": 1.5,
        "style": "regular",
    },
    "PerpNegGuider": {
        "positive": ["positive", 0],
        "negative": ["other", 0],
        "empty_conditioning": ["negative", 0],
        "cfg": 3.0,
        "neg_scale": 0.5,
    },
    "turns": {},
    "plain class": {},
}


@pytest.fixture
def answer(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Return what the script has found."""
    return host_answer(SCRIPT)


@pytest.fixture
def run(host_answer: Callable[..., dict[str, Any]], case: str) -> dict[str, Any]:
    """Return what the script has found of one guider's runs."""
    arguments = ["rare"] if case in RARE else []
    found: dict[str, Any] = host_answer(SCRIPT, *arguments)["runs"][case]
    return found


each_case = pytest.mark.parametrize(
    "case", [*PLAIN, *OTHERS, *(pytest.param(name, marks=pytest.mark.full) for name in RARE)]
)


@each_case
def test_every_run_ends_bit_for_bit_where_the_users_guider_does(run: dict[str, Any]) -> None:
    assert run["differences"] == [0.0] * (len(RUNS) - 1)


@each_case
def test_every_guider_makes_another_picture(run: dict[str, Any], case: str) -> None:
    assert (run["effect"] > 0) == (case not in USUAL)


@each_case
def test_the_users_objects_are_as_they_were(run: dict[str, Any]) -> None:
    assert run["changed"] == []


@each_case
def test_calls_are_shared_only_where_nothing_is_kept_between_them(
    run: dict[str, Any], case: str
) -> None:
    assert run["calls"] == (COMPUTED if case in PLAIN else ASKED)


@pytest.mark.parametrize("case", COUPLED)
def test_noises_are_run_together_only_if_that_changes_nothing(
    answer: dict[str, Any], case: str
) -> None:
    rows = answer["rows"][case]
    assert (rows["batch"] > 1) == rows["together"]


@pytest.mark.parametrize("cache", CACHED)
def test_the_reference_is_computed_without_a_cache(answer: dict[str, Any], cache: str) -> None:
    assert answer["cached"][cache] == 0.0


def test_another_guidance_is_another_request(answer: dict[str, Any]) -> None:
    digests = answer["digests"]
    assert digests.keys() == VARIANTS.keys()
    assert len(set(digests.values())) == len(digests)


@pytest.mark.parametrize("when", ["after", "rebuilt"])
def test_an_equal_guidance_is_the_same_request(answer: dict[str, Any], when: str) -> None:
    assert answer[when] == answer["digests"]


@pytest.mark.full
def test_an_equal_guidance_in_another_process_is_the_same_request(
    answer: dict[str, Any], host_answer: Callable[..., dict[str, Any]]
) -> None:
    assert host_answer(SCRIPT, "digests")["digests"] == answer["digests"]


def guided(kind: str) -> Graph:
    """Optimize AYS of a guider, and a sampling run with what comes of it."""
    linked = {"model": ["model", 0]}
    if GUIDERS.get(kind):
        guider = {"class_type": kind, "inputs": linked | GUIDERS[kind]}
    else:
        inputs = linked | GUIDERS["CFGGuider"] | {"kind": kind}
        guider = {"class_type": "AYSTestGuider", "inputs": inputs}
    settings = {"positive": None, "negative": None, "guider": ["guider", 0], "budget": 300}
    # Exact mixtures know their component for sure, and PerpNeg divides by the difference that the
    # prompt makes.
    denoiser = "digits" if kind == "PerpNegGuider" else "gaussian mixture"
    graph = optimize_graph(model=model_graph("eps", denoiser=denoiser), name=kind, **settings)
    other = {"class_type": "AYSTestConditioning", "inputs": {"label": 5}}
    return {**graph, "other": other, "guider": guider, **sampling(["optimize", 1])}


def sampling(sigmas: Any) -> Graph:
    """SamplerCustomAdvanced with the guider and some levels; the latent saved."""
    sample = {
        "noise": ["noise", 0],
        "guider": ["guider", 0],
        "sampler": ["sampler", 0],
        "sigmas": sigmas,
        "latent_image": ["latent", 0],
    }
    save = {"samples": ["sample", 0], "filename_prefix": "guidance"}
    return {
        "noise": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
        "sampler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "dpmpp_2m"}},
        "sample": {"class_type": "SamplerCustomAdvanced", "inputs": sample},
        "save": {"class_type": "SaveLatent", "inputs": save},
    }


OFTEN = ("CFGGuider", "PerpNegGuider", "plain class")


@pytest.mark.parametrize(
    "kind",
    [
        *OFTEN,
        *(
            pytest.param(kind, marks=pytest.mark.full)
            for kind in sorted(GUIDERS.keys() - set(OFTEN))
        ),
    ],
)
def test_a_guider_samples_after_its_optimisation_as_if_there_had_been_none(
    server: ComfyServer, kind: str
) -> None:
    graph = guided(kind)
    entry = server.run(graph)
    levels = shown(entry)
    assert len(levels) == STEPS + 1
    assert levels[-1] == 0
    assert all(math.isfinite(level) for level in levels)
    assert levels == sorted(set(levels), reverse=True)

    typed = {"levels": ", ".join(map(repr, levels))}
    fresh = {name: graph[name] for name in ("positive", "negative", "other", "latent", "guider")}
    fresh["again"] = {"class_type": "AYSTestModel", "inputs": {**graph["model"]["inputs"]}}
    fresh["guider"] = {
        **graph["guider"],
        "inputs": {**graph["guider"]["inputs"], "model": ["again", 0]},
    }
    fresh["typed"] = {"class_type": "AYSTestSigmas", "inputs": typed}
    again = server.run({**fresh, **sampling(["typed", 0])})
    assert torch.equal(server.latent(again, "save"), server.latent(entry, "save"))


def report(entry: dict[str, Any]) -> str:
    """The report that a run has shown."""
    text: str = entry["outputs"]["report"]["text"][0]
    return text


def test_the_report_says_that_the_guider_has_another_model(server: ComfyServer) -> None:
    graph = guided("CFGGuider")
    assert "another" not in report(server.run(graph))
    patch = {"model": ["model", 0], "strength": 0.5}
    graph["patched"] = {"class_type": "AYSTestPatch", "inputs": patch}
    graph["guider"]["inputs"]["model"] = ["patched", 0]
    assert report(server.run(graph)).startswith(
        "The guider's model was measured. The one linked to 'model' is another"
    )


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("nameless", "does not say which model it runs"), ("delegating", "does not run the model")],
)
def test_a_guider_that_cannot_be_measured_is_refused_in_one_sentence(
    server: ComfyServer, kind: str, sentence: str
) -> None:
    with pytest.raises(PromptError) as refused:
        server.run(guided(kind))
    assert sentence in str(refused.value)
    assert "link" in str(refused.value).lower()


def test_the_negative_prompt_is_asked_for_where_cfg_1_needs_it(server: ComfyServer) -> None:
    def graph(model: list[Any]) -> Graph:
        graph = optimize_graph("eps", cfg=1.0, negative=None)
        patch = {"model": ["model", 0], "scale": 0.5, "blur_sigma": 2.0}
        graph["optimize"]["inputs"]["model"] = model
        return {**graph, "sag": {"class_type": "SelfAttentionGuidance", "inputs": patch}}

    server.run(graph(["model", 0]))
    with pytest.raises(PromptError, match="There is no negative prompt"):
        server.run(graph(["sag", 0]))


def test_the_report_says_what_is_particular_about_the_guidance(server: ComfyServer) -> None:
    graph = optimize_graph("eps", name="cached", budget=300)
    settings = {"reuse_threshold": 0.2, "start_percent": 0.1, "end_percent": 0.9, "verbose": False}
    cache = {"model": ["model", 0], **settings}
    graph["cache"] = {"class_type": "LazyCache", "inputs": cache}
    graph["optimize"]["inputs"]["model"] = ["cache", 0]
    text = report(server.run(graph))
    assert "without the model's cache of calls" in text
    assert "Each seed was run alone" in text
