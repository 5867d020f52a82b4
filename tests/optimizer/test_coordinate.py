"""Host levels and EDM levels."""

from dataclasses import replace

import numpy as np
import pytest
from align_your_steps.optimizer import FLOW, VE, affine
from align_your_steps.optimizer.diffusion.coordinate import FLOW_TOP, spread
from align_your_steps.optimizer.profile.algorithm_1 import edm_schedule

LEVELS = np.array([1e-4, 0.01, 0.5, 0.9, FLOW_TOP])


# Levels of a model of discrete time: the lowest are as far apart as those of Stable Diffusion.
TABLE = np.array([0.03, 0.04, 0.05, 0.06, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 14.6])
DISCRETE = replace(VE, table=TABLE)


@pytest.mark.parametrize("coordinate", [VE, FLOW, affine(-1.0, 8.0), affine(0.5, 2.0)])
def test_coordinate_and_its_inverse_undo_each_other(coordinate):
    edm = coordinate.edm(LEVELS)
    assert (np.diff(edm) > 0).all()
    assert coordinate.level(edm) == pytest.approx(LEVELS, rel=1e-9)


def test_flow_level_has_the_noise_to_signal_ratio_of_its_edm_level():
    signal, noise = 1.0 - LEVELS, LEVELS  # x = (1 - s) x_0 + s e
    assert FLOW.edm(LEVELS) == pytest.approx(noise / signal)


@pytest.mark.parametrize("count", [2, 3, 48])
@pytest.mark.parametrize("ends", [(80.0, 0.002), (14.6, 0.03), (9999.0, 0.001), (4500.0, 0.03)])
def test_spread_descends_strictly_between_the_exact_ends(ends, count):
    levels = spread(*ends, count)
    assert len(levels) == count
    assert (np.diff(levels) < 0).all()
    assert (levels[0], levels[-1]) == ends


def test_spread_with_rho_is_edms_schedule_below_the_knee_and_sparse_above():
    assert np.allclose(spread(5.0, 0.01, 9, rho=7.0), edm_schedule(8, 5.0, 0.01), rtol=0.06)
    levels = spread(9999.0, 0.001, 25, rho=7.0)
    assert levels[0] == 9999.0 and levels[-1] == 0.001 and (np.diff(levels) < 0).all()
    assert (levels > 50.0).sum() < 5 < (edm_schedule(24, 9999.0, 0.001) > 50.0).sum()


def test_spread_is_log_uniform_below_the_data_scale_and_sparse_far_above():
    gaps = -np.diff(np.log(spread(9999.0, 0.001, 100)))
    assert gaps[-30:] == pytest.approx(np.full(30, gaps[-1]), rel=0.02)
    assert gaps[0] > 10 * gaps[-1]


@pytest.mark.parametrize("k, c", [(0.0, 1.0), (-1.0, 1.0), (-1.0, 8.0), (0.0, 3.0), (-0.5, 2.0)])
def test_eulers_steps_in_host_levels_follow_the_edm_equation(k, c):
    """With D frozen, a step of dx/ds = (x - D)/s is exact, and so is its image in EDM levels."""
    coordinate = affine(k, c)
    s, r, x, D = 0.8, 0.3, 1.7, -0.4
    host = (r / s * x + (1 - r / s) * D) / (1 + k * r)
    t, u = coordinate.edm(np.array([s, r]))
    edm = u / t * x / (1 + k * s) + (1 - u / t) * D
    assert host == pytest.approx(edm)
    assert t / coordinate.noise(np.array(s)) == pytest.approx(1 / (1 + k * s))


def test_levels_of_a_continuous_model_are_left_as_they_are():
    levels = np.array([14.6, 3.0, 0.031, 0.0301])
    assert VE.snapped(levels) is levels
    assert VE.thinned(levels) is levels
    assert VE.known_edm(levels) is levels
    VE.check_steps(10_000, 14.6)


@pytest.mark.parametrize("n", range(1, len(TABLE) + 1))
@pytest.mark.parametrize("seed", range(5))
def test_snapped_levels_are_distinct_ones_of_the_table_but_for_the_first(n, seed):
    inner = np.exp(np.random.default_rng(seed).uniform(np.log(0.03), np.log(14.0), n - 1))
    levels = np.append(14.6, np.sort(inner)[::-1])
    snapped = DISCRETE.snapped(levels)
    assert len(snapped) == n
    assert snapped[0] == 14.6
    assert set(snapped) <= set(TABLE)
    assert (np.diff(snapped) < 0).all()
    assert DISCRETE.snapped(snapped).tolist() == snapped.tolist()


def test_levels_that_meet_are_moved_apart_and_others_to_the_nearest_in_log():
    # 0.035 is nearer to 0.03 as a difference than in log; sqrt(0.03 * 0.04) = 0.0346
    assert DISCRETE.snapped(np.array([14.6, 6.9, 0.9, 0.035])).tolist() == [14.6, 5.0, 1.0, 0.04]
    assert DISCRETE.snapped(np.array([14.6, 0.21, 0.19])).tolist() == [14.6, 0.2, 0.1]
    assert DISCRETE.snapped(np.array([14.6, 0.031, 0.03])).tolist() == [14.6, 0.04, 0.03]
    assert DISCRETE.known_edm(np.array([14.6, 0.21, 0.19, 0.0])).tolist() == [14.6, 0.2, 0.1, 0.0]


def test_a_first_level_between_two_of_the_table_stays():
    assert DISCRETE.snapped(np.array([3.0, 2.9])).tolist() == [3.0, 2.0]


def test_more_steps_than_levels_are_refused():
    levels = np.array([0.06, 0.05, 0.04, 0.03])
    assert DISCRETE.snapped(levels).tolist() == levels.tolist()
    with pytest.raises(ValueError, match=r"steps was 5, but the model knows only 3 .* at most 4"):
        DISCRETE.snapped(np.append(levels, 0.029))


def test_levels_that_meet_become_one_when_thinned():
    assert DISCRETE.thinned(np.array([14.6, 0.21, 0.19, 0.03])).tolist() == [14.6, 0.2, 0.03]


def test_neighbours_differ_in_one_inner_level_by_one_place():
    found = DISCRETE.neighbours(np.array([14.6, 5.0, 0.04, 0.03, 0.0]))
    expected = [
        [14.6, 2.0, 0.04, 0.03, 0.0],
        [14.6, 10.0, 0.04, 0.03, 0.0],
        [14.6, 5.0, 0.05, 0.03, 0.0],
    ]  # 0.04 has no room below, nor 0.03 above
    assert found.tolist() == expected
    assert DISCRETE.neighbours(np.array([14.6, 0.0])).shape == (0, 2)
