"""State that a network answers by, beside its parameters and buffers.

Engines, handles of C++ libraries, plain tensors in attributes, LoRAs that a quantised loader keeps
in a list, hooks and replaced methods: all that is set on a network and is neither a weight that its
state names, nor a number that its host's own class sets as it is made.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import comfy.model_patcher
import torch

from .attributes import attributes_of, is_of_host, names_written
from .run_state import ANYTHING, RunState

__all__ = ["beside_weights", "is_opaque"]

OWN = frozenset(vars(torch.nn.Module()))
NO_WEIGHT = torch.dtype, torch.device, torch.Size, type, bool, types.ModuleType
FUNCTIONS = types.FunctionType, types.BuiltinFunctionType
LOADING = "model_patcher.py", "model_management.py", "pinned_memory.py", "memory_management.py"
# As `m.weight_function = []` and `setattr(m, "x", ...)` stand where the host loads a network.
SET = (
    r"\b(?:m|module|self\.model|model)\.(\w+)\s*=[^=]|setattr\((?:m|module|self\.model), \"(\w+)\""
)


def beside_weights(module: torch.nn.Module, state: RunState) -> dict[str, Any]:
    """Contents of a module beside weights and parts, by name, without what runs write to it."""
    attributes, cls = attributes_of(module), cast("Any", type(module))
    known = OWN | state.loose | state.written.get(id(module), set()) | _set_by_host(cls)
    found = {
        name: value
        for name, value in attributes.items()
        if name not in known
        and "comfy" not in name
        and _counts(value)
        and ANYTHING not in state.written.get(id(value), set())
    }
    for name in ("_forward_pre_hooks", "_forward_hooks"):
        if attributes.get(name):
            found[name] = list(attributes[name].values())  # their keys count up
    closures = _closures(cls)
    return found | ({"closures": closures} if closures else {})


def is_opaque(cls: type) -> bool:
    """Tell if objects of a class may hold what Python does not see: a base of it is compiled."""
    return any(_is_compiled(base) for base in cls.__mro__[:-1])


def _counts(value: Any) -> bool:
    """Tell whether an attribute may tell two networks apart."""
    if value is None or isinstance(value, NO_WEIGHT):
        return False
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return len(value) > 0
    return not (isinstance(value, FUNCTIONS) and is_of_host(value))


@functools.lru_cache(maxsize=1024)
def _set_by_host(cls: Any) -> frozenset[str]:
    """The attributes that the host's and torch's own classes and loaders set."""
    of_classes = (names_written(base) for base in cls.__mro__ if is_of_host(base))
    return _set_by_loaders().union(*of_classes)


@functools.lru_cache(maxsize=1)
def _set_by_loaders() -> frozenset[str]:
    folder = Path(inspect.getfile(comfy.model_patcher)).parent
    texts = [(folder / name).read_text("utf-8") for name in LOADING if (folder / name).is_file()]
    found = re.findall(SET, "\n".join(texts))
    return frozenset(name for pair in found for name in pair if name)


def _closures(cls: type) -> list[Any]:
    """Closures of the methods of a pack's class: what they hold, but for the class itself."""
    found = []
    for base in cls.__mro__:
        for member in vars(base).values() if not is_of_host(base) else ():
            for cell in getattr(member, "__closure__", None) or ():
                try:
                    value = cell.cell_contents
                except ValueError:  # never filled
                    continue
                if value is not base and _counts(value):
                    found.append(value)
    return found


def _is_compiled(cls: type) -> bool:
    """Tell whether a class is written in another language than Python.

    Its module is then a library or built in. Packs' modules are files, whatever their names.
    """
    module = sys.modules.get(str(cls.__module__))
    file = getattr(module, "__file__", None)
    if module is None or cls.__module__ == "__main__":
        return False
    if cls.__module__ in ("types", "builtins"):
        return cls is not types.SimpleNamespace
    return file is None or not str(file).endswith((".py", ".pyc"))
