"""The metrics against closed forms and Monte Carlo."""

import math

import pytest
import torch
from align_your_steps.benchmarks.metrics import (
    end_point_errors,
    energy_difference,
    energy_distance,
    frechet_distance,
    gaussian_kl,
    gaussian_w2,
    mmd2,
    output_variances,
    paired,
    sliced_w2,
)
from align_your_steps.benchmarks.mixture import DiagonalGaussian
from align_your_steps.optimizer import SOLVERS, builtin_solver
from torch.distributions import Independent, Normal, kl_divergence

LEVELS = torch.tensor([10.0, 4.0, 1.5, 0.5, 0.1, 0.0])


def normal(count: int, dim: int, seed: int, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + std * torch.randn(count, dim, generator=generator, dtype=torch.float64)


def folded_mean(mean: float, std: float) -> float:
    """E|Z| for Z ~ N(mean, std²)."""
    z = mean / std
    phi = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return 2 * std * phi + mean * math.erf(z / math.sqrt(2))


def energy_of_gaussians(mean: float, std: float) -> float:
    """The energy distance of N(mean, std²) and N(0, 1)."""
    own = folded_mean(0.0, math.sqrt(2.0) * std) + folded_mean(0.0, math.sqrt(2.0))
    return 2 * folded_mean(mean, math.hypot(std, 1.0)) - own


@pytest.mark.parametrize("mean, std", [(1.0, 1.0), (0.0, 2.0), (-0.5, 0.6)])
def test_energy_distance_of_gaussians_is_that_of_the_closed_form(mean, std):
    measured = energy_distance(normal(3000, 1, 0, mean, std), normal(3000, 1, 1)).value
    assert measured == pytest.approx(energy_of_gaussians(mean, std), abs=0.04)


def test_energy_distance_of_one_distribution_is_zero_on_average():
    values = [
        energy_distance(normal(200, 3, 2 * k), normal(200, 3, 2 * k + 1)).value for k in range(40)
    ]
    mean, error = torch.tensor(values).mean(), torch.tensor(values).std() / 40**0.5
    assert min(values) < 0 < max(values)
    assert mean.abs() < 4 * error


def test_standard_error_of_an_energy_difference_is_its_spread_over_draws():
    differences, errors = [], []
    for k in range(60):
        e, y = normal(200, 2, 2 * k), normal(200, 2, 2 * k + 1)
        difference, error = energy_difference(
            energy_distance(1.5 * e + 0.5, y), energy_distance(0.6 * e, y)
        )
        differences.append(difference)
        errors.append(error)
    spread = float(torch.tensor(differences).std())
    assert sum(errors) / len(errors) == pytest.approx(spread, rel=0.35)


def test_sliced_w2_of_a_shift_is_the_mean_projection_of_it():
    x = normal(500, 8, 3)
    shift = normal(1, 8, 4)
    # E (u · shift)² = |shift|² / d for a direction u that is uniform on the sphere
    expected = float(shift.norm()) / math.sqrt(8)
    assert sliced_w2(x, x + shift, seed=5, directions=4000) == pytest.approx(expected, rel=0.05)


def test_sliced_w2_of_independent_samples_has_a_floor_that_falls_with_their_number():
    few = sliced_w2(normal(100, 4, 6), normal(100, 4, 7), seed=8)
    many = sliced_w2(normal(10_000, 4, 6), normal(10_000, 4, 7), seed=8)
    assert 0 < many < few / 4


def test_sliced_w2_refuses_different_numbers_of_samples():
    with pytest.raises(ValueError, match="equally many"):
        sliced_w2(normal(10, 2, 0), normal(11, 2, 0), seed=0)


def test_end_point_error_is_per_element():
    assert end_point_errors(torch.full((3, 2, 5), 2.0), torch.zeros(3, 2, 5)).tolist() == [2.0] * 3


def test_paired_comparison_has_the_sign_and_size_of_the_difference():
    common = normal(400, 1, 9)[:, 0].exp()
    noise = 0.1 * normal(400, 1, 10)[:, 0]
    better = paired(common - 0.05 + noise, common)
    assert better.ratio < 1
    assert better.z == pytest.approx((-0.05 + float(noise.mean())) / (0.1 / 20), rel=0.15)
    assert paired(common, common).z == 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_exact_output_variance_matches_monte_carlo(solver):
    data = DiagonalGaussian(torch.tensor([4.0, 1.0, 0.3, 0.02], dtype=torch.float64))
    exact = output_variances(solver, data.denoise, LEVELS, 4)
    x_0 = builtin_solver(solver, data.denoise)(normal(20_000, 4, 11), LEVELS, 12)
    ratio = x_0.double().square().mean(0) / exact
    assert (ratio - 1).abs().max() < 5 * math.sqrt(2 / 20_000)


def test_gaussian_kl_agrees_with_torch():
    true, got = normal(1, 6, 13)[0].exp(), normal(1, 6, 14)[0].exp()
    p, q = (Independent(Normal(torch.zeros(6), v.float().sqrt()), 1) for v in (true, got))
    assert gaussian_kl(true, got) == pytest.approx(float(kl_divergence(p, q)), rel=1e-5)


def test_gaussian_w2_is_the_cost_of_the_linear_transport_map():
    true = torch.tensor([4.0, 0.25], dtype=torch.float64)
    got = torch.tensor([1.0, 1.0], dtype=torch.float64)
    x = normal(100_000, 2, 15) * true.sqrt()
    moved = (x - x * (got / true).sqrt()).square().sum(1).mean().sqrt()
    assert gaussian_w2(true, got) == pytest.approx(float(moved), rel=0.01)


@pytest.mark.parametrize("mean, std", [(2.0, 1.0), (0.0, 0.5)])
def test_mmd_of_gaussians_is_that_of_the_closed_form(mean, std):
    """E k(X, Y) of N(m, s²) and N(0, 1) is a Gaussian density's value at m, for a kernel of 1."""

    def expected(shift: float, variance: float) -> float:
        return math.exp(-(shift**2) / (2 * (1 + variance))) / math.sqrt(1 + variance)

    exact = expected(0, 2 * std**2) + expected(0, 2.0) - 2 * expected(mean, std**2 + 1)
    measured = mmd2(normal(3000, 1, 0, mean, std), normal(3000, 1, 1), width=1.0)
    assert measured == pytest.approx(exact, abs=0.01)


def test_mmd_of_one_distribution_is_zero_on_average():
    values = [mmd2(normal(100, 2, 2 * k), normal(100, 2, 2 * k + 1), 1.0) for k in range(60)]
    assert abs(sum(values) / 60) < 3 * torch.tensor(values).std().item() / 60**0.5
    assert min(values) < 0 < max(values)


def test_frechet_distance_is_w2_of_gaussians_with_the_samples_moments():
    variances = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)
    x = normal(40_000, 3, 0)
    y = normal(40_000, 3, 1) * variances.sqrt()
    shift = torch.tensor([1.0, 0.0, -2.0], dtype=torch.float64)
    exact = gaussian_w2(variances, torch.ones(3)) ** 2 + 5.0
    assert frechet_distance(x, y + shift) == pytest.approx(exact, rel=0.02)


def test_frechet_distance_does_not_change_when_both_are_rotated():
    turn = torch.linalg.qr(normal(4, 4, 2)).Q
    x, y = normal(50, 4, 0, 0.5), normal(60, 4, 1, 0.0, 2.0)
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)
