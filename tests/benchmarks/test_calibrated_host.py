"""The benchmark of the fitted sampler in the host: its arithmetic and its table."""

from __future__ import annotations

import pytest
from align_your_steps.benchmarks.calibrated_host import geometric_mean, report


def cell(kind: str, negative: str, steps: int, ratio: float) -> dict[str, object]:
    return {
        "kind": kind,
        "seed": 7,
        "negative": negative,
        "steps": steps,
        "calls": 900,
        "ours": {"mean": 0.1 * ratio, "typical": 0.2 * ratio},
        "best": {"mean": 0.1, "typical": 0.1},
        "pair": "euler karras",
        "pairs": 99,
        "nearer": 0.5,
    }


def test_geometric_mean_of_a_ratio_and_its_inverse_is_1() -> None:
    assert geometric_mean([0.3, 1 / 0.3]) == pytest.approx(1.0)


def test_report_has_geometric_means_of_each_group_and_the_worst_cell() -> None:
    cells = [
        cell("eps", "no class", 5, 0.25),
        cell("flow", "no class", 5, 1.0),
        cell("eps", "no class", 8, 0.1),
        cell("eps", "another class", 5, 2.0),
    ]
    machine = {"commit": "0" * 40, "changed": False, "cores": 2, "processor": "x", "torch": "2"}
    measurement = {
        "machine": machine,
        "command": "c",
        "cells": cells,
        "cfg": 3.0,
        "noises": 100,
        "budget": 1000,
        "cost": {"steps": 8, "runs": 20, "calls": [8, 8], "time": 1.01},
    }
    text = report(measurement)
    assert "| no class | 5 | 2 | 0.500 (1.00) | 1.000 (2.00) | 50% |" in text
    assert "| no class | 8 | 1 | 0.100 (0.10) | 0.200 (0.20) | 50% |" in text
    assert "| another class | 5 | 1 | 2.000 (2.00) | 4.000 (4.00) | 50% |" in text
    assert "| flow | 7 | no class | 5 | euler karras | 1.000 | 2.000 | 50% | 900 |" in text
    assert "makes 8 model calls, and with dpmpp_2m 8" in text
