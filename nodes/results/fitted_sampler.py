"""A fitted sampler between the optimiser, a saved result, and what the nodes hand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...optimizer import Result
from ...schedules import CalibratedSampler, SavedSchedule
from .. import host

__all__ = ["fitted_sampler", "sampled_levels", "with_samplers"]


def fitted_sampler(result: Result, levels: host.NoiseLevels) -> CalibratedSampler:
    """The sampler of a calibration in the host's units; told levels stay within the model's."""
    sampler = result.sampler
    assert sampler is not None
    sigmas = result.sigmas.tolist()
    told = [
        sigma if at == t else float(result.coordinate.level(np.array(at)))
        for sigma, t, at in zip(sigmas, sampler.levels, sampler.told, strict=False)
    ]
    within = [min(max(s, levels.sigma_min), levels.sigma_max) for s in told]
    return CalibratedSampler(tuple(sigmas), tuple(within), sampler.weights)


def sampled_levels(saved: SavedSchedule) -> Tensor:
    """The levels [n+1] that a result was made for: those of its sampler, if it has one."""
    own = saved.sampler_for(saved.schedule.steps)
    levels = (*saved.schedule.levels[:-1], 0.0) if own is None else own.levels
    return torch.tensor(levels, dtype=torch.float32)


def with_samplers(saved: SavedSchedule, more: Sequence[SavedSchedule]) -> SavedSchedule:
    """A result with the samplers of others for their numbers of steps."""
    samplers = {sampler.steps: sampler for one in [*more, saved] for sampler in one.samplers}
    own = [samplers[sampler.steps] for sampler in saved.samplers]
    further = [sampler for sampler in samplers.values() if sampler not in own]
    return replace(saved, samplers=(*own, *further))
