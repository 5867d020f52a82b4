"""One optimisation that is asked for, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ...optimizer import SharedReferences
from ...profiles import MeasuredProfile
from ...schedules import SavedSchedule
from .. import host
from .candidates import given_schedules
from .request import Request

__all__ = ["Answer", "Task"]


@dataclass(frozen=True, eq=False)
class Task:
    """One optimisation that is asked for.

    guided:  what is measured
    request: what makes two results the same
    name:    of the result; empty: one is made
    profile: the linked one, which is not measured again
    loaded_from: what the model was loaded from, for a reader; None: unknown
    references: shared with tasks that differ in nothing but their numbers of steps
    """

    guided: host.GuidedModel
    request: Request
    name: str = ""
    profile: MeasuredProfile | None = None
    loaded_from: str | None = None
    references: SharedReferences | None = None

    @cached_property
    def given(self) -> dict[str, Tensor]:
        """The schedules that the user already has, at this number of steps."""
        return self.given_at(self.request.steps)

    def given_at(self, steps: int) -> dict[str, Tensor]:
        """The schedules that the user already has, at any number of steps."""
        spare = self.guided.sampler.spare_level
        return given_schedules(self.guided.levels, steps, self.request.denoise, spare)

    @cached_property
    def warning(self) -> str | None:
        """Why the whole measurement may mean little; None: nothing is known of that kind."""
        return host.distilled_warning(self.guided.given, self.request.steps)


@dataclass(frozen=True, eq=False)
class Answer:
    """The result of a task, and its report."""

    saved: SavedSchedule
    report: str
