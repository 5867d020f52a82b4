"""What the KLUB does over the paper's sweeps: the figure that the paper does not have.

    python -m align_your_steps.benchmarks.evidence.sweeps

Algorithm 1 from the time-uniform schedule and from EDM's, 10 steps, on digits: after every sweep
the KLUB, which never rises, and with Stochastic-DDIM, whose bound it is, and DPM-Solver++(2M) the
paired error (of a stochastic solver its deterministic twin's), energy distance and Fréchet
distance. Marked is the sweep at which the procedure stops by our measured error, of the few noises
of an optimisation. Lines go to results/evidence/sweeps.jsonl; what is there already is not measured
again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...optimizer import Result, coordinate_search, edm_schedule, klub
from ...schedules.curves import time_uniform
from ..problems import TABLE
from ..record import read_lines
from .arena import Arena
from .grid import OUTPUT, SEEDS, append

__all__ = ["NETWORK", "SCALES", "SOLVERS", "STARTS", "STEPS", "main", "shown", "value_at"]

NETWORK, SCALES, SOLVERS, STEPS = "digits", (1.0, 3.0), ("ddim_stochastic", "dpmpp_2m"), 10
STARTS = ("time-uniform", "EDM")
EVERY = 12  # sweeps that are all measured; after these some, and the last


def shown(count: int) -> list[int]:
    """The sweeps that are measured, of 0 ... count.

    >>> shown(40)[-6:]
    [11, 12, 17, 24, 34, 40]
    """
    later = np.round(EVERY * 2.0 ** (np.arange(1, 20) / 2.0)).astype(int).tolist()
    return sorted({k for k in [*range(EVERY + 1), *later, count] if k <= count})


def swept(arena: Arena, start: str) -> dict[str, Any]:
    """The sweeps from one start, and what every solver makes of them."""
    stopped = {solver: arena.result(solver, STEPS, "paper") for solver in SOLVERS}
    profile = next(iter(stopped.values())).profile
    assert profile is not None
    highest, lowest = float(profile.sigmas[0]), float(profile.sigmas[-1])
    first = {
        "time-uniform": time_uniform(STEPS, TABLE),
        "EDM": edm_schedule(STEPS, TABLE.sigma_max, TABLE.sigma_min),
    }[start]
    sweeps = [np.clip(first, lowest, highest)]
    sweeps += coordinate_search(profile, sweeps[0])
    some = shown(len(sweeps) - 1)
    schedules = {str(k): torch.from_numpy(np.append(sweeps[k][:-1], 0.0)).float() for k in some}
    return {
        "sweeps": some,
        "klub": [klub(profile, sweeps[k]) for k in some],
        "sigmas": [sweeps[k].tolist() for k in some],
        "stopped": {solver: _sweep_of(result) for solver, result in stopped.items()},
        "measured": {solver: arena.measure(solver, schedules) for solver in SOLVERS},
    }


def value_at(line: Mapping[str, Any], solver: str, what: str, sweep: int) -> float:
    """The KLUB ("klub"), or what a solver makes of the schedule, after one of a line's sweeps."""
    if what == "klub":
        return float(line["klub"][line["sweeps"].index(sweep)])
    return float(line["measured"][solver][str(sweep)][what])


def _sweep_of(result: Result) -> int:
    """The sweep that the procedure stopped at, from the name of its schedule."""
    return int(result.method.split()[1])


def _measure(scale: float, seed: int, starts: Sequence[str], path: Path) -> None:
    arena = Arena(NETWORK, scale, seed)
    for start in starts:
        append(path, {"scale": scale, "seed": seed, "start": start, **swept(arena, start)})
        print(f"scale {scale:g}, seed {seed}, from {start}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.output / "sweeps.jsonl"
    done = {(line["scale"], line["seed"], line["start"]) for line in read_lines(path)}
    for seed in options.seeds:
        for scale in SCALES:
            missing = [start for start in STARTS if (scale, seed, start) not in done]
            if missing:
                _measure(scale, seed, missing, path)


if __name__ == "__main__":
    main()
