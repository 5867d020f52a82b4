"""Tables and pictures of results/evidence/, from its lines: report.md, grid.png, sweeps.png, ...

python -m align_your_steps.benchmarks.evidence.report
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..compare import geometric_mean
from ..edm import CLASSES
from ..emoji.train import CURVE as EMOJI_CURVE
from ..patches.train import CURVE as PATCHES_CURVE
from ..record import read_lines, table
from .arena import FIXED, MEASURES, OURS, PEERS
from .closer import NOISES, SEEDS, SOLVER, STEPS, TRUTHS
from .grid import OUTPUT
from .intervals import ratio_interval
from .needs import over_best_fixed
from .networks import NETWORKS
from .pictures import draw_grid, draw_levels, draw_losses, draw_needs, draw_sweeps
from .sweeps import SOLVERS as SWEPT
from .sweeps import value_at
from .tables import (
    NAMES,
    Group,
    grid_table,
    groups,
    ratios_table,
    scales_table,
    summary,
)

__all__ = ["main"]

PUBLISHED = tuple(name for name in FIXED if name.startswith("AYS"))
LARGE = ("paired", "energy", "mmd", "frechet", "feature energy", "feature mmd")


def main(output: Path = OUTPUT) -> None:
    """Write everything there are lines for."""
    cells = read_lines(output / "grid.jsonl")
    found = groups(cells)
    parts = ["# Evidence on trained networks", _introduction(cells)]
    for network in NETWORKS:
        some = [group for group in found if group.network == network]
        if not some:
            continue
        parts += [
            f"## {network}: {_seeds(some)}",
            "### Cells won, tied and lost",
            summary(some, MEASURES, (*PEERS, *PUBLISHED)),
            "### Ratios",
            ratios_table(some, (*PEERS, *PUBLISHED, "karras", "normal", "simple", "beta")),
            "### One fixed schedule for all guidance scales",
            SCALES,
            scales_table(some, ("frechet", "energy", "paired")),
        ]
        for measure, title in (
            ("frechet", "Fréchet distance of features"),
            ("energy", "Energy distance in pixels"),
            ("paired", "Paired error"),
        ):
            parts += [f"### {title}, every cell", grid_table(some, measure)]
        draw_grid(output / f"grid_{network}.png", some)
        parts.append(f"![Ratios over the best fixed schedule, every cell](grid_{network}.png)")
    closer = groups(read_lines(output / "closer.jsonl"))
    if closer:
        parts += ["## A closer look at the cells that decide", CLOSER]
    for network in NETWORKS:
        some = [group for group in closer if group.network == network]
        if some:
            parts += [f"### {network}, on more noise: {_seeds(some)}", *_closer(some)]
    if found:
        draw_levels(output / "levels.png", cells)
        parts += ["## The published tables and ours, level by level", "![Levels](levels.png)"]
        parts.append(_published_table(found))
    sweeps = read_lines(output / "sweeps.jsonl")
    if sweeps:
        draw_sweeps(output / "sweeps.png", sweeps)
        parts += ["## What the KLUB does", SWEEPS, "![The sweeps](sweeps.png)", _sweeps(sweeps)]
    needs = read_lines(output / "needs.jsonl")
    if needs:
        draw_needs(output / "needs.png", needs)
        parts += ["## Calls and reference noises", NEEDS, _needs(needs), "![Needs](needs.png)"]
    transfer = read_lines(output / "transfer.jsonl")
    if transfer:
        parts += ["## From one setting to another", TRANSFER, *_transfer(transfer)]
    parts += ["## Training", TRAINING]
    for name, curve in (("patches", PATCHES_CURVE), ("emoji", EMOJI_CURVE)):
        picture = f"training_{name}.png"
        draw_losses(output / picture, name, json.loads(curve.read_text()))
        parts.append(f"![The loss curve of {name}]({picture})")
    text = "\n\n".join(parts) + "\n"
    (output / "report.md").write_text(text)
    print(text)


SWEEPS = (
    "Algorithm 1 at 10 steps on digits, cfg 1 and 3, from the time-uniform schedule and EDM's: "
    "after every sweep the KLUB, and what Stochastic-DDIM (whose bound it is) and DPM-Solver++(2M) "
    "make of the schedule. Thin: every seed; thick: their mean. "
    "Circles: where the procedure stops by our measured error, in every seed."
)
SCALES = (
    "Means over the guidance scales, seed by seed. Best fixed: the one of least mean, for all "
    "scales together, in hindsight: what a user who keeps one schedule could have had."
)
CLOSER = (
    f"{SOLVER} at {' and '.join(map(str, STEPS))} steps beside every fixed schedule, with other "
    "seeds than the grid's, whose noise nothing here was chosen on. "
    + " ".join(
        f"On {name}: {len(SEEDS[name]) // CLASSES} for every class, {NOISES[name]:,} held-out "
        f"noises, {TRUTHS[name]:,} fine-step pictures."
        for name in NETWORKS
    )
    + f" Cells and means over the guidance scales are those of {SOLVER}; then every cell, with "
    "unguided ddim_stochastic, which had lost one in an earlier version."
)
NEEDS = (
    "Digits, cfg 3. Error over the best fixed schedule's in hindsight, geometric mean over the "
    "cells of Euler and DPM-Solver++(2M) at 5 and 10 steps and over the seeds; the interval is "
    "over the seeds' means."
)
TRANSFER = (
    "DPM-Solver++(2M), 8 steps. Rows: the setting that a schedule was optimised for; columns: the "
    "one it is used in. Paired error over that of the schedule optimised for the column (geometric "
    "mean over the seeds, interval); last row: the best fixed schedule of the column in hindsight."
)
TRAINING = (
    "The running training loss (EDM's weighting), and the loss of the averaged weights at level "
    "0.5 on images that training has not seen."
)


def _closer(some: Sequence[Group]) -> list[str]:
    """Cells won, tied and lost, one fixed schedule for all guidance scales, and every cell."""
    measures = ("frechet", "energy", "paired")
    main = [group for group in some if group.solver == SOLVER]
    parts = [summary(main, MEASURES, PUBLISHED), scales_table(main, measures)]
    return parts + [f"{NAMES[measure]}:\n\n{grid_table(some, measure, ())}" for measure in measures]


def _introduction(cells: Sequence[Mapping[str, Any]]) -> str:
    if not cells:
        return "No cell has been measured."
    machine = cells[-1]["machine"]
    inexact = max(cell["reference_error"] / cell["methods"][OURS]["paired"] for cell in cells)
    return (
        f"{len(cells)} cells, {machine['cores']} cores, {machine['threads']} thread, torch "
        f"{machine['torch']}, {cells[0]['when'][:10]} to {cells[-1]['when'][:10]}. Made by\n\n"
        "    make evidence\n\n"
        "A seed is a class, all noise, and the whole of every procedure: optimisations of 4,000 "
        "calls, GITS, OSS and the paper's procedure included. "
        f"{_sizes()} Intervals are Student's, 95 %, over "
        "the seeds. Best fixed: of ComfyUI's nine curves and the four published tables the one of "
        "least mean of that very measure in that very cell, in hindsight. A cell is won or lost "
        "where the interval of the ratio of ours to the other's excludes one, or where values may "
        "be negative that of their difference zero; of so many cells one in forty is lost, and "
        "one in forty won, by chance alone. *Many steps*: what samples of the fine-step process "
        "itself score, which no few-step schedule can be asked to "
        f"beat. The references' own error is at most {100 * inexact:.1f} % of ours."
    )


def _sizes() -> str:
    return " ".join(
        f"On {name} schedules are compared on {network.noises} held-out noises and with "
        f"{network.truths} fine-step pictures, and OSS searches on {network.oss_noises} noises."
        for name, network in NETWORKS.items()
    )


def _seeds(some: Sequence[Group]) -> str:
    least, most = min(group.seeds for group in some), max(group.seeds for group in some)
    return f"{least} seeds" if least == most else f"{least} to {most} seeds"


def _published_table(found: Sequence[Group]) -> str:
    """Ours over each published table, by network and solver: paired error and Fréchet distance."""
    rows = []
    for network in NETWORKS:
        for solver in dict.fromkeys(g.solver for g in found if g.network == network):
            some = [g for g in found if (g.network, g.solver) == (network, solver)]
            for measure in ("paired", "frechet"):
                row = [f"{network}, {solver}", measure]
                shared = set.intersection(*(set(group.drawn) for group in some))
                for name in PUBLISHED:
                    logs = [_log_ratios(group, measure, name, shared) for group in some]
                    row.append(str(ratio_interval(np.exp(np.mean(logs, axis=0)))))
                rows.append(row)
    return table(["ours over", "measure", *PUBLISHED], rows)


def _log_ratios(group: Group, measure: str, name: str, seeds: Container[int]) -> np.ndarray:
    """log of ours over another's, a value for each of these seeds."""
    having = [seed in seeds for seed in group.drawn]
    ours, theirs = (np.array(group.methods[method][measure])[having] for method in (OURS, name))
    return np.log(ours / theirs)


def _sweeps(lines: Sequence[Mapping[str, Any]]) -> str:
    """KLUB, paired error, energy and Fréchet distance at some sweeps, the stop, and the best."""
    rows = []
    for scale in sorted({line["scale"] for line in lines}):
        for start in dict.fromkeys(line["start"] for line in lines):
            some = [line for line in lines if (line["scale"], line["start"]) == (scale, start)]
            for solver in SWEPT:
                for what in ("klub", "paired", "energy", "frechet"):
                    row = [f"cfg {scale:g}, from {start}", solver, what]
                    for k in (0, 1, 2, 3, 5, 8, -1):
                        values = [_at(line, solver, what, k) for line in some]
                        row.append(f"{np.mean(values):.4g}")
                    stops = [line["stopped"][solver] for line in some]
                    row.append(", ".join(map(str, stops)) if start == "time-uniform" else "")
                    rows.append(row)
    head = ["start", "solver", "mean of", *(f"sweep {k}" for k in (0, 1, 2, 3, 5, 8)), "last",
            "stopped at"]  # fmt: skip
    return table(head, rows)


def _at(line: Mapping[str, Any], solver: str, what: str, sweep: int) -> float:
    """A value at a sweep; at the last one where there are fewer."""
    last = line["sweeps"][-1]
    return value_at(line, solver, what, sweep if 0 <= sweep <= last else last)


def _needs(lines: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for budget, share in sorted({(line["budget"], line["share"]) for line in lines}):
        some = [line for line in lines if (line["budget"], line["share"]) == (budget, share)]
        ratios = over_best_fixed(some)
        cells = [cell for line in some for cell in line["cells"]]
        means = np.exp(np.log(ratios).mean(1))
        rows.append([
            str(budget),
            f"{100 * share:.0f} %",
            f"{np.mean([c['reference_noises'] for c in cells]):.0f}",
            f"{np.mean([c['compared_noises'] for c in cells]):.0f}",
            str(ratio_interval(means)),
            _over_usual(some, lines),
            *(f"{_mean_ratio(cells, s, n):.2f}" for s in ("euler", "dpmpp_2m") for n in (5, 10)),
            f"{np.max(ratios):.2f}",
        ])  # fmt: skip
    head = [
        "calls", "for references", "noises refined on", "compared on", "over best fixed",
        "over the usual 4,000",
        "euler 5", "euler 10", "dpmpp_2m 5", "dpmpp_2m 10", "worst",
    ]  # fmt: skip
    return table(head, rows)


def _over_usual(some: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]) -> str:
    """Errors over those with the budget and the share that are the defaults, seed by seed."""
    ratios = []
    for line in some:
        usual = next(
            one
            for one in lines
            if (one["seed"], one["budget"], one["share"]) == (line["seed"], 4000, 0.26)
        )
        pairs = zip(line["cells"], usual["cells"], strict=True)
        ratios.append(geometric_mean(a["error"] / b["error"] for a, b in pairs))
    return _ratio(ratios)


def _mean_ratio(cells: Sequence[Mapping[str, Any]], solver: str, steps: int) -> float:
    return geometric_mean(
        cell["error"] / cell["best_fixed"]
        for cell in cells
        if (cell["solver"], cell["steps"]) == (solver, steps)
    )


def _transfer(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = []
    for kind in dict.fromkeys(line["kind"] for line in lines):
        some = [line for line in lines if line["kind"] == kind]
        names = list(some[0]["errors"])
        rows = []
        for name in names:
            ratios = {
                other: [line["errors"][name][other] / line["errors"][other][other] for line in some]
                for other in names
            }
            rows.append([name, *(_ratio(ratios[other]) for other in names)])
        best = {
            other: [
                min(errors[other] for errors in line["fixed"].values())
                / line["errors"][other][other]
                for line in some
            ]
            for other in names
        }
        rows.append(["best fixed", *(_ratio(best[other]) for other in names)])
        parts += [f"### {kind}", table([f"made for, {len(some)} seeds", *names], rows)]
    return parts


def _ratio(ratios: Sequence[float]) -> str:
    if np.ptp(ratios) == 0.0:
        return f"{ratios[0]:.2f}"
    return str(ratio_interval(ratios))


if __name__ == "__main__":
    main()
