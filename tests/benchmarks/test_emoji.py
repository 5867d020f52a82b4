"""The trained denoiser of emoji: that it loads anywhere, and that it has learnt emoji."""

import subprocess
import sys

import pytest
import torch
from align_your_steps.benchmarks.edm import guided
from align_your_steps.benchmarks.emoji import data, strip
from align_your_steps.benchmarks.emoji.data import augmented, emoji, to_pixels
from align_your_steps.benchmarks.emoji.network import WEIGHTS, EmojiDenoiser, load_emoji
from align_your_steps.benchmarks.evidence.features import classifier
from align_your_steps.benchmarks.training import fit, loss_at
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.diffusion.multistep import textbook
from PIL import Image

WHITE = (1.0 - data.PIXEL_MEAN) / data.PIXEL_STD

needs_font = pytest.mark.skipif(
    not (data.FONT.exists() and data.NAMED.exists()),
    reason="the images are those of Debian's fonts-noto-color-emoji and unicode-data",
)


@pytest.fixture(scope="module")
def model() -> EmojiDenoiser:
    torch.set_num_threads(1)
    return load_emoji()


@pytest.fixture(scope="module")
def painted(model: EmojiDenoiser) -> torch.Tensor:
    """Two pictures of every class [10, 2, 3, 32, 32], cfg 3, twenty steps."""
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    fine = textbook("dpmpp_2m", [*spread(14.6, 0.03, 20), 0.0])
    return torch.stack([fine(guided(model, label, 3.0), noise) for label in range(10)])


def test_denoiser_loads_without_the_font():
    program = (
        "import sys\n"
        "from align_your_steps.benchmarks.emoji.network import load_emoji\n"
        "load_emoji()\n"
        "assert 'align_your_steps.benchmarks.emoji.data' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_weights_take_at_most_ten_megabytes():
    assert WEIGHTS.stat().st_size <= 10_000_000


def test_loaded_denoiser_is_ready_to_be_evaluated(model):
    assert not model.training
    assert not any(part.requires_grad for part in model.parameters())


def test_rows_do_not_depend_on_each_other(model):
    x, sigma, label = torch.randn(6, 3, 32, 32), torch.logspace(-2, 1, 6), torch.eye(10)[:6]
    together = model(x, sigma, label)
    alone = torch.cat([model(x[i : i + 1], sigma[i : i + 1], label[i : i + 1]) for i in range(6)])
    assert together.shape == x.shape
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_pictures_are_on_white(painted):
    pixels = to_pixels(painted)
    corners = pixels[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners > 0.95).float().mean() > 0.9
    assert pixels.std() > 0.15  # and not white alone


def test_painted_classes_are_told_apart(painted):
    guessed = classifier("emoji")(painted.flatten(0, 1)).argmax(1).reshape(10, 2)
    assert (guessed == torch.arange(10)[:, None]).float().mean() > 0.7


@needs_font
def test_emoji_are_scaled_and_a_tenth_is_held_out():
    images, labels = emoji()
    unseen, of = emoji(held_out=True)
    assert images.shape[1:] == (3, 32, 32)
    assert len(images) == 627 and len(unseen) == 63
    assert (labels.sum(0) > 0).all() and (of.sum(0) > 0).all()
    by_class = [torch.cat([images[labels[:, k] == 1], unseen[of[:, k] == 1]]) for k in range(10)]
    mean = sum(some.mean() for some in by_class) / 10
    variance = sum((some - mean).square().mean() for some in by_class) / 10
    assert abs(float(mean)) < 1e-3 and abs(float(variance) - 1.0) < 1e-3
    assert torch.cdist(images.flatten(1), unseen.flatten(1)).min() > 0.0


@needs_font
def test_classes_of_held_out_emoji_are_told_better_than_by_chance():
    images, labels = emoji(held_out=True)
    guessed = classifier("emoji")(images).argmax(1)
    assert (guessed == labels.argmax(1)).float().mean() > 0.5


@needs_font
def test_another_font_is_not_taken(tmp_path, monkeypatch):
    other = tmp_path / "other.ttf"
    monkeypatch.setattr(data, "FONT", other)
    data._drawn.cache_clear()
    with pytest.raises(FileNotFoundError, match="fonts-noto-color-emoji"):
        emoji()
    other.write_bytes(b"another")
    with pytest.raises(ValueError, match="another version"):
        emoji()


def test_turned_colours_stay_colours_and_white_stays_white():
    images = torch.full((10, 3, 32, 32), WHITE)
    images[:, 0, 8:24, 8:24] = 0.0
    some, labels = augmented(images, torch.eye(10), 200, torch.Generator().manual_seed(0))
    assert some.shape == (200, 3, 32, 32) and labels.shape == (200, 10)
    torch.testing.assert_close(some[..., :8], torch.full_like(some[..., :8], WHITE))
    torch.testing.assert_close(to_pixels(some), some * data.PIXEL_STD + data.PIXEL_MEAN)
    assert some[:, 0, 16, 16].std() > 0.0


def test_classes_are_drawn_equally_often_and_mirrored_by_half():
    images = torch.full((12, 3, 32, 32), WHITE)
    images[..., :16] -= 0.5
    labels = torch.eye(10)[[0, 0, 0, *range(1, 10)]]
    some, of = augmented(images, labels, 4000, torch.Generator().manual_seed(0))
    assert of.mean(0).sub(0.1).abs().max() < 0.03
    assert abs(float((some[:, 0, 0, 0] < some[:, 0, 0, -1]).float().mean()) - 0.5) < 0.05


@needs_font
@pytest.mark.parametrize("t", [0.2, 0.5, 1.0])
def test_held_out_emoji_are_denoised_better_than_by_wieners_filter(model, t):
    """P / (P + t²) at every frequency, with the mean power P of the training images."""
    power = torch.fft.fft2(emoji()[0]).abs().square().mean(0) / 32**2

    def filtered(x, sigma, label):
        gain = power / (power + sigma[0] ** 2)
        return torch.fft.ifft2(torch.fft.fft2(x) * gain).real

    losses = [loss_at(D, *emoji(held_out=True), t, noises=1) for D in (model, filtered)]
    assert losses[0] < 0.85 * losses[1] < 0.85 * t**2


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path):
    def draw(rows):
        return torch.randn(rows, 1, 8, 8), torch.zeros(rows, 10)

    class Gain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, sigma, label):
            return self.gain * x

    class Stop(Exception):
        pass

    def interrupt(step, loss, averaged):
        if step == 6:
            raise Stop

    def trained(kept, tell=None):
        torch.manual_seed(0)
        model = Gain()
        curve = fit(model, draw, steps=10, batch=4, every=2, kept=kept, tell=tell)
        return model.gain.item(), curve

    whole = trained(None)
    kept = tmp_path / "kept.pt"
    with pytest.raises(Stop):
        trained(kept, interrupt)
    assert trained(kept) == whole


def test_the_strip_is_a_small_picture_of_all_rows(tmp_path):
    rows = {"one": torch.randn(3, 3, 32, 32), "two\nlines": torch.randn(3, 3, 32, 32)}
    strip.draw(tmp_path / "strip.png", rows)
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.size == (strip.BORDER + 3 * 140, 2 * 140 + 12)
    alike = [strip.seeds(count, (3, 32, 32)) for count in (2, 3)]
    assert torch.equal(alike[0], alike[1][:2])
