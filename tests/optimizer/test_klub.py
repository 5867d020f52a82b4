"""The KLUB read off a profile, against the closed form and against quadrature."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.optimizer import (
    Profile,
    edm_schedule,
    klub,
    klub_standard_error,
    measure_profile,
)
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.profile.klub import Landscape
from scipy.integrate import quad

RANGES = [(80.0, 0.002), (14.6146, 0.0292)]  # EDM's and Stable Diffusion's
SCHEDULES = {  # off the profile's grid, but for the last
    "least KLUB": gaussian.klub_schedule,
    "least KL": gaussian.kl_schedule,
    "EDM": lambda steps, high, low, c: edm_schedule(steps, high, low),
    "every level": lambda steps, high, low, c: np.geomspace(high, low, 48),
}


@cache
def measured(c: float, ends: tuple[float, float]) -> Profile:
    """Of Gaussian data at 48 levels, on 1,024 samples of 4 elements."""
    x_0 = c * torch.randn(1024, 4, generator=torch.Generator().manual_seed(0))
    return measure_profile(
        lambda x, sigma: gaussian.denoise(x, sigma, c), x_0, np.geomspace(*ends, 48), batch_size=128
    )


def groups(profile: Profile, count: int) -> list[Profile]:
    """The profile's samples in so many groups."""
    return [
        Profile(profile.sigmas, grams, losses, profile.dim)
        for grams, losses in zip(
            profile.grams.chunk(count), profile.losses.chunk(count), strict=True
        )
    ]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("c", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("ends", RANGES)
def test_klub_of_gaussian_data_matches_closed_form(ends, c, name):
    profile, schedule = measured(c, ends), SCHEDULES[name](10, *ends, c)
    estimate, exact = klub(profile, schedule), gaussian.klub(schedule, c)
    values = [klub(group, schedule) for group in groups(profile, 64)]
    assert abs(estimate - exact) < 3 * np.std(values, ddof=1) / math.sqrt(64)
    assert estimate == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("c", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("ends", RANGES)
@pytest.mark.parametrize("steps", [2, 20])
def test_interpolation_between_48_levels_costs_less_than_two_percent(
    gaussian_profile, ends, c, name, steps
):
    schedule = SCHEDULES[name](steps, *ends, c)
    estimate = klub(gaussian_profile(np.geomspace(*ends, 48), c), schedule)
    assert estimate == pytest.approx(gaussian.klub(schedule, c), rel=0.02)


@pytest.mark.parametrize("exponent", [0.0, 0.75, 1.0, 2.0, 3.0])
def test_weighted_cost_of_gaussian_data_matches_quadrature(gaussian_profile, exponent):
    schedule = [14.6, 3.3, 0.71, 0.05]
    exact = 0.0
    for b, a in pairwise(schedule):
        exact += quad(lambda t, b=b: t**-exponent * gaussian.squared_difference(t, b), a, b)[0]
    profile = gaussian_profile(np.geomspace(14.6, 0.05, 48))
    assert klub(profile, schedule, weight_exponent=exponent) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("exponent", [0.0, 0.999999, 1.0, 1.00001, 3.0])
@pytest.mark.parametrize("width", [1e-9, 1e-4, 0.1, 3.0])
def test_cell_integral_of_a_linear_function_is_exact(exponent, width):
    u = np.array([-1.5, -1.5 + width])
    landscape = Landscape(np.exp(u), np.zeros((2, 2)), exponent)
    for f in ([1.0, 1.0], [0.0, 1.0], [2.0, 0.5]):
        exact = quad(
            lambda v, f=f: math.exp((1 - exponent) * (-1.5 + width * v)) * np.interp(v, [0, 1], f),
            0,
            1,
            epsrel=1e-12,
        )[0]
        assert landscape.cells(u, np.array(f)) == pytest.approx([width * exact], rel=1e-6)


def test_klub_falls_when_a_level_is_added():
    profile = measured(1.0, RANGES[0])
    values = [klub(profile, edm_schedule(steps, *RANGES[0])) for steps in (1, 2, 4, 8, 16, 32)]
    assert (np.diff(values) < 0).all()


def test_klub_of_a_profile_is_nearly_the_mean_over_its_samples():
    profile, schedule = measured(1.0, RANGES[0]), edm_schedule(7, *RANGES[0])
    mean = sum(klub(half, schedule) for half in groups(profile, 2)) / 2
    # Not exactly: between the measured levels the interpolation follows the mean profile.
    assert klub(profile, schedule) == pytest.approx(mean, rel=1e-3)


def test_standard_error_is_the_spread_of_independent_estimates():
    schedule = [14.0, 1.0, 0.1]

    def profile(seed: int) -> Profile:
        x_0 = torch.randn(32, 4, generator=torch.Generator().manual_seed(seed))
        levels = np.geomspace(14.0, 0.1, 12)
        return measure_profile(gaussian.denoise, x_0, levels, seed=seed, batch_size=32)

    profiles = [profile(seed) for seed in range(60)]
    spread = np.std([klub(p, schedule) for p in profiles], ddof=1)
    stated = np.mean([klub_standard_error(p, schedule) for p in profiles])
    assert stated == pytest.approx(spread, rel=4 / math.sqrt(2 * 60))


def test_standard_error_of_a_single_sample_is_unknown(gaussian_profile):
    assert math.isnan(klub_standard_error(gaussian_profile(np.array([2.0, 1.0])), [2.0, 1.0]))


@pytest.mark.parametrize("schedule", [[], [10.0], [10.0, 10.0, 0.1], [0.1, 10.0], [10.0, math.nan]])
def test_klub_refuses_levels_that_do_not_descend(gaussian_profile, schedule):
    with pytest.raises(ValueError, match="give two or more strictly descending levels"):
        klub(gaussian_profile(np.geomspace(10.0, 0.1, 5)), schedule)


@pytest.mark.parametrize("schedule", [[10.0, 1.0, 0.0], [11.0, 0.1], [10.0, 0.09]])
def test_klub_refuses_levels_outside_the_profile(gaussian_profile, schedule):
    with pytest.raises(ValueError, match=r"outside the measured levels 10 to 0\.1"):
        klub(gaussian_profile(np.geomspace(10.0, 0.1, 5)), schedule)


def test_klub_accepts_ends_that_differ_by_rounding(gaussian_profile):
    profile = gaussian_profile(np.geomspace(10.0, 0.1, 5))
    rounded = np.array([10.0, 1.0, 0.1]) * (1 + 5e-7 * np.array([1, 0, -1]))
    assert klub(profile, rounded) == pytest.approx(klub(profile, [10.0, 1.0, 0.1]), rel=1e-5)
