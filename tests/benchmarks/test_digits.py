"""The trained digits denoiser: that it loads anywhere, and that it has learnt digits."""

import subprocess
import sys

import pytest
import torch
from align_your_steps.benchmarks.digits.data import PIXEL_MEAN, PIXEL_STD, digits, to_pixels
from align_your_steps.benchmarks.digits.network import WEIGHTS, DigitsDenoiser, load_digits
from align_your_steps.benchmarks.training import draw_levels, linear_denoiser


@pytest.fixture(scope="module")
def model() -> DigitsDenoiser:
    torch.set_num_threads(1)
    return load_digits()


@pytest.fixture(scope="module")
def seen() -> tuple[torch.Tensor, torch.Tensor]:
    pytest.importorskip("sklearn", reason="the images are scikit-learn's")
    return digits(held_out=False)


@pytest.fixture(scope="module")
def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    pytest.importorskip("sklearn", reason="the images are scikit-learn's")
    return digits(held_out=True)


def noise(shape: torch.Size) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_denoiser_loads_without_scikit_learn():
    program = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from align_your_steps.benchmarks.digits.network import load_digits\n"
        "load_digits()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_weights_take_at_most_a_megabyte():
    assert WEIGHTS.stat().st_size <= 1_000_000


def test_loaded_denoiser_is_ready_to_be_evaluated(model):
    assert not model.training
    assert not any(part.requires_grad for part in model.parameters())


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_has_shape_and_dtype_of_the_input(count, dtype):
    x = noise(torch.Size([count, 1, 8, 8])).to(dtype)
    output = load_digits().to(dtype)(x, torch.ones(count).to(dtype), torch.zeros(count, 10).to(x))
    assert output.shape == x.shape
    assert output.dtype == dtype


def test_rows_do_not_depend_on_each_other(model):
    x, sigma, label = noise(torch.Size([6, 1, 8, 8])), torch.logspace(-2, 1, 6), torch.eye(10)[:6]
    together = model(x, sigma, label)
    alone = torch.cat([model(x[i : i + 1], sigma[i : i + 1], label[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("t", [0.3, 0.5, 1.0])
def test_held_out_digits_are_denoised_better_than_by_any_linear_denoiser(
    model, seen, held_out, t, conditional
):
    x_0, label = held_out
    x, sigma = x_0 + t * noise(x_0.shape), torch.full((len(x_0),), t)
    learnt = (model(x, sigma, label * conditional) - x_0).square().mean()
    linear = (linear_denoiser(seen[0])(x, sigma) - x_0).square().mean()
    assert learnt < 0.85 * linear


@pytest.mark.parametrize("t", [0.5, 5.0])
def test_the_right_label_helps_and_a_wrong_one_hurts(model, held_out, t):
    x_0, label = held_out
    x, sigma = x_0 + t * noise(x_0.shape), torch.full((len(x_0),), t)
    right, none, wrong = (
        (model(x, sigma, given) - x_0).square().mean()
        for given in (label, torch.zeros_like(label), label.roll(1, 1))
    )
    assert right < none < wrong


def test_denoiser_returns_the_mean_of_the_class_in_noise(model, seen):
    x_0, label = seen
    means = (label.T @ x_0.flatten(1)) / label.sum(0)[:, None]  # [10, 64]
    sigma = torch.full((10,), 80.0)
    output = model(80.0 * noise(torch.Size([10, 1, 8, 8])), sigma, torch.eye(10)).flatten(1)
    assert torch.equal(torch.cdist(output, means).argmin(1), torch.arange(10))
    assert (output - means).square().mean() < 0.02


def test_images_are_scaled_split_and_restored(seen, held_out):
    images = torch.cat([seen[0], held_out[0]])
    assert images.shape == (1797, 1, 8, 8)
    assert abs(images.mean().item()) < 1e-3
    assert abs(images.std().item() - 1.0) < 1e-3
    assert len(held_out[0]) == 360
    pixels = images * PIXEL_STD + PIXEL_MEAN
    torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-4)
    torch.testing.assert_close(to_pixels(images), pixels / 16, rtol=0, atol=1e-5)


def test_linear_denoiser_is_exact_for_gaussian_data():
    x_0 = noise(torch.Size([50_000, 1, 2, 2])) * 2.0 + 1.0
    x, sigma = noise(torch.Size([3, 1, 2, 2])), torch.tensor([0.1, 1.0, 10.0])
    expected = 1.0 + (x - 1.0) * (4.0 / (4.0 + sigma.square()))[:, None, None, None]
    torch.testing.assert_close(linear_denoiser(x_0)(x, sigma), expected, rtol=0, atol=0.05)


def test_training_levels_cover_the_range_and_favour_its_middle():
    torch.manual_seed(0)
    levels = draw_levels(20_000)
    assert 0.00199 < levels.min() < 0.003
    assert 60.0 < levels.max() < 80.1
    assert ((levels > 0.05) & (levels < 5.0)).float().mean() > 0.75
