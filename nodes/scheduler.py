"""The node "AYS Scheduler": a schedule as SIGMAS."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from . import host
from .inputs.choose import choose, fingerprint
from .inputs.limits import SLACK, name_fault, within_limits
from .inputs.schema import LEAST_DENOISE, denoise_input, schedule_input, supported
from .results.workflow_levels import carried_by, carry

__all__ = ["AYSScheduler"]


class AYSScheduler(io.ComfyNode):
    """A published, saved or automatically chosen schedule for the linked model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSScheduler",
            display_name="AYS Scheduler",
            category=host.scheduler_category(),
            description=(
                "Align Your Steps: noise levels for SamplerCustom and SamplerCustomAdvanced. Gives "
                "the schedule optimised for this model if Optimize AYS has saved one, or one of "
                "the tables that NVIDIA published."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that will be sampled, with its LoRAs: 'auto' looks for the "
                    "schedule saved for it, and published tables are fitted to its noise levels.",
                ),
                schedule_input(),
                io.Int.Input(
                    "steps",
                    default=10,
                    min=1,
                    max=10000,
                    tooltip="Number of sampling steps. A schedule made for another number is "
                    "interpolated; below its own number that costs quality, so optimise for it.",
                ),
                denoise_input(
                    "1 for a new image; lower keeps more of the image you start from. At 0 "
                    "nothing is sampled, as with BasicScheduler.",
                    least=0.0,
                ),
                io.Combo.Input(
                    "denoise_mode",
                    options=["keep steps", "truncate"],
                    default="keep steps",
                    tooltip="What denoise below 1 does. 'keep steps': all steps are spent on the "
                    "end of a longer schedule, as KSampler does. 'truncate': only the last steps "
                    "of the schedule are run, as the core node AlignYourStepsScheduler does.",
                ),
            ],
            outputs=[io.Sigmas.Output(tooltip="Noise levels from high to low, ending in 0.")],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            **supported(search_aliases=["ays", "align your steps", "scheduler"]),
        )

    @classmethod
    def validate_inputs(cls, schedule: Any = None) -> bool | str:
        """A name that is not on this machine does not stop the prompt: it becomes 'auto'."""
        return name_fault(schedule) or True

    @classmethod
    def fingerprint_inputs(cls, schedule: str, **_: Any) -> str:
        """A cached output holds until the chosen schedule changes."""
        return fingerprint(schedule)

    @classmethod
    @within_limits
    def execute(
        cls, model: Any, schedule: str, steps: int, denoise: float, denoise_mode: str
    ) -> io.NodeOutput:
        """The noise levels; none at all for a denoise of 0, as BasicScheduler has it."""
        if denoise <= 0.0:
            host.show_text(cls.hidden.unique_id, "Denoise 0: nothing is sampled.")
            return io.NodeOutput(torch.empty(0))
        if denoise < LEAST_DENOISE - SLACK:
            raise ValueError(
                f"'denoise' was {denoise:g}: give 0, or a number from {LEAST_DENOISE:g} to 1."
            )
        carrier = cls.hidden.unique_id, cls.hidden.extra_pnginfo
        carried = next(iter(carried_by(*carrier)), None)
        choice = choose(model, schedule, steps=steps, carried=carried)
        host.show_text(cls.hidden.unique_id, choice.why)
        levels = choice.sampled(steps, denoise, denoise_mode)
        sigmas = torch.tensor(levels, dtype=torch.float32)
        return io.NodeOutput(sigmas, ui=carry(*carrier, choice.saved, chosen=schedule))
