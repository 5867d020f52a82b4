"""Profiles: the distribution of the paths, the algebra of Gram matrices, and reproducibility."""

import math

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import Profile, measure_profile
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.noise import PATHS, generators
from align_your_steps.optimizer.profile import profile as profile_module
from align_your_steps.optimizer.profile.profile import forward_path

DATA = Mixture.random(6, 5, seed=0)
LEVELS = np.geomspace(10.0, 0.05, 9)


def measured(count: int = 7, **options) -> Profile:
    return measure_profile(DATA.denoise, DATA.sample(count, seed=1).float(), LEVELS, **options)


def test_forward_path_has_the_joint_distribution_of_noise_added_level_by_level():
    levels = torch.tensor([30.0, 3.0, 2.9, 0.3, 0.01], dtype=torch.float64)
    x_0 = torch.full((4, 50_000), 5.0, dtype=torch.float64)
    path = list(forward_path(x_0, levels, generators(0, PATHS, range(4))))
    noise = torch.stack([(x - x_0).flatten() for x, _ in path])
    n = noise.shape[1]

    expected = torch.minimum(levels[:, None], levels[None, :]).square()
    spread = levels[:, None] * levels[None, :]
    error = ((spread.square() + expected.square()) / n).sqrt()
    assert ((noise @ noise.T / n - expected).abs() < 4.5 * error).all()
    assert (noise.mean(1).abs() < 4.5 * levels / n**0.5).all()
    assert [float(sigma[0]) for _, sigma in path] == levels.tolist()
    assert all(sigma.shape == (4,) for _, sigma in path)


def test_gram_and_loss_are_those_of_the_outputs_on_the_path():
    seen = []

    def denoise(x, sigma):
        seen.append(DATA.denoise(x, sigma))
        return seen[-1]

    x_0 = DATA.sample(4, seed=2)
    profile = measure_profile(denoise, x_0, LEVELS)
    D = torch.stack(seen, 1)  # [N, M, d]
    for n in range(4):
        for a in range(9):
            for b in range(9):
                product = (D[n, a] - D[n, -1]) @ (D[n, b] - D[n, -1])
                assert profile.grams[n, a, b] == pytest.approx(float(product), abs=1e-12)
                squared = (D[n, a] - D[n, b]).square().mean()
                assert profile.squared_differences[n, a, b] == pytest.approx(
                    float(squared), abs=1e-12
                )
    loss = (D - x_0[:, None]).square().mean((0, 2))
    torch.testing.assert_close(profile.loss, loss)
    torch.testing.assert_close(profile.gram, profile.grams.mean(0))
    torch.testing.assert_close(profile.standard_error, profile.grams.std(0) / 2.0)


def surplus_over_losses(profile: Profile, t: int, s: int) -> tuple[float, float]:
    """Mean of ||D_t - D_s||^2 - (L(s) - L(t)) per element, and its standard error."""
    losses = profile.losses / profile.dim
    surplus = profile.squared_differences[:, t, s] - (losses[:, t] - losses[:, s])
    return float(surplus.mean()), float(surplus.std() / profile.count**0.5)


@pytest.mark.parametrize("t, s", [(0, 4), (2, 3), (3, 8), (5, 6), (0, 8)])
def test_squared_difference_of_an_ideal_denoiser_is_the_difference_of_its_losses(t, s):
    mean, error = surplus_over_losses(measured(4000, batch_size=1000), t, s)
    assert abs(mean) < 3 * error


def test_squared_difference_of_a_guided_denoiser_is_not_the_difference_of_its_losses():
    cond = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    x_0 = Mixture(DATA.means, DATA.stds, cond).sample(4000, seed=1)

    def profile(scale: float) -> Profile:
        def denoise(x, sigma):
            return DATA.guided(x, sigma, cond, DATA.weights, scale)

        return measure_profile(denoise, x_0, LEVELS, batch_size=1000)

    mean, error = surplus_over_losses(profile(1.0), 1, 2)
    assert abs(mean) < 3 * error
    mean, error = surplus_over_losses(profile(2.0), 1, 2)
    assert abs(mean) > 10 * error


@pytest.mark.parametrize("batch_size", [1, 3, 7, 16])
def test_profile_depends_on_the_seed_and_not_on_the_batch_size(batch_size):
    profile, other = measured(), measured(batch_size=batch_size)
    torch.testing.assert_close(other.grams, profile.grams, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other.losses, profile.losses, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(measured(seed=1).grams, profile.grams, rtol=0.1)


def test_same_seed_gives_the_same_profile_bit_for_bit():
    assert torch.equal(measured(seed=5).grams, measured(seed=5).grams)


def test_every_call_has_the_same_shape_and_one_level():
    shapes = set()

    def denoise(x, sigma):
        assert len(sigma.unique()) == 1
        shapes.add((x.shape, sigma.shape))
        return DATA.denoise(x, sigma)

    profile = measure_profile(denoise, DATA.sample(7, seed=1), LEVELS, batch_size=3)
    assert shapes == {((3, 6), (3,))}
    assert profile.count == 7


def test_progress_reports_the_samples_done():
    done = []
    measured(batch_size=3, progress=done.append)
    assert done == [3, 6, 7]


def test_profile_of_images_is_that_of_their_elements():
    x_0 = DATA.sample(3, seed=1)
    flat = measure_profile(DATA.denoiser(), x_0, LEVELS)
    image = measure_profile(DATA.denoiser(), x_0.reshape(3, 1, 2, 3), LEVELS)
    assert image.dim == flat.dim == 6
    torch.testing.assert_close(image.grams, flat.grams)


def test_sum_of_profiles_is_the_profile_of_all_samples():
    first, second = measured(3, seed=0), measured(5, seed=1)
    both = first + second
    assert both.count == 8
    torch.testing.assert_close(both.gram, (3 * first.gram + 5 * second.gram) / 8)
    torch.testing.assert_close(both.loss, (3 * first.loss + 5 * second.loss) / 8)


def test_profiles_of_other_levels_or_sizes_do_not_add():
    profile = measured(2)
    other_levels = measure_profile(DATA.denoise, DATA.sample(2, seed=1), 1.1 * LEVELS)
    other_size = measure_profile(gaussian.denoise, torch.randn(2, 3), LEVELS)
    for other in (other_levels, other_size):
        with pytest.raises(ValueError, match="do not add: measure both"):
            profile + other


def test_profile_survives_storage():
    profile = measured()
    tensors = profile.to_tensors()
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    again = Profile.from_tensors(tensors)
    assert torch.equal(again.sigmas, profile.sigmas)
    assert again.dim == profile.dim
    torch.testing.assert_close(again.grams, profile.grams, rtol=1e-6, atol=0)
    torch.testing.assert_close(again.losses, profile.losses, rtol=1e-6, atol=0)


def test_walk_of_a_denoiser_takes_the_place_of_its_calls():
    class Walker:
        """One sampling run a path: it sees the levels in order, and before the first point."""

        levels: list[list[float]]

        def __init__(self):
            self.levels = []

        def __call__(self, x, sigma):
            raise AssertionError("a denoiser that can walk was called")

        def walk(self, points, sigmas):
            self.levels.append([])
            for k, (x, sigma) in enumerate(points):
                assert float(sigma[0]) == pytest.approx(float(sigmas[k]))
                self.levels[-1].append(float(sigma[0]))
                yield DATA.denoise(x, sigma)

    walker = Walker()
    profile = measure_profile(walker, DATA.sample(7, seed=1).float(), LEVELS, batch_size=4)
    assert walker.levels == [pytest.approx(LEVELS.tolist())] * 2
    torch.testing.assert_close(profile.grams, measured().grams, rtol=1e-4, atol=1e-5)


def test_single_precision_is_exact_to_one_percent_at_low_noise():
    levels = np.geomspace(80.0, 0.002, 24)
    x_0 = torch.randn(8, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = measure_profile(gaussian.denoise, x_0, levels).squared_differences
    single = measure_profile(gaussian.denoise, x_0.float(), levels).squared_differences
    pairs = ~torch.eye(24, dtype=torch.bool)
    assert (single / exact - 1.0)[:, pairs].abs().max() < 0.01


@pytest.mark.parametrize(
    "levels",
    [[], [1.0], [0.1, 1.0], [1.0, 1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [[2.0], [1.0]]],
)
def test_profile_refuses_levels_that_do_not_descend(levels):
    with pytest.raises(ValueError, match="give two or more positive levels, descending"):
        measure_profile(gaussian.denoise, torch.ones(1, 2), levels)


def test_profile_refuses_to_be_measured_on_nothing():
    with pytest.raises(ValueError, match="give at least one"):
        measure_profile(gaussian.denoise, torch.empty(0, 2), [1.0, 0.1])


def test_profile_refuses_a_denoiser_that_changes_the_shape():
    with pytest.raises(ValueError, match=r"shape \[1, 3\] for an input of shape \[1, 2\]"):
        measure_profile(lambda x, sigma: torch.ones(1, 3), torch.ones(1, 2), [1.0, 0.1])


def test_profile_in_parts_is_that_in_one(monkeypatch):
    """Fewer samples at a time, and inner products over a part of the elements at a time."""
    rows, whole = [], measured(7)

    def denoise(x, sigma):
        rows.append(len(x))
        return DATA.denoise(x, sigma)

    monkeypatch.setattr(profile_module, "WALKED", 2 * 4 * 6 * len(LEVELS) + 1)
    monkeypatch.setattr(profile_module, "PRODUCT_CHUNK", 4)
    parts = measure_profile(denoise, DATA.sample(7, seed=1).float(), LEVELS)
    assert set(rows) == {2}
    torch.testing.assert_close(parts.grams, whole.grams, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(parts.losses, whole.losses, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(profile_module, "WALKED", 0)
    rows.clear()
    measure_profile(denoise, DATA.sample(2, seed=1).float(), LEVELS)
    assert set(rows) == {1}
