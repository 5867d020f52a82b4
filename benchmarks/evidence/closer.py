"""The cells that decide, on more noise: dpmpp_2m at 5 and 8 steps beside every fixed schedule.

    python -m align_your_steps.benchmarks.evidence.closer --part 1/2

In the grid the size of the samples hides differences: with 128 noises and 384 fine-step pictures
of a digit, many steps have a Fréchet distance of 8 from themselves; with 1,024 and 2,048, of 1.
And five seeds are few where classes differ. So here are other seeds, whose noise no figure before
was of: one for every class of digits and emoji, two for every photograph, as with one of them an
interval held both a half and a draw. With them comes unguided ddim_stochastic, which had lost a
cell before. Cells become lines of results/evidence/closer.jsonl, resumable as the grid's are.
"""

from __future__ import annotations

import torch

from ..edm import CLASSES
from .grid import arenas, options_of, part_of, run

__all__ = ["ALSO", "NOISES", "SEEDS", "SOLVER", "STEPS", "TRUTHS", "main"]

SOLVER, STEPS = "dpmpp_2m", (5, 8)
ALSO = {("digits", 1.0): ("ddim_stochastic",)}  # beside SOLVER, by network and guidance
SEEDS = {
    "digits": range(10, 10 + CLASSES),
    "patches": range(10, 10 + 2 * CLASSES),
    "emoji": range(10, 10 + CLASSES),
}
NOISES = {"digits": 1024, "patches": 256, "emoji": 256}  # held-out noises
TRUTHS = {"digits": 2048, "patches": 512, "emoji": 512}  # fine-step pictures


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing."""
    options = options_of(__doc__, SEEDS["patches"]).parse_args(arguments)
    torch.set_num_threads(1)
    wanted = arenas(options.networks, options.seeds)
    chosen = part_of([arena for arena in wanted if arena[2] in SEEDS[arena[0]]], options.part)
    for name, scale, seed in chosen:
        run(
            [(name, scale, seed)],
            options.output / "closer.jsonl",
            [SOLVER, *ALSO.get((name, scale), ())],
            STEPS,
            noises=NOISES[name],
            truths=TRUTHS[name],
            peers=False,
        )


if __name__ == "__main__":
    main()
