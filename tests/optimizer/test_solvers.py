"""Solvers, mostly on Gaussian data: ODE, reverse SDE and every step have closed forms there."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import SOLVERS, Denoiser, builtin_solver, edm_schedule
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.solvers import (
    DETERMINISTIC_TWIN,
    Solver,
    adams_weights,
    reference_solver,
)
from scipy.integrate import quad

STOCHASTIC = ["ddim_stochastic", "dpmpp_2m_sde"]
HIGH, LOW = 20.0, 0.05
EVERY = [*SOLVERS, "reference"]


def unit_noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def solver_of(name: str, denoise: Denoiser) -> Solver:
    """A built-in solver, or the one that references are made with."""
    return reference_solver(denoise) if name == "reference" else builtin_solver(name, denoise)


def solve(name: str, levels: np.ndarray, noise: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return solver_of(name, gaussian.denoise)(noise, torch.from_numpy(levels), seed)


@pytest.mark.parametrize(
    "name, order", [("euler", 1), ("heun", 2), ("dpmpp_2m", 2), ("reference", 3)]
)
def test_deterministic_solver_converges_to_the_exact_solution_with_its_order(name, order):
    high = 200.0  # the first steps of multistep solvers are of lower order: no matter up there
    e = unit_noise(1, 1)
    exact = high * e * math.sqrt((1 + LOW**2) / (1 + high**2))
    counts = [64, 128, 256, 512]
    errors = [float((solve(name, edm_schedule(n, high, LOW), e) - exact).abs()) for n in counts]
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


@pytest.mark.parametrize("name", EVERY)
def test_step_to_zero_from_one_level_is_the_denoiser(name):
    noise = unit_noise(2, 3)
    D = gaussian.denoise(5.0 * noise, torch.full((2,), 5.0, dtype=torch.float64))
    torch.testing.assert_close(solve(name, np.array([5.0, 0.0]), noise), D)


@pytest.mark.parametrize("name", EVERY)
def test_solver_calls_the_denoiser_with_one_level_for_all_rows(name):
    calls = []

    def denoise(x, sigma):
        calls.append((tuple(x.shape), tuple(sigma.shape), float(sigma[0])))
        assert len(sigma.unique()) == 1
        return torch.zeros_like(x)

    levels = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
    solver_of(name, denoise)(torch.ones(3, 1, 2, 2), levels, 0)
    assert {call[:2] for call in calls} == {((3, 1, 2, 2), (3,))}
    seen = [call[2] for call in calls]
    assert seen == ([8.0, 4.0, 4.0, 2.0, 2.0, 1.0, 1.0] if name == "heun" else [8.0, 4.0, 2.0, 1.0])


@pytest.mark.parametrize("name", EVERY)
def test_solver_output_depends_on_the_seed_only_if_it_is_stochastic(name):
    noise, levels = unit_noise(3, 4), edm_schedule(5, HIGH, LOW)
    one, again, other = (solve(name, levels, noise, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name not in STOCHASTIC)


@pytest.mark.parametrize("name", EVERY)
def test_rows_of_a_batch_do_not_mix(name):
    noise, levels = unit_noise(3, 4), edm_schedule(5, HIGH, LOW)
    torch.testing.assert_close(solve(name, levels, noise[:2]), solve(name, levels, noise)[:2])


def test_twin_of_every_stochastic_solver_exists_and_is_deterministic():
    assert set(DETERMINISTIC_TWIN) == set(STOCHASTIC)
    assert set(DETERMINISTIC_TWIN.values()) <= set(SOLVERS) - set(STOCHASTIC)


# -- the solver of references ---------------------------------------------------------------


@pytest.mark.parametrize(
    "clock", [[0.3], [0.3, -0.1], [0.3, -0.1, -0.15], [2.0, 1.5, 0.5], [1e-2, 0.0, -1e-3]]
)
@pytest.mark.parametrize("h", [1e-3, 0.1, 2.0])
def test_adams_weights_integrate_polynomials_exactly(clock, h):
    """Against quadrature: as many powers as there are values, and no more."""
    weights = adams_weights(np.array(clock) - clock[0], h)
    assert len(weights) == len(clock)

    def missed(power: int) -> float:
        exact, _ = quad(lambda u: math.exp(u) * u**power, 0.0, h)
        found = sum(w * (c - clock[0]) ** power for w, c in zip(weights, clock, strict=True))
        return (found - exact) / exact

    for power in range(len(clock)):
        assert abs(missed(power)) < 1e-6
    assert abs(missed(len(clock))) > 1e-2


def polynomial(coefficients: list[float]) -> Denoiser:
    """A denoiser that is a polynomial in the clock, whatever x is; highest power first."""

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        value = np.polyval(coefficients, -math.log(float(sigma[0])))
        return torch.full_like(x, float(value))

    return denoise


@pytest.mark.parametrize("coefficients", [[2.0], [1.0, -0.5], [0.3, 1.0, -0.5], [-1.0, 0.0, 2.0]])
def test_reference_is_exact_where_the_denoiser_is_quadratic_in_the_clock(coefficients):
    """x_t = t/s x + t ∫ e^λ D dλ, and e^λ (p - p' + p'') is the integral of e^λ p."""
    start = HIGH * np.exp([0.0, -1e-5, -2e-5])  # the first two steps are of lower order: tiny ones
    levels = np.append(start, [9.0, 4.0, 3.0, 0.7, 0.3, LOW])
    x = unit_noise(2, 3)
    found = reference_solver(polynomial(coefficients))(x, torch.from_numpy(levels), 0)

    derivatives = [np.polyder(coefficients, k) for k in range(3)]

    def integral(t: float) -> float:
        value = sum((-1) ** k * np.polyval(p, -math.log(t)) for k, p in enumerate(derivatives))
        return float(value) / t

    exact = LOW / HIGH * (HIGH * x) + LOW * (integral(LOW) - integral(HIGH))
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)


MIXTURE = Mixture.random(6, 8, seed=4, std=0.4)


def run_on_mixture(name: str, steps: int) -> torch.Tensor:
    """End points from 20 noises, in levels even in log sigma and 0."""
    levels = torch.from_numpy(np.append(np.geomspace(HIGH, LOW, steps), 0.0))
    return solver_of(name, MIXTURE.denoise)(unit_noise(20, 6), levels, 0)


@pytest.mark.parametrize("name", ["dpmpp_2m", "heun"])
def test_reference_has_the_limit_of_the_other_solvers(name):
    limit = run_on_mixture("reference", 1000)
    errors = [float((run_on_mixture(name, n) - limit).norm()) for n in (250, 500, 1000)]
    orders = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert orders == pytest.approx([2.0, 2.0], abs=0.2)  # it falls on, as to the true limit


def test_reference_is_nearer_to_the_limit_than_other_solvers_of_as_many_calls():
    limit = run_on_mixture("reference", 2000)
    for calls in (32, 64):
        errors = {
            name: float((run_on_mixture(name, steps) - limit).square().mean(1).sqrt().median())
            for name, steps in [("reference", calls), ("dpmpp_2m", calls), ("heun", calls // 2)]
        }
        assert errors["reference"] < 0.5 * min(errors["dpmpp_2m"], errors["heun"])


def test_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no built-in solver 'ddim': choose one of \['euler'"):
        builtin_solver("ddim", gaussian.denoise)
