"""A schedule measured for a denoise below 1, asked for levels of the whole range."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from align_your_steps.schedules import Provenance, Schedule, at_steps, levels_at, with_denoise

SIGMA_MIN, SIGMA_MAX = 0.03, 14.6
# Among these are the traps of rounding: a sampler that runs 5 steps at 0.9 asks for int(5 / 0.9),
# which is 5, but round(5 * 0.9) is 4; and one that runs 51 at 0.17 asks for 300, but 300 * 0.17 is
# above 51.
DENOISE = [percent / 100 for percent in range(1, 100)]
STEPS = range(1, 61)

every_end = pytest.mark.parametrize("last", [SIGMA_MIN, 0.0])


def measured(steps: int, first: float = 3.0, last: float = 0.0) -> Schedule:
    """A schedule that is not straight in log sigma: no resampling leaves it as it is."""
    bent = np.linspace(0.0, 1.0, steps + 1) ** 1.1
    levels = first * (SIGMA_MIN / first) ** bent
    return Schedule((*levels[:-1], last), "mine", Provenance("a person", "a model", "a day"))


def for_denoise(schedule: Schedule, denoise: float) -> Callable[[int], tuple[float, ...]]:
    """Return what a sampler asks: the levels for any number of steps."""
    return lambda steps: levels_at(
        schedule, steps, denoise=denoise, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX
    )


@every_end
def test_sampler_with_the_measured_steps_and_denoise_runs_the_measured_levels(last: float) -> None:
    for steps, denoise in itertools.product(STEPS, DENOISE):
        schedule = measured(steps, last=last)
        run = with_denoise(for_denoise(schedule, denoise), steps, denoise, "keep steps")
        assert run == (*schedule.levels[:-1], 0.0), (steps, denoise)


def test_sampler_with_other_steps_runs_the_schedule_at_those_steps() -> None:
    schedule = measured(10)
    for steps, denoise in itertools.product(STEPS, DENOISE):
        run = with_denoise(for_denoise(schedule, denoise), steps, denoise, "keep steps")
        assert run == at_steps(schedule, steps, sigma_min=SIGMA_MIN), (steps, denoise)


@every_end
def test_any_number_of_steps_gives_levels_that_fall_to_zero(last: float) -> None:
    schedule = measured(10, last=last)
    for steps, denoise in itertools.product(STEPS, DENOISE):
        levels = for_denoise(schedule, denoise)(steps)
        assert len(levels) == steps + 1
        assert levels[-1] == 0
        # in float32, in which samplers compute
        assert (np.diff(np.array(levels, dtype=np.float32)) < 0).all(), (steps, denoise)


def test_levels_above_the_measured_ones_start_at_sigma_max() -> None:
    for steps, denoise in itertools.product(STEPS, DENOISE):
        total = int(steps / denoise)
        first = for_denoise(measured(steps), denoise)(total)[0]
        assert first == (SIGMA_MAX if total > steps else 3.0), (steps, denoise)


def test_levels_above_the_measured_ones_are_even_in_log() -> None:
    levels = for_denoise(measured(10), 0.5)(20)
    assert levels[10] == 3.0
    assert np.diff(np.log(levels[:11]), 2) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("first", [SIGMA_MAX, SIGMA_MAX * (1 - 1e-7), 20.0])
def test_schedule_that_starts_at_sigma_max_is_the_whole_range(first: float) -> None:
    schedule = measured(5, first=first)
    for steps, denoise in itertools.product(STEPS, DENOISE):
        levels = for_denoise(schedule, denoise)(steps)
        assert levels == at_steps(schedule, steps, sigma_min=SIGMA_MIN), (steps, denoise)


@every_end
@pytest.mark.parametrize("first", [SIGMA_MAX, 3.0])
def test_schedule_measured_at_denoise_one_is_the_whole_range(first: float, last: float) -> None:
    schedule = measured(10, first, last)
    for steps in STEPS:
        levels = for_denoise(schedule, 1.0)(steps)
        assert levels == at_steps(schedule, steps, sigma_min=SIGMA_MIN)
