"""`make demo`: what its table says is so, on few seeds."""

import pytest
import torch
from align_your_steps.benchmarks import demo
from align_your_steps.benchmarks.demo import Demo
from align_your_steps.benchmarks.metrics import end_point_errors
from PIL import Image

STEPS, BUDGET = 6, 300


@pytest.fixture(scope="module")
def bench() -> Demo:
    torch.set_num_threads(1)
    return Demo(label=4, cfg=3.0, noises=4)


@pytest.fixture(scope="module")
def rows(bench):
    return list(demo.table(bench, STEPS, BUDGET))


def test_every_row_holds_the_error_of_its_own_sampler(bench, rows):
    assert [title.split(":")[0] for title, _, _ in rows] == [
        demo.USUAL,
        "best standard pair",
        demo.OURS,
    ]
    for title, sampler, line in rows:
        ends = sampler(bench.denoise, bench.noise)
        errors = end_point_errors(ends, bench.many(bench.denoise, bench.noise))
        assert line.startswith(title)
        assert f" {errors.mean():.3f} ± {errors.std() / 2:.3f} " in line


def test_no_standard_pair_that_was_run_is_better_than_the_best(bench, rows):
    (best,) = [title.split(": ")[1] for title, _, _ in rows if ": " in title]
    means = {name: float(errors.mean()) for name, errors in bench.pairs(STEPS).items()}
    assert means[best] == min(means.values())
    assert len(means) == demo.SCREENED


def test_calls_are_those_that_were_made(bench, rows):
    calls = [int(line.split()[-1]) for _, _, line in rows]
    counted = 0

    def denoise(x, sigma):
        nonlocal counted
        counted += len(x)
        return bench.denoise(x, sigma)

    other = Demo(label=4, cfg=3.0, noises=4)
    other.denoise = denoise
    other.best(STEPS)
    assert calls[0] == 0
    assert calls[1] == counted
    assert 0 < calls[2] <= BUDGET


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_one_step_less_is_not_as_near(bench, share):
    error = share * bench._mean(demo.USUAL, STEPS)
    near = bench.as_near(demo.USUAL, STEPS, error)
    assert (near > STEPS) == (share < 1.0)
    assert bench._mean(demo.USUAL, near) <= error < bench._mean(demo.USUAL, near - 1)


def test_what_never_comes_as_near_is_said_so(bench, monkeypatch):
    monkeypatch.setattr(demo, "MOST_STEPS", STEPS + 1)
    near = bench.as_near(demo.USUAL, STEPS, 1e-6)
    assert near is None
    assert "over 7" in demo.line("one", torch.ones(4), near, 0)


def test_the_demo_draws_all_choices_and_classes(tmp_path, monkeypatch, capsys):
    made = [("one", demo.textbook("euler", [14.6, 1.0, 0.0]), "one 0.1")]
    monkeypatch.setattr(demo, "table", lambda *_: iter(made))
    demo.main(["--output", str(tmp_path / "demo.png"), "--labels", "2", "4", "--count", "2"])
    said = capsys.readouterr().out
    assert said.count("one 0.1") == 2
    assert f"'{demo.NAMES[4]}'" in said
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.size == (240 + 4 * 140, 2 * 140 + 12)
