"""A schedule's levels as text to paste into other tools; each form is one that the tool reads.

Read and, where it could be, run in August 2026:

- ComfyUI 0.33, `ManualSigmas` (comfy_extras/nodes_custom_sampler.py): numbers found in a text, no
  exponents. KJNodes, `CustomSigmas`: split at ", "; with as many values as
  `interpolate_to_steps` they are used as they are. Both want the final 0 written out.
- diffusers 0.42.1: what a pipeline's own scheduler was set to stays, unless it is set anew: curves
  of its own are refused beside levels, or replace them, and the last level may be sigma_min in the
  place of 0. `EulerDiscreteScheduler.set_timesteps(sigmas=...)` takes the final 0 with the
  others. `FlowMatchEulerDiscreteScheduler` adds it itself, and shifts what it is given unless its
  configuration says shift 1: the levels here are shifted already. `DPMSolverMultistepScheduler`
  and `HeunDiscreteScheduler` take whole `timesteps` and no sigmas. Only Stable Diffusion's own
  table turns levels into timesteps here.
- None of them has a sampler like a calibrated one: of a result with one the text is its best plain
  schedule, and the hint says so.
- AUTOMATIC1111 (commit 02b0092, modules/sd_schedulers.py) has fixed functions and no field for
  levels. The extension webUI_ExtraSchedulers (commit 1b85c07, scripts/extra_schedulers.py), made
  for it and for Forge, has one: a list in brackets for the schedule type "custom". Without the
  final 0 it is resampled to the number of sampling steps, which with as many values changes
  nothing, and 0 is added; with it, a list that starts at 1 would be stretched.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .curves import discrete_table

__all__ = ["PLAIN", "TOOLS", "paste_hint", "paste_text"]

TOOLS = ("comfyui", "diffusers", "a1111")

PLAIN = (
    "This is the best plain schedule, for other samplers: the calibrated sampler ays_model runs "
    "only in ComfyUI with this pack"
)

# Samplers of ComfyUI that are another scheduler of diffusers than Euler's, by its class.
_NOISE = 'timestep_spacing="leading"'  # its starting noise is ComfyUI's, sqrt(1 + sigma²)
_DPM = "use_lu_lambdas=False, use_flow_sigmas=False", 'final_sigmas_type="zero"'
_TAKES_TIMESTEPS = {
    "dpmpp_2m": ("DPMSolverMultistepScheduler", ('algorithm_type="dpmsolver++"', *_DPM)),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", ('algorithm_type="sde-dpmsolver++"', *_DPM)),
    "heun": ("HeunDiscreteScheduler", (_NOISE,)),
}
_EULERS = ("euler", "ddim")  # in ComfyUI the same
_NO_CURVES = "use_karras_sigmas=False, use_exponential_sigmas=False, use_beta_sigmas=False"
_SHIFTED = "shift=1.0, use_dynamic_shifting=False, shift_terminal=None"
_TAKE_SIGMAS = (
    "# For pipelines that take 'sigmas', as Flux, SD3 and Qwen-Image do, and Wan does not."
)


def paste_text(
    sigmas: Sequence[float], tool: str, *, flow: bool, sampler: str | None = None
) -> str:
    """The text to copy for one of `TOOLS`.

    Arguments:
        sigmas: steps+1 levels, ending in 0.
        tool: "comfyui", "diffusers" or "a1111".
        flow: whether the levels are those of a flow model.
        sampler: what ComfyUI calls the sampler, if it is known.

    Raises ValueError for another tool.

    >>> paste_text([14.6, 1.0, 0.0], "comfyui", flow=False)
    '14.6, 1.0, 0.0'
    >>> paste_text([14.6, 1.0, 0.0], "a1111", flow=False)
    '[14.6, 1.0]'
    """
    if tool == "comfyui":
        return _decimals(sigmas)
    if tool == "diffusers":
        return _flow_pipeline(sigmas, sampler) if flow else _pipeline(sigmas, sampler)
    if tool == "a1111":
        return f"[{_decimals(sigmas[:-1])}]"
    raise ValueError(f"There is no text for {tool!r}; choose one of {', '.join(TOOLS)}.")


def paste_hint(sigmas: Sequence[float], tool: str, *, calibrated: bool = False) -> str:
    """Say where the text of `paste_text` goes, in a line for a person.

    calibrated: whether the levels are the best plain ones beside a calibrated sampler
    """
    steps = len(sigmas) - 1
    hint = {
        "comfyui": f"ComfyUI: 'ManualSigmas', or 'Custom Sigmas' of KJNodes with "
        f"interpolate_to_steps {steps + 1}",
        "diffusers": "diffusers (Python)",
        "a1111": f"AUTOMATIC1111 and Forge, only with the extension webUI_ExtraSchedulers: "
        f"schedule type 'custom', {steps} sampling steps, this text as the custom list",
    }[tool]
    return f"{hint}. {PLAIN}" if calibrated else hint


def _pipeline(sigmas: Sequence[float], sampler: str | None) -> str:
    timesteps = _timesteps(sigmas)
    known = _TAKES_TIMESTEPS.get((sampler or "").removesuffix("_gpu"))
    if known is not None and timesteps is not None:
        scheduler, options = known
        remarks = [f"# The timesteps nearest to sigmas=[{_decimals(sigmas)}]."]
        return _python(scheduler, [_NO_CURVES, *options], f"timesteps={timesteps}", remarks)
    levels = f"sigmas=[{_decimals(sigmas)}]"
    return _python("EulerDiscreteScheduler", [_NO_CURVES, _NOISE], levels, _other(sampler))


def _flow_pipeline(sigmas: Sequence[float], sampler: str | None) -> str:
    levels = f"sigmas=[{_decimals(sigmas[:-1])}]"
    remarks = [_TAKE_SIGMAS, *_other(sampler)]
    return _python("FlowMatchEulerDiscreteScheduler", [_SHIFTED, _NO_CURVES], levels, remarks)


def _other(sampler: str | None) -> list[str]:
    """A remark where no scheduler of diffusers runs a sampler on given levels."""
    if sampler is None or sampler in _EULERS:
        return []
    name = "".join(character for character in sampler if character.isprintable())
    return [f"# Euler's steps: diffusers runs no '{name}' on these levels."]


def _python(scheduler: str, options: Sequence[str], levels: str, remarks: Sequence[str]) -> str:
    settings = [f"    {option}," for option in ("pipe.scheduler.config", *options)]
    return "\n".join(
        [
            *remarks,
            f"from diffusers import {scheduler}",
            f"pipe.scheduler = {scheduler}.from_config(",
            *settings,
            ")",
            f"image = pipe(prompt, {levels}).images[0]",
        ]
    )


def _timesteps(sigmas: Sequence[float]) -> list[int] | None:
    """The nearest timesteps of Stable Diffusion; None for levels that are not of its range."""
    table = discrete_table()
    within = sigmas[0] < table.sigma_max * 1.001 and sigmas[-2] > table.sigma_min * 0.999
    found = [int(table.timestep(level)) for level in sigmas[:-1]]
    return found if within and len(set(found)) == len(found) else None


def _decimals(sigmas: Sequence[float]) -> str:
    """The shortest decimals that stand for these float32 numbers; never with an exponent."""
    return ", ".join(np.format_float_positional(np.float32(level), trim="0") for level in sigmas)
