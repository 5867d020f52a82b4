"""Common parts of the trained denoisers: EDM preconditioning, and the blocks of their U-Nets.

With data of standard deviation 1 and F the network,

    D(x, t) = c_skip x + c_out F(c_in x, c_noise)
    c_skip = 1 / (1 + t²),         c_out = t / sqrt(1 + t²)
    c_in   = 1 / sqrt(1 + t²),     c_noise = log(t) / 4

so that F sees, and is asked for, unit variance at every level. Source: Karras et al., "Elucidating
the Design Space of Diffusion-Based Generative Models" (2022), Table 1, arXiv 2206.00364.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ..optimizer import Denoiser

__all__ = ["CLASSES", "Block", "EDMDenoiser", "Embedding", "channels_last", "guided", "loaded"]

CLASSES = 10

Net = TypeVar("Net", bound=nn.Module)


class EDMDenoiser(nn.Module):
    """D(x, t | label), in EDM coordinates, around a network `predict`."""

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        """E[x_0 | x_t = x, label].

        Arguments:
            x: [B, C, H, W] noised images.
            sigma: [B] EDM levels t > 0; trained on 0.002 ... 80.
            label: [B, 10] one-hot class; zeros for the unconditional denoiser.
        """
        t = sigma[:, None, None, None]
        scale = (1.0 + t.square()).sqrt()  # 1 / c_in
        return x / scale.square() + t / scale * self.predict(x / scale, sigma.log() / 4.0, label)

    def predict(self, x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        """F, the network inside the preconditioning; shapes as in `forward`."""
        raise NotImplementedError


class Embedding(nn.Module):
    """Noise level and label as one vector [B, width].

    The frequencies are low: the output is a smooth function of the level, as the ideal denoiser
    is, so that levels can be moved by finite differences.
    """

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        frequencies = torch.linspace(0.5, 4.0, 8) * math.pi / 2.0
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.noise = nn.Linear(2 * len(frequencies), width)
        self.label = nn.Linear(CLASSES, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, c_noise: Tensor, label: Tensor) -> Tensor:
        angle = c_noise[:, None] * self.frequencies
        h = self.noise(torch.cat([angle.cos(), angle.sin()], 1)) + self.label(label)
        return functional.silu(self.out(functional.silu(h)))


class Block(nn.Module):
    """A residual block of two convolutions, modulated (FiLM) by the embedding.

    Its second convolution starts at zero, so that training starts from the skip alone.
    """

    def __init__(self, inputs: int, outputs: int, embedding: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_1 = nn.GroupNorm(4, inputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(embedding, 2 * outputs)
        self.norm_2 = nn.GroupNorm(4, outputs, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        gain, shift = self.film(e)[:, :, None, None].chunk(2, 1)
        h = self.conv_1(functional.silu(self.norm_1(x)))
        h = functional.silu(self.norm_2(h) * (1.0 + gain) + shift)
        return self.skip(x) + self.conv_2(self.dropout(h))


def loaded(model: Net, weights: Path, device: str | torch.device = "cpu") -> Net:
    """The model with weights stored in half precision, ready to be evaluated in single."""
    model.load_state_dict(load_file(weights))
    return model.to(device).eval().requires_grad_(False)


def channels_last(model: Net) -> Net:
    """The model with its weights in the order in which a CPU is a tenth to a third faster."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def guided(model: EDMDenoiser, label: int, scale: float) -> Denoiser:
    """The denoiser conditional on one class, with classifier-free guidance.

    D = D_free + scale (D_label - D_free), as the host combines them: at scale 1 without the free
    one.
    """
    one_hot = functional.one_hot(torch.tensor(label), CLASSES).float()

    @torch.no_grad()
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        given = one_hot.expand(len(x), CLASSES)
        if scale == 1.0:
            return model(x, sigma, given)
        both = torch.cat([given, torch.zeros_like(given)])
        conditional, free = model(x.repeat(2, 1, 1, 1), sigma.repeat(2), both).chunk(2)
        return free + scale * (conditional - free)

    return denoise
