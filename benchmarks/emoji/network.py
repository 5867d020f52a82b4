"""The denoiser of emoji: that of the patches, wider."""

from __future__ import annotations

from pathlib import Path

import torch

from ..edm import channels_last, loaded
from ..patches.network import PatchDenoiser

__all__ = ["WEIGHTS", "EmojiDenoiser", "load_emoji"]

WEIGHTS = Path(__file__).with_name("emoji.safetensors")


class EmojiDenoiser(PatchDenoiser):
    """D(x, t | label) for images [B, 3, 32, 32] scaled as in `data.emoji`."""

    def __init__(self) -> None:
        super().__init__(widths=(64, 160, 256), embedding=128)


def load_emoji(device: str | torch.device = "cpu") -> EmojiDenoiser:
    """The trained denoiser, ready to be evaluated; needs neither font nor list."""
    return channels_last(loaded(EmojiDenoiser(), WEIGHTS, device))
