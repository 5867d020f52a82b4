"""The node "Apply AYS Schedule": a schedule attached to a MODEL."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import host
from .inputs.choose import choose, fingerprint
from .inputs.limits import name_fault, within_limits
from .inputs.schema import schedule_input, supported
from .results.workflow_levels import carried_by, carry

__all__ = ["AYSApply"]


class AYSApply(io.ComfyNode):
    """Attach a schedule to the model, for the scheduler `ays_model` of KSampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSApply",
            display_name="Apply AYS Schedule",
            category=host.scheduler_category(),
            description=(
                "Attaches a schedule to the model. Then choose the scheduler 'ays_model' in "
                "KSampler, KSamplerAdvanced or BasicScheduler. Put it after LoRAs and after any "
                "ModelSampling node: a later ModelSampling node removes the schedule."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that will be sampled, with its LoRAs.",
                ),
                schedule_input(),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The same model; the scheduler 'ays_model' now uses this schedule, and "
                    "the sampler 'ays_model' what was fitted with it."
                )
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
            **supported(search_aliases=["ays", "scheduler", "ays_model"]),
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
    def execute(cls, model: Any, schedule: str) -> io.NodeOutput:
        """The model with the schedule attached."""
        carrier = cls.hidden.unique_id, cls.hidden.extra_pnginfo
        choice = choose(model, schedule, carried=next(iter(carried_by(*carrier)), None))
        host.show_text(cls.hidden.unique_id, choice.why)
        samplers = () if choice.saved is None else choice.saved.samplers
        attached = host.attach(model, choice.schedule, choice.measured, samplers)
        return io.NodeOutput(attached, ui=carry(*carrier, choice.saved, chosen=schedule))
