"""The profile of one optimisation, measured within its budget by all its processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..judging.references import References
from ..runs.meter import NotFiniteError
from ..session import Lab
from .profile import Profile, measure_profile

__all__ = ["profile_of"]


def profile_of(
    references: References, x_0: Tensor, sigmas: np.ndarray, noises: Sequence[int]
) -> Profile:
    """The denoiser's profile on the given samples; on fewer where a limit leaves no time.

    Arguments:
        references: measured before: its record and ledger are those of the profile, too.
        x_0: samples [N, ...].
        sigmas: [M] descending EDM levels.
        noises: numbers [N] of the noises that led to the samples.

    Raises NotFiniteError for outputs that are no numbers in single precision.
    """
    runner = references.runner
    lab = runner.lab
    problem, ledger = lab.problem, lab.ledger
    levels = torch.from_numpy(sigmas)

    def short_of_time(_: int) -> bool:
        lab.tell("profile")
        return ledger.finishing

    def walk(samples: range) -> Profile:
        if not samples:
            none = torch.zeros(0, len(levels), len(levels), dtype=torch.float64)
            return Profile(levels, none, none[:, 0], problem.dim)
        with ledger.charging("profile"):
            return measure_profile(
                problem.solver.denoise,
                x_0[samples.start : samples.stop],
                levels,
                seed=problem.seed,
                batch_size=runner.batch,
                progress=short_of_time,
                paths=samples,
                conditions=problem.solver.conditions,
                noises=noises[samples.start : samples.stop],
            )

    def measure() -> Mapping[str, Tensor]:
        runner.forget()
        with problem.solver.meter.forgetful():
            profile = _gathered(lab, len(x_0), runner.batch, walk)
        if len(wrong := profile.too_large):
            at = problem.coordinate.level(wrong.numpy()).tolist()
            raise NotFiniteError("The model returned values too large to be measured", at)
        return profile.to_tensors(torch.float64)

    # Samples are end points of the references, so that their numbers say which ones they are.
    what = f"profile of {len(x_0)} of {len(references.ends)}"
    profile = Profile.from_tensors(runner.once(what, -1, [levels], measure, gathered=True))
    lab.processes.keep(profile)
    if profile.count < len(x_0):
        lab.record.drop()
        ledger.cut_short()
    return profile


def _gathered(lab: Lab, count: int, batch: int, walk: Callable[[range], Profile]) -> Profile:
    """The profile on so many samples, or on fewer in the time there is.

    walk: measures it on some of them, perhaps none; several processes share every batch
    """
    together = batch if lab.processes.size > 1 else count
    profile: Profile | None = None
    for start in range(0, count, together):
        samples = range(start, min(start + together, count))
        own = samples[lab.processes.rows(len(samples))]

        def measure(own: range = own) -> Mapping[str, Tensor]:
            return walk(own).to_tensors(torch.float64)

        part = Profile.from_tensors(lab.record.gather(f"profile, from {start}", measure))
        profile = part if profile is None else profile + part
        lab.processes.keep(profile)
        if lab.ledger.finishing:
            break
    assert profile is not None
    return profile
