"""Guiders of a model, and how they sample, for host_identity.py.

To be imported once the host is on the CPU.
"""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from align_your_steps.nodes import host

__all__ = ["conditioning", "guider", "node", "sample"]


def output(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result.result[0]


def node(cls: Any, *arguments: Any, **inputs: Any) -> Any:
    """Call a node of the host, whichever way it is written."""
    function = getattr(cls, "execute", None) or getattr(cls(), cls.FUNCTION)
    return output(function(*arguments, **inputs))


def conditioning(seed: int = 5, tokens: int = 77) -> Any:
    prompt = torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(seed))
    prompt[:, tokens:] = 0.0
    return [[prompt, {}]]


def guider(model: Any, positive: Any = None, **settings: Any) -> Any:
    made = host.make_guider(model, positive or conditioning(), conditioning(6), 3.0)
    vars(made).update(settings)
    return made


def sample(made: Any, steps: int = 2) -> None:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sampler = comfy.samplers.sampler_object("euler")
    sigmas = torch.linspace(10.0, 0.0, steps + 1)
    made.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=0)
