"""Shortest paths, against enumeration of all schedules with a cost computed from the definition."""

from itertools import combinations

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import Profile, klub, measure_profile, shortest_path
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.profile.paths import shortest_paths

DATA = Mixture.random(3, 4, seed=0)
GRID = np.geomspace(10.0, 0.05, 97)  # so many that shortest paths take no levels in between
LOWEST = len(GRID) - 1
FINE = np.linspace(np.log(10.0), np.log(0.05), LOWEST * 20 + 1)  # log t, 20 points for each level
EXPONENTS = [0.0, 0.75, 1.0, 3.0]
CLOCKS = {"none": None, "log": np.log, "arctan": np.arctan}  # none: order 1


@pytest.fixture(scope="module")
def recorded() -> tuple[Profile, np.ndarray]:
    """A profile at the levels of GRID, and the very outputs it was measured on, [M, N, d]."""
    outputs = []

    def denoise(x, sigma):
        outputs.append(DATA.denoise(x, sigma))
        return outputs[-1]

    profile = measure_profile(denoise, DATA.sample(16, seed=1), GRID)
    return profile, torch.stack(outputs).numpy()


@pytest.fixture(scope="module")
def profile() -> Profile:
    return measure_profile(DATA.denoise, DATA.sample(64, seed=1), np.geomspace(14.6, 0.03, 32))


def step_cost(outputs: np.ndarray, path: tuple[int, ...], exponent: float, clock) -> float:
    """The integral of t^-p E ||D_t - predictor||^2 over the last step of a path, from the outputs.

    The path holds indices into GRID; E ||...||^2 is linear in log t between levels of GRID.
    """
    b, a = path[-2:]
    predictor = outputs[b]
    if clock is not None and len(path) > 2:
        c = path[-3]
        kappa = (clock(GRID[b]) - clock(GRID[a])) / (2 * (clock(GRID[c]) - clock(GRID[b])))
        predictor = outputs[b] + kappa * (outputs[b] - outputs[c])
    squared = np.square(outputs[b : a + 1] - predictor).mean((1, 2))
    u = FINE[20 * b : 20 * a + 1]
    integrand = np.exp((1 - exponent) * u) * np.interp(-u, -np.log(GRID[b : a + 1]), squared)
    return -float(np.trapezoid(integrand, u))


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_shortest_path_is_the_best_of_all_schedules(recorded, exponent, clock):
    profile, outputs = recorded
    time = CLOCKS[clock]
    order = 1 if time is None else 2
    memory: dict[tuple[int, ...], float] = {}

    def cost(path: tuple[int, ...]) -> float:
        total = 0.0
        for n in range(2, len(path) + 1):
            steps = path[max(0, n - order - 1) : n]  # what the cost of the last step depends on
            if steps not in memory:
                memory[steps] = step_cost(outputs, steps, exponent, time)
            total += memory[steps]
        return total

    for inner in (1, 2):
        every = [(0, *levels, LOWEST) for levels in combinations(range(1, LOWEST), inner)]
        least = min(cost(path) for path in every)
        found = shortest_path(
            profile, inner + 1, weight_exponent=exponent, order=order, clock=time or np.log
        )
        indices = tuple(int(np.abs(np.log(GRID / level)).argmin()) for level in found)
        assert found == pytest.approx(GRID[list(indices)], rel=1e-12)
        assert cost(indices) == pytest.approx(least, rel=1e-5)
        assert least < 0.9 * np.median([cost(path) for path in every])


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
