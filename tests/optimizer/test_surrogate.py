"""The surrogate predicts a solver's error without a call."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import FLOW, Denoiser, edm_schedule
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.coordinate import edm_level, spread
from align_your_steps.optimizer.diffusion.noise import SELECTION, generators, unit_noise
from align_your_steps.optimizer.diffusion.solvers import SOLVERS as SOLVER_FUNCTIONS
from align_your_steps.optimizer.diffusion.solvers import reference_solver
from align_your_steps.optimizer.fit.surrogate import (
    ELEMENTS,
    Surrogate,
    Track,
    integration_error,
    joined,
    measured_slope,
)
from align_your_steps.tests.optimizer.laboratory import Begun, begun

HIGH, LOW, FINE = 14.6, 0.03, 48
BATCH, BATCHES = 3, 2
SOLVERS = ["euler", "heun", "dpmpp_2m"]


def prepared(
    denoise: Denoiser,
    solver: str,
    dim: int,
    *,
    batch: int = BATCH,
    fine: int = FINE,
    budget: int = 10**9,
) -> tuple[Begun, Surrogate]:
    """Runs with two batches of noises, and the surrogate of their references."""
    levels = torch.from_numpy(np.append(spread(HIGH, LOW, fine), 0.0)).float()
    runs = begun(denoise, solver, levels, shape=(dim,), batch=batch, every=fine // 8, budget=budget)
    pairs = [pair for _ in range(BATCHES) if (pair := runs.references.add_tracked())]
    reference, coarse = (joined(tracks) for tracks in zip(*pairs, strict=True))
    return runs, Surrogate(reference, measured_slope(reference, coarse), solver)


def real(runs: Begun, schedule: np.ndarray) -> Track:
    """A real run of all noises."""
    track = runs.track(torch.from_numpy(schedule).float(), BATCHES)
    assert track is not None
    return track


def residual(surrogate: Surrogate, track: Track) -> np.ndarray:
    """End point minus reference of a real run."""
    return track.end - surrogate.reference.end


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean()))


def schedules() -> dict[str, np.ndarray]:
    """Hand-made schedules of eight steps, ending in 0."""
    return {
        "karras": np.append(edm_schedule(7, HIGH, LOW), 0.0),
        "exponential": np.append(np.geomspace(HIGH, LOW, 8), 0.0),
        "kl_optimal": np.append(gaussian.kl_schedule(7, HIGH, LOW), 0.0),
        "edm": np.append(edm_schedule(8, HIGH, LOW)[:-1], 0.0),
    }


def beside(schedule: np.ndarray, shifts: list[float]) -> np.ndarray:
    """A schedule whose inner levels are moved by shifts in log t, in turn."""
    moved = np.resize(shifts, len(schedule) - 2)
    return np.array([schedule[0], *(schedule[1:-1] * np.exp(moved)), 0.0])


def track_of(x, denoised, log_levels) -> Track:
    """A track of given arrays, whose end points are its lowest outputs."""
    x, denoised = np.asarray(x, dtype=float), np.asarray(denoised, dtype=float)
    return Track(np.asarray(log_levels, dtype=float), x, denoised, denoised[0])


# -- tracks ---------------------------------------------------------------------------------


def along(grid: np.ndarray, values: np.ndarray) -> Track:
    """A track of one noise and one element, with the given states and half as large outputs."""
    x = np.asarray(values, dtype=float).reshape(-1, 1, 1)
    return track_of(x, x / 2.0, grid)


def test_cubic_polynomials_are_interpolated_exactly_on_any_grid() -> None:
    generator = np.random.default_rng(0)
    grid = np.sort(generator.uniform(-3.0, 3.0, 9))
    u = generator.uniform(grid[0], grid[-1], 50)
    for coefficients in ([2.0], [1.0, -1.0], [0.5, 0.0, 1.0], [1.0, -2.0, 0.3, 4.0]):
        x, D = along(grid, np.polyval(coefficients, grid)).at(u)
        expected = np.polyval(coefficients, u).reshape(-1, 1, 1)
        assert x == pytest.approx(expected)
        assert pytest.approx(expected / 2.0) == D
    x, _ = along(grid, grid**4).at(u)
    assert not np.allclose(x.ravel(), u**4, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_interpolation_returns_the_nodes_and_beyond_them_the_end(count: int) -> None:
    grid = np.cumsum(np.arange(1.0, count + 1.0))
    values = np.random.default_rng(1).normal(size=count)
    track = along(grid, values)
    assert track.at(grid)[0].ravel() == pytest.approx(values)
    outside = np.array([grid[0] - 5.0, grid[-1] + 5.0])
    assert track.at(outside)[0].ravel() == pytest.approx(values[[0, -1]])
    inside = np.linspace(grid[0], grid[-1], 20)
    assert along(grid, np.ones(count)).at(inside)[0].ravel() == pytest.approx(np.ones(20))


@pytest.mark.parametrize("solver", SOLVERS)
def test_track_is_what_the_denoiser_saw_and_said(solver: str) -> None:
    data = Mixture.random(4, 5, seed=1, std=0.4)
    runs, surrogate = prepared(data.denoise, solver, dim=4)
    for track in (surrogate.reference, real(runs, schedules()["karras"])):
        assert (np.diff(track.log_levels) > 0).all()
        for u, x, D in zip(track.log_levels, track.x, track.denoised, strict=True):
            said = data.denoise(torch.from_numpy(x), torch.full((len(x),), float(np.exp(u))))
            assert pytest.approx(said.numpy(), abs=1e-5) == D
        x, D = track.at(track.log_levels)
        assert x == pytest.approx(track.x, abs=1e-9)
        assert pytest.approx(track.denoised, abs=1e-9) == D
        assert track.end == pytest.approx(track.denoised[0], abs=1e-5)  # the step to 0 is D


def test_heuns_track_is_its_trajectory_and_not_its_predictors() -> None:
    data = Mixture.random(4, 5, seed=1, std=0.4)
    runs, _ = prepared(data.denoise, "heun", dim=4)
    track = real(runs, schedules()["karras"])
    for k in range(len(track.log_levels) - 1, 0, -1):
        s, t = np.exp(track.log_levels[[k, k - 1]])
        slope = (track.x[k] - track.denoised[k]) / s
        predicted = torch.from_numpy(track.x[k] + (t - s) * slope)
        said = data.denoise(predicted, torch.full((len(predicted),), float(t))).numpy()
        after = track.x[k] + (t - s) * (slope + (predicted.numpy() - said) / t) / 2.0
        assert track.x[k - 1] == pytest.approx(after, abs=1e-4)


def test_tracks_of_several_batches_are_joined_noise_by_noise() -> None:
    data = Mixture.random(4, 5, seed=1, std=0.4)
    levels = torch.from_numpy(np.append(spread(HIGH, LOW, 24), 0.0)).float()
    runs = begun(data.denoise, "euler", levels, shape=(4,), batch=BATCH, every=3)
    parts = [track for _ in range(2) if (pair := runs.references.add_tracked()) for track in pair]
    for tracks in (parts[::2], parts[1::2]):  # references, coarse runs
        whole = joined(tracks)
        assert whole.x.shape == whole.denoised.shape == (len(whole.log_levels), 2 * BATCH, 4)
        assert whole.end.shape == (2 * BATCH, 4)
        for k, track in enumerate(tracks):
            rows = slice(k * BATCH, (k + 1) * BATCH)
            np.testing.assert_array_equal(whole.log_levels, track.log_levels)
            np.testing.assert_array_equal(whole.x[:, rows], track.x)
            np.testing.assert_array_equal(whole.denoised[:, rows], track.denoised)
            np.testing.assert_array_equal(whole.end[rows], track.end)
    assert len(parts[1].log_levels) < len(parts[0].log_levels)


def test_large_latents_are_sampled() -> None:
    levels = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.1, 0.0])
    runs = begun(gaussian.denoise, "euler", levels, shape=(4, 40, 40), batch=2, every=2)
    pair = runs.references.add_tracked()
    assert pair is not None
    for track in pair:
        assert track.end.shape == (2, ELEMENTS)
        assert track.x.shape[1:] == track.denoised.shape[1:] == (2, ELEMENTS)
    whole = float(runs.references.ends[0].square().mean())
    assert np.square(pair[0].end).mean() == pytest.approx(whole, rel=0.1)


# -- slopes and the reference's own error ---------------------------------------------------


@pytest.mark.parametrize("c", [0.3, 1.0])
def test_slope_of_a_linear_denoiser_is_its_own(c: float) -> None:
    _, surrogate = prepared(lambda x, sigma: gaussian.denoise(x, sigma, c), "euler", dim=5)
    t = np.exp(surrogate.reference.log_levels)
    expected = c**2 / (c**2 + t**2)
    middle = (t > 2 * LOW) & (t < HIGH / 4)  # the coarse run's levels are wide apart at the top
    assert surrogate.slope[middle] == pytest.approx(
        np.broadcast_to(expected[middle, None], surrogate.slope[middle].shape), abs=0.05
    )


def test_slope_is_read_off_deviations_and_not_off_rounding_errors() -> None:
    levels = [-1.0, 0.0, 1.0]
    reference = track_of(np.zeros((3, 1, 4)), np.ones((3, 1, 4)), levels)
    dx = np.array([0.1, 0.0, 1e-6])[:, None, None] * np.ones((3, 1, 4))
    dD = np.array([0.05, 0.0, 1e-4])[:, None, None] * np.ones((3, 1, 4))
    strayed = track_of(dx, 1.0 + dD, levels)
    assert measured_slope(reference, strayed) == pytest.approx(np.full((3, 1), 0.5))
    assert measured_slope(reference, reference).tolist() == [[0.0]] * 3


def test_slopes_of_noises_do_not_mix() -> None:
    levels = np.linspace(-1.0, 1.0, 5)
    reference = track_of(np.zeros((5, 2, 3)), np.ones((5, 2, 3)), levels)
    own = np.array([0.2, 0.9])[None, :, None]
    dx = np.full((5, 2, 3), 0.1)
    slope = measured_slope(reference, track_of(dx, 1.0 + own * dx, levels))
    assert slope == pytest.approx(np.tile([0.2, 0.9], (5, 1)))


def true_error(data: Mixture, runs: Begun, dim: int) -> np.ndarray:
    """RMS distance of the references to the end points of runs in 800 steps, in float64."""
    fine = torch.from_numpy(np.append(spread(HIGH, LOW, 800), 0.0))
    errors = []
    for batch, end in enumerate(runs.references.ends):
        rows = range(batch * runs.runner.batch, (batch + 1) * runs.runner.batch)
        noise = unit_noise(generators(0, SELECTION, rows), (dim,)).double()
        exact = reference_solver(data.denoise)(noise, fine, 0)
        errors.append((end.double() - exact).square().mean(1).sqrt())
    return torch.cat(errors).numpy()


@pytest.mark.parametrize("dim, components", [(2, 8), (16, 12)])
def test_estimate_of_the_references_own_error_is_near_the_true_one(dim, components) -> None:
    data = Mixture.random(dim, components, seed=3, std=0.5)
    runs, surrogate = prepared(data.denoise, "dpmpp_2m", dim, batch=32)
    estimated = integration_error(surrogate.reference, surrogate.slope)
    actual = true_error(data, runs, dim)
    assert 0.5 < np.median(estimated) / np.median(actual) < 2.0
    assert 0.5 < np.median(estimated / actual) < 2.0
    assert np.corrcoef(np.log(estimated), np.log(actual))[0, 1] > 0.5
    assert runs.references._errors == pytest.approx(estimated.tolist(), rel=1e-6)


def test_estimate_of_the_references_own_error_becomes_the_true_one_with_many_steps() -> None:
    data = Mixture.random(4, 5, seed=2, std=0.6)
    runs, _ = prepared(data.denoise, "dpmpp_2m", 4, batch=8, fine=96)
    actual = true_error(data, runs, 4)
    assert np.median(runs.references._errors / actual) == pytest.approx(1.0, rel=0.15)
    assert runs.references.error == pytest.approx(actual.mean(), rel=0.15)


def test_estimated_error_is_that_of_the_last_output_and_not_of_the_state_before_it() -> None:
    """At sigma_min the denoiser of N(0, sigma_min^2) halves the error of the state."""
    _, surrogate = prepared(
        lambda x, sigma: gaussian.denoise(x, sigma, LOW), "dpmpp_2m", 4, batch=8, fine=96
    )
    reference = surrogate.reference
    t = np.exp(reference.log_levels)[:, None]
    slope = np.broadcast_to(LOW**2 / (LOW**2 + t**2), surrogate.slope.shape)
    estimated = integration_error(reference, slope)
    limit = reference.x[-1] * np.sqrt(2.0 * LOW**2 / (HIGH**2 + LOW**2)) / 2.0
    actual = np.sqrt(np.square(reference.end - limit).mean(1))
    assert estimated == pytest.approx(actual, rel=0.2)


def test_a_constant_denoiser_leaves_no_error_to_estimate() -> None:
    target = torch.tensor([1.0, -2.0, 0.5])
    runs, _ = prepared(lambda x, sigma: target.expand(len(x), -1), "euler", dim=3)
    assert runs.references.error < 1e-6


# -- prediction -----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("c", [0.3, 1.0])
def test_residuals_are_exact_where_the_denoiser_is_linear(solver: str, c: float) -> None:
    runs, estimated = prepared(lambda x, sigma: gaussian.denoise(x, sigma, c), solver, dim=5)
    t = np.exp(estimated.reference.log_levels)[:, None]
    slope = np.broadcast_to(c**2 / (c**2 + t**2), estimated.slope.shape)
    exact = Surrogate(estimated.reference, slope, solver)
    for schedule in schedules().values():
        expected = residual(exact, real(runs, schedule))
        assert rms(exact.residuals(schedule[None])[0] - expected) < 0.01 * rms(expected)
        assert rms(estimated.residuals(schedule[None])[0] - expected) < 0.2 * rms(expected)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", schedules())
def test_runs_are_those_of_the_solver_itself_with_the_linearised_denoiser(solver, name) -> None:
    data = Mixture.random(8, 6, seed=1, std=0.4)
    _, surrogate = prepared(data.denoise, solver, dim=8)

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        D = surrogate.denoise(x[None].numpy(), sigma[:1].numpy())
        return torch.from_numpy(D[0])

    levels = torch.from_numpy(schedules()[name])
    start = torch.from_numpy(surrogate.reference.x[-1])
    end = SOLVER_FUNCTIONS[solver](denoise, start, levels, lambda: start)
    expected = end.numpy() - surrogate.reference.end
    assert surrogate.residuals(levels[None].numpy())[0] == pytest.approx(expected, abs=1e-9)


def test_errors_are_the_root_mean_squares_of_residuals() -> None:
    data = Mixture.random(8, 6, seed=1, std=0.4)
    _, surrogate = prepared(data.denoise, "euler", dim=8)
    both = np.stack(list(schedules().values())[:2])
    errors = surrogate.errors(both)
    assert errors.shape == (2, BATCH * BATCHES)
    for s in range(2):
        for k in range(BATCH * BATCHES):
            assert errors[s, k] == pytest.approx(rms(surrogate.residuals(both)[s, k]))


def test_the_lowest_level_is_the_references() -> None:
    _, surrogate = prepared(gaussian.denoise, "euler", dim=2)
    assert surrogate.lowest == pytest.approx(LOW, rel=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_errors_on_a_mixture_are_predicted_and_ranked(solver: str) -> None:
    data = Mixture.random(64, 40, seed=5, std=0.5)
    runs, surrogate = prepared(data.denoise, solver, dim=64)
    tried = schedules().values()
    measured = [
        np.median(np.sqrt(np.square(residual(surrogate, real(runs, s))).mean(1))) for s in tried
    ]
    predicted = [np.median(surrogate.errors(s[None])) for s in tried]
    assert np.abs(np.log(np.array(predicted) / measured)).mean() < np.log(1.5)
    assert measured[np.argmin(predicted)] < 1.1 * min(measured)


def test_schedules_are_run_together_as_they_are_alone() -> None:
    data = Mixture.random(8, 6, seed=1, std=0.4)
    _, surrogate = prepared(data.denoise, "heun", dim=8)
    both = np.stack(list(schedules().values())[:2])
    alone = np.concatenate([surrogate.residuals(schedule[None]) for schedule in both])
    assert surrogate.residuals(both) == pytest.approx(alone, abs=1e-12)


# -- the solver's own level ------------------------------------------------------------------


# What the host's samplers of these names do on a flow model, whose levels are s = t / (1 + t).


def flow_dpmpp_2m(x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """dpmpp_2m as the host has it, for data N(0, 1): -log s is its clock."""
    before = None
    for k, (now, then) in enumerate(pairwise(s)):
        D = flow_gaussian(x, now)
        predictor = D
        if before is not None and then > 0:
            predictor = D + np.log(now / then) / (2 * np.log(s[k - 1] / now)) * (D - before)
        x = then / now * x + (1 - then / now) * predictor
        before = D
    return x


def flow_heun(x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """heun as the host has it, for data N(0, 1): the trapezium stands on s."""
    for now, then in pairwise(s):
        slope = (x - flow_gaussian(x, now)) / now
        after = x + slope * (then - now)
        if then > 0:
            slope = (slope + (after - flow_gaussian(after, then)) / then) / 2
        x = x + slope * (then - now)
    return x


def flow_gaussian(x: np.ndarray, s: float) -> np.ndarray:
    """E[x_0 | x] for x = (1 - s) x_0 + s e: D(x / (1 - s), t) = x / (1 - s) / (1 + t^2)."""
    return (1 - s) * x / ((1 - s) ** 2 + s**2)


@pytest.mark.parametrize("solver, run", [("dpmpp_2m", flow_dpmpp_2m), ("heun", flow_heun)])
def test_surrogate_steps_in_the_level_in_which_the_solver_steps(solver: str, run: Any) -> None:
    t = np.geomspace(1e-3, 99.0, 600)
    ends = np.array([[0.7], [-1.3]])
    x = ends * np.sqrt(1 + t**2)[:, None, None]  # the exact trajectories of D = x / (1 + t^2)
    reference = Track(np.log(t), x, x / (1 + t**2)[:, None, None], ends)
    slope = np.repeat(1 / (1 + t**2)[:, None], 2, 1)
    schedule = np.append(np.geomspace(99.0, 0.05, 6), 0.0)
    s = FLOW.level(schedule)
    expected = run((1 - s[0]) * x[-1], s) - ends
    for own_level, same in ((FLOW.level, True), (edm_level, False)):
        found = Surrogate(reference, slope, solver, own_level=own_level).residuals(schedule[None])
        assert np.allclose(found[0], expected, rtol=1e-3) == same


@pytest.mark.filterwarnings("error")
def test_a_step_of_no_length_changes_nothing() -> None:
    data = Mixture.random(8, 6, seed=1, std=0.4)
    _, surrogate = prepared(data.denoise, "dpmpp_2m", dim=8)
    once, twice = np.array([HIGH, 2.0, 0.0]), np.array([HIGH, HIGH, 2.0, 0.0])
    assert surrogate.residuals(twice[None]) == pytest.approx(surrogate.residuals(once[None]))
