"""A calibration that ends at any moment: what it gives, how soon, and how it goes on."""

from __future__ import annotations

import math

import pytest
from align_your_steps.optimizer.runs.finish import Deadline
from align_your_steps.tests.optimizer.test_calibrated import Counted, found
from align_your_steps.tests.optimizer.test_finish import At, Rows
from align_your_steps.tests.optimizer.test_journal import InMemory, Interrupted

CALLS = 16  # rows of a call


@pytest.mark.parametrize("asked", [0, 20, 100, 300, 500, 700, 950])
def test_finishing_ends_within_a_call_with_the_best_measured_so_far(asked: int) -> None:
    model = Counted()
    result = found(model, finish=At(asked))
    assert model.rows == result.total_calls <= asked + CALLS
    assert result.ended_early
    winner = result.error
    assert result.sampler is not None and result.noises == len(winner.errors)
    if not result.noises:
        assert asked < 400, "nothing was measured"
        assert winner.candidate.given and result.gain is None
    for score in result.scores:
        assert len(score.errors) == result.noises
        if score.candidate.given:
            assert winner.figure <= score.figure


def test_something_fitted_is_measured_before_half_of_a_usual_budget_is_spent() -> None:
    result = found(finish=At(450))
    assert result.gain is not None
    assert any(not score.candidate.given for score in result.scores)


def test_a_limit_of_rows_is_kept_and_used() -> None:
    result = found(budget=4000, finish=Rows(1000))
    assert result.ended_early
    assert 800 < result.total_calls <= 1000
    assert result.gain is not None and result.gain.ratio < 1.0


def test_a_limit_of_time_is_kept() -> None:
    model = Counted()
    result = found(model, budget=4000, finish=Deadline(50.0, clock=lambda: 0.1 * model.rows))
    assert result.ended_early
    assert model.rows <= 500 + CALLS


@pytest.mark.parametrize("first", [2000, 4000])
def test_a_larger_budget_continues_a_smaller_one(first: int) -> None:
    journal = InMemory()
    budgets = {"budget": 4000}
    whole = found(**budgets)
    with pytest.raises(Interrupted):
        found(Counted(0.8 * first), budget=first, journal=journal)
    model = Counted()
    again = found(model, journal=journal, **budgets)
    assert again.sampler == whole.sampler
    assert again.calls == whole.calls
    taken = whole.total_calls - model.rows
    assert taken > 0.2 * first


def test_what_is_recorded_is_small() -> None:
    """An interrupt loses no more than a sixth of a budget."""
    journal = InMemory()
    result = found(budget=4000, journal=journal)
    stages = [
        sum(int(x) for key, x in kept.items() if "rows, " in key) for kept in journal.kept.values()
    ]
    assert max(stages) < result.total_calls / 6


def test_an_earlier_sampler_is_raced_on_noise_that_has_not_chosen_it() -> None:
    earlier = found(budget=4000)
    again = found(budget=1000, samplers=(earlier.sampler,))
    raced = next(s for s in again.scores if s.candidate.name == "earlier 1")
    before = next(s for s in earlier.scores if s.candidate.name == earlier.method)
    assert not set(raced.errors) & set(before.errors)
    assert again.error.figure <= raced.figure
    assert again.sampler == earlier.sampler or again.error.figure < raced.figure


def test_an_earlier_sampler_of_other_levels_is_left_out() -> None:
    other = found(steps=4).sampler
    assert not any("earlier" in s.candidate.name for s in found(samplers=(other,)).scores)


def test_more_calls_are_no_worse() -> None:
    """What is attached never loses to what was attached before, on the noise that both know."""
    figures = [found(budget=4000, finish=At(rows)).error.figure for rows in (500, 1500, math.inf)]
    assert figures[-1] < 1.2 * figures[0]
