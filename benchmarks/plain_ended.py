"""Plain schedules of optimisations that a user ends early: ever worse, and better with more?

    python -m align_your_steps.benchmarks.plain_ended --budgets 1000 4000 --runs 2

An optimisation of a problem of problems.py is ended "by hand", as by Finish now, after a share of
its calls, of which it knew nothing before; or it knows its limit from the first call on, as with
`minutes`. Either makes the smallest honest comparison after it. Of a cell, on held-out noise,

    ratio    mean error over that of the best fixed schedule in hindsight
    typical  geometric mean of the same, seed by seed
    worse    standard errors by which it is worse than the fixed schedule that came best out of its
             own comparison; 0 where it is that

Cells are kept as lines of JSON in the file --cells, and one that is there is not measured again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..optimizer import Session, builtin_solver, optimize
from .calibrated import SHARES, Cells
from .cell import Arena
from .metrics import end_point_errors, paired
from .peers import fixed
from .problems import TABLE

__all__ = ["main"]

ENDS = ("by hand", "limit")
PROBLEMS = ("digits-mixture-cfg7", "power-mixture", "digits-network-cfg7", "gaussian-256")
NOISES = 256
SEED = 31


class Limit:
    """A limit of rows, known from the start or reached by surprise."""

    def __init__(self, rows: float, *, known: bool):
        self.rows, self.known = rows, known

    def left(self, rows: int) -> float:
        """As `Finish` has it."""
        if rows >= self.rows:
            return 0.0
        return self.rows - rows if self.known else math.inf


def measure(arena: Arena, solver: str, steps: int, budget: int, share: float, end: str) -> Any:
    """One cell, as plain data."""
    schedules = fixed(steps, TABLE)
    limit = Limit(share * budget, known=end == "limit")
    result = optimize(
        arena.problem.denoise, arena.problem.shape, sigma_max=TABLE.sigma_max,
        sigma_min=TABLE.sigma_min, steps=steps, solver=solver, candidates=dict(schedules),
        budget=budget, seed=arena.seed, session=Session(finish=limit if share < 1.0 else None),
    )  # fmt: skip
    run = builtin_solver(solver, arena.problem.denoise)

    def errors(sigmas: torch.Tensor) -> torch.Tensor:
        return end_point_errors(run(arena.held_out, sigmas, 0), arena.reference)

    theirs = {name: errors(sigmas) for name, sigmas in schedules.items()}
    ours = errors(result.sigmas)
    best = min(theirs.values(), key=lambda each: float(each.mean()))
    ran = [score for score in result.scores if score.candidate.given and score.errors]
    raced = min(ran, key=lambda score: score.place).candidate.name if ran else result.method
    return {
        "calls": result.total_calls, "noises": result.noises,
        "winner": result.method, "raced": raced,
        "ratio": float(ours.mean() / best.mean()),
        "typical": float((ours / best).log().mean().exp()),
        "worse": 0.0 if raced == result.method else paired(ours, theirs[raced]).z,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is not known yet, and print a line for every share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", type=int, nargs="+", default=(1000, 4000))
    parser.add_argument("--runs", type=int, default=2, help="seeds")
    parser.add_argument("--steps", type=int, nargs="+", default=(8,))
    parser.add_argument("--solvers", nargs="+", default=("dpmpp_2m", "euler"))
    parser.add_argument("--problems", nargs="+", default=PROBLEMS)
    parser.add_argument("--ends", nargs="+", choices=ENDS, default=ENDS)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--cells", type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = Cells(given.cells)
    arenas = [
        Arena(name, SEED + run, NOISES) for name in given.problems for run in range(given.runs)
    ]
    for budget in given.budgets:
        for end in given.ends:
            for share in given.shares:
                found = []
                for arena in arenas:
                    for solver in given.solvers:
                        for steps in given.steps:
                            of = f"{share:.0%} of {budget} {end}"
                            key = f"{arena.problem.name} {arena.seed} {solver} {steps}, {of}"
                            what = partial(measure, arena, solver, steps, budget, share, end)
                            found.append(cells.of(key, what))
                print(f"{share:.0%} of {budget} {end}: {told(found)}", flush=True)


def told(cells: Sequence[dict[str, Any]]) -> str:
    """Geometric means over cells, and how many are worse than a fixed schedule that was run."""
    ratio, typical = (
        math.exp(np.mean([math.log(cell[key]) for cell in cells])) for key in ("ratio", "typical")
    )
    worse = [cell["worse"] for cell in cells]
    calls = np.mean([cell["calls"] for cell in cells])
    return (
        f"{calls:.0f} calls, ratio {ratio:.3f}, seed by seed {typical:.3f}, worse by 3 standard "
        f"errors in {sum(z > 3.0 for z in worse)} of {len(cells)} (most {max(worse):.1f})"
    )


if __name__ == "__main__":
    main()
