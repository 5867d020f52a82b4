"""The benchmark of the import time: its arithmetic, and what it reports."""

from __future__ import annotations

import pytest
from align_your_steps.benchmarks.import_time import over_empty, report

TIMES = {
    "this pack": [
        {"seconds": 0.040, "busy": 0.021},
        {"seconds": 0.900, "busy": 0.024},
        {"seconds": 0.030, "busy": 0.023},
    ],
    "empty pack": [{"seconds": 0.001, "busy": 0.001}] * 3,
}


def test_times_are_compared_by_their_medians() -> None:
    assert over_empty(TIMES, "seconds") == pytest.approx(39.0)
    assert over_empty(TIMES, "busy") == pytest.approx(22.0)


def test_the_report_says_what_was_measured_where() -> None:
    where = {"commit": "0" * 40, "cores": 2, "processor": "x86_64", "python": "3", "torch": "2"}
    text = report(
        {"machine": where, "command": "make", "host": "0.3.75", "load": 0.5, "times": TIMES}
    )
    assert "**22 ms** of the processor, 39 ms on the clock" in text
    assert "| this pack, clock | 40.0 | 30.0 | 900.0 |" in text
