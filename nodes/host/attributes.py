"""Attributes of an object, without calling anything of it, and whose its class is."""

from __future__ import annotations

import collections
import dis
import functools
import sys
import types
from collections.abc import Mapping
from typing import Any

import torch

from .sources import codes

__all__ = ["attribute", "attributes_of", "elements", "is_of_host", "names_written", "of_class"]

LOOKED_INTO = 256  # of a container that are looked into
# Modules whose objects are no patches, or are reset by the host itself after every run.
HOST = {"comfy", "torch", "numpy", *sys.stdlib_module_names} - {"__main__"}
RESET = {"comfy_extras.nodes_easycache"}


def is_of_host(value: Any) -> bool:
    """Tell whether a function or class is the host's or a library's, and no pack's."""
    module = str(getattr(value, "__module__", None))
    return module.split(".")[0] in HOST or module in RESET


def attributes_of(value: Any) -> dict[str, Any]:
    """An object's attributes, those in slots included, without properties that remember."""
    found = dict(getattr(value, "__dict__", {}))
    cls: Any = type(value)
    slots, cached = _members(cls)
    found |= {name: getattr(value, name) for name in slots if hasattr(value, name)}
    return {name: v for name, v in found.items() if name not in cached} if cached else found


@functools.lru_cache(maxsize=4096)
def _members(cls: Any) -> tuple[frozenset[str], frozenset[str]]:
    """The names of a class's slots, and of its properties that remember."""
    slots, cached = set(), set()
    for base in cls.__mro__:
        if "__slots__" in vars(base):
            slots |= {
                name
                for name, member in vars(base).items()
                if isinstance(member, types.MemberDescriptorType)
            }
        for name, member in vars(base).items():
            if isinstance(member, functools.cached_property):
                cached.add(name)
    return frozenset(slots), frozenset(cached)


@functools.lru_cache(maxsize=1024)
def names_written(cls: Any) -> frozenset[str]:
    """The attributes that a class has, and that its functions write on anything."""
    functions = [m for m in vars(cls).values() if isinstance(m, types.FunctionType)]
    found = [code for function in functions for code in codes(function.__code__)]
    stores = (i for code in found for i in dis.get_instructions(code))
    stored = {i.argval for i in stores if i.opname == "STORE_ATTR"}
    return frozenset(stored | vars(cls).keys() - {"forward"})


def elements(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset | collections.deque):
        return [inner for inner in list(value)[:LOOKED_INTO] if inner is not None]
    return []


def attribute(value: Any, name: Any) -> list[Any]:
    """Read an attribute of an object without calling anything of the object."""
    attributes = vars(value) if isinstance(value, types.ModuleType) else attributes_of(value)
    if isinstance(value, torch.nn.Module):
        for inner in ("_modules", "_parameters", "_buffers"):
            attributes = {**attributes, **attributes.get(inner, {})}
    if name in attributes:
        return [attributes[name]]
    if isinstance(value, types.ModuleType) or not isinstance(name, str):
        return []
    function = of_class(value if isinstance(value, type) else type(value), name)
    if function is not None:
        return [function if isinstance(value, type) else types.MethodType(function, value)]
    return []


def of_class(cls: type, name: str, kind: type = types.FunctionType) -> Any:
    """A function that a pack's class defines, or another member of a kind; None if it has none."""
    for base in cls.__mro__:
        member = vars(base).get(name)
        if member is not None:
            return member if isinstance(member, kind) and not is_of_host(base) else None
    return None
