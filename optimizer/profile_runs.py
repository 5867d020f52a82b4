"""The profile of one optimisation, measured within its budget and gathered from all its ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .meter import NotFiniteError
from .profile import Profile, measure_profile
from .runs import Runs

__all__ = ["profile_of"]


def profile_of(runs: Runs, x_0: Tensor, sigmas: np.ndarray) -> Profile:
    """The denoiser's profile on the given samples; on fewer where a limit leaves no time.

    Arguments:
        runs: to whose budget the calls are charged.
        x_0: samples [N, ...].
        sigmas: [M] descending EDM levels.

    Raises NotFiniteError for outputs that are no numbers in single precision.
    """
    levels = torch.from_numpy(sigmas)

    def enough() -> bool:
        return runs.budget.finishing

    def short_of_time(_: int) -> bool:
        runs.tell("profile")
        return enough()

    def walk(samples: range) -> Profile:
        if not samples:
            none = torch.zeros(0, len(levels), len(levels), dtype=torch.float64)
            return Profile(levels, none, none[:, 0], math.prod(runs.shape))
        before, spent = runs.made, runs.spent.get("profile", 0)
        try:
            return measure_profile(
                runs.denoise,
                x_0[samples.start : samples.stop],
                levels,
                seed=runs.seed,
                batch_size=runs.batch,
                progress=short_of_time,
                paths=samples,
            )
        finally:
            runs.spent["profile"] = spent + runs.made - before

    def measure() -> Mapping[str, Tensor]:
        runs.current = -1
        runs.meter.forget()
        remembers, runs.meter.remember = runs.meter.remember, False  # no path is walked twice
        try:
            profile = runs.ranks.profile(len(x_0), runs.batch, walk, runs.together, enough)
        finally:
            runs.meter.remember = remembers
        if len(wrong := profile.too_large):
            at = runs.coordinate.level(wrong.numpy()).tolist()
            raise NotFiniteError("The model returned values too large to be measured", at)
        return profile.to_tensors(torch.float64)

    # Samples are end points of the references, so that their numbers say which ones they are.
    what = f"profile of {len(x_0)} of {len(runs.ends)}"
    profile = Profile.from_tensors(runs.once(what, -1, [levels], measure, gathered=True))
    runs.ranks.kept = profile
    if profile.count < len(x_0):
        runs.stages.drop()
        runs.budget.ended_early = True
    return profile
