"""The node "Compare Schedules": which schedule comes closest to the many-step picture."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io

from ..optimizer import Comparison
from . import host
from .inputs.choose import fingerprint
from .inputs.guidance import guidance_scale, guided_model, linked_guider
from .inputs.limits import within_limits
from .inputs.schedule_list import named_schedules, parsed_names
from .inputs.schema import (
    denoise_input,
    exact_inputs,
    guidance_inputs,
    linked_sigmas,
    seed_input,
    sigmas_inputs,
    steps_input,
    supported,
)
from .pictures import BLANK, below
from .pictures.picture_file import preview
from .results.compare_report import comparison_report
from .results.comparison import compared, pictures_of, plot_of

__all__ = ["AYSCompare"]

DEFAULT = "auto, simple, normal, karras, beta"
MOST_NOISES = 1024

log = logging.getLogger("align_your_steps")


class AYSCompare(io.ComfyNode):
    """Rank schedules by how far few steps end from many steps of the same noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSCompare",
            display_name="Compare Schedules",
            category=host.scheduler_category(),
            description=(
                "Ranks schedules for your model, prompt and sampler: the nearer the picture in few "
                "steps is to the picture in many steps from the same noise, the better. Gives a "
                "table, a plot and, with a VAE linked, the pictures side by side."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model that you sample with, with its LoRAs."),
                *guidance_inputs(),
                steps_input(
                    "The number of steps of the schedules that are named. Linked sigmas "
                    "have as many steps as they have."
                ),
                denoise_input(
                    "As in KSampler: 1 for new images; below 1 the linked latent is the "
                    "image to start from."
                ),
                io.Latent.Input(
                    "latent_image",
                    tooltip="An empty latent of the size that you sample. With denoise below 1, or "
                    "with a noise mask: the image to start from.",
                ),
                io.String.Input(
                    "schedules",
                    default=DEFAULT,
                    multiline=True,
                    tooltip="What to compare, separated by commas or lines: schedulers of KSampler "
                    "(simple, normal, karras, beta, ...), tables that NVIDIA published (SD1.5, "
                    "SDXL, DeepFloyd IF, SVD), names of schedules that you have saved, and 'auto': "
                    "the one saved for this model that is nearest to these settings.",
                ),
                io.Int.Input(
                    "noises",
                    default=8,
                    min=1,
                    max=MOST_NOISES,
                    tooltip="How many starting noises to measure on; the average counts. Each "
                    "takes one many-step image and one image per schedule. More tell "
                    "close schedules apart more surely.",
                ),
                seed_input(
                    "Of the starting noises. The first one is the noise that KSampler "
                    "makes from this seed: it is the one whose pictures are shown."
                ),
                *exact_inputs(),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Link a VAE to see the pictures themselves: the first noise in many "
                    "steps, and with every schedule.",
                ),
                *sigmas_inputs(fewest=0),
            ],
            outputs=[
                io.Sigmas.Output(
                    display_name="best",
                    tooltip="The noise levels of the schedule with the least average error.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="The ranking as text, with what was measured and how sure it is.",
                ),
                io.Image.Output(
                    display_name="plot",
                    tooltip="The errors as bars, beside the noise levels of every schedule.",
                ),
                io.Image.Output(
                    display_name="images",
                    tooltip="The pictures of the first noise side by side, the many-step one "
                    "first. Without a VAE: the plot again.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            **supported(
                search_aliases=[
                    "ays",
                    "scheduler",
                    "compare schedulers",
                    "benchmark",
                ]
            ),
        )

    @classmethod
    def validate_inputs(cls, schedules: str | None = None, sigmas: Any = None) -> bool | str:
        """A name that nothing has is told before anything is loaded.

        sigmas: some hosts hand over a growing list of inputs whether it is asked for or not
        """
        try:
            parsed_names(schedules or "")  # None: linked, not yet known
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, schedules: str | None = None, **_: Any) -> Any:
        """A cached output holds until a saved schedule that is compared changes."""
        try:
            names = parsed_names(schedules or "")
        except ValueError:
            return ""
        hosts = {*host.scheduler_names(), host.SCHEDULER_NAME}
        return " ".join(fingerprint(name) for name in names if name not in hosts)

    @classmethod
    @within_limits
    def execute(
        cls,
        model: Any,
        cfg: float,
        sampler_name: str,
        steps: int,
        denoise: float,
        latent_image: dict[str, Any],
        schedules: str,
        noises: int,
        seed: int,
        positive: Any = None,
        negative: Any = None,
        guider: Any = None,
        sampler: Any = None,
        vae: Any = None,
        **sigmas: Any,
    ) -> io.NodeOutput:
        """Measure, rank, draw."""
        names, linked = parsed_names(schedules), linked_sigmas(sigmas)
        if not names and not linked:
            raise ValueError(
                "There is nothing to compare: write names into 'schedules', for example "
                f"'{DEFAULT}', or link SIGMAS."
            )
        cfg, denoise = float(cfg), float(denoise)
        guider = linked_guider(model, positive, negative, cfg, guider)
        measured_model = host.model_of(guider)
        judged = host.judged_sampler(sampler_name, sampler, twin_alone=True)
        guided = guided_model(guider, judged, latent_image, steps, denoise)
        named = named_schedules(
            names,
            measured_model,
            guided.levels,
            steps,
            denoise,
            judged,
            cfg=guidance_scale(guider),
        )
        guided.sampler = judged = judged.with_fitted(named.fitted)
        warning = host.distilled_warning(guider, steps)
        if warning:
            log.warning(warning)
        start = host.start_level(guided.levels, steps, denoise)
        found = compared(
            guided,
            {**named.schedules, **linked},
            start,
            noises,
            seed,
            host.first_noise(measured_model, latent_image, seed),
            cls.hidden.unique_id,
        )
        pictures, missing = _pictures(found, guided, vae)
        notes = [*named.notes, guided.note, _common_start(start, denoise), missing]
        text = comparison_report(found, judged, noises, notes, named.left_out, warning)
        plot = plot_of(found)
        shown: dict[str, Any] = {"text": [text]}
        drawings = [image for image in (plot, pictures) if image is not None]
        if drawings:
            # One picture: of several, the page shows thumbnails whose texts nobody can read.
            shown |= preview(below(*drawings), cls)
        plot = BLANK if plot is None else plot
        images = plot if pictures is None else pictures
        return io.NodeOutput(found.best.candidate.sigmas, text, plot, images, ui=shown)


def _common_start(start: float, denoise: float) -> str:
    """A note on where the named schedules start; empty for the whole path."""
    if denoise >= 1.0:
        return ""
    return (
        f"at denoise {denoise:g} every named schedule starts at the noise level of 'simple', "
        f"{start:.4g}: from another one it would change more or less of the image"
    )


def _pictures(
    found: Comparison, guided: host.GuidedModel, vae: Any
) -> tuple[torch.Tensor | None, str]:
    """The pictures of the first noise, and a note if a VAE is linked and cannot make them."""
    if vae is None:
        return None, ""
    try:
        return pictures_of(found, guided, vae), ""
    except ValueError as error:
        log.error("Compare Schedules has no pictures: %s", error)
        return None, f"there are no pictures: {error}"
