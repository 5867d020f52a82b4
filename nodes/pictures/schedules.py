"""Noise levels over steps, and below them the size of every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from .panel import (
    Style,
    is_linear,
    levels_of,
    mark_steps,
    mark_values,
    step_sizes,
    styles,
)
from .sheet import FAINT, MARGIN, WIDTH, Sheet, drawn, shortened, text_width

__all__ = ["draw_levels", "plot_schedules"]

LEFT_EDGE = 38.0  # of the axes: the labels of their ticks are left of it
ROW, SAMPLE, GAP = 14.0, 20.0, 5.0  # of the legend: its rows, the drawn line, the space after it
TITLE, LEVELS, SIZES, TICKS = 17.0, 96.0, 40.0, 15.0  # heights from top to bottom
OTHERS = Style("#7d858e", width=0.7, alpha=0.5)  # curves of the background


def plot_schedules(
    schedules: Mapping[str, Tensor], muted: Mapping[str, Tensor] | None = None
) -> Tensor | None:
    """An image [1, H, W, 3] of noise levels over steps, and of step sizes.

    schedules: levels [n] by name; the first stands out
    muted: curves for the background, which the legend names all at once

    None, with a line in the log, where nothing can draw it.
    """
    return drawn(lambda: draw_schedules(schedules, muted or {}).image())


def draw_schedules(schedules: Mapping[str, Tensor], muted: Mapping[str, Tensor]) -> Sheet:
    """The page of `plot_schedules`."""
    looks = dict(zip(schedules, styles(len(schedules)), strict=True))
    others = [("1 other" if len(muted) == 1 else f"{len(muted)} others", OTHERS)] if muted else []
    legend = [*looks.items(), *others]
    columns, room = _columns([name for name, _ in legend])
    rows = -(-len(legend) // columns)
    bottom = TITLE + LEVELS + TITLE + SIZES
    sheet = Sheet(bottom + TICKS + ROW * (rows + 1) + MARGIN)
    linear = draw_levels(sheet, schedules, muted, looks, TITLE, TITLE + LEVELS, labels=False)
    _draw_sizes(sheet, schedules, muted, looks, linear, bottom - SIZES, bottom)
    sheet.text(
        (LEFT_EDGE + WIDTH - MARGIN) / 2, bottom + TICKS + 4, "step", ha="center", color=FAINT
    )
    names = shortened([name for name, _ in legend], room)
    for place, (name, (_, style)) in enumerate(zip(names, legend, strict=True)):
        column, row = divmod(place, rows)
        x = MARGIN + column * (WIDTH - MARGIN) / columns
        y = bottom + TICKS + ROW * (row + 1) + 6
        sheet.line([x, x + SAMPLE / 2, x + SAMPLE], [y] * 3, markevery=[1], **style.line())
        sheet.text(x + SAMPLE + GAP, y, name)
    return sheet


def draw_levels(
    sheet: Sheet,
    schedules: Mapping[str, Tensor],
    muted: Mapping[str, Tensor],
    looks: Mapping[str, Style],
    top: float,
    bottom: float,
    labels: bool = True,
) -> bool:
    """The panel of noise levels, titled; whether its axis is linear.

    The first curve is thick and lies under the others, which are thin and dashed: of curves that
    coincide both are seen.

    labels: whether the steps are numbered below it
    """
    curves = [*schedules.values(), *muted.values()]
    linear = is_linear(curves)
    axes = sheet.axes(LEFT_EDGE, top, WIDTH - MARGIN, bottom)
    for sigmas in muted.values():
        axes.plot(levels_of(sigmas, linear), **OTHERS.line())
    for name, sigmas in schedules.items():
        axes.plot(levels_of(sigmas, linear), **looks[name].line(len(sigmas)))
    values = [level for sigmas in curves for level in levels_of(sigmas, linear)]
    mark_values(axes, values, linear, ticks=5)
    mark_steps(axes, _steps(curves, linear), labels)
    sheet.text(MARGIN, top - 9, "noise level (sigma)" + ("" if linear else ", log scale"))
    if not linear and any(sigmas[-1] == 0.0 for sigmas in schedules.values()):
        sheet.text(WIDTH - MARGIN, top - 9, "final 0 not shown", ha="right", color=FAINT)
    return linear


def _draw_sizes(
    sheet: Sheet,
    schedules: Mapping[str, Tensor],
    muted: Mapping[str, Tensor],
    looks: Mapping[str, Style],
    linear: bool,
    top: float,
    bottom: float,
) -> None:
    """The panel of step sizes, each between the two levels of its step."""
    axes = sheet.axes(LEFT_EDGE, top, WIDTH - MARGIN, bottom)
    for sigmas in muted.values():
        sizes = step_sizes(sigmas, linear)
        axes.plot(_between(sizes), sizes, **OTHERS.line())
    values: list[float] = []
    for name, sigmas in schedules.items():
        sizes = step_sizes(sigmas, linear)
        axes.plot(_between(sizes), sizes, **looks[name].line(len(sigmas)))
        values += sizes
    # A background curve may take a huge last step, which would press the others together.
    most = 1.5 * max((value for value in values if value == value), default=1.0)
    others = [size for sigmas in muted.values() for size in step_sizes(sigmas, linear)]
    mark_values(axes, [*values, *(min(size, most) for size in others)], linear=True, ticks=3)
    mark_steps(axes, _steps([*schedules.values(), *muted.values()], linear), labels=True)
    measure = "sigma − next sigma" if linear else "ln(sigma / next sigma)"
    sheet.text(MARGIN, top - 9, f"step size: {measure}")
    if not any(value == value for value in values):
        axes.set_yticks([])
        middle = (LEFT_EDGE + WIDTH - MARGIN) / 2, (top + bottom) / 2
        sheet.text(*middle, "the step to 0 has no size in log", ha="center", color=FAINT)


def _between(sizes: Sequence[float]) -> list[float]:
    return [step + 0.5 for step in range(len(sizes))]


def _steps(curves: Sequence[Tensor], linear: bool) -> int:
    """The last step at which something is drawn."""
    drawn = [[level == level for level in levels_of(sigmas, linear)] for sigmas in curves]
    return max(len(marks) - 1 - marks[::-1].index(True) for marks in drawn if any(marks))


def _columns(names: Sequence[str]) -> tuple[int, float]:
    """Columns of the legend, and the points that a name may take in one."""
    widest = max(map(text_width, names))
    for columns in (3, 2, 1):
        room = (WIDTH - MARGIN) / columns - SAMPLE - GAP - MARGIN
        if len(names) >= columns and widest <= room:
            break
    return columns, room
