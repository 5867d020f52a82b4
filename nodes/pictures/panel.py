"""Axes for noise levels over steps, and for the sizes of the steps.

Diffusion models work over many decades of noise, and see their logarithm: so does the picture, and
the size of a step from sigma to sigma' is ln(sigma / sigma'). Flow models have levels from 0 to 1,
the sampler moves along sigma itself, and most levels lie near 1, where a logarithm would press them
together: they are drawn as they are, and the size of a step is sigma - sigma'. A logit axis would
spread both ends, but has no place for 1, where every such schedule starts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = [
    "COLOURS",
    "Style",
    "is_linear",
    "levels_of",
    "mark_steps",
    "mark_values",
    "short_number",
    "step_sizes",
    "styles",
]

SMALLEST_LINEAR = 1e-4  # below it a linear axis shows nothing
MOST_MARKERS = 40
NAN = float("nan")
# Okabe & Ito's colours, which the colour-blind can tell apart, without those too dark for a dark
# page, and white.
COLOURS = ("#56b4e9", "#e69f00", "#f0e442", "#cc79a7", "#00b383", "#e8703a", "#ffffff")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1.5, 1)))
MARKERS = "os^Dv*PX<>ph"


@dataclass(frozen=True)
class Style:
    """Look of a curve, on the axes and in the legend."""

    colour: str
    dash: Any = "-"
    marker: str = ""
    width: float = 1.3
    size: float = 3.5
    alpha: float = 1.0

    def line(self, steps: int = 0) -> dict[str, Any]:
        """As matplotlib's keywords, for a curve of so many steps."""
        return {
            "color": self.colour,
            "linestyle": self.dash,
            "marker": self.marker if steps <= MOST_MARKERS else "",
            "linewidth": self.width,
            "markersize": self.size,
            "markeredgewidth": 0,
            "alpha": self.alpha,
        }


def styles(count: int) -> list[Style]:
    """Styles that can be told apart by colour, by marker and by dashes; the first stands out."""
    first = Style(COLOURS[0], marker=MARKERS[0], width=2.4, size=5.5)
    others = [
        Style(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i in range(1, count)
    ]
    return [first, *others]


def is_linear(schedules: Iterable[Tensor]) -> bool:
    """Tell if these are levels of a flow model, or others that are as well seen without a log."""
    levels = [level for sigmas in schedules for level in levels_of(sigmas, linear=False)]
    drawn = [level for level in levels if level == level]
    return max(drawn) <= 1.0 and min(drawn) >= SMALLEST_LINEAR


def levels_of(sigmas: Tensor, linear: bool) -> list[float]:
    """Levels as they are drawn: NaN, a gap, for what has no place on the axis."""
    levels: list[float] = sigmas.tolist()
    lowest = 0.0 if linear else math.nextafter(0.0, 1.0)
    return [level if lowest <= level < math.inf else NAN for level in levels]


def step_sizes(sigmas: Tensor, linear: bool) -> list[float]:
    """The size of each step, [n-1]; NaN for a step from or to what is not drawn."""
    levels = levels_of(sigmas, linear)
    if linear:
        return [now - after for now, after in itertools.pairwise(levels)]
    return [math.log(now / after) for now, after in itertools.pairwise(levels)]


def mark_steps(axes: Any, steps: int, labels: bool) -> None:
    """Ticks at whole numbers of steps."""
    from matplotlib.ticker import MaxNLocator

    room = 0.03 * steps + 0.12
    axes.set_xlim(-room, steps + room)
    whole = MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(whole)
    axes.tick_params(axis="x", labelbottom=labels)


def mark_values(axes: Any, values: Sequence[float], linear: bool, ticks: int) -> None:
    """Limits around the values, and a few ticks with short labels."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    drawn = [value for value in values if value == value] or [1.0]
    low, high = min(drawn), max(drawn)
    if linear:
        low = min(low, 0.0)
        room = 0.08 * ((high - low) or 1.0)
        axes.set_ylim(low - (room if low < 0.0 else 0.3 * room), high + room)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10]))
    else:
        room = max(1.15, (high / low) ** 0.06)
        axes.set_yscale("log")
        axes.set_ylim(low / room, high * room)
        axes.set_yticks(_log_ticks(low / room, high * room, ticks))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """The finest of the usual divisions that gives at most so many ticks, and at least two.

    >>> _log_ticks(0.02, 20.0, 5)
    [0.1, 1.0, 10.0]
    """
    from matplotlib.ticker import MaxNLocator

    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, stride in [((1, 2, 5), 1), ((1, 3), 1), *(((1,), k) for k in range(1, 100))]:
        exponents = [e for e in range(first, last + 1) if e % stride == 0]
        found = [float(f"{factor}e{e}") for e in exponents for factor in factors]
        found = [tick for tick in found if low <= tick <= high]
        if len(found) <= most:
            break
    if len(found) >= 2:
        return found
    even = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high]


def short_number(value: float) -> str:
    """A number in a few characters.

    >>> [short_number(value) for value in (1e-8, 0.03, 0.0, 200.0, 1e6)]
    ['1e-8', '0.03', '0', '200', '1e6']
    """
    if value == 0.0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.5g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
