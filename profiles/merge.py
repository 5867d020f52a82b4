"""Several profiles of one model as one: their samples together, each noise once.

The samples of the merged profile are in the order of their noises, whatever was merged first: the
same profiles give the same merged one, and a merged one can be merged again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import torch

from ..optimizer import Profile
from .conditions import Conditions
from .measured import MeasuredProfile
from .noises import Noise, seeds_text

__all__ = ["Merged", "merge"]

ROUNDING = 1e-6  # relative; the same levels may be computed a little differently elsewhere


@dataclass(frozen=True)
class Merged:
    """Outcome of it.

    whole:    the merged profile
    parts:    what was merged
    repeated: samples of each part, by its place, that are in an earlier one too
    """

    whole: MeasuredProfile
    parts: tuple[MeasuredProfile, ...]
    repeated: tuple[int, ...]


def merge(parts: Sequence[MeasuredProfile], name: str, *, same_prompts: bool = False) -> Merged:
    """The samples of several profiles in one, those of the same noise once.

    Arguments:
        parts: two or more.
        name: of the merged profile.
        same_prompts: whether the user knows that all prompts are the same.

    Raises ValueError, in a sentence, for fewer than two, for profiles that are not of one guided
    model at the same levels, and for one that has no noise of its own.
    """
    if len(parts) < 2:
        raise ValueError("There is nothing to merge: give two or more profiles.")
    for part in parts:
        if not part.conditions.is_identified:
            raise ValueError(
                f"'{part.name}' is of a model that could not be identified, so nobody can tell "
                "which profiles are of the same: leave it out."
            )
    for part in parts[1:]:
        _check_alike(parts[0], part)
    if not same_prompts:
        _check_prompts(parts)
    _check_own_noises(parts)

    # In an order that does not depend on the one in which they were given.
    ordered = sorted(parts, key=lambda part: part.noises)
    seen: set[Noise] = set()
    fresh: list[MeasuredProfile] = []
    repeated: dict[int, int] = {}
    for part in ordered:
        rows = [row for row, noise in enumerate(part.noises) if noise not in seen]
        repeated[id(part)] = len(part.noises) - len(rows)
        seen.update(part.noises)
        fresh.append(part.samples(rows))
    sigmas = ordered[0].profile.sigmas
    total = reduce(add, (replace(part.profile, sigmas=sigmas) for part in fresh))
    noises = [noise for part in fresh for noise in part.noises]
    conditions = reduce(Conditions.with_prompts_of, (part.conditions for part in ordered))
    whole = MeasuredProfile(name, total, conditions, tuple(noises))
    in_order = whole.samples(sorted(range(len(noises)), key=lambda row: noises[row]))
    return Merged(in_order, tuple(parts), tuple(repeated[id(part)] for part in parts))


def _check_alike(first: MeasuredProfile, part: MeasuredProfile) -> None:
    """Raise ValueError if two profiles cannot be added, whatever their prompts."""
    difference = first.conditions.difference(part.conditions, same_prompts=True)
    ours, theirs = first.profile, part.profile
    if difference is None and ours.dim != theirs.dim:
        sizes = f"{ours.dim} and of {theirs.dim} elements"
        difference = f"are of latents of {sizes}: measure at one size"
    if difference is None and not (
        ours.sigmas.shape == theirs.sigmas.shape
        and torch.allclose(ours.sigmas, theirs.sigmas, rtol=ROUNDING, atol=0.0)
    ):
        difference = (
            f"were measured at different noise levels, {_levels(ours)} and {_levels(theirs)}: "
            "measure both with the same version of this pack and, where denoise is below 1, with "
            "the same number of steps"
        )
    if difference is not None:
        raise ValueError(f"'{first.name}' and '{part.name}' {difference}.")


def _check_prompts(parts: Sequence[MeasuredProfile]) -> None:
    """Raise ValueError unless each profile has a prompt of the first one, or one known as such.

    A profile that was merged before tells which are the same: it may stand anywhere.
    """
    first, *rest = parts
    known = first.conditions
    while near := [part for part in rest if not known.difference(part.conditions)]:
        known = reduce(Conditions.with_prompts_of, (part.conditions for part in near), known)
        rest = [part for part in rest if part not in near]
    if rest:
        difference = known.difference(rest[0].conditions)
        raise ValueError(f"'{first.name}' and '{rest[0].name}' {difference}.")


def _levels(profile: Profile) -> str:
    levels = profile.sigmas
    return f"{len(levels)} from {float(levels[0]):.4g} to {float(levels[-1]):.4g}"


def _check_own_noises(parts: Sequence[MeasuredProfile]) -> None:
    """Raise ValueError if one of the profiles adds nothing to the others."""
    counts = Counter(noise for part in parts for noise in part.noises)
    for part in parts:
        if any(counts[noise] == 1 for noise in part.noises):
            continue
        noises = set(part.noises)
        others = [o.name for o in parts if o is not part and not noises.isdisjoint(o.noises)]
        listed = " and ".join(f"'{name}'" for name in others)
        raise ValueError(
            f"'{part.name}' was measured from the same seeds as {listed} "
            f"({seeds_text(part.noises)}), so it adds nothing: measure with another seed on the "
            "other machine, or leave it out."
        )
