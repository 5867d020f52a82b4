"""The closed forms, against quadrature, sampling and their own variational principles."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.optimizer import edm_schedule
from align_your_steps.optimizer.diffusion import gaussian
from scipy.integrate import quad

C = [0.3, 1.0, 2.5]


def forward_path(t: float, s: float, c: float, count: int = 400_000) -> list[torch.Tensor]:
    """x_0, x_t and x_s of one forward path with t < s, noised level by level."""
    e = torch.randn(3, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_0 = c * e[0]
    x_t = x_0 + t * e[1]
    return [x_0, x_t, x_t + math.sqrt(s**2 - t**2) * e[2]]


def denoise(x: torch.Tensor, sigma: float, c: float) -> torch.Tensor:
    return gaussian.denoise(x[:, None], torch.full_like(x, sigma), c)[:, 0]


@pytest.mark.parametrize("c", C)
def test_denoiser_leaves_a_residual_uncorrelated_with_its_input(c):
    x_0, x, _ = forward_path(0.7, 1.0, c)
    product = (x_0 - denoise(x, 0.7, c)) * x
    assert product.mean().abs() < 4 * product.std() / len(product) ** 0.5


def test_denoiser_keeps_the_shape_of_its_input_and_each_rows_own_level():
    x = torch.ones(2, 3, 4)
    output = gaussian.denoise(x, torch.tensor([1.0, 2.0]), c=2.0)
    torch.testing.assert_close(output[0], torch.full((3, 4), 0.8))
    torch.testing.assert_close(output[1], torch.full((3, 4), 0.5))


@pytest.mark.parametrize("c", C)
@pytest.mark.parametrize("t, s", [(0.05, 0.4), (0.5, 1.0), (0.5, 20.0)])
def test_squared_difference_is_the_mean_on_a_forward_path_and_the_bracket_is_not_squared(c, t, s):
    _, x_t, x_s = forward_path(t, s, c)
    squared = (denoise(x_t, t, c) - denoise(x_s, s, c)).square()
    error = squared.std() / len(squared) ** 0.5
    exact = gaussian.squared_difference(t, s, c)
    assert abs(squared.mean() - exact) < 4 * error
    bracket_squared = c**4 * (1 / (t**2 + c**2) - 1 / (s**2 + c**2)) ** 2
    assert abs(squared.mean() - bracket_squared) > 20 * error


@pytest.mark.parametrize("c", C)
@pytest.mark.parametrize(
    "schedule", [[80.0, 0.002], [14.6, 2.0, 0.3, 0.03], edm_schedule(10, 80.0, 0.002)]
)
def test_klub_is_the_integral_that_defines_it(c, schedule):
    total = 0.0
    for b, a in pairwise(schedule):
        total += quad(
            lambda u, b=b: math.exp(-2 * u) * gaussian.squared_difference(math.exp(u), b, c),
            math.log(a),
            math.log(b),
            epsabs=0,
            epsrel=1e-10,
            limit=200,
        )[0]
    assert gaussian.klub(schedule, c) == pytest.approx(total, rel=1e-7)


@pytest.mark.parametrize("c", C)
@pytest.mark.parametrize("steps", [2, 5, 10])
def test_klub_schedule_is_a_minimum_in_every_inner_level(c, steps):
    best = gaussian.klub_schedule(steps, 80.0, 0.002, c)
    least = gaussian.klub(best, c)
    for i in range(1, steps):
        for factor in (0.9, 0.999, 1.001, 1.1):
            moved = best.copy()
            moved[i] *= factor
            assert gaussian.klub(moved, c) > least


@pytest.mark.parametrize("schedule", [gaussian.klub_schedule, gaussian.kl_schedule])
@pytest.mark.parametrize("steps", [1, 2, 20])
def test_schedules_descend_between_the_given_ends(schedule, steps):
    levels = schedule(steps, 80.0, 0.002, 0.5)
    assert len(levels) == steps + 1
    assert (np.diff(levels) < 0).all()
    assert levels[[0, -1]].tolist() == pytest.approx([80.0, 0.002], rel=1e-9)


@pytest.mark.parametrize("c", C)
def test_kl_schedule_is_even_in_arctan(c):
    angles = np.arctan(gaussian.kl_schedule(7, 80.0, 0.002, c) / c)
    assert np.diff(angles) == pytest.approx(np.full(7, (angles[-1] - angles[0]) / 7))


@pytest.mark.parametrize("c", C)
def test_kl_schedule_brings_eulers_output_closest_to_the_data(c):
    def output_variance(levels: np.ndarray) -> float:
        """Of Euler's method on dx/dt = (x - D) / t, from the exact marginal at the first level."""
        gain = 1.0
        for s, t in pairwise(levels):
            gain *= 1.0 + (t - s) * s / (s**2 + c**2)
        return gain**2 * (levels[0] ** 2 + c**2)

    levels = gaussian.kl_schedule(6, 80.0, 0.01, c)
    exact = levels[-1] ** 2 + c**2
    closest = output_variance(levels)
    assert closest < exact
    for i in range(1, 6):
        for factor in (0.9, 0.999, 1.001, 1.1):
            moved = levels.copy()
            moved[i] *= factor
            assert output_variance(moved) < closest
