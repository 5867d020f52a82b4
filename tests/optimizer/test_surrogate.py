"""The surrogate predicts a solver's error without a call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import VE, Denoiser, edm_schedule, gaussian
from align_your_steps.optimizer.coordinate import spread
from align_your_steps.optimizer.runs import Runs
from align_your_steps.optimizer.surrogate import ELEMENTS, Surrogate, measured_slope, sum_of

HIGH, LOW, FINE = 14.6, 0.03, 60
SOLVERS = ["euler", "heun", "dpmpp_2m"]


def prepared(denoise: Denoiser, solver: str, dim: int) -> tuple[Runs, Surrogate]:
    """Runs with two batches of three noises, and the surrogate of their references."""
    runs = Runs(denoise, solver, None, None, (dim,), 0, 10**9, None)
    fine = np.append(spread(HIGH, LOW, FINE), 0.0)
    runs.begin(torch.from_numpy(fine).float(), 3, VE)
    return runs, Surrogate(sum_of([runs.add_trajectory() for _ in range(2)]), solver)


def real(runs: Runs, schedule: np.ndarray) -> np.ndarray:
    """The residuals of real runs, [6, dim]."""
    parts = [runs.residual(torch.from_numpy(schedule).float(), batch) for batch in range(2)]
    return np.concatenate([part for part in parts if part is not None])


def schedules() -> dict[str, np.ndarray]:
    """Hand-made schedules of eight steps, ending in 0."""
    return {
        "karras": np.append(edm_schedule(7, HIGH, LOW), 0.0),
        "exponential": np.append(np.geomspace(HIGH, LOW, 8), 0.0),
        "kl_optimal": np.append(gaussian.kl_schedule(7, HIGH, LOW), 0.0),
        "edm": np.append(edm_schedule(8, HIGH, LOW)[:-1], 0.0),
    }


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("c", [0.3, 1.0])
def test_residuals_are_exact_where_the_denoiser_is_linear(solver: str, c: float) -> None:
    runs, surrogate = prepared(lambda x, sigma: gaussian.denoise(x, sigma, c), solver, dim=5)
    for schedule in schedules().values():
        expected = real(runs, schedule)
        scale = np.abs(expected).max()
        assert surrogate.residuals(schedule[None])[0] == pytest.approx(expected, abs=0.05 * scale)


def test_a_reference_run_has_no_residual() -> None:
    data = Mixture.random(16, 12, seed=3, std=0.5)
    _, surrogate = prepared(data.denoise, "dpmpp_2m", dim=16)
    fine = np.append(spread(HIGH, LOW, FINE), 0.0)
    assert np.abs(surrogate.residuals(fine[None])).max() < 1e-3


@pytest.mark.parametrize("solver", SOLVERS)
def test_errors_on_a_mixture_are_predicted_and_ranked(solver: str) -> None:
    data = Mixture.random(64, 40, seed=5, std=0.5)
    runs, surrogate = prepared(data.denoise, solver, dim=64)
    names = schedules()
    measured = [np.median(np.sqrt(np.square(real(runs, s)).mean(1))) for s in names.values()]
    predicted = [np.median(surrogate.errors(s[None])) for s in names.values()]
    assert np.abs(np.log(np.array(predicted) / measured)).mean() < np.log(1.3)
    assert measured[np.argmin(predicted)] < 1.1 * min(measured)


def test_schedules_are_run_together_as_they_are_alone() -> None:
    data = Mixture.random(8, 6, seed=1, std=0.4)
    _, surrogate = prepared(data.denoise, "heun", dim=8)
    both = np.stack(list(schedules().values())[:2])
    alone = np.concatenate([surrogate.residuals(schedule[None]) for schedule in both])
    assert surrogate.residuals(both) == pytest.approx(alone, abs=1e-12)


def test_the_slope_is_read_off_deviations_and_not_off_rounding_errors() -> None:
    D = np.ones((3, 1, 4))
    strayed = {
        0: (np.full((1, 4), 0.1), np.full((1, 4), 0.05)),
        2: (np.full((1, 4), 1e-6), np.full((1, 4), 1e-4)),
    }
    slope = measured_slope(np.array([-1.0, 0.0, 1.0]), strayed, D)
    assert slope == pytest.approx(np.full((3, 1), 0.5))
    assert measured_slope(np.array([-1.0, 0.0, 1.0]), {}, D).tolist() == [[0.0]] * 3


def test_large_latents_are_sampled() -> None:
    runs = Runs(gaussian.denoise, "euler", None, None, (4, 40, 40), 0, 10**9, None)
    runs.begin(torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.1, 0.0]), 2, VE)
    trajectory = runs.add_trajectory()
    assert trajectory is not None
    assert trajectory.end.shape == (2, ELEMENTS)
    whole = float(runs.ends[0].square().mean())
    assert np.square(trajectory.end).mean() == pytest.approx(whole, rel=0.1)
