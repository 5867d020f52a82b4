"""GUIDERs as the optimiser sees them: a copy to be watched, and what may be assumed of it.

One guided prediction of the host is a function of x and the level alone, row by row. Other nodes
can change that: EasyCache and the momentum of APG carry something from one call to the next, hook
keyframes count the calls of a run, PerpNeg takes its angle over all rows, RenormCFG fails with two.
So where anything but the host's own guidance takes part in a call, nothing of this is assumed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider

from .identity import WRAPPER_KEY
from .model import sampled_model

__all__ = ["is_plain", "model_of", "watched", "without_caches", "wraps_calls"]

# What runs a guider; a class may set its conditioning and its scale as it likes.
GUIDER_METHODS = (
    "__call__",
    "sample",
    "outer_sample",
    "inner_sample",
    "outer_predict_noise",
    "predict_noise",
)
CACHES = {"easycache", "lazycache"}  # keys of the wrappers by which the host's caches skip calls
CALLS = (
    WrappersMP.PREDICT_NOISE,
    WrappersMP.CALC_COND_BATCH,
    WrappersMP.APPLY_MODEL,
    WrappersMP.DIFFUSION_MODEL,
)


def model_of(guider: Any) -> Any:
    """The MODEL that a GUIDER runs.

    Raises ValueError for a guider that does not say which, or does not sample.
    """
    if not callable(getattr(guider, "sample", None)):
        raise ValueError(
            "What is linked as the guider is none that can be run: link CFGGuider or another node "
            "with a GUIDER output."
        )
    if not hasattr(guider, "model_patcher"):
        raise ValueError(
            f"The linked guider ({type(guider).__name__}) does not say which model it runs: it has "
            "no 'model_patcher'. Link one that does, for example CFGGuider."
        )
    return sampled_model(guider.model_patcher)


def watched(guider: Any, predict: Callable[..., Any]) -> Any:
    """A copy of a GUIDER whose guided predictions pass through `predict`; it is not changed itself.

    predict: a wrapper as the host defines them, (executor, x, timestep, model_options, seed) -> x_0
    """
    watched = copy.copy(guider)
    patcher = guider.model_patcher.clone()
    kind = WrappersMP.PREDICT_NOISE
    # Around all other wrappers: what the sampler asks for and gets.
    patcher.wrappers[kind] = {WRAPPER_KEY: [predict], **patcher.wrappers.get(kind, {})}
    watched.model_patcher = patcher
    if hasattr(guider, "model_options"):
        # As `clone` has copied the model's own: newer hosts keep things in it that have no copy.
        copied = getattr(comfy.utils, "deepcopy_list_dict", copy.deepcopy)
        watched.model_options = copied(guider.model_options)
    return watched


def without_caches(guider: Any) -> Any:
    """The same GUIDER without the host's caches of calls; the guider itself if there are none.

    A cache skips the more calls the more steps there are: with it, runs have no many-step limit.
    """
    wrappers = guider.model_patcher.wrappers
    if not any(CACHES & found.keys() for found in wrappers.values()):
        return guider
    uncached = copy.copy(guider)
    uncached.model_patcher = guider.model_patcher.clone()
    uncached.model_patcher.wrappers = {
        kind: {key: found[key] for key in found if key not in CACHES}
        for kind, found in wrappers.items()
    }
    return uncached


def is_plain(guider: Any) -> bool:
    """Tell whether nothing but the host's own guidance takes part in a guided prediction."""
    patcher = guider.model_patcher
    if not all(
        getattr(type(guider), name, None) is getattr(CFGGuider, name) for name in GUIDER_METHODS
    ):
        return False
    options = [*guider.model_options.values(), *patcher.model_options.values()]
    return (
        not any((patcher.wrappers, patcher.callbacks, patcher.injections, *options))
        and patcher.object_patches.keys() <= {"model_sampling"}
        and all(_are_plain(conds) for conds in guider.original_conds.values())
    )


def wraps_calls(guider: Any) -> bool:
    """Tell whether other nodes stand around the calls of a GUIDER, as caches do."""
    patcher = guider.model_patcher
    options = getattr(guider, "model_options", patcher.model_options)
    wrappers = options.get("transformer_options", {}).get("wrappers", {})
    return any(found.get(kind) for found in (patcher.wrappers, wrappers) for kind in CALLS)


def _are_plain(conds: Any) -> bool:
    """Tell whether conditionings are a list of plain ones."""
    return isinstance(conds, list) and all(_is_plain_cond(cond) for cond in conds)


def _is_plain_cond(cond: dict[str, Any]) -> bool:
    """Tell if a conditioning brings no function of its own, and is the same for every row."""
    tensors = [value for value in cond.values() if isinstance(value, torch.Tensor)]
    one_row = all(value.shape[:1] == (1,) for value in tensors)
    return not cond.keys() & {"hooks", "control"} and one_row
