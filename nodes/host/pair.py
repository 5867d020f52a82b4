"""Two models that share one sampling run: base and refiner, high- and low-noise experts.

The first model answers above one noise level, the second one from that level on. So the pair is
one denoiser, and has one fine-step limit, whatever the schedule. A schedule is run as its user will
run it, through two KSamplerAdvanced: the first model runs the steps that begin above the boundary
and leaves its noise, the second one goes on from there without fresh noise, and multistep samplers
begin anew.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...optimizer import JudgedSolver
from .guided_model import GuidedModel
from .latents import LatentUse
from .model import NoiseLevels, noise_levels, sampled_model, simple_schedule
from .samplers import JudgedSampler
from .scheduler import steps_of_the_first
from .solver import HostSolver

__all__ = ["GuidedPair", "boundary_level", "pair_levels", "with_model"]

BOUNDARY_ROUNDING = 1e-6  # by which a level at the boundary may be above it, relative


def with_model(guider: Any, model: Any) -> Any:
    """The same guidance of another MODEL."""
    other = copy.copy(guider)
    other.model_patcher = sampled_model(model)
    other.model_options = model.model_options
    return other


def boundary_level(levels: NoiseLevels, steps: int, denoise: float, boundary_step: int) -> float:
    """The level at which the second model takes over: that of a step of the host's 'simple'.

    Raises ValueError for a step that leaves one of the models without any.
    """
    if not 1 <= boundary_step < steps:
        raise ValueError(
            f"boundary_step was {boundary_step} of {steps} steps: with a second model give the "
            "number of steps that the first model runs with the scheduler 'simple', at least 1 "
            "and less than steps."
        )
    total = steps if denoise >= 1.0 else int(steps / denoise)
    return float(simple_schedule(levels, total)[-(steps + 1) :][boundary_step])


def pair_levels(first: NoiseLevels, second_model: Any, boundary: float) -> NoiseLevels:
    """The noise levels of a pair: it begins as the first model and ends as the second.

    Raises ValueError for a second model whose levels mean something else, or do not reach the
    boundary.
    """
    second = noise_levels(second_model)
    at = np.array(boundary)
    alike = np.isclose(first.coordinate.edm(at), second.coordinate.edm(at), rtol=1e-3)
    if first.flow != second.flow or not alike:
        raise ValueError(
            "The noise levels of the two models mean different things (one is a flow model, for "
            "example): only models of the same kind can share a schedule."
        )
    if not second.sigma_min < boundary <= second.sigma_max:
        raise ValueError(
            f"The second model would take over at noise level {boundary:.4g}, but its own run from "
            f"{second.sigma_max:.4g} to {second.sigma_min:.4g}: choose another boundary_step."
        )
    return dataclasses.replace(first, sigma_min=second.sigma_min)


class GuidedPair(GuidedModel):
    """The denoiser and the solvers of one optimisation for two models.

    Arguments:
        guider, second: a GUIDER each; they are not changed.
        boundary: the level at and below which the second one answers.
        levels: of the pair.
        latent, sampler: as for a single model.
    """

    def __init__(
        self,
        guider: Any,
        second: Any,
        boundary: float,
        levels: NoiseLevels,
        latent: LatentUse,
        sampler: JudgedSampler,
    ):
        super().__init__(guider, levels, latent, sampler)
        self.second = GuidedModel(second, levels, latent, sampler, beside=self)
        self.boundary = boundary

    @cached_property
    def calls_per_step(self) -> int:
        """As of a single model."""
        return self.second.calls_per_step

    @property
    def batch_size(self) -> int:
        """Rows that fit into free memory at once with either model."""
        return min(super().batch_size, self.second.batch_size)

    def reference(self) -> HostSolver:
        """The Solver of the reference runs: one level is the boundary, lest a step crosses it."""
        single = super().reference()

        def sample(noise: Tensor, sigmas: Tensor, sampler: Any, seed: int) -> Tensor:
            first = steps_of_the_first(sigmas.tolist(), self.boundary)
            if first < len(sigmas) - 1:
                sigmas = sigmas.clone()
                sigmas[first] = self.boundary
            return single.sample(noise, sigmas, sampler, seed)

        return dataclasses.replace(single, sample=sample)

    def calibration(self, first: float) -> JudgedSolver:
        """The sampler that is fitted to both models, each in a run of its own."""
        single, second = super().calibration(first), self.second.calibration(self.boundary)
        at_boundary = float(self.levels.coordinate.edm(np.array(self.boundary)))

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            above = float(sigma[0]) > at_boundary * (1.0 + BOUNDARY_ROUNDING)
            return (single if above else second).denoise(x, sigma)

        return dataclasses.replace(single, denoise=denoise, boundary=at_boundary)

    def run(
        self, noise: Tensor, start: Any, sigmas: Tensor, sampler: Any, seed: int, fine: bool
    ) -> Any:
        """Two runs of the host, one after the other."""
        first = steps_of_the_first(sigmas.tolist(), self.boundary)
        if first == len(sigmas) - 1:
            return super().run(noise, start, sigmas, sampler, seed, fine)
        left = super().run(noise, start, sigmas[: first + 1], sampler, seed, fine)
        return self.second.run(torch.zeros_like(noise), left, sigmas[first:], sampler, seed, fine)

    def walk(self, points: Iterator[tuple[Tensor, Tensor]], sigmas: Tensor) -> list[Tensor]:
        """The guided E[x_0 | x] along one forward path of each sample, in a run of each model."""
        host = self.levels.coordinate.level(sigmas.numpy()).astype(np.float32)
        first = int((host > self.boundary).sum())
        outputs = super().walk(islice(points, first), sigmas[:first]) if first else []
        if first < len(sigmas):
            outputs += self.second.walk(points, sigmas[first:])
        return outputs
