"""Samplers of earlier results, which a new calibration races too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...optimizer import Coordinate, Multistep
from ...schedules import CalibratedSampler, Store
from ..inputs.request import ENDED_EARLY
from ..inputs.task import Task

__all__ = ["earlier_samplers"]

MOST_EARLIER = 2  # samplers: each takes a run of every noise of the race
FREE = {"budget", "seed", ENDED_EARLY}  # in which the requests of such results may differ


def earlier_samplers(task: Task, store: Store) -> tuple[Multistep, ...]:
    """The newest samplers for this very use, measured with another budget or from another seed.

    One of this request that ended early is none: its measurement goes on, and has it.
    """
    if not (task.request.is_comparable and task.guided.sampler.is_calibrated):
        return ()
    found = []
    for sampler in _saved(task.request.as_json(), store):
        one = _in_edm(sampler, task.guided.levels.coordinate)
        if one not in found:
            found.append(one)
    return tuple(found[:MOST_EARLIER])


def _saved(request: Mapping[str, Any], store: Store) -> Iterator[CalibratedSampler]:
    """The samplers of results of such a request, the newest first."""
    for entry in sorted(store.list().values(), key=lambda entry: -entry.modified):
        saved = entry.saved
        if _essence(saved.request) != _essence(request):
            continue
        same = all(saved.request.get(key) == request[key] for key in ("budget", "seed"))
        sampler = None if same else saved.sampler_for(request["steps"])
        if sampler is not None:
            yield sampler


def _essence(request: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in FREE}


def _in_edm(sampler: CalibratedSampler, coordinate: Coordinate) -> Multistep:
    """The sampler in EDM units; the first level stays below the infinity of a flow's."""
    levels, told = (
        tuple(coordinate.finite_edm(np.array(part, dtype=np.float64)).tolist())
        for part in (sampler.levels[:-1], sampler.told)
    )
    return Multistep((*levels, 0.0), told, sampler.weights)
