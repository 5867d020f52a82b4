"""Results as Optimize AYS saves them, with a profile of Gaussian data, which has closed forms."""

from __future__ import annotations

from typing import Any

import torch
from align_your_steps.optimizer import Profile, measure_profile
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.profiles import MeasuredProfile
from align_your_steps.schedules import Provenance, SavedSchedule, Schedule

__all__ = ["LEVELS", "made", "profile_of", "saved"]

LEVELS = [10.0, 5.0, 2.5, 1.2, 0.6, 0.3, 0.15]
DIM = 6


def profile_of(seed: int, count: int, levels: list[float] | None = None, dim: int = DIM) -> Profile:
    """A profile of standard normal data, from the noises of a seed."""
    x_0 = torch.randn(count, dim, generator=torch.Generator().manual_seed(1000 + seed))
    return measure_profile(gaussian.denoise, x_0, levels or LEVELS, seed=seed)


def saved(seed: int = 0, count: int = 5, calls: int = 100, **request: Any) -> SavedSchedule:
    """A result with such a profile; a request's key with None is left out."""
    levels, dim = request.pop("profile_levels", None), request.pop("dim", DIM)
    whole = {
        "identity": "a model",
        "guidance": "a prompt",
        "cfg": 7.0,
        "sampler": "euler",
        "steps": 3,
        "shape": [1, 2, 3],
        "latent": "empty",
        "denoise": 1.0,
        "seed": seed,
        **request,
    }
    whole = {key: value for key, value in whole.items() if value is not None}
    levels_found = (10.0, 2.0 + seed % 7, 0.15)
    return SavedSchedule(
        schedule=Schedule(levels_found, f"seed {seed}", Provenance("O", "a", "now")),
        identity=whole.setdefault("identity", None),
        request=whole,
        tensors=profile_of(seed, count, levels, dim).to_tensors(),
        notes={"calls": {"profile": calls}, "flow": False, "sigma_min": 0.15},
    )


def made(seed: int = 0, count: int = 5, **options: Any) -> MeasuredProfile:
    """The profile of such a result, called after its seed unless it has a name."""
    name = options.pop("name", f"seed {seed}")
    return MeasuredProfile.of(saved(seed, count, **options), name)
