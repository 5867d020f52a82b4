"""`make bench`, `make bench-full`: optimised schedules beside the host's, published and peers'.

Every cell (problem, solver, steps, budget) becomes one line of results/cells.jsonl. A cell that is
there already, measured with the same code, is not measured again, so a run that was stopped goes
on where it was. Ends with the report: bench.json, bench.md and plots, beside the cells.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .cell import BESIDE, Arena, measure
from .problems import PROBLEMS, QUICK
from .record import RESULTS, ROOT, machine, read_lines
from .report import write_report

__all__ = ["Key", "main", "run"]

SOLVERS = ("euler", "heun", "dpmpp_2m", "dpmpp_2m_sde", "ddim_stochastic")
STEPS, QUICK_STEPS = (5, 6, 8, 10, 15, 20), (5, 10)
BUDGET, BUDGETS = 4000, (500, 1000, 2000, 4000, 8000, 16000)
BUDGET_PROBLEMS = ("digits-mixture", "digits-mixture-cfg3", "power-mixture", "power-mixture-cfg7")
BUDGET_SOLVERS, BUDGET_STEPS = ("dpmpp_2m", "euler"), QUICK_STEPS
SEED = 2026  # of problems that nothing was tuned on


class Key(NamedTuple):
    """What makes a cell the same cell; beside: what ours is compared with, one of BESIDE."""

    problem: str
    solver: str
    steps: int
    budget: int
    seed: int
    beside: str
    code: str


def code_version() -> str:
    """12 hex digits that change with everything a cell depends on."""
    modules = ("cell", "edm", "metrics", "mixture", "oracle", "peers", "problems")
    files = [*ROOT.glob("optimizer/**/*.py"), *ROOT.glob("schedules/**/*.*")]
    files += [ROOT / "benchmarks" / f"{name}.py" for name in modules]
    files += ROOT.glob("benchmarks/digits/*.*")
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The measured cells; a line of another form is left out."""
    return [cell for cell in read_lines(path) if cell.keys() >= set(Key._fields)]


def key_of(cell: dict[str, Any]) -> Key:
    """The key of a measured cell."""
    return Key(*(cell[field] for field in Key._fields))


def run(keys: list[Key], output: Path, noises: int | None = None) -> list[dict[str, Any]]:
    """Measure the cells that are missing, in order, and return all of these cells.

    noises: held-out noises instead of each problem's own number, for a quick look; not a part of
        the key, so use an output folder of its own.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / "cells.jsonl"
    done = {key_of(cell): cell for cell in read_cells(path)}

    def known(key: Key) -> dict[str, Any] | None:
        """The cell; one that was compared with more serves too."""
        enough = BESIDE[BESIDE.index(key.beside) :]
        found = (done.get(key._replace(beside=beside)) for beside in enough)
        return next((cell for cell in found if cell is not None), None)

    missing = [key for key in keys if known(key) is None]
    print(f"{len(keys)} cells, {len(keys) - len(missing)} of them measured already", flush=True)
    here, began = machine(), time.perf_counter()
    arena, current = None, None
    for number, key in enumerate(missing, 1):
        if current != (key.problem, key.seed) or arena is None:  # cells come problem by problem
            arena, current = Arena(key.problem, key.seed, noises), (key.problem, key.seed)
        measured = measure(arena, key.solver, key.steps, key.budget, key.beside)
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        cell = {**key._asdict(), **measured, "machine": here, "when": when}
        with path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        done[key] = cell
        _tell(cell, number, len(missing), time.perf_counter() - began)
    return [one for key in keys if (one := known(key)) is not None]


def _tell(cell: dict[str, Any], number: int, total: int, seconds: float) -> None:
    compared = cell["against"][cell["best_fixed"]]
    print(
        f"[{number}/{total}] {cell['problem']}, {cell['solver']}, {cell['steps']} steps, "
        f"budget {cell['budget']}: {compared['ratio']:.3f} of {cell['best_fixed']} "
        f"(z {compared['z']:.1f}), {cell['how']['method']}; "
        f"{cell['seconds']['cell']:.0f} s, {seconds / 60:.1f} min so far, "
        f"about {seconds / number * (total - number) / 60:.0f} min to go",
        flush=True,
    )


def _keys(options: argparse.Namespace, code: str) -> Iterator[Key]:
    """The usual cells of every problem, then those at other budgets, beside the fixed ones only."""
    problems = options.problems or (PROBLEMS if options.full else QUICK)
    budgeted = [name for name in BUDGET_PROBLEMS if name in (options.problems or BUDGET_PROBLEMS)]
    steps = options.steps or (STEPS if options.full else QUICK_STEPS)
    beside = "oracle" if options.oracle else "peers"
    for name in dict.fromkeys([*problems, *budgeted] if options.budgets else problems):
        usual = list(product(options.solvers, steps)) if name in problems else []
        for solver, n in usual:
            yield Key(name, solver, n, BUDGET, options.seed, beside, code)
        if not (options.budgets and name in budgeted):
            continue
        for solver, n, budget in product(BUDGET_SOLVERS, BUDGET_STEPS, BUDGETS):
            wanted = solver in options.solvers and n in steps
            if wanted and not (budget == BUDGET and (solver, n) in usual):
                yield Key(name, solver, n, budget, options.seed, "fixed", code)


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every problem and step count")
    parser.add_argument(
        "--budgets", action=argparse.BooleanOptionalAction, default=True, help="other budgets too"
    )
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, metavar="PROBLEM")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=SOLVERS, metavar="SOLVER")
    parser.add_argument("--steps", nargs="+", type=int)
    parser.add_argument("--seed", type=int, default=SEED, help="draws problems and noise")
    parser.add_argument("--oracle", action="store_true", help="how good a schedule can be, slow")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = run(list(_keys(options, code_version())), options.output)
    print(f"\n{write_report(cells, options.output)}")


if __name__ == "__main__":
    main()
