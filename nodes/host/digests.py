"""Digests of nested values: plain ones, tensors, functions, modules, models and simple objects.

Values are digested as a tree, from the leaves up and every object once, so that it does not matter
who shares what with whom. State of runs is left out, as far as it was learnt.
"""

from __future__ import annotations

import collections
import functools
import logging
import threading
import types
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

import comfy.model_patcher
import numpy as np
import torch

from .beside_weights import is_opaque
from .leaves import (
    PLAIN_TYPES,
    NotDescribedError,
    class_names,
    hashed,
    plain_bytes,
    qualified,
    tensor_bytes,
)
from .model_digest import digest_of_model, digest_of_module
from .run_state import ANYTHING
from .stable_parts import RunStates, lasting

__all__ = ["Digests"]

DEPTH = 64  # of nested values
# Locks and logs have no settings.
SILENT = type(threading.Lock()), type(threading.RLock()), threading.local, logging.Logger


class Digests:
    """Digests of values, each object's once.

    states:  of runs, which are left out
    sampled: whether tensors are weights: of large ones some elements are read
    handles: whether an int may be the handle of an engine
    """

    def __init__(self) -> None:
        self.states = RunStates()
        self.sampled = self.handles = False
        # By id, with the object itself: while it is kept, no other gets its id.
        self._known: dict[int, tuple[Any, bytes]] = {}
        self._above: set[int] = set()

    def of(self, value: Any) -> bytes:
        """The digest of a value. Raises NotDescribedError for one without a stable description."""
        if value is None or isinstance(value, PLAIN_TYPES):
            return hashed(plain_bytes(value, self.handles))
        if id(value) in self._known:
            return self._known[id(value)][1]
        if id(value) in self._above:
            return b"cycle"
        if len(self._above) == DEPTH:
            raise NotDescribedError(f"a {type(value).__name__} is nested too deeply")
        self._above.add(id(value))
        try:
            digest = self._composed(value)
        finally:
            self._above.discard(id(value))
        return self.set(value, digest)

    def set(self, value: Any, digest: bytes) -> bytes:
        """Have a value stand for this digest."""
        self._known[id(value)] = value, digest
        return digest

    def known(self, value: Any) -> bytes | None:
        """The digest of a value that was met before."""
        return self._known.get(id(value), (None, None))[1]

    def join(self, kind: str, parts: Iterable[Any]) -> bytes:
        """The digest of several values together."""
        return hashed(kind.encode(), *(self.of(part) for part in parts))

    @contextmanager
    def reading(self, *, sampled: bool, handles: bool) -> Iterator[None]:
        """Read tensors and ints so inside."""
        before = self.sampled, self.handles
        self.sampled, self.handles = sampled, handles
        yield
        self.sampled, self.handles = before

    def _composed(self, value: Any) -> bytes:
        """The digest of what is not a plain value."""
        if self.states.is_state(value):
            self.states.note_unclear(value)
            return self._state(value)
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if isinstance(value, comfy.model_patcher.ModelPatcher):
            if not hasattr(value.model, "model_sampling"):  # of a ControlNet or a VAE
                return self.join("patcher", [value.model, value.patches])
            return digest_of_model(self, value)
        if isinstance(value, torch.nn.Module):
            original = getattr(value, "_modules", {}).get("_orig_mod")  # of torch.compile
            if original is not None:
                return self.join("compiled", [original])
            return digest_of_module(self, value)
        digest = self._container(value)
        return self._other(value) if digest is None else digest

    def _state(self, value: Any) -> bytes:
        """Stand-in for an object of which everything may be state of runs."""
        if isinstance(value, Mapping):
            return hashed(b"map")  # as before the first run, most often
        if isinstance(value, list | collections.deque):
            return self.join("list", [])
        return self.join("state", [class_names(value)])

    def _tensor(self, tensor: torch.Tensor) -> bytes:
        if hasattr(tensor, "__tensor_flatten__"):  # a quantised one, made of several
            inner, layout = tensor.__tensor_flatten__()
            parts = [getattr(tensor, name) for name in inner]
            return self.join("tensor of", [class_names(tensor), layout, parts])
        if tensor.is_meta or tensor.layout != torch.strided:
            raise NotDescribedError(f"a {tensor.layout} tensor on {tensor.device} cannot be read")
        kind = f"{tensor.dtype}{tuple(tensor.size())}"
        return hashed(kind.encode(), tensor_bytes(tensor, self.sampled))

    def _container(self, value: Any) -> bytes | None:
        """The digest of mappings, lists, sets and arrays; None for anything else."""
        if isinstance(value, Mapping):
            # The host gives every conditioning entry a random "uuid" when it builds a guider.
            skipped = self.states.written(value) | {"uuid"}
            items = [(self.of(k), self.of(v)) for k, v in value.items() if k not in skipped]
            return hashed(b"map", *(part for item in sorted(items) for part in item))
        if isinstance(value, list | tuple | collections.deque):
            return self.join("list", value)
        if isinstance(value, set | frozenset):
            return hashed(b"set", *sorted(self.of(part) for part in value))
        if isinstance(value, np.ndarray | np.generic):
            if value.dtype.hasobject:
                raise NotDescribedError("an array of objects has no stable description")
            return hashed(f"{value.dtype}{value.shape}".encode(), value.tobytes())
        return None

    def _other(self, value: Any) -> bytes:
        """The digest of constants, functions and simple objects."""
        if isinstance(value, torch.dtype | torch.device):
            return hashed(str(value).encode())
        if isinstance(value, Enum):
            return self.join("enum", [class_names(value), value.name])
        if isinstance(value, uuid.UUID):
            return b"uuid"  # a random name says nothing
        if isinstance(value, types.ModuleType):
            return self.join("import", [value.__name__])
        if isinstance(value, functools.partial):
            return self.join("partial", [value.func, value.args, value.keywords])
        if isinstance(value, types.MethodType):
            return self.join("method", [value.__self__, value.__func__])
        if isinstance(value, types.CodeType):
            return self.join("code", [value.co_code, value.co_names, value.co_consts])
        if callable(value) and hasattr(value, "__qualname__"):
            return self._function(value)
        if isinstance(value, weakref.ref):
            return self.join("weak", [value()])
        if isinstance(value, SILENT):
            return hashed(b"silent", type(value).__name__.encode())
        attributes = lasting(value)
        if (attributes or hasattr(value, "__dict__")) and not is_opaque(type(value)):
            written = self.states.written(value)
            attributes = {name: v for name, v in attributes.items() if name not in written}
            return self.join("object", [class_names(value), attributes])
        raise NotDescribedError(f"a {type(value).__name__} has no stable description")

    def _function(self, value: Any) -> bytes:
        """A function's name, code and all that it was made with; a class by its name."""
        inner = getattr(value, "_torchdynamo_orig_callable", None)
        if inner is not None and not isinstance(value, type):
            return self.join("compiled", [inner])
        closure = getattr(value, "__closure__", None) or ()
        cells = [_content(cell) for cell in closure if not self.states.is_written(cell)]
        names = ("__code__", "__defaults__", "__kwdefaults__", "__self__")
        parts = [qualified(value), *(getattr(value, name, None) for name in names), *cells]
        if isinstance(value, type):
            return self.join("function", parts)
        written = self.states.written(value) | {"__wrapped__"}
        own = getattr(value, "__dict__", {})
        attributes = {name: v for name, v in own.items() if name not in written}
        if not hasattr(value, "__code__") and hasattr(value, "__wrapped__"):
            parts.append(value.__wrapped__)  # a compiled cache around it
        if ANYTHING not in written and attributes:
            parts.append(attributes)
        return self.join("function", parts)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that was never filled
        return None
