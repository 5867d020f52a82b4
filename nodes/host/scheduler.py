"""The scheduler `ays_model` of the KSampler drop-down, and the schedule attached to a MODEL.

A scheduler is handed nothing but `model_sampling`. So a schedule travels on a copy of that object,
as an object patch of a clone of the MODEL, in plain Python values; the scheduler reads it there.
There is one name for all schedules: workflows stay shareable.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import comfy.samplers
import torch

from ...schedules import Schedule, levels_at

__all__ = ["ATTRIBUTE", "SCHEDULER_NAME", "attach", "register_scheduler"]

SCHEDULER_NAME = "ays_model"
ATTRIBUTE = "ays_schedule"

log = logging.getLogger("align_your_steps")


def attach(
    model: Any, schedule: Schedule | None, denoise: float = 1.0, spare_level: bool = False
) -> Any:
    """A clone of the MODEL that carries a schedule; None stands for the host's 'simple'.

    denoise:     what the schedule was measured for
    spare_level: whether it was measured for a sampler of which KSampler asks one step more and
                 drops the last level but one (dpm_2, uni_pc and their kin)
    """
    clone = model.clone()
    model_sampling = copy.copy(model.get_model_object("model_sampling"))
    carried = None if schedule is None else schedule.to_dict()
    attached = {"schedule": carried, "denoise": float(denoise), "spare_level": spare_level}
    setattr(model_sampling, ATTRIBUTE, attached)
    clone.add_object_patch("model_sampling", model_sampling)
    return clone


def register_scheduler() -> None:
    """Add `ays_model` to the host's schedulers, behind the others; once is enough.

    The lists are changed in place: other packs hold references to them, and the host falls back
    to the first name when it does not know one.
    """
    handler = comfy.samplers.SchedulerHandler(handler=attached_schedule, use_ms=True)
    comfy.samplers.SCHEDULER_HANDLERS[SCHEDULER_NAME] = handler
    for names in (comfy.samplers.SCHEDULER_NAMES, comfy.samplers.KSampler.SCHEDULERS):
        if SCHEDULER_NAME not in names:
            names.append(SCHEDULER_NAME)


def attached_schedule(model_sampling: Any, steps: int) -> torch.Tensor:
    """steps+1 levels, ending in 0, of the schedule attached to the model; 'simple' without one."""
    attached = getattr(model_sampling, ATTRIBUTE, None)
    if attached is None:
        log.warning(
            "'%s' was chosen, but no schedule is attached to this model: sampling with 'simple'. "
            "Put 'Apply AYS Schedule' or 'Optimize AYS' between the model and the sampler, after "
            "any ModelSampling node.",
            SCHEDULER_NAME,
        )
    if attached is None or attached["schedule"] is None:
        return comfy.samplers.simple_scheduler(model_sampling, steps)
    schedule = Schedule.from_dict(attached["schedule"])
    denoise = attached["denoise"]
    spare = attached["spare_level"] and steps == int(schedule.steps / denoise) + 1
    levels = levels_at(
        schedule,
        steps - spare,
        denoise=denoise,
        sigma_min=float(model_sampling.sigma_min),
        sigma_max=float(model_sampling.sigma_max),
    )
    if spare:
        levels = (*levels[:-1], levels[-2] / 2.0, 0.0)
    log.info("'%s' samples %d steps with the schedule '%s'.", SCHEDULER_NAME, steps, schedule.name)
    # A fresh tensor: KSampler writes into what it gets.
    return torch.tensor(levels, dtype=torch.float32)
