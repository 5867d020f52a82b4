"""Which steps a run at given levels makes: fitted ones, or those of DPM-Solver++(2M)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from align_your_steps.optimizer.diffusion.multistep import TEXTBOOK, textbook
from align_your_steps.schedules import CalibratedSampler, calibrated_steps
from align_your_steps.schedules.calibrated_steps import Step, keeps

FITTED = CalibratedSampler(
    (9.0, 4.0, 2.0, 1.0, 0.0),
    (9.0, 4.1, 2.0, 1.0),
    ((1.1,), (1.3, -0.2), (1.5, -0.6, 0.1), (2.0, -1.2, 0.3, -0.1)),
)
OTHER = CalibratedSampler((9.0, 3.0, 0.0), (9.0, 3.0), ((1.2,), (1.5, -0.5)))


def planned(levels: Sequence[float], samplers: Sequence[CalibratedSampler]) -> list[Step]:
    return calibrated_steps.planned(levels, samplers, TEXTBOOK["dpmpp_2m"])


def made(
    levels: list[float], *samplers: CalibratedSampler
) -> list[tuple[float, tuple[float, ...]]]:
    return [(step.told, step.row) for step in planned(levels, samplers)]


def test_whole_run_is_the_fit() -> None:
    steps = planned(FITTED.levels, [OTHER, FITTED])
    assert [(step.told, step.row) for step in steps] == list(
        zip(FITTED.told, FITTED.weights, strict=True)
    )
    assert all(step.fitted and step.whole for step in steps)


def test_rounding_of_levels_makes_no_difference() -> None:
    rounded = [level * (1 + 1e-6) for level in FITTED.levels]
    assert made(rounded, FITTED) == made(list(FITTED.levels), FITTED)


@pytest.mark.parametrize("at", range(1, 5))
def test_first_part_of_a_split_run_is_the_fit(at: int) -> None:
    assert made(list(FITTED.levels[: at + 1]), FITTED) == made(list(FITTED.levels), FITTED)[:at]


@pytest.mark.parametrize("at", range(1, 4))
def test_second_part_mixes_what_is_there_with_weights_of_the_same_sum(at: int) -> None:
    steps = planned(FITTED.levels[at:], [FITTED])
    for i, (step, row) in enumerate(zip(steps, FITTED.weights[at:], strict=True)):
        assert step.fitted and not step.whole
        assert len(step.row) == min(i + 1, len(row))
        assert step.row[:-1] == row[: len(step.row) - 1]
        assert math.isclose(sum(step.row), sum(row))


@pytest.mark.parametrize(
    "levels",
    [[9.0, 4.1, 2.1, 1.1, 0.0], [9.0, 8.0, 7.0, 0.5], [9.0, 3.0, 1.0, 0.0], [5.0, 0.0]],
    ids=["shifted", "above 0", "another sampler's", "one step"],
)
def test_other_levels_are_those_of_dpmpp_2m(levels: list[float]) -> None:
    steps = planned(levels, [FITTED])
    assert not any(step.fitted for step in steps)
    assert [step.told for step in steps] == levels[:-1]
    for step, row in zip(steps, textbook("dpmpp_2m", levels).weights, strict=True):
        assert step.row == pytest.approx(row)


def test_one_fitted_step_among_others_is_textbook() -> None:
    assert not any(step.fitted for step in planned([9.0, 5.0, 1.0, 0.0], [FITTED]))


def test_sampler_that_was_fitted_to_most_steps_is_taken() -> None:
    assert made([9.0, 3.0, 0.0], FITTED, OTHER) == [(9.0, (1.2,)), (3.0, (1.5, -0.5))]


def test_of_samplers_that_were_fitted_to_as_many_steps_weights_alone_come_last() -> None:
    simpler = replace(FITTED, weights=((1.0,),) * 4, weights_only=True)
    for samplers in ([simpler, FITTED], [FITTED, simpler]):
        assert not any(step.weights_only for step in planned(FITTED.levels, samplers))


@pytest.mark.parametrize("levels", [[1.0, 1.0, 0.5], [0.1, 0.4, 1.0], [1.0, 0.0, 0.5], [1.0], []])
def test_levels_that_do_not_fall_make_finite_steps(levels: list[float]) -> None:
    steps = planned(levels, [FITTED])
    assert len(steps) == max(0, len(levels) - 1)
    assert all(math.isfinite(b) for step in steps for b in step.row)


@pytest.mark.parametrize(
    "told, row, expected",
    [(3.0, (1.5, -0.5), True), (3.1, (1.5, -0.5), False), (3.0, (1.5, -0.4), False)],
)
def test_mask_needs_told_levels_that_are_the_levels_and_a_whole_last_row(
    told: float, row: tuple[float, ...], expected: bool
) -> None:
    sampler = CalibratedSampler((9.0, 3.0, 0.0), (9.0, told), ((1.2,), row))
    assert keeps(sampler) is expected


def test_textbook_step_is_told_its_level() -> None:
    assert planned([2.0, 1.0], []) == [Step(2.0, (1.0,))]


RESTARTS = (
    ((1.2,), (1.4, -0.3), (1.6, -0.7, 0.2)),
    ((1.25,), (1.45, -0.45)),
    ((1.0,),),
)


@pytest.mark.parametrize("at", range(1, 4))
def test_run_that_begins_inside_has_the_weights_that_were_fitted_to_that(at: int) -> None:
    steps = planned(FITTED.levels[at:], [replace(FITTED, restarts=RESTARTS)])
    assert tuple(step.row for step in steps) == RESTARTS[at - 1]
    assert all(step.fitted and step.whole for step in steps)


def test_eight_steps_at_denoise_half_are_the_last_of_sixteen() -> None:
    """KSampler asks for 16 levels and runs the last 8."""
    levels = tuple(float(16 - i) for i in range(17))
    rows = tuple(tuple((1.0 + i / 100,) for _ in range(16 - i)) for i in range(1, 16))
    known = CalibratedSampler(levels, levels[:-1], ((1.5,),) * 16, True, rows)
    steps = planned(levels[8:], [FITTED, known])
    assert [step.row for step in steps] == [(1.08,)] * 8
    assert all(step.weights_only for step in steps)


def test_mask_needs_whole_last_rows_of_runs_that_begin_inside_too() -> None:
    sampler = CalibratedSampler((9.0, 3.0, 0.0), (9.0, 3.0), ((1.2,), (1.5, -0.5)))
    assert keeps(replace(sampler, restarts=(((1.0,),),)))
    assert not keeps(replace(sampler, restarts=(((1.1,),),)))
