"""What a name in the schedule drop-down means for a given model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..schedules import PRESETS, SavedSchedule, Schedule, levels_at, preset_for_model
from . import host
from .schema import AUTO

__all__ = ["Choice", "choose", "fingerprint"]

log = logging.getLogger("align_your_steps")


@dataclass(frozen=True)
class Choice:
    """A schedule for a model.

    schedule: None stands for the host's 'simple'
    denoise:  what the schedule was measured for
    levels:   the model's noise levels
    """

    schedule: Schedule | None
    levels: host.NoiseLevels
    denoise: float = 1.0

    def at(self, steps: int) -> tuple[float, ...]:
        """steps+1 levels, ending in 0."""
        if self.schedule is None:
            return tuple(host.host_schedules(self.levels, steps, 1.0)["simple"].tolist())
        return levels_at(
            self.schedule,
            steps,
            denoise=self.denoise,
            sigma_min=self.levels.sigma_min,
            sigma_max=self.levels.sigma_max,
        )


def choose(model: Any, name: str, *, steps: int | None = None) -> Choice:
    """The schedule that a name stands for.

    A preset is fitted to the model's own noise levels; a saved result is used on any model, with a
    log line if it was measured on another; 'auto' and names unknown here go by the model: its own
    nearest saved result, else its family's preset, else the host's 'simple'.

    Raises ValueError for a preset on a flow model.
    """
    levels = host.noise_levels(model)
    if name in PRESETS:
        return Choice(_preset(name, levels), levels)
    if name != AUTO:
        saved = host.store().load(name)
        if saved is not None:
            if saved.identity is None or saved.identity != host.model_identity(model):
                log.info("The schedule '%s' was measured on another model.", name)
            return _saved(saved, levels)
        log.warning("There is no schedule '%s' on this machine: using 'auto'.", name)
    return _auto(model, levels, steps)


def fingerprint(name: str) -> str:
    """What a cached output of a node with this name depends on beside its inputs."""
    if name in PRESETS:
        return name
    entries = host.store().list()
    if name in entries:
        entry = entries[name]
        return f"{entry.digest} {entry.modified}"
    # The model that decides what 'auto' means is not known here: any change to the results counts.
    return " ".join(f"{entry.digest} {entry.modified}" for entry in entries.values())


def _auto(model: Any, levels: host.NoiseLevels, steps: int | None) -> Choice:
    asked = steps or 10
    found = host.store().nearest(host.model_identity(model), steps=asked, prefer={"steps": asked})
    if found is not None:
        name, saved = found
        difference = _difference(saved.request, steps)
        log.info("auto: the schedule '%s', saved for this model%s.", name, difference)
        return _saved(saved, levels)
    family = host.family(model)
    if family is not None and not levels.flow:
        log.info("auto: nothing saved for this model; the published preset '%s'.", family)
        return Choice(_preset(family, levels), levels)
    log.info("auto: nothing saved for this model and no published preset; the host's 'simple'.")
    return Choice(None, levels)


def _difference(request: Mapping[str, Any], steps: int | None) -> str:
    measured = f"measured with {request.get('sampler', 'another sampler')}"
    if request.get("cfg") is not None:
        measured += f", cfg {request['cfg']:g}"
    if steps is not None and request.get("steps") not in (None, steps):
        measured += f", {request['steps']} steps (resampled to {steps})"
    return f" ({measured})"


def _preset(name: str, levels: host.NoiseLevels) -> Schedule:
    return preset_for_model(
        name, sigma_max=levels.sigma_max, sigmas=levels.timesteps, flow=levels.flow
    )


def _saved(saved: SavedSchedule, levels: host.NoiseLevels) -> Choice:
    """Raises ValueError for a schedule of a flow model on another kind of model, or vice versa."""
    if bool(saved.notes.get("flow")) != levels.flow:
        kinds = ("a flow model", "a model with eps- or v-prediction")
        measured, given = kinds if not levels.flow else kinds[::-1]
        raise ValueError(
            f"The schedule '{saved.schedule.name}' was measured on {measured}, and this is "
            f"{given}: their noise levels mean different things. Choose 'auto', or optimise a "
            "schedule for this model."
        )
    return Choice(saved.schedule, levels, float(saved.request.get("denoise", 1.0)))
