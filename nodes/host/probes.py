"""What short runs tell of a guided model before it is measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .latents import LatentUse
from .memory import OneAtATimeError
from .model import NoiseLevels, simple_schedule
from .samplers import JudgedSampler
from .solver import Sample
from .walker import Walker
from .watch import Watch

__all__ = ["are_coupled", "calls_per_step", "free_elements"]

TRIAL_STEPS = 6
COUPLED = 0.01  # of the distance between two rows' predictions: less may be rounding
# What fails with two rows may work with one. An interrupt is none of these.
ERRORS = (OneAtATimeError, RuntimeError, LookupError, TypeError, ValueError, AssertionError)

Walk = Callable[[Iterator[tuple[Tensor, Tensor]], Tensor], list[Tensor]]

log = logging.getLogger("align_your_steps")


def are_coupled(walk: Walk, levels: NoiseLevels, shape: tuple[int, ...]) -> bool:
    """Whether a row's prediction depends on its place or on the other rows of its call.

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
    except ERRORS as error:  # some nodes can only take one row
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

    Raises ValueError if the run adds fresh noise: two of them along other noise are not alike.
    """
    asked: list[Tensor] = []

    def answer(x: Tensor, level: float) -> Tensor:
        asked.append(x.cpu().clone())
        return x / (1.0 + level**2)  # ideal for normal data

    # Some samplers noise what a mask keeps by the seed: that is not the fresh noise meant here.
    latent = replace(latent, mask=None)
    watch = Watch(guider, latent, stand_in=answer)
    noise = torch.randn(1, *latent.shape, generator=torch.Generator().manual_seed(0))
    start, sigmas = latent.unpacked(latent.starts(1)), simple_schedule(levels, TRIAL_STEPS)
    runs = []
    for seed in (0, 1):
        watch.run(noise, start, sigmas, sampler.run, seed, fine=False)
        runs.append(list(asked))
        asked.clear()
    first, second = runs
    if len(first) != len(second) or not all(map(torch.equal, first, second)):
        raise ValueError(
            f"No schedule can be optimised for the sampler '{sampler.name}': it adds "
            "fresh noise, and no option 'eta' switches it off. Choose another sampler, "
            "for example dpmpp_2m_sde."
        )
    return max(1, -(-len(first) // TRIAL_STEPS))
