"""The report's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from .arena import OURS
from .intervals import ratio_interval
from .needs import over_best_fixed
from .sweeps import SOLVERS as SWEPT
from .sweeps import STARTS, value_at
from .tables import Group, against_best

__all__ = ["draw_grid", "draw_levels", "draw_losses", "draw_needs", "draw_sweeps"]

COLOURS = 64
Lines = Sequence[Mapping[str, Any]]
TITLES = {"paired": "paired error", "energy": "energy distance", "frechet": "Fréchet distance"}


def _keep(figure: Figure, path: Path) -> None:
    """In a few colours: the README shows some, and pages are to load fast."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(COLOURS).save(path, optimize=True)


def draw_grid(path: Path, some: Sequence[Group]) -> None:
    """Ours over the best fixed schedule's, every cell with its interval, by paired and Fréchet.

    Energy distances may be negative, so their differences stand in the third panel.
    """
    figure = Figure(figsize=(16, 4.6), dpi=100, layout="constrained")
    for axes, measure in zip(figure.subplots(1, 3), TITLES, strict=True):
        for k, group in enumerate(some):
            one = against_best(group, measure)
            interval = one.difference if measure == "energy" else one.ratio
            if interval is None:
                continue
            colour = {"wins": "C2", "ties": "0.5", "loses": "C3"}[one.verdict]
            axes.plot([k, k], [interval.low, interval.high], color=colour, linewidth=1.5)
            axes.plot(k, interval.value, "o", color=colour, markersize=4)
        axes.axhline(0.0 if measure == "energy" else 1.0, color="0.3", linewidth=1)
        if measure == "energy":
            axes.set_yscale("symlog", linthresh=0.01)
        else:
            axes.set_yscale("log")
            axes.set_ylim(0.25, 4.0)
            axes.set_yticks([0.25, 0.5, 1.0, 2.0, 4.0], ["1/4", "1/2", "1", "2", "4"])
            axes.set_yticks([], minor=True)
        _name_cells(axes, some, measure)
    _keep(figure, path)


def _name_cells(axes: Axes, some: Sequence[Group], measure: str) -> None:
    """Ticks that name each cell: solver and guidance below, steps beside."""
    axes.set_xticks(
        range(len(some)),
        [f"{group.solver}, cfg {group.scale:g}, {group.steps}" for group in some],
        rotation=90,
        fontsize=5 if len(some) > 30 else 7,
    )
    what = "ours minus the best fixed" if measure == "energy" else "ours over the best fixed"
    axes.set_title(f"{TITLES[measure]}: {what}")


def draw_levels(path: Path, cells: Lines) -> None:
    """Our levels at 10 steps beside the published tables, by network and guidance."""
    some = [cell for cell in cells if cell["steps"] == 10 and cell["solver"] == "dpmpp_2m"]
    keys = sorted({(cell["network"], cell["scale"]) for cell in some})
    figure = Figure(figsize=(4.2 * len(keys), 4.2), dpi=100, layout="constrained")
    for axes, key in zip(np.atleast_1d(figure.subplots(1, len(keys))), keys, strict=True):
        mine = [cell for cell in some if (cell["network"], cell["scale"]) == key]
        for k, cell in enumerate(mine):
            levels = cell["methods"][OURS]["sigmas"][:-1]
            axes.plot(levels, color="C0", alpha=0.6, label=f"ours, {len(mine)} seeds" * (k == 0))
        for name, colour in (("AYS SD1.5", "C1"), ("AYS SDXL", "C2"), ("karras", "0.6")):
            axes.plot(mine[0]["methods"][name]["sigmas"][:-1], "--", color=colour, label=name)
        axes.set(yscale="log", xlabel="step", title=f"{key[0]}, cfg {key[1]:g}, dpmpp_2m")
        axes.legend(fontsize="small")
    _keep(figure, path)


def draw_sweeps(path: Path, lines: Lines) -> None:
    """KLUB, paired error, energy and Fréchet distance over the sweeps, and where we stop."""
    scales = sorted({line["scale"] for line in lines})
    panels = ("klub", "paired", "energy", "frechet")
    figure = Figure(figsize=(17, 4.2 * len(scales)), dpi=90, layout="constrained")
    grid = figure.subplots(len(scales), len(panels), squeeze=False)
    for row, scale in zip(grid, scales, strict=True):
        for axes, what in zip(row, panels, strict=True):
            for colour, start in zip(("C0", "C1"), STARTS, strict=True):
                some = [ln for ln in lines if (ln["scale"], ln["start"]) == (scale, start)]
                for style, solver in zip(("-", "--"), SWEPT, strict=True):
                    if what != "klub" or solver == SWEPT[0]:
                        _curve(axes, some, solver, what, colour, style)
            title = "KLUB, nats an element" if what == "klub" else TITLES[what]
            axes.set(xlabel="sweep", title=f"{title}, cfg {scale:g}")
            axes.set_xscale("symlog", linthresh=4)
            if what in ("klub", "frechet", "paired"):
                axes.set_yscale("log")
    grid[0][1].legend(fontsize="x-small")
    _keep(figure, path)


def _curve(axes: Axes, some: Lines, solver: str, what: str, colour: str, style: str) -> None:
    """Every seed thin, their mean thick; circles at the stops of every seed."""
    shared = sorted(set.intersection(*(set(line["sweeps"]) for line in some)))
    values = np.array([[value_at(line, solver, what, k) for k in shared] for line in some])
    axes.plot(
        shared, values.mean(0), style, color=colour, linewidth=2.2,
        label=some[0]["start"] if what == "klub" else f"{solver}, from {some[0]['start']}",
    )  # fmt: skip
    for one in values:
        axes.plot(shared, one, style, color=colour, linewidth=0.6, alpha=0.4)
    if some[0]["start"] == STARTS[0]:
        for line in some:
            k = line["stopped"][solver]
            if k in line["sweeps"]:
                at = k, value_at(line, solver, what, k)
                axes.plot(*at, "o", color=colour, fillstyle="none" if style == "-" else "full")


def draw_needs(path: Path, lines: Lines) -> None:
    """Error over the best fixed schedule's against calls, and against reference noises."""
    own = min({line["share"] for line in lines}, key=lambda share: abs(share - 0.26))
    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    by_calls = [line for line in lines if line["share"] == own]
    by_share = [line for line in lines if line["budget"] == 4000]
    for axes, some, what in ((left, by_calls, "budget"), (right, by_share, "share")):
        xs, spans = [], []
        for value in sorted({line[what] for line in some}):
            chosen = [line for line in some if line[what] == value]
            noises = [c["reference_noises"] for line in chosen for c in line["cells"]]
            xs.append(value if what == "budget" else float(np.mean(noises)))
            spans.append(ratio_interval(np.exp(np.log(over_best_fixed(chosen)).mean(1))))
        axes.plot(xs, [s.value for s in spans], "o-")
        axes.fill_between(xs, [s.low for s in spans], [s.high for s in spans], alpha=0.15)
        axes.axhline(1.0, color="0.5", linewidth=1)
        axes.set_xscale("log")
        axes.set_xticks(xs, [f"{x:.0f}" for x in xs])
        axes.set_xticks([], minor=True)
    left.set(xlabel="calls", title="error over the best fixed schedule's")
    right.set(xlabel="noises that schedules are refined on, 4,000 calls", title="the same")
    _keep(figure, path)


def draw_losses(path: Path, name: str, curve: Lines) -> None:
    """Loss of a denoiser while it is trained."""
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    steps = [line["step"] for line in curve]
    axes.plot(steps, [line["loss"] for line in curve], label="training, weighted over all levels")
    axes.plot(steps, [line["held_out"] for line in curve], label="held out, at level 0.5")
    axes.set(xlabel="step", ylabel="loss", yscale="log", title=name)
    axes.legend()
    _keep(figure, path)
