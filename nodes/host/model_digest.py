"""Digests of networks: of a MODEL, all that `identity.py` names, and of a module in a patch.

A model's own modules, which patches like to refer to, stand for themselves: their weights may be
patched at the moment, by this model's LoRAs or by another's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from .attributes import is_of_host
from .beside_weights import beside_weights
from .leaves import class_names, hashed
from .own_weights import own_modules, weights_of
from .run_state import RunState
from .stable_parts import filled, settings

if TYPE_CHECKING:
    from .digests import Digests

__all__ = ["WRAPPER_KEY", "digest_of_model", "digest_of_module"]

WRAPPER_KEY = "align_your_steps"  # of our own wrapper around a model that is measured


def digest_of_model(digests: Digests, model: Any) -> bytes:
    """The digest of a MODEL."""
    # Inside a patch these stand for themselves; what replaces one of them is described.
    own = own_modules(model)
    for name, module in own.items():
        digests.set(module, hashed(b"own module", name.encode()))
    state = _run_state(model)
    digests.states.learn(state)
    digests.sampled = True
    weights = {key: digests.of(weight) for key, weight in weights_of(model, own)}
    patches = {
        key: digests.of([_without_conversion(patch) for patch in patches])
        for key, patches in model.patches.items()
    }
    beside = _beside(digests, own, state)
    digests.sampled = False
    described = [*_base(model), weights, patches, *_additions(model)]
    return digests.join("model", [*described, beside] if beside else described)


def _run_state(model: Any) -> RunState:
    """What the functions of a model's patches and network write to when they run."""
    state = RunState(model.model_options)
    put = ("model_options", "wrappers", "callbacks", "injections", "weight_wrapper_patches")
    for name in (*put, "object_patches"):
        state.look_into(getattr(model, name, {}))
    for module in own_modules(model).values():
        # A part writes to itself; what the whole network writes to its parts is read there.
        whole = module is getattr(model.model, "diffusion_model", None)
        if not is_of_host(type(module)) and (whole or beside_weights(module, state)):
            state.read(module)
    return state


def _base(model: Any) -> list[Any]:
    """The class, the prediction type, the noise levels and the latent format of a MODEL."""
    model_sampling = model.get_model_object("model_sampling")
    return [
        class_names(model.model),
        str(getattr(model.model, "model_type", "")),
        [class_names(model_sampling), settings(model_sampling)],
        class_names(model.get_model_object("latent_format")),
    ]


def _additions(model: Any) -> list[Any]:
    """What nodes have put into a MODEL, but for patches of weights."""
    wrappers = getattr(model, "wrappers", {})
    models = getattr(model, "additional_models", {})
    return [
        {k: v for k, v in model.object_patches.items() if k != "model_sampling"},
        filled(getattr(model, "weight_wrapper_patches", {})),
        filled({k: v for k, v in model.model_options.items() if k != "multigpu_clones"}),
        filled({kind: _foreign(by_key) for kind, by_key in wrappers.items()}),
        filled(getattr(model, "callbacks", {})),
        filled(getattr(model, "injections", {})),
        # A copy of the model itself for every GPU is no other model.
        filled({key: inner for key, inner in models.items() if key != "multigpu"}),
    ]


def _foreign(by_key: Mapping[Any, Any]) -> dict[Any, Any]:
    """Wrappers of one kind without ours."""
    return {key: wrappers for key, wrappers in by_key.items() if key != WRAPPER_KEY}


def _without_conversion(patch: Any) -> Any:
    """A patch (strength, value, ...) without the functions that convert a merged model's weights.

    The value of a merge is [(weight, function), *patches], and the function belongs to a module
    whose weight may be patched at the moment.
    """
    strength, value, *others = patch
    if isinstance(value, list):
        (weight, _), *patches = value
        value = [weight, *(_without_conversion(inner) for inner in patches)]
    return [strength, value, *others]


def _beside(
    digests: Digests, own: Mapping[str, torch.nn.Module], state: RunState
) -> dict[str, bytes]:
    """Contents of the model's own modules beside weights, digests by name."""
    with digests.reading(sampled=digests.sampled, handles=True):
        return {
            f"{name}.{key}": digests.of(value)
            for name, module in own.items()
            if name.split(".")[0] != "model_sampling"
            for key, value in beside_weights(module, state).items()
        }


def digest_of_module(digests: Digests, module: torch.nn.Module) -> bytes:
    """The digest of a module of a patch: its weights and settings, those of its parts included."""
    own = {id(part): digest for part in module.modules() if (digest := digests.known(part))}
    with digests.reading(sampled=True, handles=digests.handles):
        parts: list[Any] = []
        for name, part in module.named_modules():
            if id(part) in own:
                parts.append((name, own[id(part)]))
                continue
            direct = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            written = digests.states.written(part)
            plain = {key: value for key, value in settings(part).items() if key not in written}
            beside = beside_weights(part, digests.states.latest)
            beside = {key: value for key, value in beside.items() if key not in plain}
            content = [class_names(part), plain, dict(direct)]
            parts.append((name, [*content, beside] if beside else content))
        return digests.join("module", parts)
