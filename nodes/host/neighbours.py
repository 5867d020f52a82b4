"""Our names in the host's lists of schedulers and samplers, beside packs with lists of their own.

Packs offer copies of these lists, and the host compares two lists word by word when an output is
linked to an input: one that was copied before our name was added is refused by every sampler, even
for `karras`. To the host's comparison two lists are alike here if they are but for our names.

Packs also put lists of their own in the place of the host's: our names are added again when all are
loaded, and whenever something is queued. A node that puts in another list while it runs, and a copy
that a pack keeps for itself, have not got them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from .calibrated_sampler import SAMPLER_NAME, register_sampler
from .execution import call_with_prompts
from .scheduler import SCHEDULER_NAME, register_scheduler

__all__ = ["accept_copies", "register_names"]

OURS = {SCHEDULER_NAME, SAMPLER_NAME}


def register_names() -> None:
    """Add `ays_model` to the host's lists, and again where other packs have changed them since."""
    _add_names()
    call_with_prompts(lambda _: _add_names())
    from server import PromptServer

    server: Any = getattr(PromptServer, "instance", None)
    started = getattr(getattr(server, "app", None), "on_startup", None)
    if started is not None:
        started.append(_add_names_at_start)


def accept_copies() -> None:
    """Let the host link lists that differ by our names alone."""
    execution: Any = sys.modules.get("execution")
    validate = getattr(execution, "validate_node_input", None)
    if validate is not None and not hasattr(validate, "accepts_copies"):
        execution.validate_node_input = _accepting(validate)


def _accepting(validate: Callable[..., bool]) -> Callable[..., bool]:
    @functools.wraps(validate)
    def validate_node_input(received: Any, wanted: Any, *more: Any, **named: Any) -> bool:
        return validate(received, wanted, *more, **named) or _are_copies(received, wanted)

    validate_node_input.accepts_copies = True  # type: ignore[attr-defined]
    return validate_node_input


def _are_copies(received: Any, wanted: Any) -> bool:
    """Tell whether two lists are one but for our names.

    >>> _are_copies(["simple", "karras"], ["simple", "karras", "ays_model"])
    True
    >>> _are_copies(["simple"], ["simple", "karras", "ays_model"])
    False
    """
    if not (isinstance(received, list | tuple) and isinstance(wanted, list | tuple)):
        return False
    others = [[name for name in names if name not in OURS] for names in (received, wanted)]
    return others[0] == others[1]


def _add_names() -> None:
    register_scheduler()
    register_sampler()


async def _add_names_at_start(_: Any) -> None:
    _add_names()
