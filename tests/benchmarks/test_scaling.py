"""The scaling benchmark: what it measures, by torchrun, and its arithmetic on paper."""

import json
from itertools import pairwise

import pytest
import torch
from align_your_steps.benchmarks import scaling
from align_your_steps.benchmarks.overhead import near_two_values
from align_your_steps.benchmarks.scaling import Case, Sleeping, bytes_a_noise, expected
from align_your_steps.optimizer.ranks.parts import packed
from align_your_steps.tests.optimizer.laboratory import begun


def process(total, rows=4000, exchanging=0.0, received=0, first=10.0):
    """Return what one process has measured."""
    inside = 0.005 * rows
    return {
        "total": total, "inside": inside, "outside": total - inside - exchanging, "rows": rows,
        "undisturbed": inside + 3.5, "serial": 3.0,
        "exchanging": exchanging, "bytes": received, "calls": rows // 4, "reference_steps": 44,
        "method": "refined", "sigmas": [first, 1.0, 0.0],
    }  # fmt: skip


MEASUREMENT = {
    "machine": {
        "commit": "c" * 40, "changed": False, "cores": 2, "processor": "p", "threads": 1,
        "torch": "t", "python": "3",
    },
    "command": "python -m it", "budget": 4000, "load": 1.0,
    "cases": [
        {
            "name": "sleeps",
            "processes": {
                "1": [process(24.0)],
                "2": [process(15.0, 2000, 1.0, 3_000_000), process(16.0, 2000, 2.0, first=10.001)],
            },
        }
    ],
}  # fmt: skip


def test_the_stand_in_takes_its_time_for_every_row(monkeypatch):
    slept = []
    monkeypatch.setattr(scaling.time, "sleep", slept.append)
    x, sigma = torch.randn(3, 2, 2), torch.full((3,), 2.0)
    assert torch.equal(Sleeping(0.5)(x, sigma), near_two_values(x, sigma))
    assert slept == [1.5]


def test_on_paper_ranks_halve_what_is_not_serial_if_they_divide_a_batch():
    times = [expected(4000, 8, ranks, 0.1, 5.0) - 5.0 for ranks in (1, 2, 4, 8, 16)]
    assert all(one / two == 2.0 for one, two in pairwise(times))
    assert expected(4000, 5, 2, 0.1, 0.0) == pytest.approx(240.0)  # three of five rows


def test_bytes_of_a_noise_are_those_that_a_rank_gives():
    fine = torch.linspace(5.0, 0.0, 13)
    made = begun(
        near_two_values, "dpmpp_2m", fine, shape=(4, 16, 16), batch=2, every=3, steps=4,
        budget=10**6,
    )  # fmt: skip
    given = {}
    once = made.runner.once
    made.runner.once = lambda *args, **more: given.setdefault("found", once(*args, **more))
    made.references.add_tracked()
    expected_bytes = 2 * bytes_a_noise(4 * 16 * 16, 12, 4)
    header = 2000  # names, shapes, and the levels visited
    assert expected_bytes < len(packed(given["found"])) < expected_bytes + header


def test_a_small_case_under_torchrun_finds_what_one_process_does():
    budget = 450
    one = scaling.optimised(scaling.CASES[1], Sleeping(0.0), budget, None)
    first, second = scaling.launched(1, 2, budget)
    assert first["sigmas"] == second["sigmas"]
    assert one["sigmas"] == pytest.approx(first["sigmas"], rel=1e-3)
    assert one["rows"] == first["rows"] + second["rows"]
    assert one["bytes"] == one["exchanging"] == 0
    assert first["bytes"] > 1000
    for found in (first, second):
        assert found["inside"] >= scaling.ROW * found["rows"]
        assert found["exchanging"] > 0.0
        parts = found["inside"] + found["outside"] + found["exchanging"]
        assert found["total"] == pytest.approx(parts)
        slept = scaling.ROW * found["rows"]
        assert slept + found["serial"] < found["undisturbed"] < found["total"] + 1.0


def test_the_report_says_what_was_measured_and_what_follows():
    text = scaling.report(MEASUREMENT)
    one, two = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| sleeps")
    )
    assert one[1:7] == ["1", "4000", "24.00", "20.00", "4.00", "0.00"]
    assert one[7:] == ["0.0", "1.00", "23.50", "1.00", "0.0e+00"]
    assert two[1:3] == ["2", "2000 + 2000"]
    assert two[3:] == [
        "16.00", "10.00", "4.00", "2.00", "3.0", "1.50", "13.50", f"{23.5 / 13.5:.2f}", "1.0e-04"
    ]  # fmt: skip
    # S = 3 s beside 400 s of rows, C = 1 s
    assert "3.0 s of the processor: 0.7 % of the whole" in text
    assert f"| 8 | {403 / 54:.2f} (54 s) | {403 / 54:.2f} (54 s) |" in text
    assert "`python -m it`, commit cccccccccccc, 2 cores" in text


def test_the_benchmark_keeps_its_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "CASES", (Case("sleeps", (2, 2), lambda: near_two_values),))
    processes = MEASUREMENT["cases"][0]["processes"]
    monkeypatch.setattr(scaling, "launched", lambda number, n, budget: processes[str(n)])
    scaling.main(["--output", str(tmp_path), "--budget", "700"])
    kept = json.loads((tmp_path / "scaling.json").read_text())
    assert kept["budget"] == 700
    assert kept["cases"][0]["processes"] == processes
    assert "times as fast" in (tmp_path / "scaling.md").read_text()
