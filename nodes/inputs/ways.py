"""What is compared: levels by name, and the sampler that runs each, at equal numbers of calls.

All are measured from one many-step image. So a sampler that comes to another one with more steps
cannot be compared with the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from ...schedules import PRESETS, CalibratedSampler
from .. import host
from .choose import choose, published
from .schedule_list import Entry

__all__ = ["Named", "Setting", "Way", "named_schedules", "ways_of", "with_attached"]

SHARED_ORDER = 3  # order of the reference that all samplers of one limit share


@dataclass
class Named:
    """What names stand for.

    schedules: levels [n+1] by name
    left_out:  names without levels, with the reason
    notes:     which schedules 'auto' and saved names stand for
    fitted:    the samplers that were fitted to some of the levels
    longer:    levels at any number of steps by name, where they are no single result's
    """

    schedules: dict[str, torch.Tensor] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fitted: list[CalibratedSampler] = field(default_factory=list)
    longer: dict[str, Callable[[int], torch.Tensor]] = field(default_factory=dict)

    def at(self, name: str, steps: int) -> torch.Tensor | None:
        """A schedule at another number of steps; None where there is none."""
        try:
            return self.longer[name](steps) if name in self.longer else None
        except ValueError:
            return None


@dataclass(frozen=True)
class Setting:
    """What levels are for.

    cfg:   None: there is no single one
    start: where all of them begin
    """

    model: Any
    levels: host.NoiseLevels
    denoise: float
    cfg: float | None
    start: float


@dataclass(frozen=True)
class Way:
    """How a schedule is run: by which sampler, in how many steps."""

    judged: host.JudgedSampler
    steps: int
    calls_per_step: int = 1

    @property
    def note(self) -> str:
        """What is particular about its steps; empty if nothing is."""
        if self.calls_per_step == 1:
            return ""
        return (
            f"{self.judged.name} calls the model {self.calls_per_step} times a step, so it has "
            f"{self.steps} steps for as many calls"
        )


def with_attached(entries: Sequence[Entry], model: Any) -> list[Entry]:
    """The entries, of which a plain 'ays_model' means the sampler that is attached to a model."""
    if not host.carries_sampler(model):
        return list(entries)
    return [
        replace(one, sampler=host.SAMPLER_NAME)
        if one.sampler is None and one.schedule == host.SCHEDULER_NAME
        else one
        for one in entries
    ]


def ways_of(
    entries: Sequence[Entry], guided: host.GuidedModel, steps: int
) -> dict[str | None, Way | str]:
    """How each entry is run, by its sampler's name; or why it cannot be.

    None stands for the sampler of the guided model. Where entries name samplers, all have as many
    model calls; where none does, as many steps.
    """
    own = guided.sampler
    named = dict.fromkeys(one.sampler for one in entries if one.sampler is not None)
    if not named:
        return {None: Way(own, steps)}

    def way(judged: host.JudgedSampler) -> Way:
        calls = guided.solver(judged).calls_per_step
        return Way(judged, max(1, steps // calls), calls)

    ways: dict[str | None, Way | str] = {None: way(own)}
    for name in named:
        try:
            same = name == own.name and own.options == host.comparable_digest(None)
            judged = own if same else host.judged_sampler(name, twin_alone=True)
            if judged is not own and {judged.reference_order, own.reference_order} != {
                SHARED_ORDER
            }:
                raise ValueError(f"it comes to another image in many steps than {own.name}")
            ways[name] = way(judged)
        except ValueError as error:
            ways[name] = str(error).rstrip(".")
    return ways


def named_schedules(
    entries: Sequence[Entry], setting: Setting, ways: Mapping[str | None, Way | str]
) -> Named:
    """What each entry stands for on a model.

    For a denoise below 1 each begins where the host's 'simple' does.
    """
    named = Named()
    for entry in entries:
        way = ways[entry.sampler]
        try:
            if isinstance(way, str):
                raise ValueError(way)
            sigmas = _started(entry.schedule, setting, way, way.steps, named)
        except ValueError as error:
            named.left_out[entry.name] = str(error).rstrip(".")
            continue
        named.schedules[entry.name] = sigmas
        if entry.schedule in [*host.scheduler_names(), *PRESETS]:
            at = partial(_started, entry.schedule, setting, way, named=Named())
            named.longer[entry.name] = at
    return named


def _started(name: str, setting: Setting, way: Way, steps: int, named: Named) -> torch.Tensor:
    """The levels of a name from where all begin; ValueError, with the reason, if it has none."""
    sigmas = _levels(name, setting, way.judged, steps, named)
    if len(sigmas) != steps + 1:
        raise ValueError(f"it gives {len(sigmas) - 1} steps where {steps} were asked for")
    if setting.denoise < 1.0:
        if steps > 1 and float(sigmas[1]) >= setting.start:
            raise ValueError(f"at denoise {setting.denoise:g} it begins far above the others")
        sigmas[0] = setting.start
    return sigmas


def _levels(
    name: str, setting: Setting, judged: host.JudgedSampler, steps: int, named: Named
) -> torch.Tensor:
    """Raises ValueError where a name has no levels for this model."""
    levels, denoise = setting.levels, setting.denoise
    if name == host.SCHEDULER_NAME or name in host.scheduler_names():
        return host.host_schedule(
            levels, name, steps, denoise, spare_level=judged.spare_level, sampler=judged.name
        )
    if name in PRESETS:
        if levels.flow:
            raise ValueError("the published tables are not for flow models")
        total = steps if denoise >= 1.0 else int(steps / denoise)
        return torch.tensor(published(levels, total)[name][-(steps + 1) :])
    choice = choose(setting.model, name, steps=steps, sampler=judged.name, cfg=setting.cfg)
    named.notes.append(choice.why)
    own = choice.fitted(steps) if judged.is_calibrated else None
    if own is not None and choice.measured.denoise == denoise:
        named.fitted.append(own)
        return torch.tensor(own.levels)
    return torch.tensor(choice.sampled(steps, denoise, "keep steps"))
