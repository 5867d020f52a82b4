"""A MODEL with its guidance, bound to the optimiser.

Every solver run is one `guider.sample(...)` with the sampler and the candidate's levels: exactly
what the user will run, with the host's own resets, noise scaling and wrappers. Counting, checking,
remembering and cancelling sit in one wrapper around the guided prediction, on a clone of the
model: the user's own objects stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import numpy as np
import torch
from torch import Tensor

from ...optimizer import Meter
from ...optimizer.brownian import BrownianPath
from ...optimizer.solvers import StochasticSolver
from .latents import LatentUse
from .model import NoiseLevels, simple_schedule
from .reference import reference_sampler
from .samplers import JudgedSampler

__all__ = ["GuidedModel", "make_guider"]

WRAPPER_KEY = "align_your_steps"
LARGEST_BATCH = 16
TRIAL_STEPS = 6


def make_guider(model: Any, positive: Any, negative: Any, cfg: float) -> Any:
    """The guider that KSampler would use."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


class GuidedModel:
    """The denoiser and the solvers of one optimisation.

    Arguments:
        guider: a GUIDER; it is not changed.
        levels: its model's noise levels.
        latent: the start image and the noise mask.
        sampler: how schedules are judged.
    """

    def __init__(
        self,
        guider: Any,
        levels: NoiseLevels,
        latent: LatentUse,
        sampler: JudgedSampler,
    ):
        self.levels = levels
        self.latent = latent
        self.sampler = sampler
        self.meter = Meter()
        self.stand_in: Callable[[Tensor, float], Tensor] | None = None
        self.guider = copy.copy(guider)
        self.guider.model_patcher = guider.model_patcher.clone()
        self.guider.model_options = self.guider.model_patcher.model_options
        self.guider.model_patcher.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.PREDICT_NOISE, WRAPPER_KEY, self._predict
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent, without the batch."""
        return tuple(self.latent.start.shape[1:])

    @property
    def model_name(self) -> str:
        """The model's family as the host calls it, with a space after it; empty if it has none."""
        kind = type(self.guider.model_patcher.model).__name__
        return "" if kind == "BaseModel" else f"{kind} "

    @property
    def batch_size(self) -> int:
        """Rows that fit into free memory at once, a power of two from 1 to 16."""
        patcher = self.guider.model_patcher
        free = comfy.model_management.get_free_memory(patcher.load_device)
        batch = LARGEST_BATCH
        while batch > 1 and 2 * patcher.memory_required([2 * batch, *self.shape]) > free:
            batch //= 2
        return batch

    @cached_property
    def calls_per_step(self) -> int:
        """Denoiser calls a step of the judged run, counted in runs that ask the model nothing.

        Raises ValueError if the run adds fresh noise: two of them along other noise are not alike.
        """
        first, second = (self._trial(seed) for seed in (0, 1))
        if len(first) != len(second) or not all(map(torch.equal, first, second)):
            raise ValueError(
                f"No schedule can be optimised for the sampler '{self.sampler.name}': it adds "
                "fresh noise, and no option 'eta' switches it off. Choose another sampler, "
                "for example dpmpp_2m_sde."
            )
        return max(1, -(-len(first) // TRIAL_STEPS))

    def _trial(self, seed: int) -> list[Tensor]:
        """Every x that the judged run asks a stand-in for the model about."""
        asked: list[Tensor] = []

        def answer(x: Tensor, level: float) -> Tensor:
            asked.append(x.cpu().clone())
            return x / (1.0 + level**2)  # ideal for normal data

        noise = torch.randn(1, *self.shape, generator=torch.Generator().manual_seed(0))
        latent = self.latent
        # Some samplers noise what a mask keeps by the seed: that is not the fresh noise meant here.
        self.latent = dataclasses.replace(latent, mask=None)
        self.stand_in = answer
        try:
            torch.manual_seed(seed)
            self.sample(noise, simple_schedule(self.levels, TRIAL_STEPS), self.sampler.run, seed)
        finally:
            self.stand_in, self.latent = None, latent
        return asked

    def solver(self) -> HostSolver:
        """The Solver that is judged."""
        judged = self.sampler
        noisy = judged.stochastic
        return HostSolver(self, judged.run, self.calls_per_step, judged.order, noisy)

    def reference(self) -> HostSolver:
        """The Solver of the reference runs."""
        judged = self.sampler
        if judged.reference_order == 3:
            return HostSolver(self, reference_sampler(self.levels, judged.run), 1, 3)
        return HostSolver(self, judged.run, self.calls_per_step, judged.reference_order)

    def sample(self, noise: Tensor, sigmas: Tensor, sampler: Any, seed: int) -> Tensor:
        """One sampling run, in the model's own latent space: [B, ...] -> [B, ...]."""
        samples = self.guider.sample(
            noise,
            self.latent.start.expand(len(noise), *self.shape).clone(),
            sampler,
            sigmas.clone(),  # uni_pc writes into what it gets
            denoise_mask=self.latent.mask,
            seed=seed,
            disable_pbar=True,
        )
        return self.guider.model_patcher.model.process_latent_in(samples.cpu()).float()

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided E[x_0 | x] at one EDM level."""
        return next(iter(self.walk(iter([(x, sigma)]), sigma[:1].double().cpu())))

    def walk(self, points: Iterator[tuple[Tensor, Tensor]], sigmas: Tensor) -> list[Tensor]:
        """The guided E[x_0 | x] along one forward path of each sample, in one sampling run."""
        host = torch.from_numpy(self.levels.coordinate.level(sigmas.numpy())).float()
        first = next(points)
        walker = _Walker(self.levels, host, chain([first], points))
        self.sample(torch.zeros_like(first[0]), host, walker, seed=0)
        return walker.outputs

    def _predict(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: Any, seed: Any
    ) -> Tensor:
        """Around every guided prediction: cancel, count, check, remember."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        level = float(timestep.flatten()[0])
        if self.stand_in is not None:
            return self.stand_in(x, level)
        # A sampler that hooks in after the guidance needs the call itself.
        hooks = "sampler_post_cfg_function"
        self.meter.remember = model_options.get(hooks) == self.guider.model_options.get(hooks)
        return self.meter(x, level, lambda: executor(x, timestep, model_options, seed))


class HostSolver:
    """A Solver of the optimiser: one sampling run of the host.

    noisy: the stochastic SAMPLER whose twin `sampler` is; None: there is none, or none to run
    """

    def __init__(
        self,
        model: GuidedModel,
        sampler: Any,
        calls_per_step: int,
        order: int,
        noisy: Any = None,
    ):
        self.model = model
        self.sampler = sampler
        self.calls_per_step = calls_per_step
        self.order = order
        self.noisy = noisy

    @property
    def stochastic(self) -> StochasticSolver | None:
        """(noise, sigmas, path) -> x_0: the stochastic sampler along given noise."""
        return None if self.noisy is None else self._along

    def _along(self, noise: Tensor, sigmas: Tensor, path: BrownianPath) -> Tensor:
        coordinate = self.model.levels.coordinate

        def unit_noise(s: Tensor, t: Tensor) -> Tensor:
            """What the host's samplers ask for a step from level s down to t."""
            levels = coordinate.finite_edm(np.array([float(s), float(t)]))
            return path.noise(*levels.tolist()).to(s)

        sampler = copy.copy(self.noisy)
        sampler.extra_options = {**sampler.extra_options, "noise_sampler": unit_noise}
        return self.model.sample(noise, sigmas, sampler, seed=0)

    def __call__(self, noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        """(noise [B, ...], sigmas [n+1], seed) -> x_0 [B, ...]."""
        return self.model.sample(noise, sigmas, self.sampler, seed)


class _Walker(comfy.samplers.Sampler):
    """A sampler that evaluates the guided prediction along given points and samples nothing."""

    def __init__(
        self, levels: NoiseLevels, sigmas: Tensor, points: Iterator[tuple[Tensor, Tensor]]
    ):
        self.levels = levels
        self.sigmas = sigmas
        self.points = points
        self.outputs: list[Tensor] = []

    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        """Called by the host in place of a sampler."""
        for (x, _), level in zip(self.points, self.sigmas, strict=True):
            options = comfy.model_patcher.create_model_options_clone(extra_args["model_options"])
            output = model_wrap(
                (self.levels.signal(float(level)) * x).to(noise),
                level.to(noise).expand(len(x)),
                model_options=options,
                seed=extra_args.get("seed"),
            )
            self.outputs.append(output.float().cpu())
        return noise
