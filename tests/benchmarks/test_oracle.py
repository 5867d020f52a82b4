"""The oracle: on Gaussian data its optimum is known by search."""

import pytest
import torch
from align_your_steps.benchmarks.metrics import end_point_errors
from align_your_steps.benchmarks.mixture import DiagonalGaussian, Mixture
from align_your_steps.benchmarks.oracle import oracle
from align_your_steps.optimizer import builtin_solver

FINE = torch.cat([torch.logspace(1, -1.5, 200), torch.zeros(1)])
BAD = torch.tensor([10.0, 8.0, 6.0, 0.0])
FAIR = torch.tensor([10.0, 2.0, 0.5, 0.0])


def noise(dim: int) -> torch.Tensor:
    return torch.randn(64, dim, generator=torch.Generator().manual_seed(0))


def test_oracle_finds_the_best_of_all_schedules_of_two_steps():
    data = DiagonalGaussian(torch.tensor([2.0, 0.5, 0.1], dtype=torch.float64))
    start = noise(3)
    end = builtin_solver("dpmpp_2m", data.denoise)(start, FINE, 0)
    euler = builtin_solver("euler", data.denoise)

    def error(level: float) -> float:
        sigmas = torch.tensor([10.0, level, 0.0])
        return float(end_point_errors(euler(start, sigmas, 0), end).mean())

    best = min(torch.logspace(-1.5, 0.9, 400).tolist(), key=error)
    found = oracle(euler, start, end, {"one": torch.tensor([10.0, 5.0, 0.0])})
    assert float(found[1]) == pytest.approx(best, rel=0.03)


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_oracle_improves_on_every_start_and_keeps_a_schedule(solver):
    data = Mixture.random(8, 4, seed=1)
    start = noise(8)
    end = builtin_solver("dpmpp_2m", data.denoise)(start, FINE, 0)
    solve = builtin_solver(solver, data.denoise)
    found = oracle(solve, start, end, {"bad": BAD, "fair": FAIR})
    errors = [end_point_errors(solve(start, s, 0), end).mean() for s in (found, FAIR, BAD)]
    assert errors[0] < min(errors[1:])
    assert (found.diff() < 0).all() and found[0] == 10.0 and found[-1] == 0.0
