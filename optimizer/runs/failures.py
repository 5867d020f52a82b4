"""Schedules whose runs came out as NaN or infinity: they are out of every comparison.

One such run is enough: a schedule that fails on some noises is no schedule to sample with. It is
not run again, and its error is infinite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..judging.select import Candidate
from .meter import NotFiniteError, at_levels

__all__ = ["FAILED", "FURTHER", "Failures", "checked_end", "reason"]

FURTHER = "further seeds"
FAILED = "failed, "  # before a schedule's number: the name of the noise levels at which it failed


class Failures:
    """The schedules that have failed, and at which noise levels.

    >>> failures, levels = Failures(), torch.tensor([8.0, 2.0, 0.0])
    >>> failures.add(levels, [2.0])
    >>> levels in failures, failures.of([Candidate("mine", levels)])
    (True, {'mine': 'its run came out as NaN or infinity at noise level 2'})
    >>> again = Failures()
    >>> again.remember([levels], failures.to_tensors([levels]))
    >>> levels in again
    True
    """

    def __init__(self) -> None:
        self.levels: dict[tuple[str, ...], list[float]] = {}
        self.ended: dict[str, str] = {}

    def __contains__(self, sigmas: Tensor) -> bool:
        """Tell whether a run of this schedule has failed."""
        return _key(sigmas) in self.levels

    def add(self, sigmas: Tensor, levels: Sequence[float]) -> None:
        """A run of this schedule failed at these noise levels; none: nobody knows."""
        self.levels.setdefault(_key(sigmas), list(levels))

    def to_tensors(self, schedules: Sequence[Tensor]) -> dict[str, Tensor]:
        """Write which of the schedules have failed, and where; `remember` is the inverse."""
        return {
            f"{FAILED}{number}": torch.tensor(self.levels[_key(sigmas)], dtype=torch.float64)
            for number, sigmas in enumerate(schedules)
            if sigmas in self
        }

    def remember(self, schedules: Sequence[Tensor], tensors: Mapping[str, Tensor]) -> None:
        """Those of the schedules that have failed, and where, by what `to_tensors` gave."""
        for number, sigmas in enumerate(schedules):
            if (levels := tensors.get(f"{FAILED}{number}")) is not None:
                self.levels[_key(sigmas)] = levels.tolist()

    def of(self, candidates: Iterable[Candidate]) -> dict[str, str]:
        """Say what happened to those of the candidates that have failed, by name, and to noises."""
        failed = [candidate for candidate in candidates if candidate.sigmas in self]
        reasons = {c.name: reason(self.levels[_key(c.sigmas)]) for c in failed}
        return {**reasons, **self.ended}

    def end(self, levels: Sequence[float]) -> None:
        """The reference of the next noises failed: the comparison ends with those before."""
        self.ended = {FURTHER: reason(levels, "the many-step picture")}

    def error(self) -> NotFiniteError:
        """The error to raise where every schedule has failed."""
        levels = [level for failed in self.levels.values() for level in failed]
        what = "No schedule can be compared, because every run came out as NaN or infinity"
        return NotFiniteError(what, levels)


def checked_end(end: Tensor, sigmas: Tensor) -> Tensor:
    """A run's end points; raises NotFiniteError where they are no numbers."""
    if not torch.isfinite(end).all():
        what = f"The picture in {len(sigmas) - 1} steps came out as NaN or infinity"
        raise NotFiniteError(what)
    return end


def reason(levels: Sequence[float], what: str = "its run") -> str:
    """Why a schedule is not compared whose run failed at these levels."""
    return f"{what} came out as NaN or infinity{at_levels(levels)}"


def _key(sigmas: Tensor) -> tuple[str, ...]:
    """A schedule, but for rounding: it may have been in other units between two of its runs."""
    return tuple(f"{level:.5g}" for level in sigmas.tolist())
