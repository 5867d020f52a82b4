"""The built-in solvers compute what the host's samplers compute, call by call of the denoiser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer.diffusion.solvers import DETERMINISTIC_TWIN, SOLVERS
from align_your_steps.schedules import preset
from align_your_steps.schedules.curves import karras
from torch import Tensor

SCRIPT = Path(__file__).with_name("host_samplers.py")
SEED = 3
NOISE = torch.randn(11, 3, 16, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)

SCHEDULES = {
    "karras": karras(10, 0.002, 80.0).tolist(),
    "published": [*preset("SD1.5").levels[:-1], 0.0],
    "uneven": [80.0, 79.9, 8.0, 7.9, 0.9, 0.89, 0.88, 0.004, 0.0],
    "ends above 0": [14.6, 3.0, 0.9, 0.4, 0.03],
    "two steps": [14.6, 0.7, 0.0],
    "one step": [14.6, 0.0],
}
# The host's defaults are part of the claim: eta is 1, and dpmpp_2m_sde is of the midpoint form.
COUNTERPART = {
    "euler": "euler",
    "heun": "heun",
    "dpmpp_2m": "dpmpp_2m",
    "ddim_stochastic": "euler_ancestral",
    "dpmpp_2m_sde": "dpmpp_2m_sde",
}

each_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


@pytest.fixture
def host_runs(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The host's runs by "sampler, eta, schedule", where eta is "default" or "0"."""
    ways: list[tuple[str, str, dict[str, float]]] = [
        *((sampler, "default", {}) for sampler in COUNTERPART.values()),
        *((COUNTERPART[name], "0", {"eta": 0.0}) for name in DETERMINISTIC_TWIN),
    ]
    runs = {
        f"{sampler}, {eta}, {schedule}": {
            "sampler": sampler,
            "options": options,
            "levels": levels,
        }
        for sampler, eta, options in ways
        for schedule, levels in SCHEDULES.items()
    }
    problem = {"seed": SEED, "noise": NOISE.tolist(), "runs": runs}
    return host_answer(SCRIPT, json.dumps(problem))


def assert_same_run(name: str, schedule: str, host_run: dict[str, Any]) -> None:
    """Solve the host's problem with a built-in solver; compare every call and the result."""
    mixture = Mixture.random(16, 5, SEED)
    calls: list[tuple[Tensor, Tensor]] = []
    start, *fresh = NOISE
    draws = iter(fresh)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        calls.append((sigma, x))
        return mixture.denoise(x, sigma)

    sigmas = torch.tensor(SCHEDULES[schedule], dtype=torch.float64)
    x_0 = SOLVERS[name](denoise, sigmas[0] * start, sigmas, lambda: next(draws))
    assert len(calls) == len(host_run["calls"])
    for (sigma, x), (host_sigma, host_x) in zip(calls, host_run["calls"], strict=True):
        assert sigma.tolist() == host_sigma
        assert_close(x, host_x)
    assert_close(x_0, host_run["x_0"])


def assert_close(actual: Tensor, expected: list[list[float]]) -> None:
    """Equal but for rounding: in float64 the runs differ by 1e-11 and less."""
    torch.testing.assert_close(
        actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9
    )


@each_schedule
@pytest.mark.parametrize("name", SOLVERS)
def test_solver_calls_the_denoiser_where_the_hosts_sampler_does(
    host_runs: dict[str, Any], name: str, schedule: str
) -> None:
    assert_same_run(name, schedule, host_runs[f"{COUNTERPART[name]}, default, {schedule}"])


@each_schedule
@pytest.mark.parametrize("name", DETERMINISTIC_TWIN)
def test_twin_is_the_hosts_stochastic_sampler_with_eta_0(
    host_runs: dict[str, Any], name: str, schedule: str
) -> None:
    host_run = host_runs[f"{COUNTERPART[name]}, 0, {schedule}"]
    assert_same_run(DETERMINISTIC_TWIN[name], schedule, host_run)
