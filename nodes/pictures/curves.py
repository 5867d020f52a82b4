"""The curves in the plot of an optimisation: three that matter, by name; the others behind them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...schedules import SavedSchedule
from .. import host
from ..results.fitted_sampler import sampled_levels

__all__ = ["BEST_GIVEN", "plotted"]

BEST_GIVEN = "best given"  # in a result's notes: the best of what the user had
NAMED = 2  # of what the user had
PUBLISHED = "AYS "  # what names of published tables begin with here


def plotted(
    saved: SavedSchedule, given: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Levels by name: the found schedule and two that the user had, and all others.

    The found one is that of the fitted sampler, if there is one; the best standard one is then what
    other samplers get.

    The two are the best one and the first of ComfyUI's list, which new nodes have; where one of
    them is not known, or both are the same, a published table takes its place.
    """
    wanted = [("best standard", saved.notes.get(BEST_GIVEN))]
    wanted.append(("default", host.scheduler_names()[0]))
    wanted += [("published", name) for name in given if name.startswith(PUBLISHED)]
    named: dict[str, str] = {}  # with their roles
    for role, name in wanted:
        # What notes hold may come from a file that others made.
        if isinstance(name, str) and name in given and name not in named and len(named) < NAMED:
            named[name] = f"{name} ({role})"
    curves = {saved.schedule.name: sampled_levels(saved)}
    curves |= {shown: given[name] for name, shown in named.items()}
    return curves, {name: sigmas for name, sigmas in given.items() if name not in named}
