"""Brownian paths: unit noise for every step, one motion whatever was asked for."""

import math

import numpy as np
import pytest
import torch
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.brownian import BrownianPath
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.diffusion.solvers import DETERMINISTIC_TWIN, stochastic_solver

TOP = 10.0
LEVELS = torch.tensor([TOP, 4.0, 1.5, 0.5, 0.1, 0.0])


def brownian(rows: int = 4000, dim: int = 2, seed: int = 0) -> BrownianPath:
    source = torch.Generator().manual_seed(seed)
    return BrownianPath(lambda: torch.randn(rows, dim, generator=source))


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("first", [[TOP, 0.5, 0.1, 0.0], [TOP, 4.0, 1.0, 0.2, 0.0], [0.0]])
def test_steps_are_unit_noise_independent_of_each_other_whatever_was_asked_for_before(first):
    path = brownian()
    list(path.steps(torch.tensor(first)))
    z = torch.stack(list(path.steps(LEVELS))).flatten(1)
    covariance = z @ z.T / z.shape[1]
    assert len(z) == 4  # the step to 0 takes none
    assert torch.allclose(covariance, torch.eye(4), atol=0.06)


@pytest.mark.parametrize("top", [TOP, math.inf])
def test_steps_compose(top):
    path = brownian(rows=10)
    coarse = path.noise(top, 1.0)
    first, second = path.noise(top, 3.0), path.noise(3.0, 1.0)
    lengths = 3.0**-2 - top**-2, 1.0 - 3.0**-2
    sum_of_steps = lengths[0] ** 0.5 * first + lengths[1] ** 0.5 * second
    assert torch.allclose(sum_of_steps, (1.0 - top**-2) ** 0.5 * coarse, atol=1e-5)


def test_what_was_drawn_once_stays():
    path = brownian(rows=10)
    before = path.noise(4.0, 0.5)
    list(path.steps(LEVELS))
    assert torch.equal(path.noise(4.0, 0.5), before)


def test_solver_with_a_constant_denoiser_does_not_see_how_a_path_is_divided():
    """Stochastic-DDIM is exact where D is constant, so only the noise could differ."""
    path, noise = brownian(rows=10), normal(10, 2, seed=1)
    solver = stochastic_solver("ddim_stochastic", lambda x, s: torch.ones_like(x))
    ends = [
        solver(noise, torch.tensor([TOP, *inner, 0.2]), path)
        for inner in ([1.0], [4.0, 2.0, 1.0, 0.5])
    ]
    assert torch.allclose(*ends, atol=1e-5)


@pytest.mark.parametrize("name", DETERMINISTIC_TWIN)
def test_runs_along_one_path_come_to_one_end_point(name):
    path, noise = brownian(rows=500), normal(500, 2, seed=1)

    def run(count):
        levels = torch.from_numpy(np.append(spread(TOP, 0.05, count), 0.0)).float()
        return stochastic_solver(name, gaussian.denoise)(noise, levels, path)

    end = run(400)
    errors = [float((run(count) - end).norm()) for count in (5, 20, 80)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 4


def test_a_step_of_no_length_has_no_noise() -> None:
    source = torch.Generator().manual_seed(0)
    path = BrownianPath(lambda: torch.randn(2, 3, generator=source))
    assert path.noise(2.0, 2.0).tolist() == [[0.0] * 3] * 2
