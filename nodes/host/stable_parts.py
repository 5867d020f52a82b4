"""What lasts from run to run: an object without what sampling leaves behind in it."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

import torch

from .attributes import attributes_of
from .run_state import ANYTHING, RunState

__all__ = ["RunStates", "filled", "lasting", "settings"]

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


class RunStates:
    """State of runs that digests leave out: all that was learnt of it so far.

    unclear: names of patches of whose state it cannot be told whether settings are in it
    """

    def __init__(self) -> None:
        self.unclear: set[str] = set()
        self._states: list[RunState] = []  # kept, for the ids in them
        self._written: dict[int, set[Any]] = {}  # names that runs write, by the object's id
        self._writers: dict[int, str] = {}
        self._cells: set[int] = set()  # that hold what functions keep between their calls

    @property
    def latest(self) -> RunState:
        """The state that was learnt last."""
        return self._states[-1] if self._states else RunState({})

    def learn(self, state: RunState) -> None:
        """Leave out what a state holds, from now on."""
        self._states.append(state)
        self._cells |= state.cells
        self._writers |= state.writers
        self.unclear |= state.unread
        for place, names in state.written.items():
            self._written.setdefault(place, set()).update(names)

    def written(self, value: Any) -> set[Any]:
        """The names that runs write on an object, perhaps ANYTHING."""
        return self._written.get(id(value), set())

    def is_written(self, cell: Any) -> bool:
        """Tell whether runs write to a variable that functions share."""
        return id(cell) in self._cells

    def note_unclear(self, value: Any) -> None:
        """Note the patch whose object is left out although there may be settings in it."""
        if isinstance(value, torch.Tensor):
            return
        content = list(value.values()) if isinstance(value, Mapping) else value
        if not isinstance(content, list | tuple | set | collections.deque):
            content = list(lasting(value).values())
        if any(isinstance(v, int | float | str) and not isinstance(v, bool) for v in content):
            self.unclear.add(self._writers[id(value)])

    def is_state(self, value: Any) -> bool:
        """Tell whether everything in an object may be state of runs."""
        return ANYTHING in self.written(value)


def lasting(value: Any) -> dict[str, Any]:
    """An object's attributes without those that sampling leaves behind."""
    state = {name for cls in type(value).__mro__ for name in STATE_OF_RUNS.get(cls.__name__, ())}
    return {name: content for name, content in attributes_of(value).items() if name not in state}


def settings(value: Any) -> dict[str, Any]:
    """The numbers and texts among a module's attributes, and a model_sampling's levels.

    The host's own ("comfy_cast_weights" and the like) change when it loads the module.
    """
    plain = {
        key: setting
        for key, setting in vars(value).items()
        if isinstance(setting, int | float | str) and key not in HOSTS_OWN and "comfy" not in key
    }
    return {**plain, "sigmas": getattr(value, "sigmas", None)}


def filled(value: Any) -> Any:
    """Mappings and lists without the empty ones in them: the host makes those as it goes."""
    if isinstance(value, Mapping):
        inner = {key: filled(part) for key, part in value.items()}
        return {k: v for k, v in inner.items() if not (isinstance(v, list | dict) and not v)}
    return value
