"""Every type of model that the host can build: its noise levels, its references, its schedules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.tests.host.graphs import STEPS, model_graph, optimize_graph, sampled
from align_your_steps.tests.host.host_model_types import NODES, THEIRS
from align_your_steps.tests.host.seen import shown
from align_your_steps.tests.host.server import ComfyServer, PromptError

SCRIPT = Path(__file__).with_name("host_model_types.py")

# kind of model -> the number of levels that it knows; None: it is called at any
KINDS: dict[str, int | None] = {
    "eps": 1000,
    "v": 1000,
    "v to zero SNR": 1000,
    "v ddpm": 1000,
    "v edm": None,
    "v continuous": None,
    "edm": None,
    "cascade": None,
    "flow": None,
    "flux": None,
    "auraflow": None,
    "flow av": None,
    "louder flow": None,
    "cosmos": None,
}
BEHIND_NODES: dict[str, int | None] = {
    "ModelSamplingDiscrete eps": 1000,
    "ModelSamplingDiscrete v, zsnr": 1000,
    "ModelSamplingDiscrete x0": 1000,
    "ModelSamplingDiscrete lcm": 50,
    "ModelSamplingContinuousEDM v": None,
    "ModelSamplingContinuousEDM edm": None,
    "ModelSamplingContinuousEDM eps": None,
    "ModelSamplingContinuousEDM cosmos": None,
    "ModelSamplingContinuousV": None,
    "ModelSamplingSD3": None,
    "ModelSamplingAuraFlow": None,
    "ModelSamplingFlux": None,
    "ModelSamplingStableCascade": None,
}
REFUSED = {
    "img to img": "takes no noise away",
    "img to img flow": "takes no noise away",
    "variance preserving": "not the one that ComfyUI's samplers undo",
    "ModelSamplingDiscrete img": "takes no noise away",
}
NEWER = {"v ddpm", "flow av", "img to img flow"}  # not in every host
SAMPLERS = ("dpmpp_2m", "euler")
SOME_CELLS = [("eps", "dpmpp_2m"), ("flow", "euler")]
CELLS = [
    (kind, sampler)
    for kind in (*KINDS, "ModelSamplingDiscrete lcm")
    if kind not in NEWER
    for sampler in SAMPLERS
]

each_type = pytest.mark.parametrize("name", [*KINDS, *BEHIND_NODES])


@pytest.fixture
def described(host_answer: Callable[..., dict[str, Any]], name: str) -> dict[str, Any]:
    """Return what the script says of one type."""
    answer = host_answer(SCRIPT)
    if name not in answer and name in NEWER:
        pytest.skip(f"this host has no model type for '{name}'")
    found: dict[str, Any] = answer[name]
    return found


def test_every_node_that_changes_noise_levels_is_among_these() -> None:
    assert NODES.keys() == BEHIND_NODES.keys() | (NODES.keys() & REFUSED.keys())


@each_type
def test_the_guided_model_is_the_ideal_denoiser_in_edm_levels(described: dict[str, Any]) -> None:
    assert described["refused"] == ""
    assert described["exact"] < 1e-5


@each_type
def test_a_model_of_discrete_time_is_known_by_its_rounding(
    described: dict[str, Any], name: str
) -> None:
    assert described["timesteps"] == (KINDS | BEHIND_NODES)[name]


@each_type
def test_references_start_like_the_runs_that_they_judge(described: dict[str, Any]) -> None:
    assert described["start"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_is_not_sampled_from_noise_is_refused(
    described: dict[str, Any], name: str
) -> None:
    assert REFUSED[name] in described["refused"]


# -- held-out errors ------------------------------------------------------------------------


def check_cell(cell: dict[str, Any]) -> None:
    """Ours has no more error than theirs, as far as so many noises tell, and known levels.

    The difference of the means has a standard error: where few noises change their picture
    altogether, it is some 5 % of the mean. Two of them are allowed.
    """
    for name in THEIRS:
        assert cell["ours"] <= cell[name] + 2.0 * cell["excess"][name], (name, cell)
    assert cell["known"]


@pytest.mark.parametrize("name, sampler", SOME_CELLS)
def test_the_optimised_schedule_is_better_on_other_noise(
    host_answer: Callable[..., dict[str, Any]], name: str, sampler: str
) -> None:
    arguments = [word for cell in SOME_CELLS for word in cell]
    check_cell(host_answer(SCRIPT, *arguments)[f"{name}, {sampler}"])


@pytest.mark.full
@pytest.mark.parametrize("name, sampler", CELLS)
def test_the_optimised_schedule_is_better_on_other_noise_for_every_type(
    host_answer: Callable[..., dict[str, Any]], name: str, sampler: str
) -> None:
    arguments = [word for cell in CELLS for word in cell]
    check_cell(host_answer(SCRIPT, *arguments)[f"{name}, {sampler}"])


# -- through the nodes ----------------------------------------------------------------------


IN_SERVER = {"v to zero SNR", "louder flow"}  # beside those of test_nodes.py


@pytest.mark.parametrize(
    "name",
    [pytest.param(k, marks=() if k in IN_SERVER else pytest.mark.full) for k in KINDS],
)
def test_the_sampler_receives_what_the_node_has_found(server: ComfyServer, name: str) -> None:
    if name not in server.choices("AYSTestModel", "prediction"):
        assert name in NEWER
        pytest.skip(f"this host has no model type for '{name}'")
    server.get("/ays_test/reset")
    model = model_graph(name, shift=3.0)
    entry = server.run(sampled(optimize_graph(model=model, budget=300, name=f"of {name}")))
    levels = torch.tensor(shown(entry))
    assert len(levels) == STEPS + 1
    assert levels.isfinite().all()
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == levels.tolist()
    assert server.latent(entry, "save").isfinite().all()
    report = entry["outputs"]["report"]["text"][0]
    assert ("1000 timesteps" in report) == (KINDS[name] == 1000)


def test_the_refusal_is_one_sentence_in_the_dialog(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match="takes no noise away"):
        server.run(optimize_graph("img to img"))


def test_more_steps_than_the_model_knows_levels_are_refused(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match=r"knows only \d+ noise levels .* or a higher denoise"):
        server.run(optimize_graph("eps", steps=20, denoise=0.01))
