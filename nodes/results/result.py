"""The results of tasks: found, or measured now and saved; those for several steps joined."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial

from ...schedules import Unfinished
from .. import host
from ..inputs.task import Answer, Task
from ..pictures import preview_curve
from .earlier import earlier_samplers
from .early_results import early_request
from .find import Past, lines, renamed
from .fitted_sampler import with_samplers
from .measure import measured
from .report import for_other_tools
from .save import keep

__all__ = ["answers", "joined"]

log = logging.getLogger("align_your_steps")


def answers(tasks: Sequence[Task], past: Past, progress: host.Progress) -> list[Answer]:
    """The results of tasks that differ in their numbers of steps, until the user asks to finish."""
    found = []
    with progress:
        for part, task in enumerate(tasks):
            if part > 0 and progress.finish_requested:
                break
            if task.warning:
                log.warning(task.warning)
            draw = partial(preview_curve, muted=task.given)
            progress.part(part, f"{task.request.steps} steps", draw)
            found.append(past.answer(task, progress) or _new(task, past, progress))
    return found


def joined(found: Sequence[Answer]) -> Answer:
    """The first result, with the levels of the others for their numbers of steps, and all reports.

    These take the place of levels derived for the same numbers.
    """
    first, *more = found
    if not more:
        return first
    saved, text = first.saved, first.report
    schedules = [answer.saved.schedule for answer in more]
    optimised = {schedule.steps: schedule.levels for schedule in schedules}
    derived = {len(levels) - 1: levels for levels in saved.schedule.others}
    others = tuple({**derived, **optimised}.values())
    fitted = with_samplers(saved, [answer.saved for answer in more])
    if others != saved.schedule.others or fitted.samplers != saved.samplers:
        schedule = dataclasses.replace(saved.schedule, others=others)
        saved = dataclasses.replace(fitted, schedule=schedule)
        kept, _ = keep(host.store(), saved)
        text += f"\n\nWith {_lent(more)} for {', '.join(map(str, optimised))} steps. {kept}"
    return Answer(saved, "\n\n".join([text, *(answer.report for answer in more)]))


def _lent(more: Sequence[Answer]) -> str:
    """What other results lend to the first one."""
    if not any(answer.saved.samplers for answer in more):
        return "the levels"
    return "the levels and the full fits, which take the place of simpler ones,"


def _new(task: Task, past: Past, progress: host.Progress) -> Answer:
    """The result of a task, measured now and saved."""
    unfinished = _unfinished(task, afresh=past.again)
    try:
        saved = measured(task, progress, unfinished, earlier_samplers(task, past.store))
    except BaseException as error:  # an interrupt is not an Exception on every host
        resume = "; queue the same again to continue" if unfinished is not None else ""
        progress.stopped(str(error) or f"Stopped{resume}.")
        raise
    early = early_request(task.request)
    if not task.name:
        free = past.store.free_name(saved.schedule.name, saved.digest, early.digest)
        saved = renamed(saved, free)
    whole = saved.request == task.request.as_json()
    kept, problem = keep(past.store, saved, unfinished if whole else None)
    progress.done(lines(problem, saved.notes["summary"]))
    text = f"{saved.notes['report']}\n\n{kept}"
    if whole and not problem:
        past.store.forget(early.as_json(), saved.schedule.name)
    if progress.continued:
        text += f"\n\nContinued: {progress.continued} calls had been made before."
    return Answer(saved, f"{text}\n\n{for_other_tools(saved)}")


def _unfinished(task: Task, *, afresh: bool) -> Unfinished | None:
    """Find what was measured for a task before it was interrupted, and where to keep more.

    None where nobody could tell that a request is the same, and to begin afresh, which deletes it.
    """
    if not task.request.is_comparable:
        return None
    request = task.request.as_json()
    if task.guided.sampler.is_calibrated:
        del request["budget"]  # a larger one goes on from where a smaller one was
    unfinished = Unfinished(host.unfinished_folder(), request)
    if afresh:
        unfinished.discard()
        return None
    return unfinished
