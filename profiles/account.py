"""Account of a merge, as text: each profile's samples, how well it is known before and after.

Merging is there to know the KLUB better. That of one plain schedule stands for all: ten steps,
even over the levels that were measured, so that nothing is interpolated.
"""

from __future__ import annotations

import numpy as np

from ..optimizer import Profile, klub, klub_standard_error
from .measured import MeasuredProfile
from .merge import Merged
from .noises import seeds_text

__all__ = ["account", "alone"]

STEPS = 10
MOST = 2000  # samples whose spread stands for all: each takes half a millisecond


def account(merged: Merged) -> str:
    """A line for each profile and one for all together."""
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
