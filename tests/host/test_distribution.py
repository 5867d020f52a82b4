"""The host's stochastic samplers follow the noise that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_distribution import BUDGET, PREDICTIONS

SCRIPT = Path(__file__).with_name("host_distribution.py")

each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


@each_prediction
def test_samplers_with_fresh_noise_can_be_run_along_a_path(
    measured: dict[str, Any],
) -> None:
    names = {"euler_ancestral", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_sde"}
    nodes = {"SamplerDPMPP_2M_SDE", "SamplerER_SDE", "reverse: SamplerER_SDE"}
    assert {*names, "er_sde", *nodes} <= set(measured["samplers"])
    assert {"dpmpp_2m", "ddpm", "dpmpp_2s_ancestral_cfg_pp", "sa_solver"} <= set(
        measured["without"]
    )
    assert "ODE: SamplerER_SDE" in measured["without"]


@each_prediction
def test_runs_along_one_path_are_the_same_and_not_the_twins(measured: dict[str, Any]) -> None:
    for name, run in measured["samplers"].items():
        assert run["same"], name
        assert run["twin"] > 0.01, name


@each_prediction
def test_a_finer_run_along_the_same_path_ends_closer_than_along_another(
    measured: dict[str, Any],
) -> None:
    for name, run in measured["samplers"].items():
        assert run["along"] < run["another"], name


@each_prediction
def test_a_stochastic_sampler_is_judged_by_the_distribution_within_the_budget(
    measured: dict[str, Any],
) -> None:
    result = measured["result"]
    assert result["criterion"] == "law"
    assert result["rows"] == result["calls"] <= BUDGET
