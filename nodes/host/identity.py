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
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from .digests import Digests
from .leaves import NotDescribedError, class_names
from .model_digest import WRAPPER_KEY
from .run_state import RunState
from .stable_parts import lasting

__all__ = [
    "WRAPPER_KEY",
    "comparable_digest",
    "guidance_digest",
    "is_comparable",
    "model_identity",
]

NOT_COMPARABLE = "not comparable"

log = logging.getLogger("align_your_steps")
_told: set[str] = set()  # patches that have been spoken of


def model_identity(model: Any) -> str | None:
    """The digest of a MODEL; None if something in it cannot be described."""
    digests = Digests()
    try:
        identity = digests.of(model).hex()
    except NotDescribedError as error:
        log.warning(
            "The model cannot be identified (%s): its schedule will be saved, but not picked up "
            "automatically.",
            error,
        )
        return None
    for name in sorted(digests.states.unclear - _told):
        log.warning(
            "The patch '%s' of this model keeps what it remembers of its runs where its settings "
            "may be, too: schedules are found by everything else. After changing that patch's "
            "settings, optimise again.",
            name,
        )
    _told.update(digests.states.unclear)
    return identity


def guidance_digest(guider: Any) -> str:
    """The digest of a GUIDER's class, settings, conditioning and further models."""
    state = RunState({})
    state.read_methods(guider)
    skipped = state.written.get(id(guider), set()) | {"model_patcher"}
    settings = {name: value for name, value in lasting(guider).items() if name not in skipped}
    return comparable_digest({"class": class_names(guider), "settings": settings})


def comparable_digest(value: Any) -> str:
    """A digest of anything; of what cannot be described, one that equals no other."""
    digests, state = Digests(), RunState({})
    state.look_into(value)
    digests.states.learn(state)
    try:
        return digests.of(value).hex()
    except NotDescribedError as error:
        log.info("An input cannot be compared with that of saved results: %s.", error)
        return f"{NOT_COMPARABLE} {secrets.token_hex(8)}"


def is_comparable(digest: str) -> bool:
    """Tell if a digest can be that of something else: all in it could be described."""
    return not digest.startswith(NOT_COMPARABLE)
