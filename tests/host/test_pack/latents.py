"""Latents of all shapes, and models that sample them."""

from __future__ import annotations

import json
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from .model import Config, Network, build

__all__ = [
    "KINDS",
    "AYSTestLatent",
    "AYSTestLatentModel",
    "AYSTestShowLatent",
    "latent",
]


class Video(comfy.latent_formats.LatentFormat):
    """Latents [B, 3, T, H, W], shifted and scaled, of a sixteenth of the pixels' width."""

    latent_channels = 3
    latent_dimensions = 3
    spacial_downscale_ratio = 16
    temporal_downscale_ratio = 4

    def process_in(self, latent: Tensor) -> Tensor:
        """From the latent that nodes see to the model's own."""
        return (latent - 0.25) / 2.0

    def process_out(self, latent: Tensor) -> Tensor:
        """Back."""
        return latent * 2.0 + 0.25


class VideoConfig(Config):
    """Of a video model."""

    latent_format = Video


class Four(comfy.latent_formats.LatentFormat):
    """Latents [B, 4, H, W], scaled."""

    latent_channels = 4
    scale_factor = 0.5


class FourConfig(Config):
    """Of an image model with four channels."""

    latent_format = Four


class NestedNetwork(Network):
    """A network that takes and gives the parts of a nested latent, as the host hands them over."""

    def forward(self, xc: list[Tensor], t: Tensor, **options: Any) -> list[Tensor]:  # type: ignore[override]
        """Every part as if all were one row of numbers."""
        packed, shapes = comfy.utils.pack_latents(xc)
        output = super().forward(packed, t, **options)
        parts: list[Tensor] = comfy.utils.unpack_latents(output, shapes)
        return parts


class NestedModel(comfy.model_base.BaseModel):
    """A model that asks the host for the parts of a nested latent, as LTXAV does."""

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """The usual, and the parts' shapes."""
        out = super().extra_conds(**kwargs)
        if kwargs.get("latent_shapes") is not None:
            out["latent_shapes"] = comfy.conds.CONDConstant(kwargs["latent_shapes"])
        return out


KINDS: dict[str, dict[str, Any]] = {
    "image": {},
    "four channels": {"config_class": FourConfig},
    "video": {"config_class": VideoConfig},
    "audio and video": {"network_class": NestedNetwork, "model_class": NestedModel},
}


def latent(shapes: list[list[int]], seed: int) -> dict[str, Any]:
    """A LATENT of one shape, or nested of several; zeros for seed 0, else normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(shape, generator=generator) * (seed > 0) for shape in shapes]
    if len(parts) == 1:
        return {"samples": parts[0]}
    from comfy.nested_tensor import NestedTensor  # not every host has it

    return {"samples": NestedTensor(parts)}


class AYSTestLatent(io.ComfyNode):
    """A latent of any shape, nested for several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestLatent",
            category="tests",
            inputs=[io.String.Input("shapes", default="[[1, 1, 8, 8]]"), io.Int.Input("seed")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, shapes: str, seed: int) -> io.NodeOutput:
        """Make it."""
        return io.NodeOutput(latent(json.loads(shapes), seed))


class AYSTestShowLatent(io.ComfyNode):
    """A latent's shapes, in the prompt's history."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestShowLatent",
            category="tests",
            inputs=[io.Latent.Input("samples")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, samples: dict[str, Any]) -> io.NodeOutput:
        """Show the shape of every part, and whether all are numbers."""
        latents = samples["samples"]
        parts = latents.unbind() if getattr(latents, "is_nested", False) else [latents]
        shapes = [list(part.shape) for part in parts]
        finite = all(bool(part.isfinite().all()) for part in parts)
        return io.NodeOutput(ui={"shapes": shapes, "finite": [finite]})


class AYSTestLatentModel(io.ComfyNode):
    """A mixture model for another kind of latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestLatentModel",
            category="tests",
            inputs=[
                io.Combo.Input("latents", options=list(KINDS)),
                io.Combo.Input("prediction", options=["eps", "v", "edm", "flow"]),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, latents: str, prediction: str) -> io.NodeOutput:
        """Build the model."""
        return io.NodeOutput(build("gaussian mixture", prediction, 7, 1.0, **KINDS[latents]))
