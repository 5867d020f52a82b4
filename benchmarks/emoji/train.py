"""Train the denoiser of emoji on the CPU and print how well it has learnt.

    python -m align_your_steps.benchmarks.emoji.train

An hour on one core that multiplies in bfloat16. An interrupted training goes on where it was.
`emoji.safetensors` and `training.json`, the loss curve, are part of the repository.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ..edm import channels_last
from ..training import fit, loss_at, loss_table, save_half
from .data import augmented, emoji
from .network import WEIGHTS, EmojiDenoiser, load_emoji

__all__ = ["CURVE", "STEPS", "train"]

CURVE = Path(__file__).with_name("training.json")
KEPT = Path(__file__).parents[1] / "output" / "emoji.pt"
STEPS, ALL = 7_600, 4800  # steps, and the first so many of them on all emoji, the others on PLAIN
WATCHED, WATCHED_LEVEL = 256, 0.5  # held-out images, and the level of their loss in the curve


def train(
    steps: int = STEPS, batch: int = 32, seed: int = 0, kept: Path | None = KEPT
) -> tuple[EmojiDenoiser, list[dict[str, float]]]:
    """The trained denoiser, its weights averaged, and its loss curve."""
    torch.manual_seed(seed)
    data = emoji(), emoji(plain=True)
    source = torch.Generator().manual_seed(seed + 1)
    watched = augmented(*emoji(held_out=True), WATCHED, source)
    going_on = kept is not None and kept.exists()
    curve: list[dict[str, float]] = json.loads(CURVE.read_text()) if going_on else []

    drawn = itertools.count(curve[-1]["step"] if curve else 0)

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        return augmented(*data[next(drawn) >= ALL], rows, torch.default_generator)

    def tell(step: int, loss: float, averaged: nn.Module) -> None:
        held_out = loss_at(averaged.eval(), *watched, WATCHED_LEVEL, noises=1)
        # An interruption may have come between this line of the curve and what is kept.
        curve[:] = [line for line in curve if line["step"] < step]
        curve.append({"step": step, "loss": loss, "held_out": held_out})
        CURVE.write_text(json.dumps(curve, indent=1) + "\n")

    model = channels_last(EmojiDenoiser())
    fit(
        model, draw, steps=steps, batch=batch, rate=1e-3, decay=0.999, tell=tell, kept=kept,
        half=True,
    )  # fmt: skip
    return model, curve


if __name__ == "__main__":
    torch.set_num_threads(1)  # the other core is free for other work
    KEPT.parent.mkdir(exist_ok=True)
    model, _ = train()
    save_half(model, WEIGHTS)
    source = torch.Generator().manual_seed(2)
    seen, unseen = (augmented(*emoji(held_out=held), 200, source) for held in (False, True))
    print(loss_table(load_emoji(), seen, unseen))
