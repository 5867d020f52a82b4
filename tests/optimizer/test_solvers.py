"""Solvers, on Gaussian data: there the ODE, the reverse SDE and every step have closed forms."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.optimizer import SOLVERS, builtin_solver, edm_schedule, gaussian
from align_your_steps.optimizer.solvers import DETERMINISTIC_TWIN, REFERENCE

STOCHASTIC = ["ddim_stochastic", "dpmpp_2m_sde"]
HIGH, LOW = 20.0, 0.05


def unit_noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def solve(name: str, levels: np.ndarray, noise: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return builtin_solver(name, gaussian.denoise)(noise, torch.from_numpy(levels), seed)


@pytest.mark.parametrize("name, order", [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_deterministic_solver_converges_to_the_exact_solution_with_its_order(name, order):
    x_T = HIGH * unit_noise(1, 1)
    exact = x_T * math.sqrt((1 + LOW**2) / (1 + HIGH**2))
    counts = [64, 128, 256, 512]
    errors = [
        float((solve(name, edm_schedule(n, HIGH, LOW), x_T / HIGH) - exact).abs()) for n in counts
    ]
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.15)
    assert errors[-1] < 0.01 * float(exact.abs())


def variance(name: str, levels: np.ndarray) -> float:
    """Of a stochastic solver's output on unit Gaussian data, from the marginal at the first level.

    The state is (x, D_last) and every step is linear: one 2x2 covariance, propagated from the
    definition of the predictor and the exact solution of the reverse SDE with D frozen.
    """
    covariance = np.array([[1 + levels[0] ** 2, 0.0], [0.0, 0.0]])
    h_last = None
    for s, t in pairwise(levels):
        shrink = 1 / (1 + s**2)
        keep = (t / s) ** 2  # x_t = D + (t/s)^2 (x - D) + t sqrt(1 - (t/s)^2) e
        h = math.log(s / t) if t > 0 else math.inf
        first = name == "ddim_stochastic" or h_last is None or t == 0
        kappa = 0.0 if first else h / (2 * h_last)
        step = np.array(
            [
                [keep + (1 - keep) * (1 + kappa) * shrink, -(1 - keep) * kappa],
                [shrink, 0.0],
            ]
        )
        covariance = step @ covariance @ step.T
        covariance[0, 0] += t**2 * (1 - keep)
        h_last = h
    return float(covariance[0, 0])


@pytest.mark.parametrize("last", [0.0, LOW])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_solver_has_the_variance_of_its_linear_recursion(name, steps, last):
    levels = edm_schedule(steps, HIGH, LOW)
    levels[-1] = last
    noise = unit_noise(4, 50_000) * math.sqrt(1 + 1 / HIGH**2)  # the marginal, not just noise
    x_0 = solve(name, levels, noise)
    expected = variance(name, levels)
    assert abs(x_0.mean()) < 4 * math.sqrt(expected / x_0.numel())
    assert float(x_0.var()) == pytest.approx(expected, rel=4 * math.sqrt(2 / x_0.numel()))


@pytest.mark.parametrize("name, rate", [("ddim_stochastic", 1), ("dpmpp_2m_sde", 2)])
def test_stochastic_solver_reaches_the_variance_of_the_data_in_many_steps(name, rate):
    def bias(steps: int) -> float:
        return abs(variance(name, edm_schedule(steps, HIGH, LOW)) - (1 + LOW**2))

    assert bias(100) / bias(400) == pytest.approx(4**rate, rel=0.3)
    levels = np.append(np.geomspace(HIGH, 0.002, 600), 0.0)
    x_0 = solve(name, levels, unit_noise(4, 4_000))
    assert abs(float(x_0.var()) - 1) < 3 * math.sqrt(2 / x_0.numel())


@pytest.mark.parametrize("levels", [[HIGH, LOW], [HIGH, 1.0, LOW], edm_schedule(10, HIGH, LOW)])
def test_klub_bounds_the_divergence_of_stochastic_ddim(levels):
    ratio = variance("ddim_stochastic", np.array(levels)) / (1 + LOW**2)
    divergence = 0.5 * (1 / ratio - 1 + math.log(ratio))  # KL(data || output)
    assert 0 < divergence < gaussian.klub(levels)


@pytest.mark.parametrize("name", SOLVERS)
def test_step_to_zero_from_one_level_is_the_denoiser(name):
    noise = unit_noise(2, 3)
    D = gaussian.denoise(5.0 * noise, torch.full((2,), 5.0, dtype=torch.float64))
    torch.testing.assert_close(solve(name, np.array([5.0, 0.0]), noise), D)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_calls_the_denoiser_with_one_level_for_all_rows(name):
    calls = []

    def denoise(x, sigma):
        calls.append((tuple(x.shape), tuple(sigma.shape), float(sigma[0])))
        assert len(sigma.unique()) == 1
        return torch.zeros_like(x)

    levels = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
    builtin_solver(name, denoise)(torch.ones(3, 1, 2, 2), levels, 0)
    assert {call[:2] for call in calls} == {((3, 1, 2, 2), (3,))}
    seen = [call[2] for call in calls]
    assert seen == ([8.0, 4.0, 4.0, 2.0, 2.0, 1.0, 1.0] if name == "heun" else [8.0, 4.0, 2.0, 1.0])


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_output_depends_on_the_seed_only_if_it_is_stochastic(name):
    noise, levels = unit_noise(3, 4), edm_schedule(5, HIGH, LOW)
    one, again, other = (solve(name, levels, noise, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name not in STOCHASTIC)


@pytest.mark.parametrize("name", SOLVERS)
def test_rows_of_a_batch_do_not_mix(name):
    noise, levels = unit_noise(3, 4), edm_schedule(5, HIGH, LOW)
    torch.testing.assert_close(solve(name, levels, noise[:2]), solve(name, levels, noise)[:2])


def test_twin_and_reference_of_every_solver_exist_and_are_deterministic():
    assert set(DETERMINISTIC_TWIN) == set(STOCHASTIC)
    deterministic = {DETERMINISTIC_TWIN.get(name, name) for name in SOLVERS}
    assert set(REFERENCE) == deterministic
    assert not {*deterministic, *REFERENCE.values()} & set(STOCHASTIC)


def test_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no built-in solver 'ddim': choose one of \['euler'"):
        builtin_solver("ddim", gaussian.denoise)
