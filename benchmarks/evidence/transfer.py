"""How a schedule that was optimised for one setting does in another: matrices.

    python -m align_your_steps.benchmarks.evidence.transfer

    guidance     digits, scale 1, 3 and 7, the same class
    prompt       digits, scale 3, class 0 to 4
    LoRA         digits, scale 3, the LoRA of digits/lora.py at strength 0, 1/2 and 1
    resolution   patches, scale 3, 32 x 32 and 64 x 64; the network was trained on 32 x 32 only

DPM-Solver++(2M), 8 steps, the paired error on held-out noise of every setting. A seed draws all
noise and the optimisations, and the class where it is not the setting. Lines go to
results/evidence/transfer.jsonl; what is there already is not measured again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..digits.lora import with_lora
from ..edm import CLASSES, guided
from ..patches.network import load_patches
from ..peers import fixed
from ..problems import TABLE
from ..record import read_lines
from .arena import Arena
from .grid import OUTPUT, SEEDS, append

__all__ = ["KINDS", "SOLVER", "STEPS", "crossed", "main"]

SOLVER, STEPS, SCALE = "dpmpp_2m", 8, 3.0
LABELS, STRENGTHS, SCALES = range(5), (0.0, 0.5, 1.0), (1.0, 3.0, 7.0)
SIDES = {32: 64, 64: 32}  # of a picture, and held-out noises


def _guidance(seed: int) -> dict[str, Arena]:
    return {f"cfg {scale:g}": Arena("digits", scale, seed) for scale in SCALES}


def _prompt(seed: int) -> dict[str, Arena]:
    model = Arena("digits", SCALE, seed).network.load()
    return {
        f"class {label}": Arena("digits", SCALE, seed, denoise=guided(model, label, SCALE))
        for label in LABELS
    }


def _lora(seed: int) -> dict[str, Arena]:
    return {
        f"strength {strength:g}": Arena(
            "digits", SCALE, seed, denoise=guided(with_lora(strength), seed % CLASSES, SCALE)
        )
        for strength in STRENGTHS
    }


def _resolution(seed: int) -> dict[str, Arena]:
    denoise = guided(load_patches(), seed % CLASSES, SCALE)
    return {
        f"{side} x {side}": Arena(
            "patches", SCALE, seed, denoise=denoise, shape=(3, side, side), noises=noises
        )
        for side, noises in SIDES.items()
    }


KINDS: dict[str, Callable[[int], Mapping[str, Arena]]] = {
    "guidance": _guidance,
    "prompt": _prompt,
    "LoRA": _lora,
    "resolution": _resolution,
}


def crossed(settings: Mapping[str, Arena]) -> dict[str, Any]:
    """Paired errors of the schedule made for every setting (row) in every setting (column).

    Also those of the fixed schedules, and our schedules' levels.
    """
    made = {name: arena.result(SOLVER, STEPS).sigmas for name, arena in settings.items()}
    given = fixed(STEPS, TABLE)
    return {
        "errors": {
            name: {other: arena.error(SOLVER, sigmas) for other, arena in settings.items()}
            for name, sigmas in made.items()
        },
        "fixed": {
            name: {other: arena.error(SOLVER, sigmas) for other, arena in settings.items()}
            for name, sigmas in given.items()
        },
        "sigmas": {name: sigmas.tolist() for name, sigmas in made.items()},
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.output / "transfer.jsonl"
    done = {(line["kind"], line["seed"]) for line in read_lines(path)}
    for kind in options.kinds:
        for seed in options.seeds:
            if (kind, seed) not in done:
                append(path, {"kind": kind, "seed": seed, **crossed(KINDS[kind](seed))})
                print(f"{kind}, seed {seed}", flush=True)


if __name__ == "__main__":
    main()
