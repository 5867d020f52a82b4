"""The steps that the best standard choice needs are measured, and told where calls are left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from align_your_steps.optimizer import Result
from align_your_steps.optimizer.diffusion.multistep import textbook
from align_your_steps.optimizer.steps_needed import most_calls, steps_needed
from align_your_steps.tests.optimizer.test_calibrated import (
    DATA,
    Counted,
    curves,
    errors,
    found,
)
from align_your_steps.tests.optimizer.test_journal import InMemory, Interrupted

BUDGET = 6000


def longer(name: str, steps: int) -> Any:
    """The curves at any number of steps."""
    return curves(steps)[name]


def asked(denoise: Any = DATA.denoise, **settings: Any) -> Result:
    """A calibration that may measure how many steps the best pair needs."""
    given = {"budget": BUDGET, "longer": longer, **settings}
    return found(denoise, 5, **given)


def mean_log_error(pair: str, steps: int) -> float:
    """Of a pair at any number of steps, on many noises."""
    name, _, curve = pair.partition(" ")
    sampler = textbook(name, [float(t) for t in curves(steps)[curve]])
    sigmas = torch.tensor(sampler.levels).float()
    return float(errors(sampler.solver(DATA.denoise, sigmas), sigmas).log().mean())


def test_a_pair_with_the_told_steps_is_as_near_on_fresh_noise() -> None:
    result = asked()
    assert result.needed is not None and result.sampler is not None and result.gain is not None
    assert result.needed.noises >= 4
    assert result.total_calls <= BUDGET
    given = next(s.candidate.name for s in result.scores if s.candidate.given)
    own = errors(result.solver(DATA.denoise), result.sigmas).log().mean()
    steps, reached = result.needed.steps, result.needed.reached
    nearest = [mean_log_error(given, count) for count in range(5, 16)]
    if not reached:
        assert steps == 15
        assert min(nearest) > float(own) - 0.3
        return
    # Four to eight noises are few: the number may be off by what a quarter of the error is worth.
    assert mean_log_error(given, steps) == pytest.approx(float(own), abs=0.4)


def test_nothing_is_told_where_calls_are_short_or_nobody_knows_the_curves() -> None:
    assert found(budget=1000, longer=longer).needed is None
    assert found(budget=BUDGET).needed is None
    assert asked(longer=lambda name, steps: None).needed is None
    assert asked(longer=lambda name, steps: curves(steps - 1)[name]).needed is None, "too short"


def test_an_interrupted_search_goes_on_with_the_same_answer() -> None:
    whole = Counted()
    expected = asked(whole)
    journal = InMemory()
    with pytest.raises(Interrupted):
        asked(Counted(0.98 * whole.rows), journal=journal)
    second = Counted()
    again = asked(second, journal=journal)
    assert (again.needed, again.calls) == (expected.needed, expected.calls)
    assert second.rows < 0.1 * whole.rows


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0, 2.0])
def test_the_least_number_that_comes_as_close_is_found(steps: int, share: float) -> None:
    least = steps + 1 + round(2 * share * (steps - 0.5))
    tried = {}

    def close(count: int) -> bool:
        assert steps < count <= 3 * steps and count not in tried
        tried[count] = count >= least
        return tried[count]

    answer = steps_needed(close, steps, 4)
    assert answer is not None
    if least > 3 * steps:
        assert (answer.steps, answer.reached) == (3 * steps, False)
    else:
        assert (answer.steps, answer.reached) == (least, True)
        assert least == steps + 1 or tried[least - 1] is False
    assert tried[answer.steps] is answer.reached
    assert sum(tried) <= most_calls(steps)
