"""The hand-made curves: what each must be, whatever the model. tests/host compares the host's."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from align_your_steps.schedules import (
    CURVES,
    NoiseTable,
    curves,
    discrete_table,
    edm_table,
    flow_table,
    hand_made,
)

TABLES = {
    "discrete": discrete_table(),
    "zero-terminal-SNR": discrete_table(zero_terminal_snr=True),
    "EDM": edm_table(),
    "flow": flow_table(),
    "shifted flow": flow_table(shift=3.0),
}
every_table = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())


@every_table
def test_tables_ascend(table: NoiseTable) -> None:
    assert table.sigmas.shape == (1000,)
    assert table.sigmas.dtype == np.float64
    assert (np.diff(table.sigmas) > 0).all()
    assert (table.sigma_min, table.sigma_max) == (table.sigmas[0], table.sigmas[-1])


@pytest.mark.parametrize("name", ["discrete", "zero-terminal-SNR", "EDM", "flow"])
def test_time_and_level_are_inverse_on_the_table(name: str) -> None:
    table = TABLES[name]
    for level in table.sigmas[::37]:
        assert table.sigma(table.timestep(float(level))) == pytest.approx(level, rel=1e-12)


def test_discrete_levels_round_to_the_nearest_entry_and_interpolate_in_log() -> None:
    table = discrete_table()
    assert table.timestep(table.sigma(500.4)) == 500
    assert table.timestep(table.sigma(500.6)) == 501
    assert table.sigma(500.5) ** 2 == pytest.approx(table.sigmas[500] * table.sigmas[501])


def test_shift_multiplies_the_odds_of_a_flow_level() -> None:
    one, three = flow_table(), flow_table(shift=3.0)
    inner = slice(0, -1)  # the last level is 1, whose odds are infinite
    odds = one.sigmas[inner] / (1 - one.sigmas[inner])
    assert three.sigmas[inner] / (1 - three.sigmas[inner]) == pytest.approx(3 * odds)
    assert three.sigma_max == 1.0


@every_table
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 40])
@pytest.mark.parametrize("name", CURVES)
def test_a_curve_falls_to_zero(name: str, steps: int, table: NoiseTable) -> None:
    levels = CURVES[name](steps, table)
    assert levels.dtype == np.float64
    assert levels[-1] == 0
    assert (np.diff(levels) < 0).all()
    if name != "ddim_uniform":
        assert len(levels) == steps + 1
        assert levels[0] == pytest.approx(table.sigma_max, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "straight"),
    [("karras", lambda s: s ** (1 / 7)), ("exponential", np.log), ("kl_optimal", np.arctan)],
)
def test_a_curve_between_two_levels_is_straight_in_its_coordinate(
    name: str, straight: Callable[[np.ndarray], np.ndarray]
) -> None:
    levels = CURVES[name](9, edm_table())[:-1]
    assert levels[[0, -1]] == pytest.approx([80.0, 0.002])
    assert np.diff(straight(levels), 2) == pytest.approx(0.0, abs=1e-12)


def test_normal_ends_at_sigma_min_and_sgm_uniform_above_it() -> None:
    table = discrete_table()
    assert curves.normal(10, table)[-2] == pytest.approx(table.sigma_min)
    times = [table.timestep(s) for s in curves.sgm_uniform(9, table)[:-1]]
    assert times == [999 - 111 * k for k in range(9)]


def test_a_lowest_level_of_nearly_zero_stands_for_zero() -> None:
    table = edm_table(sigma_min=1e-6)
    assert curves.normal(10, table).tolist() == curves.sgm_uniform(10, table).tolist()
    # 11 whole strides of 1000 // 11 = 90 above entry 1, which is the one replaced by 0
    assert curves.ddim_uniform(10, table)[::-1].tolist() == [0.0, *table.sigmas[91::90]]


@pytest.mark.parametrize(("steps", "values"), [(10, 11), (30, 32), (3, 4)])
def test_ddim_uniform_has_as_many_steps_as_whole_strides_fit(steps: int, values: int) -> None:
    levels = curves.ddim_uniform(steps, discrete_table())
    stride = 1000 // steps
    assert len(levels) == values
    assert levels[:-1] == pytest.approx(discrete_table().sigmas[1::stride][::-1])


def test_beta_is_symmetric_in_the_table() -> None:
    table = flow_table()
    entries = curves.beta(10, table)[:-1] * 1000 - 1
    assert entries[0] == pytest.approx(999)
    assert entries[1:] + entries[:0:-1] == pytest.approx(999, abs=1.01)  # each is rounded
    assert entries[5] == pytest.approx(499.5, abs=0.51)


def test_beta_takes_a_repeated_entry_once() -> None:
    levels = curves.beta(500, discrete_table())
    assert len(levels) < 501
    assert (np.diff(levels) < 0).all()


def test_linear_quadratic_is_a_line_then_a_parabola_of_the_same_slope() -> None:
    covered = 1 - curves.linear_quadratic(20, flow_table())
    assert covered[:11] == pytest.approx(np.linspace(0, 0.025, 11))
    assert np.diff(covered[11:], 3) == pytest.approx(0.0, abs=1e-12)
    # slope of the line = slope of the parabola where they meet
    meeting = -1.5 * covered[10] + 2 * covered[11] - 0.5 * covered[12]
    assert meeting == pytest.approx(0.0025)


@every_table
def test_kl_optimal_of_one_step_is_defined(table: NoiseTable) -> None:
    levels = CURVES["kl_optimal"](1, table)
    assert levels.tolist() == pytest.approx([table.sigma_max, 0.0])


@every_table
@pytest.mark.parametrize("steps", [1, 10])
def test_time_uniform_runs_exactly_from_sigma_max_to_sigma_min(
    steps: int, table: NoiseTable
) -> None:
    levels = curves.time_uniform(steps, table)
    assert len(levels) == steps + 1
    assert (levels[0], levels[-1]) == (table.sigma_max, table.sigma_min)
    assert (np.diff(levels) < 0).all()


def test_time_uniform_is_even_in_time() -> None:
    levels = curves.time_uniform(9, discrete_table())
    assert [discrete_table().timestep(s) for s in levels] == [999 - 111 * k for k in range(10)]


@every_table
@pytest.mark.parametrize("steps", [1, 3, 7, 10, 20])
def test_hand_made_returns_proper_schedules_only(steps: int, table: NoiseTable) -> None:
    made = hand_made(steps, table)
    assert {"karras", "exponential", "simple", "normal", "kl_optimal"} <= made.keys()
    for levels in made.values():
        assert len(levels) == steps + 1
        assert levels[-1] == 0
        assert (np.diff(levels) < 0).all()
        assert math.isclose(levels[0], table.sigma_max, rel_tol=1e-4)


def test_hand_made_leaves_out_what_is_no_schedule_of_this_model() -> None:
    assert "ddim_uniform" not in hand_made(30, discrete_table())  # one step too many
    assert "ddim_uniform" not in hand_made(10, discrete_table())  # starts below sigma_max
    assert "beta" not in hand_made(500, discrete_table())  # too few steps
    assert "simple" not in hand_made(2000, discrete_table())  # repeats


def test_importing_schedules_does_not_load_scipy() -> None:
    code = "import align_your_steps.schedules, sys; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
