"""The same seed three times: with the best standard choice, as optimised, and in many steps.

The end points were computed for the comparison, on the first of the seeds that it was made on. They
are saved with the result, so that a saved one has its pictures without a model call. What is handed
to others leaves them out: an image is its owner's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...optimizer import MANY, Result
from ...schedules import SavedSchedule
from ...schedules.store import PICTURE, TITLES
from .. import host
from ..pictures import picture_row
from .shown_names import WITH, shown_name
from .summary import best_given, step_count

__all__ = ["as_tensors", "kept_ends", "pictures_of_seed"]

log = logging.getLogger("align_your_steps")


def kept_ends(result: Result) -> dict[str, Tensor]:
    """End points [...] by their titles, of a few lines each; none where some are not known."""
    given, steps = best_given(result), len(result.sigmas) - 1
    wanted: dict[str, str] = {}
    if given is not None:
        sampler, _, schedule = shown_name(given.candidate.name).rpartition(WITH)
        named = [sampler, schedule] if sampler else [schedule]
        title = "\n".join(["best standard", *named, step_count(steps)])
        wanted[title] = given.candidate.name
    if not result.error.candidate.given:
        wanted[f"optimized\n{host.SCHEDULER_NAME}\n{step_count(steps)}"] = result.method
    wanted[f"the goal\n{MANY}\n{step_count(result.reference_steps)}"] = MANY
    if not set(wanted.values()) <= result.shown.keys():
        return {}
    return {title: result.shown[name] for title, name in wanted.items()}


def pictures_of_seed(
    saved: SavedSchedule, guided: host.GuidedModel, vae: Any
) -> tuple[Tensor | None, str]:
    """The picture [1, H, W, 3], and why there is none; neither if no VAE is linked."""
    if vae is None:
        return None, ""
    ends = _saved_ends(saved, guided.shape)
    if not ends:
        return None, (
            "There are no pictures: this result was saved without. Set 'reuse' to 'measure again' "
            "to have them."
        )
    try:
        row = picture_row({title: host.decoded(vae, guided, end) for title, end in ends.items()})
    except ValueError as error:
        log.error("Optimize AYS has no pictures: %s", error)
        return None, f"There are no pictures: {error}."
    return row, ""


def as_tensors(ends: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The end points as a result keeps them, beside their titles in its notes."""
    return {f"{PICTURE}{number}": end for number, end in enumerate(ends.values())}


def _saved_ends(saved: SavedSchedule, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """End points [...] of latents of a shape by their titles; what a file holds may be anything."""
    titles, found = saved.notes.get(TITLES), {}
    for number, title in enumerate(titles if isinstance(titles, list) else []):
        end = saved.tensors.get(f"{PICTURE}{number}")
        if isinstance(title, str) and end is not None and tuple(end.shape) == tuple(shape):
            found[title] = end.float()
    return found
