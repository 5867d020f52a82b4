"""The report's pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .cell import OURS
from .compare import (
    ALONE,
    KINDS,
    PEERS,
    Cell,
    grouped,
    kind_of,
    method_mean,
    over_best,
    over_best_by_budget,
)

__all__ = ["draw", "draw_budgets", "draw_methods", "draw_ratios"]


def draw(path: Path, panels: Sequence[Callable[[Axes, Any], None]], data: Any) -> None:
    """One picture of panels side by side."""
    figure = Figure(figsize=(6.5 * len(panels), 4.5), dpi=110, layout="constrained")
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        panel(axes, data)
        axes.axhline(1.0, color="0.5", linewidth=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.legend(fontsize="small")
    FigureCanvasAgg(figure).print_png(str(path))


def draw_ratios(axes: Axes, cells: Sequence[Cell]) -> None:
    """Every cell's error over the best fixed one's, by solver."""
    groups = grouped(cells, "solver")
    for k, (_, some) in enumerate(groups):
        spread = np.linspace(-0.25, 0.25, len(some)) if len(some) > 1 else [0.0]
        for shift, cell in zip(spread, some, strict=True):
            colour = "C1" if cell["guided"] else "C0"
            axes.plot(k + shift, over_best(cell), "o", color=colour, markersize=4)
    axes.plot([], [], "o", color="C0", label="plain")
    axes.plot([], [], "o", color="C1", label="guided")
    axes.set_xticks(range(len(groups)), [solver for solver, _ in groups], rotation=15)
    axes.set(title="our error over the best fixed schedule's in hindsight, every cell")


def draw_methods(axes: Axes, cells: Sequence[Cell]) -> None:
    """Every method's mean error over the best fixed one's, by steps; without the Gaussians."""
    cells = [cell for cell in cells if kind_of(cell) != KINDS[1]] or cells
    steps = sorted({cell["steps"] for cell in cells})
    for name in (OURS, *PEERS, *ALONE):
        means = [method_mean([c for c in cells if c["steps"] == n], name) for n in steps]
        axes.plot(steps, means, "o-", label=name, linewidth=3 if name == OURS else 1)
    axes.set(xlabel="steps", xticks=steps, title="error over the best fixed schedule's, mean")


def draw_budgets(axes: Axes, some: Sequence[dict[int, Cell]]) -> None:
    """Our mean error over the best fixed one's against the budget, of cells at the same budgets."""
    axes.set_xscale("log")
    for name, means in over_best_by_budget(some).items():
        width = 3 if name == "all" else 1
        axes.plot(list(means), list(means.values()), "o-", label=name, linewidth=width)
    budgets = sorted(some[0])
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="budget, calls", title="our error over the best fixed schedule's, mean")
