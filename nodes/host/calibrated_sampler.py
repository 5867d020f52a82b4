"""The sampler `ays_model`: the steps that were fitted to the levels at hand, else textbook ones.

Like the scheduler of that name it reads what is attached to the MODEL. With levels t_i and told
levels s_i in the host's units, r_i = t_{i+1} / t_i and the signal a of x = a x_0 + b e,

    D_i     = D(a(s_i) / a(t_i) x_i, s_i)
    x_{i+1} = r_i x_i + (1 - r_i) Σ_j b_ij D_{i-j}             the newest output first

Which steps are fitted ones is told in schedules/calibrated_steps.py. All others are those of the
host's dpmpp_2m.

With a noise mask what is kept must stay as it is: then only a sampler that was fitted so is used,
with told levels that are the levels and a last row that adds up to 1.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence, Set
from typing import Any

import comfy.k_diffusion.sampling
import comfy.samplers
import torch
from comfy.k_diffusion.sampling import trange
from torch import Tensor

from ...optimizer import FLOW_TOP, TEXTBOOK
from ...schedules import CalibratedSampler, calibrated_steps
from .scheduler import ATTRIBUTE, SCHEDULER_NAME, add_name

__all__ = ["SAMPLER_NAME", "register_sampler", "sample_ays_model"]

SAMPLER_NAME = SCHEDULER_NAME
WEIGHTS_ONLY = "with weights that were fitted from a measurement for another number of steps"
TEXTBOOK_STEP = "DPM-Solver++(2M), as dpmpp_2m does"

log = logging.getLogger("align_your_steps")


def register_sampler() -> None:
    """Add `ays_model` to the host's samplers, behind the others; once is enough.

    The lists are changed in place: other packs hold references to them.
    """
    comfy.k_diffusion.sampling.sample_ays_model = sample_ays_model
    add_name(SAMPLER_NAME, comfy.samplers, "KSAMPLER_NAMES")
    add_name(SAMPLER_NAME, comfy.samplers, "SAMPLER_NAMES")
    add_name(SAMPLER_NAME, comfy.samplers.KSampler, "SAMPLERS")


@torch.no_grad()
def sample_ays_model(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    samplers: Sequence[CalibratedSampler] = (),
    quiet: bool = False,
) -> Tensor:
    """Called by the host as a sampler function.

    samplers: fitted ones beside those that are attached to the model
    quiet:    say nothing in the log
    """
    extra_args = extra_args or {}
    attached = _attached(model)
    known = [*map(CalibratedSampler.from_dict, attached.get("samplers", ())), *samplers]
    levels = [float(level) for level in sigmas.tolist()]
    masked = extra_args.get("denoise_mask") is not None
    usable = [sampler for sampler in known if not masked or calibrated_steps.keeps(sampler)]
    steps = calibrated_steps.planned(levels, usable, TEXTBOOK["dpmpp_2m"])
    if not quiet:
        line = _line(steps, known, usable, attached.get("denoise", 1.0))
        _tell(attached, line + _other_cfg(attached, model, steps))
    told = sigmas.clone()
    for i, step in enumerate(steps):
        if step.told != levels[i]:
            told[i] = step.told
    if not torch.equal(told, sigmas):
        extra_args = _telling(extra_args, told)
    longest = max((len(step.row) for step in steps), default=0)
    rows = x.new_ones([x.shape[0]])
    outputs: list[Tensor] = []
    for i in trange(len(steps), disable=disable):
        at_level = steps[i].told == levels[i]
        scaled = x if at_level else _scale(model, steps[i].told, levels[i]) * x
        D = model(scaled, told[i] * rows, **extra_args)
        if callback is not None:
            level = sigmas[i]
            callback({"x": x, "i": i, "sigma": level, "sigma_hat": level, "denoised": D})
        outputs = [D, *outputs][:longest]
        ratio = levels[i + 1] / levels[i] if levels[i] else 1.0
        x = ratio * x + (1.0 - ratio) * _mixed(outputs, steps[i].row)
    return x


def _mixed(outputs: Sequence[Tensor], row: Sequence[float]) -> Tensor:
    """Σ_j b_j D_j, exactly D_0 where all outputs are one and the weights add up to 1."""
    newest, total = outputs[0], sum(row)
    mixed = newest if math.isclose(total, 1.0, rel_tol=1e-9) else total * newest
    for weight, output in zip(row[1:], outputs[1:], strict=False):
        mixed = torch.add(mixed, output - newest, alpha=weight)
    return mixed


def _model_sampling(model: Any) -> Any:
    """Find where the schedule is attached; None where another pack has put something in between."""
    inner = getattr(getattr(model, "inner_model", None), "inner_model", None)
    return getattr(inner, "model_sampling", None)


def _attached(model: Any) -> dict[str, Any]:
    """Find what is attached to the MODEL that is sampled."""
    attached = getattr(_model_sampling(model), ATTRIBUTE, None)
    return attached if isinstance(attached, dict) else {}


def _scale(model: Any, told: float, level: float) -> float:
    """a(told) / a(level) of x = a x_0 + b e, as a fit sees a: not 0 at a flow's highest level."""
    sampling = _model_sampling(model)
    if sampling is None:
        return 1.0

    def signal(s: float) -> float:
        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        x = sampling.noise_scaling(s * one.flatten(), torch.zeros_like(one), one)
        return max(float(x), 1.0 - FLOW_TOP)

    return signal(told) / signal(level)


def _telling(extra_args: dict[str, Any], told: Tensor) -> dict[str, Any]:
    """The arguments of the model's calls, with told levels where it looks its place up.

    Context windows and some models find the step by the level that they are told.
    """
    options = dict(extra_args.get("model_options", {}))
    inner = dict(options.get("transformer_options", {}))
    options["transformer_options"] = {**inner, "sample_sigmas": told}
    return {**extra_args, "model_options": options}


def _line(
    steps: Sequence[calibrated_steps.Step],
    known: Sequence[CalibratedSampler],
    usable: Sequence[CalibratedSampler],
    denoise: float,
) -> str:
    """Say what is done, in a sentence or two.

    known, usable: fitted samplers, and those of them that keep to the noise mask, if there is one
    """
    fitted, count = sum(step.fitted for step in steps), len(steps)
    name, taken = f"'{SAMPLER_NAME}'", "1 step" if count == 1 else f"{count} steps"
    how = WEIGHTS_ONLY if any(step.weights_only for step in steps) else "as they were fitted"
    if count == 0 or fitted == count:
        early = any(not step.whole for step in steps)
        begins = "; the run begins among them" if any(step.begun for step in steps) else ""
        begins += ", so the first ones mix fewer outputs" if early else ""
        return f"{name} samples {taken} {how}{begins}."
    if fitted:
        return (
            f"{name} samples {fitted} of {taken} {how}, and the others with {TEXTBOOK_STEP}: these "
            "are not the levels of the fit."
        )
    if not known:
        why = (
            "no fitted sampler is attached to this model. Optimize AYS makes one if you choose "
            f"{name} there; 'Apply AYS Schedule' attaches a saved one"
        )
    elif not usable:
        why = (
            "the attached sampler was fitted without a noise mask. For masked images, link one "
            "to Optimize AYS"
        )
    else:
        so = " with a noise mask" if len(usable) < len(known) else ""
        why = (
            f"these are not the levels that the attached sampler was fitted to{so}. Choose the "
            f"scheduler {name} too, with {_counts(usable)} at denoise {denoise:g}"
        )
    return f"{name} samples with {TEXTBOOK_STEP}: {why}."


def _counts(usable: Sequence[CalibratedSampler]) -> str:
    """The numbers of steps that were fitted fully, and those whose weights alone were."""
    fully = {sampler.steps for sampler in usable if not sampler.weights_only}
    simpler = {sampler.steps for sampler in usable} - fully
    parts = [f"{_any_of(fully)} step{'' if fully == {1} else 's'}"] if fully else []
    parts += [f"{_any_of(simpler)} steps, which have a simpler fit,"] if simpler else []
    return ", or ".join(parts)


def _any_of(counts: Set[int]) -> str:
    """Numbers in a sentence.

    >>> _any_of({7, 4, 5})
    '4, 5 or 7'
    """
    *first, last = map(str, sorted(counts))
    return f"{', '.join(first)} or {last}" if first else last


def _other_cfg(attached: dict[str, Any], model: Any, steps: Sequence[calibrated_steps.Step]) -> str:
    """A sentence on another guidance scale than the fitted one; empty if there is none."""
    fitted, cfg = attached.get("cfg"), getattr(getattr(model, "inner_model", None), "cfg", None)
    known = isinstance(fitted, int | float) and isinstance(cfg, int | float)
    if not known or cfg == fitted or not any(step.fitted for step in steps):
        return ""
    return f" They were fitted at cfg {fitted:g}, and this is cfg {cfg:g}."


def _tell(attached: dict[str, Any], line: str) -> None:
    """Log a line; the same one once for each attached sampler."""
    said = attached.setdefault("said", [])
    if line not in said:
        said.append(line)
        log.info("%s", line)
