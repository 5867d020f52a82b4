"""VAEs for the digits and emoji models, whose latents are small pictures already."""

from __future__ import annotations

from typing import Any

from align_your_steps.benchmarks.digits.data import to_pixels
from align_your_steps.benchmarks.emoji.data import to_pixels as to_colours
from comfy_api.latest import io
from torch import Tensor
from torch.nn import functional

__all__ = ["AYSTestDigitsVAE", "AYSTestEmojiVAE", "DigitsVAE", "EmojiVAE"]

SCALE = 32  # screen pixels for each of the 8 × 8, so that a person sees a digit
COLOUR_SCALE = 8  # for each of the emoji's 32 × 32


class DigitsVAE:
    """What the host's VAEDecode asks of a VAE."""

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, 1, H, W] of the digits model as pictures [B, 32·H, 32·W, 3] in [0, 1]."""
        grey = to_pixels(latent[:, 0].detach().float().cpu())
        grey = grey.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2)
        return grey[..., None].repeat(1, 1, 1, 3)


class AYSTestDigitsVAE(io.ComfyNode):
    """The picture in a latent of the digits model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(node_id="AYSTestDigitsVAE", category="tests", outputs=[io.Vae.Output()])

    @classmethod
    def execute(cls, **_: Any) -> io.NodeOutput:
        """Hand out the VAE."""
        return io.NodeOutput(DigitsVAE())


class EmojiVAE:
    """What the host's VAEDecode asks of a VAE."""

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, 3, H, W] of the emoji model as pictures [B, 8·H, 8·W, 3] in [0, 1]."""
        pixels = to_colours(latent.detach().float().cpu())
        large = functional.interpolate(
            pixels, scale_factor=COLOUR_SCALE, mode="bicubic", antialias=True
        )
        return large.clamp(0.0, 1.0).movedim(1, 3)


class AYSTestEmojiVAE(io.ComfyNode):
    """The picture in a latent of the emoji model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(node_id="AYSTestEmojiVAE", category="tests", outputs=[io.Vae.Output()])

    @classmethod
    def execute(cls, **_: Any) -> io.NodeOutput:
        """Hand out the VAE."""
        return io.NodeOutput(EmojiVAE())
