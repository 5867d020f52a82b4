"""The identity of a model: equal for two loads of one file, different for anything that differs.

It covers the model's class and prediction type, its noise levels, its latent format, a digest of
its unpatched weights, every patch on them (LoRAs) with its strength, and what other nodes put into
its options. What cannot be described makes the model unidentified: it is measured all the same,
but its result is not picked up automatically.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from typing import Any

import torch

from .scheduler import ATTRIBUTE

__all__ = ["comparable_digest", "guidance_digest", "model_identity"]

SAMPLED = 256  # elements hashed of every tensor, evenly spread: seconds for models of many GB
DEPTH = 24
# What sampling leaves behind in objects of the host, by their class.
STATE_OF_RUNS = {
    "CFGGuider": {"model_patcher", "model_options", "conds", "inner_model", "loaded_models"},
    "Guider_DualModel": {"uncond_inner", "uncond_loaded", "_uncond_neg", "_uncond_conds"},
    "Guider_LTXAVDualCFG": {"_v_numel"},
    "ControlBase": {
        "cond_hint",
        "timestep_range",
        "extra_concat",
        "model_sampling_current",
        "multigpu_clones",
    },
    "HookKeyframe": {"start_t"},
    "HookKeyframeGroup": {
        "_current_keyframe",
        "_current_used_steps",
        "_current_index",
        "_current_strength",
        "_curr_t",
        "curr_t",
    },
}

log = logging.getLogger("align_your_steps")


def model_identity(model: Any) -> str | None:
    """The digest of a MODEL; None if something in it cannot be described."""
    model_sampling = model.get_model_object("model_sampling")
    weights = model.get_key_patches("diffusion_model.")
    try:
        return _digest_of(
            {
                "class": _class_names(model.model),
                "prediction": str(getattr(model.model, "model_type", "")),
                "sampling": [_class_names(model_sampling), _sampling(model_sampling)],
                "latent": _class_names(model.get_model_object("latent_format")),
                # Each value is [(weight, convert function), *patches].
                "weights": {key: [w[0][0], list(w[1:])] for key, w in weights.items()},
                "objects": {
                    name: patch
                    for name, patch in model.object_patches.items()
                    if name != "model_sampling"
                },
                "options": model.model_options,
                "wrappers": getattr(model, "wrappers", {}),
                "injections": getattr(model, "injections", {}),
            }
        )
    except _NotDescribed as error:
        log.warning(
            "The model cannot be identified (%s): its schedule will be saved, but not picked up "
            "automatically.",
            error,
        )
        return None


def guidance_digest(guider: Any) -> str:
    """The digest of a GUIDER's class, settings and conditioning, its model aside."""
    settings = {name: value for name, value in _lasting(guider).items() if name != "model_patcher"}
    return comparable_digest({"class": _class_names(guider), "settings": settings})


def comparable_digest(value: Any) -> str:
    """A digest of anything; of what cannot be described, one that equals no other."""
    try:
        return _digest_of(value)
    except _NotDescribed as error:
        log.info("An input cannot be compared with that of saved results: %s.", error)
        return f"not comparable {secrets.token_hex(8)}"


def _digest_of(value: Any) -> str:
    """A digest of nested plain values, tensors (sampled), functions and simple objects.

    Raises _NotDescribed for anything else.
    """
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value, DEPTH, ())
    return digest.hexdigest()


class _NotDescribed(ValueError):
    """A value that has no stable description."""


def _feed(digest: Any, value: Any, depth: int, above: tuple[int, ...]) -> None:
    if depth == 0:
        raise _NotDescribed(f"a {type(value).__name__} is nested too deeply")
    if id(value) in above:
        digest.update(b"<cycle>")
        return
    inside = (*above, id(value))

    def feed(tag: str, *parts: Any) -> None:
        digest.update(f"{tag}:{len(parts)};".encode())
        for part in parts:
            _feed(digest, part, depth - 1, inside)

    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        digest.update(f"{type(value).__name__}={value!r};".encode())
    elif isinstance(value, torch.dtype | torch.device):
        digest.update(str(value).encode())
    elif isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(_sampled(value))
    elif isinstance(value, Mapping):
        # The host gives every conditioning entry a random "uuid" when it builds a guider.
        keys = sorted((key for key in value if key != "uuid"), key=str)
        feed("map", *(part for key in keys for part in (str(key), value[key])))
    elif isinstance(value, list | tuple):
        feed("list", *value)
    elif isinstance(value, set | frozenset):
        feed("set", *sorted(value, key=str))
    elif callable(value) and hasattr(value, "__qualname__"):
        cells = getattr(value, "__closure__", None) or ()
        owner = getattr(value, "__self__", None)
        defaults = getattr(value, "__defaults__", None)
        name = f"{value.__module__}.{value.__qualname__}"
        feed("function", name, owner, defaults, *(_cell(cell) for cell in cells))
    elif isinstance(value, torch.nn.Module):
        feed("module", _class_names(value), value.state_dict())
    elif hasattr(value, "get_key_patches"):  # a model that a guider or a ControlNet holds
        weights = {key: [w[0][0], *w[1:]] for key, w in value.get_key_patches().items()}
        added = value.object_patches, value.model_options, value.wrappers, value.injections
        feed("model", _class_names(value.model), weights, *added)
    elif hasattr(value, "__dict__"):
        feed("object", _class_names(value), _lasting(value))
    else:
        raise _NotDescribed(f"a {type(value).__name__} has no stable description")


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that was never filled
        return None


def _lasting(value: Any) -> dict[str, Any]:
    """An object's attributes without those that sampling leaves behind."""
    state = {name for cls in type(value).__mro__ for name in STATE_OF_RUNS.get(cls.__name__, ())}
    return {name: content for name, content in vars(value).items() if name not in state}


def _sampled(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    stride = max(1, flat.numel() // SAMPLED)
    picked = flat[::stride].contiguous().cpu()
    return picked.view(torch.uint8).numpy().tobytes() if picked.numel() else b""


def _sampling(model_sampling: Any) -> dict[str, Any]:
    """The plain settings and the levels of a model_sampling, our own attribute aside."""
    plain = {
        key: value
        for key, value in vars(model_sampling).items()
        if isinstance(value, int | float | str | None) and key not in (ATTRIBUTE, "training")
    }
    return {**plain, "sigmas": getattr(model_sampling, "sigmas", None)}


def _class_names(value: Any) -> list[str]:
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(value).__mro__[:-1]]
