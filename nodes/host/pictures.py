"""Pictures of measured end points: decoded by a VAE as VAEDecode does it."""

from __future__ import annotations

from typing import Any

import comfy.model_management
from torch import Tensor

from .guided_model import GuidedModel

__all__ = ["decoded"]


def decoded(vae: Any, guided: GuidedModel, end: Tensor) -> Tensor:
    """The picture [H, W, 3] of an end point [...] in the model's own space.

    Of a video the frame in the middle, of audio and video the video.

    Raises ValueError for a VAE that fails, also by lack of memory; the host's interrupt as it is.
    """
    try:
        latent = guided.released(end[None])
        if getattr(latent, "is_nested", False):
            latent = latent.unbind()[0]
        picture = vae.decode(latent)
        while picture.ndim > 3:  # [B, H, W, C], or of a video [B, T, H, W, C]
            picture = picture[picture.shape[0] // 2]
        if picture.ndim < 3 or picture.shape[-1] < 3 or picture.numel() == 0:
            raise ValueError(f"it gave the shape {list(picture.shape)}, which is no picture")
        return picture[..., :3].detach().float().cpu().nan_to_num().contiguous()
    except comfy.model_management.InterruptProcessingException:
        raise
    except Exception as error:  # a VAE of another model may fail in any way
        raise ValueError(f"the VAE could not decode them: {error}") from error
