"""The small curve that a node shows while it works: drawn in milliseconds, without matplotlib."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .panel import COLOURS, is_linear, levels_of, short_number
from .sheet import BACKGROUND, FAINT, LINES

__all__ = ["preview_curve"]

SIZE = (360, 220)
FINER = 2  # drawn so many times as large, then reduced: Pillow's lines have hard edges
LEFT, TOP, RIGHT, BOTTOM = 40, 32, 350, 208  # of the axes
FONT_SIZE = 12
BACKGROUND_CURVE = "#666d75"


def preview_curve(sigmas: Tensor, muted: Mapping[str, Tensor] | None = None) -> Image.Image | None:
    """The noise levels [n] of the best schedule so far, over those of others.

    On a logarithmic axis, or on a linear one for the levels of a flow model. None if no level is
    above 0.
    """
    curves = [sigmas, *(muted or {}).values()]
    if not any(level > 0.0 for level in levels_of(sigmas, linear=False)):
        return None
    linear = is_linear(curves)
    drawn = [[_height(level, linear) for level in levels_of(curve, linear)] for curve in curves]
    heights = [height for curve in drawn for height in curve if height == height]
    low, high = min(heights), max(heights)
    steps = max(len(curve) for curve in drawn) - 1

    image = Image.new("RGB", (SIZE[0] * FINER, SIZE[1] * FINER), BACKGROUND)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(FONT_SIZE * FINER)

    def at(step: float, height: float) -> tuple[float, float]:
        x = LEFT + (RIGHT - LEFT) * step / (steps or 1)
        y = BOTTOM - (BOTTOM - TOP) * (height - low) / ((high - low) or 1.0)
        return x * FINER, y * FINER

    draw.text((4 * FINER, 3 * FINER), "noise level (sigma), best so far", font=font, fill=FAINT)
    for label in _labels(low, high, linear):
        height = _height(label, linear)
        left, y = at(0, height)
        draw.line([(left, y), at(steps, height)], fill=LINES, width=FINER)
        text = short_number(label)
        draw.text((left - 4 * FINER, y), text, font=font, fill=FAINT, anchor="rm")
    for curve in drawn[1:]:
        _line(draw, [at(*place) for place in enumerate(curve)], BACKGROUND_CURVE, FINER)
    best = [at(*place) for place in enumerate(drawn[0])]
    _line(draw, best, COLOURS[0], 2 * FINER)
    if steps <= 40:
        for x, y in best:
            if y == y:
                r = 3 * FINER
                draw.ellipse((x - r, y - r, x + r, y + r), fill=COLOURS[0])
    return image.resize(SIZE, Image.Resampling.LANCZOS)


def _line(
    draw: ImageDraw.ImageDraw, places: list[tuple[float, float]], colour: str, width: int
) -> None:
    """A line through places, with gaps where one is NaN."""
    for start, end in itertools.pairwise(places):
        if start[1] == start[1] and end[1] == end[1]:
            draw.line([start, end], fill=colour, width=width)


def _height(level: float, linear: bool) -> float:
    return level if linear else math.log10(level)


def _labels(low: float, high: float, linear: bool) -> list[float]:
    """Levels to be named beside the axis: 0 to 1, or up to five powers of ten."""
    if linear:
        return [label for label in (0.0, 0.25, 0.5, 0.75, 1.0) if low <= label <= high]
    stride = math.ceil((high - low) / 5) or 1
    powers = range(math.ceil(low), math.floor(high) + 1)
    return [10.0**power for power in powers if power % stride == 0]
