"""Meaning of a model's family to schedules: its published table, and whether it can be measured.

Families are told apart by the host's own model configuration, as its loaders found it. SD2 has no
published table: it shares SD1.5's levels, but was in no experiment of the paper.
"""

from __future__ import annotations

from typing import Any

__all__ = ["family", "refuse_frames"]

# The published preset of a model family, by the class of the host's model configuration.
FAMILIES = {
    "SD15": "SD1.5",
    "SDXL": "SDXL",
    "SDXLRefiner": "SDXL",
    "SVD_img2vid": "SVD",
}


def family(model: Any) -> str | None:
    """The published preset of the model's family; None for any other family."""
    config = getattr(model.model, "model_config", None)
    for cls in type(config).__mro__:
        if cls.__name__ in FAMILIES:
            return FAMILIES[cls.__name__]
    return None


def refuse_frames(model: Any) -> None:
    """Raises ValueError for a model that takes a batch for the frames of one video (SVD, SV3D).

    Noises of one batch would then see each other, and no error would be that of one schedule.
    """
    config = getattr(model.model, "model_config", None)
    if getattr(config, "unet_config", {}).get("use_temporal_attention"):
        raise ValueError(
            f"This model ({type(config).__name__}) takes the images of a batch for the frames of "
            "one video: no schedule can be optimised for it. Use 'AYS Scheduler' with 'auto' or a "
            "published schedule."
        )
