"""Two models that share a sampling run are measured as KSamplerAdvanced runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_pair import BUDGET, PREDICTIONS, SAMPLERS, STEPS

SCRIPT = Path(__file__).with_name("host_pair.py")

each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


@each_prediction
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_of_the_pair_is_that_of_two_ksamplers(measured: dict[str, Any], sampler: str) -> None:
    same = measured["ksampler"][sampler]
    assert len(same) >= 3
    assert all(same.values()), same


@each_prediction
def test_the_first_model_answers_above_the_boundary_and_the_second_from_it_on(
    measured: dict[str, Any],
) -> None:
    assert max(measured["answers"]) == 0
    assert min(measured["otherwise"]) > 0.1


@each_prediction
def test_the_reference_is_near_the_limit(measured: dict[str, Any]) -> None:
    reference, few = measured["reference"]
    assert reference < 0.05 * few


@each_prediction
def test_the_optimised_schedule_of_a_pair_beats_the_hosts(measured: dict[str, Any]) -> None:
    result = measured["result"]
    assert len(result["sigmas"]) == STEPS + 1
    ours = result["errors"].pop("optimised")
    assert ours < min(result["errors"].values())


@each_prediction
def test_fitted_sampler_runs_on_both_models_as_it_was_fitted(measured: dict[str, Any]) -> None:
    result = measured["result"]
    assert result["fit apart"] < 1e-3
    assert result["fitted"] < 0.7 * min(result["errors"].values())


@each_prediction
def test_the_calls_of_both_models_are_counted(measured: dict[str, Any]) -> None:
    result = measured["result"]
    # A guided call costs the networks two rows.
    assert result["rows"] == 2 * result["calls"]
    assert 0 < result["calls"] <= BUDGET


@each_prediction
def test_both_models_stay_as_they_were(measured: dict[str, Any]) -> None:
    assert all(measured["untouched"])
