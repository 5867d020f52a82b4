"""Results of measurements that ended early: kept apart from whole ones, and taken when they do.

Such a result never passes for the whole one: its request says that it ended early, so that it has a
file of its own. It is taken where no whole one is saved and it is what the same limit would give
again. Otherwise the measurement goes on from where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...optimizer import Result
from ...schedules import SavedSchedule
from .. import host
from ..inputs.request import ENDED_EARLY, Request

__all__ = ["account", "early_request", "equal_result", "how_it_ended"]

Find = Callable[[Request], SavedSchedule | None]


def early_request(request: Request) -> Request:
    """The request that a result of this request has if it ended early."""
    return replace(request, ended_early=True)


def equal_result(find: Find, request: Request, minutes: float) -> SavedSchedule | None:
    """The result to take for a request: the whole one, else one that ended early and is enough.

    find: gives the result of exactly a request, if there is one
    minutes: the limit now; 0: none
    """
    found = find(request)
    if found is None:
        early = find(early_request(request))
        if early is not None and _is_enough(early.notes.get(ENDED_EARLY), minutes):
            return early
    return found


def how_it_ended(progress: host.Progress) -> dict[str, Any]:
    """Note how a result ended early: its limit, what it took, whether the user ended it."""
    return {
        ENDED_EARLY: {
            "minutes": progress.minutes,
            "took": progress.took,
            "by hand": progress.finish_requested,
        }
    }


def _is_enough(note: object, minutes: float) -> bool:
    """Tell if a measurement that has ended so would end no later with a limit of so many minutes.

    One that the user has ended is enough for the same limit, and for the time that it took.

    >>> by_limit = {"minutes": 5.0, "took": 5.1, "by hand": False}
    >>> [_is_enough(by_limit, minutes) for minutes in (3.0, 5.0, 6.0, 0.0)]
    [True, True, False, False]
    >>> by_hand = {"minutes": 0.0, "took": 2.0, "by hand": True}
    >>> [_is_enough(by_hand, minutes) for minutes in (1.0, 2.0, 6.0, 0.0)]
    [True, True, False, True]
    """
    if not isinstance(note, Mapping):
        return False
    limit, took = note.get("minutes"), note.get("took")
    if not isinstance(limit, int | float) or not isinstance(took, int | float):
        return False
    if note.get("by hand") is True:
        return minutes == limit or 0.0 < minutes <= took
    return 0.0 < minutes <= limit


def account(
    result: Result, budget: int, given: Mapping[str, Any], progress: host.Progress, kept: bool
) -> str:
    """The report's paragraph on a measurement that ended early; empty if it did not.

    given: the standard schedules
    kept:  whether what was measured is kept for a later one
    """
    if not result.ended_early:
        return ""
    by_hand = progress.finish_requested
    why = "as you asked" if by_hand else f"at the limit of {progress.minutes:g} min"
    if by_hand and progress.minutes == 0.0:
        more = f"For a surer choice set 'minutes' to more than {progress.took:.1f}"
    else:
        more = "For a surer choice set 'minutes' to more, or to 0 for no limit"
    on = ": what was measured up to here is not measured again" if kept and result.resumable else ""
    return (
        f"Ended early after {result.total_calls:,} of {budget:,} calls, {why}: "
        f"{_compared(result, given)}. {more}, and queue again{on}."
    )


def _compared(result: Result, given: Mapping[str, Any]) -> str:
    """Count the standard choices that were among those that were compared."""
    if not result.noises:
        return "nothing was compared"
    compared = len(result.scores)
    had = sum(score.candidate.given for score in result.scores)
    if result.sampler is not None:
        return f"{compared} choices were compared, {had} of them standard ones"
    usable = len(given) - len(result.left_out) - len(given.keys() & result.failed.keys())
    best = ", the most promising" if had < usable else ""
    return f"{compared} schedules were compared, among them {had} of {usable} standard ones{best}"
