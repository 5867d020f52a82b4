"""A model's own modules and unpatched weights, whatever stands in their places at the moment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import comfy.utils
import torch

__all__ = ["own_modules", "weights_of"]


def own_modules(model: Any) -> dict[str, torch.nn.Module]:
    """A model's modules by their names before other objects took their places."""
    placed = {id(patch) for patch in model.object_patches.values()}
    originals = getattr(model, "object_patches_backup", {})
    found = dict(model.model.named_modules())
    for name, original in originals.items():
        if isinstance(original, torch.nn.Module):
            found = {key: part for key, part in found.items() if not _is_within(key, (name,))}
            found |= {f"{name}.{key}".rstrip("."): p for key, p in original.named_modules()}
    return {name: module for name, module in found.items() if id(module) not in placed}


def _is_within(key: str, names: Iterable[str]) -> bool:
    """Tell whether a name is one of others, or of a part of what has it."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def weights_of(
    model: Any, own: Mapping[str, torch.nn.Module]
) -> Iterable[tuple[str, torch.Tensor]]:
    """The unpatched weights of a model, wherever they are and whatever is loaded at the moment.

    The host's `get_key_patches` gives the same, but fails for weights that are stored in pieces.
    What stands in the place of a module without using it is described as a patch.
    """
    ids = set(map(id, own.values()))
    replaced = [
        name
        for name, patch in model.object_patches.items()
        if isinstance(patch, torch.nn.Module) and not any(id(m) in ids for m in patch.modules())
    ]
    buffers = getattr(model, "backup_buffers", {})
    backup = {key.replace("._orig_mod", ""): kept for key, kept in model.backup.items()}
    for key, find in _keys(model, own):
        if _is_within(key, replaced):
            continue
        if key in backup:
            yield key, backup[key].weight
        elif key in model.hook_backup:
            yield key, model.hook_backup[key][0]
        elif key in buffers:
            yield key, buffers[key]
        else:
            try:
                yield key, find()
            except AttributeError:  # a piece of a quantised weight, which is read as a whole
                continue


def _keys(
    model: Any, own: Mapping[str, torch.nn.Module]
) -> Iterable[tuple[str, Callable[[], torch.Tensor]]]:
    """The names of a network's weights and how to get them, of modules now replaced as well."""
    away = [name for name in getattr(model, "object_patches_backup", {}) if name in own]
    for key in model.model_state_dict("diffusion_model."):
        if not _is_within(key, away):
            yield key, functools.partial(comfy.utils.get_attr, model.model, key)
    for name in away:
        if _is_within(name, ("diffusion_model",)):
            for key in own[name].state_dict():
                yield f"{name}.{key}", functools.partial(comfy.utils.get_attr, own[name], key)
