"""Guidance and guided model to be measured, as a node's inputs stand for them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from .. import host

__all__ = ["guidance_scale", "guided_model", "is_prompt", "linked_guider"]

log = logging.getLogger("align_your_steps")


def linked_guider(
    model: Any,
    positive: Any,
    negative: Any,
    cfg: float,
    guider: Any,
    further: Sequence[Any] = (),
) -> Any:
    """The guider that a node measures: the linked one, or KSampler's for the linked prompts.

    further: positive prompts that take turns with the linked one

    Raises ValueError for one that cannot be made or run, and for a model that cannot be measured.
    """
    if guider is None:
        if positive is None and further:
            positive, *further = further
        guider = _prompt_guider(model, positive, negative, cfg, further)
    host.refuse_frames(host.model_of(guider))
    return guider


def guidance_scale(guider: Any) -> float | None:
    """The cfg of a GUIDER; None for one that has no single one."""
    scale = getattr(guider, "cfg", None)
    return scale if isinstance(scale, int | float) and math.isfinite(scale) else None


def _prompt_guider(
    model: Any, positive: Any, negative: Any, cfg: float, further: Sequence[Any]
) -> Any:
    """KSampler's guider for the linked prompts.

    Raises ValueError when a prompt is missing, or something else is linked in its place.
    """
    host.sampled_model(model)
    # Some nodes, such as SelfAttentionGuidance, need the negative prompt at cfg 1 too.
    guided = cfg != 1.0 or model.model_options.get("disable_cfg1_optimization", False)
    if positive is None or (negative is None and guided):
        missing = "positive" if positive is None else "negative"
        raise ValueError(
            f"There is no {missing} prompt: link 'positive' and 'negative', or link a "
            "guider (with cfg 1 'positive' alone is enough, unless a node needs both then too)."
        )
    for name, given in (("positive", positive), ("negative", negative)):
        if given is not None and not is_prompt(given):
            raise ValueError(
                f"What is linked to '{name}' is not a prompt that can be used: link the "
                "CONDITIONING output of CLIP Text Encode or of a node after it."
            )
    if cfg != 1.0 and any("guidance" in options for _, options in positive):
        log.warning(
            "The prompt carries Flux guidance and cfg is %g: such models are made for cfg 1.", cfg
        )
    negative = positive if negative is None else negative
    return host.make_guider(model, positive, negative, cfg, further)


def is_prompt(given: Any) -> bool:
    """Tell if something is a CONDITIONING: [tensor, options] for each of its parts."""
    return (
        isinstance(given, list)
        and len(given) > 0
        and all(isinstance(part, list | tuple) and len(part) > 1 for part in given)
        and all(isinstance(part[1], dict) for part in given)
    )


def guided_model(
    guider: Any,
    judged: host.JudgedSampler,
    latent_image: dict[str, Any],
    steps: int,
    denoise: float,
    second: Any = None,
    boundary_step: int = 0,
) -> host.GuidedModel:
    """The guided model, or the pair with a second one, that is measured."""
    model = host.model_of(guider)
    latent = host.latent_use(model, latent_image, denoise)
    if judged.is_calibrated:
        latent = latent.with_one_mask()
    levels = host.noise_levels(model)
    if second is None:
        return host.GuidedModel(guider, levels, latent, judged)
    boundary = host.boundary_level(levels, steps, denoise, boundary_step)
    levels = host.pair_levels(levels, host.model_of(second), boundary)
    return host.GuidedPair(guider, second, boundary, levels, latent, judged)
