"""Inputs and schema fields that several nodes share."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io

from ..schedules import PRESETS
from . import host
from .sigmas_inputs import linked_sigmas, sigmas_inputs

__all__ = ["AUTO", "linked_sigmas", "schedule_input", "sigmas_inputs", "supported"]

AUTO = "auto"


def supported(**fields: Any) -> dict[str, Any]:
    """Those Schema fields that this version of the host knows."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return {name: value for name, value in fields.items() if name in known}


def schedule_input() -> io.Combo.Input:
    """The drop-down of schedules: auto, the published presets, the saved results as of now."""
    return io.Combo.Input(
        "schedule",
        options=[AUTO, *PRESETS, *host.store().list()],
        default=AUTO,
        tooltip=(
            "Which schedule to use. 'auto': the result saved for exactly this model (LoRAs "
            "included) if there is one, else the published table of its family (SD1.x, SDXL, "
            "SVD), else the host's 'simple'; the log says which. 'SD1.5', 'SDXL', 'DeepFloyd IF' "
            "and 'SVD' are the tables NVIDIA published. Below them: what Optimize AYS saved."
        ),
    )
