"""The optimiser's parts put together for tests, and its settings given flat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from align_your_steps.optimizer import (
    VE,
    Comparison,
    Denoiser,
    JudgedSolver,
    Known,
    Result,
    Session,
    compare,
    optimize,
)
from align_your_steps.optimizer.diffusion.coordinate import Coordinate
from align_your_steps.optimizer.fit.surrogate import Track
from align_your_steps.optimizer.judging.references import PairedErrors, References, refinement_track
from align_your_steps.optimizer.plan import Plan
from align_your_steps.optimizer.problem import Problem
from align_your_steps.optimizer.runs.runner import Runner
from align_your_steps.optimizer.session import Lab
from torch import Tensor

OF_SOLVER = ("reference", "order", "meter")


def _taken(settings: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: settings.pop(name) for name in names if name in settings}


def _packed(denoise: Denoiser, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with those of the solver and the session in their objects."""
    if of_solver := _taken(settings, OF_SOLVER):
        settings["solver"] = JudgedSolver.of(settings["solver"], denoise, **of_solver)
    of_session = _taken(settings, [field.name for field in fields(Session)])
    return {**settings, "session": Session(**of_session)}


def optimize_flat(denoise: Denoiser, shape: Sequence[int], **settings: Any) -> Result:
    """`optimize` with all settings side by side."""
    known = Known(**_taken(settings, [field.name for field in fields(Known)]))
    return optimize(denoise, shape, known=known, **_packed(denoise, settings))


def compare_flat(denoise: Denoiser, shape: Sequence[int], **settings: Any) -> Comparison:
    """`compare` with all settings side by side."""
    return compare(denoise, shape, **_packed(denoise, settings))


@dataclass(frozen=True)
class Begun:
    """An optimisation without references yet, in its parts."""

    plan: Plan
    lab: Lab
    runner: Runner
    references: References

    @cached_property
    def errors(self) -> PairedErrors:
        return PairedErrors(self.references)

    @property
    def solver(self) -> JudgedSolver:
        return self.lab.problem.solver

    @property
    def left(self) -> int:
        return self.lab.ledger.left

    @property
    def spent(self) -> dict[str, int]:
        return self.lab.ledger.spent

    def track(self, sigmas: Tensor, batches: int) -> Track | None:
        return refinement_track(self.references, self.plan, sigmas, batches)


def begun(
    denoise: Denoiser,
    solver: Any,
    fine: Tensor,
    *,
    shape: Sequence[int],
    batch: int,
    every: int,
    steps: int = 5,
    budget: int = 10_000,
    seed: int = 0,
    coordinate: Coordinate = VE,
    elements: Tensor | None = None,
    progress: Callable[[str, int], None] | None = None,
    **of_solver: Any,
) -> Begun:
    judged = JudgedSolver.of(solver, denoise, **of_solver)
    levels = float(fine[0]), float(fine[-2])
    problem = Problem(judged, shape, *levels, steps, coordinate, elements, seed)
    lab = Session(progress=progress).open(problem, budget)
    plan = Plan.of(
        problem, budget, method="measured", profile_given=False, batch_size=batch, least_batch=1
    )
    runner = Runner(lab, batch)
    return Begun(plan, lab, runner, References(runner, fine, every))
