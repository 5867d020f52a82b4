"""Comparisons of the report: measured cells, and the ratios between their methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .cell import ORACLE, OURS, PUBLISHED

__all__ = [
    "ALONE",
    "KINDS",
    "PEERS",
    "Cell",
    "against_best",
    "by_budget",
    "complete",
    "geometric_mean",
    "grouped",
    "kind_of",
    "method_mean",
    "over_all",
    "over_best",
    "over_best_by_budget",
    "ratio",
]

Cell = dict[str, Any]

ALONE = ("karras", "normal", PUBLISHED)  # what a user has today
PEERS = ("GITS", "GITS dev", "OSS", "KLUB")
# Gaussians stand alone: on linear denoisers some solvers can be made nearly exact, and such ratios
# would dominate a mean.
KINDS = ("Mixtures and the network, 64 elements and more", "Gaussians", "2-D mixtures")


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm; NaN of nothing.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    values = list(values)
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def kind_of(cell: Cell) -> str:
    """Tell which of the KINDS of problems a cell's is."""
    if not cell["high_dimensional"]:
        return KINDS[2]
    return KINDS[1] if "kl" in cell["methods"][OURS] else KINDS[0]


def against_best(cell: Cell) -> dict[str, float]:
    """Ours compared with the best fixed schedule in hindsight."""
    compared: dict[str, float] = cell["against"][cell["best_fixed"]]
    return compared


def ratio(cell: Cell, other: str) -> float:
    """Our error over another method's."""
    return float(cell["against"][other]["ratio"])


def over_best(cell: Cell) -> float:
    """Our error over the best fixed schedule's in hindsight."""
    return ratio(cell, cell["best_fixed"])


def over_all(cell: Cell) -> float:
    """Our error over that of the best of all other methods, peers included, in hindsight."""
    return max(other["ratio"] for name, other in cell["against"].items() if name != ORACLE)


def grouped(cells: Sequence[Cell], field: str) -> list[tuple[str, list[Cell]]]:
    """Cells by the value of a field, in order of first appearance."""
    values = dict.fromkeys(cell[field] for cell in cells)
    return [(value, [cell for cell in cells if cell[field] == value]) for value in values]


def by_budget(cells: Sequence[Cell]) -> dict[str, dict[int, Cell]]:
    """Cells measured at several budgets, by what they are and by budget."""
    found: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        name = f"{cell['problem']}, {cell['solver']}, {cell['steps']} steps"
        found.setdefault(name, {})[cell["budget"]] = cell
    return {name: some for name, some in found.items() if len(some) > 1}


def complete(budgets: dict[str, dict[int, Cell]]) -> list[dict[int, Cell]]:
    """Those that were measured at every budget: means of others would not compare."""
    every = {budget for cells in budgets.values() for budget in cells}
    return [cells for cells in budgets.values() if len(cells) == len(every)]


def over_best_by_budget(some: Sequence[dict[int, Cell]]) -> dict[str, dict[int, float]]:
    """Our mean error over the best fixed one's: of all, then by solver and steps, at each budget.

    some: cells by budget, all at the same budgets
    """
    groups: dict[str, list[dict[int, Cell]]] = {"all": list(some)}
    for cells in some:
        one = next(iter(cells.values()))
        groups.setdefault(f"{one['solver']}, {one['steps']} steps", []).append(cells)
    return {
        name: {b: geometric_mean(over_best(cells[b]) for cells in group) for b in sorted(group[0])}
        for name, group in groups.items()
        if group
    }


def method_mean(cells: Sequence[Cell], name: str) -> float:
    """Error of a method over the best fixed one's; where it exists."""
    return geometric_mean(
        cell["methods"][name]["error"] / cell["methods"][cell["best_fixed"]]["error"]
        for cell in cells
        if name in cell["methods"]
    )
