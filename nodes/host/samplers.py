"""Which sampler is run to judge schedules, and which one computes the reference.

A stochastic sampler is judged by the law of its samples, run along given noise, or where that
cannot be done by its deterministic twin of the same order: the same function with its fresh noise
switched off (eta = 0). The twin finds the schedules to choose among in any case. With ever finer
steps all of the host's deterministic samplers come to one end point, so one accurate method
computes the reference of them all (see reference.py). A sampler of another pack may come to
another: it is its own reference.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import comfy.k_diffusion.sampling
import comfy.samplers
from comfy.extra_samplers import uni_pc

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
    "exp_heun_2_x0": 2,
    "exp_heun_2_x0_sde": 2,
}
# The host's sampler functions that, without fresh noise, come to the same end point. `ddim` is the
# function `euler`, and `uni_pc` the function `unipc`.
SAME_LIMIT = {
    "euler",
    "euler_ancestral",
    "heun",
    "heunpp2",
    "dpm_2",
    "dpm_2_ancestral",
    "lms",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "ipndm",
    "ipndm_v",
    "deis",
    "res_multistep",
    "res_multistep_ancestral",
    "gradient_estimation",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "sa_solver",
    "sa_solver_pece",
    "exp_heun_2_x0",
    "exp_heun_2_x0_sde",
    "unipc",
    "unipc_bh2",
}
# On flow models these measure their steps in log((1 - s) / s), the others in the host's levels s.
HALF_LOG_SNR = {
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_sde_gpu",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu",
    "er_sde",
    "seeds_2",
    "seeds_3",
    "sa_solver",
    "sa_solver_pece",
    "exp_heun_2_x0",
    "exp_heun_2_x0_sde",
}
HOSTS_OWN = {comfy.k_diffusion.sampling.__name__, uni_pc.__name__}  # modules
# Samplers whose fresh noise cannot be switched off, by their deterministic twins. (On flow models
# the host's dpm_2_ancestral adds noise times the root of a rounding error, NaN, at eta = 0 too.)
TWIN = {"ddpm": "euler", "dpm_2_ancestral": "dpm_2"}
# Options that switch a sampler's fresh noise off, where eta is not one of them.
QUIET: dict[str, dict[str, Any]] = {
    "er_sde": {"s_noise": 0.0, "noise_scaler": lambda level: level},
    "sa_solver": {"tau_func": lambda sigma: 0.0},
    "sa_solver_pece": {"tau_func": lambda sigma: 0.0},
}
# On flow models, runs of these along one path end no closer to each other than along two.
UNSHARED = {"sa_solver", "sa_solver_pece"}
REFUSED = {
    "dpm_fast": "it chooses its own noise levels",
    "dpm_adaptive": "it chooses its own noise levels",
    "lcm": "it has no many-step result to be compared with",
}


@dataclass(frozen=True)
class JudgedSampler:
    """How schedules for a sampler are judged.

    name:            of the sampler that the user chose
    options:         digest of its options
    run:             SAMPLER that is run on every candidate: deterministic
    stochastic:      the SAMPLER itself where it is stochastic and can be judged by the law of its
                     samples; None where `run` alone judges
    calls_per_step:  denoiser calls of `run` a step
    order:           1 or 2
    half_log_snr:    whether it measures its steps in EDM levels, on flow models too
    reference_order: 3 where the reference is computed by our own method, 2 where by `run` itself
    spare_level:     whether KSampler asks one step more and drops the last level but one
    note:            what differs from the user's sampler and what the reference is, for the report
    """

    name: str
    options: str
    run: Any
    stochastic: Any
    calls_per_step: int
    order: int
    half_log_snr: bool
    reference_order: int
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
    if name in TWIN:
        notes.append(f"judged by '{TWIN[name]}', its deterministic twin")
        sampler = comfy.samplers.sampler_object(TWIN[name])
    run = copy.copy(sampler or comfy.samplers.sampler_object(name))
    quiet = _quiet(name, run)
    by_law = quiet and name == chosen and name not in TWIN and _takes_noise(run)
    stochastic = copy.copy(run) if by_law else None
    if quiet:
        run.extra_options = {**getattr(run, "extra_options", {}), **quiet}
        notes.append(
            "schedules are found with its fresh noise switched off"
            if by_law
            else "judged with its fresh noise switched off"
        )
    own_method = _has_same_limit(run)
    method = "a third-order multistep method" if own_method else f"'{name}' itself"
    notes.append(f"the reference is computed with {method}")
    return JudgedSampler(
        name=chosen,
        options=options,
        run=run,
        stochastic=stochastic,
        calls_per_step=CALLS_PER_STEP.get(name, 1),
        order=1 if name in FIRST_ORDER else 2,
        half_log_snr=_name(run) in HALF_LOG_SNR,
        reference_order=3 if own_method else 2,
        spare_level=chosen in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS,
        note="; ".join(notes),
    )


def _takes_noise(sampler: Any) -> bool:
    """Whether a sampler is one of the host's own, of second order, that takes its fresh noise.

    First-order ones are judged by their twin, which is as good for them.
    """
    function = getattr(sampler, "sampler_function", None)
    return (
        function is not None
        and function.__module__ in HOSTS_OWN
        and _name(sampler) not in FIRST_ORDER | UNSHARED
        and "noise_sampler" in inspect.signature(function).parameters
        and "noise_sampler" not in getattr(sampler, "extra_options", {})
    )


def _has_same_limit(sampler: Any) -> bool:
    """Whether a quiet sampler is one of the host's own that come to the same end point.

    The name alone does not tell: packs replace samplers of the host under their names.
    """
    function = getattr(sampler, "sampler_function", None)
    return _name(sampler) in SAME_LIMIT and getattr(function, "__module__", None) in HOSTS_OWN


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
