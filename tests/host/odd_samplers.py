"""SAMPLERs as packs make them, unlike the host's own: for scripts in the host's process.

To be imported there once the host is on the CPU.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import comfy.k_diffusion.sampling
import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

__all__ = ["odd_samplers"]


def odd_samplers() -> dict[str, Any]:
    """SAMPLERs by what is odd about them."""
    ksampler = comfy.samplers.ksampler
    return {
        "cfg_pp": ksampler("gradient_estimation", {"cfg_pp": True, "ge_gamma": 1.5}),
        "churn": ksampler("heun", {"s_churn": 8.0, "s_noise": 1.003}),
        "midpoint": comfy.samplers.KSAMPLER(midpoint),
        "restless": comfy.samplers.KSAMPLER(restless),
        "other cfg_pp": comfy.samplers.KSAMPLER(sample_other_cfg_pp),
        "class": OwnClass(),
        "history": comfy.samplers.KSAMPLER(sample_with_history),
        "history by class": OtherClass(comfy.samplers.KSAMPLER(sample_with_history)),
        "guidance": comfy.samplers.KSAMPLER(sample_of_guidance),
        "watching": comfy.samplers.KSAMPLER(sample_watching),
        "around dpmpp_2m": wrapped("dpmpp_2m"),
        "around euler_cfg_pp": wrapped("euler_cfg_pp"),
        "around res_multistep_cfg_pp": wrapped("res_multistep_cfg_pp"),
        "around lcm": wrapped("lcm"),
        "around dpm_adaptive": OtherClass(comfy.samplers.sampler_object("dpm_adaptive")),
        "around dpm_fast": OtherClass(comfy.samplers.sampler_object("dpm_fast")),
        "in place of heun": in_the_name_of("heun", midpoint),
        "in place of dpmpp_2m": in_the_name_of("dpmpp_2m", sample_with_history),
    }


def midpoint(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
) -> Tensor:
    """Two calls a step, and not the host's."""
    for s, t in itertools.pairwise(sigmas):
        between = (s * t.clamp(min=1e-3)).sqrt()
        D = model(x, s * x.new_ones(len(x)), **extra_args)
        inner = x + (x - D) / s * (between - s)
        D = model(inner, between * x.new_ones(len(x)), **extra_args)
        x = D if t == 0 else x + (inner - D) / between * (t - s)
    return x


def restless(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
) -> Tensor:
    """Fresh noise that no option switches off."""
    for s, t in itertools.pairwise(sigmas):
        D = model(x, s * x.new_ones(len(x)), **extra_args)
        x = D + t * torch.randn_like(x)
    return x


def sample_other_cfg_pp(*arguments: Any, **options: Any) -> Tensor:
    return midpoint(*arguments, **options)


def with_hook(extra_args: Any, hook: Any) -> Any:
    options = extra_args.get("model_options", {}).copy()
    after = comfy.model_patcher.set_model_options_post_cfg_function
    return {**extra_args, "model_options": after(options, hook)}


def sample_with_history(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
) -> Tensor:
    """CFG++ with a history, as newer hosts have it under a name that does not say so."""
    seen: dict[str, Any] = {}

    def hook(args: Any) -> Any:
        seen["U"] = args["uncond_denoised"]
        return args["denoised"]

    extra_args = with_hook(extra_args, hook)
    before = None
    for s, t in itertools.pairwise(sigmas):
        D = model(x, s * x.new_ones(len(x)), **extra_args)
        d = (x - seen["U"]) / s
        x = D + t * (d if before is None else 1.1 * d - 0.1 * before)
        before = d
    return x


def sample_of_guidance(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
) -> Tensor:
    """Guidance of its own in place of the host's."""

    def guidance(args: Any) -> Any:
        return args["uncond"] + 0.5 * args["cond_scale"] * (args["cond"] - args["uncond"])

    options = {**extra_args.get("model_options", {}), "sampler_cfg_function": guidance}
    return midpoint(model, x, sigmas, {**extra_args, "model_options": options}, callback, disable)


def sample_watching(
    model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
) -> Tensor:
    """With a hook that only looks."""
    extra_args = with_hook(extra_args, lambda args: args["denoised"])
    return midpoint(model, x, sigmas, extra_args, callback, disable)


def around(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Any,
    callback: Any,
    disable: Any,
    inner: Any,
) -> Tensor:
    """As packs wrap another sampler, and change something of its calls."""

    def called(x: Tensor, sigma: Tensor, **given: Any) -> Tensor:
        found: Tensor = model(x, sigma, **given)
        return found

    called.inner_model = model.inner_model  # type: ignore[attr-defined]
    options = inner.extra_options
    end: Tensor = inner.sampler_function(
        called, x, sigmas, extra_args=extra_args, callback=callback, disable=disable, **options
    )
    return end


def in_the_name_of(name: str, replaced: Any) -> Any:
    """Make what a pack puts in the place of a sampler of the host, under its name and module."""
    own = getattr(comfy.k_diffusion.sampling, f"sample_{name}")

    @functools.wraps(own)
    def sample(*arguments: Any, **options: Any) -> Tensor:
        end: Tensor = replaced(*arguments, **options)
        return end

    return comfy.samplers.KSAMPLER(sample)


def wrapped(name: str) -> Any:
    inner = comfy.samplers.sampler_object(name)
    return comfy.samplers.KSAMPLER(around, {"inner": inner})


class OtherClass(comfy.samplers.Sampler):
    """A SAMPLER that holds another one."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def sample(self, *arguments: Any, **options: Any) -> Tensor:
        end: Tensor = self.inner.sample(*arguments, **options)
        return end


class OwnClass(comfy.samplers.Sampler):
    """A SAMPLER that is no KSAMPLER: Euler's method."""

    def sample(
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: Any,
        callback: Any,
        noise: Tensor,
        latent_image: Any = None,
        denoise_mask: Any = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        sampling = model_wrap.inner_model.model_sampling
        x = sampling.noise_scaling(sigmas[0], noise.clone(), latent_image, False)
        for s, t in itertools.pairwise(sigmas):
            D = model_wrap(x, s * x.new_ones(len(x)), **extra_args)
            x = x + (x - D) / s * (t - s)
        return x
