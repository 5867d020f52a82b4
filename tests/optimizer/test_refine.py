"""Refinement moves inner levels to lower the mean residual norm, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer.refine import CLOSEST, corrected, levenberg_marquardt
from align_your_steps.tests.optimizer.test_surrogate import HIGH, LOW, prepared, real, schedules

TARGET = np.array([HIGH, 6.0, 2.0, 0.5, 0.1, 0.0])
START = np.array([HIGH, 8.0, 4.0, 2.0, 1.0, 0.0])


def distance(levels: np.ndarray) -> np.ndarray:
    """Residuals of a problem whose solution is TARGET: [S, 3, 4], with an offset on one noise."""
    off = np.log(levels[:, 1:-1] / TARGET[1:-1])  # [S, 4]
    return np.stack([off, 2.0 * off, off + 0.1 * off**2], 1)


def mean_norm(residuals: np.ndarray) -> float:
    return float(np.linalg.norm(residuals, axis=-1).mean())


def test_a_known_solution_is_found() -> None:
    found = levenberg_marquardt(distance, START, lowest=LOW)
    assert found == pytest.approx(TARGET, rel=1e-2)


def test_ends_stay_and_levels_stay_apart_and_above_sigma_min() -> None:
    found = levenberg_marquardt(distance, START, lowest=0.3)
    assert found[0] == START[0]
    assert found[-1] == 0.0
    assert found[-2] >= 0.3
    assert (np.diff(np.log(found[:-1])) < -CLOSEST).all()


def test_no_level_moves_further_than_it_may() -> None:
    found = levenberg_marquardt(distance, START, lowest=LOW, reach=0.2)
    assert np.abs(np.log(found[1:-1] / START[1:-1])).max() <= 0.2
    assert mean_norm(distance(found[None])[0]) < mean_norm(distance(START[None])[0])


def test_one_step_has_nothing_to_refine() -> None:
    schedule = np.array([HIGH, 0.0])
    assert levenberg_marquardt(distance, schedule, lowest=LOW) is schedule


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_the_surrogates_error_never_rises(solver: str) -> None:
    data = Mixture.random(64, 40, seed=5, std=0.5)
    _, surrogate = prepared(data.denoise, solver, dim=64)
    for schedule in schedules().values():
        found = levenberg_marquardt(surrogate.residuals, schedule, lowest=LOW)
        before, after = (mean_norm(surrogate.residuals(s[None])[0]) for s in (schedule, found))
        assert after <= before * (1 + 1e-9)


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_correction_by_real_runs_never_raises_the_real_error(solver: str) -> None:
    data = Mixture.random(64, 40, seed=6, std=0.5)
    runs, surrogate = prepared(data.denoise, solver, dim=64)
    start = schedules()["karras"]
    found = corrected(surrogate, lambda levels: real(runs, levels), start)
    assert mean_norm(real(runs, found)) <= mean_norm(real(runs, start))


def test_correction_ends_when_the_budget_does() -> None:
    data = Mixture.random(8, 6, seed=1, std=0.4)
    _, surrogate = prepared(data.denoise, "euler", dim=8)
    start = schedules()["karras"]
    assert corrected(surrogate, lambda levels: None, start) is start
