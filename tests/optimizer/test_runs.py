"""The runs of one optimisation: what they cost, share, and are measured against."""

import math

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import VE, DenoiserError, builtin_solver, edm_schedule
from align_your_steps.optimizer.runs import Runs
from align_your_steps.optimizer.select import FINALISTS, Candidate

DATA = Mixture.random(3, 4, seed=0)
FINE = torch.tensor([*edm_schedule(19, 10.0, 0.05), 0.0]).float()
BATCH = 4


def runs(budget: int = 10_000, solver="euler", seed: int = 0, references: int = 1) -> Runs:
    made = Runs(DATA.denoise, solver, None, None, (3,), seed, budget, None)
    made.begin(FINE, BATCH, VE)
    for _ in range(references):
        made.add_reference()
    return made


def schedule(*levels: float) -> Candidate:
    return Candidate("mine", torch.tensor([10.0, *levels, 0.0]))


def test_reference_run_costs_its_steps_and_has_no_error():
    made = runs(solver="dpmpp_2m")
    assert made.spent == {"reference": 20 * BATCH}
    assert made.left == 10_000 - 20 * BATCH
    assert made.errors(Candidate("fine", FINE), 0) == [0.0] * BATCH


def test_errors_are_distances_to_the_reference_from_the_same_noise():
    made = runs()
    noise = []

    def recording(x: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        noise.append(x)
        return builtin_solver("euler", DATA.denoise)(x, sigmas, seed)

    made.solver = recording
    errors = made.errors(schedule(2.0, 0.5), 0)
    end = builtin_solver("euler", DATA.denoise)(noise[0], torch.tensor([10.0, 2.0, 0.5, 0.0]), 0)
    fine = builtin_solver("dpmpp_2m", DATA.denoise)(noise[0], FINE, 0)
    assert errors == pytest.approx((end - fine).norm(dim=1).div(math.sqrt(3)).tolist(), rel=1e-4)


def test_batches_have_their_own_noise_whatever_ran_before():
    made, other = runs(references=3), runs(references=3)
    forward = [made.errors(schedule(2.0, 0.5), k) for k in (0, 1, 2)]
    backward = [other.errors(schedule(2.0, 0.5), k) for k in (2, 1, 0)]
    assert forward == backward[::-1]
    assert len({error for errors in forward for error in errors}) == 3 * BATCH
    assert runs(seed=1).errors(schedule(2.0, 0.5), 0) != forward[0]


def test_schedules_share_the_calls_above_the_first_level_in_which_they_differ():
    made = runs()
    made.errors(schedule(5.0, 2.0, 1.0), 0)
    left = made.left
    made.errors(schedule(5.0, 2.0, 1.0), 0)
    assert made.left == left
    made.errors(schedule(5.0, 2.0, 0.5), 0)
    assert made.left == left - BATCH
    made.errors(schedule(4.0, 2.0, 1.0), 0)
    assert made.left == left - 4 * BATCH


def test_run_that_does_not_fit_is_not_made():
    made = runs(budget=20 * BATCH + 3 * BATCH)
    assert made.errors(schedule(5.0, 2.0, 1.0), 0) is None
    assert made.left == 3 * BATCH
    assert made.errors(schedule(5.0, 1.0), 0) is not None
    assert made.left >= 0


def test_further_noise_is_added_while_the_budget_allows_it():
    needed = 20 * BATCH + FINALISTS * 2 * BATCH  # a reference, and the finalists' runs
    for budget in range(90, 400, 10):
        made = runs(budget=budget)
        batches, left = 0, made.left
        while (errors := made.errors(schedule(2.0), batches)) is not None:
            assert len(errors) == BATCH
            assert batches == 0 or left >= needed
            batches, left = batches + 1, made.left
        assert batches == len(made.ends)
        assert 0 <= left < needed


def test_profile_is_charged_and_shares_no_memory_with_the_runs():
    made = runs()
    profile = made.profile(DATA.sample(BATCH, seed=1).float(), np.geomspace(10.0, 0.05, 8))
    assert made.spent["profile"] == 8 * BATCH
    assert profile.count == BATCH
    left = made.left
    made.errors(schedule(2.0), 0)
    # Forgotten: even the call at the first level, which the reference made too, is made again.
    assert left - made.left == 2 * BATCH


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_run_that_ends_in_no_number_has_an_infinite_error(bad):
    made = runs()
    made.solver = lambda noise, sigmas, seed: noise * bad
    assert made.errors(schedule(2.0), 0) == [math.inf] * BATCH


def test_reference_that_ends_in_no_number_is_refused():
    def solver(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        return noise * math.nan

    made = Runs(DATA.denoise, solver, None, None, (3,), 0, 999, None)
    made.begin(FINE, BATCH, VE)
    with pytest.raises(DenoiserError, match="NaN or infinite"):
        made.add_reference()
