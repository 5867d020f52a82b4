"""How many calls an optimisation needs, and how many reference noises.

    python -m align_your_steps.benchmarks.evidence.needs

Digits with guidance 3, Euler and DPM-Solver++(2M), 5 and 10 steps: the paired error on held-out
noise of what is found with more and with fewer calls, and with 4,000 calls of which more or less
goes to the references that schedules are refined on. Lines go to results/evidence/needs.jsonl; what
is there already is not measured again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...optimizer import Result
from ...optimizer import plan as plans
from ...optimizer.judging.reference_steps import every_of_coarse
from ..peers import fixed
from ..problems import TABLE
from ..record import read_lines
from .arena import Arena
from .grid import OUTPUT, SEEDS, append

__all__ = ["BUDGETS", "SHARES", "main", "over_best_fixed", "reference_noises"]

NETWORK, SCALE, SOLVERS, STEPS = "digits", 3.0, ("euler", "dpmpp_2m"), (5, 10)
BUDGET, BUDGETS = 4000, (500, 1000, 2000, 4000, 8000)
SHARES = (0.07, 0.13, 0.26, 0.5)  # of BUDGET; 0.26 is the optimiser's own


@contextmanager
def reference_share(share: float) -> Iterator[None]:
    """The optimiser with another share of the budget for references."""
    own = plans.REFERENCE_SHARE
    plans.REFERENCE_SHARE = share
    try:
        yield
    finally:
        plans.REFERENCE_SHARE = own


def reference_noises(result: Result, steps: int) -> int:
    """Noises that schedules were refined on: the reference calls beside those compared with."""
    fine = result.reference_steps
    coarse = -(-fine // every_of_coarse(fine, steps))
    return round((result.calls["reference"] - result.noises * fine) / (fine + coarse))


def over_best_fixed(lines: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Errors over the best fixed schedule's, [seeds, cells]."""
    cells = [line["cells"] for line in lines]
    return np.array([[one["error"] / one["best_fixed"] for one in some] for some in cells])


def _cell(arena: Arena, solver: str, steps: int, budget: int) -> dict[str, Any]:
    result = arena.optimized(solver, steps, budget)
    given = fixed(steps, TABLE).values()
    return {
        "solver": solver,
        "steps": steps,
        "error": arena.error(solver, result.sigmas),
        "best_fixed": min(arena.error(solver, sigmas) for sigmas in given),
        "calls": result.total_calls,
        "reference_noises": reference_noises(result, steps),
        "compared_noises": result.noises,
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.output / "needs.jsonl"
    own = plans.REFERENCE_SHARE
    done = {(line["seed"], line["budget"], line["share"]) for line in read_lines(path)}
    wanted = {(budget, own) for budget in BUDGETS} | {(BUDGET, share) for share in SHARES}
    for seed in options.seeds:
        arena = Arena(NETWORK, SCALE, seed)
        for budget, share in sorted(wanted):
            if (seed, budget, share) in done:
                continue
            with reference_share(share):
                cells = [_cell(arena, solver, n, budget) for solver in SOLVERS for n in STEPS]
            append(path, {"seed": seed, "budget": budget, "share": share, "cells": cells})
            print(f"seed {seed}, {budget} calls, share {share}", flush=True)


if __name__ == "__main__":
    main()
