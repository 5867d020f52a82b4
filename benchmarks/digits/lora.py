"""A LoRA of the digits denoiser, for bold digits: what a user adds to a model, in small.

    python -m align_your_steps.benchmarks.digits.lora

trains it on the CPU, two minutes on one core. With W a weight of the network as a matrix [o, i]

    W' = W + strength · B A,        A [r, i], B [o, r]

(Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), arXiv 2106.09685).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from ..training import fit, loss_at
from .data import digits
from .network import DigitsDenoiser, load_digits

__all__ = ["RANK", "WEIGHTS", "bold", "with_lora"]

RANK = 4
WEIGHTS = Path(__file__).with_name("bold_lora.safetensors")


class LowRank(nn.Module):
    """W -> W + strength · B A for a weight of any shape; B starts at zero."""

    def __init__(self, weight: Tensor, strength: float = 1.0) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.A = nn.Parameter(torch.randn(RANK, columns) / columns**0.5)
        self.B = nn.Parameter(torch.zeros(rows, RANK))
        self.strength = strength

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.strength * (self.B @ self.A).reshape(weight.shape)


def bold(images: Tensor) -> Tensor:
    """Digits [N, 1, 8, 8] of broader strokes: the brighter of every pixel and its right neighbour,
    scaled back to mean 0 and standard deviation 1.
    """
    wide = torch.maximum(images, functional.pad(images, (0, 1), value=-10.0)[..., 1:])
    return (wide - 0.354) / 1.087


def with_lora(strength: float) -> DigitsDenoiser:
    """The digits denoiser with the LoRA at a strength; at 0 it is the denoiser itself."""
    model = load_digits()
    known = load_file(WEIGHTS)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if f"{name}.A" in known:
                A, B = (known[f"{name}.{factor}"].float() for factor in "AB")
                weight.add_(strength * (B @ A).reshape(weight.shape))
    return model


def _train(steps: int = 1500, batch: int = 128, seed: int = 0) -> dict[str, LowRank]:
    """The factors of every convolution and linear layer, by the name of its weight."""
    torch.manual_seed(seed)
    model = load_digits()
    factors: dict[str, LowRank] = {}
    for name, part in list(model.named_modules()):
        if isinstance(part, nn.Conv2d | nn.Linear):
            factors[f"{name}.weight"] = LowRank(part.weight)
            parametrize.register_parametrization(part, "weight", factors[f"{name}.weight"])
    images, labels = digits(held_out=False)
    images = bold(images)

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(images), (rows,))
        return images[chosen], labels[chosen]

    fit(model, draw, steps=steps, batch=batch, rate=3e-3, decay=0.99)
    return factors


def main() -> None:
    """Train, keep, and tell what it does."""
    torch.set_num_threads(1)
    factors = _train()
    named = {f"{name}.{f}": getattr(part, f) for name, part in factors.items() for f in "AB"}
    save_file({name: x.detach().half().contiguous() for name, x in named.items()}, WEIGHTS)
    images, labels = digits(held_out=True)
    for strength in (0.0, 0.5, 1.0):
        model = with_lora(strength)
        losses = [loss_at(model, x, labels, 0.5) for x in (images, bold(images))]
        print(f"strength {strength}: loss at 0.5, digits {losses[0]:.4f}, bold {losses[1]:.4f}")


if __name__ == "__main__":
    main()
