"""What the LATENT linked to an optimisation means.

At denoise 1 an empty latent gives the shape only, and encoded images are data for the profile, as
in the paper; the runs start from pure noise. Below 1 the first latent is the start image of
every run, as it will be for the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.sample
import torch
from torch import Tensor

__all__ = ["LatentUse", "latent_use"]


@dataclass(frozen=True)
class LatentUse:
    """start: [1, ...] as the host's samplers take it, zeros for pure noise; samples: x_0 [N, ...]
    in the model's own space, or None; mask: the noise mask, or None."""

    start: Tensor
    samples: Tensor | None
    mask: Tensor | None


def latent_use(model: Any, latent: dict[str, Any], denoise: float) -> LatentUse:
    """The start image, the data and the mask that a LATENT stands for.

    Raises ValueError for a nested latent or one without elements.
    """
    samples = latent.get("samples")
    if not isinstance(samples, torch.Tensor) or getattr(samples, "is_nested", False):
        raise ValueError(
            "The linked latent is not a plain tensor (audio and video together, for example): "
            "link an ordinary latent image."
        )
    samples = comfy.sample.fix_empty_latent_channels(model, samples)
    if samples.numel() == 0:
        raise ValueError(
            f"The linked latent has shape {list(samples.shape)} and no elements: link a latent "
            "image of at least one pixel."
        )
    samples, mask = samples.float().cpu(), latent.get("noise_mask")
    if denoise < 1.0:
        return LatentUse(samples[:1], None, mask)
    empty = bool(torch.count_nonzero(samples) == 0)
    data = None if empty else model.model.process_latent_in(samples)
    return LatentUse(torch.zeros_like(samples[:1]), data, mask)
