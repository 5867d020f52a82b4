"""The benchmark end to end on one cell, its problems, and its report."""

import json

import pytest
import torch
from align_your_steps.benchmarks import bench
from align_your_steps.benchmarks import cell as cells
from align_your_steps.benchmarks.cell import OURS, Arena
from align_your_steps.benchmarks.compare import geometric_mean
from align_your_steps.benchmarks.peers import fixed
from align_your_steps.benchmarks.problems import PROBLEMS, TABLE, problem
from align_your_steps.benchmarks.report import write_report

KEY = bench.Key("grid-6x6", "ddim_stochastic", 5, 1000, 3, True, "test")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("results")
    bench.run([KEY], folder, noises=64)
    return folder


@pytest.fixture(scope="module")
def cell(output):
    return json.loads((output / "cells.jsonl").read_text())


def test_cell_compares_ours_with_every_method(cell):
    expected = {*fixed(5, TABLE), "KLUB", "GITS", "GITS dev", "OSS", "oracle"}
    assert set(cell["against"]) == expected
    assert set(cell["methods"]) == expected | {OURS}


def test_cell_agrees_with_itself(cell):
    methods = cell["methods"]
    best = cell["best_fixed"]
    assert methods[best]["error"] == min(methods[name]["error"] for name in fixed(5, TABLE))
    for name, compared in cell["against"].items():
        ratio = methods[OURS]["error"] / methods[name]["error"]
        assert compared["ratio"] == pytest.approx(ratio, rel=1e-6)
        assert (compared["z"] < 0) == (ratio < 1) or compared["z"] == 0


def test_cell_keeps_to_its_budget_and_counts_the_calls_of_others(cell):
    assert 0 < cell["methods"][OURS]["calls"] <= 1000
    assert cell["methods"]["GITS"]["calls"] == 15_360
    assert cell["methods"]["karras"]["calls"] == 0


def test_reference_is_far_more_exact_than_any_schedule(cell):
    least = min(method["error"] for method in cell["methods"].values())
    assert cell["reference_error"] < 0.02 * least


def test_a_cell_that_is_there_is_not_measured_again(output, cell, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("measured again"))
    assert bench.run([KEY], output, noises=64) == [cell]


def test_a_cell_with_the_oracle_serves_without_it_too(output, cell, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("measured again"))
    assert bench.run([KEY._replace(oracle=False)], output, noises=64) == [cell]


def test_a_cell_of_other_code_or_a_cut_off_line_is_measured_again(output, cell, tmp_path):
    line = json.dumps(cell)
    (tmp_path / "cells.jsonl").write_text(line + "\n" + line[: len(line) // 2] + "\n")
    found = bench.read_cells(tmp_path / "cells.jsonl")
    assert [bench.key_of(c) for c in found] == [KEY]
    assert KEY._replace(code="other") not in map(bench.key_of, found)


def test_report_states_the_ratio_the_peers_and_the_machine(cell, tmp_path):
    cell = {**cell, "budget": 4000}
    text = write_report([cell, {**cell, "budget": 500}], tmp_path)
    ratio = cell["against"][cell["best_fixed"]]["ratio"]
    assert f"{ratio:.3f} (z" in text
    assert all(name in text for name in ("karras", "GITS", "OSS", "KLUB", "Budgets", "torch"))
    assert (tmp_path / "bench.md").read_text() == text
    assert json.loads((tmp_path / "bench.json").read_text())["machine"] == cell["machine"]
    assert (tmp_path / "bench.png").stat().st_size > 10_000


def test_geometric_mean_of_nothing_is_no_number():
    assert geometric_mean([]) != geometric_mean([])
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)


@pytest.mark.parametrize("name", PROBLEMS)
def test_denoiser_of_every_problem_removes_noise(name):
    pytest.importorskip("sklearn", reason="the images are scikit-learn's")
    some = problem(name, seed=1)
    x = torch.randn(3, *some.shape, generator=torch.Generator().manual_seed(0)) * TABLE.sigma_max
    denoised = some.denoise(x, torch.full((3,), TABLE.sigma_max))
    assert denoised.shape == x.shape
    assert denoised.square().mean() < 0.5 * x.square().mean()


@pytest.mark.parametrize("name", ["grid-8x4", "power-mixture", "digits-mixture-cfg3"])
def test_problems_are_drawn_by_their_seed(name):
    pytest.importorskip("sklearn", reason="the images are scikit-learn's")
    shape = problem(name, seed=1).shape
    x, sigma = torch.ones(1, *shape), torch.ones(1)
    first, again, other = (problem(name, seed).denoise(x, sigma) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_unknown_problem_is_refused():
    with pytest.raises(ValueError, match="choose one of"):
        problem("grid", seed=0)


def test_every_use_of_noise_has_its_own():
    arena = Arena("grid-6x6", seed=1, noises=8)
    uses = (cells.HELD_OUT, cells.TRUTH, cells.GITS_NOISE, cells.OSS_NOISE, cells.ORACLE_NOISE)
    streams = [arena.noise(8, use) for use in uses]
    assert torch.equal(arena.held_out, streams[0])
    for k, one in enumerate(streams):
        assert not any(torch.equal(one, other) for other in streams[k + 1 :])
