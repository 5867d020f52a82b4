"""A saved result's profile, with what it was measured on and from which noises.

Results are files from anywhere: their tensors are looked at before anything is computed with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ..optimizer import Profile
from ..schedules import SavedSchedule
from .conditions import Conditions
from .noises import Noise, from_ranges, from_seed

__all__ = ["NOISES", "MeasuredProfile"]

NOISES = "noises"  # in the notes of a result whose profile is not of its own seed alone
MOST_LEVELS = 128  # four times what is measured: landscapes grow with their square
TENSORS = ("profile.sigmas", "profile.grams", "profile.losses", "profile.dim")


@dataclass(frozen=True, eq=False)
class MeasuredProfile:
    """A profile and where it comes from.

    name:   what messages call it
    noises: of each sample
    """

    name: str
    profile: Profile
    conditions: Conditions
    noises: tuple[Noise, ...]

    @classmethod
    def of(cls, saved: SavedSchedule, name: str) -> MeasuredProfile:
        """That of a result. Raises ValueError, in a sentence, for one that cannot be used."""
        try:
            profile = _profile(saved)
            if NOISES in saved.notes:
                noises = from_ranges(saved.notes[NOISES], profile.count)
            else:
                noises = from_seed(saved.request.get("seed"), profile.count)
        except ValueError as error:
            raise ValueError(f"'{name}' {error}.") from error
        return cls(name, profile, Conditions.of(saved.request), tuple(noises))

    def called(self, name: str) -> MeasuredProfile:
        """The same under another name."""
        return replace(self, name=name)

    def samples(self, rows: list[int]) -> MeasuredProfile:
        """The same of these samples alone."""
        whole = self.profile
        part = Profile(whole.sigmas, whole.grams[rows], whole.losses[rows], whole.dim)
        return replace(self, profile=part, noises=tuple(self.noises[row] for row in rows))


def _profile(saved: SavedSchedule) -> Profile:
    """Raises ValueError, as the end of a sentence about a result."""
    tensors = saved.tensors
    if not any(key in tensors for key in TENSORS):
        if saved.samplers:
            raise ValueError(
                "holds no profile, because calibrating a sampler takes none: merge results of "
                "other samplers, and calibrate on one machine"
            )
        raise ValueError(
            "holds no profile, as no schedule does that came as JSON or with a workflow: take the "
            ".safetensors file that Optimize AYS saved"
        )
    if not _is_profile(tensors):
        raise ValueError("holds a profile that is damaged: get its file again, or measure it again")
    return Profile.from_tensors(tensors)


def _is_profile(tensors: Mapping[str, Tensor]) -> bool:
    if not all(key in tensors for key in TENSORS):
        return False
    sigmas, grams, losses, dim = (tensors[key] for key in TENSORS)
    levels = len(sigmas) if sigmas.dim() == 1 else 0
    count = len(grams) if grams.dim() == 3 else 0
    if not 2 <= levels <= MOST_LEVELS or count < 1:
        return False
    if dim.numel() != 1 or dim.is_floating_point() or dim.item() < 1:
        return False
    if grams.shape != (count, levels, levels) or losses.shape != (count, levels):
        return False
    held = sigmas, grams, losses
    # In single precision, as it is saved.
    if not all(x.is_floating_point() and bool(x.float().isfinite().all()) for x in held):
        return False
    descend = bool((sigmas.diff() < 0.0).all()) and bool(sigmas[-1].float() > 0.0)
    return descend and bool((grams.diagonal(dim1=1, dim2=2) >= 0.0).all())
