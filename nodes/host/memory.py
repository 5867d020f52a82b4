"""What fits into a device's memory."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.sampler_helpers

__all__ = ["is_out_of_memory", "largest_batch"]

LARGEST_BATCH = 16


def largest_batch(guider: Any, shape: tuple[int, ...]) -> int:
    """Rows of a call that fit beside the model's weights, a power of two from 1 to 16.

    As the host counts: both prompts in one call, and half as much again to be sure.
    """
    patcher = guider.model_patcher
    conds = getattr(guider, "original_conds", {})
    helpers = comfy.sampler_helpers
    others, more = helpers.get_additional_models(conds, patcher.model_dtype())
    room = _room([patcher, *others]) - more
    batch = LARGEST_BATCH
    while batch > 1:
        needed, _ = helpers.estimate_memory(patcher, [batch, *shape], conds)
        if 1.5 * needed <= room:
            break
        batch //= 2
    return batch


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device's memory was exhausted; newer hosts know more ways to tell."""
    management = comfy.model_management
    known = getattr(management, "is_oom", lambda e: isinstance(e, management.OOM_EXCEPTION))
    return bool(known(error))


def _room(models: list[Any]) -> float:
    """Bytes that a model's calls can take on its device beside the weights of these models.

    For a run the host unloads whatever else is there.
    """
    management = comfy.model_management
    device = models[0].load_device
    # Newer hosts' models know what can be had back from weights that are paged in and out.
    available = getattr(models[0], "get_free_memory", management.get_free_memory)
    free: float = available(device) - management.extra_reserved_memory()
    if device == models[0].offload_device:  # the weights are where they are used
        return free
    there = [loaded for loaded in management.current_loaded_models if loaded.device == device]
    free += sum(loaded.model_loaded_memory() for loaded in there if loaded.model is not None)
    return free - 1.1 * sum(model.model_size() for model in models)
