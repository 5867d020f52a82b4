"""The criterion for stochastic solvers, and schedules that are chosen by it."""

import math

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.metrics import output_variances
from align_your_steps.benchmarks.mixture import power_law
from align_your_steps.optimizer import Meter, Result, builtin_solver
from align_your_steps.optimizer.diffusion.solvers import DETERMINISTIC_TWIN, stochastic_solver
from align_your_steps.optimizer.judging import distribution
from align_your_steps.optimizer.judging.distribution import distribution_errors
from align_your_steps.optimizer.judging.select import Score
from align_your_steps.optimizer.plan import FEWEST_NOISES
from align_your_steps.schedules.curves import discrete_table, hand_made
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from align_your_steps.tests.optimizer.test_finish import At

TABLE = discrete_table()
HIGH, LOW = TABLE.sigma_max, TABLE.sigma_min
DATA = power_law(8)


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def found(denoise=DATA.denoise, **options) -> Result:
    defaults = {"solver": "dpmpp_2m_sde", "steps": 5, "budget": 4000}
    ends = {"sigma_max": HIGH, "sigma_min": LOW, "candidates": hand_made(5, TABLE)}
    return optimize_flat(denoise, (8,), **{**defaults, **ends, **options})


# -- the criterion --------------------------------------------------------------------------


def criterion(x: torch.Tensor, y: torch.Tensor) -> float:
    mean = (x.mean(0) - y.mean(0)).square()
    return float((mean + (x.std(0) - y.std(0)).square()).mean().sqrt())


def test_criterion_of_the_reference_itself_is_zero():
    x = normal(16, 3, 4, seed=0)
    assert distribution_errors(x, x) == [0.0] * 16


def test_values_average_to_the_criterion_and_spread_as_the_jackknife_says():
    x, y = normal(12, 30, seed=0), normal(12, 30, seed=1)
    values = np.array(distribution_errors(x, y))
    assert values.mean() == pytest.approx(criterion(x, y))
    kept = [torch.arange(12) != k for k in range(12)]
    without = np.array([criterion(x[rows], y[rows]) for rows in kept])
    jackknife = math.sqrt(11 / 12 * np.square(without - without.mean()).sum())
    assert values.std(ddof=1) / 12**0.5 == pytest.approx(jackknife)


def test_criterion_sees_shift_and_width_and_not_which_sample_is_which():
    x = normal(64, 3, seed=0)
    assert np.mean(distribution_errors(x + 0.5, x)) == pytest.approx(0.5)
    assert np.mean(distribution_errors(x.flip(0), x)) == pytest.approx(0.0, abs=1e-7)
    centred = x - x.mean(0)
    width = float(x.var(0).mean() ** 0.5)
    assert np.mean(distribution_errors(2.0 * centred, centred)) == pytest.approx(width)


def test_standard_error_is_the_spread_over_repetitions():
    """x = y + independent noise of another mean and width in every element."""
    means, errors, differences, of_difference = [], [], [], []
    for k in range(300):
        y = normal(24, 50, seed=3 * k)
        x, w = 1.3 * y + 0.2, 1.2 * y + 0.3 + 0.2 * normal(24, 50, seed=3 * k + 1)
        one, other = np.array(distribution_errors(x, y)), np.array(distribution_errors(w, y))
        means.append(one.mean())
        errors.append(one.std(ddof=1) / 24**0.5)
        differences.append((one - other).mean())
        of_difference.append((one - other).std(ddof=1) / 24**0.5)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.25)
    assert np.mean(of_difference) == pytest.approx(np.std(differences), rel=0.25)


def test_values_are_the_same_in_parts_of_the_elements(monkeypatch):
    x, y = normal(9, 5, 6, seed=0), normal(9, 5, 6, seed=1)
    whole = distribution_errors(x, y)
    monkeypatch.setattr(distribution, "CHUNK", 7)
    assert distribution_errors(x, y) == pytest.approx(whole)


def test_end_points_that_are_no_numbers_are_infinitely_far():
    x = normal(8, 3, seed=0)
    bad = x.clone()
    bad[2, 1] = math.nan
    assert Score(None, distribution_errors(bad, x)).mean == math.inf


# -- the method -----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", sorted(DETERMINISTIC_TWIN))
def test_stochastic_solver_is_judged_by_the_distribution_of_its_samples(solver):
    result = found(solver=solver)
    assert result.criterion == "law"
    assert {"law reference", "candidates"} <= set(result.calls)
    assert result.noises >= FEWEST_NOISES
    assert {len(score.errors) for score in result.scores} == {result.noises}
    assert result.error.mean == min(score.mean for score in result.scores)
    assert any(score.candidate.given for score in result.scores)


def test_a_limit_leaves_whole_batches_of_what_was_compared():
    whole = found(solver="ddim_stochastic")
    early = found(solver="ddim_stochastic", finish=At(whole.total_calls - 300))
    assert early.ended_early
    assert early.criterion == "law"
    assert {len(score.errors) for score in early.scores} == {early.noises}
    assert FEWEST_NOISES <= early.noises < whole.noises


def test_schedules_of_one_name_are_told_apart():
    given = {**hand_made(5, TABLE), "refined": [HIGH, 6.0, 2.0, 1.0, 0.3, 0.0]}
    assert found(solver="ddim_stochastic", candidates=given).criterion == "law"


@pytest.mark.parametrize("steps", [1, 5, 12])
def test_budget_is_kept_whatever_the_criterion(steps):
    criteria = set()
    for budget in (400, 1500, 4000):
        rows = 0

        def denoise(x, sigma):
            nonlocal rows
            rows += len(x)
            return DATA.denoise(x, sigma)

        result = found(denoise, steps=steps, budget=budget, candidates=hand_made(steps, TABLE))
        assert rows == result.total_calls <= budget
        criteria.add(result.criterion)
    assert criteria == {"paired error", "law"}


@pytest.mark.parametrize(
    "solver, options",
    [
        ("dpmpp_2m_sde", {"budget": 500}),
        ("dpmpp_2m_sde", {"method": "paper"}),
    ],
)
def test_twin_judges_where_the_distribution_does_not(solver, options):
    by_twin = found(solver=solver, **options)
    assert by_twin.criterion == "paired error"
    twin = found(solver=DETERMINISTIC_TWIN[solver], **options)
    assert by_twin.error.errors == twin.error.errors


def test_same_seed_gives_the_same_result():
    one, again = found(seed=3), found(seed=3)
    assert torch.equal(one.sigmas, again.sigmas)
    assert one.error.errors == again.error.errors


class Own:
    """A solver of the caller's, with what `optimize` needs to judge it by the distribution."""

    calls_per_step = 1

    def __init__(self, denoise, name: str = "dpmpp_2m_sde"):
        self.twin = builtin_solver(DETERMINISTIC_TWIN[name], denoise)
        self.stochastic = stochastic_solver(name, denoise)

    def __call__(self, noise, sigmas, seed):
        return self.twin(noise, sigmas, seed)


def test_solver_of_the_callers_is_judged_by_the_distribution_if_its_calls_are_counted():
    meter = Meter()

    def metered(x, sigma):
        return meter(x, float(sigma[0]), lambda: DATA.denoise(x, sigma))

    assert found(metered, solver=Own(metered), meter=meter).criterion == "law"
    assert meter.rows <= 4000
    assert found(solver=Own(DATA.denoise)).criterion == "paired error"


def test_schedule_on_which_the_stochastic_solver_fails_does_not_win():
    meter, fails = Meter(), [HIGH, 7.0, 2.0, 1.0, 0.3, 0.0]

    def metered(x, sigma):
        return meter(x, float(sigma[0]), lambda: DATA.denoise(x, sigma))

    class Failing(Own):
        def __init__(self, denoise):
            super().__init__(denoise)
            run = self.stochastic
            self.stochastic = lambda noise, sigmas, path: (
                run(noise, sigmas, path) * (math.nan if float(sigmas[1]) == 7.0 else 1.0)
            )

    result = found(metered, solver=Failing(metered), meter=meter, candidates={"fails": fails})
    assert result.failed == {"fails": "its run came out as NaN or infinity"}
    assert "fails" not in {score.candidate.name for score in result.scores}
    assert result.method != "fails"
    assert math.isfinite(result.error.mean)


def distance_to_data(sigmas: torch.Tensor, solver: str) -> float:
    """The criterion's exact value on Gaussian data, where every mean is 0."""
    std = output_variances(solver, DATA.denoise, sigmas, 8).sqrt()
    return float((std - DATA.variances.sqrt()).square().mean().sqrt())


@pytest.mark.parametrize(
    "solver, budget, part", [("dpmpp_2m_sde", 12_000, 0.8), ("ddim_stochastic", 4000, 0.95)]
)
def test_what_the_distribution_chooses_is_far_better_than_what_was_given_on_gaussian_data(
    solver, budget, part
):
    """In every seed. The twin's choice is as good here: it misleads where pictures part."""
    given = min(
        distance_to_data(torch.as_tensor(levels).float(), solver)
        for levels in hand_made(5, TABLE).values()
    )
    for seed in range(4):
        result = found(solver=solver, seed=seed, budget=budget)
        assert result.criterion == "law"
        assert distance_to_data(result.sigmas, solver) < part * given
