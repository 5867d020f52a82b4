"""A comparison of schedules on a guided model: measured, drawn, and as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from ...optimizer import FEWEST_CLOSE, Comparison, Session, compare, most_calls, most_calls_to_match
from .. import host
from ..pictures import picture_row, plot_errors, preview_curve
from .compare_report import verdict

__all__ = ["compared", "pictures_of", "plot_of"]


def compared(
    guided: host.GuidedModel,
    schedules: Mapping[str, torch.Tensor],
    start: float,
    noises: int,
    seed: int,
    first_noise: torch.Tensor | None = None,
    node_id: str | None = None,
    solvers: Mapping[str, host.HostSolver] | None = None,
    longer: Callable[[str, int], torch.Tensor | None] | None = None,
) -> Comparison:
    """Run the comparison, with its progress under a node.

    start:       the level at which the schedules begin
    first_noise: [...] in place of the first
    solvers:     of schedules that another sampler runs, by name
    longer:      the levels of a schedule at another number of steps, to measure how many each needs
    """
    elements, solvers = guided.elements, solvers or {}
    total = _most_calls(guided, schedules, noises, solvers, longer is not None)
    with host.Progress(node_id, total) as progress:
        progress.part(0, draw=partial(preview_curve, muted=schedules))
        try:
            found = guided.fitted(
                lambda batch_size, made: compare(
                    guided,
                    guided.shape,
                    schedules=schedules,
                    sigma_max=start,
                    sigma_min=guided.levels.sigma_min,
                    solver=guided.judged(),
                    noises=noises,
                    seed=seed,
                    first_noise=first_noise,
                    elements=elements,
                    coordinate=guided.levels.coordinate,
                    session=Session(progress, progress.better, batch_size=batch_size),
                    stop=lambda: progress.finish_requested,
                    solvers=solvers,
                    longer=longer,
                )
            )
        except BaseException as error:  # an interrupt is not an Exception on every host
            progress.stopped(str(error) or "Stopped.")
            raise
        progress.done(verdict(found))
    return found


def _most_calls(
    guided: host.GuidedModel,
    schedules: Mapping[str, torch.Tensor],
    noises: int,
    solvers: Mapping[str, host.HostSolver],
    further: bool,
) -> int:
    """Model calls of a comparison at most, those for further steps included."""
    solver, reference = guided.solver(), guided.reference()
    steps = {name: len(sigmas) - 1 for name, sigmas in schedules.items()}
    each = {name: solvers.get(name, solver).calls_per_step for name in steps}
    calls = solver.calls_per_step
    counts = [-(-count * each[name] // calls) for name, count in steps.items()]
    total = most_calls(counts or [1], noises, calls, reference.order, reference.calls_per_step)
    if further and noises >= FEWEST_CLOSE and len(steps) > 1:
        total += sum(most_calls_to_match(n, each[name], FEWEST_CLOSE) for name, n in steps.items())
    return total


def plot_of(found: Comparison) -> torch.Tensor | None:
    """The errors and the curves, [1, H, W, 3]; None where nothing can draw them."""
    names = {score.candidate.name: score for score in found.scores}
    return plot_errors(
        {name: score.candidate.sigmas for name, score in names.items()},
        {name: (score.mean, score.standard_error) for name, score in names.items()},
    )


def pictures_of(found: Comparison, guided: host.GuidedModel, vae: Any) -> torch.Tensor:
    """The first seed's images, [1, H, W, 3]: many steps first, then as ranked.

    Raises ValueError for a VAE that fails.
    """
    ends = {f"many steps ({found.reference_steps})": found.first_reference}
    for score in found.scores:
        ends[score.candidate.name] = found.first_ends[score.candidate.name]
    return picture_row({name: host.decoded(vae, guided, end) for name, end in ends.items()})
