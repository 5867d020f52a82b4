"""Short runs of a guided model before it is measured, and what they tell of it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import comfy.samplers
import numpy as np
import torch
from torch import Tensor

from .latents import LatentUse
from .memory import OneAtATimeError
from .model import NoiseLevels, simple_schedule
from .samplers import OWN_LEVELS, JudgedSampler, refusal
from .solver import Sample
from .walker import Walker
from .watch import Watch

__all__ = ["are_coupled", "calls_per_step", "free_elements"]

TRIAL_STEPS = 6
STEPS_OF_LIMIT = (25, 100, 400)
AFTER_CFG, CFG_FUNCTION = "sampler_post_cfg_function", "sampler_cfg_function"
CFG_PP = (
    "beside the guided prediction it takes the ones with and without the prompt, as CFG++ does, "
    "which has no many-step result"
)
COUPLED = 0.01  # of the distance between two rows' predictions: less may be rounding
# What fails with two rows may work with one. An interrupt is none of these.
BATCH_ERRORS = (OneAtATimeError, RuntimeError, LookupError, TypeError, ValueError, AssertionError)

Walk = Callable[[Iterator[tuple[Tensor, Tensor]], Tensor], list[Tensor]]

log = logging.getLogger("align_your_steps")


def are_coupled(walk: Walk, levels: NoiseLevels, shape: tuple[int, ...]) -> bool:
    """Tell if a row's prediction depends on its place or on the other rows of its call.

    walk:  (points, EDM levels) -> the predictions along a path
    shape: of one latent
    """
    ends = levels.coordinate.finite_edm(np.array([levels.sigma_max, levels.sigma_min]))
    # From the top, where nodes that remember a run begin another.
    sigmas = torch.tensor([ends[0], np.sqrt(ends.prod())])
    noise = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))

    def predicted(noise: Tensor) -> Tensor:
        points = ((s * noise, s.expand(len(noise))) for s in sigmas.float())
        return walk(points, sigmas)[-1]

    try:
        behind, before = predicted(noise[:2]), predicted(noise[1:])
    except BATCH_ERRORS as error:  # some nodes can only take one row
        log.info("Two noises cannot be run in one call, so each is run alone: %s", error)
        return True
    change = torch.linalg.norm(behind[1] - before[0])
    return bool(change > COUPLED * torch.linalg.norm(before[1] - before[0]))


def free_elements(sample: Sample, levels: NoiseLevels, shape: tuple[int, ...]) -> Tensor:
    """The elements of a latent that its noise mask leaves to the model, as indices.

    shape: of a batch

    Raises ValueError for a mask that leaves none.
    """
    walker = Walker(levels, torch.empty(0), iter(()))  # the host prepares the mask
    sample(torch.zeros(shape), torch.tensor([levels.sigma_max, 0.0]), walker, 0)
    assert walker.mask is not None
    free = (walker.mask > 0).flatten(1).any(0).nonzero().flatten()
    if len(free) == 0:
        raise ValueError(
            "The noise mask of the linked latent is zero everywhere, so nothing would be "
            "sampled: link a mask with something in it, or a latent without a mask."
        )
    return free


def calls_per_step(
    guider: Any, levels: NoiseLevels, latent: LatentUse, sampler: JudgedSampler
) -> int:
    """Denoiser calls a step of a sampler's run, counted in runs that ask a stand-in for the model.

    What a sampler does is seen in what it asks for, whatever it is called and whatever it runs.

    Raises ValueError if the run adds fresh noise, which two of them along other noise tell; if it
    takes more than the guided prediction and comes to no end point with more steps, as CFG++ does;
    or if it chooses its own levels.
    """
    # Some samplers noise what a mask keeps by the seed: that is not the fresh noise meant here.
    trial = _Trial(guider, replace(latent, mask=None), sampler)
    sigmas = simple_schedule(levels, TRIAL_STEPS)
    moved = torch.cat([sigmas[:1], (sigmas[1:-2] * sigmas[2:-1]).sqrt(), sigmas[-2:]])
    first = trial.run(sigmas)
    if not _alike(first, trial.run(sigmas, seed=1)):
        raise ValueError(
            f"No schedule can be optimised for the sampler '{sampler.name}': it adds "
            "fresh noise, and no option 'eta' switches it off. Choose another sampler, "
            "for example dpmpp_2m_sde."
        )
    asked, other = ([level for _, level in found] for found in (first, trial.run(moved)))
    if len(first) > 1 and asked == other:
        raise refusal(sampler.name, OWN_LEVELS)
    if not _alike(first, trial.run(sigmas, apart=1.0), 1e-3) and not _has_limit(trial, levels):
        raise refusal(sampler.name, CFG_PP)
    return max(1, -(-len(first) // TRIAL_STEPS))


class _Trial:
    """Runs of a sampler with a stand-in for the model, which notes what it is asked."""

    def __init__(self, guider: Any, latent: LatentUse, sampler: JudgedSampler) -> None:
        self.sampler, self.latent = sampler, latent
        self.asked: list[tuple[Tensor, float]] = []
        self.apart = 0.0
        self.watch = Watch(guider, latent, stand_in=self._answer)
        options = getattr(guider, "model_options", guider.model_patcher.model_options)
        self.hooks = len(options.get(AFTER_CFG, []))
        self.guidance = options.get(CFG_FUNCTION)

    def run(
        self, sigmas: Tensor, *, seed: int = 0, apart: float = 0.0
    ) -> list[tuple[Tensor, float]]:
        """Each x that a run asks for, with its level.

        apart: how far the means of the data with and without the prompt are from each other
        """
        self.asked, self.apart = [], apart
        noise = torch.randn(1, *self.latent.shape, generator=torch.Generator().manual_seed(0))
        start = self.latent.unpacked(self.latent.starts(1))
        self.watch.run(noise, start, sigmas, self.sampler.run, seed, fine=False)
        return self.asked

    def _answer(self, x: Tensor, level: float, model_options: Any) -> Tensor:
        self.asked.append((x.cpu().clone(), level))
        guided = x / (1.0 + level**2)  # ideal for normal data
        # What the sampler itself has put around the guidance, after what was there before.
        hooks = model_options.get(AFTER_CFG, [])[self.hooks :]
        own = {AFTER_CFG: hooks} if hooks else {}
        guidance = model_options.get(CFG_FUNCTION)
        if guidance is not None and self.guidance is None:
            own[CFG_FUNCTION] = guidance
        if not own:
            return guided
        without = guided - self.apart * level**2 / (1.0 + level**2)
        model = self.watch.guider.model_patcher.model
        given = (guided + without) / 2.0, without, 2.0, x, x.new_full((len(x),), level)
        found: Tensor = comfy.samplers.cfg_function(model, *given, own, [{}], [{}])
        return found


def _alike(
    first: list[tuple[Tensor, float]], second: list[tuple[Tensor, float]], apart: float = 0.0
) -> bool:
    return len(first) == len(second) and all(
        torch.allclose(x, y, rtol=apart, atol=apart) and s == t
        for (x, s), (y, t) in zip(first, second, strict=True)
    )


def _has_limit(trial: _Trial, levels: NoiseLevels) -> bool:
    """Tell if runs of ever more steps come to one end point, or at least nearer to each other."""
    ends = [trial.run(simple_schedule(levels, n), apart=1.0)[-1][0] for n in STEPS_OF_LIMIT]
    coarse, fine = (float((x - y).abs().mean()) for x, y in itertools.pairwise(ends))
    return fine < 0.75 * coarse  # not so for what is no number
