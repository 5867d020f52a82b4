"""A MODEL with its guidance, bound to the optimiser: its denoiser, and its solvers.

Every solver run is one `guider.sample(...)` with the sampler and the candidate's levels: exactly
what the user will run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, TypeVar

import comfy.samplers
import comfy.utils
import numpy as np
import torch
from torch import Tensor

from ...optimizer import CALIBRATED, Conditions, JudgedSolver, edm_level
from . import probes
from .latents import LatentUse
from .memory import largest_batch
from .model import NoiseLevels
from .prompts import named
from .reference import reference_sampler
from .samplers import JudgedSampler
from .solver import HostSolver, along
from .walker import Start, Walker
from .watch import Watch

__all__ = ["GuidedModel", "make_guider"]

T = TypeVar("T")


def make_guider(
    model: Any, positive: Any, negative: Any, cfg: float, further: Sequence[Any] = ()
) -> Any:
    """The guider that KSampler would use.

    further: positive prompts with which noises take turns, beside the first
    """
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds({"positive": positive, "negative": negative, **named(further)})
    guider.set_cfg(cfg)
    return guider


class GuidedModel:
    """The denoiser and the solvers of one optimisation.

    Arguments:
        guider: a GUIDER; it is not changed, and kept as `given`.
        levels: its model's noise levels.
        latent: the start image and the noise mask.
        sampler: how schedules are judged.
        beside: another one whose calls are counted, remembered and split together with its own.
    """

    def __init__(
        self,
        guider: Any,
        levels: NoiseLevels,
        latent: LatentUse,
        sampler: JudgedSampler,
        *,
        beside: GuidedModel | None = None,
    ):
        self.given = guider
        self.levels = levels
        self.latent = latent
        self.sampler = sampler
        self.watch: Watch = Watch(guider, latent, beside=None if beside is None else beside.watch)
        self.meter = self.watch.meter
        self.guider = self.watch.guider

    @property
    def conditions(self) -> Conditions:
        """Prompts with which noises take turns."""
        return self.watch.prompts.conditions

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
    def note(self) -> str:
        """Particulars of the guidance, in whole sentences; empty if there are none."""
        notes = []
        if (count := self.conditions.count) > 1:
            notes.append(f"{count} prompts took turns, seed by seed.")
        if self.watch.uncached is not self.guider:
            notes.append("The reference is computed without the model's cache of calls.")
        if self.watch.fitting.alone:
            notes.append("Each seed was run alone: the model takes one latent at a time.")
        elif self.rows_are_coupled:
            notes.append("Each seed was run alone: together they would have come out otherwise.")
        return " ".join(notes)

    # -- what probes find ---------------------------------------------------------------------

    @cached_property
    def rows_are_coupled(self) -> bool:
        """True if a row's prediction depends on its place or on the other rows of its call."""
        if self.watch.plain or self.watch.wrapped:
            return self.watch.wrapped
        return probes.are_coupled(self.walk, self.levels, self.shape)

    @property
    def elements(self) -> Tensor | None:
        """Those of a latent that the noise mask leaves to the model, as indices; None: all.

        Raises ValueError for a mask that leaves none.
        """
        if self.latent.mask is None:
            return None
        return probes.free_elements(self.sample, self.levels, (self.batch_size, *self.shape))

    @cached_property
    def calls_per_step(self) -> int:
        """Denoiser calls a step of the judged run.

        Raises ValueError if the run adds fresh noise.
        """
        return probes.calls_per_step(self.given, self.levels, self.latent, self.sampler)

    # -- memory -------------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """Rows of a call that fit into memory, a power of two from 1 to 16.

        1 where rows run together differ from rows run alone, as the user runs them; to find out may
        take a few calls. 1, too, where rows that have several prompts cannot be told apart.
        """
        if self.conditions.count > 1 and not self.watch.splits:
            return 1
        return 1 if self.rows_are_coupled else largest_batch(self.guider, self.shape)

    def fitted(self, run: Callable[[int, int], T]) -> T:
        """run(batch size, calls made to find it); if memory runs out, again with half the rows.

        Raises ValueError when it is not enough for one row.
        """
        before = self.meter.rows
        batch = self.batch_size
        made = self.meter.rows - before
        return self.watch.fitting.run(
            lambda rows: run(rows, made), batch, self.meter.forget, self.latent.sizes
        )

    # -- runs ---------------------------------------------------------------------------------

    def judged(self) -> JudgedSolver:
        """The solver that is judged with its reference, for the optimiser."""
        return JudgedSolver.of(
            self.solver(),
            self,
            reference=self.reference(),
            order=self.sampler.order,
            meter=self.meter,
        )

    def solver(self, other: JudgedSampler | None = None) -> HostSolver:
        """The Solver that is judged, or that of another sampler.

        Raises ValueError if its run adds fresh noise.
        """
        judged, coordinate = other or self.sampler, self.levels.coordinate
        calls = self.calls_per_step
        if judged is not self.sampler:
            calls = probes.calls_per_step(self.given, self.levels, self.latent, judged)
        noisy = judged.stochastic
        return HostSolver(
            self.sample,
            judged.run,
            calls,
            judged.order,
            own_level=edm_level if judged.half_log_snr else coordinate.level,
            stochastic=None if noisy is None else along(self.sample, noisy, coordinate),
        )

    def calibration(self, first: float) -> JudgedSolver:
        """The sampler that is fitted, with runs that begin at a level, for the optimiser."""

        def begin(noise: Tensor) -> Tensor:
            at = torch.tensor([first, 0.0])
            x = self.sample(noise, at, Start(self.levels), seed=0, fine=True)
            return x / float(self.levels.coordinate.noise(np.array(first)))

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            # Masks and hooks that change along a run go by its first level and its last.
            at = self.levels.coordinate.level(sigma[:1].double().cpu().numpy())
            levels = [first, *at, 0.0] if at < first else [*at, 0.0]
            return self._walked(iter([(x, sigma)]), at, torch.tensor(levels).float())[0]

        solver = JudgedSolver.of(CALIBRATED, denoise, meter=self.meter, begin=begin)
        return replace(solver, conditions=self.conditions)

    def reference(self) -> HostSolver:
        """The Solver of the reference runs."""
        judged, sample = self.sampler, partial(self.sample, fine=True)
        if judged.reference_order == 3:
            return HostSolver(sample, reference_sampler(self.levels, judged.run), 1, 3)
        return HostSolver(sample, judged.run, self.calls_per_step, judged.reference_order)

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
        """Return what the host's sampling does, from a start image and noise of unit variance."""
        return self.watch.run(noise, start, sigmas, sampler, seed, fine)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The guided E[x_0 | x] at one EDM level."""
        return next(iter(self.walk(iter([(x, sigma)]), sigma[:1].double().cpu())))

    def walk(self, points: Iterator[tuple[Tensor, Tensor]], sigmas: Tensor) -> list[Tensor]:
        """The guided E[x_0 | x] along one forward path of each sample, in one sampling run."""
        levels = self.levels.coordinate.level(sigmas.numpy())
        return self._walked(points, levels, torch.from_numpy(levels).float())

    def _walked(
        self, points: Iterator[tuple[Tensor, Tensor]], levels: np.ndarray, run: Tensor
    ) -> list[Tensor]:
        """The guided E[x_0 | x] at points of host levels, in a run that is said to have others."""
        first = next(points)
        walker = Walker(self.levels, torch.from_numpy(levels).float(), chain([first], points))
        # What the mask leaves out is noised with one noise at all levels, as in every run.
        noise = torch.randn(first[0].shape, generator=torch.Generator().manual_seed(0))
        self.sample(noise, run, walker, seed=0, fine=True)
        return walker.outputs
