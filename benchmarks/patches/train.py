"""Train the denoiser of patches on the CPU, draw its loss curve, print how well it has learnt.

    python -m align_your_steps.benchmarks.patches.train

Forty minutes on one core. `patches.safetensors` and `training.json`, the curve, are part of the
repository.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..training import fit, loss_at, loss_table, save_half
from .data import crops
from .network import WEIGHTS, PatchDenoiser, load_patches

__all__ = ["CURVE", "train"]

CURVE = Path(__file__).with_name("training.json")
POOL = 40_000  # crops, drawn once
WATCHED, WATCHED_LEVEL = 500, 0.5  # held-out crops, and the level of their loss in the curve


def train(
    steps: int = 10_000, batch: int = 64, seed: int = 0
) -> tuple[PatchDenoiser, list[dict[str, float]]]:
    """The trained denoiser, its weights averaged, and its loss curve."""
    torch.manual_seed(seed)
    images, labels = crops(POOL, seed)
    watched = crops(WATCHED, seed + 1, held_out=True)
    curve: list[dict[str, float]] = []

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(images), (rows,))
        return images[chosen], labels[chosen]

    def tell(step: int, loss: float, averaged: nn.Module) -> None:
        held_out = loss_at(averaged.eval(), *watched, WATCHED_LEVEL, noises=1)
        curve.append({"step": step, "loss": loss, "held_out": held_out})

    model = PatchDenoiser()
    fit(model, draw, steps=steps, batch=batch, rate=1.5e-3, decay=0.999, tell=tell)
    return model, curve


if __name__ == "__main__":
    torch.set_num_threads(1)  # the other core is free for other work
    model, curve = train()
    save_half(model, WEIGHTS)
    CURVE.write_text(json.dumps(curve, indent=1) + "\n")
    print(loss_table(load_patches(), crops(2000, 2), crops(2000, 3, held_out=True)))
