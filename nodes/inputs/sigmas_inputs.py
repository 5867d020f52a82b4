"""A growing list of SIGMAS inputs, and the levels that are linked to it.

Hosts with `io.Autogrow` show a further input whenever the last one is linked; `execute` receives
{"sigmas": {"sigmas_1": levels, ...}}. Older hosts show all inputs at once; `execute` receives
{"sigmas.sigmas_1": levels, ...}. Workflows and API graphs name the inputs "sigmas.sigmas_1" on all
of them, so that a workflow survives an update of the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .. import host

__all__ = ["MOST_SIGMAS", "linked_sigmas", "sigmas_inputs", "unusual"]

MOST_SIGMAS = 8
MOST_LEVELS = 10_001  # of one schedule
NAMES = [f"sigmas_{number}" for number in range(1, MOST_SIGMAS + 1)]
GROUP = "sigmas"  # the id of the growing input


def sigmas_inputs(fewest: int = 1) -> list[io.Input]:
    """Up to eight inputs for noise levels, of which the first `fewest` must be linked."""
    tooltip = (
        "Noise levels of any scheduler node: AYS Scheduler, BasicScheduler and so on. "
        f"Up to {MOST_SIGMAS} can be linked."
    )
    if not hasattr(io, "Autogrow"):
        return [
            io.Sigmas.Input(f"{GROUP}.{name}", optional=number > fewest, tooltip=tooltip)
            for number, name in enumerate(NAMES, start=1)
        ]
    one = io.Sigmas.Input(GROUP, tooltip=tooltip)
    template = io.Autogrow.TemplateNames(one, names=NAMES, min=fewest)
    return [io.Autogrow.Input(GROUP, template=template, optional=fewest == 0, tooltip=tooltip)]


def linked_sigmas(inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Levels that are linked, as "sigmas 1", "sigmas 2", ...: [n] of float64 on the CPU.

    inputs: the keyword arguments of `execute` on any host

    Levels that no sampler could use are given as they are, as long as one is above 0: see
    `unusual`. Raises ValueError, in one sentence, for anything else.
    """
    group = inputs.get(GROUP) or {}
    linked = {}
    for name in NAMES:
        given = group.get(name, inputs.get(f"{GROUP}.{name}"))
        if given is not None:
            label = name.replace("_", " ")
            linked[label] = _levels(label, given)
    return linked


def unusual(sigmas: Tensor) -> str | None:
    """Say what is unusual about levels [n], to end a sentence: "rises at step 4". None if fine.

    >>> unusual(torch.tensor([10.0, 1.0, 2.0, 0.0]))
    'rises at step 2'
    """
    for step, level in enumerate(sigmas.tolist()):
        if not 0.0 <= level < float("inf"):
            what = "is negative" if level < 0.0 else "is not a finite number"
            return f"{what} at step {step}"
        if step > 0 and level >= sigmas[step - 1]:
            return f"{'rises' if level > sigmas[step - 1] else 'does not fall'} at step {step}"
    return None


def _levels(label: str, given: Any) -> Tensor:
    if not host.is_readable(given) or given.dim() != 1:
        raise ValueError(
            f"What is linked to '{label}' is not a list of noise levels: link the SIGMAS output "
            "of a scheduler node."
        )
    if len(given) > MOST_LEVELS:
        raise ValueError(
            f"'{label}' holds {len(given):,} noise levels: link a schedule of at most "
            f"{MOST_LEVELS - 1:,} steps."
        )
    levels = given.detach().to("cpu", torch.float64)
    if not ((levels > 0.0) & levels.isfinite()).any():
        raise ValueError(
            f"'{label}' holds no noise level above 0: link the SIGMAS of at least one step."
        )
    return levels
