"""A page to draw on, measured in points from its top left corner, and the texts on it.

WIDTH points are about the width of a node on the host's page, so a point is a pixel there: text of
10 points is as large as the page's own.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "BACKGROUND",
    "FAINT",
    "LINES",
    "MARGIN",
    "SMALL",
    "WIDTH",
    "Sheet",
    "drawn",
    "shortened",
    "text_width",
]

WIDTH, MARGIN = 300.0, 8.0
SMALL = 10.0  # size of all text, in points
DOTS = 3  # pixels a point
BACKGROUND, TEXT, FAINT, LINES = "#1f1f1f", "#e6e6e6", "#a3aab2", "#4a4f55"
UNKNOWN = "□"  # for what no font here can draw
# Fonts of the usual systems that have Chinese, Japanese or Korean; matplotlib brings none.
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
    "Source Han Sans SC", "Microsoft YaHei", "SimHei", "Yu Gothic", "Meiryo", "MS Gothic",
    "Malgun Gothic", "PingFang SC", "PingFang HK", "Hiragino Sans", "Hiragino Sans GB",
    "Apple SD Gothic Neo", "AppleGothic", "Arial Unicode MS", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "IPAGothic", "NanumGothic",
)  # fmt: skip

log = logging.getLogger("align_your_steps")


def drawn(draw: Callable[[], Tensor]) -> Tensor | None:
    """A picture that is drawn with matplotlib; None, with a line in the log, where it cannot be.

    Whatever fails here fails after all the work that it would show: nothing is raised. Other packs
    set their styles for the whole process, so the picture is drawn with matplotlib's own defaults.
    """
    try:
        _load_matplotlib()
        from matplotlib import style

        with style.context("default"):
            return draw()
    except Exception as error:
        missing = getattr(error, "name", None) == "matplotlib"
        why = f"matplotlib failed, {type(error).__name__}: {error}"
        why = "matplotlib is not installed: pip install matplotlib" if missing else why
        log.warning("There is no plot: %s.", why)
    return None


def _load_matplotlib() -> None:
    """Import matplotlib whatever MPLBACKEND says: one that is not installed makes its import fail.

    Notebooks set it for all programs that they start. Here it does not matter, for nothing is
    shown in a window; for others it is set as the import would have done.
    """
    if "matplotlib" in sys.modules:
        return
    # Another pack's import may have failed: parts of it would be taken for the new one's.
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        del sys.modules[name]
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


class Sheet:
    """A dark page of WIDTH points.

    Arguments:
        height: in points.
        dots: pixels a point; times WIDTH or `height` it is a whole number.
    """

    def __init__(self, height: float, dots: float = DOTS):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.height = height
        # A hair more, or rounding may cost a row of pixels.
        size = ((WIDTH + 1e-6) / 72, (height + 1e-6) / 72)
        self.figure = Figure(figsize=size, dpi=72 * dots, facecolor=BACKGROUND)
        self.canvas = FigureCanvasAgg(self.figure)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place in matplotlib's coordinates, which begin at the bottom."""
        return x / WIDTH, 1.0 - y / self.height

    def axes(self, left: float, top: float, right: float, bottom: float) -> Any:
        """Axes within these edges."""
        x, y = self.at(left, bottom)
        size = ((right - left) / WIDTH, (bottom - top) / self.height)
        axes = self.figure.add_axes((x, y, *size), facecolor=BACKGROUND)
        axes.tick_params(colors=FAINT, which="both", labelsize=SMALL, length=2.5, pad=2.5)
        axes.tick_params(which="minor", length=0)
        axes.grid(color=LINES, linewidth=0.6, alpha=0.7)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(LINES)
        return axes

    def text(self, x: float, y: float, string: str, **style: Any) -> None:
        """A text whose left middle is at (x, y); `style` as matplotlib's."""
        style = {"color": TEXT, "fontsize": SMALL, "va": "center_baseline", **style}
        self.figure.text(
            *self.at(x, y), drawable(string), parse_math=False, fontfamily=list(fonts()), **style
        )

    def line(self, x: list[float], y: list[float], **style: Any) -> None:
        """A line through points of the page; `style` as matplotlib's."""
        from matplotlib.lines import Line2D

        places = [self.at(*place) for place in zip(x, y, strict=True)]
        self.figure.add_artist(Line2D(*zip(*places, strict=True), **style))

    def image(self) -> Tensor:
        """Return what was drawn, as [1, H, W, 3] of values from 0 to 1."""
        self.canvas.draw()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3]
        return torch.from_numpy(pixels.astype(np.float32) / 255.0)[None]


def text_width(string: str, size: float = SMALL) -> float:
    """Points that a text takes in a row."""
    from matplotlib.font_manager import FontProperties

    properties = FontProperties(family=list(fonts()), size=size)
    width: float = _ruler().get_text_width_height_descent(drawable(string), properties, False)[0]
    return width / DOTS


def shortened(names: Sequence[str], width: float) -> list[str]:
    """Names of at most `width` points each, told apart.

    The middle makes room, for names differ at their ends; those that look alike get a number.
    """
    short = [_shortened(name, width) for name in names]
    alike, seen = Counter(short), Counter[str]()
    for place, name in enumerate(short):
        seen[name] += 1
        if alike[name] > 1:
            number = f" ({seen[name]})"
            short[place] = _shortened(names[place], width - text_width(number)) + number
    return short


def _shortened(name: str, width: float) -> str:
    """The name with as many of its characters as fit, found by bisection."""
    name = drawable(name)
    if text_width(name) <= width:
        return name

    def cut(count: int) -> str:
        return f"{name[: (count + 1) // 2].rstrip()}…{name[len(name) - count // 2 :].lstrip()}"

    fits, too_long = 2, len(name)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if text_width(cut(middle)) <= width:
            fits = middle
        else:
            too_long = middle
    return cut(fits)


def drawable(string: str) -> str:
    """A text in one line, without what no font here can draw."""
    # Joiners and variation selectors only change the character before them, such as an emoji.
    string = re.sub("[\u200b-\u200f\u2060\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]", "", string)
    string = " ".join(string.split())
    known = _glyphs()
    return "".join(character if ord(character) in known else UNKNOWN for character in string)


@cache
def fonts() -> tuple[str, ...]:
    """The families to draw text with, each for what those before it lack."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in CJK_FONTS if name in installed))


@cache
def _glyphs() -> frozenset[int]:
    """The characters that these families have."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset().union(*(FT2Font(findfont(name)).get_charmap() for name in fonts()))


@cache
def _ruler() -> Any:
    """Measures texts."""
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(1, 1, 72 * DOTS)
