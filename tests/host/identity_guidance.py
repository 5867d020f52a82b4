"""Guiders that differ in something, for host_identity.py.

To be imported once the host is on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.controlnet
import comfy.hooks
import comfy.utils
import torch
from align_your_steps.tests.host.identity_guiders import conditioning, guider, node, sample
from align_your_steps.tests.host.identity_models import ONE, OTHER, files, load
from comfy_extras import nodes_custom_sampler, nodes_perpneg

__all__ = ["guiders"]


def guiders() -> dict[str, Callable[[], Any]]:
    """Guiders by what was done to them."""
    return {
        "prompt": lambda: guider(load()),
        "prompt again": lambda: guider(load(OTHER)),
        "after sampling": lambda: (made := guider(load()), sample(made))[0],
        "its last word": lambda: guider(load(), conditioning(tokens=76)),
        "another cfg": lambda: guider(load(), cfg=2.0),
        "hook 0.5": lambda: guider(load(), hooked(0.5)),
        "hook 0.5 again": lambda: after_sampling(hooked(0.5)),
        "hook 0.6": lambda: guider(load(), hooked(0.6)),
        "control 0.5": lambda: guider(load(), controlled(0.5)),
        "control 0.5 again": lambda: after_sampling(controlled(0.5)),
        "control 0.6": lambda: guider(load(), controlled(0.6)),
        "another image": lambda: guider(load(), controlled(0.5, hint=0.6)),
        "another guider": lambda: node(
            nodes_perpneg.PerpNegGuider, load(), conditioning(), conditioning(6), conditioning(7),
            cfg=3.0, neg_scale=1.0,
        ),
        "another model beside": lambda: dual_model(OTHER),
        "the same model beside": lambda: dual_model(ONE),
        "the same model beside again": lambda: dual_model(ONE),
    }  # fmt: skip


def hooked(strength: float) -> Any:
    weights = comfy.utils.load_torch_file(str(files() / "lora 3.safetensors"))
    hooks = comfy.hooks.create_hook_lora(lora=weights, strength_model=strength, strength_clip=0)
    hooks.set_keyframes_on_hooks(keyframes())
    return comfy.hooks.set_hooks_for_conditioning(conditioning(), hooks=hooks)


def keyframes() -> Any:
    group = comfy.hooks.HookKeyframeGroup()
    group.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    group.add(comfy.hooks.HookKeyframe(strength=0.5, start_percent=0.5))
    return group


def controlled(strength: float, hint: float = 0.5) -> Any:
    image = torch.full((1, 3, 64, 64), hint)
    control = comfy.controlnet.ControlBase().set_cond_hint(image, strength)
    return [[conditioning()[0][0], {"control": control, "control_apply_to_uncond": True}]]


def after_sampling(positive: Any) -> Any:
    """A guider whose conditioning has been used before."""
    if "hooks" in positive[0][1]:
        sample(guider(load(), positive))
    else:  # what the host does with a ControlNet around a run
        control = positive[0][1]["control"]
        control.pre_run(load().model, lambda percent: 1.0 - percent)
        control.cond_hint = torch.zeros(1)
        control.cleanup()
    return guider(load(), positive)


def dual_model(name: str) -> Any:
    made = nodes_custom_sampler.Guider_DualCFG(load())
    made.set_conds(conditioning(), conditioning(6), conditioning(7))
    made.set_cfg(3.0, 2.0)
    made.uncond_model_patcher = load(name)
    return made
