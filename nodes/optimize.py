"""The node "Optimize AYS": measures the loaded model and finds the best schedule for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..optimizer import SharedReferences
from ..schedules import SavedSchedule
from . import host
from .inputs.guidance import guided_model, linked_guider
from .inputs.limits import within_limits
from .inputs.optimization import ANEW, further_inputs, more_counts, search_inputs
from .inputs.profile import fitting_profile
from .inputs.prompts import further_prompts
from .inputs.request import Request
from .inputs.schema import (
    beginner_first,
    denoise_input,
    exact_inputs,
    guidance_inputs,
    prompts_inputs,
    steps_input,
    supported,
)
from .inputs.task import Answer, Task
from .pictures import below, plot_schedules
from .pictures.curves import plotted
from .pictures.picture_file import preview
from .results.find import Past
from .results.fitted_sampler import sampled_levels
from .results.measure import METHODS
from .results.result import answers, joined
from .results.save import waiting
from .results.seed_pictures import pictures_of_seed
from .results.workflow_levels import carried_by, carry

__all__ = ["AYSOptimize"]

OTHER_MODEL = (
    "The guider's model was measured. The one linked to 'model' is another: the schedule is "
    "attached to it, but was not made for it."
)

log = logging.getLogger("align_your_steps")


class AYSOptimize(io.ComfyNode):
    """Optimise a schedule for the linked model, prompt and sampler; save it and attach it."""

    @classmethod
    @beginner_first
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="AYSOptimize",
            display_name="Optimize AYS",
            category=host.scheduler_category(),
            description=(
                "Fits a sampler, or the schedule for one, to your model with its LoRAs, prompt and "
                "guidance, so that few steps come close to what it would paint in many. Needs some "
                "minutes once; the result is saved, and 'auto' finds it again for this model."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model to optimise for, with its LoRAs."),
                *guidance_inputs(sampler=host.SAMPLER_NAME),
                steps_input(
                    "The number of steps that you will sample with. The fewer, the more "
                    "an optimised schedule gains."
                ),
                denoise_input(
                    "As in KSampler: 1 for new images; below 1 the linked latent is the "
                    "start image, and only the part of the schedule that is run is optimised."
                ),
                io.Latent.Input(
                    "latent_image",
                    tooltip="An empty latent of the size that you will sample: it gives the size "
                    "only. Encoded images are used as example data. With denoise below 1, or with "
                    "a noise mask: the image to start from.",
                ),
                *search_inputs(list(METHODS)),
                *exact_inputs(),
                *further_inputs(),
                *prompts_inputs(),
            ],
            outputs=[
                io.Model.Output(
                    tooltip="The model with the schedule attached: choose the scheduler "
                    "'ays_model' in KSampler, and the sampler that was optimised for, which may be "
                    "'ays_model' too.",
                ),
                io.Sigmas.Output(
                    tooltip="The optimised noise levels, for SamplerCustom and "
                    "SamplerCustomAdvanced.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="What was measured: every schedule's error, the calls spent, the file.",
                ),
                io.Model.Output(
                    display_name="second_model",
                    tooltip="The second model with the same schedule attached; without one, the "
                    "first output again.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo, io.Hidden.dynprompt],
            is_output_node=True,
            # Words that others of our nodes have, too, find the one with the shortest name first.
            **supported(
                search_aliases=[
                    "ays",
                    "align",
                    "align your steps",
                    "few steps",
                    "fewer steps",
                    "optimize",
                    "optimise schedule",
                    "sigmas",
                    "noise schedule",
                    "scheduler",
                ]
            ),
        )

    @classmethod
    def fingerprint_inputs(cls, reuse: str, **_: Any) -> Any:
        """'measure again' runs every time it is queued, and so does what is not saved yet."""
        return float("nan") if reuse == ANEW or waiting() else ""

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
        budget: int,
        minutes: float,
        seed: int,
        method: str,
        reuse: str,
        name: str,
        positive: Any = None,
        negative: Any = None,
        guider: Any = None,
        sampler: Any = None,
        more_steps: str = "",
        second_model: Any = None,
        second_guider: Any = None,
        boundary_step: int = 0,
        profile: Any = None,
        vae: Any = None,
        clip: Any = None,
        prompts: str = "",
    ) -> io.NodeOutput:
        """Measure, or take the saved results; attach the schedule, and report."""
        # A workflow may write 7 where the widget writes 7.0: they are the same request.
        cfg, denoise = float(cfg), float(denoise)
        counts = [steps, *more_counts(more_steps, steps)]
        host.store().check_name(name)
        progress = host.Progress(cls.hidden.unique_id, budget, len(counts), minutes)
        further = further_prompts(clip, prompts, positive, guider, second_guider)
        guider = linked_guider(model, positive, negative, cfg, guider, further)
        if second_guider is None and second_model is not None:
            second_guider = host.with_model(guider, second_model)
        judged = host.judged_sampler(sampler_name, sampler)
        guided = guided_model(
            guider, judged, latent_image, steps, denoise, second_guider, boundary_step
        )
        request = Request.of(
            guided, steps=steps, denoise=denoise, method=method, budget=budget, seed=seed
        )
        if profile is not None:
            profile = fitting_profile(profile, request)
            request = replace(request, profile=profile.profile.digest)
        loaded_from = host.loaded_from(cls.hidden.dynprompt, cls.hidden.unique_id)
        references = SharedReferences(counts) if len(counts) > 1 else None
        first = Task(guided, request, name.strip(), profile, loaded_from, references)
        tasks = [first, *(_with_steps(first, count) for count in counts[1:])]
        carrier = cls.hidden.unique_id, cls.hidden.extra_pnginfo
        past = Past(host.store(), carried_by(*carrier), again=reuse == ANEW)
        found = answers(tasks, past, progress)
        answer = joined(found)
        text = _text(answer, counts[len(found) :], model, host.model_of(guider))
        seed_pictures, missing = pictures_of_seed(answer.saved, guided, vae)
        text += f"\n\n{missing}" if missing else ""
        # The report is in the history too, for clients that link nothing to its output.
        more = [further.saved for further in found[1:]]
        shown: dict[str, Any] = {"text": [text], **carry(*carrier, answer.saved, more=more)}
        plot = plot_schedules(*plotted(answer.saved, first.given))
        drawings = [image for image in (seed_pictures, plot) if image is not None]
        if drawings:
            shown |= preview(below(*drawings), cls)
        attached, second = _attached(model, second_guider, answer.saved, guided, request)
        return io.NodeOutput(attached, sampled_levels(answer.saved), text, second, ui=shown)


def _with_steps(task: Task, count: int) -> Task:
    """The same task at another number of steps, which its name tells if one was typed."""
    name = f"{task.name}, {count} steps" if task.name else ""
    return replace(task, request=replace(task.request, steps=count), name=name)


def _text(answer: Answer, left_out: Sequence[int], model: Any, measured: Any) -> str:
    """The report, with what it cannot know: what was not begun, and what the model linked is."""
    text = answer.report
    if left_out:
        listed = ", ".join(map(str, left_out))
        text += f"\n\nNot optimised for {listed} steps, because you asked to finish."
    if _other_model(model, measured, answer.saved.identity):
        text = f"{OTHER_MODEL}\n\n{text}"
        log.warning(OTHER_MODEL)
    return text


def _attached(
    model: Any, second: Any, saved: SavedSchedule, guided: host.GuidedModel, request: Request
) -> tuple[Any, Any]:
    """The MODEL and that of a second guider, with the result; without one the first again."""
    measured = host.Measured(
        request.denoise,
        guided.levels.sigma_min,
        request.boundary,
        request.cfg,
    )
    attached = host.attach(model, saved.schedule, measured, saved.samplers)
    if second is None:
        return attached, attached
    return attached, host.attach(second.model_patcher, saved.schedule, measured, saved.samplers)


def _other_model(model: Any, measured: Any, identity: str | None) -> bool:
    """Tell whether the linked MODEL is known to be another than the one that was measured."""
    if model is measured:
        return False
    linked = host.model_identity(model)
    unknown = linked is None or identity is None
    return model.model is not measured.model if unknown else linked != identity
