"""The node "Compare Schedules": which schedule comes closest to the many-step picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from comfy_api.latest import io

from ..optimizer import Comparison
from . import host
from .inputs.choose import fingerprint
from .inputs.guidance import guidance_scale, guided_model, linked_guider
from .inputs.limits import within_limits
from .inputs.schedule_list import Entry, parsed_entries
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
from .inputs.ways import Named, Setting, Way, named_schedules, ways_of, with_attached
from .pictures import BLANK, below
from .pictures.picture_file import preview
from .results.compare_report import comparison_report
from .results.comparison import compared, pictures_of, plot_of

__all__ = ["AYSCompare"]

DEFAULT = "auto, simple, normal, karras, beta"
MOST_NOISES = 1024

log = logging.getLogger("align_your_steps")


class AYSCompare(io.ComfyNode):
    """Rank schedules, and pairs of sampler and schedule, by how far they end from many steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSCompare",
            display_name="Compare Schedules",
            category=host.scheduler_category(),
            description=(
                "Ranks schedules, or pairs of sampler and schedule, for your model and prompt: the "
                "nearer the image in few steps is to that of the same seed in many steps, the "
                "better. Gives a table, a plot and, with a VAE linked, the images side by side."
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
                    "the one saved for this model that is nearest to these settings. With a "
                    "sampler before it, as in 'dpmpp_2m karras, euler normal, ays_model', each is "
                    "run with its own, in as many model calls.",
                ),
                io.Int.Input(
                    "noises",
                    display_name="seeds",
                    default=8,
                    min=1,
                    max=MOST_NOISES,
                    tooltip="How many seeds to measure on; the average counts. Each takes one "
                    "image in many steps and one image per schedule. More tell close schedules "
                    "apart more surely.",
                ),
                seed_input(
                    "The first of the seeds that are measured on: the same as KSampler's, and the "
                    "one whose images are shown."
                ),
                *exact_inputs(),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Link a VAE to see the images themselves: the first seed in many "
                    "steps, and with every schedule.",
                ),
                *sigmas_inputs(fewest=0),
                io.Boolean.Input(
                    "steps_needed",
                    default=True,
                    optional=True,
                    tooltip="Also measure how many steps the others need to come as close as the "
                    "best one, up to three times as many. Takes about as long again, or a few "
                    "times as long with many schedules.",
                ),
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
                    tooltip="The images of the first seed side by side, the one in many steps "
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
            parsed_entries(schedules or "")  # None: linked, not yet known
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, schedules: str | None = None, **_: Any) -> Any:
        """A cached output holds until a saved schedule that is compared changes."""
        try:
            names = [entry.schedule for entry in parsed_entries(schedules or "")]
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
        steps_needed: bool = False,
        **sigmas: Any,
    ) -> io.NodeOutput:
        """Measure, rank, draw."""
        entries, linked = parsed_entries(schedules), linked_sigmas(sigmas)
        if not entries and not linked:
            raise ValueError(
                "There is nothing to compare: write names into 'schedules', for example "
                f"'{DEFAULT}', or link SIGMAS."
            )
        cfg, denoise = float(cfg), float(denoise)
        guider = linked_guider(model, positive, negative, cfg, guider)
        measured_model = host.model_of(guider)
        entries = with_attached(entries, measured_model)
        if not linked and all(entry.sampler is not None for entry in entries):
            # Nothing is run with the chosen one, which need not be one that can be judged.
            sampler_name, sampler = str(entries[0].sampler), None
        judged = host.judged_sampler(sampler_name, sampler, twin_alone=True)
        guided = guided_model(guider, judged, latent_image, steps, denoise)
        start = host.start_level(guided.levels, steps, denoise)
        setting = Setting(measured_model, guided.levels, denoise, guidance_scale(guider), start)
        ways = ways_of(entries, guided, steps)
        named = named_schedules(entries, setting, ways)
        solvers = _solvers(entries, ways, named, guided)
        guided.sampler = judged = judged.with_fitted(named.fitted)
        warning = host.distilled_warning(guider, steps)
        if warning:
            log.warning(warning)
        found = compared(
            guided,
            {**named.schedules, **linked},
            start,
            noises,
            seed,
            host.first_noise(measured_model, latent_image, seed),
            cls.hidden.unique_id,
            solvers,
            named.at if steps_needed else None,
        )
        pictures, missing = _pictures(found, guided, vae)
        notes = [*named.notes, guided.note, *_notes(ways, judged)]
        notes += [_common_start(start, denoise), missing]
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


def _solvers(
    entries: Sequence[Entry],
    ways: Mapping[str | None, Way | str],
    named: Named,
    guided: host.GuidedModel,
) -> dict[str, host.HostSolver]:
    """The runs of the schedules that have another sampler than the guided model, by name."""
    made: dict[str | None, host.HostSolver] = {}
    found = {}
    for entry in entries:
        way = ways[entry.sampler]
        if isinstance(way, str) or entry.name not in named.schedules:
            continue
        if way.judged is not guided.sampler:
            if entry.sampler not in made:
                made[entry.sampler] = guided.solver(way.judged.with_fitted(named.fitted))
            found[entry.name] = made[entry.sampler]
    return found


def _notes(ways: Mapping[str | None, Way | str], own: host.JudgedSampler) -> list[str]:
    """What is particular about the samplers."""
    notes = []
    for way in ways.values():
        if isinstance(way, str):
            continue
        notes.append(way.note)
        if way.judged.name != own.name:
            notes += [f"{way.judged.name}: {part}" for part in way.judged.note.split("; ")[:-1]]
    return list(dict.fromkeys(notes))


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
    """The images of the first seed, and a note if a VAE is linked and cannot make them."""
    if vae is None:
        return None, ""
    try:
        return pictures_of(found, guided, vae), ""
    except ValueError as error:
        log.error("Compare Schedules has no pictures: %s", error)
        return None, f"there are no pictures: {error}"
