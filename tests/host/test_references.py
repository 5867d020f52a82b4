"""One method computes the references of all of the host's samplers: they all come to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_references import LIMITS, NOISES, PREDICTIONS, REFERENCE

SCRIPT = Path(__file__).with_name("host_references.py")

each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


@each_prediction
def test_every_sampler_comes_closer_to_the_reference_with_more_steps(
    measured: dict[str, Any],
) -> None:
    assert {"euler", "ddim", "uni_pc", "sa_solver"} <= measured["samplers"].keys()
    for name, run in measured["samplers"].items():
        assert run["reference_order"] == 3, name
        assert run["many"] < run["few"] / 2, name


@each_prediction
@pytest.mark.parametrize("limit", LIMITS)
def test_the_reference_is_far_closer_to_the_limit_than_a_few_steps_are(
    measured: dict[str, Any], limit: str
) -> None:
    for name, run in measured["samplers"].items():
        if run["calls_per_step"] == 1:
            assert measured["reference"][limit] < run["limit"] / 4, name


@each_prediction
def test_the_reference_of_a_masked_latent_has_the_judged_runs_noise(
    measured: dict[str, Any],
) -> None:
    assert measured["masked"]["many"] < measured["masked"]["few"] / 2


@each_prediction
def test_a_reference_takes_one_call_a_step(measured: dict[str, Any]) -> None:
    assert measured["rows"] == REFERENCE * NOISES


@each_prediction
@pytest.mark.parametrize("function", ["sample_unknown", "sample_euler"])
def test_a_sampler_of_another_pack_is_its_own_reference(
    measured: dict[str, Any], function: str
) -> None:
    strange = measured["strange"][function]
    assert strange["reference_order"] == 2
    assert strange["itself"]
    assert strange["note"].endswith(f"'{function.removeprefix('sample_')}' itself")


@each_prediction
def test_a_sampler_that_writes_into_its_levels_leaves_the_schedule_alone(
    measured: dict[str, Any],
) -> None:
    assert measured["end"] == 0.0


@pytest.mark.parametrize("prediction", ["flow"])
def test_the_flow_model_starts_at_pure_noise(measured: dict[str, Any]) -> None:
    assert measured["start"] == 1.0
