"""Stable Diffusion's U-Net with random weights: a network of its size and kind without its file.

The blocks of Rombach et al. (2022), arXiv 2112.10752, as SD 1.5 has them, and of Podell et al.
(2023), arXiv 2307.01952 (SDXL): residual blocks told the time, and transformers over the places of
the picture that see the prompt. Weights have the names and shapes of the published checkpoints, so
a host takes these for the models themselves.

A random network knows no data. So the denoiser around it is the ideal one of unit Gaussian data
with the network's output F beside it, as in EDM (Karras et al. 2022). With u = x / sqrt(1 + σ²),
as the network sees x, it predicts the noise

    ε = (σ u - F) / sqrt(1 + σ²),      D = x - σ ε = x / (1 + σ²) + σ F / sqrt(1 + σ²).

F's last weights are small, so D is smooth however long a run is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LAST_GAIN", "SD15", "SDXL", "Guided", "Sizes", "UNet", "random_network"]

LATENT = 4  # channels
GROUPS = 32
BLOCKS = 2  # residual blocks of a level on the way down; one more on the way up
LAST_GAIN = 0.1  # of the last convolution's random weights


@dataclass(frozen=True)
class Sizes:
    """Sizes that tell one U-Net from another.

    multipliers: channels of each level, from the full resolution down, in `channels`
    depths:      transformer blocks behind each residual block of a level; middle: at the bottom
    context:     width of a prompt's token
    label:       width of the vector beside the prompt; None: there is none
    heads:       of an attention; None: as many as have 64 channels
    """

    multipliers: tuple[int, ...]
    depths: tuple[int, ...]
    middle: int
    context: int
    label: int | None = None
    heads: int | None = None
    channels: int = 320


SD15 = Sizes((1, 2, 4, 4), (1, 1, 1, 0), 1, context=768, heads=8)
SDXL = Sizes((1, 2, 4), (0, 2, 10), 10, context=2048, label=2816)


# -- layers: (h [B, C, H, W], time [B, E], context [B, T, D]) -> h ----------------------------


class ResBlock(nn.Module):
    """Two convolutions; the time is added between them."""

    def __init__(self, inside: int, outside: int, embedded: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedded, outside))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(GROUPS, outside),
            nn.SiLU(),
            nn.Identity(),  # the originals' dropout
            nn.Conv2d(outside, outside, 3, padding=1),
        )
        same = inside == outside
        self.skip_connection = nn.Identity() if same else nn.Conv2d(inside, outside, 1)

    def forward(self, h: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """The picture with what the block has found added."""
        found = self.in_layers(h) + self.emb_layers(time)[:, :, None, None]
        total: Tensor = self.skip_connection(h) + self.out_layers(found)
        return total


class Attention(nn.Module):
    """Multi-head attention of tokens [B, N, C] to others [B, M, D]."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(context, channels, bias=False)
        self.to_v = nn.Linear(context, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels), nn.Identity())

    def forward(self, x: Tensor, to: Tensor) -> Tensor:
        """Return what the tokens take from the others, [B, N, C]."""
        parts = (self.to_q(x), self.to_k(to), self.to_v(to))
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        found = functional.scaled_dot_product_attention(q, k, v)  # [B, heads, N, C / heads]
        out: Tensor = self.to_out(found.transpose(1, 2).flatten(2))
        return out


class Gated(nn.Module):
    """GEGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, inner]."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        product: Tensor = value * functional.gelu(gate)
        return product


class FeedForward(nn.Module):
    """Every token by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 4 * channels
        gated = Gated(channels, inner)
        self.net = nn.Sequential(gated, nn.Identity(), nn.Linear(inner, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        out: Tensor = self.net(x)
        return out


class TransformerBlock(nn.Module):
    """The places of the picture look at each other, then at the prompt."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(channels, channels, heads)
        self.attn2 = Attention(channels, context, heads)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        seen = self.norm1(x)
        x = x + self.attn1(seen, seen)
        x = x + self.attn2(self.norm2(x), context)
        out: Tensor = x + self.ff(self.norm3(x))
        return out


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of a picture."""

    def __init__(self, channels: int, sizes: Sizes, depth: int) -> None:
        super().__init__()
        self.linear = sizes.heads is None  # SD 1.5 projects by convolutions of one place
        heads = sizes.heads or channels // 64
        self.norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.proj_in, self.proj_out = (
            nn.Linear(channels, channels) if self.linear else nn.Conv2d(channels, channels, 1)
            for _ in range(2)
        )
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(channels, sizes.context, heads) for _ in range(depth)
        )

    def forward(self, h: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """The picture with what the blocks have found added."""
        x = self.norm(h)
        x = x if self.linear else self.proj_in(x)
        x = x.flatten(2).transpose(1, 2)  # [B, H W, C]
        x = self.proj_in(x) if self.linear else x
        for block in self.transformer_blocks:
            x = block(x, context)
        x = self.proj_out(x) if self.linear else x
        x = x.transpose(1, 2).unflatten(2, h.shape[2:])
        total: Tensor = h + (x if self.linear else self.proj_out(x))
        return total


class Downsample(nn.Module):
    """Half the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, h: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H/2, W/2]."""
        out: Tensor = self.op(h)
        return out


class Upsample(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor, time: Tensor, context: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2H, 2W]."""
        out: Tensor = self.conv(functional.interpolate(h, scale_factor=2.0))
        return out


# -- network ----------------------------------------------------------------------------------


class UNet(nn.Module):
    """The whole network: down through the levels, and up again with what each level has kept."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels, embedded = sizes.channels, 4 * sizes.channels
        self.channels = channels
        self.time_embed = _two_layers(channels, embedded)
        self.label_emb: nn.Sequential | None = None
        if sizes.label is not None:
            self.label_emb = nn.Sequential(_two_layers(sizes.label, embedded))
        first = nn.Conv2d(LATENT, channels, 3, padding=1)
        self.input_blocks = nn.ModuleList([nn.ModuleList([first])])
        self.output_blocks = nn.ModuleList()

        def block(inside: int, outside: int, depth: int) -> nn.ModuleList:
            layers: list[nn.Module] = [ResBlock(inside, outside, embedded)]
            if depth:
                layers.append(SpatialTransformer(outside, sizes, depth))
            return nn.ModuleList(layers)

        here, kept = channels, [channels]
        levels = list(zip(sizes.multipliers, sizes.depths, strict=True))
        for level, (multiplier, depth) in enumerate(levels):
            if level:
                self.input_blocks.append(nn.ModuleList([Downsample(here)]))
                kept.append(here)
            for _ in range(BLOCKS):
                self.input_blocks.append(block(here, multiplier * channels, depth))
                here = multiplier * channels
                kept.append(here)
        self.middle_block = block(here, here, sizes.middle)
        self.middle_block.append(ResBlock(here, here, embedded))
        for level, (multiplier, depth) in reversed(list(enumerate(levels))):
            for number in range(BLOCKS + 1):
                layers = block(here + kept.pop(), multiplier * channels, depth)
                here = multiplier * channels
                if level and number == BLOCKS:
                    layers.append(Upsample(here))
                self.output_blocks.append(layers)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, here), nn.SiLU(), nn.Conv2d(here, LATENT, 3, padding=1)
        )
        self.requires_grad_(False)

    @property
    def last(self) -> Tensor:
        """Weights of the last convolution, on the network's device and in its dtype."""
        weight = self.out[-1].weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, u: Tensor, t: Tensor, context: Tensor, label: Tensor | None = None) -> Tensor:
        """u [B, 4, H, W] at the times t [B] of 1000, prompts [B, T, D], [B, label] -> F."""
        time = self.time_embed(_waves(t, self.channels).to(u))
        if self.label_emb is not None:
            time = time + self.label_emb(label)  # [B, E]
        h, kept = u, []
        for layers in self.input_blocks:
            h = _through(layers, h, time, context)
            kept.append(h)
        h = _through(self.middle_block, h, time, context)
        for layers in self.output_blocks:
            h = _through(layers, torch.cat([h, kept.pop()], 1), time, context)
        out: Tensor = self.out(h)
        return out


def _two_layers(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, outside), nn.SiLU(), nn.Linear(outside, outside))


def _through(layers: nn.Module, h: Tensor, time: Tensor, context: Tensor) -> Tensor:
    assert isinstance(layers, nn.ModuleList)
    for layer in layers:
        h = layer(h) if isinstance(layer, nn.Conv2d) else layer(h, time, context)
    return h


def _waves(t: Tensor, channels: int) -> Tensor:
    """Cosines and sines of t [B] at frequencies from 1 down to 1e-4, [B, channels]."""
    half = channels // 2
    frequencies = torch.exp(-math.log(1e4) / half * torch.arange(half, device=t.device))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


def random_network(
    sizes: Sizes, device: torch.device, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> UNet:
    """A U-Net whose layers keep the size of what goes through them; the same for the same seed.

    Weights are drawn on the device and in the dtype: in main memory SDXL's take 10 GB and minutes.
    """
    with torch.device("meta"):
        network = UNet(sizes)
    network = network.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(seed)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            weight.normal_(0.0, 1.0 / math.sqrt(weight[0].numel()), generator=generator)
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
    network.last.mul_(LAST_GAIN)
    return network


# -- denoiser ---------------------------------------------------------------------------------


class Guided:
    """A network as a denoiser (x [B, 4, H, W], sigma [B]) -> D, in EDM coordinates.

        D = D_- + scale (D_+ - D_-),      both in one call of 2 B rows

    x may be in main memory, where the optimiser's noise is drawn: D is where x is.

    network: one of random weights
    levels:  [T] the model's noise levels, ascending, one for each time
    tokens:  of the two random prompts
    """

    def __init__(
        self, network: UNet, sizes: Sizes, levels: np.ndarray, scale: float, tokens: int
    ) -> None:
        self.network, self.scale = network, scale
        self.log_levels = np.log(levels)
        self.like = network.last
        generator = torch.Generator().manual_seed(1)
        prompts = torch.randn(2, tokens, sizes.context, generator=generator)
        self.prompts = prompts.to(self.like)  # [-, +]
        self.labels = None
        if sizes.label is not None:
            self.labels = torch.randn(2, sizes.label, generator=generator).to(self.like)

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D, in x's dtype and on its device."""
        rows = len(x)
        s = sigma.reshape(-1, *[1] * (x.ndim - 1)).to(self.like.device, torch.float32)
        here = x.to(self.like.device, torch.float32)
        scale = (1.0 + s.square()).sqrt()
        u = (here / scale).to(self.like).repeat(2, 1, 1, 1)
        labels = None if self.labels is None else self.labels.repeat_interleave(rows, 0)
        F = self.network(u, self._times(sigma), self.prompts.repeat_interleave(rows, 0), labels)
        minus, plus = F.float().chunk(2)
        D = here / scale.square() + s / scale * (minus + self.scale * (plus - minus))
        return D.to(x)

    def _times(self, sigma: Tensor) -> Tensor:
        """The times of levels [B], twice, [2 B]."""
        log_levels = np.log(sigma.double().cpu().numpy())
        times = np.interp(log_levels, self.log_levels, np.arange(len(self.log_levels)))
        return torch.from_numpy(np.tile(times, 2)).to(self.like.device, torch.float32)
