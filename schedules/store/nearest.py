"""Choice of `auto` among a model's results.

The nearest in steps, sampler and cfg, as far as these are known; of one sampler, what was fitted to
these steps fully before what weights alone were fitted to. Of those that are as near, the one
of the least error; where the intervals overlap nobody knows which that is, and the newest is taken.

What a typical seed's error is depends on the seeds; what of the best standard schedule's it is, far
less. So where all were measured with one sampler and as many steps, these gains are compared, with
their intervals, else the errors. Errors at another cfg, of another size or by another measure are
not compared: those measured as the newest was are.

What was merged comes after what was measured: its levels are those of one of these. What was
measured for a part of the path comes after what was for the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from .files import Entry
from .saved_schedule import MERGED, SavedSchedule, number

__all__ = [
    "CRITERION",
    "GAIN",
    "INTERVAL",
    "Asked",
    "Nearest",
    "by_weights_only",
    "is_whole",
    "ranked",
    "reason_for",
    "steps_known",
]

# In the notes, beside "error": what it is, and the ends of its interval; the ratio of it and the
# error of the best standard schedule, on the same noises, with the ends of its interval.
CRITERION, INTERVAL, GAIN = "criterion", "error interval", "gain"
USUAL = 10  # steps, where nobody knows how many

Item = tuple[str, Entry]  # with the name that it shows


class Nearest(NamedTuple):
    """The result that `auto` takes.

    name: the one that it shows
    why:  it and no other, in a few words; empty where there is no other
    """

    name: str
    saved: SavedSchedule
    why: str


@dataclass(frozen=True)
class Asked:
    """Facts known of the sampling run. None: not known."""

    steps: int | None = None
    sampler: str | None = None
    cfg: float | None = None

    def distance(self, saved: SavedSchedule) -> tuple[Any, ...]:
        """Distance of a result from it: less is nearer."""
        request, plain = saved.request, not saved.samplers
        cfg = number(request.get("cfg"))
        away = math.inf if cfg is None else abs(cfg - (self.cfg or 0.0))
        return (
            MERGED in request,
            not is_whole(saved),
            plain and self.steps is None,
            min(self._steps_away(count) for count in steps_known(saved)),
            self.sampler is not None and request.get("sampler") != self.sampler,
            self.steps is not None and by_weights_only(saved, self.steps),
            plain,
            0.0 if self.cfg is None else away,
            self._steps_away(saved.schedule.steps),
        )

    def _steps_away(self, steps: int) -> float:
        return round(abs(math.log((self.steps or USUAL) / steps)), 9)


def is_whole(saved: SavedSchedule) -> bool:
    """Tell whether a result was measured, and for the whole path."""
    return MERGED not in saved.request and saved.request.get("denoise", 1.0) == 1.0


def steps_known(saved: SavedSchedule) -> set[int]:
    """The numbers of steps that a result was made for: more may be derived from it."""
    return {saved.schedule.steps, *(sampler.steps for sampler in saved.samplers)}


def by_weights_only(saved: SavedSchedule, steps: int) -> bool:
    """Tell whether weights alone were fitted to this number of steps."""
    fitted = saved.sampler_for(steps)
    return fitted is not None and fitted.weights_only


def ranked(items: Iterable[Item], asked: Asked) -> list[Item]:
    """The results of a model, the one to take first."""
    near = sorted(_newest_first(items), key=lambda item: asked.distance(item[1].saved))
    groups = groupby(near, key=lambda item: asked.distance(item[1].saved))
    return [item for _, group in groups for item in _best_first(list(group))]


def reason_for(items: Sequence[Item], asked: Asked) -> str:
    """Why the first of ranked results comes first, in a few words."""
    if len(items) < 2:
        return ""
    nearest = asked.distance(items[0][1].saved)
    group = [item for item in items if asked.distance(item[1].saved) == nearest]
    if len(group) == 1:
        return f"the nearest of {len(items)}"
    alike = _comparable(_newest_first(group))
    as_good = _as_good(alike)
    if len(as_good) == 1 and len(alike) > 1:
        return f"the least error of {len(alike)} as near"
    return f"the newest of {len(as_good or group)} as good"


def _best_first(group: list[Item]) -> list[Item]:
    """Results that are as near, newest first before: the best, then the others."""
    best = next(iter(_as_good(_comparable(group)) or group))
    return [best, *(item for item in group if item is not best)]


def _newest_first(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: -item[1].modified)


def _comparable(newest_first: Sequence[Item]) -> list[Item]:
    """Those that were measured as the newest was."""
    measured = _measured(newest_first[0][1].saved)
    return [item for item in newest_first if _measured(item[1].saved) == measured]


def _measured(saved: SavedSchedule) -> tuple[object, ...]:
    """Values at which alone errors can be compared: those that must be equal."""
    request = saved.request
    # Older results do not say what their error is: each sampler has its own.
    criterion = saved.notes.get(CRITERION) or [request.get("sampler")]
    return criterion, request.get("cfg"), request.get("shape")


def _as_good(items: Sequence[Item]) -> list[Item]:
    """Those whose error may be the least, by its interval."""
    setups = [(saved.request.get("sampler"), saved.schedule.steps) for saved in _results(items)]
    gains = all(setup == setups[0] for setup in setups) and all(map(_gain, _results(items)))
    figure = _gain if gains else _error
    known = [(figures, item) for item in items if (figures := figure(item[1].saved))]
    if not known:
        return []
    _, _, highest = min((error, low, high) for (error, low, high), _ in known)
    return [item for (_, low, _), item in known if low <= highest]


def _results(items: Iterable[Item]) -> list[SavedSchedule]:
    return [entry.saved for _, entry in items]


def _gain(saved: SavedSchedule) -> tuple[float, float, float] | None:
    """The gain and its interval, if it is known."""
    gain = saved.notes.get(GAIN)
    return _ordered(gain) if isinstance(gain, list) and len(gain) == 3 else None


def _error(saved: SavedSchedule) -> tuple[float, float, float] | None:
    """The error and its interval, which older results do not have: there it is the error itself."""
    error, ends = saved.notes.get("error"), saved.notes.get(INTERVAL)
    return _ordered([error, *(ends if isinstance(ends, list) and len(ends) == 2 else [error] * 2)])


def _ordered(figures: Sequence[object]) -> tuple[float, float, float] | None:
    """A figure with the ends of its interval, from a file that may hold anything."""
    middle, low, high = map(number, figures)
    if middle is None or low is None or high is None or not 0.0 <= low <= middle <= high:
        return None
    return (middle, low, high) if middle > 0.0 else None
