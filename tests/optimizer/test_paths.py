"""Shortest paths, against enumeration of all schedules with a cost computed from the definition."""

from itertools import combinations

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import Profile, gaussian, klub, measure_profile, paths, shortest_path
from align_your_steps.optimizer.paths import shortest_paths

DATA = Mixture.random(3, 4, seed=0)
FEW = np.geomspace(10.0, 0.05, 13)  # so few that all schedules can be enumerated
EXPONENTS = [0.0, 0.75, 1.0, 3.0]


@pytest.fixture(scope="module")
def recorded() -> tuple[Profile, np.ndarray]:
    """A profile at FEW levels, and the very outputs it was measured on, [M, N, d]."""
    outputs = []

    def denoise(x, sigma):
        outputs.append(DATA.denoise(x, sigma))
        return outputs[-1]

    profile = measure_profile(denoise, DATA.sample(16, seed=1), FEW)
    return profile, torch.stack(outputs).numpy()


@pytest.fixture(scope="module")
def profile() -> Profile:
    return measure_profile(DATA.denoise, DATA.sample(64, seed=1), np.geomspace(14.6, 0.03, 32))


def cost(outputs: np.ndarray, path: list[int], exponent: float, order: int, clock) -> float:
    """The sum over steps of the integral of t^-p E ||D_t - predictor||^2, from the outputs.

    The path holds indices into FEW; E ||...||^2 is linear in log t between the levels of FEW.
    """
    total = 0.0
    for step, (b, a) in enumerate(zip(path[:-1], path[1:], strict=True)):
        predictor = outputs[b]
        if order == 2 and step > 0:
            c = path[step - 1]
            h_last, h = clock(FEW[c]) - clock(FEW[b]), clock(FEW[b]) - clock(FEW[a])
            predictor = outputs[b] + h / (2 * h_last) * (outputs[b] - outputs[c])
        squared = np.square(outputs[b : a + 1] - predictor).mean((1, 2))
        log_t = np.log(FEW[b : a + 1][::-1])
        u = np.unique(np.concatenate([np.linspace(log_t[0], log_t[-1], 4001), log_t]))
        integrand = np.exp((1 - exponent) * u) * np.interp(u, log_t, squared[::-1])
        total += float(np.trapezoid(integrand, u))
    return total


@pytest.mark.parametrize("order, clock", [(1, np.log), (2, np.log), (2, np.arctan)])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_shortest_path_is_the_best_of_all_schedules(
    recorded, monkeypatch, exponent, order, clock
):
    monkeypatch.setattr(paths, "GRID", 1)  # no refinement: the grid is FEW itself
    profile, outputs = recorded
    for steps in (2, 3):
        every = [[0, *inner, 12] for inner in combinations(range(1, 12), steps - 1)]
        best = min(every, key=lambda path: cost(outputs, path, exponent, order, clock))
        found = shortest_path(
            profile, steps, weight_exponent=exponent, order=order, clock=clock
        )
        assert found == pytest.approx(FEW[best], rel=1e-12)


@pytest.mark.parametrize("steps", [2, 5, 10])
def test_shortest_path_of_gaussian_data_is_not_above_the_closed_form_optimum(
    gaussian_profile, steps
):
    levels = np.geomspace(14.6, 0.03, 48)
    profile = gaussian_profile(levels)
    optimum = gaussian.klub_schedule(steps, 14.6, 0.03)
    rounded = levels[[np.abs(np.log(levels / t)).argmin() for t in optimum]]
    found = shortest_path(profile, steps, weight_exponent=3.0)
    assert klub(profile, found) <= klub(profile, rounded)
    assert gaussian.klub(found) < 1.02 * gaussian.klub(optimum)
    assert found == pytest.approx(optimum, rel=0.15)


@pytest.mark.parametrize("start", ["log-uniform", "uniform"])
def test_shortest_path_is_not_above_any_schedule_on_the_grid(profile, start):
    levels = profile.sigmas.numpy()
    rows = np.linspace(0, 31, 8) if start == "log-uniform" else 31 * np.linspace(0, 1, 8) ** 0.5
    schedule = levels[rows.round().astype(int)]
    assert klub(profile, shortest_path(profile, 7)) <= klub(profile, schedule)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("exponent", [0.0, 0.75, 3.0])
def test_every_step_count_gives_a_descending_schedule_between_the_ends(profile, order, exponent):
    found = shortest_paths(profile, range(1, 21), weight_exponent=exponent, order=order)
    for steps, schedule in enumerate(found, start=1):
        assert len(schedule) == steps + 1
        assert (np.diff(schedule) < 0).all()
        assert schedule[[0, -1]] == pytest.approx([14.6, 0.03], rel=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_many_step_counts_at_once_are_the_single_ones(profile, order):
    together = shortest_paths(profile, [3, 7], order=order)
    for steps, schedule in zip((3, 7), together, strict=True):
        assert np.array_equal(schedule, shortest_path(profile, steps, order=order))


def test_smaller_exponents_move_steps_to_higher_noise(profile):
    middle = [shortest_path(profile, 10, weight_exponent=p)[5] for p in (3.0, 2.0, 1.0, 0.0)]
    assert (np.diff(middle) > 0).all()


@pytest.mark.parametrize("steps", [0, -1])
def test_shortest_path_refuses_less_than_one_step(profile, steps):
    with pytest.raises(ValueError, match=f"steps was {steps}: a schedule has at least 1 step"):
        shortest_path(profile, steps)


def test_shortest_path_refuses_an_unknown_order(profile):
    with pytest.raises(ValueError, match="order was 3"):
        shortest_path(profile, 5, order=3)
