"""The graphs that faults are tried on: small, and each seed is a measurement of its own."""

from __future__ import annotations

from typing import Any

from align_your_steps.tests.host.graphs import ksampler_graph, optimize_graph, sampled
from align_your_steps.tests.host.server import Graph

__all__ = ["CALLS", "STEPS", "measured_and_sampled", "plain"]

STEPS = 2
BUDGET = 200
CALLS = 150  # every measurement makes more
RUN = {"steps": STEPS, "denoise": 0.6}  # below 1 nothing is derived for other numbers of steps


def measured_and_sampled(seed: int, **inputs: Any) -> Graph:
    """Optimize AYS, and an image from the schedule that it attaches."""
    graph = sampled(optimize_graph("edm", budget=BUDGET, seed=seed, **RUN, **inputs), **RUN)
    graph["sample"]["inputs"]["model"] = graph.pop("recorded")["inputs"]["model"]
    return graph


def plain(seed: int) -> Graph:
    """An image that has nothing to do with this pack."""
    graph = ksampler_graph("edm")
    graph["sample"]["inputs"] |= {"steps": STEPS, "seed": seed}
    return graph
