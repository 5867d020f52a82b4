"""Lists of levels from elsewhere, imported and sampled in a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from align_your_steps.tests.host.graphs import model_graph, node, scheduler_graph
from align_your_steps.tests.host.seen import recorded, shown
from align_your_steps.tests.host.server import ComfyServer, PromptError
from align_your_steps.tests.host.test_sharing import Answer

TOP = 14.614642143249512
SECOND = (5.0, 3.0, 1.4, 0.5, 0.0)


def imported(server: ComfyServer, name: str, sigmas: Any) -> None:
    data = json.dumps({"name": name, "sigmas": list(sigmas)}).encode()
    answer = Answer(server, "/ays/schedules/import", data, filename=f"{name}.json")
    assert answer.status == 200, answer.data


def sampled(server: ComfyServer, name: str, prediction: str = "eps", **inputs: Any) -> list[float]:
    return shown(server.run(scheduler_graph(prediction, schedule=name, **inputs)))


@pytest.mark.parametrize(
    "name, given, expected, said",
    [
        (
            "timesteps",
            (999, 850, 736, 645, 545, 455, 343, 233, 124, 24, 0),
            (TOP, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0),
            "its numbers 999 … 24 are timesteps, taken as this model's noise levels 14.61 … 0.1",
        ),
        (
            "half a path of timesteps",
            (455, 343, 233, 124, 24, 0),
            (1.396, 0.963, 0.652, 0.399, 0.152, 0),
            "are timesteps, taken as",
        ),
        (
            "beyond the top",
            (4518.7, 6, 3, 1.4, 0.7, 0.3, 0.1, 0),
            (TOP, 6, 3, 1.4, 0.7, 0.3, 0.1, 0),
            "its first level, 4519, is this model's highest, 14.61",
        ),
        ("a second pass", SECOND, SECOND, "it begins at 5, inside this model's path from 14.61"),
        ("whole", (14.6, 3, 1, 0.1, 0), (TOP, 3, 1, 0.1, 0), "of another model"),
    ],
)
def test_a_list_is_sampled_as_it_was_meant(
    server: ComfyServer,
    name: str,
    given: tuple[float, ...],
    expected: tuple[float, ...],
    said: str,
) -> None:
    imported(server, name, given)
    found = sampled(server, name, steps=len(given) - 1)
    assert found == pytest.approx(list(expected), rel=2e-2)
    assert found[0] == pytest.approx(expected[0], rel=2e-3)
    assert said in server.log


def test_a_list_to_zero_snr_keeps_what_this_model_knows_of_it(server: ComfyServer) -> None:
    imported(server, "zsnr", (4518.7, 120, 30, 14.6, 6, 3, 1.4, 0.7, 0.3, 0.1, 0))
    found = sampled(server, "zsnr", steps=7)
    assert found == pytest.approx([TOP, 6, 3, 1.4, 0.7, 0.3, 0.1, 0], rel=1e-5)
    assert "4 levels at or above this model's highest, 14.61, have become one" in server.log
    assert max(sampled(server, "zsnr", steps=10)) == pytest.approx(TOP)


def test_timesteps_on_a_flow_model_are_refused_in_a_sentence(server: ComfyServer) -> None:
    imported(server, "timesteps for a flow", (999, 850, 500, 24, 0))
    with pytest.raises(PromptError, match="are timesteps, and this is a flow model"):
        sampled(server, "timesteps for a flow", "flow")


def test_a_list_beyond_the_model_is_refused_in_a_sentence(server: ComfyServer) -> None:
    imported(server, "far above", (5000.0, 3000.0, 1200.0, 0.0))
    with pytest.raises(PromptError, match="No noise level of the schedule 'far above'"):
        sampled(server, "far above")


@pytest.mark.parametrize("denoise", [1.0, 0.7, 0.35])
def test_a_list_for_a_second_pass_is_taken_whole_at_any_denoise(
    server: ComfyServer, denoise: float
) -> None:
    imported(server, f"second {denoise}", levels := (*SECOND[:-2], denoise, 0.0))
    found = sampled(server, f"second {denoise}", steps=4, denoise=denoise)
    assert found == pytest.approx(list(levels))


@pytest.mark.parametrize("sampler", ["euler", "uni_pc"])
@pytest.mark.parametrize("denoise", [1.0, 0.5])
def test_ksampler_gets_the_list_of_a_second_pass(
    server: ComfyServer, denoise: float, sampler: str
) -> None:
    label = f"second {sampler} {denoise}"
    levels = (5.0, 2.0, 1.0 + denoise / 10, 0.5 + len(sampler) / 100, 0.0)
    imported(server, label, levels)
    graph = model_graph("eps")
    applied = node(graph, "apply", "AYSApply", model=["model", 0], schedule=label)
    model = node(graph, "record", "AYSTestRecord", model=applied, label=label)
    latent = node(graph, "latent", "EmptyLatentImage", width=64, height=64, batch_size=1)
    sample = node(
        graph,
        "sample",
        "KSampler",
        model=model,
        positive=node(graph, "positive", "AYSTestConditioning", label=3),
        negative=node(graph, "negative", "AYSTestConditioning", label=-1),
        latent_image=latent,
        seed=5,
        steps=4,
        cfg=3.0,
        sampler_name=sampler,
        scheduler="ays_model",
        denoise=denoise,
    )
    node(graph, "save", "SaveLatent", samples=sample, filename_prefix="second")
    server.run(graph)
    assert recorded(server)[label] == pytest.approx(list(levels))
