"""The peers' dynamic programming against brute force and against their defining recursions."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.benchmarks.peers import (
    GITS_TRAJECTORIES,
    OSS_TEACHER_STEPS,
    Gits,
    best_path,
    fixed,
    gits_costs,
    oss,
    oss_path,
    trajectory,
)
from align_your_steps.optimizer import builtin_solver
from align_your_steps.schedules import discrete_table

TABLE = discrete_table()
DATA = Mixture.random(6, 5, seed=0)


def noise(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def paths(levels: int, steps: int) -> list[tuple[int, ...]]:
    """Every way from 0 to the last level in so many steps."""
    return [(0, *inner, levels - 1) for inner in combinations(range(1, levels - 1), steps - 1)]


def euler_end(start: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Return where Euler's method takes noise of unit variance."""
    return builtin_solver("euler", DATA.denoise)(start, levels, 0)


@pytest.mark.parametrize("coefficient", [0.9, 1.0, 1.15])
@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_gits_path_is_the_best_of_all_paths(steps, coefficient):
    # Costs of either sign: those of the published "dev" metric can be negative.
    costs = np.random.default_rng(steps).normal(size=(8, 8))
    costs[np.tril_indices(8)] = np.inf

    def total(path: tuple[int, ...]) -> float:
        return sum(coefficient**k * costs[i, j] for k, (i, j) in enumerate(pairwise(path)))

    found = best_path(costs, steps, coefficient)
    assert tuple(found) == min(paths(8, steps), key=total)


def test_gits_refuses_more_steps_than_the_teacher_has():
    with pytest.raises(ValueError, match="choose 1 to 2"):
        best_path(np.ones((3, 3)), 3, 1.0)


def test_gits_l2_cost_is_the_error_of_one_euler_step():
    levels = torch.tensor([8.0, 3.0, 1.0, 0.3, 0.1], dtype=torch.float64)
    states, slopes = trajectory(DATA.denoise, noise(4, 1), levels)
    costs = gits_costs(states, slopes, levels, "l2")
    landed = euler_end(states[1] / levels[1], levels[[1, 3]])
    assert costs[1, 3] == pytest.approx(float((landed - states[3]).norm(dim=1).mean()))
    assert np.isinf(costs[np.tril_indices(5)]).all()


def test_gits_deviation_is_zero_for_straight_trajectories():
    states = torch.linspace(1.0, 0.0, 5, dtype=torch.float64)[:, None, None] * noise(3, 2)
    slopes = noise(3, 2).expand(5, 3, 6)
    costs = gits_costs(states, slopes, torch.linspace(1.0, 0.0, 5).double(), "dev")
    assert np.abs(costs[np.triu_indices(5, 1)]).max() < 1e-12


def test_gits_counts_its_calls_and_returns_a_schedule():
    gits = Gits(DATA.denoise, noise(3, 3), TABLE)
    assert gits.calls == 3 * 60
    assert GITS_TRAJECTORIES * 60 == 15_360  # what the paper's own set-up costs
    for metric in ("l2", "dev"):
        sigmas = gits.schedule(6, metric).sigmas
        assert len(sigmas) == 7
        assert (sigmas.diff() < 0).all()
        assert sigmas[0] == pytest.approx(TABLE.sigma_max) and sigmas[-1] == 0


@pytest.mark.parametrize("seed", range(4))
def test_oss_with_two_steps_is_the_best_of_all_two_step_schedules(seed):
    # With two steps every state that the recursion keeps is reached in one way only.
    levels = torch.tensor([14.0, 7.0, 3.0, 1.5, 0.7, 0.3, 0.1, 0.0], dtype=torch.float64)
    start = noise(1, seed)
    teacher = euler_end(start, levels)

    def error(path: tuple[int, ...]) -> float:
        return float((euler_end(start, levels[list(path)]) - teacher).square().sum())

    path, calls = oss_path(DATA.denoise, start, levels, 2)
    assert tuple(path) == min(paths(8, 2), key=error)
    assert calls == 7 + 1 + 6


def test_oss_follows_its_recursion():
    levels = torch.tensor([14.0, 5.0, 2.0, 0.9, 0.4, 0.0], dtype=torch.float64)
    start = noise(1, 9)
    teacher = [euler_end(start, levels[: j + 1]) for j in range(6)]

    def best(k: int, j: int) -> tuple[torch.Tensor, tuple[int, ...]]:
        """z(k, j) and how it was reached."""
        if k == 0:
            return levels[0] * start, (0,)
        reached = []
        for i in range(k - 1, j) if k > 1 else [0]:
            x, path = best(k - 1, i)
            reached.append((euler_end(x / levels[i], levels[[i, j]]), (*path, j)))
        return min(reached, key=lambda z: float((z[0] - teacher[j]).square().sum()))

    assert tuple(oss_path(DATA.denoise, start, levels, 4)[0]) == best(4, 5)[1]


def test_oss_of_many_noises_is_a_schedule_and_costs_a_teacher_and_one_grid_a_step():
    found = oss(DATA.denoise, noise(3, 4), 5, TABLE)
    assert len(found.sigmas) == 6
    assert (found.sigmas.diff() < 0).all() and found.sigmas[-1] == 0
    most = 3 * OSS_TEACHER_STEPS * (5 + 1)
    assert 0.7 * most < found.calls <= most


@pytest.mark.parametrize("steps", [5, 6, 8, 10, 15, 20])
def test_fixed_schedules_are_those_of_the_host_and_the_published_ones(steps):
    names = set(fixed(steps, TABLE))
    host = {"karras", "exponential", "normal", "simple", "beta", "sgm_uniform", "kl_optimal"}
    assert host | {"linear_quadratic"} <= names
    assert {"AYS SD1.5", "AYS SDXL", "AYS SVD"} <= names
    assert all(len(levels) == steps + 1 for levels in fixed(steps, TABLE).values())
