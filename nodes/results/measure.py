"""The measurement of a task: the optimiser's run, and what of it is saved."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...optimizer import Gain, Known, Multistep, Result, Session, error_interval, optimize
from ...profiles import NOISES, as_ranges
from ...schedules import Provenance, SavedSchedule, Schedule, Unfinished
from ...schedules.store import CRITERION, GAIN, INTERVAL, MODEL, TITLES
from .. import host
from ..inputs.candidates import starts
from ..inputs.task import Task
from ..pictures.curves import BEST_GIVEN
from .early_results import account, early_request, how_it_ended
from .fitted_sampler import fitted_samplers
from .report import report_text, snapped
from .seed_pictures import as_tensors, kept_ends
from .shown_names import schedule_of, shown_name
from .summary import best_given, seeds, summary

__all__ = ["METHODS", "measured"]

METHODS = {"measured": "measured", "paper (KLUB)": "paper"}
LONGEST_MODEL = 48  # characters of a name that are made from the model's
OTHER_STEPS = (4, 5, 6, 8, 10, 12, 15, 20, 25, 30)  # saved with every result


def measured(
    task: Task,
    progress: host.Progress,
    journal: Unfinished | None,
    earlier: Sequence[Multistep] = (),
) -> SavedSchedule:
    """Run the optimisation that a task asks for; nothing is saved yet.

    journal: where what is measured is kept until it is finished
    earlier: samplers of earlier results, which a calibration races too
    """
    result = _optimised(task, progress, journal, earlier)
    request = task.request
    early = account(result, request.budget, task.given, progress, journal is not None)
    name = task.name or f"{_model(task)}{request.sampler} {request.steps} steps{_cfg(task)}"
    others = _other_steps(result, request.denoise)
    plain = result.sigmas if result.plain is None else result.plain.sigmas
    fitted, said = result.sampler is not None, _summary(task, result)
    ends = kept_ends(result)
    profile = {} if result.profile is None else result.profile.to_tensors()
    return SavedSchedule(
        schedule=Schedule(tuple(plain.tolist()), name, _provenance(task, result), others),
        identity=request.identity,
        request=(early_request(request) if result.ended_early else request).as_json(),
        tensors={**profile, **as_tensors(ends)},
        notes={
            "summary": said,
            "report": _report(task, result, said, early),
            **_figures(task, result),
            **(how_it_ended(progress) if result.ended_early else {}),
            **({TITLES: list(ends)} if ends else {}),
        },
        samplers=fitted_samplers(result, task.guided.levels) if fitted else (),
    )


def _optimised(
    task: Task,
    progress: host.Progress,
    journal: Unfinished | None,
    earlier: Sequence[Multistep],
) -> Result:
    """The optimiser's run, in batches that fit into memory."""
    guided, request = task.guided, task.request
    levels, method = guided.levels, METHODS[request.method]
    elements = guided.elements
    first = host.start_level(levels, request.steps, request.denoise)
    fits = guided.sampler.is_calibrated
    known = Known(
        profile=None if task.profile is None else task.profile.profile,
        samples=guided.latent.samples,
        starts=starts(levels, method, request.steps, request.denoise),
        samplers=earlier,
        references=task.references,
        longer=lambda name, steps: task.given_at(steps).get(name),
    )
    session = Session(progress=progress, better=progress.better, journal=journal, finish=progress)
    return guided.fitted(
        lambda batch_size, made: optimize(
            guided,
            guided.shape,
            sigma_max=first,
            sigma_min=levels.sigma_min,
            steps=request.steps,
            solver=guided.calibration(first) if fits else guided.judged(),
            candidates=task.given,
            budget=request.budget,
            seed=request.seed,
            method=method,
            coordinate=levels.coordinate,
            elements=elements,
            known=known,
            session=replace(session, spent=made, batch_size=batch_size),
        )
    )


def _provenance(task: Task, result: Result) -> Provenance:
    """Origin of a result: who measured what, and when."""
    request = task.request
    second = ""
    if request.boundary is not None:
        second = f", a second model from noise level {request.boundary:.4g} on"
    return Provenance(
        who="Optimize AYS",
        what=f"{request.sampler}, {request.steps} steps{_cfg(task)}, denoise {request.denoise:g}, "
        f"latent {request.shape}{second}: {shown_name(result.method)}, on {seeds(result.noises)} "
        f"with {result.total_calls} calls" + (f"; {snapped(result)}" if snapped(result) else ""),
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )


def _model(task: Task) -> str:
    """The beginning of a name: what is measured, as far as it is known."""
    if task.loaded_from is None:
        return task.guided.model_name
    long = len(task.loaded_from) > LONGEST_MODEL
    cut = f"{task.loaded_from[: LONGEST_MODEL - 3].rstrip()}..." if long else task.loaded_from
    return f"{cut}: "


def _cfg(task: Task) -> str:
    """The guidance scale as names tell it; empty if there is no single one."""
    return "" if task.request.cfg is None else f" cfg {task.request.cfg:g}"


def _report(task: Task, result: Result, said: str, early: str) -> str:
    """The report, with what is particular about the guidance."""
    guided, request = task.guided, task.request
    report = report_text(
        result,
        guided.sampler,
        said,
        request.boundary,
        task.warning,
        early,
        linked=task.profile,
    )
    return report + (f"\n\nNote: {guided.note}" if guided.note else "")


def _summary(task: Task, result: Result) -> str:
    """Say what to do now and what was gained, for this task."""
    request = task.request
    return summary(
        result,
        task.guided.sampler,
        cfg=request.cfg,
        denoise=request.denoise,
        boundary=request.boundary,
    )


def _figures(task: Task, result: Result) -> dict[str, Any]:
    """Notes of a result for those who use it."""
    figures: dict[str, Any] = {
        "method": shown_name(result.method),
        **({"error": result.error.figure} if result.noises else {}),
        CRITERION: result.criterion,
        INTERVAL: error_interval(result.error),
        GAIN: _gain(result.gain),
        "calls": result.calls,
        "flow": task.guided.levels.flow,
        "spare_level": task.guided.sampler.spare_level,
        "sigma_min": task.guided.levels.sigma_min,
        "boundary": task.request.boundary,
    }
    if task.loaded_from is not None:
        figures[MODEL] = task.loaded_from
    if (had := best_given(result)) is not None:
        name = had.candidate.name
        figures[BEST_GIVEN] = name if result.sampler is None else schedule_of(name)
    if task.profile is not None:
        # So that it can be merged again; without one, the request's seed tells the noises.
        figures[NOISES] = as_ranges(task.profile.noises)
    return figures


def _gain(gain: Gain | None) -> list[float] | None:
    """The gain and the ends of its interval; None where a single noise tells of none."""
    return None if gain is None or gain.noises < 2 else [gain.ratio, gain.low, gain.high]


def _other_steps(result: Result, denoise: float) -> tuple[tuple[float, ...], ...]:
    """Levels for other numbers of steps, which take no calls; none for a part of the path."""
    if result.surrogate is None or denoise < 1.0:
        return ()
    known = result.coordinate.table
    counts = [
        count
        for count in OTHER_STEPS
        if count != len(result.sigmas) - 1 and (known is None or count <= len(known))
    ]
    return tuple(tuple(levels.tolist()) for levels in result.at_step_counts(counts))
