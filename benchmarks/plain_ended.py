"""Plain schedules ended early: is what is attached ever worse than what was given, or than before?

    python -m align_your_steps.benchmarks.plain_ended --budgets 1000 4000 --runs 2
    python -m align_your_steps.benchmarks.plain_ended --problems digits-mixture-cfg7 --steps 10 \\
        --solvers dpmpp_2m --shares 1 --budgets 1000 4000 40000 --runs 8

An optimisation is asked to finish after a share of its calls. On held-out noise, over the best
given schedule in hindsight,

    ratio    of mean errors, geometric mean over cells
    typical  geometric mean seed by seed, by which the optimiser chooses
    worse    cells above the best given schedule that was raced, by 3 standard errors of the
             difference: of mean errors, and of the logarithms by which the optimiser chooses
    late     calls made after it was asked to finish, the most

Cells are kept as lines of JSON in the file --cells, and one that is there is not measured again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..optimizer import Known, Session, builtin_solver, optimize
from ..optimizer.diffusion.solvers import DETERMINISTIC_TWIN
from ..schedules.curves import time_uniform
from .calibrated import Cells
from .cell import Arena
from .metrics import end_point_errors
from .peers import fixed
from .problems import PROBLEMS, TABLE
from .record import RESULTS

__all__ = ["main"]

MIXTURES = ("digits-mixture", "digits-mixture-cfg7", "power-mixture", "power-mixture-cfg7")
SHARES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
FIRST_SEED = 41
NOISES = 512
SIGNIFICANT = 3.0


@dataclass(frozen=True)
class After:
    """Asks to finish when so many rows have been computed."""

    rows: float

    def left(self, rows: int) -> float:
        """As `Finish` has it."""
        return 0.0 if rows >= self.rows else math.inf


def ended(arena: Arena, solver: str, steps: int, budget: int, share: float) -> dict[str, Any]:
    """One cell: an optimisation that is asked to finish after a share of its calls."""
    given = fixed(steps, TABLE)
    asked = share * budget if share < 1.0 else math.inf
    result = optimize(
        arena.problem.denoise,
        arena.problem.shape,
        sigma_max=TABLE.sigma_max,
        sigma_min=TABLE.sigma_min,
        steps=steps,
        solver=solver,
        budget=budget,
        seed=arena.seed,
        candidates=dict(given),
        known=Known(starts={"time-uniform": time_uniform(steps, TABLE)}),
        session=Session(finish=After(asked)),
    )
    twin = builtin_solver(DETERMINISTIC_TWIN.get(solver, solver), arena.problem.denoise)

    def errors(sigmas: torch.Tensor) -> torch.Tensor:
        return end_point_errors(twin(arena.held_out, sigmas, 0), arena.reference)

    ours, every = errors(result.sigmas), {name: errors(one) for name, one in given.items()}
    best = min(every.values(), key=lambda error: float(error.mean()))
    raced = [score for score in result.scores if score.candidate.given]
    beaten = best if not raced else errors(min(raced, key=lambda s: s.place).candidate.sigmas)
    return {
        "calls": result.total_calls,
        "late": max(0, result.total_calls - asked) if share < 1.0 else 0,
        "method": result.method,
        "noises": result.noises,
        "ratio": float(ours.mean() / best.mean()),
        "typical": float((ours / best).log().mean().exp()),
        "worse_z": _standard_errors(ours - beaten),
        "log_z": _standard_errors(ours.log() - beaten.log()),
    }


def _standard_errors(values: torch.Tensor) -> float:
    """The mean over its standard error; 0 where all are equal."""
    error = float(values.std()) / len(values) ** 0.5
    return float(values.mean()) / error if error else 0.0


def summary(cells: Sequence[dict[str, Any]]) -> str:
    """What a row of cells says together."""
    ratio, typical = (
        math.exp(np.mean([math.log(cell[key]) for cell in cells])) for key in ("ratio", "typical")
    )
    worst = max(cell["ratio"] for cell in cells)
    worse, logs = ([cell[key] for cell in cells] for key in ("worse_z", "log_z"))
    return (
        f"ratio {ratio:.3f} (worst {worst:.2f}), typical {typical:.3f}, worse in "
        f"{sum(z > SIGNIFICANT for z in worse)} (most {max(worse):.1f}) and "
        f"{sum(z > SIGNIFICANT for z in logs)} (most {max(logs):.1f}) of {len(cells)}, "
        f"late {max(cell['late'] for cell in cells):.0f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problems", choices=PROBLEMS, nargs="+", default=MIXTURES)
    parser.add_argument("--solvers", nargs="+", default=("dpmpp_2m", "euler"))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--budgets", type=int, nargs="+", default=(1000, 4000))
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--runs", type=int, default=2, help="of every problem, each with its seed")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="the first seed")
    parser.add_argument("--cells", type=Path, default=RESULTS / "plain_ended.jsonl")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = Cells(given.cells)
    seeds = range(given.first, given.first + given.runs)
    arenas = [Arena(name, seed, NOISES) for seed in seeds for name in given.problems]
    for solver in given.solvers:
        for budget in given.budgets:
            for share in given.shares:
                found = []
                for arena in arenas:
                    of = f"{arena.problem.name} seed {arena.seed}, {solver}, {given.steps} steps"
                    measure = partial(ended, arena, solver, given.steps, budget, share)
                    found.append(cells.of(f"{of}, {share:.0%} of {budget}", measure))
                print(f"{solver}, {share:.0%} of {budget}: {summary(found)}", flush=True)


if __name__ == "__main__":
    main()
