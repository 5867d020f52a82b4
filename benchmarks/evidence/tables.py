"""The tables of the report: every cell against the best fixed schedule, and against the peers.

A cell is a network, guidance scale, solver and number of steps; its values are those of the seeds.
Ratios and differences are taken seed by seed, with Student's interval. As the sizes of errors
differ from class to class, the ratio says who wins, or where values may be negative, as unbiased
energy distances and MMDs may, the difference. The best fixed
schedule is that of the least mean of the very measure over the seeds of the cell, in hindsight: no
user could have known it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np

from ..compare import geometric_mean
from ..record import table
from .arena import FIXED, FLOOR, MEASURES, OURS, PEERS
from .intervals import Interval, mean_interval, ratio_interval, verdict

__all__ = ["NAMES", "Against", "Group", "against", "against_best", "grid_table", "groups",
           "over_scales", "ratios_table", "scales_table", "summary"]  # fmt: skip

NAMES = {"paired": "paired error", "energy": "energy distance", "frechet": "Fréchet distance"}
VERDICTS = ("wins", "ties", "loses")
BESIDE_BEST = (
    "ours", "many steps", "best fixed", "its", "difference", "interval", "ratio", "ours",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """The seeds of one cell: methods[name][measure] is a list, a value for each of `drawn`."""

    network: str
    scale: float
    solver: str
    steps: int
    drawn: tuple[int, ...]
    methods: dict[str, dict[str, list[float]]]

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.drawn)

    def best_fixed(self, measure: str) -> str:
        """The fixed schedule of least mean."""
        return min(FIXED, key=lambda name: np.mean(self.methods[name][measure]))


@dataclass(frozen=True)
class Against:
    """Ours beside another's by one measure.

    ratio: geometric mean of the seeds' ratios; None where a value is not positive
    """

    other: str
    ours: float
    theirs: float
    difference: Interval
    ratio: Interval | None

    @property
    def verdict(self) -> str:
        """wins, ties or loses, by the interval of the ratio or, without one, of the difference."""
        return verdict(self.difference if self.ratio is None else self.ratio.minus(1.0))


def groups(cells: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Cells of at least two seeds, in the order of network, scale, solver and steps."""

    def key(cell: Mapping[str, Any]) -> tuple[str, float, str, int]:
        return cell["network"], cell["scale"], cell["solver"], cell["steps"]

    found = []
    for (network, scale, solver, steps), some in groupby(sorted(cells, key=key), key=key):
        several = sorted(some, key=lambda cell: cell["seed"])
        if len(several) < 2:
            continue
        names = several[0]["methods"]
        methods = {
            name: {
                what: [cell["methods"][name][what] for cell in several]
                for what in MEASURES
                if all(what in cell["methods"][name] for cell in several)
            }
            for name in names
        }
        drawn = tuple(cell["seed"] for cell in several)
        found.append(Group(network, scale, solver, steps, drawn, methods))
    return found


def over_scales(some: Iterable[Group]) -> list[Group]:
    """The means over the guidance scales: what one schedule for all of them gives."""
    found = []
    key = attrgetter("network", "solver", "steps")
    for (network, solver, steps), same in groupby(sorted(some, key=key), key=key):
        cells = list(same)
        drawn = tuple(sorted(set.intersection(*(set(cell.drawn) for cell in cells))))
        shared = [[cell.drawn.index(seed) for seed in drawn] for cell in cells]
        methods = {
            name: {
                what: np.mean([
                    np.array(cell.methods[name][what])[rows]
                    for cell, rows in zip(cells, shared, strict=True)
                ], axis=0).tolist()
                for what in measured
                if all(what in cell.methods[name] for cell in cells)
            }
            for name, measured in cells[0].methods.items()
        }  # fmt: skip
        found.append(Group(network, float("nan"), solver, steps, drawn, methods))
    return found


def scales_table(some: Iterable[Group], measures: Sequence[str]) -> str:
    """Means over the guidance scales beside the one fixed schedule that is best for all."""
    rows = []
    for group in over_scales(some):
        for measure in measures:
            what = NAMES.get(measure, measure)
            rows.append([group.solver, str(group.steps), what, *_beside_best(group, measure)])
    return table(["solver", "steps", "mean of", *BESIDE_BEST], rows)


def _beside_best(group: Group, measure: str) -> list[str]:
    """Ours and the best fixed schedule, a text for each of BESIDE_BEST."""
    one = against_best(group, measure)
    return [
        f"{one.ours:.4g}",
        f"{np.mean(group.methods[FLOOR][measure]):.4g}",
        one.other,
        f"{one.theirs:.4g}",
        f"{one.difference.value:+.3g}",
        f"{one.difference.low:+.3g} ... {one.difference.high:+.3g}",
        "–" if one.ratio is None else str(one.ratio),
        one.verdict,
    ]


def against(group: Group, measure: str, other: str) -> Against:
    """Ours beside one other method."""
    ours, theirs = (np.array(group.methods[name][measure]) for name in (OURS, other))
    positive = bool((ours > 0).all() and (theirs > 0).all())
    return Against(
        other,
        float(ours.mean()),
        float(theirs.mean()),
        mean_interval(ours - theirs),
        ratio_interval(ours / theirs) if positive else None,
    )


def against_best(group: Group, measure: str) -> Against:
    """Ours beside the best fixed schedule by this measure, in hindsight."""
    return against(group, measure, group.best_fixed(measure))


def summary(some: Sequence[Group], measures: Sequence[str], others: Sequence[str]) -> str:
    """Numbers of cells won, tied and lost against the best fixed schedule and against others."""
    rows = []
    for other in ("best fixed", *others):
        row = [other]
        for measure in measures:
            having = [group for group in some if measure in group.methods[OURS]]
            found = [
                against_best(group, measure)
                if other == "best fixed"
                else against(group, measure, other)
                for group in having
            ]
            counts = [sum(one.verdict == word for one in found) for word in VERDICTS]
            row.append(", ".join(map(str, counts)))
        rows.append(row)
    return table(["ours against: wins, ties, loses", *(NAMES.get(m, m) for m in measures)], rows)


def ratios_table(some: Sequence[Group], others: Sequence[str]) -> str:
    """Geometric means over the cells of a solver of ours over another's, paired and Fréchet."""
    rows = []
    for measure in ("paired", "frechet"):
        for solver in dict.fromkeys(group.solver for group in some):
            cells = [group for group in some if group.solver == solver]
            means = [
                geometric_mean(
                    float(np.mean(g.methods[OURS][measure]))
                    / float(
                        np.mean(
                            g.methods[g.best_fixed(measure) if other == "best fixed" else other][
                                measure
                            ]
                        )
                    )
                    for g in cells
                )
                for other in ("best fixed", *others)
            ]
            rows.append([NAMES[measure], solver, *(f"{mean:.2f}" for mean in means)])
    return table(["ours over", "solver", "best fixed", *others], rows)


def grid_table(some: Sequence[Group], measure: str, others: Sequence[str] = PEERS) -> str:
    """Every cell by one measure."""
    rows = []
    for group in some:
        row = [group.solver, f"{group.scale:g}", str(group.steps), *_beside_best(group, measure)]
        row += [
            f"{np.mean(group.methods[name][measure]):.4g} ({against(group, measure, name).verdict})"
            for name in others
        ]
        rows.append(row)
    return table(["solver", "cfg", "steps", *BESIDE_BEST, *others], rows)
