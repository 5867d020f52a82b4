"""The exact data distributions, against Monte Carlo, limits, and identities of ideal denoisers."""

import math

import pytest
import torch
from align_your_steps.benchmarks.mixture import DiagonalGaussian, Mixture, power_law
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

UNEQUAL = Mixture(
    means=torch.tensor([[1.0, -0.5, 0.3], [-1.0, 0.2, 0.9], [0.1, 1.2, -1.0]], dtype=torch.float64),
    stds=torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64),
    weights=torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64),
)
DISTRIBUTIONS = [UNEQUAL, Mixture.random(16, 8, seed=0), power_law(16)]


def noised(x_0: torch.Tensor, sigma: float, seed: int) -> torch.Tensor:
    e = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(seed), dtype=x_0.dtype)
    return x_0 + sigma * e


def levels(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.full((len(x),), sigma, dtype=x.dtype)


def log_density(mixture: Mixture, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """log p(x; t) by torch.distributions: an independent implementation."""
    scale = (mixture.stds.square() + sigma**2).sqrt()[:, None].expand_as(mixture.means)
    parts = Independent(Normal(mixture.means, scale), 1)
    return MixtureSameFamily(Categorical(mixture.weights), parts).log_prob(x)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("data", [UNEQUAL, power_law(3)])
def test_denoiser_matches_importance_weighted_samples(data, sigma):
    x_0 = data.sample(400_000, seed=1)
    for x in noised(data.sample(4, seed=2), sigma, seed=3):
        p = torch.softmax(-(x - x_0).square().sum(1) / (2 * sigma**2), 0)[:, None]
        estimate = (p * x_0).sum(0)
        error = (p.square() * (x_0 - estimate).square()).sum(0).sqrt()
        exact = data.denoise(x[None], levels(x[None], sigma))[0]
        assert ((exact - estimate).abs() < 4.5 * error).all()


@pytest.mark.parametrize("sigma", [1e-3, 0.1, 1.0, 30.0])
def test_denoiser_is_tweedies_formula(sigma):
    x = noised(UNEQUAL.sample(5, seed=4), sigma, seed=5)
    h = 1e-4 * math.hypot(sigma, 0.2)
    shifts = h * torch.eye(3, dtype=torch.float64)
    slopes = [
        (log_density(UNEQUAL, x + shift, sigma) - log_density(UNEQUAL, x - shift, sigma)) / (2 * h)
        for shift in shifts
    ]
    expected = x + sigma**2 * torch.stack(slopes, 1)
    torch.testing.assert_close(UNEQUAL.denoise(x, levels(x, sigma)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("data", DISTRIBUTIONS)
def test_denoiser_returns_its_input_without_noise(data):
    x = data.sample(6, seed=6)
    torch.testing.assert_close(data.denoise(x, levels(x, 1e-6)), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("data", DISTRIBUTIONS)
def test_denoiser_returns_the_mean_in_noise(data):
    mean = torch.zeros_like(data.sample(1, seed=0)[0])
    if isinstance(data, Mixture):
        mean = (data.weights[:, None] * data.means).sum(0)
    x = noised(data.sample(6, seed=7), 1e6, seed=8)
    torch.testing.assert_close(
        data.denoise(x, levels(x, 1e6)), mean.expand_as(x), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("t, s", [(0.05, 0.2), (0.2, 1.0), (0.5, 5.0)])
@pytest.mark.parametrize("data", DISTRIBUTIONS)
def test_denoiser_is_a_martingale_along_a_forward_path(data, t, s):
    x_0 = data.sample(20_000, seed=9)
    x_t = noised(x_0, t, seed=10)
    x_s = noised(x_t, math.sqrt(s**2 - t**2), seed=11)
    D_t, D_s = data.denoise(x_t, levels(x_t, t)), data.denoise(x_s, levels(x_s, s))
    loss_t, loss_s = (D_t - x_0).square().sum(1), (D_s - x_0).square().sum(1)
    surplus = (D_t - D_s).square().sum(1) - (loss_s - loss_t)
    assert surplus.mean().abs() < 3 * surplus.std() / len(surplus) ** 0.5
    assert (loss_s - loss_t).mean() > 0


@pytest.mark.parametrize("sigma", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("dim", [2, 1024])
def test_single_precision_input_gives_the_double_precision_answer(dim, sigma):
    mixture = Mixture.random(dim, 64, seed=0)
    x = noised(mixture.sample(8, seed=12), sigma, seed=13).float()
    single = mixture.denoise(x, levels(x, sigma))
    double = mixture.denoise(x.double(), levels(x.double(), sigma))
    assert single.dtype == torch.float32
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-6)


def test_weights_select_the_components_they_name():
    x = noised(UNEQUAL.sample(3, seed=14), 1.0, seed=15)
    chosen = torch.eye(3, dtype=torch.float64)
    for k in range(3):
        alone = Mixture(UNEQUAL.means[k : k + 1], UNEQUAL.stds[k : k + 1], torch.ones(1))
        expected = alone.denoise(x[k : k + 1], levels(x[k : k + 1], 1.0))[0]
        together = UNEQUAL.denoise(x, levels(x, 1.0), chosen)[k]  # one condition for each row
        torch.testing.assert_close(together, expected)


def test_guidance_extrapolates_from_unconditional_to_conditional():
    x, cond = UNEQUAL.sample(4, seed=16), torch.tensor([1.0, 0.0, 0.0])
    sigma = levels(x, 1.0)
    at_0, at_1, at_3 = (
        UNEQUAL.guided(x, sigma, cond, UNEQUAL.weights, scale) for scale in (0.0, 1.0, 3.0)
    )
    torch.testing.assert_close(at_0, UNEQUAL.denoise(x, sigma))
    torch.testing.assert_close(at_1, UNEQUAL.denoise(x, sigma, cond))
    torch.testing.assert_close(at_3, 3 * at_1 - 2 * at_0)


@pytest.mark.parametrize("data", DISTRIBUTIONS[1:])
def test_denoiser_keeps_the_shape_of_its_input(data):
    x = data.sample(5, seed=17)
    image, sigma = x.reshape(5, 1, 4, 4), torch.linspace(0.1, 10.0, 5, dtype=torch.float64)
    output = data.denoiser()(image, sigma)
    assert output.shape == image.shape
    torch.testing.assert_close(output.flatten(1), data.denoise(x, sigma))


def test_samples_have_the_mean_and_variance_of_the_mixture():
    x = UNEQUAL.sample(100_000, seed=18)
    w = UNEQUAL.weights[:, None]
    mean = (w * UNEQUAL.means).sum(0)
    second = (w * (UNEQUAL.means.square() + UNEQUAL.stds.square()[:, None])).sum(0)
    assert ((x.mean(0) - mean).abs() < 4.5 * x.std(0) / len(x) ** 0.5).all()
    error = x.square().std(0) / len(x) ** 0.5
    assert ((x.square().mean(0) - second).abs() < 4.5 * error).all()


def test_power_law_samples_have_its_variances():
    variances = power_law(8, exponent=1.5).sample(100_000, seed=19).var(0)
    expected = torch.tensor([k**-1.5 for k in range(1, 9)], dtype=torch.float64)
    torch.testing.assert_close(variances, expected, rtol=0.03, atol=0)


@pytest.mark.parametrize("data", DISTRIBUTIONS)
def test_samples_depend_on_the_seed_alone(data):
    assert torch.equal(data.sample(4, seed=20), data.sample(4, seed=20))
    assert not torch.equal(data.sample(4, seed=20), data.sample(4, seed=21))


@pytest.mark.parametrize(
    "stds, weights", [([0.1], [0.5, 0.5]), ([0.1, 0.0], [0.5, 0.5]), ([0.1, 0.1], [0.0, 0.0])]
)
def test_mixture_refuses_what_is_no_mixture(stds, weights):
    with pytest.raises(ValueError, match="give"):
        Mixture(torch.zeros(2, 3), torch.tensor(stds), torch.tensor(weights))


def test_diagonal_gaussian_is_a_mixture_of_one_component():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(22), dtype=torch.float64)
    one = Mixture(torch.zeros(1, 3), torch.tensor([0.7]), torch.ones(1))
    gaussian = DiagonalGaussian(torch.full((3,), 0.7, dtype=torch.float32).square())
    sigma = levels(x, 0.4)
    torch.testing.assert_close(gaussian.denoise(x, sigma), one.denoise(x, sigma))
