"""What follows real runs repeats the first, nearly the others, and tells of schedules near them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.digits.network import load_digits
from align_your_steps.benchmarks.edm import guided
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer.diffusion.solvers import SOLVERS as SOLVER_FUNCTIONS
from align_your_steps.optimizer.fit.correction import Following
from align_your_steps.optimizer.fit.surrogate import Surrogate, Track, measured_slope
from align_your_steps.tests.optimizer.test_surrogate import (
    HIGH,
    SOLVERS,
    beside,
    prepared,
    real,
    residual,
    rms,
    schedules,
)

DATA = Mixture.random(16, 12, seed=3, std=0.5)


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("name", schedules())
def test_the_first_run_is_repeated(solver: str, name: str) -> None:
    runs, surrogate = prepared(DATA.denoise, solver, dim=16)
    schedule = schedules()[name]
    track = real(runs, schedule)
    others = [real(runs, other) for key, other in schedules().items() if key != name]
    expected = residual(surrogate, track)
    plain = rms(surrogate.residuals(schedule[None])[0] - expected)
    for tracks in ([track], [track, *others]):
        off = rms(Following(surrogate, tracks).residuals(schedule[None])[0] - expected)
        assert off < 0.05 * rms(expected)
        assert off < 0.25 * plain


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_the_other_runs_are_nearly_repeated(solver: str) -> None:
    runs, surrogate = prepared(DATA.denoise, solver, dim=16)
    some = list(schedules().values())
    tracks = [real(runs, schedule) for schedule in some]
    alone, together = (Following(surrogate, given) for given in (tracks[:1], tracks))
    for schedule, track in zip(some[1:], tracks[1:], strict=True):
        expected = residual(surrogate, track)
        off = [rms(one.residuals(schedule[None])[0] - expected) for one in (alone, together)]
        assert off[1] < 0.5 * off[0]


def test_a_denoiser_that_is_linear_in_every_direction_by_itself_is_learnt() -> None:
    """Slopes that differ from direction to direction: the line misses, what was seen does not."""
    t = np.geomspace(0.1, 10.0, 9)
    rng = np.random.default_rng(0)
    slopes = np.diag([0.9, 0.1, 0.5])
    x_ref = rng.standard_normal((len(t), 2, 3))
    D_ref = rng.standard_normal((len(t), 2, 3))
    reference = Track(np.log(t), x_ref, D_ref, D_ref[0])

    def run(direction: np.ndarray) -> Track:
        away = np.broadcast_to(direction, x_ref.shape)
        return Track(np.log(t), x_ref + away, D_ref + away @ slopes, D_ref[0])

    tracks = [run(np.array(one)) for one in ([1.0, 1, 0], [1.0, -1, 0], [0.0, 1, 1], [2.0, 0, 0])]
    surrogate = Surrogate(reference, np.full((len(t), 2), 0.5), "euler")
    away = np.array([0.3, 0.7, -0.2])
    found = Following(surrogate, tracks).denoise(x_ref + away, t)
    straight = surrogate.sloped(tracks[0]).denoise(x_ref + away, t)
    expected = D_ref + away @ slopes
    assert rms(found - expected) < 0.15 * rms(straight - expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_runs_are_those_of_the_solver_itself(solver: str) -> None:
    runs, surrogate = prepared(DATA.denoise, solver, dim=16)
    karras, edm = schedules()["karras"], schedules()["edm"]
    following = Following(surrogate, [real(runs, karras), real(runs, edm)])

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(following.denoise(x[None].numpy(), sigma[:1].numpy())[0])

    start = torch.from_numpy(surrogate.reference.x[-1])
    end = SOLVER_FUNCTIONS[solver](denoise, start, torch.from_numpy(karras), lambda: start)
    expected = end.numpy() - surrogate.reference.end
    both = following.residuals(np.stack([edm, karras]))
    assert both[1] == pytest.approx(expected, abs=1e-9)
    assert both[1:] == pytest.approx(following.residuals(karras[None]), abs=1e-12)


def test_nothing_is_missed_on_the_levels_that_reference_and_run_share() -> None:
    runs, surrogate = prepared(DATA.denoise, "dpmpp_2m", dim=16)
    visited = np.exp(surrogate.reference.log_levels[::-1])
    track = real(runs, np.append(visited[:: len(visited) // 8], 0.0))
    levels = np.exp(track.log_levels)
    plain = surrogate.sloped(track).denoise(track.x, levels)
    followed = Following(surrogate, [track]).denoise(track.x, levels)
    assert followed == pytest.approx(track.denoised, abs=1e-5)
    assert np.abs(plain - track.denoised).max() > 1e-2


def test_the_surrogate_stays_as_it_was() -> None:
    runs, surrogate = prepared(DATA.denoise, "euler", dim=16)
    schedule = schedules()["karras"]
    before = surrogate.residuals(schedule[None])
    track = real(runs, schedule)
    following = Following(surrogate, [track])
    np.testing.assert_array_equal(surrogate.residuals(schedule[None]), before)
    slope = measured_slope(surrogate.reference, track)
    np.testing.assert_array_equal(following.surrogate.slope, slope)


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_schedules_near_a_followed_run_are_predicted_better(solver: str) -> None:
    runs, surrogate = prepared(DATA.denoise, solver, dim=16, batch=8)
    plain, followed = [], []
    for schedule in schedules().values():
        following = Following(surrogate, [real(runs, schedule)])
        for shift in (0.9, 1.1):
            near = np.array([HIGH, *(shift * schedule[1:-1]), 0.0])
            expected = residual(surrogate, real(runs, near))
            plain.append(rms(surrogate.residuals(near[None])[0] - expected))
            followed.append(rms(following.residuals(near[None])[0] - expected))
    assert np.mean(followed) < 0.7 * np.mean(plain)


DIGITS = guided(load_digits(), 4, 1.0)


def digits(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The trained network's outputs for images as vectors [B, 64]."""
    return DIGITS(x.reshape(-1, 1, 8, 8), sigma).flatten(1)


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
def test_with_more_runs_schedules_of_a_trained_network_are_predicted_better_still(solver) -> None:
    runs, surrogate = prepared(digits, solver, dim=64, batch=8)
    alone, together = [], []
    for schedule in schedules().values():
        moves = ([0.3, 0.0], [0.0, 0.3], [-0.3, 0.3])
        tracks = [real(runs, schedule), *(real(runs, beside(schedule, move)) for move in moves)]
        near = beside(schedule, [0.15, 0.2])
        expected = residual(surrogate, real(runs, near))
        for given, off in ((tracks[:1], alone), (tracks, together)):
            off.append(rms(Following(surrogate, given).residuals(near[None])[0] - expected))
    assert np.mean(together) < 0.8 * np.mean(alone)


@pytest.mark.filterwarnings("error")
def test_the_same_run_twice_says_nothing_more() -> None:
    runs, surrogate = prepared(DATA.denoise, "dpmpp_2m", dim=16)
    karras, edm = schedules()["karras"], schedules()["edm"]
    once, other = real(runs, karras), real(runs, edm)
    near = np.array([HIGH, *(1.1 * karras[1:-1]), 0.0])[None]
    expected = Following(surrogate, [once]).residuals(near)
    again = Following(surrogate, [once, replace(once)]).residuals(near)
    assert again == pytest.approx(expected, abs=1e-9)
    two = Following(surrogate, [once, other]).residuals(near)
    three = Following(surrogate, [once, other, other]).residuals(near)
    assert rms(three - two) < 0.02 * rms(two)


def test_run_of_one_step_is_followed() -> None:
    data = Mixture.random(8, 6, seed=1, std=0.4)
    runs, surrogate = prepared(data.denoise, "euler", dim=8)
    schedule = np.array([HIGH, 0.0])
    track = real(runs, schedule)
    expected = residual(surrogate, track)
    found = Following(surrogate, [track]).residuals(schedule[None])[0]
    assert found == pytest.approx(expected, abs=1e-5)
