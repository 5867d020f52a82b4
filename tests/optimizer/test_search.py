"""Algorithm 1 and subdivision: what every sweep must keep."""

from itertools import pairwise

import numpy as np
import pytest
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import (
    Profile,
    coordinate_search,
    edm_schedule,
    klub,
    measure_profile,
    subdivide,
)
from align_your_steps.optimizer.diffusion import gaussian

HIGH, LOW = 14.6, 0.03
STARTS = {
    "EDM": edm_schedule(10, HIGH, LOW),
    "log-uniform": np.geomspace(HIGH, LOW, 11),
    "uniform": np.linspace(HIGH, LOW, 11),
    "one step": np.array([HIGH, LOW]),
}


@pytest.fixture(scope="module")
def profile() -> Profile:
    data = Mixture.random(8, 6, seed=0)
    return measure_profile(data.denoise, data.sample(32, seed=1), np.geomspace(HIGH, LOW, 32))


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_edm_schedule_is_even_in_the_root(steps):
    falls = np.diff(edm_schedule(steps, 80.0, 0.002, rho=7.0) ** (1 / 7))
    assert falls == pytest.approx(np.full(steps, (0.002 ** (1 / 7) - 80 ** (1 / 7)) / steps))


@pytest.mark.parametrize("start", STARTS)
def test_search_lowers_the_klub_with_every_sweep_and_keeps_the_ends(profile, start):
    schedules = [STARTS[start], *coordinate_search(profile, STARTS[start])]
    for before, after in pairwise(schedules):
        assert klub(profile, after) < klub(profile, before)
        assert after[[0, -1]] == pytest.approx([HIGH, LOW], rel=1e-12)
        assert (np.diff(after) < 0).all()
    if start != "one step":
        assert len(schedules) > 3


def test_search_keeps_every_sweep(profile):
    every = coordinate_search(profile, STARTS["EDM"])
    for count in (1, 2, 3):
        some = coordinate_search(profile, STARTS["EDM"], max_sweeps=count)
        assert len(some) == count
        assert all(np.array_equal(a, b) for a, b in zip(some, every[:count], strict=True))


def test_search_stops_where_no_candidate_is_better(profile):
    last = coordinate_search(profile, STARTS["EDM"])[-1]
    assert coordinate_search(profile, last) == []


@pytest.mark.parametrize("candidates", [3, 11])
def test_first_sweep_takes_the_best_candidate_around_each_level(profile, candidates):
    levels = [HIGH, 2.0, 0.5, LOW]
    expected = list(levels)
    for i in (1, 2):
        high, level, low = expected[i - 1 : i + 2]
        ways = np.geomspace(level, np.sqrt(level * high), candidates // 2 + 1)
        ways = [*ways, *np.geomspace(level, np.sqrt(level * low), candidates // 2 + 1)]
        tried = [[*expected[:i], way, *expected[i + 1 :]] for way in ways]
        expected = min(tried, key=lambda schedule: klub(profile, schedule))
    first = coordinate_search(profile, levels, candidates=candidates)[0]
    assert first == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("start", ["EDM", "log-uniform"])
def test_search_comes_close_to_the_least_klub_of_gaussian_data(gaussian_profile, start):
    profile = gaussian_profile(np.geomspace(HIGH, LOW, 48))
    found = coordinate_search(profile, STARTS[start])[-1]
    least = gaussian.klub(gaussian.klub_schedule(10, HIGH, LOW))
    assert least < gaussian.klub(found) < 1.1 * least


def test_search_does_not_change_its_start(profile):
    start = STARTS["EDM"].copy()
    coordinate_search(profile, start)
    assert np.array_equal(start, STARTS["EDM"])


@pytest.mark.parametrize("search", [coordinate_search, subdivide])
def test_search_refuses_a_start_that_cannot_be_scored(profile, search):
    with pytest.raises(ValueError, match="strictly descending"):
        search(profile, [HIGH, 1.0, 1.0, LOW])
    with pytest.raises(ValueError, match="outside the measured levels"):
        search(profile, [HIGH, 1.0, 0.0])


@pytest.mark.parametrize("start", STARTS)
def test_subdivision_keeps_the_coarse_levels_and_lowers_the_klub(profile, start):
    coarse = STARTS[start]
    fine = subdivide(profile, coarse)
    assert np.array_equal(fine[::2], coarse)
    assert len(fine) == 2 * len(coarse) - 1
    assert (np.diff(fine) < 0).all()
    midpoints = fine.copy()
    midpoints[1::2] = np.sqrt(coarse[1:] * coarse[:-1])
    assert klub(profile, fine) < klub(profile, midpoints) < klub(profile, coarse)


def test_subdivision_doubles_10_steps_to_20_to_40(profile):
    twenty = subdivide(profile, STARTS["EDM"])
    forty = subdivide(profile, twenty)
    assert (len(twenty), len(forty)) == (21, 41)
    assert np.array_equal(forty[::4], STARTS["EDM"])
