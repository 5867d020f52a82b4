"""Meaning of a name in the schedule drop-down for a given model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...schedules import (
    PRESETS,
    CalibratedSampler,
    SavedSchedule,
    Schedule,
    are_timesteps,
    at_steps,
    levels_at,
    on_model,
    preset_for_model,
    starting_at,
    with_denoise,
)
from ...schedules.store import (
    LONGEST_NAME,
    MAX_OTHERS,
    MAX_SAMPLERS,
    Asked,
    label_of,
    number,
    one_line,
)
from .. import host
from ..results.workflow_levels import carried_by
from .schema import AUTO

__all__ = ["Choice", "choose", "fingerprint", "published"]

PART_OF_FLOW = 0.95  # a list that begins lower is no whole path of a flow model
CARRIED = "came with this workflow"
LISTED_COUNTS = 8  # numbers of steps in a line
# Notes that results must share for one to lend the other its levels.
SAME_KIND = ("flow", "spare_level", "sigma_min", "boundary")

log = logging.getLogger("align_your_steps")


@dataclass(frozen=True)
class Choice:
    """A schedule for a model.

    schedule: None stands for the host's 'simple'
    levels:   the model's noise levels
    why:      which schedule it is, and why, in a line for the user
    measured: what it was measured for
    saved:    the result that it comes from, if it is one
    """

    schedule: Schedule | None
    levels: host.NoiseLevels
    why: str
    measured: host.Measured = field(default_factory=host.Measured)
    saved: SavedSchedule | None = None

    def fitted(self, steps: int) -> CalibratedSampler | None:
        """The sampler that was fitted to this number of steps, if there is one."""
        return None if self.saved is None else self.saved.sampler_for(steps)

    def at(self, steps: int) -> tuple[float, ...]:
        """steps+1 levels, ending in 0."""
        if self.schedule is None:
            return tuple(host.simple_schedule(self.levels, steps).tolist())
        return levels_at(
            self.schedule,
            steps,
            denoise=self.measured.denoise,
            sigma_min=self.measured.sigma_min or self.levels.sigma_min,
            sigma_max=self.levels.sigma_max,
        )

    def sampled(self, steps: int, denoise: float, mode: str) -> tuple[float, ...]:
        """The levels that are sampled at a denoise; a list for a second pass is taken whole."""
        denoise = 1.0 if self.measured.second_pass and 0.0 < denoise <= 1.0 else denoise
        return with_denoise(self.at, steps, denoise, mode)


def choose(
    model: Any,
    name: str,
    *,
    steps: int | None = None,
    sampler: str | None = None,
    cfg: float | None = None,
    carried: SavedSchedule | None = None,
) -> Choice:
    """The schedule that a name stands for; what was chosen is logged.

    A preset is fitted to the model's own noise levels; a saved result is used on any model, and
    says so if it was measured on another; 'auto' and names unknown here go by the model: its own
    nearest saved result, else its family's preset, else the host's 'simple'.

    steps, sampler, cfg: of the sampling run, where they are known
    carried: the schedule that came with the workflow. It stands for its name where no result of
    this name is the same, and for 'auto' where nothing is saved for the model that it is of.

    Raises ValueError for a preset on a flow model, or a flow schedule on another kind of model.
    """
    levels = host.noise_levels(model)
    if name in PRESETS:
        return Choice(_preset(name, levels), levels, f"published: {name}")
    identity = host.model_identity(model)
    saved, where = None, "saved"
    if name != AUTO and carried is not None and _stands_for(carried, name):
        saved, where = carried, CARRIED
    elif name != AUTO:
        saved = host.store().load(name, identity)
    if saved is not None:
        other = saved.identity is None or saved.identity != identity
        why = f"{where}: {name}{', of another model' if other else ''}"
        why += _measured_for(saved, steps, sampler)
        choice = _saved(saved, levels, why, other=other)
    else:
        choice = _auto(model, identity, levels, Asked(steps, sampler, cfg), carried)
        if name != AUTO:
            log.warning("There is no schedule '%s' on this machine: using 'auto'.", name)
            choice = replace(choice, why=f"'{name}' is not on this machine; {choice.why}")
    log.info("Schedule chosen: %s.", choice.why)
    return choice


def published(levels: host.NoiseLevels, steps: int) -> dict[str, tuple[float, ...]]:
    """The published tables at a number of steps, for a model that is not a flow model."""
    found = {}
    for name in PRESETS:
        table = _preset(name, levels, quiet=True)
        found[name] = at_steps(table, steps, sigma_min=levels.sigma_min, quiet=True)
    return found


def fingerprint(name: str) -> str:
    """Digest of what a cached output of a node with this name depends on beside its inputs."""
    if name in PRESETS:
        return name
    entries = host.store().list()
    # The model that decides what 'auto' means is not known here: any change to the results counts.
    known = [entries[name]] if name in entries else list(entries.values())
    parts = [f"{entry.digest} {entry.modified}" for entry in known]
    digests = {entry.digest for entry in entries.values()}
    # What came with the workflow is no input of the node, and counts where nothing here is equal.
    came = carried_by(*host.running_node())
    parts += [f"{s.digest} {s.numbers}" for s in came if s.digest not in digests]
    return " ".join(parts)


def _stands_for(carried: SavedSchedule, name: str) -> bool:
    """Tell whether a name means the schedule that came with the workflow."""
    digest, label = carried.digest, label_of(carried)
    named = name in (label, f"{label} [{digest[:6]}]")
    return named and not host.store().holds(name, digest)


def _auto(
    model: Any,
    identity: str | None,
    levels: host.NoiseLevels,
    asked: Asked,
    carried: SavedSchedule | None,
) -> Choice:
    found = host.store().nearest(identity, asked)
    if found is not None:
        saved = found.saved
        why = f"auto: saved for this model: {found.name}"
        why += _measured_for(saved, asked.steps, asked.sampler)
        if found.why:
            why += f", {found.why}"
        if asked.steps is None:
            sampler, cfg = saved.request.get("sampler"), number(saved.request.get("cfg"))
            saved, lent = _with_others(saved, host.store().by_steps(identity, sampler, cfg))
            why += f"; other steps as saved for {_joined_counts(lent)}" if lent else ""
        return _saved(saved, levels, why)
    if carried is not None and identity is not None and carried.identity == identity:
        name = label_of(carried)
        why = f"auto: nothing saved for this model; {CARRIED}: {name}"
        return _saved(carried, levels, why + _measured_for(carried, asked.steps, asked.sampler))
    family = host.family(model)
    if family is not None and not levels.flow:
        why = f"auto: nothing saved for this model; published: {family}"
        return Choice(_preset(family, levels), levels, why)
    return Choice(None, levels, "auto: nothing saved or published for this model; 'simple'")


def _with_others(
    saved: SavedSchedule, by_steps: Mapping[int, SavedSchedule]
) -> tuple[SavedSchedule, list[int]]:
    """A result with what others of its model have for their numbers of steps, and these numbers.

    KSampler says how many steps it takes only when all is attached.
    """
    levels = {len(part) - 1: part for part in saved.schedule.others}
    samplers = {sampler.steps: sampler for sampler in saved.samplers}
    lent = []
    for count, other in by_steps.items():
        if count == saved.schedule.steps or not _alike(saved, other):
            continue
        if other.schedule.steps == count and other.schedule.levels != levels.get(count):
            levels[count] = other.schedule.levels
            lent.append(count)
        fitted = other.sampler_for(count) if saved.samplers else None
        if fitted is not None and not (fitted.weights_only and count in samplers):
            samplers[count] = fitted
    schedule = replace(saved.schedule, others=tuple(levels.values())[:MAX_OTHERS])
    known = tuple(samplers.values())[:MAX_SAMPLERS]
    return replace(saved, schedule=schedule, samplers=known), lent


def _joined_counts(counts: Sequence[int]) -> str:
    more = ["…"] if len(counts) > LISTED_COUNTS else []
    return ", ".join([*map(str, counts[:LISTED_COUNTS]), *more])


def _alike(one: SavedSchedule, other: SavedSchedule) -> bool:
    """Tell whether two results of a model are for runs of one kind."""
    return all(one.notes.get(key) == other.notes.get(key) for key in SAME_KIND)


def _measured_for(saved: SavedSchedule, steps: int | None, asked: str | None) -> str:
    """Say what a result was measured for, and how it comes to the steps asked for, in brackets.

    asked: the sampler that it will be used with, if it is known

    The guidance and size that it will be used with are not known here: the user is told.
    """
    request = saved.request  # from a file, with anything in it
    sampler = one_line(str(request.get("sampler") or ""))[:LONGEST_NAME]
    parts = [sampler, f"{saved.schedule.steps} steps"]
    for key in ("cfg", "denoise"):
        value = number(request.get(key))
        if value is not None and (key, value) != ("denoise", 1.0):
            parts.append(f"{key} {value:g}")
    shape = request.get("shape")
    if isinstance(shape, list) and len(shape) <= 5 and all(number(size) for size in shape):
        parts.append(f"latent {'x'.join(f'{size:g}' for size in shape)}")
    text = "measured for " + ", ".join(filter(None, parts))
    if steps is not None and saved.schedule.steps != steps:
        fitted = saved.sampler_for(steps) if asked == host.SAMPLER_NAME else None
        made = "derived for" if len(saved.schedule.nearest(steps)) == steps + 1 else "resampled to"
        if fitted is not None:
            made = "a simpler fit for" if fitted.weights_only else "fitted for"
        text += f"; {made} {steps}"
    return f" ({text})"


def _preset(name: str, levels: host.NoiseLevels, *, quiet: bool = False) -> Schedule:
    return preset_for_model(
        name, sigma_max=levels.sigma_max, sigmas=levels.timesteps, flow=levels.flow, quiet=quiet
    )


def _saved(
    saved: SavedSchedule, levels: host.NoiseLevels, why: str, *, other: bool = False
) -> Choice:
    """A result on a model; other: whether it is of another one, or of none that is known.

    Raises ValueError for a schedule of a flow model on another kind of model, or vice versa, and
    for one without a level that the model knows.
    """
    _check_kind(saved, levels)
    conditions = host.Measured(
        denoise=_denoise(saved.request.get("denoise")),
        sigma_min=_level(saved.notes.get("sigma_min")),
        boundary=_level(saved.notes.get("boundary")),
        cfg=number(saved.request.get("cfg")),
    )
    schedule = saved.schedule
    if other:
        found = on_model(
            schedule,
            sigma_min=levels.sigma_min,
            sigma_max=levels.sigma_max,
            timesteps=levels.timesteps,
            whole_path=bool(saved.request),
            denoise=conditions.denoise,
        )
        schedule, why = found.schedule, "; ".join([why, *found.notes])
        conditions = replace(conditions, second_pass=found.second_pass)
    elif conditions.denoise >= 1.0:
        schedule = starting_at(schedule, levels.sigma_max)
    if conditions.boundary is not None:
        sampled = saved.sampler_for(schedule.steps) or schedule
        first = host.steps_of_the_first(sampled.levels, conditions.boundary)
        why += f"; for two models, the second after step {first} of {schedule.steps}"
    return Choice(schedule, levels, why, conditions, saved)


def _check_kind(saved: SavedSchedule, levels: host.NoiseLevels) -> None:
    """Raise ValueError for levels that mean something else on this kind of model."""
    first = saved.schedule.levels[0]
    if bool(saved.notes.get("flow")) == levels.flow:
        return
    if not levels.flow and not saved.request and first < PART_OF_FLOW:
        return  # a list of low levels, of which nothing else is known
    if levels.flow and are_timesteps(saved.schedule.levels, levels.sigma_max):
        raise ValueError(
            f"The numbers of the schedule '{label_of(saved)}' are timesteps, and this is a flow "
            "model, whose noise levels run from 1 to 0: import the list again with every number "
            "divided by 1000, or choose 'auto'."
        )
    kinds = ("a flow model", "a model with eps- or v-prediction")
    measured, given = kinds if not levels.flow else kinds[::-1]
    raise ValueError(
        f"The schedule '{label_of(saved)}' was measured on {measured}, and this is "
        f"{given}: their noise levels mean different things. Choose 'auto', or optimise a "
        "schedule for this model."
    )


def _denoise(value: Any) -> float:
    """A denoise from the request of a file, which may hold anything."""
    denoise = number(value)
    return denoise if denoise is not None and 0.0 < denoise <= 1.0 else 1.0


def _level(note: Any) -> float | None:
    """A noise level from the notes of a file, which may hold anything."""
    level = number(note)
    return level if level is not None and 0.0 < level < 1e30 else None
