"""The scheduler `ays_model` of the KSampler drop-down, and the schedule attached to a MODEL.

A scheduler is handed nothing but `model_sampling`. So a schedule travels on a copy of that object,
as an object patch of a clone of the MODEL, in plain Python values; the scheduler reads it there.
There is one name for all schedules: workflows stay shareable.

KSampler asks for more steps than it runs when denoise is below 1, and KSamplerAdvanced runs a part
of what it asks for: two models to which one schedule is attached share its levels.

A scheduler is not told which sampler will run, but a KSampler can be found among those that call
it. For some samplers (dpm_2, uni_pc and their kin) it asks one step more and drops the last level
but one: it is then given one level more to drop. Everybody else gets the steps that are asked for.
Where fitted samplers are attached too (calibrated_sampler.py), their levels are for the sampler
`ays_model` and for those who do not say which one runs; the schedule is for all others.
"""

from __future__ import annotations

import copy
import inspect
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import comfy.samplers
import torch

from ...schedules import CalibratedSampler, Schedule, at_steps, extend_up, levels_at

__all__ = [
    "ATTRIBUTE",
    "SCHEDULER_NAME",
    "Measured",
    "add_name",
    "attach",
    "attached_schedule",
    "carries_sampler",
    "register_scheduler",
    "steps_of_the_first",
]

SCHEDULER_NAME = "ays_model"
ATTRIBUTE = "ays_schedule"
CALLERS = 8  # frames that are searched for a KSampler
SIMPLER = ", with the levels of a simpler fit, from a measurement for another number of steps"
DROPS = "discard_penultimate_sigma"  # the host's name for whether it drops a level

log = logging.getLogger("align_your_steps")


@dataclass(frozen=True)
class Measured:
    """Purpose for which a schedule was measured, as far as other numbers of steps depend on it.

    denoise:     of the sampler
    sigma_min:   lowest level of the model; None: that of the model at hand
    boundary:    of two models: the first one answers above this level, the second one from it on;
                 None: there was one model
    cfg:         guidance scale; None: there was no single one
    second_pass: whether the levels begin inside the model's path, and end what is asked for
    """

    denoise: float = 1.0
    sigma_min: float | None = None
    boundary: float | None = None
    cfg: float | None = None
    second_pass: bool = False


def attach(
    model: Any,
    schedule: Schedule | None,
    measured: Measured | None = None,
    samplers: Sequence[CalibratedSampler] = (),
) -> Any:
    """A clone of the MODEL that carries a schedule; None stands for the host's 'simple'.

    samplers: fitted ones, for the sampler `ays_model`; the schedule is then for all others
    """
    clone = model.clone()
    model_sampling = copy.copy(model.get_model_object("model_sampling"))
    carried = None if schedule is None else schedule.to_dict()
    fitted = [sampler.to_dict() for sampler in samplers]
    about = asdict(measured or Measured())
    attached = {"schedule": carried, "samplers": fitted, "said": [], **about}
    setattr(model_sampling, ATTRIBUTE, attached)
    clone.add_object_patch("model_sampling", model_sampling)
    return clone


def carries_sampler(model: Any) -> bool:
    """Whether a fitted sampler is attached to a MODEL."""
    attached = getattr(model.get_model_object("model_sampling"), ATTRIBUTE, None)
    return isinstance(attached, dict) and bool(attached.get("samplers"))


def steps_of_the_first(sigmas: Sequence[float], boundary: float) -> int:
    """After how many steps of a schedule the second of two models takes over.

    The steps that begin above the boundary: `end_at_step` of the first KSamplerAdvanced and
    `start_at_step` of the second.

    >>> steps_of_the_first([14.6, 3.0, 1.0, 0.0], boundary=3.0)
    1
    """
    return sum(level > boundary for level in sigmas[:-1])


def register_scheduler() -> None:
    """Add `ays_model` to the host's schedulers, behind the others; once is enough.

    The lists are changed in place: other packs hold references to them, and the host falls back
    to the first name when it does not know one.
    """
    handler = comfy.samplers.SchedulerHandler(handler=attached_schedule, use_ms=True)
    comfy.samplers.SCHEDULER_HANDLERS[SCHEDULER_NAME] = handler
    add_name(SCHEDULER_NAME, comfy.samplers, "SCHEDULER_NAMES")
    add_name(SCHEDULER_NAME, comfy.samplers.KSampler, "SCHEDULERS")


def add_name(name: str, owner: Any, attribute: str) -> None:
    """Add a name to a list of the host, in place; in place of what is no list, a longer list."""
    names = getattr(owner, attribute)
    if name in names:
        return
    if isinstance(names, list):
        names.append(name)
    else:
        setattr(owner, attribute, [*names, name])


def attached_schedule(
    model_sampling: Any, steps: int, sampler: str | None = None, spare: bool | None = None
) -> torch.Tensor:
    """steps+1 levels, ending in 0, of the schedule attached to the model; 'simple' without one.

    sampler: name of the one that will run; None: that of the KSampler that asks, if it can be found
    spare:   whether who asks drops the last level but one; None: as that KSampler does
    """
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
    sigma_max = float(model_sampling.sigma_max)
    asking = _asking()
    sampler = sampler or asking.sampler
    spare = (asking.drops if spare is None else spare) and steps > 1
    fitted = _fitted(sampler, attached, steps - spare, sigma_max)
    schedule = Schedule.from_dict(attached["schedule"])
    if fitted is not None:
        schedule = replace(schedule, levels=fitted.levels, others=())
    levels = _levels(schedule, attached, steps - spare, model_sampling)
    if spare:
        levels = (*levels[:-1], levels[-2] / 2.0, 0.0)
    simpler = fitted is not None and fitted.weights_only
    line = _told(schedule, attached, levels, spare, simpler)
    if line not in attached["said"]:  # a workflow of many images is told once
        attached["said"].append(line)
        log.info("%s", line)
    # A fresh tensor: KSampler writes into what it gets.
    return torch.tensor(levels, dtype=torch.float32)


def _fitted(
    sampler: str | None, attached: dict[str, Any], steps: int, sigma_max: float
) -> CalibratedSampler | None:
    """The attached sampler for these steps; None: there is none, or another one will run."""
    if sampler not in (None, SCHEDULER_NAME):
        return None
    needed = math.ceil(steps * attached["denoise"] - 1e-6)
    for plain in attached["samplers"]:
        levels = tuple(plain["levels"])
        starts = attached["denoise"] < 1.0 or math.isclose(levels[0], sigma_max, rel_tol=1e-3)
        if len(levels) == needed + 1 and starts:
            return CalibratedSampler.from_dict(plain)
    return None


def _levels(
    schedule: Schedule, attached: dict[str, Any], steps: int, model_sampling: Any
) -> tuple[float, ...]:
    """The levels for a number of steps; a list for a second pass ends what is longer than it."""
    sigma_min = attached["sigma_min"] or float(model_sampling.sigma_min)
    sigma_max = float(model_sampling.sigma_max)
    if attached["second_pass"]:
        own = min(steps, schedule.steps)
        lower = at_steps(schedule, own, sigma_min=sigma_min, quiet=True)
        return extend_up(lower, steps, sigma_max)
    return levels_at(
        schedule,
        steps,
        denoise=attached["denoise"],
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        quiet=True,
    )


@dataclass(frozen=True)
class _Asking:
    """The asker for levels: the sampler that will run, and whether a level of them is dropped."""

    sampler: str | None = None
    drops: bool = False


def _asking() -> _Asking:
    """Look for a KSampler, or a pack's copy of how it asks, among the callers."""
    frame = inspect.currentframe()
    sampler = drops = None
    for _ in range(CALLERS):
        frame = None if frame is None else frame.f_back
        if frame is None:
            break
        if drops is None and DROPS in frame.f_locals:
            drops = bool(frame.f_locals[DROPS])
        asking = frame.f_locals.get("self")
        if isinstance(asking, comfy.samplers.KSampler):
            sampler = str(asking.sampler)
            if drops is None:
                drops = sampler in asking.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
            break
    return _Asking(sampler, bool(drops))


def _own_steps(schedule: Schedule, attached: dict[str, Any]) -> int:
    """The number of steps that a sampler asks for to run the measured levels."""
    return int(schedule.steps / attached["denoise"])


def _told(
    schedule: Schedule,
    attached: dict[str, Any],
    levels: Sequence[float],
    spare: bool,
    simpler: bool = False,
) -> str:
    """Tell which levels are sampled, and how they differ from those measured, in a line.

    simpler: whether they are those of a sampler of which the weights alone were fitted
    """
    steps, asked = len(levels) - 1 - spare, len(levels) - 1
    text = f"'{SCHEDULER_NAME}' samples {asked} steps with the schedule '{schedule.name}'"
    if steps == _own_steps(schedule, attached):
        text += SIMPLER if simpler else ", as it was measured"
    else:
        part = f" at denoise {attached['denoise']:g}" if attached["denoise"] < 1.0 else ""
        text += f", measured at {schedule.steps} steps{part}: "
        needed = min(steps, math.ceil(steps * attached["denoise"] - 1e-6))
        known = len(schedule.nearest(needed)) - 1
        if known == needed:
            text += f"the levels saved for {needed} steps"
        else:
            text += f"levels drawn through those for {known} steps"
        text += " (below denoise 1 KSampler asks for steps / denoise and runs the last ones)"
    if attached["second_pass"] and steps > schedule.steps:
        text += f"; the last {schedule.steps} steps are the schedule, which is for a second pass"
    if spare:
        text += "; one more level before 0, for the sampler that drops it"
    if attached["boundary"] is not None:
        first = steps_of_the_first(levels, attached["boundary"])
        text += f"; the second model takes over after step {first}"
    return f"{text}."
