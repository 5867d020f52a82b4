"""SAMPLERs as the host's own nodes make them, with options: for scripts in the host's process."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["NODES", "node_samplers"]

NODE_MODULES = tuple(
    f"comfy_extras.nodes_{name}" for name in ("custom_sampler", "advanced_samplers", "ar_video")
)
# Nodes of the host that make a SAMPLER, with inputs unlike the defaults. A word before the name
# tells two of one node apart. Not all hosts have all nodes.
NODES: dict[str, dict[str, Any]] = {
    "SamplerDPMPP_3M_SDE": {"eta": 0.7, "s_noise": 1.1, "noise_device": "cpu"},
    "eta 0: SamplerDPMPP_3M_SDE": {"eta": 0.0, "s_noise": 1.0, "noise_device": "gpu"},
    "SamplerDPMPP_2M_SDE": {
        "solver_type": "heun",
        "eta": 0.5,
        "s_noise": 1.0,
        "noise_device": "gpu",
    },
    "SamplerDPMPP_SDE": {"eta": 1.2, "s_noise": 1.0, "r": 0.7, "noise_device": "cpu"},
    "SamplerDPMPP_2S_Ancestral": {"eta": 0.5, "s_noise": 1.0},
    "SamplerEulerAncestral": {"eta": 0.5, "s_noise": 0.9},
    "SamplerEulerAncestralCFGPP": {"eta": 0.5, "s_noise": 0.9},
    "SamplerLMS": {"order": 3},
    "order 1: SamplerLMS": {"order": 1},
    "SamplerDPMAdaptative": {
        "order": 3,
        "rtol": 0.05,
        "atol": 0.0078,
        "h_init": 0.05,
        "pcoeff": 0.0,
        "icoeff": 1.0,
        "dcoeff": 0.0,
        "accept_safety": 0.81,
        "eta": 0.0,
        "s_noise": 1.0,
    },
    "SamplerER_SDE": {"solver_type": "ER-SDE", "max_stage": 2, "eta": 1.0, "s_noise": 0.9},
    "order 1: SamplerER_SDE": {"solver_type": "ODE", "max_stage": 1, "eta": 1.0, "s_noise": 1.0},
    "reverse: SamplerER_SDE": {
        "solver_type": "Reverse-time SDE",
        "max_stage": 3,
        "eta": 0.5,
        "s_noise": 1.0,
    },
    "ODE: SamplerER_SDE": {"solver_type": "ODE", "max_stage": 3, "eta": 1.0, "s_noise": 1.0},
    "SamplerSASolver": {
        "eta": 0.8,
        "sde_start_percent": 0.1,
        "sde_end_percent": 0.9,
        "s_noise": 1.0,
        "predictor_order": 2,
        "corrector_order": 3,
        "use_pece": True,
        "simple_order_2": False,
    },
    "eta 0: SamplerSASolver": {
        "eta": 0.0,
        "sde_start_percent": 0.2,
        "sde_end_percent": 0.8,
        "s_noise": 1.0,
        "predictor_order": 3,
        "corrector_order": 4,
        "use_pece": False,
        "simple_order_2": True,
    },
    "SamplerSEEDS2": {"solver_type": "phi_2", "eta": 0.5, "s_noise": 1.0, "r": 0.8},
    "SamplerLCMUpscale": {"scale_ratio": 1.5, "scale_steps": -1, "upscale_method": "area"},
    "SamplerLCM": {"s_noise": 1.0, "s_noise_end": 0.5, "noise_clip_std": 0.0},
    "SamplerARVideo": {"num_frame_per_block": 1},
    "SamplerEulerCFGpp": {"version": "regular"},
    "other: SamplerEulerCFGpp": {"version": "alternative"},
    "ddim: KSamplerSelect": {"sampler_name": "ddim"},
    "uni_pc: KSamplerSelect": {"sampler_name": "uni_pc"},
}


def node_samplers(model: Any) -> dict[str, Any]:
    """The SAMPLERs that the host's NODES make, by label."""
    modules = []
    for name in NODE_MODULES:
        try:
            modules.append(importlib.import_module(name))
        except ModuleNotFoundError:  # of a newer host
            continue
    made = {}
    for label, inputs in NODES.items():
        found = [getattr(module, label.split(": ")[-1], None) for module in modules]
        node = next((cls for cls in found if cls is not None), None)
        if node is not None:
            made[label] = _execute(node, {"model": model, **inputs})[0]
    return made


def _execute(node: Any, inputs: dict[str, Any]) -> Any:
    """The outputs of a node of the older kind or of the newer."""
    function: Callable[..., Any] = (
        node.execute if hasattr(node, "execute") else getattr(node(), node.FUNCTION)
    )
    known = inspect.signature(function).parameters
    return function(**{name: value for name, value in inputs.items() if name in known})
