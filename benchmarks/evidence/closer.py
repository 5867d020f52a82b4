"""The cells that decide, on more noise: dpmpp_2m at 5 and 8 steps beside every fixed schedule.

    python -m align_your_steps.benchmarks.evidence.closer --part 1/2

In the grid the size of the samples hides differences: with 128 noises and 384 fine-step pictures
of a digit, many steps have a Fréchet distance of 8 from themselves; with 1,024 and 2,048, of 1.
And five seeds are few where classes differ. So here are ten other seeds, one for every class, whose
noise no figure before was of. Cells become lines of results/evidence/closer.jsonl, resumable as the
grid's are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ..edm import CLASSES
from .grid import OUTPUT, arenas, run
from .networks import NETWORKS

__all__ = ["NOISES", "SEEDS", "SOLVER", "STEPS", "TRUTHS", "main"]

SOLVER, STEPS = "dpmpp_2m", (5, 8)
SEEDS = tuple(range(10, 10 + CLASSES))
NOISES = {"digits": 1024, "patches": 256}  # held-out noises
TRUTHS = {"digits": 2048, "patches": 512}  # fine-step pictures


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--part", default="1/1", help="k/n: every n-th arena, beginning with k")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    k, n = map(int, options.part.split("/"))
    chosen = arenas(options.networks, options.seeds)[k - 1 :: n]
    for name in options.networks:
        run(
            [arena for arena in chosen if arena[0] == name],
            options.output / "closer.jsonl",
            [SOLVER],
            STEPS,
            noises=NOISES[name],
            truths=TRUTHS[name],
            peers=False,
        )


if __name__ == "__main__":
    main()
