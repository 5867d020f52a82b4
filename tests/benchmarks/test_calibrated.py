"""The benchmark of calibrated samplers: its cells, what it keeps, and what it sums up."""

import json

import pytest
import torch
from align_your_steps.benchmarks import calibrated
from align_your_steps.benchmarks.calibrated import (
    FRESH,
    SEEN,
    TEST,
    TUNING,
    Cells,
    claimed,
    summary,
)
from align_your_steps.optimizer.fit import other_counts

SMALL = ["mixtures", "--cases", "1", "--steps", "5", "--budgets", "500", "--noises", "16"]


def test_fresh_problems_are_none_of_the_others():
    seeds = [case.seed for case in (*TUNING, *TEST, *SEEN, *FRESH)]
    assert len(set(seeds)) == len(seeds)
    assert len({case.name for case in FRESH}) == len({case.name for case in TEST})


def test_a_cell_is_measured_once_and_every_call_of_it_counts(tmp_path, capsys, monkeypatch):
    file = tmp_path / "cells.jsonl"
    calibrated.main([*SMALL, "--cells", str(file)])
    told = capsys.readouterr().out
    (cell,) = map(json.loads, file.read_text().splitlines())
    assert 0 < cell["calls"] <= 500
    assert cell["ratio"] == pytest.approx(cell["ratio"], abs=0) and cell["ratio"] < 1.0
    monkeypatch.setattr(calibrated.Bench, "cell", lambda *_: pytest.fail("measured again"))
    calibrated.main([*SMALL, "--cells", str(file)])
    assert capsys.readouterr().out == told


def test_ratio_is_that_of_held_out_errors_to_the_best_pair():
    bench = calibrated.mixture(FRESH[0], 16)
    cell = bench.cell(5, 500, bench.seed)
    found, _ = bench.calibrated(5, 500, bench.seed)
    ours = bench.errors(found.sampler)
    least = min(float(bench.errors(one).mean()) for one in bench.samplers(5).values())
    assert cell["ratio"] == pytest.approx(float(ours.mean()) / least)
    assert claimed(cell) == (found.name in found.fitted and found.gain.high < 1.0)


def test_screened_pairs_hold_the_best():
    whole, screened = calibrated.mixture(FRESH[0], 32), calibrated.mixture(FRESH[0], 32)
    screened.screened = True
    assert len(screened.pairs(5)) == calibrated.SCREENED < len(whole.pairs(5))
    assert screened.best(5)[0] == whole.best(5)[0]


def test_an_interval_is_told_beside_the_gain_on_held_out_noise(tmp_path, capsys):
    file = tmp_path / "cells.jsonl"
    calibrated.main(
        ["interval", "--cases", "1", "--runs", "2", "--budgets", "500", "--noises", "16",
         "--cells", str(file)]
    )  # fmt: skip
    cells = [json.loads(line) for line in file.read_text().splitlines()]
    covered = sum(c["told"]["low"] <= c["gain"] <= c["told"]["high"] for c in cells)
    assert f"{covered} of 2 intervals" in capsys.readouterr().out


def test_other_counts_are_told_over_fits_of_their_own(tmp_path, capsys, monkeypatch):
    file = tmp_path / "cells.jsonl"
    monkeypatch.setattr(calibrated, "OWN_SEEDS", (50,))
    for module in (calibrated, other_counts):
        monkeypatch.setattr(module, "COUNTS", (4, 7))
    seed = FRESH[1].seed
    calibrated.main(["counts", "--only", str(seed), *SMALL[3:], "--cells", str(file)])
    told = capsys.readouterr().out
    made, *own = map(json.loads, file.read_text().splitlines())
    assert made["key"].endswith(f"seed {seed}, from 5 steps, 500 calls") and len(own) == 2
    bench = calibrated.mixture(FRESH[1], 16)
    for cell, count in zip(own, ("4", "7"), strict=True):
        found, _ = bench.calibrated(int(count), calibrated.OWN_CALLS, seed + 50)
        error = float(bench.errors(found.fitted["greedy"]).mean())
        ratio = made["errors"][count]["fitted"][0] / error
        assert cell["error"][0] == pytest.approx(error, rel=1e-4)
        assert f"{count}: {ratio:.2f}" in told


def test_shares_of_gained_seeds_count_where_a_gain_is_claimed():
    raced = {"raced": "euler karras", "told": {"high": 0.9}}
    cell = {"ratio": 0.5, "median": 0.5, "improved": 0.9, "gained": 0.8, "winner": "greedy"}
    pair = {"ratio": 2.0, "median": 1.0, "improved": 0.0, "gained": 0.0, "winner": "euler karras"}
    unsure = {**cell, **raced, "ratio": 1.0, "gained": 0.1, "told": {"high": 1.1}}
    line = summary([{**cell, **raced}, {**pair, **raced}, unsure, {**unsure, "told": None}])
    assert "ratio 1.000 (worst 2.00)" in line
    assert "gain claimed in 1 of 4, gained 80% (least 80%)" in line


def test_cells_cut_off_are_measured_again(tmp_path):
    file = tmp_path / "cells.jsonl"
    file.write_text('{"key": "a", "x": 1}\n{"key": "b", "x"')
    cells = Cells(file)
    assert cells.of("a", dict)["x"] == 1
    cells.of("b", lambda: {"x": 2})
    assert Cells(file).known == {"a": {"key": "a", "x": 1}, "b": {"key": "b", "x": 2}}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
