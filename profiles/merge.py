"""Several profiles of one model as one: their samples together, each noise once.

The samples of the merged profile are in the order of their noises, whatever was merged first: the
same profiles give the same merged one, and a merged one can be merged again. It is saved as a
result, so that it is listed, renamed and sent like any other.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import torch

from ..optimizer import Profile, klub, klub_standard_error
from ..schedules import Provenance, SavedSchedule
from ..schedules.store import MERGED, number
from .measured_profile import (
    NOISES,
    PROMPTS,
    Conditions,
    MeasuredProfile,
    Noise,
    as_ranges,
    seeds_text,
)

__all__ = ["Merged", "account", "alone", "as_result", "merge"]

ROUNDING = 1e-6  # relative; the same levels may be computed a little differently elsewhere
WHO = "Merge AYS Profiles"

# The account's KLUB is that of one plain schedule, which stands for all: even over the levels that
# were measured, so that nothing is interpolated.
STEPS = 10
MOST = 2000  # samples whose spread stands for all: each takes half a millisecond


@dataclass(frozen=True)
class Merged:
    """Outcome of a merge.

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

    return _sum(parts, name)


def _sum(parts: Sequence[MeasuredProfile], name: str) -> Merged:
    # In an order that does not depend on the one in which they were given.
    ordered = sorted(parts, key=lambda part: part.noises)
    sample: dict[Noise, tuple[MeasuredProfile, int]] = {}  # its row in the first part that has it
    for part in ordered:
        for row, noise in enumerate(part.noises):
            sample.setdefault(noise, (part, row))
    noises = sorted(sample)
    rows = [(part.profile, row) for part, row in map(sample.__getitem__, noises)]
    total = Profile(
        ordered[0].profile.sigmas,
        torch.stack([profile.grams[row] for profile, row in rows]),
        torch.stack([profile.losses[row] for profile, row in rows]),
        ordered[0].profile.dim,
    )
    conditions = reduce(Conditions.with_prompts_of, (part.conditions for part in ordered))
    whole = MeasuredProfile(name, total, conditions, tuple(noises))
    repeated = (sum(sample[noise][0] is not part for noise in part.noises) for part in parts)
    return Merged(whole, tuple(parts), tuple(repeated))


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


def as_result(
    merged: Merged, results: Sequence[SavedSchedule], name: str, report: str
) -> SavedSchedule:
    """The result to save.

    Its levels, and its calibrated samplers, are those of one of the results that were merged: one
    that has samplers, if any does; of several the one whose measurement took the most model calls.
    'auto' takes them only where nothing else is saved for the model (nearest.py).

    results: those whose profiles were merged
    report:  what was merged, as text
    """
    whole = merged.whole
    best = max(results, key=lambda saved: (bool(saved.samplers), _calls(saved), saved.digest))
    ranges = as_ranges(whole.noises)
    inside: dict[str, Any] = {"profile": whole.profile.digest, NOISES: ranges}
    if len(whole.conditions.prompts) > 1:
        inside[PROMPTS] = whole.conditions.listed_prompts()
    count = whole.profile.count
    summary = f"A profile of {count} samples, merged from {len(merged.parts)}."
    provenance = Provenance(
        who=WHO,
        what=f"{count} samples ({seeds_text(whole.noises)}) of {len(merged.parts)} profiles; the "
        f"levels are those of a result by {best.schedule.provenance.who}: "
        f"{best.schedule.provenance.what}",
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    return SavedSchedule(
        schedule=replace(best.schedule, name=name, provenance=provenance),
        identity=best.identity,
        request={**whole.conditions.as_request(), MERGED: inside},
        tensors=whole.profile.to_tensors(),
        notes={**best.notes, "report": report, "summary": summary, NOISES: ranges},
        samplers=best.samplers,
    )


def _calls(saved: SavedSchedule) -> float:
    """The model calls that a result says it took."""
    calls = saved.notes.get("calls")
    spent = calls.values() if isinstance(calls, dict) else ()
    return sum(number(part) or 0.0 for part in spent)


def account(merged: Merged) -> str:
    """What was merged, as text: how well each profile is known, and all together."""
    whole = merged.whole
    lines = [
        f"Merged {len(merged.parts)} profiles of one model: {whole.profile.count} samples.",
        "",
        *(_line(part) for part in merged.parts),
        f"together: {_figures(whole)}",
        "",
        _legend(whole),
    ]
    for part, count in zip(merged.parts, merged.repeated, strict=True):
        if count:
            lines.append(
                f"Note: {count} of the samples of '{part.name}' are from seeds that another one "
                "has too; they count once."
            )
    return "\n".join(lines)


def alone(part: MeasuredProfile) -> str:
    """The same for a single profile."""
    lines = ["One profile, handed on as it is.", "", _line(part), "", _legend(part)]
    return "\n".join(lines)


def _line(part: MeasuredProfile) -> str:
    return f"'{part.name}': {_figures(part)}"


def _legend(part: MeasuredProfile) -> str:
    steps = len(_even(part.profile)) - 1
    return f"KLUB of {steps} even steps, in nats per latent element, ± one standard error."


def _figures(part: MeasuredProfile) -> str:
    profile = part.profile
    levels = _even(profile)
    first = Profile(profile.sigmas, profile.grams[:MOST], profile.losses[:MOST], profile.dim)
    with np.errstate(all="ignore"):  # a file may hold numbers that no model gives
        mean = klub(profile, levels)
        error = klub_standard_error(first, levels) * (first.count / profile.count) ** 0.5
    shown = "unknown, because it is a single sample" if np.isnan(error) else f"{error:.2g}"
    count = f"{profile.count} sample{'' if profile.count == 1 else 's'}"
    return f"{count} ({seeds_text(part.noises)}), KLUB {mean:.4g} ± {shown}"


def _even(profile: Profile) -> np.ndarray:
    """Levels of the profile's own, even in number between them."""
    last = len(profile.sigmas) - 1
    places = np.unique(np.linspace(0, last, min(STEPS, last) + 1).round().astype(int))
    levels: np.ndarray = profile.sigmas.numpy()[places]
    return levels
