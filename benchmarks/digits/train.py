"""Train the digits denoiser on the CPU and print how well it has learnt.

    python -m align_your_steps.benchmarks.digits.train

About five minutes on one core. The result, `digits.safetensors`, is part of the repository.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..training import fit, loss_table, save_half
from .data import digits
from .network import WEIGHTS, DigitsDenoiser, load_digits

__all__ = ["train"]


def train(steps: int = 4000, batch: int = 128, seed: int = 0) -> DigitsDenoiser:
    """The trained denoiser, its weights averaged."""
    torch.manual_seed(seed)
    images, labels = digits(held_out=False)

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(images), (rows,))
        return images[chosen], labels[chosen]

    model = DigitsDenoiser(dropout=0.1)
    fit(model, draw, steps=steps, batch=batch)
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)  # the network is too small to gain from more
    save_half(train(), WEIGHTS)
    print(loss_table(load_digits(), digits(held_out=False), digits(held_out=True)))
