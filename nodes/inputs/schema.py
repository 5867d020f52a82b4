"""Inputs and schema fields that several nodes share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from ...schedules import PRESETS
from .. import host
from .sigmas_inputs import linked_sigmas, sigmas_inputs

__all__ = [
    "AUTO",
    "LEAST_DENOISE",
    "MOST_STEPS",
    "beginner_first",
    "denoise_input",
    "exact_inputs",
    "guidance_inputs",
    "linked_sigmas",
    "prompts_inputs",
    "schedule_input",
    "seed_input",
    "sigmas_inputs",
    "steps_input",
    "supported",
]

AUTO = "auto"
MOST_STEPS = 1000  # that are measured
LEAST_DENOISE = 0.01
# What a beginner meets: what KSampler has too.
FIRST = {"model", "positive", "negative", "latent_image", "cfg", "sampler_name", "steps", "denoise"}


def supported(**fields: Any) -> dict[str, Any]:
    """Those Schema fields that this version of the host knows."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return {name: value for name, value in fields.items() if name in known}


def schedule_input() -> io.Combo.Input:
    """The drop-down of schedules: auto, the published presets, the saved results as of now."""
    return io.Combo.Input(
        "schedule",
        options=[AUTO, *PRESETS, *host.store().list()],
        default=AUTO,
        tooltip=(
            "Which schedule to use. 'auto': the best result for the nearest number of steps that "
            "is saved for exactly this model (LoRAs included), else the published table of its "
            "family (SD1.x, SDXL, SVD), else ComfyUI's 'simple'; the log says which. 'SD1.5', "
            "'SDXL', 'DeepFloyd IF' and 'SVD' are the tables NVIDIA published. Below them: what "
            "Optimize AYS saved."
        ),
    )


def steps_input(tooltip: str) -> io.Int.Input:
    """The number of steps that is measured."""
    return io.Int.Input("steps", default=10, min=1, max=MOST_STEPS, tooltip=tooltip)


def denoise_input(tooltip: str, least: float = LEAST_DENOISE) -> io.Float.Input:
    """Input that KSampler calls denoise."""
    return io.Float.Input("denoise", default=1.0, min=least, max=1.0, step=0.01, tooltip=tooltip)


def seed_input(tooltip: str) -> io.Int.Input:
    """The seed of the noise; the page gets no widget that changes it after each run."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=False,
        tooltip=tooltip,
    )


def beginner_first(define: Callable[..., io.Schema]) -> Callable[..., io.Schema]:
    """A `define_schema` whose inputs that KSampler has not are advanced.

    Older hosts know nothing of that, and show all of them.
    """

    @functools.wraps(define)
    def defined(cls: type[io.ComfyNode]) -> io.Schema:
        schema = define(cls)
        for one in schema.inputs:
            one.advanced = True if one.id not in FIRST else None
        return schema

    return defined


def guidance_inputs(sampler: str = "dpmpp_2m") -> list[io.Input]:
    """Inputs of KSampler for prompts, guidance and sampler, which is at first the given one."""
    return [
        io.Conditioning.Input(
            "positive",
            optional=True,
            tooltip="The prompt. Needed unless a guider is linked.",
        ),
        io.Conditioning.Input(
            "negative",
            optional=True,
            tooltip="The negative prompt. Needed unless a guider is linked or cfg is 1.",
        ),
        io.Float.Input(
            "cfg",
            default=7.0,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="The guidance scale that you will sample with: the best schedule "
            "depends on it. Not used when a guider is linked.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=host.sampler_names(),
            default=sampler,
            tooltip="The sampler that you will use: the best schedule depends on it. 'ays_model' "
            "is our own, fitted to your model. Not used when a sampler is linked.",
        ),
    ]


def prompts_inputs() -> list[io.Input]:
    """Several prompts in one measurement."""
    return [
        io.Clip.Input(
            "clip",
            optional=True,
            tooltip="Link your CLIP to measure with several prompts: what is found then serves "
            "other prompts too, and takes no more calls.",
        ),
        io.String.Input(
            "prompts",
            default="",
            multiline=True,
            optional=True,
            tooltip="With a CLIP: one prompt a line. Each seed is measured with one of them in "
            "turn, and the prompt linked to 'positive' is the first of all. Empty: sixteen of our "
            "own, from portraits to paintings.",
        ),
    ]


def exact_inputs() -> list[io.Input]:
    """Inputs that may be linked in the place of these."""
    return [
        io.Guider.Input(
            "guider",
            optional=True,
            tooltip="Instead of model, cfg and prompts: exactly this guider is measured.",
        ),
        io.Sampler.Input(
            "sampler",
            optional=True,
            tooltip="Instead of sampler_name: exactly this sampler, with its options.",
        ),
    ]
