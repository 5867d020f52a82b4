"""The benchmark end to end on one cell, its problems, and its report."""

import json

import pytest
import torch
from align_your_steps.benchmarks import bench
from align_your_steps.benchmarks import cell as cells
from align_your_steps.benchmarks.cell import OURS, Arena
from align_your_steps.benchmarks.compare import (
    by_budget,
    complete,
    geometric_mean,
    over_best_by_budget,
)
from align_your_steps.benchmarks.peers import fixed
from align_your_steps.benchmarks.problems import PROBLEMS, TABLE, problem
from align_your_steps.benchmarks.report import write_report

KEY = bench.Key("grid-6x6", "ddim_stochastic", 5, 1000, 3, "oracle", "test")


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


@pytest.mark.parametrize("beside", cells.BESIDE)
def test_a_cell_that_was_compared_with_more_serves_too(output, cell, beside, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("measured again"))
    assert bench.run([KEY._replace(beside=beside)], output, noises=64) == [cell]


def test_a_cell_that_was_compared_with_less_does_not_serve(cell, tmp_path, monkeypatch):
    less = {**cell, "beside": "fixed"}
    (tmp_path / "cells.jsonl").write_text(json.dumps(less) + "\n")
    monkeypatch.setattr(bench, "measure", lambda *_: {**cell, "how": {"method": "again"}})
    assert bench.run([KEY], tmp_path, noises=64)[0]["how"] == {"method": "again"}


def test_beside_the_fixed_ones_a_cell_has_the_same_errors_and_calls_for_nothing_else(
    cell, monkeypatch
):
    for costly in ("oracle", "oss", "Gits", "energy_distance"):
        monkeypatch.setattr(cells, costly, lambda *_, what=costly: pytest.fail(what))
    arena = Arena(KEY.problem, KEY.seed, noises=64)
    alone = cells.measure(arena, KEY.solver, KEY.steps, KEY.budget, "fixed")
    assert set(alone["methods"]) == {*fixed(5, TABLE), OURS}
    for name, method in alone["methods"].items():
        assert method.items() <= cell["methods"][name].items()
    for name, compared in alone["against"].items():
        assert compared.items() <= cell["against"][name].items()


def keys_of(monkeypatch, tmp_path, *arguments):
    """Return what the program would measure."""
    asked = []
    monkeypatch.setattr(bench, "run", lambda keys, _: asked.extend(keys))
    monkeypatch.setattr(bench, "write_report", lambda *_: "")
    bench.main([*arguments, "--output", str(tmp_path)])
    return asked


@pytest.mark.parametrize("more", [[], ["--full"]])
def test_other_budgets_repeat_neither_the_peers_nor_a_cell(monkeypatch, tmp_path, more):
    keys = keys_of(monkeypatch, tmp_path, "--oracle", *more)
    cells = [key[:5] for key in keys]
    assert len(set(cells)) == len(cells)
    assert {key.budget for key in keys if key.beside == "oracle"} == {bench.BUDGET}
    for name in bench.BUDGET_PROBLEMS:
        for solver in ("dpmpp_2m", "euler"):
            for steps in (5, 10):
                budgets = [k.budget for k in keys if k[:3] == (name, solver, steps)]
                assert sorted(budgets) == [500, 1000, 2000, 4000, 8000, 16000]


def test_budgets_keep_to_the_problems_solvers_and_steps_asked_for(monkeypatch, tmp_path):
    asked = ["--problems", "power-mixture", "--solvers", "euler", "--steps", "5", "8"]
    keys = keys_of(monkeypatch, tmp_path, *asked)
    assert {key[:2] for key in keys} == {("power-mixture", "euler")}
    assert {key.steps for key in keys if key.budget != bench.BUDGET} == {5}
    assert {key.steps for key in keys if key.budget == bench.BUDGET} == {5, 8}
    without = keys_of(monkeypatch, tmp_path, *asked, "--no-budgets")
    assert without == [key for key in keys if key.beside == "peers"]


def test_a_cell_of_other_code_or_form_or_a_cut_off_line_is_measured_again(output, cell, tmp_path):
    line = json.dumps(cell)
    other = json.dumps({name: cell[name] for name in cell if name != "beside"})
    lines = [line, other, line[: len(line) // 2]]
    (tmp_path / "cells.jsonl").write_text("\n".join(lines) + "\n")
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
    assert (tmp_path / "budgets.png").stat().st_size > 10_000


def at_budgets(cell, ratios, **changed):
    """A cell at several budgets, with ratios of our error over the best fixed one's."""
    best = cell["best_fixed"]
    error = cell["methods"][best]["error"]
    return [
        {
            **cell,
            **changed,
            "budget": budget,
            "beside": "fixed",
            "methods": {**cell["methods"], OURS: {**cell["methods"][OURS], "error": r * error}},
            "against": {**cell["against"], best: {**cell["against"][best], "ratio": r}},
        }
        for budget, r in ratios.items()
    ]


def test_only_what_was_measured_at_every_budget_is_averaged(cell):
    some = at_budgets(cell, {500: 2.0, 16000: 0.5})
    stopped = at_budgets(cell, {500: 0.1, 1000: 0.1}, problem="another")
    assert complete(by_budget(some)) == [dict(zip((500, 16000), some, strict=True))]
    assert complete(by_budget(some + stopped)) == []


def test_budget_table_has_geometric_means(cell, tmp_path):
    some = at_budgets(cell, {500: 2.0, 16000: 0.5}, solver="euler")
    some += at_budgets(cell, {500: 0.5, 16000: 0.5}, solver="dpmpp_2m")
    means = over_best_by_budget(complete(by_budget(some)))
    assert means["all"] == pytest.approx({500: 1.0, 16000: 0.5})
    assert means["euler, 5 steps"] == pytest.approx({500: 2.0, 16000: 0.5})
    assert means["dpmpp_2m, 5 steps"] == pytest.approx({500: 0.5, 16000: 0.5})
    stopped = at_budgets(cell, {500: 0.001}, problem="another")  # in no mean
    rows = [line.split(" | ") for line in write_report(some + stopped, tmp_path).splitlines()]
    by_name = {row[0].removeprefix("| "): row for row in rows}
    # all, euler, dpmpp_2m, the worst, how many are worse, over the largest budget
    assert by_name["500"][1:5] == ["1.000", "2.000", "0.500", "2.000"]
    assert by_name["500"][-1] == "2.000 |"
    assert by_name["16000"][-1] == "1.000 |"


def test_cells_beside_the_fixed_ones_are_in_no_other_table(cell, tmp_path):
    usual = {**cell, "budget": 4000}
    alone = at_budgets(cell, {4000: 7.0}, problem="another")
    text = write_report([usual, *alone], tmp_path)
    assert text.splitlines()[4:] == write_report([usual], tmp_path).splitlines()[4:]


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
