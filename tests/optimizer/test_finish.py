"""An optimisation that ends early: when it stops, what it finds, and how it goes on later."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from align_your_steps.optimizer import Deadline, Result, builtin_solver
from align_your_steps.optimizer.plan import FEWEST, PROFILE_LEVELS
from align_your_steps.schedules.curves import hand_made
from align_your_steps.tests.optimizer.test_journal import InMemory, Model, recorded, run, same
from align_your_steps.tests.optimizer.test_optimize import TABLE, chosen_by

STEPS, BUDGET = 4, 1500
GIVEN = {
    name: torch.from_numpy(np.append(20.0, levels[1:])).float()
    for name, levels in hand_made(STEPS, TABLE).items()
    if levels[1] < 20.0
}


class At:
    """The user asks to finish when so many rows have been computed."""

    def __init__(self, rows: float) -> None:
        self.rows = rows

    def left(self, rows: int) -> float:
        return 0.0 if rows >= self.rows else math.inf


class Rows:
    """A limit of rows, as one of time would be."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def left(self, rows: int) -> float:
        return max(0, self.rows - rows)


def found(model: Model, **settings: Any) -> Result:
    return run(model, **{"budget": BUDGET, "candidates": GIVEN, **settings})


def check(result: Result, method: str = "measured") -> None:
    """It is a schedule, and none of the given ones that were run as often was measured better."""
    assert len(result.sigmas) == STEPS + 1
    assert result.sigmas[0] == 20.0
    assert result.sigmas[-1] == 0.0
    assert (result.sigmas.diff() < 0).all()
    assert len(result.scores) >= FEWEST
    winner = result.error
    assert winner.candidate.name == result.method
    assert result.noises == len(winner.errors)
    given = [score for score in result.scores if score.candidate.given]
    if method == "measured":
        assert len(given) >= 2
        for score in given:
            if len(score.errors) == result.noises:
                assert chosen_by(result, winner) <= chosen_by(result, score)


EACH: list[dict[str, Any]] = [
    {"solver": "dpmpp_2m"},
    {"solver": "heun"},
    {"solver": "dpmpp_2m_sde", "budget": 2000},
    {"solver": "dpmpp_2m", "method": "paper"},
]


@pytest.mark.parametrize("settings", EACH, ids=lambda s: "-".join(map(str, s.values())))
def test_finishing_at_any_moment_gives_the_best_so_far_soon(settings: dict[str, Any]) -> None:
    runs: list[tuple[str, int]] = []
    whole = found(Model(), progress=lambda *what: runs.append(what), **settings)
    assert not whole.ended_early
    phases = {phase: [rows for told, rows in runs if told == phase] for phase, _ in runs}
    assert {"reference", "profile", "candidates"} <= set(phases)
    for phase, rows in phases.items():
        asked = rows[len(rows) // 2]
        model = Model()
        result = found(model, finish=At(asked), **settings)
        check(result, settings.get("method", "measured"))
        assert result.ended_early, phase
        assert model.rows == result.total_calls == sum(result.calls.values())
        assert result.total_calls < whole.total_calls
        # What runs at the time, and the smallest comparison.
        assert result.total_calls - asked < 0.27 * settings.get("budget", BUDGET), phase


def test_finishing_before_anything_takes_as_few_rows_as_the_smallest_budget() -> None:
    with pytest.raises(ValueError, match="at least") as refused:
        found(Model(), budget=10)
    least = int(str(refused.value).split("at least ")[1].split(" ")[0])
    result = found(Model(), budget=100_000, finish=At(0))
    check(result)
    assert result.total_calls <= least
    assert result.noises == 1


def test_finishing_during_the_first_run_begins_with_a_smaller_plan() -> None:
    model = Model()
    result = found(model, budget=50_000, finish=At(17))
    assert result.total_calls == model.rows < 17 + 16 + 200
    check(result)


def opening(**settings: Any) -> tuple[list[tuple[str, int]], int]:
    """What a whole optimisation tells of its progress, and where its first races end in that."""
    runs: list[tuple[str, int]] = []
    found(Model(), progress=lambda *what: runs.append(what), **settings)
    first = [phase for phase, _ in runs].index("candidates")
    end = next(k for k in range(first, len(runs)) if runs[k][0] == "reference")
    return runs, end


@pytest.mark.parametrize("solver", ["dpmpp_2m", "euler", "heun"])
def test_given_schedules_are_raced_before_further_references_and_the_profile(solver: str) -> None:
    runs, end = opening(solver=solver, budget=4000)
    phases = [phase for phase, _ in runs[:end]]
    assert "profile" not in phases
    assert phases.count("candidates") >= FEWEST
    assert runs[end - 1][1] < 0.25 * 4000


@pytest.mark.parametrize("solver", ["dpmpp_2m", "euler", "heun"])
def test_once_something_was_raced_finishing_ends_with_the_best_of_it(solver: str) -> None:
    settings = {"solver": solver, "budget": 4000}
    runs, _ = opening(**settings)
    at_hand = max(b - a for (_, a), (_, b) in pairwise(runs))  # the longest run
    refined = max(rows for phase, rows in runs if phase == "refinement")
    noises = set()
    for asked in np.linspace(1000, refined - 1, 5):
        result = found(Model(), finish=At(asked), **settings)
        check(result)
        assert result.ended_early and result.resumable
        assert result.total_calls - asked <= at_hand + PROFILE_LEVELS
        noises.add(result.noises)
    assert noises == {min(noises)}, "all that was raced was run on the first fresh batch"


def test_a_schedule_that_was_raced_is_not_run_again_on_the_same_noise() -> None:
    runs: dict[tuple[bytes, bytes], int] = {}
    solve = builtin_solver("dpmpp_2m", Model())

    def watched(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        key = noise.numpy().tobytes(), sigmas.numpy().tobytes()
        runs[key] = runs.get(key, 0) + 1
        return solve(noise, sigmas, seed)

    found(Model(), solver=watched)
    assert len(runs) > 10
    assert set(runs.values()) == {1}


def test_finishing_during_the_comparison_ends_it_at_once() -> None:
    whole = found(Model())
    asked = whole.total_calls - 200
    assert whole.calls["candidates"] > 200
    result = found(Model(), finish=At(asked))
    assert asked <= result.total_calls < asked + 4 * 30  # one run, of a reference at most
    check(result)
    assert result.noises > 4


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    same(found(Model(), finish=Rows(10 * BUDGET)), found(Model()))


@pytest.mark.parametrize("settings", EACH, ids=lambda s: "-".join(map(str, s.values())))
def test_a_limit_of_rows_is_kept_like_a_budget(settings: dict[str, Any]) -> None:
    limit = int(0.35 * settings.get("budget", BUDGET))
    result = found(Model(), finish=Rows(limit), **settings)
    check(result, settings.get("method", "measured"))
    assert result.ended_early
    assert 0.6 * limit < result.total_calls <= limit


@pytest.mark.parametrize("asked", [0.3, 0.8])
def test_a_later_run_goes_on_and_finds_what_an_uninterrupted_one_does(asked: float) -> None:
    whole = Model()
    expected = found(whole)
    journal = InMemory()
    early = found(Model(), journal=journal, finish=At(int(asked * whole.rows)))
    assert early.ended_early
    fits = recorded(journal, list(journal.kept))
    assert fits > 0
    model = Model()
    same(found(model, journal=journal), expected)
    assert model.rows < whole.rows
    # All but the stage in which it ended.
    assert model.rows == whole.rows - fits
    assert fits > (asked - 0.2) * whole.rows


def test_a_larger_limit_goes_on_from_a_smaller_one() -> None:
    journal, first, second = InMemory(), Model(), Model()
    early = found(first, journal=journal, budget=2000, finish=Rows(1300))
    later = found(second, journal=journal, budget=2000, finish=Rows(1600))
    assert early.total_calls < later.total_calls
    assert second.rows < later.total_calls
    assert later.ended_early


class Timed(Model):
    """A denoiser whose calls take time on a clock of their own."""

    def __init__(self, first: float, row: float) -> None:
        super().__init__()
        self.first, self.row, self.now = first, row, 0.0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.now += self.row * len(x) + (self.first if self.calls == 0 else 0.0)
        return super().__call__(x, sigma)


@pytest.mark.parametrize("seconds", [5.0, 15.0, 60.0])
def test_a_limit_of_time_is_kept_though_the_first_call_is_slow(seconds: float) -> None:
    model = Timed(first=2.0, row=0.05)
    result = found(model, budget=4000, finish=Deadline(seconds, clock=lambda: model.now))
    check(result)
    assert result.ended_early
    assert 0.6 * seconds < model.now < max(seconds + 0.5, 2.0 + 0.05 * 130)


def test_a_model_that_turns_slow_is_noticed() -> None:
    class Slower(Timed):
        def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            self.row = 0.05 if self.rows < 300 else 0.2
            return super().__call__(x, sigma)

    model = Slower(first=2.0, row=0.05)
    result = found(model, budget=4000, finish=Deadline(60.0, clock=lambda: model.now))
    check(result)
    assert 40.0 < model.now < 80.0  # the smallest comparison alone takes 40 s by then


def test_the_best_so_far_is_told_from_the_first_prediction_to_the_winner() -> None:
    told: list[tuple[str, torch.Tensor]] = []
    phase = [""]

    def progress(name: str, _: int) -> None:
        phase[0] = name

    model = Model()
    result = found(model, progress=progress, better=lambda levels: told.append((phase[0], levels)))
    phases, schedules = zip(*told, strict=True)
    assert phases[0] == "reference"
    assert {"refinement", "candidates"} <= set(phases)
    assert torch.equal(schedules[-1], result.sigmas)
    assert all(len(sigmas) == STEPS + 1 for sigmas in schedules)
    assert not any(torch.equal(*pair) for pair in pairwise(schedules))
    assert model.rows == found(Model()).total_calls
