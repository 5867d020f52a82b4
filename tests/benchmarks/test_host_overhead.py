"""The overhead benchmark in the host: which prompts it queues, and its arithmetic."""

from __future__ import annotations

import pytest
from align_your_steps.benchmarks.host_overhead import (
    CASES,
    DELAY,
    MANY,
    Case,
    Spent,
    measured,
    overheads,
    report,
)
from align_your_steps.tests.host.server import Graph

BUDGET, CALLS, ROWS, ONCE = 1000, 250, 4, 3.0


class Host:
    """Takes DELAY and 1 ms of the processor a call, and so many seconds for every prompt."""

    def __init__(self, beside: float) -> None:
        self.beside = beside  # ms of the processor beside every call of an optimisation
        self.queued: list[Graph] = []

    def __call__(self, graph: Graph) -> Spent:
        self.queued.append(graph)
        guided = 1 if "optimize" in graph and graph["optimize"]["inputs"]["cfg"] == 1.0 else 2
        if "optimize" in graph:
            cpu = CALLS * (1.0 + self.beside) / 1e3
            return Spent(CALLS, CALLS * ROWS * guided, CALLS * DELAY / 1e3 + cpu, cpu)
        steps, batch = graph["sample"]["inputs"]["steps"], graph["latent"]["inputs"]["batch_size"]
        cpu = steps / 1e3
        return Spent(steps, steps * batch, ONCE + steps * DELAY / 1e3 + cpu, ONCE + cpu)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("beside", [0.0, 2.1])
def test_overhead_is_what_the_optimisation_takes_beside_its_calls(
    case: Case, beside: float
) -> None:
    found = measured(case, BUDGET, Host(beside))
    assert found["batch"] == ROWS
    expected = (DELAY + 1.0 + beside) / (DELAY + 1.0)
    assert found["wall"] == pytest.approx(expected)
    assert found["idle"] == pytest.approx(expected)


def test_bare_prompts_have_as_many_rows_a_call_and_are_never_the_same() -> None:
    host = Host(0.0)
    measured(CASES[1], BUDGET, host)
    bare = [graph for graph in host.queued if "sample" in graph]
    assert all(graph["latent"]["inputs"]["batch_size"] == ROWS for graph in bare)
    assert len({str(graph) for graph in bare}) == len(bare) == 4
    kinds = ["optimize" if "optimize" in graph else "bare" for graph in host.queued]
    assert kinds == ["optimize", "bare", "bare", "optimize", "bare", "bare"]


def test_work_of_other_programs_is_on_the_wall_only() -> None:
    bare = [Spent(MANY, MANY, MANY * 0.021, MANY * 0.001)]
    found = overheads(Spent(100, 400, 5.0, 0.1), bare)
    assert found["wall"] > 2.0
    assert found["idle"] == pytest.approx(1.0)


def test_report_has_a_row_for_every_case() -> None:
    cases = [measured(case, BUDGET, Host(2.1)) for case in CASES]
    machine = {
        "commit": "0" * 40,
        "changed": False,
        "cores": 2,
        "processor": "x",
        "torch": "2",
    }
    measurement = {
        "machine": machine,
        "command": "c",
        "host": "0.3.75",
        "budget": BUDGET,
        "load": 0.0,
        "cases": cases,
    }
    text = report(measurement)
    for case in CASES:
        assert f"| {case.name} | 4 | 250 | 21.00 | 1.00 | 5.8 | 0.52 | 1.100 | 1.100 |" in text
