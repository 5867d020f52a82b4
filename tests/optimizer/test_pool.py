"""The pool: what is run and in which order, and what that costs before the comparison begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import VE, edm_schedule
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.fit.pool import APART, TRIED, refined_pool
from align_your_steps.optimizer.fit.surrogate import Surrogate
from align_your_steps.optimizer.judging.select import FAVOURITES, Candidate
from align_your_steps.optimizer.plan import REFINEMENT_SHARE
from align_your_steps.optimizer.profile.candidates import distinct, edm_levels
from align_your_steps.tests.optimizer.laboratory import Begun
from align_your_steps.tests.optimizer.test_surrogate import BATCHES, HIGH, LOW, SOLVERS, prepared

DATA = Mixture.random(16, 12, seed=3, std=0.5)


def pool_of(steps: int) -> list[Candidate]:
    """Three given schedules and two found ones."""

    def candidate(name: str, inner: np.ndarray, given: bool) -> Candidate:
        levels = np.array([HIGH, *inner[1:-1], 0.0])
        return Candidate(name, torch.from_numpy(levels).float(), given)

    return [
        candidate("exponential", np.geomspace(HIGH, LOW, steps + 1), True),
        candidate("linear", np.linspace(HIGH, LOW, steps + 1), True),
        candidate("EDM", edm_schedule(steps, HIGH, LOW), True),
        candidate("rho 3", edm_schedule(steps, HIGH, LOW, rho=3.0), False),
        candidate("arctan", gaussian.kl_schedule(steps, HIGH, LOW), False),
    ]


def refined_in(
    runs: Begun,
    surrogate: Surrogate,
    pool: list[Candidate],
    goes_on: Callable[[], bool] = lambda: True,
) -> list[Candidate]:
    return refined_pool(
        pool,
        surrogate,
        VE,
        lambda candidate: runs.track(candidate.sigmas, BATCHES),
        lead=lambda candidate: None,
        race=lambda candidate: None,
        goes_on=goes_on,
    )[0]


def refined(solver: str, steps: int, budget: int = 100_000):
    """The runs, the given pool and the refined one."""
    runs, surrogate = prepared(DATA.denoise, solver, dim=16, batch=4, budget=budget)
    pool = pool_of(steps)
    found = refined_in(runs, surrogate, pool)
    return runs, pool, found


def test_refining_without_a_call_asks_whether_it_goes_on_so_that_it_can_be_cancelled() -> None:
    class Cancelled(Exception):
        pass

    def goes_on() -> bool:
        raise Cancelled

    runs, surrogate = prepared(DATA.denoise, "dpmpp_2m", dim=16, batch=4)
    before = runs.left
    with pytest.raises(Cancelled):
        refined_in(runs, surrogate, pool_of(5), goes_on)
    assert before - runs.left <= BATCHES * runs.runner.cost(5)  # one schedule was run


def real_error(runs, candidate: Candidate) -> float:
    return float(np.mean([runs.errors.of(candidate, batch) for batch in range(BATCHES)]))


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_schedule_stays_in_the_pool_behind_the_best_given_and_the_refined(solver, steps):
    _, pool, found = refined(solver, steps)
    assert [candidate.given for candidate in found[:FAVOURITES]] == [True] * FAVOURITES
    assert {id(candidate) for candidate in pool} <= {id(candidate) for candidate in found}
    searched = [candidate.name for candidate in found[-2:]]
    assert set(searched) == {"rho 3", "arctan"}
    for candidate in found:
        assert len(candidate.sigmas) == steps + 1
        assert candidate.sigmas[0] == torch.tensor(HIGH)
        assert candidate.sigmas[-1] == 0.0
        assert (candidate.sigmas.diff() < 0).all()
        assert steps == 1 or candidate.sigmas[-2] >= LOW * (1 - 1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_refined_schedule_is_better_on_the_noises_that_it_was_refined_on(solver):
    runs, pool, found = refined(solver, 5)
    errors = [real_error(runs, candidate) for candidate in pool if candidate.given]
    best = next(candidate for candidate in found if candidate.name == "refined")
    assert not best.given
    assert real_error(runs, best) < 0.97 * min(errors)


@pytest.mark.parametrize("steps", [3, 4, 5, 6])
@pytest.mark.parametrize("solver", SOLVERS)
def test_schedules_refined_on_the_surrogate_are_apart_from_one_another_and_the_given(solver, steps):
    _, pool, found = refined(solver, steps)
    free = [c for c in found if c.name.endswith("refined on the surrogate")]
    assert free
    assert distinct(free, [], VE, APART) == free
    assert distinct(free, [c for c in pool if c.given], VE) == free


@pytest.mark.parametrize("solver", SOLVERS)
def test_nothing_is_run_that_refinement_may_not_spend(solver):
    runs, pool, found = refined(solver, 5, budget=0)
    assert "refinement" not in runs.spent
    assert "refined" not in {candidate.name for candidate in found}
    assert {id(candidate) for candidate in pool} <= {id(candidate) for candidate in found}


@pytest.mark.parametrize("budget", [2000, 3000, 5000])
def test_refinement_spends_whole_runs_of_every_noise_within_its_share(budget):
    runs, _, _ = refined("dpmpp_2m", 5, budget)
    once = BATCHES * runs.runner.cost(5)
    assert once <= runs.spent["refinement"] <= REFINEMENT_SHARE * budget
    assert runs.spent["refinement"] % once == 0


def test_one_step_is_run_but_for_its_slopes_and_nothing_is_refined():
    runs, _, found = refined("euler", 1)
    assert not any("refined" in candidate.name for candidate in found)
    assert runs.spent["refinement"] <= (1 + TRIED) * BATCHES * runs.runner.cost(1)


def test_pool_without_given_schedules_is_refined_too():
    runs, surrogate = prepared(DATA.denoise, "dpmpp_2m", dim=16, batch=4)
    pool = [candidate for candidate in pool_of(5) if not candidate.given]
    found = refined_in(runs, surrogate, pool)
    assert found[0].name == "refined"
    assert real_error(runs, found[0]) < min(real_error(runs, candidate) for candidate in pool)


def test_levels_of_a_candidate_survive_the_way_to_edm_and_back():
    levels = edm_levels(pool_of(5)[0], VE)
    assert levels[0] == pytest.approx(HIGH)
    assert levels[-1] == 0.0
    assert levels[1:-1] == pytest.approx(np.geomspace(HIGH, LOW, 6)[1:-1], rel=1e-6)
