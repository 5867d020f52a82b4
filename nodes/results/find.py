"""Results that were measured before: saved, waiting to be saved, or come with the workflow."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from ...schedules import SavedSchedule, Store
from ...schedules.store import label_of
from .. import host
from ..inputs.request import Request
from ..inputs.task import Answer, Task
from .early_results import equal_result
from .report import for_other_tools
from .save import keep, waiting

__all__ = ["Past", "lines", "renamed"]

log = logging.getLogger("align_your_steps")


@dataclass(frozen=True)
class Past:
    """Earlier measurement, and whether it is taken.

    store: the saved results
    came:  results that came with the workflow: an equal one is as good as a saved one
    again: whether a task is measured even if its result is saved
    """

    store: Store
    came: Sequence[SavedSchedule]
    again: bool

    def answer(self, task: Task, progress: host.Progress) -> Answer | None:
        """The result of a task that was measured before; None if there is none.

        First what could not be saved then, even to measure again: it is what that would give. It is
        newer than what is saved, and that goes before what came with the workflow.
        """
        request, minutes = task.request, progress.minutes
        saved = equal_result(partial(_equal, waiting()), request, minutes)
        if saved is not None:
            why = "Measured before and not saved then; no model call made."
            line = "Not measured again"
            return _reported(renamed(saved, task.name), why, line, progress, self.store)
        if self.again:
            return None
        saved = equal_result(self._saved, request, minutes)
        if saved is not None:
            to = None if task.name in ("", saved.schedule.name) else self.store
            why = "Saved result taken, no model call made."
            return _reported(renamed(saved, task.name), why, "Saved result taken", progress, to)
        saved = equal_result(partial(_equal, self.came), request, minutes)
        return None if saved is None else _brought(self.store, saved, task.name, progress)

    def _saved(self, request: Request) -> SavedSchedule | None:
        return self.store.find(request.as_json())


def renamed(saved: SavedSchedule, name: str) -> SavedSchedule:
    """The same result under another name; under its own for an empty one."""
    name = name or saved.schedule.name
    return dataclasses.replace(saved, schedule=dataclasses.replace(saved.schedule, name=name))


def lines(*texts: str) -> str:
    """Lines to tell, one below the other: the page may show the first two only."""
    return "\n".join(filter(None, texts))


def _equal(found: Iterable[SavedSchedule], request: Request) -> SavedSchedule | None:
    """The result of exactly this request among those found elsewhere than in the store."""
    if not request.is_comparable:
        return None
    return next((saved for saved in found if saved.digest == request.digest), None)


def _brought(store: Store, saved: SavedSchedule, name: str, progress: host.Progress) -> Answer:
    """A result that came with the workflow, saved here under a name that is free."""
    saved = renamed(saved, name or store.free_name(label_of(saved), saved.digest))
    label = saved.schedule.name
    log.info("The result '%s' came with this workflow: no model call is made for it.", label)
    report = "\n\n".join(filter(None, [_summary(saved), f"{saved.schedule.provenance.what}."]))
    saved = dataclasses.replace(saved, notes={**saved.notes, "report": report})
    why = "This result came with the workflow, no model call made."
    return _reported(saved, why, "Came with this workflow", progress, store)


def _reported(
    saved: SavedSchedule, why: str, line: str, progress: host.Progress, store: Store | None
) -> Answer:
    """A result that takes no model call; it is saved where a store is given."""
    report = saved.notes.get("report") or saved.schedule.provenance.what  # a shared one has none
    text, problem = f"{report}\n\n{why}", ""
    if store is not None:
        kept, problem = keep(store, saved)
        text += f"\n\n{kept}"
    progress.done(lines(problem, f"{line}: {saved.schedule.name}", _summary(saved)))
    return Answer(saved, f"{text}\n\n{for_other_tools(saved)}")


def _summary(saved: SavedSchedule) -> str:
    """Summary of a result in two lines, by itself; empty for one that says nothing."""
    text = saved.notes.get("summary")  # which may come from a file that others made
    return text if isinstance(text, str) else ""
