"""A MODEL with its guidance, bound to the optimiser.

Every solver run is one `guider.sample(...)` with the sampler and the candidate's levels: exactly
what the user will run, with the host's own resets, noise scaling and wrappers. Counting, checking,
remembering and cancelling sit in one wrapper around the guided prediction, on a clone of the
model: the user's own objects stay as they are.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

import comfy.model_management
import comfy.samplers
import comfy.utils
import numpy as np
import torch
from torch import Tensor

from ...optimizer import Meter
from ...optimizer.coordinate import edm_level
from .guidance import is_plain, watched, without_caches, wraps_calls
from .latents import LatentUse
from .memory import SplitCalls, is_out_of_memory, largest_batch
from .misfit import ERRORS as MISFITS
from .misfit import misfit
from .model import NoiseLevels, simple_schedule
from .reference import reference_sampler
from .samplers import JudgedSampler
from .solver import HostSolver
from .walker import Walker

__all__ = ["GuidedModel", "make_guider"]

TRIAL_STEPS = 6
COUPLED = 0.01  # of the distance between two rows' predictions: less may be rounding
# What fails with two rows may work with one. An interrupt is none of these.
ERRORS = (RuntimeError, LookupError, TypeError, ValueError, AssertionError)

T = TypeVar("T")

log = logging.getLogger("align_your_steps")


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
        self.given = guider
        self.levels = levels
        self.latent = latent
        self.sampler = sampler
        self.meter = Meter()
        self.calls = SplitCalls()
        self.stand_in: Callable[[Tensor, float], Tensor] | None = None
        self.works = False  # whether a call was made that did not fail
        self.plain = is_plain(guider)
        self.wrapped = wraps_calls(guider)
        self.guider = watched(guider, self._predict)
        uncached = without_caches(guider)
        self.uncached = self.guider if uncached is guider else watched(uncached, self._predict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent, without the batch."""
        return self.latent.shape

    @property
    def model_name(self) -> str:
        """The model's family as the host calls it, with a space after it; empty if it has none."""
        kind = type(self.guider.model_patcher.model).__name__
        return "" if kind == "BaseModel" else f"{kind} "

    @property
    def batch_size(self) -> int:
        """Rows of a call that fit into memory, a power of two from 1 to 16.

        1 where rows run together differ from rows run alone, as the user runs them; to find out may
        take a few calls.
        """
        return 1 if self.rows_are_coupled else largest_batch(self.guider, self.shape)

    @cached_property
    def rows_are_coupled(self) -> bool:
        """Whether a row's prediction depends on its place or on the other rows of its call."""
        if self.plain or self.wrapped:
            return self.wrapped
        ends = self.levels.coordinate.finite_edm(
            np.array([self.levels.sigma_max, self.levels.sigma_min])
        )
        # From the top, where nodes that remember a run begin another.
        sigmas = torch.tensor([ends[0], np.sqrt(ends.prod())])
        random = torch.Generator().manual_seed(0)
        noise = torch.randn(3, *self.shape, generator=random)

        def predicted(noise: Tensor) -> Tensor:
            points = ((s * noise, s.expand(len(noise))) for s in sigmas.float())
            return self.walk(points, sigmas)[-1]

        try:
            behind, before = predicted(noise[:2]), predicted(noise[1:])
        except ERRORS as error:  # some nodes can only take one row
            log.info("Two noises cannot be run in one call, so each is run alone: %s", error)
            return True
        change = torch.linalg.norm(behind[1] - before[0])
        return bool(change > COUPLED * torch.linalg.norm(before[1] - before[0]))

    @property
    def elements(self) -> Tensor | None:
        """Those of a latent that the noise mask leaves to the model, as indices; None: all.

        Raises ValueError for a mask that leaves none.
        """
        if self.latent.mask is None:
            return None
        walker = Walker(self.levels, torch.empty(0), iter(()))  # the host prepares the mask
        ends = torch.tensor([self.levels.sigma_max, 0.0])
        self.sample(torch.zeros(self.batch_size, *self.shape), ends, walker, seed=0)
        assert walker.mask is not None
        free = (walker.mask > 0).flatten(1).any(0).nonzero().flatten()
        if len(free) == 0:
            raise ValueError(
                "The noise mask of the linked latent is zero everywhere, so nothing would be "
                "sampled: link a mask with something in it, or a latent without a mask."
            )
        return free

    @property
    def splits(self) -> bool:
        """Whether a call's rows may be asked for in parts: they are alike but for x."""
        latent = self.latent
        return self.plain and latent.mask is None and len(latent.start) == 1

    def fitted(self, run: Callable[[int, int], T]) -> T:
        """run(batch size, calls made to find it); if memory runs out, again with half the rows.

        Calls that may be split are, so that they do not come here.

        Raises ValueError when it is not enough for one row.
        """
        before = self.meter.rows
        batch = self.batch_size
        made = self.meter.rows - before
        while True:
            self.calls.rows = batch
            try:
                return run(batch, made)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the handler: the exception holds on to what the failed call had computed.
            self.meter.forget()
            comfy.model_management.soft_empty_cache()
            if self.calls.rows == 1:
                comfy.model_management.unload_all_models()
                raise ValueError(
                    f"The device ran out of memory with a single latent of {self.latent.sizes}: "
                    "link a smaller latent, close what else uses the device, or start ComfyUI "
                    "with --lowvram."
                )
            batch = self.calls.rows // 2
            log.warning(
                "The device ran out of memory with %d latents at a time: the measurement starts "
                "again with %d.",
                self.calls.rows,
                batch,
            )

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
            self.sample(noise, simple_schedule(self.levels, TRIAL_STEPS), self.sampler.run, seed)
        finally:
            self.stand_in, self.latent = None, latent
        return asked

    def solver(self) -> HostSolver:
        """The Solver that is judged."""
        judged = self.sampler
        noisy = judged.stochastic
        own_level = edm_level if judged.half_log_snr else self.levels.coordinate.level
        return HostSolver(self, judged.run, self.calls_per_step, judged.order, noisy, own_level)

    def reference(self) -> HostSolver:
        """The Solver of the reference runs."""
        judged = self.sampler
        if judged.reference_order == 3:
            return HostSolver(self, reference_sampler(self.levels, judged.run), 1, 3, fine=True)
        order = judged.reference_order
        return HostSolver(self, judged.run, self.calls_per_step, order, fine=True)

    @property
    def note(self) -> str:
        """What is particular about the guidance, in whole sentences; empty if nothing is."""
        notes = []
        if self.uncached is not self.guider:
            notes.append("The reference is computed without the model's cache of calls.")
        if self.rows_are_coupled:
            notes.append("Each noise was run alone: together they would have come out otherwise.")
        return " ".join(notes)

    def sample(
        self, noise: Tensor, sigmas: Tensor, sampler: Any, seed: int, *, fine: bool = False
    ) -> Tensor:
        """One sampling run, in the model's own latent space: [B, ...] -> [B, ...].

        fine: whether it takes so many steps that a cache of calls would skip most of them
        """
        start = self.latent.unpacked(self.latent.starts(len(noise)))
        samples = self.run(noise, start, sigmas, sampler, seed, fine)
        if getattr(samples, "is_nested", False):
            samples, _ = comfy.utils.pack_latents(samples.unbind())
        return self.guider.model_patcher.model.process_latent_in(samples.cpu()).float()

    def released(self, x: Tensor) -> Any:
        """End points [B, ...] of `sample` as KSampler hands them out."""
        return self.latent.unpacked(self.guider.model_patcher.model.process_latent_out(x))

    def run(
        self, noise: Tensor, start: Any, sigmas: Tensor, sampler: Any, seed: int, fine: bool
    ) -> Any:
        """What the host's sampling returns, from a start image and noise of unit variance."""
        self.asked = False
        torch.manual_seed(seed)  # some nodes draw from the common generator, which a user seeds too
        guider = self.uncached if fine else self.guider
        before = self.meter.calls
        try:
            samples = guider.sample(
                self.latent.unpacked(noise),
                start,
                sampler,
                sigmas.clone(),  # uni_pc writes into what it gets
                denoise_mask=self.latent.mask,
                seed=seed,
                disable_pbar=True,
            )
        except MISFITS as error:
            if self.works or self.meter.calls > before or is_out_of_memory(error):
                raise
            raise misfit(error, self.latent.sizes) from error
        self.works = self.works or self.meter.calls > before
        if not self.asked and not isinstance(sampler, Walker):
            raise ValueError(
                f"The guider {type(self.guider).__name__} does not run the model that it holds as "
                "'model_patcher', so nothing can be measured: link a guider that does, for example "
                "CFGGuider."
            )
        return samples

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided E[x_0 | x] at one EDM level."""
        return next(iter(self.walk(iter([(x, sigma)]), sigma[:1].double().cpu())))

    def walk(self, points: Iterator[tuple[Tensor, Tensor]], sigmas: Tensor) -> list[Tensor]:
        """The guided E[x_0 | x] along one forward path of each sample, in one sampling run."""
        host = torch.from_numpy(self.levels.coordinate.level(sigmas.numpy())).float()
        first = next(points)
        walker = Walker(self.levels, host, chain([first], points))
        # What the mask leaves out is noised with one noise at all levels, as in every run.
        noise = torch.randn(first[0].shape, generator=torch.Generator().manual_seed(0))
        self.sample(noise, host, walker, seed=0, fine=True)
        return walker.outputs

    def _predict(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: Any, seed: Any
    ) -> Tensor:
        """Around every guided prediction: cancel, count, check, remember.

        An answer from memory leaves out the call, and with it what other nodes may keep of it.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.asked = True
        level = float(timestep.flatten()[0])
        if self.stand_in is not None:
            return self.stand_in(x, level)

        def part(rows: slice) -> Tensor:
            level = timestep if timestep.numel() == 1 else timestep[rows]
            output: Tensor = executor(x[rows], level, model_options, seed)
            return output

        def compute() -> Tensor:
            if self.splits:
                return self.calls(part, len(x))
            self.calls.rows = len(x)
            return part(slice(None))

        # A sampler that hooks in after the guidance needs the call itself.
        recall = self.plain and not model_options.get("sampler_post_cfg_function")
        return self.meter(x, level, compute, recall=recall)
