"""Other step counts and a denoise below 1."""

from __future__ import annotations

import itertools
import logging
import math

import numpy as np
import pytest
from align_your_steps.schedules import (
    Provenance,
    Schedule,
    at_steps,
    extend_up,
    log_linear,
    preset,
    with_denoise,
)
from hypothesis import given
from hypothesis import strategies as st

ANYONE = Provenance("a person", "a model", "a day")
SIGMA_MIN = 0.03


def falls(levels: tuple[float, ...]) -> bool:
    return all(high > low for high, low in itertools.pairwise(levels))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Random schedules that end in a positive level, or in 0 before or after sigma_min."""
    ratios = draw(st.lists(st.floats(1e-3, 3.0), min_size=2, max_size=20))
    last = draw(st.sampled_from([SIGMA_MIN, 0.2]))
    levels = tuple((last * np.exp(np.cumsum([0.0, *ratios])))[::-1].tolist())
    return Schedule((*levels, *draw(st.sampled_from([(), (0.0,)]))), "random", ANYONE)


def straight(n: int) -> list[float]:
    """A curve of n steps whose levels are the numbers of steps left."""
    return [float(k) for k in range(n, -1, -1)]


# -- log_linear -----------------------------------------------------------------------------


@given(st.lists(st.floats(0.01, 100.0), min_size=1, max_size=12), st.integers(1, 50))
def test_log_linear_keeps_both_ends(levels: list[float], points: int) -> None:
    result = log_linear(levels, points)
    assert len(result) == points
    assert result[0] == levels[0]
    assert points == 1 or result[-1] == levels[-1]


def test_log_linear_of_a_straight_line_in_log_is_the_same_line() -> None:
    assert log_linear(np.geomspace(100, 0.01, 5), 9) == pytest.approx(np.geomspace(100, 0.01, 9))


def test_log_linear_passes_through_every_level_when_the_steps_are_multiplied() -> None:
    levels = preset("SDXL").levels
    assert log_linear(levels, 31)[::3] == pytest.approx(levels)


@pytest.mark.parametrize("levels", [(), (1.0, 0.0), (1.0, -1.0), (1.0, math.nan)])
def test_log_linear_refuses_levels_without_a_logarithm(levels: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="positive levels"):
        log_linear(levels, 3)


# -- at_steps -------------------------------------------------------------------------------


@given(schedules(), st.integers(1, 200))
def test_any_number_of_steps_gives_a_schedule_from_the_same_start_to_zero(
    schedule: Schedule, steps: int
) -> None:
    levels = at_steps(schedule, steps, sigma_min=SIGMA_MIN)
    assert len(levels) == steps + 1
    assert falls(levels)
    assert levels[0] == schedule.levels[0]
    assert levels[-1] == 0


@given(schedules())
def test_its_own_number_of_steps_keeps_the_levels(schedule: Schedule) -> None:
    levels = at_steps(schedule, schedule.steps, sigma_min=SIGMA_MIN)
    assert levels == (*schedule.levels[:-1], 0.0)


@given(schedules())
def test_one_step_goes_from_the_first_level_to_zero(schedule: Schedule) -> None:
    assert at_steps(schedule, 1, sigma_min=SIGMA_MIN) == (schedule.levels[0], 0.0)


def test_a_published_table_is_resampled_with_its_last_level_and_then_ends_in_zero() -> None:
    # The host's rule for the published tables, written out for one midpoint.
    levels = at_steps(preset("SD1.5"), 20, sigma_min=SIGMA_MIN)
    assert levels[:-1:2] == pytest.approx(preset("SD1.5").levels[:-1])
    assert levels[19] == pytest.approx(math.sqrt(0.152 * 0.029))


def test_a_final_zero_stands_for_sigma_min_when_the_schedule_has_not_reached_it() -> None:
    schedule = Schedule((8.0, 2.0, 0.0), "mine", ANYONE)
    assert at_steps(schedule, 4, sigma_min=0.5) == pytest.approx((8.0, 4.0, 2.0, 1.0, 0.0))


@pytest.mark.parametrize("last", [0.5, 0.5001, 0.1])
def test_a_final_zero_after_sigma_min_stays_a_step_of_its_own(last: float) -> None:
    schedule = Schedule((8.0, 2.0, last, 0.0), "mine", ANYONE)
    levels = at_steps(schedule, 5, sigma_min=0.5)
    assert levels == pytest.approx((8.0, 4.0, 2.0, math.sqrt(2.0 * last), last, 0.0))


@pytest.mark.parametrize(("steps", "lines"), [(9, 1), (10, 0), (11, 0)])
def test_fewer_steps_than_measured_are_logged(
    steps: int, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="align_your_steps"):
        at_steps(preset("SDXL"), steps, sigma_min=SIGMA_MIN)
    assert len(caplog.records) == lines


@pytest.mark.parametrize(
    ("steps", "sigma_min", "reason"),
    [
        (0, 0.03, "at least 1 step"),
        (5, 0.0, "sigma_min"),
        (5, math.nan, "sigma_min"),
        (5, 4.0, "cannot be given 5 steps"),
    ],
)
def test_at_steps_says_what_it_cannot_do(steps: int, sigma_min: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        at_steps(Schedule((3.0, 0.0), "one step", ANYONE), steps, sigma_min=sigma_min)


# -- with_denoise ---------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 100))
def test_keep_steps_runs_all_steps_on_the_end_of_a_finer_curve(steps: int, percent: int) -> None:
    denoise = percent / 100
    levels = with_denoise(straight, steps, denoise, "keep steps")
    assert levels == tuple(straight(steps))
    finer = with_denoise(lambda n: np.geomspace(100, 1, n + 1), steps, denoise, "keep steps")
    assert finer == tuple(np.geomspace(100, 1, int(steps / denoise) + 1)[-(steps + 1) :])


@given(st.integers(1, 60), st.integers(1, 100))
def test_truncate_runs_the_last_steps_of_the_same_curve_or_names_a_remedy(
    steps: int, percent: int
) -> None:
    denoise = percent / 100
    if round(steps * denoise) >= 1:
        assert with_denoise(straight, steps, denoise, "truncate") == tuple(
            straight(round(steps * denoise))
        )
        return
    with pytest.raises(ValueError, match="leaves no step") as failure:
        with_denoise(straight, steps, denoise, "truncate")
    words = str(failure.value).split()
    larger = float(words[words.index("set") + 3])
    more = int(words[words.index("steps", words.index("or")) + 2])
    for remedy in ((steps, larger), (more, denoise)):
        assert len(with_denoise(straight, *remedy, "truncate")) == 2
    assert round(steps * (larger - 0.01)) == 0
    assert round((more - 1) * denoise) == 0


@pytest.mark.parametrize("mode", ["keep steps", "truncate"])
def test_a_denoise_of_one_is_the_whole_curve(mode: str) -> None:
    assert with_denoise(straight, 7, 1.0, mode) == tuple(straight(7))


@pytest.mark.parametrize("mode", ["keep steps", "truncate"])
@pytest.mark.parametrize("denoise", [0.0, -0.5, 1.01, math.nan])
def test_a_denoise_outside_zero_to_one_is_refused(mode: str, denoise: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        with_denoise(straight, 10, denoise, mode)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'keep steps' or 'truncate'"):
        with_denoise(straight, 10, 0.5, "half")


# -- extend_up ------------------------------------------------------------------------------


@given(schedules(), st.integers(0, 30), st.floats(1.01, 100.0))
def test_extending_puts_log_linear_levels_before_an_untouched_tail(
    schedule: Schedule, more: int, factor: float
) -> None:
    tail = schedule.levels
    levels = extend_up(tail, schedule.steps + more, tail[0] * factor)
    assert len(levels) == len(tail) + more
    assert levels[more:] == tail
    assert falls(levels)
    if more:
        assert levels[0] == tail[0] * factor
        assert np.diff(np.log(levels[: more + 1]), 2) == pytest.approx(0.0, abs=1e-9)


def test_extending_to_fewer_steps_or_downwards_is_refused() -> None:
    with pytest.raises(ValueError, match="at least as many steps"):
        extend_up((2.0, 1.0, 0.0), 1, 8.0)
    with pytest.raises(ValueError, match="above its first level"):
        extend_up((2.0, 1.0, 0.0), 3, 2.0)


def test_levels_known_for_another_number_of_steps_are_not_interpolated() -> None:
    own, other = (14.6, 2.0, 0.3, 0.0), (14.6, 1.0, 0.0)
    both = Schedule(own, "name", Provenance("", "", ""), (other,))
    assert at_steps(both, 2, sigma_min=0.03) == other
    assert at_steps(both, 3, sigma_min=0.03) == own
    longer = Schedule(own, "name", Provenance("", "", ""))
    assert at_steps(both, 5, sigma_min=0.03) == at_steps(longer, 5, sigma_min=0.03)
