"""The node "Compare Schedules": which schedule comes closest to the many-step picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import host
from .schema import supported

__all__ = ["AYSCompare"]

DEFAULT = "auto, simple, normal, karras, beta"
MOST_STEPS = 1000
MOST_NOISES = 1024


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
                    tooltip="The guidance scale that you sample with: which schedule is best "
                    "depends on it. Not used when a guider is linked.",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=host.sampler_names(),
                    default="dpmpp_2m",
                    tooltip="The sampler that you use: which schedule is best depends on it. Not "
                    "used when a sampler is linked.",
                ),
                io.Int.Input(
                    "steps",
                    default=10,
                    min=1,
                    max=MOST_STEPS,
                    tooltip="The number of steps of the schedules that are named. Linked sigmas "
                    "have as many steps as they have.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    tooltip="As in KSampler: 1 for new images; below 1 the linked latent is the "
                    "image to start from.",
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
                    "SDXL, DeepFloyd IF, SVD), names of schedules that you have saved, and 'auto', "
                    "which is what AYS Scheduler would take for this model.",
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
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=False,
                    tooltip="Of the starting noises. The first one is the noise that KSampler "
                    "makes from this seed: it is the one whose pictures are shown.",
                ),
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
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Link a VAE to see the pictures themselves: the first noise in many "
                    "steps, and with every schedule.",
                ),
                *(
                    io.Sigmas.Input(
                        f"sigmas_{number}",
                        optional=True,
                        tooltip="A schedule to compare with the others, from any node that makes "
                        "sigmas.",
                    )
                    for number in range(1, 9)
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
                    tooltip="The pictures of the first noise side by side, the many-step one "
                    "first. Without a VAE: the plot again.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            **supported(
                search_aliases=[
                    "ays",
                    "align your steps",
                    "scheduler",
                    "optimize",
                    "compare schedulers",
                    "sigmas",
                    "benchmark",
                ]
            ),
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        """Measure, rank, draw."""
        raise NotImplementedError
