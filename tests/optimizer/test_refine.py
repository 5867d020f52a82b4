"""Refinement moves inner levels to lower the mean residual norm, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import VE, Denoiser
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.fit import refine
from align_your_steps.optimizer.fit.refine import (
    EMPHASIS,
    REACH,
    Refinement,
    emphasised,
    levenberg_marquardt,
    settled,
)
from align_your_steps.optimizer.fit.surrogate import Track
from align_your_steps.tests.optimizer.test_surrogate import (
    BATCHES,
    HIGH,
    LOW,
    SOLVERS,
    beside,
    prepared,
    schedules,
)

TARGET = np.array([HIGH, 6.0, 2.0, 0.5, 0.1, 0.0])
START = np.array([HIGH, 8.0, 4.0, 2.0, 1.0, 0.0])


def distance(levels: np.ndarray) -> np.ndarray:
    """Residuals of a problem whose solution is TARGET: [S, 3, 4], with an offset on one noise."""
    off = np.log(levels[:, 1:-1] / TARGET[1:-1])  # [S, 4]
    return np.stack([off, 2.0 * off, off + 0.1 * off**2], 1)


def mean_norm(residuals: np.ndarray) -> float:
    return float(np.linalg.norm(residuals, axis=-1).mean())


# -- Levenberg-Marquardt --------------------------------------------------------------------


def test_a_known_solution_is_found() -> None:
    found = levenberg_marquardt(distance, START, lowest=LOW)
    assert found == pytest.approx(TARGET, rel=1e-2)


def test_ends_stay_and_levels_stay_above_sigma_min() -> None:
    found = levenberg_marquardt(distance, START, lowest=0.45)
    assert found[0] == START[0]
    assert found[-1] == 0.0
    assert found[-2] >= 0.45 * (1 - 1e-9)


def test_levels_stay_apart_though_the_solution_has_them_fall_together_or_cross() -> None:
    def residuals(levels: np.ndarray) -> np.ndarray:
        return np.log(levels[:, None, 1:-1] / [6.0, 1.0, 1.2, 0.2])

    found = levenberg_marquardt(residuals, START, lowest=LOW)
    assert (-np.diff(np.log(found[:-1])) > 0.02).all()
    assert mean_norm(residuals(found[None])[0]) < mean_norm(residuals(START[None])[0])


@pytest.mark.parametrize("last", [0.3, 0.3 * (1 - 1e-7), 0.3 * (1 + 1e-7), 1.0])
def test_level_that_is_pushed_to_sigma_min_does_not_hold_up_the_others(last: float) -> None:
    start = np.array([HIGH, 8.0, 4.0, 2.0, last, 0.0])
    found = levenberg_marquardt(distance, start, lowest=0.3)
    assert found == pytest.approx([*TARGET[:-2], 0.3, 0.0], rel=2e-2)


def test_level_at_sigma_min_may_rise() -> None:
    start = np.array([HIGH, 8.0, 4.0, 2.0, LOW, 0.0])
    found = levenberg_marquardt(distance, start, lowest=LOW)
    assert found == pytest.approx(TARGET, rel=1e-2)


def test_no_level_moves_further_than_it_may() -> None:
    found = levenberg_marquardt(distance, START, lowest=LOW, reach=0.2)
    assert np.abs(np.log(found[1:-1] / START[1:-1])).max() <= 0.2
    assert mean_norm(distance(found[None])[0]) < mean_norm(distance(START[None])[0])


def test_outliers_do_not_own_the_solution() -> None:
    """Of noises with solutions of their own, the mean norm is least near the many, not the mean."""
    solutions = np.log([2.0, 2.02, 1.98, 2.01, 8.0])

    def residuals(levels: np.ndarray) -> np.ndarray:
        off = np.log(levels[:, 1:2]) - solutions  # [S, 5]
        return np.stack([off, np.full_like(off, 0.01)], -1)

    found = levenberg_marquardt(residuals, np.array([HIGH, 5.0, 0.0]), lowest=LOW)
    assert found[1] == pytest.approx(2.0, rel=0.02)
    assert np.exp(solutions.mean()) > 2.5


def test_levels_that_change_nothing_stay() -> None:
    def residuals(levels: np.ndarray) -> np.ndarray:
        return distance(levels)[:, :, :1]  # sees the first inner level only

    found = levenberg_marquardt(residuals, START, lowest=LOW)
    assert found[1] == pytest.approx(TARGET[1], rel=1e-2)
    assert found[2:] == pytest.approx(START[2:])


def test_one_step_has_nothing_to_refine() -> None:
    schedule = np.array([HIGH, 0.0])
    assert levenberg_marquardt(distance, schedule, lowest=LOW) is schedule


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_surrogates_error_never_rises(solver: str) -> None:
    data = Mixture.random(64, 40, seed=5, std=0.5)
    _, surrogate = prepared(data.denoise, solver, dim=64)
    for schedule in schedules().values():
        found = levenberg_marquardt(surrogate.residuals, schedule, lowest=LOW)
        before, after = (mean_norm(surrogate.residuals(s[None])[0]) for s in (schedule, found))
        assert after <= before * (1 + 1e-9)


# -- discrete models ------------------------------------------------------------------------

KNOWN = np.array([LOW, 0.045, 0.09, 0.15, 0.4, 0.8, 1.5, 3.0, 5.0, 9.0, HIGH])
DISCRETE = replace(VE, table=KNOWN)


def test_a_schedule_settles_on_the_best_levels_that_the_model_knows() -> None:
    settles = settled(distance, START, DISCRETE)
    assert settles[0] == START[0]
    assert settles[-1] == 0.0
    assert settles[1:-1].tolist() == [5.0, 1.5, 0.4, 0.09]  # nearest to TARGET in log t
    nearest = DISCRETE.known_edm(START)
    assert mean_norm(distance(settles[None])[0]) < mean_norm(distance(nearest[None])[0])


def test_a_schedule_of_a_continuous_model_is_settled() -> None:
    assert settled(distance, START, VE) is START


@pytest.mark.parametrize("solver", SOLVERS)
def test_refinement_runs_and_records_known_levels_only(solver: str) -> None:
    data = Mixture.random(16, 12, seed=3, std=0.5)
    runs, surrogate = prepared(data.denoise, solver, dim=16)
    coordinate = replace(VE, table=np.append(np.geomspace(LOW, HIGH, 60)[:-1], HIGH))
    ran: list[np.ndarray] = []

    def measure(levels: np.ndarray) -> Track | None:
        ran.append(levels)
        return runs.track(torch.from_numpy(levels).float(), BATCHES)

    refinement = Refinement(surrogate, measure, coordinate)
    refinement.run(coordinate.known_edm(schedules()["karras"]))
    while refinement.improve():
        pass
    assert len(ran) > 1
    assert [levels for levels, _ in refinement.tried] == ran
    for levels in ran:
        assert levels[0] == ran[0][0]
        assert set(levels[1:-1]) <= set(coordinate.table)
        assert (np.diff(levels) < 0).all()
    assert len({tuple(levels) for levels in ran}) == len(ran)


# -- refinement with real runs --------------------------------------------------------------


class Measured:
    """Real runs, of which so many are allowed, and what was asked for."""

    def __init__(self, run: Callable[[np.ndarray], Track | None], allowed: int = 10**6):
        self.run, self.allowed = run, allowed
        self.asked: list[np.ndarray] = []

    def __call__(self, schedule: np.ndarray) -> Track | None:
        if len(self.asked) == self.allowed:
            return None
        self.asked.append(schedule)
        return self.run(schedule)


def refinement(
    denoise: Denoiser, solver: str, dim: int, allowed: int = 10**6, batch: int = 4
) -> tuple[Refinement, Measured]:
    runs, surrogate = prepared(denoise, solver, dim, batch=batch)
    measured = Measured(
        lambda levels: runs.track(torch.from_numpy(levels).float(), BATCHES), allowed
    )
    return Refinement(surrogate, measured), measured


MIXTURE = Mixture.random(16, 12, seed=3, std=0.5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_rounds_of_improvement_never_make_the_best_worse_and_end(solver: str) -> None:
    search, measured = refinement(MIXTURE.denoise, solver, dim=16)
    start = schedules()["edm"]
    assert search.run(start)
    errors = [search.error(search.best[1])]
    while search.improve():
        errors.append(search.error(search.best[1]))
        assert len(errors) < 60
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.95 * errors[0]
    assert len(measured.asked) == len(search.tried) == len(errors)


def test_the_best_is_the_one_whose_real_runs_end_nearest_to_the_references() -> None:
    search, _ = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    distances = {}
    for name, schedule in schedules().items():
        search.run(schedule)
        off = search.tried[-1][1].end - search.surrogate.reference.end
        distances[name] = mean_norm(off + EMPHASIS * off.mean(0))
    best, track = search.best
    assert best is schedules_of(search)[min(distances, key=distances.__getitem__)]
    assert search.error(track) == pytest.approx(min(distances.values()))


def schedules_of(search: Refinement) -> dict[str, np.ndarray]:
    return dict(zip(schedules(), [levels for levels, _ in search.tried], strict=True))


@pytest.mark.parametrize("allowed", [1, 2, 4])
def test_improvement_ends_when_the_budget_does(allowed: int) -> None:
    search, measured = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16, allowed=allowed)
    assert search.run(schedules()["karras"])
    rounds = 0
    while search.improve():
        rounds += 1
    assert rounds == allowed - 1
    assert len(measured.asked) == allowed
    assert not search.run(schedules()["edm"])
    assert not search.improve()


def test_a_schedule_that_differs_by_rounding_is_not_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its run costs nothing: the budget would not end it, however much it seems to gain."""
    monkeypatch.setattr(refine, "ENOUGH", -1.0)
    search, measured = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    search.run(schedules()["karras"])
    search.reach = 1e-9
    assert not search.improve()
    assert len(measured.asked) == 1


def test_nothing_is_kept_of_a_run_that_the_budget_does_not_allow() -> None:
    search, _ = refinement(MIXTURE.denoise, "euler", dim=16, allowed=0)
    assert not search.run(schedules()["karras"])
    assert search.tried == []


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("start", [0.3, 2.0])
def test_least_of_one_unknown_is_found_in_few_runs(solver: str, start: float) -> None:
    """Two steps and Gaussian data: rows differ in scale only, so one level is best for all."""
    search, measured = refinement(gaussian.denoise, solver, dim=4)
    search.run(np.array([HIGH, start, 0.0]))
    while search.improve():
        assert len(measured.asked) < 20
    found = search.error(search.best[1])
    for level in np.geomspace(0.1, 8.0, 80):
        search.run(np.array([HIGH, level, 0.0]))
        assert found < 1.005 * search.error(search.tried[-1][1])


def test_a_gain_that_is_next_to_nothing_is_not_worth_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search, measured = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    search.run(schedules()["karras"])
    monkeypatch.setattr(refine, "ENOUGH", 0.99)
    assert not search.improve()
    assert len(measured.asked) == 1
    monkeypatch.undo()
    assert search.improve()


def test_what_all_noises_share_counts_more() -> None:
    """Of two ways to err by as much, the one that is the same for all noises is the worse."""
    search, _ = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    search.run(schedules()["karras"])
    track = search.tried[0][1]
    end = search.surrogate.reference.end
    signs = np.where(np.arange(len(end)) % 2, 1.0, -1.0)[:, None]
    same, opposite = (replace(track, end=end + off) for off in (np.ones_like(signs), signs))
    assert len(end) % 2 == 0
    assert search.error(same) == pytest.approx((1.0 + EMPHASIS) * search.error(opposite))
    assert emphasised(np.ones((3, 4, 5))) == pytest.approx(np.full((3, 4, 5), 1.0 + EMPHASIS))


def test_a_find_that_is_no_better_halves_the_reach_and_the_best_stays() -> None:
    search, measured = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    search.run(schedules()["karras"])
    best, track = search.best
    honest = measured.run

    def worse(levels: np.ndarray) -> Track | None:
        run = honest(levels)
        return replace(run, end=track.end + 0.1 * (track.end - search.surrogate.reference.end))

    measured.run = worse
    assert search.improve()
    assert search.best == (best, track)
    assert search.reach == REACH / 2
    first = measured.asked[-1]
    assert np.abs(np.log(first[1:-1] / best[1:-1])).max() <= REACH
    search.improve()
    assert np.abs(np.log(measured.asked[-1][1:-1] / best[1:-1])).max() <= REACH / 2


def test_a_better_find_leaves_the_reach_as_it_is() -> None:
    search, _ = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    search.run(schedules()["karras"])
    best, _ = search.best
    assert search.improve()
    assert search.best[0] is not best
    assert search.reach == REACH


# -- the corrected surrogate ----------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_corrected_surrogate_is_exact_at_the_best_schedule(solver: str) -> None:
    search, _ = refinement(MIXTURE.denoise, solver, dim=16)
    for schedule in schedules().values():
        search.run(schedule)
    best, track = search.best
    model = search._around(best, track)
    assert model(best[None])[0] == pytest.approx(search.residual(track), abs=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_schedule_that_was_run_twice_counts_once(solver: str) -> None:
    start, other = schedules()["edm"], beside(schedules()["edm"], [0.2, -0.1])
    found = []
    for repeats in (1, 3):
        search, measured = refinement(MIXTURE.denoise, solver, dim=16)
        for schedule in [start] * repeats + [other]:
            search.run(schedule)
        assert search.improve()
        found.append(measured.asked[-1])
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_neighbour_that_was_run_twice_is_no_singular_case() -> None:
    search, measured = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    start = schedules()["edm"]
    for schedule in (start, *[beside(start, [0.2, -0.1])] * 4):
        search.run(schedule)
    assert search.improve()
    assert np.isfinite(measured.asked[-1]).all()


def test_run_that_failed_is_not_kept() -> None:
    search, measured = refinement(MIXTURE.denoise, "dpmpp_2m", dim=16)
    honest = measured.run
    measured.run = lambda levels: None
    assert not search.run(schedules()["karras"])
    assert search.tried == []
    measured.run = honest
    assert search.run(schedules()["edm"])
    assert search.improve()


def test_one_step_is_run_and_not_improved() -> None:
    search, measured = refinement(MIXTURE.denoise, "euler", dim=16)
    assert search.run(np.array([HIGH, 0.0]))
    assert search.run(np.array([HIGH, 0.0]))
    assert not search.improve()
    assert len(measured.asked) == 2


def test_a_single_noise_is_enough_to_refine_on() -> None:
    runs, surrogate = prepared(gaussian.denoise, "dpmpp_2m", 4, batch=1)
    first = Track(
        surrogate.reference.log_levels,
        surrogate.reference.x[:, :1],
        surrogate.reference.denoised[:, :1],
        surrogate.reference.end[:1],
    )
    search = Refinement(
        type(surrogate)(first, surrogate.slope[:, :1], surrogate.solver),
        lambda levels: runs.track(torch.from_numpy(levels).float(), 1),
    )
    search.run(schedules()["karras"])
    before = search.error(search.best[1])
    rounds = 0
    while search.improve():
        rounds += 1
        assert rounds < 100
    assert search.error(search.best[1]) < before


@pytest.mark.parametrize("residual", [0.0, np.nan])
def test_a_schedule_settles_where_no_neighbour_is_better(residual: float) -> None:
    coordinate = replace(VE, table=np.geomspace(0.03, 14.6, 100))

    def residuals(schedules: np.ndarray) -> np.ndarray:
        return np.full((len(schedules), 2, 3), residual)

    schedule = np.array([14.6, 1.0, 0.0])
    found = settled(residuals, schedule, coordinate)
    assert np.array_equal(found, coordinate.known_edm(schedule))
