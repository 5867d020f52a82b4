"""The digits denoiser: EDM preconditioning around a U-Net of two resolutions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..edm import Block, EDMDenoiser, Embedding, loaded

__all__ = ["WEIGHTS", "DigitsDenoiser", "load_digits"]

WEIGHTS = Path(__file__).with_name("digits.safetensors")


class DigitsDenoiser(EDMDenoiser):
    """D(x, t | label) for images [B, 1, 8, 8] scaled as in `data.digits`.

    dropout: of the residual blocks, while training
    """

    def __init__(self, dropout: float = 0.0, width: int = 24, embedding: int = 64) -> None:
        super().__init__()
        self.embed = Embedding(embedding)
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.fine = Block(width, width, embedding, dropout)
        self.down = Block(width, 2 * width, embedding, dropout)
        self.mix = nn.Linear(16, 16)  # all 4 x 4 places with each other, channel by channel
        self.coarse = Block(2 * width, 2 * width, embedding, dropout)
        self.up = Block(3 * width, width, embedding, dropout)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def predict(self, x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        """F, the network inside the preconditioning."""
        e = self.embed(c_noise, label)
        fine = self.fine(self.first(x), e)  # [B, w, 8, 8]
        h = self.down(functional.avg_pool2d(fine, 2), e)  # [B, 2w, 4, 4]
        h = h + self.mix(h.flatten(2)).reshape(h.shape)
        h = functional.interpolate(self.coarse(h, e), scale_factor=2)  # [B, 2w, 8, 8]
        h = self.up(torch.cat([h, fine], 1), e)  # [B, w, 8, 8]
        return self.last(functional.silu(h))


def load_digits(device: str | torch.device = "cpu") -> DigitsDenoiser:
    """The trained denoiser, ready to be evaluated; needs no scikit-learn."""
    return loaded(DigitsDenoiser(), WEIGHTS, device)
