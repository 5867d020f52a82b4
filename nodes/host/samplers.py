"""Samplers that judge schedules, and those that compute the reference.

A stochastic sampler is judged by the distribution of its samples, along given noise, or where that
cannot be done by its deterministic twin of the same order: the same function with its fresh noise
switched off (eta = 0). The twin finds the schedules to choose among in any case. With ever finer
steps all of the host's deterministic samplers come to one end point, so one accurate method
computes the reference of them all (see reference.py). A sampler of another pack may come to
another: it is its own reference. How often a sampler calls the denoiser is counted, not listed
(calls_per_step in probes.py).

Some samplers have no many-step result at all. Those that add noise to the denoiser's output again
and again (lcm) or choose their own levels are refused. CFG++ is judged by its plain twin: its step

    x_t = D + t (x - U) / s        D guided, U without the condition

is the plain one's plus t/s (D - U), which does not shrink with the step: it adds up without end.
What goes by a name that does not say so is recognised by what it does, and refused (probes.py).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
import torch

from ...schedules import CalibratedSampler
from .calibrated_sampler import SAMPLER_NAME, sample_ays_model
from .identity import comparable_digest

__all__ = ["OWN_LEVELS", "JudgedSampler", "judged_sampler", "refusal", "sampler_names"]

# Twice the steps halve the error of these. Heun++ is among them: it weighs its slopes by level over
# the highest level, and so becomes Euler's method; and gradient estimation's extrapolation is twice
# that of the second-order method.
FIRST_ORDER = {
    "euler",
    "euler_ancestral",
    "ddim",
    "ddpm",
    "heunpp2",
    "gradient_estimation",
    "euler_pp",
}
# Options that make a sampler of first order where they are 1.
ORDER_OPTION = {"lms": "order", "er_sde": "max_stage"}
# The host's sampler functions that, without fresh noise, come to the same end point. `ddim` is the
# function `euler`.
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
    "uni_pc",
    "uni_pc_bh2",
    SAMPLER_NAME,
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
FUNCTION_NAMES = {
    "unipc": "uni_pc",
    "unipc_bh2": "uni_pc_bh2",
}  # whose names the drop-down does not use
# Modules of the host's own samplers, and of ours.
HOST_MODULES = {
    "comfy.k_diffusion.sampling",
    "comfy.extra_samplers.uni_pc",
    sample_ays_model.__module__,
}
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
OWN_LEVELS = "it chooses its own noise levels"
NO_LIMIT = "it has no many-step result to be compared with"
REFUSED = {
    "dpm_fast": OWN_LEVELS,
    "dpm_adaptive": OWN_LEVELS,
    "lcm": NO_LIMIT,
    "lcm_upscale": NO_LIMIT,
    "ar_video": NO_LIMIT,
}
STRENGTHS = ("eta", "s_churn")  # options of samplers with fresh noise; none is added at 0
# Where the functions that switch fresh noise off are probed.
PROBES = tuple(10.0 ** (k / 8.0) for k in range(-24, 25))


@dataclass(frozen=True)
class JudgedSampler:
    """The way in which schedules for a sampler are judged.

    name:            of the sampler that the user chose
    options:         digest of its options
    run:             SAMPLER that is run on every candidate: deterministic
    stochastic:      the SAMPLER itself where it can be judged by the distribution of its
                     samples; None where `run` alone judges
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
    order: int
    half_log_snr: bool
    reference_order: int
    spare_level: bool
    note: str

    @property
    def is_calibrated(self) -> bool:
        """True if it is our own, whose steps are fitted together with the schedule."""
        return self.name == SAMPLER_NAME

    def with_fitted(self, samplers: Sequence[CalibratedSampler]) -> JudgedSampler:
        """The same with fitted samplers, beside those that are attached to the model."""
        if not samplers:
            return self
        run = copy.copy(self.run)
        run.extra_options = {**_options(run), "samplers": tuple(samplers)}
        return replace(self, run=run)


def sampler_names() -> list[str]:
    """The names of the KSampler drop-down."""
    return comfy.samplers.KSampler.SAMPLERS


def judged_sampler(
    sampler_name: str, sampler: Any = None, *, twin_alone: bool = False
) -> JudgedSampler:
    """The way to judge schedules for a sampler of the drop-down, or for a SAMPLER object.

    twin_alone: judge every stochastic sampler by its deterministic twin

    Raises ValueError for samplers whose schedules cannot be judged, naming the reason.
    """
    if sampler is not None and not _is_sampler(sampler):
        raise ValueError(
            "What is linked to 'sampler' is no sampler that can be run: link KSamplerSelect or "
            "another node with a SAMPLER output."
        )
    name = chosen = sampler_name if sampler is None else _name(sampler)
    if name in REFUSED:
        raise refusal(name, REFUSED[name])
    options = comparable_digest(sampler)
    notes = []
    cfg_pp = name.endswith("_cfg_pp") or bool(_options(sampler).get("cfg_pp"))
    if cfg_pp:
        name = name.removesuffix("_cfg_pp")
        sampler = _plain(chosen, name, sampler)
        notes.append(f"judged by '{name}' with plain guidance: CFG++ has no many-step result")
    if name in TWIN:
        notes.append(f"judged by '{TWIN[name]}', its deterministic twin")
        sampler = comfy.samplers.sampler_object(TWIN[name])
    run = copy.copy(sampler or comfy.samplers.sampler_object(name))
    lowered = _options(run).get(ORDER_OPTION.get(name, "")) == 1
    order = 1 if lowered or name in FIRST_ORDER else 2
    quiet = _quiet(name, run)
    by_twin = twin_alone or cfg_pp or name in TWIN
    by_distribution = quiet and not by_twin and _takes_noise(run)
    stochastic = copy.copy(run) if by_distribution else None
    if quiet:
        run.extra_options = {**_options(run), **quiet}
        notes.append(
            "schedules are found with its fresh noise switched off"
            if by_distribution
            else "judged with its fresh noise switched off"
        )
    if name == SAMPLER_NAME:
        run.extra_options = {**_options(run), "quiet": True}  # many runs: no log line for each
    own_method = _has_same_limit(run)
    method = "a third-order multistep method" if own_method else f"'{name}' itself"
    notes.append(f"the reference is computed with {method}")
    return JudgedSampler(
        name=chosen,
        options=options,
        run=run,
        stochastic=stochastic,
        order=order,
        half_log_snr=_name(run) in HALF_LOG_SNR,
        reference_order=3 if own_method else 2,
        spare_level=chosen in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS,
        note="; ".join(notes),
    )


def _is_sampler(given: Any) -> bool:
    """Tell whether an object has what the host calls of a SAMPLER."""
    sample = getattr(given, "sample", None)
    run = getattr(given, "sampler_function", sample)
    return callable(sample) and callable(run) and isinstance(_options(given), dict)


def refusal(name: str, why: str) -> ValueError:
    """The error for a sampler whose schedules cannot be judged."""
    return ValueError(
        f"No schedule can be optimised for the sampler '{name}': {why}. "
        "Choose another sampler, for example dpmpp_2m."
    )


def _plain(chosen: str, name: str, sampler: Any) -> Any:
    """The SAMPLER `name` with the options of a CFG++ sampler that it knows.

    Raises ValueError where the host has none of that name.
    """
    try:
        plain = comfy.samplers.sampler_object(name)
    except AttributeError:
        why = f"CFG++ has no many-step result, and there is no plain sampler '{name}'"
        raise refusal(chosen, why) from None
    known = inspect.signature(plain.sampler_function).parameters.keys() - {"cfg_pp"}
    plain.extra_options = {k: value for k, value in _options(sampler).items() if k in known}
    return plain


def _options(sampler: Any) -> dict[str, Any]:
    """The options of a SAMPLER; none for one that is a class of its own."""
    return getattr(sampler, "extra_options", {})


def _takes_noise(sampler: Any) -> bool:
    """Tell if a sampler is one of the host's own that takes its fresh noise from outside."""
    function = getattr(sampler, "sampler_function", None)
    return (
        function is not None
        and _is_hosts(function)
        and _name(sampler) not in UNSHARED
        and "noise_sampler" in inspect.signature(function).parameters
        and "noise_sampler" not in _options(sampler)
    )


def _has_same_limit(sampler: Any) -> bool:
    """Tell if a quiet sampler is one of the host's own that come to the same end point.

    The name alone does not tell: packs replace samplers of the host under their names.
    """
    return _name(sampler) in SAME_LIMIT and _is_hosts(getattr(sampler, "sampler_function", None))


def _is_hosts(function: Any) -> bool:
    """Tell if a function is the host's own, and nobody has wrapped another one around it.

    Such a one may have taken over the name and the module of what it wraps.
    """
    while function is not None:
        module = getattr(function, "__globals__", {}).get("__name__", "")
        if module in HOST_MODULES:
            return True
        if module.split(".")[0] != "torch":  # whose `no_grad` is a wrapper too
            return False
        function = getattr(function, "__wrapped__", None)
    return False


def _name(sampler: Any) -> str:
    """Name of a SAMPLER in the drop-down, or its function's or class's own name."""
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", type(sampler).__name__)
    name = name.removeprefix("sample_").removesuffix("_function")
    return FUNCTION_NAMES.get(name, name)


def _quiet(name: str, sampler: Any) -> dict[str, Any]:
    """The options that make a sampler deterministic; empty if it already is."""
    options = _options(sampler)
    if name in QUIET:
        return {} if _is_quiet(options) else dict(QUIET[name])
    function = getattr(sampler, "sampler_function", None)
    known = inspect.signature(function).parameters if function is not None else {}
    strengths = {key: options.get(key, known[key].default) for key in STRENGTHS if key in known}
    return {key: 0.0 for key, strength in strengths.items() if strength != 0.0}


def _is_quiet(options: dict[str, Any]) -> bool:
    """Tell if the options of er_sde or sa_solver switch their fresh noise off themselves."""
    scaler, tau = options.get("noise_scaler"), options.get("tau_func")
    levels = torch.tensor(PROBES)
    if scaler is not None and options.get("s_noise") == 0.0:
        return torch.equal(scaler(levels), levels)
    return tau is not None and not any(tau(level) for level in PROBES)
