"""`make evidence`: the grid of cells on the trained networks, then everything made from it.

    python -m align_your_steps.benchmarks.evidence.grid --networks digits --part 1/2

Every cell (network, guidance, seed, solver, steps) becomes one line of results/evidence/grid.jsonl.
A cell that is there already is not measured again, so a run that was stopped goes on where it was,
and parts may run side by side. Seeds come one after another: after each there is a whole grid.

Where only our own method has changed, `--others FILE` takes what all others gave from the cells of
that file, and measures ours alone: their schedules, noise and fine-step pictures follow from the
seed. That the pictures of many steps come out the same is checked.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import Any

import torch

from ..record import RESULTS, machine, read_lines
from .arena import FLOOR, OURS, Arena
from .networks import NETWORKS

__all__ = ["OUTPUT", "SEEDS", "append", "key_of", "main", "measure", "options_of", "part_of"]

OUTPUT = RESULTS / "evidence"
SEEDS = 5
SAME = 1e-3
FIELDS = ("network", "scale", "seed", "solver", "steps")

Key = tuple[str, float, int, str, int]


def append(path: Path, cell: Mapping[str, Any]) -> None:
    """Add a cell in one write: several processes may. A line that was cut off stays alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a") as file:
        file.write("\n" * (not whole) + json.dumps(_rounded(cell)) + "\n")


def key_of(cell: Mapping[str, Any]) -> Key:
    """Return what makes a cell the same cell."""
    network, scale, seed, solver, steps = (cell[field] for field in FIELDS)
    return network, scale, seed, solver, steps


def measure(
    arena: Arena,
    solver: str,
    steps: int,
    others: Mapping[str, Any] | None = None,
    *,
    peers: bool = True,
) -> dict[str, Any]:
    """One cell: plain numbers, ready for JSON. others: the cell that ours alone is new of."""
    began = time.perf_counter()
    if others is None:
        found = arena.schedules(solver, steps, peers=peers)
    else:
        found = arena.ours(solver, steps)
    made = time.perf_counter() - began
    methods = arena.measure(solver, {name: one.sigmas for name, one in found.items()})
    if others is not None:
        _check_same(methods[FLOOR], others["methods"][FLOOR])
        methods = {**others["methods"], **methods}
    for name, one in found.items():
        methods[name] |= {"calls": one.calls, "sigmas": one.sigmas.tolist()}
    ours = arena.result(solver, steps)
    return {
        **dict(zip(FIELDS, (arena.name, arena.scale, arena.seed, solver, steps), strict=True)),
        "methods": methods,
        "how": {"method": ours.method, "noises": ours.noises, "criterion": ours.criterion},
        "reference_error": arena.reference_error,
        "seconds": {"schedules": made, "cell": time.perf_counter() - began},
    }


def _check_same(now: Mapping[str, float], then: Mapping[str, float]) -> None:
    """Raise ValueError if many steps do not come out as they did."""
    for what, value in now.items():
        if abs(value - then[what]) > SAME * max(1.0, abs(value)):
            raise ValueError(
                f"Many steps gave {what} {then[what]:.6g} and give {value:.6g} now: other things "
                "than our method have changed, so measure the cells anew, without --others."
            )


def _rounded(value: Any) -> Any:
    """Numbers to six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


def arenas(
    networks: Iterable[str], seeds: Iterable[int], scales: Sequence[float] | None = None
) -> list[tuple[str, float, int]]:
    """(network, scale, seed), seed after seed."""
    return [
        (name, scale, seed)
        for seed, name in product(seeds, networks)
        for scale in NETWORKS[name].scales
        if scales is None or scale in scales
    ]


def run(
    chosen: Sequence[tuple[str, float, int]],
    path: Path,
    solvers: Sequence[str] | None = None,
    counts: Sequence[int] | None = None,
    others: Mapping[Key, Mapping[str, Any]] | None = None,
    *,
    noises: int | None = None,
    truths: int | None = None,
    peers: bool = True,
) -> None:
    """Measure the cells that are missing. others: cells of which ours alone is measured.

    noises, truths: as for Arena; peers: whether theirs are measured beside the fixed schedules
    """
    here, began = machine(), time.perf_counter()
    for number, (name, scale, seed) in enumerate(chosen, 1):
        network = NETWORKS[name]
        done = {key_of(cell) for cell in read_lines(path)}
        arena = Arena(name, scale, seed, noises=noises, truths=truths)
        for steps in counts or network.steps:
            for solver in solvers or network.solvers:
                key = name, scale, seed, solver, steps
                if key in done:
                    continue
                cell = measure(arena, solver, steps, (others or {}).get(key), peers=peers)
                when = datetime.now(timezone.utc).isoformat(timespec="seconds")
                append(path, {**cell, "machine": here, "when": when})
                _tell(cell)
            arena.forget()
        minutes = (time.perf_counter() - began) / 60.0
        print(f"[{number}/{len(chosen)}] {minutes:.0f} min so far", flush=True)


def _tell(cell: Mapping[str, Any]) -> None:
    methods = cell["methods"]
    fixed = {name: one for name, one in methods.items() if not one.get("calls") and "sigmas" in one}
    told = []
    for what in ("paired", "energy", "frechet"):
        best = min(fixed, key=lambda name: fixed[name][what])
        told.append(f"{what} {methods[OURS][what]:.4f} ({best} {fixed[best][what]:.4f})")
    print(f"{key_of(cell)}: {', '.join(told)}; {cell['seconds']['cell']:.0f} s", flush=True)


def options_of(about: str, seeds: Iterable[int]) -> argparse.ArgumentParser:
    """The options of what measures cells: networks, seeds, a part of the arenas, a folder."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--part", default="1/1", help="k/n: every n-th arena, beginning with k")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser


def part_of(some: Sequence[tuple[str, float, int]], part: str) -> Sequence[tuple[str, float, int]]:
    """Of k/n every n-th, beginning with the k-th."""
    k, n = map(int, part.split("/"))
    return some[k - 1 :: n]


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing."""
    parser = options_of(__doc__, range(SEEDS))
    parser.add_argument("--scales", type=float, nargs="+")
    parser.add_argument("--solvers", nargs="+")
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--others", type=Path, help="cells of which ours alone is measured anew")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    chosen = part_of(arenas(options.networks, options.seeds, options.scales), options.part)
    others = {key_of(cell): cell for cell in read_lines(options.others)} if options.others else None
    run(chosen, options.output / "grid.jsonl", options.solvers, options.steps, others)


if __name__ == "__main__":
    main()
