"""The schedules that an optimisation starts with: the user's own, and those of Algorithm 1."""

from __future__ import annotations

from typing import Any

import torch

from ...schedules import time_uniform
from .. import host
from .choose import published

__all__ = ["given_schedules", "starts"]

PAPER_STEPS = 10


def given_schedules(
    levels: host.NoiseLevels, steps: int, denoise: float, spare_level: bool
) -> dict[str, torch.Tensor]:
    """Schedules that the user already has: the host's and, where they fit, the published ones."""
    others = host.host_schedules(levels, steps, denoise, spare_level=spare_level)
    if levels.flow:
        return others
    start = host.start_level(levels, steps, denoise)
    total = steps if denoise >= 1.0 else int(steps / denoise)
    for name, table in published(levels, total).items():
        sigmas = torch.tensor(table[-(steps + 1) :])
        # The comparison needs one start; a published table may begin a little above or below it.
        if denoise < 1.0 or abs(float(sigmas[0]) / start - 1.0) < 0.1:
            sigmas[0] = start
        others[f"AYS {name}"] = sigmas
    return others


def starts(levels: host.NoiseLevels, method: str, steps: int, denoise: float) -> dict[str, Any]:
    """Starts of Algorithm 1 beside EDM's schedule: time-uniform, in EDM levels.

    The paper starts there on discrete-time models only, and always with 10 steps.
    """
    if denoise < 1.0 or (method == "paper" and levels.timesteps is None):
        return {}
    count = PAPER_STEPS if method == "paper" else steps
    return {"time-uniform": levels.coordinate.finite_edm(time_uniform(count, levels.table()))}
