"""The denoiser of patches: EDM preconditioning around a U-Net of three resolutions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..edm import Block, EDMDenoiser, Embedding, channels_last, loaded

__all__ = ["WEIGHTS", "PatchDenoiser", "load_patches"]

WEIGHTS = Path(__file__).with_name("patches.safetensors")


class PatchDenoiser(EDMDenoiser):
    """D(x, t | label) for images [B, 3, 32, 32] scaled as in `data.crops`.

    Four neighbouring pixels are one place of 12 channels, which makes it four times as fast. Larger
    pictures, of sides that are multiples of 32, can be asked for, which it was not trained on.

    widths: channels at 16 x 16, 8 x 8 and 4 x 4 places
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96), embedding: int = 128) -> None:
        super().__init__()
        a, b, c = widths
        self.embed = Embedding(embedding)
        self.first = nn.Conv2d(12, a, 3, padding=1)
        self.fine = Block(a, a, embedding)
        self.down = Block(a, b, embedding)
        self.middle = Block(b, b, embedding)
        self.mix = nn.Linear(16, 16)  # all 4 x 4 places with each other, channel by channel
        self.coarse_1 = Block(b, c, embedding)
        self.coarse_2 = Block(c, c, embedding)
        self.up_1 = Block(b + c, b, embedding)
        self.up_2 = Block(a + b, a, embedding)
        self.last = nn.Conv2d(a, 12, 3, padding=1)

    def predict(self, x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        """F, the network inside the preconditioning."""
        e = self.embed(c_noise, label)
        fine = self.fine(self.first(functional.pixel_unshuffle(x, 2)), e)  # [B, a, 16, 16]
        middle = self.middle(self.down(functional.avg_pool2d(fine, 2), e), e)  # [B, b, 8, 8]
        h = self.coarse_1(functional.avg_pool2d(middle, 2), e)  # [B, c, 4, 4]
        h = h + self._mixed(h)
        h = functional.interpolate(self.coarse_2(h, e), scale_factor=2)  # [B, c, 8, 8]
        h = functional.interpolate(self.up_1(torch.cat([h, middle], 1), e), scale_factor=2)
        h = self.up_2(torch.cat([h, fine], 1), e)  # [B, a, 16, 16]
        return functional.pixel_shuffle(self.last(functional.silu(h)), 2)

    def _mixed(self, h: Tensor) -> Tensor:
        """All places of [B, c, 4, 4] mixed; of a larger picture those of each 4 x 4 window."""
        count, channels, height, width = h.shape
        windows = h.reshape(count, channels, height // 4, 4, width // 4, 4).transpose(3, 4)
        mixed = self.mix(windows.flatten(4)).reshape(windows.shape)
        return mixed.transpose(3, 4).reshape(h.shape)


def load_patches(device: str | torch.device = "cpu") -> PatchDenoiser:
    """The trained denoiser, ready to be evaluated; needs neither of the image libraries."""
    return channels_last(loaded(PatchDenoiser(), WEIGHTS, device))
