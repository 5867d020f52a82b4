"""The result of a request: found among the saved ones, or measured now and saved.

A request is everything that makes two results the same: model, guidance, sampler, steps, latent,
method, budget and seed.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from ..optimizer import Result, optimize
from ..profiles import NOISES, MeasuredProfile, as_ranges
from ..schedules import Provenance, SavedSchedule, Schedule, Store, Unfinished
from ..schedules.curves import time_uniform
from ..schedules.files import label_of
from ..schedules.saved import digest_of
from . import host
from .choose import published
from .early import account, early_request, equal_result, how_it_ended
from .kept import keep, waiting
from .plotted import BEST_GIVEN
from .report import best_given, comparison, for_other_tools, report_text, snapped

__all__ = ["METHODS", "found_result", "given_schedules", "joined_results"]

METHODS = {"measured": "measured", "paper (KLUB)": "paper"}
PAPER_STEPS = 10
OTHER_STEPS = (4, 5, 6, 8, 10, 12, 15, 20, 25, 30)  # saved with every result

log = logging.getLogger("align_your_steps")


def found_result(
    guided: host.GuidedModel,
    request: dict[str, Any],
    given: dict[str, torch.Tensor],
    name: str,
    again: bool,
    came: Sequence[SavedSchedule],
    progress: host.Progress,
    warning: str | None,
    profile: MeasuredProfile | None = None,
) -> tuple[SavedSchedule, str]:
    """The result of a request, saved before or measured and saved now, and its report.

    given: what the user already has, at the request's number of steps
    again: whether it is measured even if it is saved
    came:  results that came with the workflow: an equal one is as good as a saved one
    profile: the linked one, which is not measured again
    """
    if warning:
        log.warning(warning)
    store = host.store()
    taken = _taken(store, request, name, again, came, progress)
    if taken is not None:
        return taken
    unfinished = _unfinished(request, afresh=again)
    try:
        saved = _measured(guided, request, given, name, progress, unfinished, warning, profile)
    except BaseException as error:  # an interrupt is not an Exception on every host
        resume = "; queue the same again to continue" if unfinished is not None else ""
        progress.stopped(str(error) or f"Stopped{resume}.")
        raise
    if not name:
        digests = saved.digest, digest_of(early_request(request))
        saved = _renamed(saved, store.free_name(saved.schedule.name, *digests))
    whole = saved.request == request
    kept, problem = keep(store, saved, unfinished if whole else None)
    progress.done(_lines(problem, saved.notes["summary"]))
    text = f"{saved.notes['report']}\n\n{kept}"
    if whole and not problem:
        store.forget(early_request(request), saved.schedule.name)
    if progress.continued:
        text += f"\n\nContinued: {progress.continued} calls had been made before."
    return saved, f"{text}\n\n{for_other_tools(saved)}"


def _taken(
    store: Store,
    request: dict[str, Any],
    name: str,
    again: bool,
    came: Sequence[SavedSchedule],
    progress: host.Progress,
) -> tuple[SavedSchedule, str] | None:
    """The result of a request that was measured before, and its report; None if there is none.

    First what could not be saved then, even to measure again: it is what that would give. It is
    newer than what is saved, and that goes before what came with the workflow.
    """
    minutes = progress.minutes
    saved = equal_result(partial(_equal, waiting()), request, minutes)
    if saved is not None:
        why = "Measured before and not saved then; no model call made."
        return _reported(_renamed(saved, name), why, "Not measured again", progress, store)
    if again:
        return None
    saved = equal_result(store.find, request, minutes)
    if saved is not None:
        to = None if name in ("", saved.schedule.name) else store
        why = "Saved result taken, no model call made."
        return _reported(_renamed(saved, name), why, "Saved result taken", progress, to)
    saved = equal_result(partial(_equal, came), request, minutes)
    if saved is not None:
        return _brought(store, saved, name, progress)
    return None


def _equal(found: Iterable[SavedSchedule], request: Mapping[str, Any]) -> SavedSchedule | None:
    """The result of exactly this request among those found elsewhere than in the store."""
    if not host.is_comparable(request):
        return None
    wanted = digest_of(request)
    return next((saved for saved in found if saved.digest == wanted), None)


def _brought(
    store: Store, saved: SavedSchedule, name: str, progress: host.Progress
) -> tuple[SavedSchedule, str]:
    """A result that came with the workflow, saved here under a name that is free."""
    saved = _renamed(saved, name or store.free_name(label_of(saved), saved.digest))
    label = saved.schedule.name
    log.info("The result '%s' came with this workflow: no model call is made for it.", label)
    summary = saved.notes.get("summary", "")
    report = f"{saved.schedule.provenance.what}.\n\n{summary}"
    saved = dataclasses.replace(saved, notes={**saved.notes, "report": report})
    why = "This result came with the workflow, no model call made."
    return _reported(saved, why, "Came with this workflow", progress, store)


def _reported(
    saved: SavedSchedule, why: str, line: str, progress: host.Progress, store: Store | None
) -> tuple[SavedSchedule, str]:
    """A result that takes no model call, and its report; it is saved where a store is given."""
    report = saved.notes.get("report") or saved.schedule.provenance.what  # a shared one has none
    text, problem = f"{why}\n\n{report}", ""
    if store is not None:
        kept, problem = keep(store, saved)
        text += f"\n\n{kept}"
    progress.done(_lines(problem, f"{line}: {saved.schedule.name}"))
    return saved, f"{text}\n\n{for_other_tools(saved)}"


def joined_results(found: list[tuple[SavedSchedule, str]]) -> tuple[SavedSchedule, str]:
    """The first result, with the levels of the others for their numbers of steps, and all reports.

    These take the place of levels derived for the same numbers.
    """
    (saved, text), *more = found
    if not more:
        return saved, text
    optimised = {result.schedule.steps: result.schedule.levels for result, _ in more}
    derived = {len(levels) - 1: levels for levels in saved.schedule.others}
    others = tuple({**derived, **optimised}.values())
    if others != saved.schedule.others:
        schedule = dataclasses.replace(saved.schedule, others=others)
        saved = dataclasses.replace(saved, schedule=schedule)
        kept, _ = keep(host.store(), saved)
        text += f"\n\nWith the levels for {_listed(optimised)} steps. {kept}"
    return saved, "\n\n".join([text, *(report for _, report in more)])


def given_schedules(
    levels: host.NoiseLevels, steps: int, denoise: float, spare_level: bool
) -> dict[str, torch.Tensor]:
    """What the user already has: the host's schedules and, where they fit, the published ones."""
    others = host.host_schedules(levels, steps, denoise, spare_level=spare_level)
    if levels.flow:
        return others
    start = host.start_level(levels, steps, denoise)
    total = steps if denoise >= 1.0 else int(steps / denoise)
    for name, table in published(levels, total).items():
        sigmas = torch.tensor(table[-(steps + 1) :])
        # The comparison needs one start; a published table may begin a little above or below it.
        if denoise < 1.0 or abs(float(sigmas[0]) / start - 1.0) < 0.1:
            sigmas[0] = start
        others[f"AYS {name}"] = sigmas
    return others


def _starts(
    levels: host.NoiseLevels, method: str, steps: int, denoise: float
) -> dict[str, Any]:
    """Where Algorithm 1 starts beside EDM's schedule: time-uniform, in EDM levels.

    The paper starts there on discrete-time models only, and always with 10 steps.
    """
    if denoise < 1.0 or (method == "paper" and levels.timesteps is None):
        return {}
    count = PAPER_STEPS if method == "paper" else steps
    return {"time-uniform": levels.coordinate.finite_edm(time_uniform(count, levels.table()))}


def _unfinished(request: dict[str, Any], *, afresh: bool) -> Unfinished | None:
    """What was measured for this request before it was interrupted, and where to keep more.

    None where nobody could tell that a request is the same, and to begin afresh, which deletes it.
    """
    if not host.is_comparable(request):
        return None
    unfinished = Unfinished(host.unfinished_folder(), request)
    if afresh:
        unfinished.discard()
        return None
    return unfinished


def _measured(
    guided: host.GuidedModel,
    request: dict[str, Any],
    given: dict[str, torch.Tensor],
    name: str,
    progress: host.Progress,
    unfinished: Unfinished | None,
    warning: str | None,
    profile: MeasuredProfile | None,
) -> SavedSchedule:
    """Run the optimisation that a request asks for."""
    steps, denoise = request["steps"], request["denoise"]
    levels, judged = guided.levels, guided.sampler
    method = METHODS[request["method"]]
    elements = guided.elements
    result = guided.fitted(
        lambda batch_size, made: optimize(
            guided,
            guided.shape,
            sigma_max=host.start_level(levels, steps, denoise),
            sigma_min=levels.sigma_min,
            steps=steps,
            solver=guided.solver(),
            samples=guided.latent.samples,
            elements=elements,
            candidates=given,
            budget=request["budget"],
            spent=made,
            seed=request["seed"],
            progress=progress,
            method=method,
            starts=_starts(levels, method, steps, denoise),
            coordinate=levels.coordinate,
            reference=guided.reference(),
            order=judged.order,
            batch_size=batch_size,
            meter=guided.meter,
            journal=unfinished,
            finish=progress,
            better=progress.better,
            profile=None if profile is None else profile.profile,
        )
    )
    cfg = "" if request["cfg"] is None else f" cfg {request['cfg']:g}"
    boundary = request.get("boundary")
    second = "" if boundary is None else f", a second model from noise level {boundary:.4g} on"
    measured = Provenance(
        who="Optimize AYS",
        what=f"{judged.name}, {steps} steps{cfg}, denoise {denoise:g}, latent {request['shape']}"
        f"{second}: {result.method}, on {result.noises} noises with {result.total_calls} calls"
        + (f"; {snapped(result)}" if snapped(result) else ""),
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    name = name or f"{guided.model_name}{judged.name} {steps} steps{cfg}"
    early = account(result, request["budget"], given, progress, unfinished is not None)
    had = best_given(result)
    report = report_text(result, judged, steps, boundary, warning, early, linked=profile)
    if guided.note:
        report += f"\n\nNote: {guided.note}"
    return SavedSchedule(
        schedule=Schedule(
            tuple(result.sigmas.tolist()), name, measured, _other_steps(result, denoise)
        ),
        identity=request["identity"],
        request=early_request(request) if result.ended_early else request,
        tensors=result.profile.to_tensors(),
        notes={
            "report": report,
            "summary": comparison(result),
            **({} if had is None else {BEST_GIVEN: had.candidate.name}),
            "method": result.method,
            "error": result.error.mean,
            "calls": result.calls,
            "flow": levels.flow,
            "spare_level": judged.spare_level,
            "sigma_min": levels.sigma_min,
            "boundary": boundary,
            # So that it can be merged again; without one, the request's seed tells the noises.
            **({} if profile is None else {NOISES: as_ranges(profile.noises)}),
            **(how_it_ended(progress) if result.ended_early else {}),
        },
    )


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


def _renamed(saved: SavedSchedule, name: str) -> SavedSchedule:
    """The same result under another name; under its own for an empty one."""
    name = name or saved.schedule.name
    return dataclasses.replace(saved, schedule=dataclasses.replace(saved.schedule, name=name))


def _lines(*texts: str) -> str:
    """What there is to tell, one below the other: the page may show the first two lines only."""
    return "\n".join(filter(None, texts))


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)
