"""Train the denoiser of emoji on the CPU and print how well it has learnt.

    python -m align_your_steps.benchmarks.emoji.train

Three quarters of an hour on one core that multiplies in bfloat16. An interrupted training goes on
where it was. `emoji.safetensors` and `training.json`, the loss curve, are part of the repository.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ..edm import CLASSES, channels_last
from ..training import fit, loss_at, loss_table, save_half
from .data import HELD_OUT, emoji
from .network import WEIGHTS, EmojiDenoiser, load_emoji

__all__ = ["CURVE", "STEPS", "dealt", "train"]

CURVE = Path(__file__).with_name("training.json")
KEPT = Path(__file__).parents[1] / "output" / "emoji.pt"
STEPS, BATCH = 14_200, 32
DRAWN = (
    64  # of each class at a time: 20 batches, so that a training that goes on has none left over
)
WATCHED, WATCHED_LEVEL = 25, 0.5  # held-out images of a class; the level of their loss in the curve


def dealt(batch: int, drawn: int = DRAWN) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of emoji that are drawn anew, all classes equally often, from torch's own seed."""
    while True:
        images, labels = emoji(drawn, torch.default_generator)
        for rows in torch.randperm(drawn * CLASSES).split(batch):
            yield images[rows], labels[rows]


def train(
    steps: int = STEPS, batch: int = BATCH, seed: int = 0, kept: Path | None = KEPT
) -> tuple[EmojiDenoiser, list[dict[str, float]]]:
    """The trained denoiser, its weights averaged, and its loss curve."""
    torch.manual_seed(seed)
    watched = emoji(WATCHED, torch.Generator().manual_seed(HELD_OUT))
    going_on = kept is not None and kept.exists()
    curve: list[dict[str, float]] = json.loads(CURVE.read_text()) if going_on else []
    batches = dealt(batch)

    def tell(step: int, loss: float, averaged: nn.Module) -> None:
        held_out = loss_at(averaged.eval(), *watched, WATCHED_LEVEL, noises=1)
        # An interruption may have come between this line of the curve and what is kept.
        curve[:] = [line for line in curve if line["step"] < step]
        curve.append({"step": step, "loss": loss, "held_out": held_out})
        CURVE.write_text(json.dumps(curve, indent=1) + "\n")

    model = channels_last(EmojiDenoiser())
    fit(
        model, lambda _: next(batches), steps=steps, batch=batch, rate=1e-3, decay=0.999,
        tell=tell, kept=kept, half=True,
    )  # fmt: skip
    return model, curve


if __name__ == "__main__":
    torch.set_num_threads(1)  # the other core is free for other work
    KEPT.parent.mkdir(exist_ok=True)
    model, _ = train()
    save_half(model, WEIGHTS)
    seen, unseen = (emoji(40, torch.Generator().manual_seed(seed)) for seed in (2, HELD_OUT + 1))
    print(loss_table(load_emoji(), seen, unseen))
