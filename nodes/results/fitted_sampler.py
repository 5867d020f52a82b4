"""A fitted sampler between the optimiser, a saved result, and what the nodes hand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...optimizer import FittedCount, Result
from ...schedules import CalibratedSampler, SavedSchedule
from .. import host

__all__ = ["fitted_sampler", "fitted_samplers", "sampled_levels", "with_samplers"]


def fitted_samplers(result: Result, levels: host.NoiseLevels) -> tuple[CalibratedSampler, ...]:
    """The samplers of a calibration in the host's units, that of its own steps first."""
    sampler = result.sampler
    assert sampler is not None
    own, *others = result.counts.values() or [FittedCount(sampler, ())]
    found = [_in_host_units(own, result, levels, result.sigmas.tolist())]
    for one in others:
        below = result.coordinate.level(np.array(one.sampler.levels[1:-1])).tolist()
        sigmas = [float(result.sigmas[0]), *below, 0.0]
        found.append(replace(_in_host_units(one, result, levels, sigmas), weights_only=True))
    return tuple(found)


def fitted_sampler(result: Result, levels: host.NoiseLevels) -> CalibratedSampler:
    """The sampler of a calibration for its own steps."""
    return fitted_samplers(result, levels)[0]


def _in_host_units(
    one: FittedCount, result: Result, levels: host.NoiseLevels, sigmas: Sequence[float]
) -> CalibratedSampler:
    """A sampler with its levels in the host's units; told levels stay within the model's."""
    told = [
        sigma if at == t else float(result.coordinate.level(np.array(at)))
        for sigma, t, at in zip(sigmas, one.sampler.levels, one.sampler.told, strict=False)
    ]
    within = [min(max(s, levels.sigma_min), levels.sigma_max) for s in told]
    return CalibratedSampler(
        tuple(sigmas), tuple(within), one.sampler.weights, restarts=one.restarts
    )


def sampled_levels(saved: SavedSchedule) -> Tensor:
    """The levels [n+1] that a result was made for: those of its sampler, if it has one."""
    own = saved.sampler_for(saved.schedule.steps)
    levels = (*saved.schedule.levels[:-1], 0.0) if own is None else own.levels
    return torch.tensor(levels, dtype=torch.float32)


def with_samplers(saved: SavedSchedule, more: Sequence[SavedSchedule]) -> SavedSchedule:
    """A result with the samplers of others for their numbers of steps.

    First its own, then those that were fitted fully, then those whose weights alone were.
    """
    own = next(iter(saved.samplers), None)
    every = [sampler for one in [saved, *more] for sampler in one.samplers]
    samplers = {} if own is None else {own.steps: own}
    for sampler in sorted(every, key=lambda sampler: sampler.weights_only):
        samplers.setdefault(sampler.steps, sampler)
    return replace(saved, samplers=tuple(samplers.values()))
