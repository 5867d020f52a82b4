"""The denoiser of emoji and what it was trained on: that these are drawn right, and learnt."""

import math

import pytest
import torch
from align_your_steps.benchmarks.edm import guided
from align_your_steps.benchmarks.emoji import data, drawing, strip
from align_your_steps.benchmarks.emoji.data import HELD_OUT, emoji, to_pixels
from align_your_steps.benchmarks.emoji.drawing import Sketch
from align_your_steps.benchmarks.emoji.network import WEIGHTS, EmojiDenoiser, load_emoji
from align_your_steps.benchmarks.emoji.train import dealt
from align_your_steps.benchmarks.evidence.features import classifier
from align_your_steps.benchmarks.training import fit, loss_at
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.diffusion.multistep import textbook
from PIL import Image
from torch.nn.functional import avg_pool2d

BLACK = torch.zeros(3, 1, 1)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def at(*places: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of some places, [1, 1, N] each."""
    x, y = torch.tensor(places).T
    return x[None, None], y[None, None]


@pytest.fixture(scope="module")
def model() -> EmojiDenoiser:
    torch.set_num_threads(1)
    return load_emoji()


@pytest.fixture(scope="module")
def painted(model: EmojiDenoiser) -> torch.Tensor:
    """Two pictures of every class [10, 2, 3, 32, 32], cfg 3, twenty steps."""
    noise = torch.randn(2, 3, 32, 32, generator=source())
    fine = textbook("dpmpp_2m", [*spread(14.6, 0.03, 20), 0.0])
    return torch.stack([fine(guided(model, label, 3.0), noise) for label in range(10)])


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


def test_painted_pictures_have_the_colours_of_drawn_ones(painted):
    drawn = to_pixels(emoji(20, source())[0])
    pixels = to_pixels(painted)
    assert abs(float(pixels.mean() - drawn.mean())) < 0.05
    assert abs(float(pixels.std() / drawn.std()) - 1.0) < 0.25


def test_painted_classes_are_told_apart(painted):
    guessed = classifier("emoji")(painted.flatten(0, 1)).argmax(1).reshape(10, 2)
    assert (guessed == torch.arange(10)[:, None]).float().mean() > 0.8


def test_classes_of_held_out_emoji_are_told():
    images, labels = emoji(10, source(HELD_OUT))
    guessed = classifier("emoji")(images).argmax(1)
    assert (guessed == labels.argmax(1)).float().mean() > 0.9


@pytest.mark.parametrize("t", [0.2, 0.5, 1.0])
def test_held_out_emoji_are_denoised_much_better_than_by_wieners_filter(model, t):
    """P / (P + t²) at every frequency, with the mean power P of other emoji."""
    power = torch.fft.fft2(emoji(50, source())[0]).abs().square().mean(0) / 32**2

    def filtered(x, sigma, label):
        gain = power / (power + sigma[0] ** 2)
        return torch.fft.ifft2(torch.fft.fft2(x) * gain).real

    unseen = emoji(5, source(HELD_OUT))
    losses = [loss_at(D, *unseen, t, noises=1) for D in (model, filtered)]
    assert losses[0] < 0.5 * losses[1] < 0.5 * t**2


# -- what it is trained on ------------------------------------------------------------------


def test_emoji_are_scaled_and_of_all_classes():
    images, labels = emoji(200, source())
    assert images.shape == (2000, 3, 32, 32)
    assert torch.equal(labels, torch.eye(10).repeat_interleave(200, 0))
    assert abs(float(images.mean())) < 0.03 and abs(float(images.std()) - 1.0) < 0.03
    low, high = ((end - data.PIXEL_MEAN) / data.PIXEL_STD for end in (0.0, 1.0))
    assert images.min() >= low and images.max() <= high


def test_a_seed_draws_the_same_emoji_and_no_two_alike():
    images, labels = emoji(20, source(1), label=3)
    assert torch.equal(images, emoji(20, source(1), label=3)[0])
    assert labels.argmax(1).tolist() == [3] * 20
    apart = torch.cdist(*2 * [torch.cat([images, emoji(20, source(2), label=3)[0]]).flatten(1)])
    assert (apart + 1e9 * torch.eye(40)).min() > 1.0


def test_larger_emoji_are_the_same_with_more_pixels():
    small, large = (emoji(4, source(), side=side)[0] for side in (32, 96))
    assert large.shape == (40, 3, 96, 96)
    assert (avg_pool2d(large, 3) - small).abs().mean() < 0.05


def test_half_of_the_emoji_are_mirrored(monkeypatch):
    def left(s: Sketch) -> None:
        s.paint(s.x, BLACK)

    monkeypatch.setitem(data.DRAWN, "face", left)
    images, _ = emoji(2000, source(), label=0)
    assert abs(float((images[:, 0, 0, 0] < images[:, 0, 0, -1]).float().mean()) - 0.5) < 0.05


def test_batches_are_drawn_anew_with_all_classes_equally_often():
    torch.manual_seed(0)
    batches = dealt(20, drawn=4)
    some = [next(batches) for _ in range(4)]
    assert all(images.shape == (20, 3, 32, 32) for images, _ in some)
    for two in (some[:2], some[2:]):
        assert sum(labels.sum(0) for _, labels in two).tolist() == [4.0] * 10
    first, second = (torch.cat([x for x, _ in two]).flatten(1) for two in (some[:2], some[2:]))
    assert torch.cdist(first, second).min() > 0.0


# -- shapes ---------------------------------------------------------------------------------

TRIANGLE = [(0.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]


@pytest.mark.parametrize(
    ("shape", "place", "distance"),
    [
        (lambda x, y: drawing.circle(x, y, 0.5), (0.6, 0.8), 0.5),
        (lambda x, y: drawing.circle(x, y, 0.5), (0.0, 0.0), -0.5),
        (lambda x, y: drawing.ellipse(x, y, 0.5, 0.2), (0.5, 0.0), 0.0),
        (lambda x, y: drawing.ellipse(x, y, 0.5, 0.2), (0.0, -0.2), 0.0),
        (lambda x, y: drawing.box(x, y, 0.5, 0.2), (0.8, 0.6), 0.5),
        (lambda x, y: drawing.box(x, y, 0.5, 0.2), (0.1, 0.1), -0.1),
        (lambda x, y: drawing.box(x, y, 0.5, 0.5, 0.5), (0.6, 0.8), 0.5),
        (lambda x, y: drawing.line(x, y, (0.0, 0.0), (1.0, 0.0), 0.1), (0.5, 0.3), 0.2),
        (lambda x, y: drawing.line(x, y, (0.0, 0.0), (1.0, 0.0), 0.1), (1.3, 0.4), 0.4),
        (lambda x, y: drawing.arc(x, y, 0.5, 1.0, 0.1), (0.0, 0.5), -0.1),
        (lambda x, y: drawing.arc(x, y, 0.5, math.pi / 2, 0.1), (0.5, -0.3), 0.2),
        (lambda x, y: drawing.polygon(x, y, TRIANGLE), (0.0, 0.9), -0.1),
        (lambda x, y: drawing.polygon(x, y, TRIANGLE), (0.5, 1.5), 0.5),
        (lambda x, y: drawing.polygon(x, y, TRIANGLE), (0.0, -1.25), 0.25),
    ],
)
def test_distances_to_shapes(shape, place, distance):
    assert float(shape(*at(place))) == pytest.approx(distance, abs=1e-6)


def test_a_heart_has_a_notch_a_tip_and_two_sides():
    inside = drawing.heart(*at((0.0, 0.0), (0.5, -0.4), (-0.5, -0.4), (0.0, 0.65)))
    outside = drawing.heart(*at((0.0, -0.95), (0.8, 0.6), (-0.8, 0.6), (0.0, 0.9)))
    assert (inside < 0.0).all() and (outside > 0.0).all()


def test_ink_covers_the_area_of_a_shape():
    s = Sketch(1, 64, source())
    s.paint(drawing.circle(s.x, s.y, 0.5), BLACK)
    assert float((1.0 - s.pixels).mean()) == pytest.approx(math.pi * 0.25 / 4.0, rel=0.01)


def test_a_subject_is_moved_enlarged_and_turned():
    s = Sketch(2, 64, source())
    s.place(0.5, -0.25, torch.tensor([0.5, 1.0])[:, None, None], math.pi / 2)
    s.paint(drawing.box(s.x, s.y, 0.4, 0.1), BLACK)
    ink = 1.0 - s.pixels[:, 0]
    across, down = torch.meshgrid(*2 * [(torch.arange(64) + 0.5) / 32 - 1], indexing="xy")
    for part, size in zip(ink, (0.5, 1.0), strict=True):
        assert float((part * across).sum() / part.sum()) == pytest.approx(0.5, abs=0.01)
        assert float((part * down).sum() / part.sum()) == pytest.approx(-0.25, abs=0.01)
        assert float(part.mean()) == pytest.approx(0.04 * size**2, rel=0.05)
        assert float(part[:, 48].sum()) > 2.0 * float(part[24].sum())  # it stands upright


def test_what_is_not_wanted_is_not_painted_and_ink_may_be_thin():
    s = Sketch(2, 8, source())
    where = torch.tensor([True, False])[:, None, None]
    s.paint(torch.full((2, 8, 8), -1.0), BLACK, where, ink=0.25)
    assert s.pixels.mean((1, 2, 3)).tolist() == [0.75, 1.0]


def test_colours_are_those_of_their_hues():
    s = Sketch(1, 8, source())
    for hue, rgb in ((0.0, [1, 0, 0]), (60.0, [1, 1, 0]), (240.0, [0, 0, 1]), (-120.0, [0, 0, 1])):
        found = s.colour((hue, hue), (1.0, 1.0), (1.0, 1.0)).flatten()
        torch.testing.assert_close(found, torch.tensor(rgb).float())
    grey = s.colour((77.0, 77.0), (0.0, 0.0), (0.3, 0.3)).flatten()
    torch.testing.assert_close(grey, torch.full((3,), 0.3))


# -- training, and the picture --------------------------------------------------------------


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
