"""The identity of a model: equal for two loads of one file, different for anything that differs.

It covers the model's class and prediction type, its noise levels, its latent format, its unpatched
weights, every patch on them (LoRAs, merges) with its strength, and what other nodes put into it:
model options, object patches, wrappers, callbacks, injections and further models. What cannot be
described makes the model unidentified: it is measured all the same, but its result is not picked up
automatically. Schedules of ours that are attached to it, and wrappers of ours, do not count, nor
does what patches remember of their runs (run_state.py). Whatever else a network answers by, beside
its weights, does (beside_weights.py).

Of a weight with more than 4096 elements 256 are read, in 16 runs spread over it, whatever its size
and wherever it lies. A change of fewer weights than that can be missed: one edited row, say. So can
what a patch reads from outside: a global variable, a file. Training, merging and quantising change
weights everywhere. Prompts, masks and whatever else is no weight are read whole.

Values are digested as a tree, from the leaves up and every object once, so that it does not matter
who shares what with whom. A model's own modules, which patches like to refer to, stand for
themselves: their weights may be patched at the moment, by this model's LoRAs or by another's.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import logging
import re
import secrets
import threading
import types
import uuid
import weakref
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import comfy.model_patcher
import comfy.utils
import numpy as np
import torch

from .attributes import attributes_of, is_of_host
from .beside_weights import beside_weights, is_opaque
from .own_weights import own_modules, weights_of
from .run_state import ANYTHING, RunState

__all__ = [
    "WRAPPER_KEY",
    "comparable_digest",
    "guidance_digest",
    "is_comparable",
    "model_identity",
]

WRAPPER_KEY = "align_your_steps"  # of our own wrapper around a model that is measured
NOT_COMPARABLE = "not comparable"
WHOLE = 4096  # elements up to which a weight is read whole
RUNS, RUN = 16, 16  # of elements read of a larger one
GOLDEN = (5**0.5 - 1) / 2
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an element
DEPTH = 64  # of nested values
PLAIN_TYPES = bool, int, float, complex, str, bytes, slice, range, types.EllipsisType
# Locks and logs have no settings.
SILENT = type(threading.Lock()), type(threading.RLock()), threading.local, logging.Logger
# An int that is an object's place in memory: of this size, at a multiple of 16, but of no high
# power of two, as sizes of memory are.
ADDRESSES, ALIGNED, ROUND = range(2**32, 2**48), 16, 2**20
WRITTEN_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# What the host notes on a network while it loads it.
HOSTS_OWN = {
    "training",
    "model_loaded_weight_memory",
    "model_offload_buffer_memory",
    "model_lowvram",
    "lowvram_patch_counter",
}
# What sampling leaves behind in objects of the host, by their class.
STATE_OF_RUNS = {
    "CFGGuider": {"model_options", "conds", "inner_model", "loaded_models"},
    "Guider_DualModel": {"uncond_inner", "uncond_loaded", "_uncond_neg", "_uncond_conds"},
    "Guider_LTXAVDualCFG": {"_v_numel"},
    "ControlBase": {
        "cond_hint",
        "timestep_range",
        "extra_concat",
        "model_sampling_current",
        "multigpu_clones",
    },
    "IndexListContextHandler": {"_step"},
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
_told: set[str] = set()  # patches that have been spoken of


def model_identity(model: Any) -> str | None:
    """The digest of a MODEL; None if something in it cannot be described."""
    digests = _Digests()
    try:
        found = digests.of(model).hex()
    except _NotDescribed as error:
        log.warning(
            "The model cannot be identified (%s): its schedule will be saved, but not picked up "
            "automatically.",
            error,
        )
        return None
    for name in sorted(digests.unclear - _told):
        log.warning(
            "The patch '%s' of this model keeps what it remembers of its runs where its settings "
            "may be, too: schedules are found by everything else. After changing that patch's "
            "settings, optimise again.",
            name,
        )
    _told.update(digests.unclear)
    return found


def guidance_digest(guider: Any) -> str:
    """The digest of a GUIDER's class, settings, conditioning and further models."""
    state = RunState({})
    state.read_methods(guider)
    skipped = state.written.get(id(guider), set()) | {"model_patcher"}
    settings = {name: value for name, value in _lasting(guider).items() if name not in skipped}
    return comparable_digest({"class": _class_names(guider), "settings": settings})


def comparable_digest(value: Any) -> str:
    """A digest of anything; of what cannot be described, one that equals no other."""
    digests, state = _Digests(), RunState({})
    state.look_into(value)
    digests.learn(state)
    try:
        return digests.of(value).hex()
    except _NotDescribed as error:
        log.info("An input cannot be compared with that of saved results: %s.", error)
        return f"{NOT_COMPARABLE} {secrets.token_hex(8)}"


def is_comparable(digest: str) -> bool:
    """Tell if a digest can be that of something else: all in it could be described."""
    return not digest.startswith(NOT_COMPARABLE)


class _NotDescribed(ValueError):
    """A value that has no stable description."""


class _Digests:
    """Digests of nested plain values, tensors, functions, modules, models and simple objects."""

    def __init__(self) -> None:
        # By id, with the object itself: while it is kept, no other gets its id.
        self.known: dict[int, tuple[Any, bytes]] = {}
        self.above: set[int] = set()
        self.sampled = False  # whether tensors are weights
        self.cells: set[int] = set()  # that hold what functions keep between their calls
        self.written: dict[int, set[Any]] = {}  # names that runs write, by the object's id
        self.writers: dict[int, str] = {}
        self.states: list[RunState] = []  # kept, for the ids in them
        self.unclear: set[str] = set()  # of what it cannot be told whether it is state or setting
        self.engines = False  # whether an int may be a handle

    def of(self, value: Any) -> bytes:
        """The digest of a value. Raises _NotDescribed for what has no stable description."""
        if value is None or isinstance(value, PLAIN_TYPES):
            return _hashed(f"{type(value).__name__}={self._lasting_plain(value)!r}".encode())
        if id(value) in self.known:
            return self.known[id(value)][1]
        if id(value) in self.above:
            return b"cycle"
        if len(self.above) == DEPTH:
            raise _NotDescribed(f"a {type(value).__name__} is nested too deeply")
        self.above.add(id(value))
        try:
            found = self._composed(value)
        finally:
            self.above.discard(id(value))
        self.known[id(value)] = value, found
        return found

    def _lasting_plain(self, value: Any) -> Any:
        """A plain value without places in memory: they are others after every start."""
        if isinstance(value, str) and " at 0x" in value:
            return WRITTEN_ADDRESS.sub("", value)
        if type(value) is int and value in ADDRESSES and not value % ALIGNED and value % ROUND:
            if self.engines:
                raise _NotDescribed("a network holds the address of what it answers by")
            return "address"
        return value

    def _join(self, kind: str, parts: Iterable[Any]) -> bytes:
        return _hashed(kind.encode(), *(self.of(part) for part in parts))

    def _composed(self, value: Any) -> bytes:
        """The digest of what is not a plain value."""
        written = self.written.get(id(value), set())
        if ANYTHING in written:
            self._tell_unclear(value)
            return self._unwritten(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, comfy.model_patcher.ModelPatcher):
            if not hasattr(value.model, "model_sampling"):  # of a ControlNet or a VAE
                return self._join("patcher", [value.model, value.patches])
            return self._model(value)
        if isinstance(value, torch.nn.Module):
            original = getattr(value, "_modules", {}).get("_orig_mod")  # of torch.compile
            return self._module(value) if original is None else self._join("compiled", [original])
        if isinstance(value, Mapping):
            # The host gives every conditioning entry a random "uuid" when it builds a guider.
            skipped = written | {"uuid"}
            items = [(self.of(k), self.of(v)) for k, v in value.items() if k not in skipped]
            return _hashed(b"map", *(part for item in sorted(items) for part in item))
        if isinstance(value, list | tuple | collections.deque):
            return self._join("list", value)
        if isinstance(value, set | frozenset):
            return _hashed(b"set", *sorted(self.of(part) for part in value))
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype.hasobject:
                raise _NotDescribed("an array of objects has no stable description")
            return _hashed(f"{value.dtype}{value.shape}".encode(), value.tobytes())
        if isinstance(value, torch.dtype | torch.device | torch.Size):
            return _hashed(str(value).encode())
        if isinstance(value, Enum):
            return self._join("enum", [_class_names(value), value.name])
        if isinstance(value, uuid.UUID):
            return b"uuid"  # a random name says nothing
        if isinstance(value, types.ModuleType):
            return self._join("import", [value.__name__])
        if isinstance(value, functools.partial):
            return self._join("partial", [value.func, value.args, value.keywords])
        if isinstance(value, types.MethodType):
            return self._join("method", [value.__self__, value.__func__])
        if isinstance(value, types.CodeType):
            return self._join("code", [value.co_code, value.co_names, value.co_consts])
        if callable(value) and hasattr(value, "__qualname__"):
            return self._function(value)
        if isinstance(value, weakref.ref):
            return self._join("weak", [value()])
        if isinstance(value, SILENT):
            return _hashed(b"silent", type(value).__name__.encode())
        attributes = _lasting(value)
        if (attributes or hasattr(value, "__dict__")) and not is_opaque(type(value)):
            lasting = {name: v for name, v in attributes.items() if name not in written}
            return self._join("object", [_class_names(value), lasting])
        raise _NotDescribed(f"a {type(value).__name__} has no stable description")

    def _function(self, value: Any) -> bytes:
        """A function's name, code and all that it was made with; a class by its name."""
        inner = getattr(value, "_torchdynamo_orig_callable", None)
        if inner is not None and not isinstance(value, type):
            return self._join("compiled", [inner])
        closure = getattr(value, "__closure__", None) or ()
        cells = [_content(cell) for cell in closure if id(cell) not in self.cells]
        parts = ("__code__", "__defaults__", "__kwdefaults__", "__self__")
        made_of = [getattr(value, name, None) for name in parts]
        found = [_qualified(value), *made_of, *cells]
        if isinstance(value, type):
            return self._join("function", found)
        written = self.written.get(id(value), set()) | {"__wrapped__"}
        own = getattr(value, "__dict__", {})
        attributes = {name: v for name, v in own.items() if name not in written}
        if not hasattr(value, "__code__") and hasattr(value, "__wrapped__"):
            found.append(value.__wrapped__)  # a compiled cache around it
        if ANYTHING not in written and attributes:
            found.append(attributes)
        return self._join("function", found)

    def _unwritten(self, value: Any) -> bytes:
        """Stand-in for an object of which everything may be state of runs."""
        if isinstance(value, Mapping):
            return _hashed(b"map")  # as before the first run, most often
        if isinstance(value, list | collections.deque):
            return self._join("list", [])
        return self._join("state", [_class_names(value)])

    def _tell_unclear(self, value: Any) -> None:
        """Note what is left out although there may be settings in it."""
        if isinstance(value, torch.Tensor):
            return
        content = list(value.values()) if isinstance(value, Mapping) else value
        if not isinstance(content, list | tuple | set | collections.deque):
            content = list(_lasting(value).values())
        if any(isinstance(v, int | float | str) and not isinstance(v, bool) for v in content):
            self.unclear.add(self.writers[id(value)])

    def _learn(self, model: Any) -> RunState:
        """Learn what the functions of a model's patches and network write to when they run."""
        state = RunState(model.model_options)
        put = ("model_options", "wrappers", "callbacks", "injections", "weight_wrapper_patches")
        for name in (*put, "object_patches"):
            state.look_into(getattr(model, name, {}))
        for module in own_modules(model).values():
            # A part writes to itself; what the whole network writes to its parts is read there.
            whole = module is getattr(model.model, "diffusion_model", None)
            if not is_of_host(type(module)) and (whole or beside_weights(module, state)):
                state.read(module)
        return self.learn(state)

    def learn(self, state: RunState) -> RunState:
        """Leave out what a state holds, from now on."""
        self.states.append(state)
        self.cells |= state.cells
        self.writers |= state.writers
        self.unclear |= state.unread
        for place, names in state.written.items():
            self.written.setdefault(place, set()).update(names)
        return state

    def _model(self, model: Any) -> bytes:
        """A MODEL: what the module's docstring names."""
        # Inside a patch these stand for themselves; what replaces one of them is described.
        own = own_modules(model)
        for name, module in own.items():
            self.known[id(module)] = module, _hashed(b"own module", name.encode())
        state = self._learn(model)
        model_sampling = model.get_model_object("model_sampling")
        wrappers = getattr(model, "wrappers", {})
        models = getattr(model, "additional_models", {})
        self.sampled = True
        weights = {key: self.of(weight) for key, weight in weights_of(model, own)}
        patches = {
            key: self.of([_without_conversion(patch) for patch in patches])
            for key, patches in model.patches.items()
        }
        beside = self._beside(own, state)
        self.sampled = False
        return self._join(
            "model",
            [
                _class_names(model.model),
                str(getattr(model.model, "model_type", "")),
                [_class_names(model_sampling), _settings(model_sampling)],
                _class_names(model.get_model_object("latent_format")),
                weights,
                patches,
                {k: v for k, v in model.object_patches.items() if k != "model_sampling"},
                _filled(getattr(model, "weight_wrapper_patches", {})),
                _filled({k: v for k, v in model.model_options.items() if k != "multigpu_clones"}),
                _filled({kind: _foreign(by_key) for kind, by_key in wrappers.items()}),
                _filled(getattr(model, "callbacks", {})),
                _filled(getattr(model, "injections", {})),
                # A copy of the model itself for every GPU is no other model.
                _filled({key: found for key, found in models.items() if key != "multigpu"}),
                *([beside] if beside else []),
            ],
        )

    def _beside(self, own: Mapping[str, torch.nn.Module], state: RunState) -> dict[str, bytes]:
        """Contents of the model's own modules beside weights, digests by name."""
        self.engines, before = True, self.engines
        found: dict[str, bytes] = {}
        for name, module in own.items():
            if name.split(".")[0] != "model_sampling":
                content = beside_weights(module, state)
                found |= {f"{name}.{key}": self.of(value) for key, value in content.items()}
        self.engines = before
        return found

    def _module(self, module: torch.nn.Module) -> bytes:
        """A module of a patch: its weights and settings, those of its parts included."""
        own = {id(part) for part in module.modules() if id(part) in self.known}
        self.sampled, before = True, self.sampled
        parts: list[Any] = []
        for name, part in module.named_modules():
            if id(part) in own:
                parts.append((name, self.known[id(part)][1]))
                continue
            direct = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            settings, written = _settings(part), self.written.get(id(part), set())
            settings = {key: value for key, value in settings.items() if key not in written}
            beside = beside_weights(part, self.states[-1] if self.states else RunState({}))
            beside = {key: value for key, value in beside.items() if key not in settings}
            content = [_class_names(part), settings, dict(direct)]
            parts.append((name, [*content, beside] if beside else content))
        found = self._join("module", parts)
        self.sampled = before
        return found

    def _tensor(self, tensor: torch.Tensor) -> bytes:
        if hasattr(tensor, "__tensor_flatten__"):  # a quantised one, made of several
            inner, layout = tensor.__tensor_flatten__()
            parts = [getattr(tensor, name) for name in inner]
            return self._join("tensor of", [_class_names(tensor), layout, parts])
        if tensor.is_meta or tensor.layout != torch.strided:
            raise _NotDescribed(f"a {tensor.layout} tensor on {tensor.device} cannot be read")
        kind = f"{tensor.dtype}{tuple(tensor.size())}"
        return _hashed(kind.encode(), _read(tensor, self.sampled))


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


def _read(tensor: torch.Tensor, sampled: bool) -> bytes:
    """The bytes of a tensor; of a large one, if sampled, those of some of its elements."""
    plain = tensor.detach().as_subclass(torch.Tensor)  # some packs' tensors hide their true shape
    if plain.is_complex():
        plain = torch.view_as_real(plain)
    bits = plain.view(BITS[plain.element_size()])
    count = bits.numel()
    if sampled and count > WHOLE:
        positions = _positions(count)
        if bits.is_contiguous():
            bits = bits.view(-1)[torch.from_numpy(positions)]
        else:  # one index for each dimension: flattening would copy all of it
            index = np.unravel_index(positions, tuple(bits.shape))
            bits = bits[tuple(torch.from_numpy(i) for i in index)]
    return bits.contiguous().cpu().numpy().tobytes()


@functools.lru_cache(maxsize=1024)
def _positions(count: int) -> np.ndarray:
    """The elements read of a large tensor: runs, because each costs a page of a mapped file.

    They begin at multiples of the golden ratio: evenly spaced ones would meet few columns only.
    """
    starts = (np.arange(1, RUNS + 1) * GOLDEN % 1.0 * (count - RUN)).astype(np.int64)
    return (starts[:, None] + np.arange(RUN)).reshape(-1)


def _settings(value: Any) -> dict[str, Any]:
    """The numbers and texts among a module's attributes, and a model_sampling's levels.

    The host's own ("comfy_cast_weights" and the like) change when it loads the module.
    """
    plain = {
        key: setting
        for key, setting in vars(value).items()
        if isinstance(setting, int | float | str) and key not in HOSTS_OWN and "comfy" not in key
    }
    return {**plain, "sigmas": getattr(value, "sigmas", None)}


def _lasting(value: Any) -> dict[str, Any]:
    """An object's attributes without those that sampling leaves behind."""
    state = {name for cls in type(value).__mro__ for name in STATE_OF_RUNS.get(cls.__name__, ())}
    return {name: content for name, content in attributes_of(value).items() if name not in state}


def _filled(value: Any) -> Any:
    """Mappings and lists without the empty ones in them: the host makes those as it goes."""
    if isinstance(value, Mapping):
        filled = {key: _filled(inner) for key, inner in value.items()}
        return {k: v for k, v in filled.items() if not (isinstance(v, list | dict) and not v)}
    return value


def _foreign(by_key: Mapping[Any, Any]) -> dict[Any, Any]:
    """Wrappers of one kind without ours."""
    return {key: wrappers for key, wrappers in by_key.items() if key != WRAPPER_KEY}


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that was never filled
        return None


def _hashed(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _class_names(value: Any) -> list[str]:
    return [_qualified(cls) for cls in type(value).__mro__[:-1]]


def _qualified(value: Any) -> str:
    """The full name of a class or function; the host names a pack's modules by their whole path."""
    module = str(value.__module__).rpartition("custom_nodes")[2]
    return f"{module}.{value.__qualname__}"
