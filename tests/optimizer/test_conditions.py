"""Several conditions in one optimisation: noise i has condition i mod their number, everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import Conditions, Result
from align_your_steps.optimizer.diffusion.multistep import textbook
from align_your_steps.optimizer.diffusion.noise import SELECTION, generators, unit_noise
from align_your_steps.optimizer.diffusion.solvers import CALIBRATED
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from torch import Tensor

DIM, SEED, HIGH, LOW = 12, 3, 15.0, 0.05
ALIKE = Mixture.random(DIM, 5, seed=1, std=0.3)
APART = 8.0  # of the conditions' means
KARRAS = [*np.linspace(HIGH ** (1 / 7), LOW ** (1 / 7), 5) ** 7, 0.0]
GIVEN = {"exponential": [*np.geomspace(HIGH, LOW, 6)[:-1], 0.0], "karras": KARRAS}


class Told(Conditions):
    """Conditions that keep the numbers of the noises that they are told."""

    numbers: list[int]

    @contextmanager
    def of(self, noises: Iterable[int]) -> Iterator[None]:
        self.numbers = [*noises]
        with super().of(self.numbers):
            yield


class Prompted:
    """A denoiser with an exact mixture for each condition, which checks whose rows it is given.

    seen: (noise, condition) of the rows at the highest level, where noises can be told
    """

    def __init__(self, count: int):
        self.conditions = Told(count)
        self.seen: set[tuple[int, int]] = set()
        self.means = APART * torch.eye(DIM)[:count]
        self.at_the_end = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        rows, level = torch.tensor(self.conditions.rows), float(sigma[0])
        assert len(rows) == len(x)
        if level > 0.9 * HIGH:
            self._look_at(x / HIGH)
        if level <= 1.1 * LOW:
            assert torch.equal(torch.cdist(x, self.means.to(x)).argmin(1), rows)
            self.at_the_end += len(x)
        mean = self.means.to(x)[rows]
        return mean + ALIKE.denoise(x - mean, sigma)

    def _look_at(self, unit: Tensor) -> None:
        """Note rows that are the noises they are said to be, at which runs begin."""
        numbers = self.conditions.numbers
        noise = unit_noise(generators(SEED, SELECTION, numbers), (DIM,))
        if torch.allclose(unit.float(), noise, atol=1e-3):
            self.seen |= {*zip(numbers, self.conditions.rows, strict=True)}


def found(denoise: Any, solver: str, **settings: Any) -> Result:
    given = {"steps": 5, "candidates": GIVEN, "budget": 1500, "seed": SEED, **settings}
    return optimize_flat(denoise, (DIM,), solver=solver, sigma_max=HIGH, sigma_min=LOW, **given)


@pytest.mark.parametrize("solver", [CALIBRATED, "dpmpp_2m", "heun", "ddim_stochastic"])
@pytest.mark.parametrize("batch_size", [16, 3])
def test_noise_has_the_condition_of_its_number_in_every_call(solver: str, batch_size: int) -> None:
    denoise = Prompted(5)
    budget = 8000 if solver == "ddim_stochastic" else 1500
    result = found(denoise, solver, batch_size=batch_size, budget=budget)
    assert {condition == number % 5 for number, condition in denoise.seen} == {True}
    assert {condition for _, condition in denoise.seen} == {*range(5)}
    assert len(denoise.seen) >= result.noises  # the race's own, and those before
    assert denoise.at_the_end > len(denoise.seen)
    assert result.total_calls <= budget


@pytest.mark.parametrize("solver", [CALIBRATED, "dpmpp_2m"])
def test_result_does_not_depend_on_the_rows_of_a_call(solver: str) -> None:
    one, other = (found(Prompted(3), solver, batch_size=rows) for rows in (16, 4))
    if solver == CALIBRATED:
        assert one.sampler == other.sampler
    assert one.noises >= 3 and one.total_calls > 0


def test_one_condition_is_the_same_as_none() -> None:
    class Plain:
        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            mean = APART * torch.eye(DIM)[0].to(x)
            return mean + ALIKE.denoise(x - mean, sigma)

    assert found(Prompted(1), CALIBRATED).sampler == found(Plain(), CALIBRATED).sampler


def test_fit_over_several_conditions_serves_each_of_them() -> None:
    denoise = Prompted(4)
    sampler = found(denoise, CALIBRATED, budget=3000).sampler
    assert sampler is not None
    fine = textbook("exponential_3", [*np.geomspace(HIGH, LOW, 120), 0.0])
    pair = textbook("dpmpp_2m", KARRAS)
    fresh = torch.randn(64, DIM, generator=torch.Generator().manual_seed(7)).double()
    for condition in range(4):
        with denoise.conditions.of([condition] * len(fresh)):
            end, ours, theirs = (one(denoise, fresh) for one in (fine, sampler, pair))
        assert (ours - end).norm(dim=1).mean() < 0.5 * (theirs - end).norm(dim=1).mean()


def test_no_conditions_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Conditions(0)
