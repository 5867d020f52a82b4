"""The benchmark's report: Markdown tables, plots and a JSON summary from the measured cells.

Everything is a ratio of paired errors on held-out noise, averaged geometrically over cells: of our
schedule over another, or of another over the best fixed schedule *in hindsight*, the one of the
host's and the published ones with the least error in that very cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import scipy.stats

from .cell import ORACLE, OURS, PUBLISHED
from .compare import (
    ALONE,
    KINDS,
    PEERS,
    Cell,
    against_best,
    by_budget,
    complete,
    geometric_mean,
    grouped,
    kind_of,
    method_mean,
    over_all,
    over_best,
    over_best_by_budget,
    ratio,
)
from .plots import draw, draw_budgets, draw_methods, draw_ratios
from .record import table

__all__ = ["write_report"]

SIGNIFICANT = 3.0  # standard errors
DEFAULT_BUDGET = 4000


def write_report(cells: Sequence[Cell], output: Path) -> str:
    """Write bench.json, bench.md and the plots; returns the Markdown."""
    usual = [c for c in cells if c["budget"] == DEFAULT_BUDGET and c["beside"] != "fixed"]
    parts = ["# Benchmark", _made_with(cells)]
    for kind in KINDS:
        some = [cell for cell in usual if kind_of(cell) == kind]
        if some:
            parts += [f"## {kind}", _ours_table(some), _methods_table(some)]
    if usual:
        parts += ["## Distributions", _distribution_table(usual), "## Calls", _calls_table(usual)]
    budgets = by_budget(cells)
    whole = complete(budgets)
    if budgets:
        parts += ["## Budgets", *([_budget_means(whole)] if whole else []), _budget_table(budgets)]
    if usual:
        parts += ["## Cells", _cells_table(usual)]
        draw(output / "bench.png", [draw_ratios, draw_methods], usual)
    if whole:
        draw(output / "budgets.png", [draw_budgets], whole)
    text = "\n\n".join(parts) + "\n"
    (output / "bench.md").write_text(text)
    summary = {"machine": cells[-1]["machine"], "by_solver": _summary(usual)}
    (output / "bench.json").write_text(json.dumps(summary, indent=1) + "\n")
    return text


# -- tables ---------------------------------------------------------------------------------


def _made_with(cells: Sequence[Cell]) -> str:
    machine = cells[-1]["machine"]
    changed = " with uncommitted changes" if machine["changed"] else ""
    codes = ", ".join(sorted({cell["code"] for cell in cells}))
    inexact = max(cell["reference_error"] / cell["methods"][OURS]["error"] for cell in cells)
    return (
        f"{len(cells)} cells, commit {machine['commit'][:12]}{changed} (code {codes}), "
        f"{machine['cores']} cores, {machine['threads']} thread, torch {machine['torch']}, "
        f"{cells[-1]['when']}. Problems drawn by seed {cells[-1]['seed']}. Ratios of mean paired "
        "errors on held-out noise, geometric means over cells; below 1 ours is better. Best fixed: "
        "the best of the host's and the published schedules in hindsight, cell by cell. The "
        f"references' own error is at most {100 * inexact:.1f} % of ours."
    )


def _ours_table(cells: Sequence[Cell]) -> str:
    head = [
        "solver", "over best fixed, plain", "guided", "over the best of all", "worst cell",
        "worse than 1.01 by 3 s.e.", *(f"over {name}" for name in ALONE),
        *(f"over {name}" for name in (*PEERS, ORACLE)),
    ]  # fmt: skip
    rows = []
    for solver, some in grouped(cells, "solver"):
        worst = max(some, key=over_best)
        compared = against_best(worst)
        above = [c for c in some if against_best(c)["z_tolerated"] > SIGNIFICANT]
        rows.append([
            solver,
            _number(geometric_mean(over_best(c) for c in some if not c["guided"])),
            _number(geometric_mean(over_best(c) for c in some if c["guided"])),
            _number(geometric_mean(over_all(c) for c in some)),
            f"{compared['ratio']:.3f} (z {compared['z']:+.1f}) {worst['problem']}, "
            f"{worst['steps']} steps",
            f"{len(above)} of {len(some)}",
            *(_number(_mean_over(some, name)) for name in (*ALONE, *PEERS, ORACLE)),
        ])  # fmt: skip
    return table(head, rows)


def _methods_table(cells: Sequence[Cell]) -> str:
    """Every method's error over the best fixed one's."""
    groups = grouped(cells, "solver")
    rows = []
    for name in (OURS, ORACLE, *PEERS, *_fixed_names(cells)):
        means = [method_mean(some, name) for _, some in groups]
        if not all(np.isnan(mean) for mean in means):
            rows.append([name, *map(_number, means)])
    head = ["error over that of the best fixed", *(solver for solver, _ in groups)]
    return table(head, rows)


def _distribution_table(cells: Sequence[Cell]) -> str:
    """Energy distance, sliced W2, KL and W2, against the best fixed schedule by paired error.

    Last, how well the paired error (for a stochastic solver its twin's) ranks all schedules by the
    energy distance of the solver's own samples.
    """
    head = [
        "solver", "energy distance: better, same, worse (3 s.e.)", "sliced W2 above its floor: "
        "ours", "best fixed", PUBLISHED, "sliced W2 worse by more than the floor",
        "Gaussian KL over best fixed", "Gaussian W2", "Spearman of error and energy distance",
    ]  # fmt: skip
    rows = []
    for solver, some in grouped(cells, "solver"):
        z = np.array([against_best(c)["energy_z"] for c in some])
        better, worse = int((z < -SIGNIFICANT).sum()), int((z > SIGNIFICANT).sum())
        exceeds = [c for c in some if _sliced(c, OURS) - _sliced(c, c["best_fixed"]) > _floor(c)]
        exact = [c for c in some if "kl" in c["methods"][OURS]]
        rows.append([
            solver,
            f"{better}, {len(z) - better - worse}, {worse}",
            *(
                _number(float(np.mean([_sliced(c, of(c)) - _floor(c) for c in some])))
                for of in (lambda c: OURS, lambda c: c["best_fixed"], lambda c: PUBLISHED)
            ),
            f"{len(exceeds)} of {len(some)}",
            *(_number(_exact_mean(exact, what)) for what in ("kl", "w2")),
            _number(float(np.mean([_rank_correlation(c) for c in some]))),
        ])  # fmt: skip
    return table(head, rows)


def _calls_table(cells: Sequence[Cell]) -> str:
    """Denoiser rows spent on optimising."""
    rows = []
    for name in (OURS, *PEERS):
        calls = [cell["methods"][name]["calls"] for cell in cells]
        rows.append([name, f"{np.mean(calls):.0f}", str(min(calls)), str(max(calls))])
    return table(["calls spent on optimising", "mean", "least", "most"], rows)


def _budget_means(some: Sequence[dict[int, Cell]]) -> str:
    """Mean errors at each budget: over the best fixed schedule's, and over the largest budget's."""
    means = over_best_by_budget(some)
    budgets = sorted(some[0])
    rows = []
    for budget in budgets:
        errors = [[cells[b]["methods"][OURS]["error"] for b in (budget, budgets[-1])]
                  for cells in some]  # fmt: skip
        above = [c[budget] for c in some if against_best(c[budget])["z_tolerated"] > SIGNIFICANT]
        rows.append([
            str(budget),
            *(_number(mean[budget]) for mean in means.values()),
            _number(max(over_best(cells[budget]) for cells in some)),
            f"{len(above)} of {len(some)}",
            _number(geometric_mean(error / least for error, least in errors)),
        ])  # fmt: skip
    head = [
        "budget", *(f"over best fixed, {name}" for name in means), "worst cell",
        "worse than 1.01 by 3 s.e.", f"over a budget of {budgets[-1]}",
    ]  # fmt: skip
    return table(head, rows)


def _budget_table(budgets: dict[str, dict[int, Cell]]) -> str:
    every = sorted({budget for cells in budgets.values() for budget in cells})
    rows = [
        [name, *(_number(over_best(cells[b])) if b in cells else "" for b in every)]
        for name, cells in budgets.items()
    ]
    return table(["over best fixed, at a budget of", *map(str, every)], rows)


def _cells_table(cells: Sequence[Cell]) -> str:
    head = [
        "problem", "solver", "steps", "error", "± s.e.", "best fixed", "over it", "z",
        "over GITS", "over OSS", "over KLUB", "calls", "how",
    ]  # fmt: skip
    rows = []
    for cell in cells:
        ours, compared = cell["methods"][OURS], against_best(cell)
        rows.append([
            cell["problem"], cell["solver"], str(cell["steps"]), f"{ours['error']:.4f}",
            f"{ours['standard_error']:.4f}", cell["best_fixed"], _number(compared["ratio"]),
            f"{compared['z']:+.1f}", *(_number(ratio(cell, name)) for name in PEERS if name in
            ("GITS", "OSS", "KLUB")), str(ours["calls"]), cell["how"]["method"],
        ])  # fmt: skip
    return table(head, rows)


def _summary(cells: Sequence[Cell]) -> dict[str, dict[str, float | None]]:
    """The table of ours as numbers, for the first of the KINDS."""

    def mean(values: Iterable[float]) -> float | None:
        found = list(values)
        return geometric_mean(found) if found else None

    some = [cell for cell in cells if kind_of(cell) == KINDS[0]]
    return {
        solver: {
            "plain": mean(over_best(c) for c in group if not c["guided"]),
            "guided": mean(over_best(c) for c in group if c["guided"]),
            "worst": max(over_best(c) for c in group),
            **{name: mean(ratio(c, name) for c in group if name in c["against"])
               for name in (*ALONE, *PEERS, ORACLE)},
        }
        for solver, group in grouped(some, "solver")
    }  # fmt: skip


def _fixed_names(cells: Sequence[Cell]) -> list[str]:
    names = dict.fromkeys(name for cell in cells for name in cell["methods"])
    return [name for name in names if name not in (OURS, ORACLE, *PEERS)]


def _mean_over(cells: Sequence[Cell], name: str) -> float:
    return geometric_mean(ratio(cell, name) for cell in cells if name in cell["against"])


def _exact_mean(cells: Sequence[Cell], what: str) -> float:
    return geometric_mean(
        cell["methods"][OURS][what] / cell["methods"][cell["best_fixed"]][what] for cell in cells
    )


def _rank_correlation(cell: Cell) -> float:
    """Spearman's correlation of paired error and energy distance over all methods of a cell."""
    methods = cell["methods"].values()
    measured = [[method[what] for method in methods] for what in ("error", "energy")]
    return float(scipy.stats.spearmanr(*measured).statistic)


def _sliced(cell: Cell, name: str) -> float:
    return float(cell["methods"][name]["sliced_w2"])


def _floor(cell: Cell) -> float:
    return float(cell["floor"]["sliced_w2"])


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
