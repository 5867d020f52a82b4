"""Measured errors as ranked bars, under the noise levels that they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from .panel import short_number, styles
from .schedules import ROW, SAMPLE, TICKS, TITLE, draw_levels
from .sheet import FAINT, MARGIN, WIDTH, Sheet, drawn, shortened, text_width

__all__ = ["plot_errors"]

LEVELS_HEIGHT, GAP = 92.0, 5.0
LEAST_BAR = 80.0  # the width left for bars, however long the names are


def plot_errors(
    schedules: Mapping[str, Tensor], errors: Mapping[str, tuple[float, float]]
) -> Tensor | None:
    """An image [1, H, W, 3]: noise levels over steps, and a bar for each error, the best first.

    schedules: levels [n] by name
    errors: mean and standard error by the same names; NaN or infinity for a run that diverged

    None, with a line in the log, where nothing can draw it.
    """
    return drawn(lambda: draw_errors(schedules, errors).image())


def draw_errors(
    schedules: Mapping[str, Tensor], errors: Mapping[str, tuple[float, float]]
) -> Sheet:
    """The page of `plot_errors`."""
    ranked = sorted(errors, key=lambda name: _finite(errors[name][0], math.inf))
    looks = dict(zip(ranked, styles(len(ranked)), strict=True))
    first = TITLE + LEVELS_HEIGHT + TICKS + ROW + TITLE
    sheet = Sheet(first + ROW * len(ranked) + MARGIN)
    curves = {name: schedules[name] for name in ranked if name in schedules}
    draw_levels(sheet, curves, {}, looks, TITLE, TITLE + LEVELS_HEIGHT)
    sheet.text(WIDTH / 2, TITLE + LEVELS_HEIGHT + TICKS + 4, "step", ha="center", color=FAINT)
    sheet.text(MARGIN, first - 9, "error: distance to the image in many steps")

    numbers = {name: number_text(*errors[name]) for name in ranked}
    right = WIDTH - MARGIN - max(map(text_width, numbers.values())) - GAP
    room = min(max(map(text_width, ranked)), right - MARGIN - SAMPLE - 2 * GAP - LEAST_BAR)
    left = MARGIN + SAMPLE + GAP + room + GAP
    axes = sheet.axes(left, first, right, first + ROW * len(ranked))
    short = shortened(ranked, room)
    for rank, name in enumerate(ranked):
        style, y = looks[name], first + ROW * (rank + 0.5)
        sheet.line(
            [MARGIN, MARGIN + SAMPLE / 2, MARGIN + SAMPLE], [y] * 3, markevery=[1], **style.line()
        )
        sheet.text(MARGIN + SAMPLE + GAP, y, short[rank])
        sheet.text(WIDTH - MARGIN, y, numbers[name], ha="right")
        mean, spread = (_finite(number, 0.0) for number in errors[name])
        axes.barh(rank, mean, height=0.6, color=style.colour, alpha=0.85)
        if spread > 0.0:
            axes.errorbar(mean, rank, xerr=spread, ecolor="#ffffff", elinewidth=1, capsize=2)
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.set_xticks([])  # every bar has its number
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    ends = [_finite(mean, 0.0) + _finite(spread, 0.0) for mean, spread in errors.values()]
    axes.set_xlim(0.0, 1.05 * max(ends) or 1.0)
    return sheet


def number_text(mean: float, spread: float) -> str:
    """A mean and its standard error, to the first digit of the latter.

    >>> number_text(0.01234, 0.00042), number_text(0.5, float("nan")), number_text(float("inf"), 0)
    ('0.0123 ± 0.0004', '0.5', 'diverged')
    """
    if not math.isfinite(mean):
        return "diverged"
    if not (math.isfinite(spread) and spread > 0.0):
        return f"{mean:.3g}"
    digits = -math.floor(math.log10(spread))
    if not 0 <= digits <= 5:
        return f"{short_number(mean)} ± {short_number(spread)}"
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def _finite(number: float, otherwise: float) -> float:
    return number if math.isfinite(number) else otherwise
