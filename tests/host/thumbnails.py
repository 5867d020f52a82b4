"""Thumbnails of the example workflows: what each is about, to be seen at the size of a card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from align_your_steps.benchmarks.digits.network import load_digits
from align_your_steps.benchmarks.edm import guided
from align_your_steps.optimizer import Denoiser, optimize
from align_your_steps.optimizer.diffusion.multistep import Multistep, textbook
from align_your_steps.schedules import discrete_table, hand_made, preset
from align_your_steps.schedules.curves import flow_table
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["draw_thumbnail"]

PIXELS, DPI = (720, 540), 90
PAPER, INK = "#fffaf0", "#2b2d42"
COLOURS = ("#ef476f", "#118ab2", "#06a77d", "#f3722c", "#7b2cbf")
SIGMAS = discrete_table()
Draw = Callable[[Figure], None]


def draw_thumbnail(name: str, path: Path) -> None:
    """Write the picture of an example, by the number that its name begins with, as a JPEG."""
    width, height = PIXELS
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    CARDS[name.split()[0]](figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(path, quality=88)


def curve(
    figure: Figure, place: list[float], levels: list[float], colour: str = COLOURS[1]
) -> Axes:
    """Noise levels over steps: a falling staircase of points."""
    axes = figure.add_axes(place)
    axes.plot(levels, "-o", color=colour, linewidth=7, markersize=18, clip_on=False)
    axes.set_axis_off()
    return axes


def digit(
    figure: Figure, place: list[float], label: int, k: int = 0, sampler: Multistep | None = None
) -> None:
    """Paint a class with the digits network in many steps, or as given; in the k-th colour."""
    sampler = sampler or textbook("dpmpp_2m", karras(40))
    axes = figure.add_axes(place)
    colours = LinearSegmentedColormap.from_list("", [PAPER, COLOURS[k % len(COLOURS)]])
    noise = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(label))
    with torch.no_grad():
        image = sampler(painter(label), noise)[0, 0]
    axes.imshow(image, cmap=colours, vmin=-0.6, vmax=1.6, interpolation="bicubic")
    axes.set_axis_off()


def painter(label: int) -> Denoiser:
    """The digits network, guided to a class."""
    return guided(load_digits(), label, 3.0)


def karras(steps: int) -> list[float]:
    """The curve that most people know."""
    return hand_made(steps, SIGMAS)["karras"].tolist()


def text(figure: Figure, x: float, y: float, words: str, size: int = 34) -> None:
    """A few large words."""
    figure.text(x, y, words, fontsize=size, color=INK, ha="center", va="center", weight="bold")


def positive(name: str) -> np.ndarray:
    """The levels of a published schedule that have a logarithm."""
    return np.array([level for level in preset(name).levels if level > 0.0])


def published(figure: Figure) -> None:
    """A published schedule, and a picture."""
    curve(figure, [0.08, 0.2, 0.42, 0.55], np.log(positive("SDXL")).tolist())
    digit(figure, [0.56, 0.2, 0.38, 0.55], 3)
    text(figure, 0.5, 0.88, "a published schedule")


def fit(figure: Figure) -> None:
    """Few steps that look like many: a real fit."""
    label, steps = 5, 4
    ends = {"sigma_max": SIGMAS.sigma_max, "sigma_min": SIGMAS.sigma_min}
    found = optimize(
        painter(label), (1, 8, 8), **ends, steps=steps, solver="calibrated", budget=1000
    )
    assert found.sampler is not None
    rows = {
        "4 steps": textbook("dpmpp_2m", karras(steps)),
        "ays_model": found.sampler,
        "many steps": None,
    }
    for k, (words, sampler) in enumerate(rows.items()):
        digit(figure, [0.04 + 0.32 * k, 0.3, 0.28, 0.38], label, k, sampler)
        text(figure, 0.18 + 0.32 * k, 0.2, words, 22)
    text(figure, 0.5, 0.85, "fitted to your model")


def prompts(figure: Figure) -> None:
    """Several prompts, one sampler."""
    for k, label in enumerate((1, 2, 4, 5, 6, 7, 8, 9)):
        digit(figure, [0.06 + 0.23 * (k % 4), 0.42 - 0.34 * (k // 4), 0.19, 0.3], label, k=k)
    text(figure, 0.5, 0.86, "one fit, many prompts")


def compare(figure: Figure) -> None:
    """Ranked bars."""
    axes = figure.add_axes([0.08, 0.1, 0.84, 0.64])
    axes.barh(range(5), [9, 7.5, 6, 4.5, 1.6], color=COLOURS[::-1], height=0.7)
    axes.set_axis_off()
    text(figure, 0.5, 0.87, "what comes closest?")


def image(figure: Figure) -> None:
    """From one image to another."""
    digit(figure, [0.05, 0.18, 0.36, 0.5], 1, k=3)
    digit(figure, [0.59, 0.18, 0.36, 0.5], 7, k=1)
    text(figure, 0.5, 0.43, "→", 60)
    text(figure, 0.5, 0.86, "image to image")


def flow(figure: Figure) -> None:
    """The levels of a flow model, from 1 to 0."""
    levels = hand_made(8, flow_table(3.0))["simple"].tolist()
    curve(figure, [0.08, 0.16, 0.5, 0.56], levels, COLOURS[4])
    digit(figure, [0.62, 0.18, 0.33, 0.5], 8, k=4)
    text(figure, 0.5, 0.87, "Flux and its kin")


def sigmas(figure: Figure) -> None:
    """A curve with its numbers."""
    levels = positive("SD1.5")[::2]
    axes = curve(figure, [0.1, 0.14, 0.74, 0.56], np.log(levels).tolist(), COLOURS[0])
    for k, level in enumerate(levels.tolist()):
        axes.annotate(
            f"{level:.2g}",
            (k, np.log(level)),
            (12, 14),
            textcoords="offset points",
            fontsize=22,
            color=INK,
        )
    text(figure, 0.5, 0.87, "SIGMAS")


CARDS: dict[str, Draw] = dict(
    zip("1234567", (published, fit, prompts, compare, image, flow, sigmas), strict=True)
)
