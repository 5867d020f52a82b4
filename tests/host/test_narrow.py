"""Networks that take one latent at a time: all nodes measure what they would with others."""

from __future__ import annotations

from typing import Any

import pytest
from align_your_steps.tests.host.graphs import compare_graph, optimize_graph, sampled
from align_your_steps.tests.host.seen import report, shown
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.test_compare import table
from align_your_steps.tests.host.test_latents import masked

ALONE = "Each seed was run alone: the model takes one latent at a time."
KINDS = ["an engine", "a check", "a shape", "an index", "nothing yet"]
# cfg, and the rows of a call for one latent: with guidance the host asks for both prompts at once.
SCALES = [(1.0, 1), (3.0, 2)]


def narrow(graph: Graph, node: str, kind: str, most: int, **inputs: Any) -> Graph:
    """The same with a network that takes no more rows."""
    settings = {"model": ["model", 0], "kind": kind, "most": most, "wrapped": False, **inputs}
    graph["narrow"] = {"class_type": "AYSTestNarrow", "inputs": settings}
    graph[node]["inputs"]["model"] = ["narrow", 0]
    return graph


def compared(cfg: float) -> Graph:
    return compare_graph(schedules="simple, karras, beta", noises=6, cfg=cfg)


@pytest.mark.parametrize("kind", [*KINDS, "the first only"])
def test_compare_gives_the_same_errors(server: ComfyServer, kind: str) -> None:
    for cfg, most in SCALES[kind == "the first only" :]:
        expected = table(server.run(compared(cfg)))
        entry = server.run(narrow(compared(cfg), "compare", kind, most))
        assert table(entry) == pytest.approx(expected, rel=1e-3)
        assert ALONE in report(entry)


@pytest.mark.parametrize(("cfg", "most"), SCALES)
def test_optimize_finds_the_same_levels(server: ComfyServer, cfg: float, most: int) -> None:
    def graph() -> Graph:
        return optimize_graph(cfg=cfg, budget=2400, reuse="measure again", name=f"narrow {cfg}")

    expected = server.run(graph())
    entry = server.run(narrow(graph(), "optimize", "an engine", most))
    assert shown(entry) == pytest.approx(shown(expected), rel=1e-3)
    assert ALONE in report(entry)
    assert ALONE not in report(expected)


def test_calls_that_cannot_be_parted_begin_again(server: ComfyServer) -> None:
    def graph() -> Graph:
        found = sampled(optimize_graph())
        base = {name: found[name] for name in ("model", "positive", "negative", "latent")}
        half = masked(found)
        base |= {name: half[name] for name in ("mask", "empty mask", "half mask", "masked")}
        return compare_graph(base, schedules="simple, karras", latent_image=["masked", 0])

    expected = table(server.run(graph()))
    entry = server.run(narrow(graph(), "compare", "an engine", 2))
    assert table(entry) == pytest.approx(expected, rel=1e-3)
    assert ALONE in report(entry)


def test_a_second_model_may_be_the_narrow_one(server: ComfyServer) -> None:
    second = {"second_model": ["narrow", 0], "boundary_step": 3, "reuse": "measure again"}
    graph = narrow(optimize_graph(budget=2400, name="narrow pair"), "optimize", "a check", 2)
    graph["optimize"]["inputs"] |= {**second, "model": ["model", 0]}
    graph["other"] = {**graph["model"], "inputs": {**graph["model"]["inputs"], "seed": 3}}
    graph["narrow"]["inputs"]["model"] = ["other", 0]
    assert ALONE in report(server.run(graph))


def test_what_wraps_a_network_may_be_narrow_too(server: ComfyServer) -> None:
    for kind in KINDS:
        graph = narrow(compared(3.0), "compare", kind, 2, wrapped=True)
        assert "Each seed was run alone" in report(server.run(graph))
