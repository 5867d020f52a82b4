"""Which sampler is run to judge schedules, and which one computes the reference.

A stochastic sampler is judged by its deterministic twin of the same order: the same function with
its fresh noise switched off (eta = 0). Every deterministic sampler solves the same equation, so
the reference of a first-order one is computed with a second-order one.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import comfy.samplers

from .identity import comparable_digest

__all__ = ["JudgedSampler", "judged_sampler", "sampler_names"]

FIRST_ORDER = {"euler", "euler_ancestral", "ddim", "ddpm"}
CALLS_PER_STEP = {
    "heun": 2,
    "heunpp2": 3,
    "dpm_2": 2,
    "dpm_2_ancestral": 2,
    "dpmpp_2s_ancestral": 2,
    "dpmpp_sde": 2,
    "dpmpp_sde_gpu": 2,
    "seeds_2": 2,
    "seeds_3": 3,
    "sa_solver_pece": 2,
}
# Options that switch a sampler's fresh noise off, where eta is not one of them.
QUIET: dict[str, dict[str, Any]] = {
    "er_sde": {"s_noise": 0.0, "noise_scaler": lambda level: level},
    "sa_solver": {"tau_func": lambda sigma: 0.0},
    "sa_solver_pece": {"tau_func": lambda sigma: 0.0},
}
REFUSED = {
    "dpm_fast": "it chooses its own noise levels",
    "dpm_adaptive": "it chooses its own noise levels",
    "lcm": "it has no many-step result to be compared with",
}


@dataclass(frozen=True)
class JudgedSampler:
    """How schedules for a sampler are judged.

    name:           of the sampler that the user chose
    options:        digest of its options
    run:            SAMPLER that is run on every candidate
    reference:      SAMPLER that computes the fine-step reference
    calls_per_step: denoiser calls of `run` a step
    order:          1 or 2
    spare_level:    whether KSampler asks one step more and drops the last level but one
    note:           what differs from the user's sampler, for the report; empty if nothing does
    """

    name: str
    options: str
    run: Any
    reference: Any
    calls_per_step: int
    order: int
    spare_level: bool
    note: str


def sampler_names() -> list[str]:
    """The names of the KSampler drop-down."""
    return comfy.samplers.KSampler.SAMPLERS


def judged_sampler(sampler_name: str, sampler: Any = None) -> JudgedSampler:
    """The way to judge schedules for a sampler of the drop-down, or for a SAMPLER object.

    Raises ValueError for samplers whose schedules cannot be judged, naming the reason.
    """
    name = sampler_name if sampler is None else _name(sampler)
    if name in REFUSED:
        raise ValueError(
            f"No schedule can be optimised for the sampler '{name}': {REFUSED[name]}. "
            "Choose another sampler, for example dpmpp_2m."
        )
    chosen = name
    options = comparable_digest(getattr(sampler, "extra_options", None))
    notes = []
    if name.endswith("_cfg_pp"):
        plain = name.removesuffix("_cfg_pp")
        notes.append(f"judged by '{plain}', because '{name}' has no many-step result")
        name, sampler = plain, None
    if name == "ddpm":
        notes.append("judged by 'euler', its deterministic twin")
        sampler = comfy.samplers.sampler_object("euler")
    run = copy.copy(sampler or comfy.samplers.sampler_object(name))
    quiet = _quiet(name, run)
    if quiet:
        run.extra_options = {**getattr(run, "extra_options", {}), **quiet}
        notes.append("judged with its fresh noise switched off")
    first_order = name in FIRST_ORDER
    if first_order:
        notes.append("reference computed with 'dpmpp_2m', which solves the same equation")
    return JudgedSampler(
        name=chosen,
        options=options,
        run=run,
        reference=comfy.samplers.sampler_object("dpmpp_2m") if first_order else run,
        calls_per_step=CALLS_PER_STEP.get(name, 1),
        order=1 if first_order else 2,
        spare_level=chosen in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS,
        note="; ".join(notes),
    )


def _name(sampler: Any) -> str:
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", type(sampler).__name__)
    return name.removeprefix("sample_").removesuffix("_function")


def _quiet(name: str, sampler: Any) -> dict[str, Any]:
    """The options that make a sampler deterministic; empty if it already is."""
    if name in QUIET:
        return dict(QUIET[name])
    function = getattr(sampler, "sampler_function", None)
    known = inspect.signature(function).parameters if function is not None else {}
    options = getattr(sampler, "extra_options", {})
    quiet = {}
    if "eta" in known and options.get("eta", known["eta"].default) != 0.0:
        quiet["eta"] = 0.0
    if options.get("s_churn"):
        quiet["s_churn"] = 0.0
    return quiet
