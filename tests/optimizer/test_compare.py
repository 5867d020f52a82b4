"""Given schedules, ranked by where few steps end."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import FLOW, Comparison, DenoiserError, builtin_solver
from align_your_steps.optimizer.compare import most_calls
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.coordinate import VE
from align_your_steps.optimizer.diffusion.noise import SELECTION, generators, unit_noise
from align_your_steps.optimizer.diffusion.solvers import reference_solver
from align_your_steps.optimizer.judging.reference_steps import fine_levels, fine_steps
from align_your_steps.schedules.curves import discrete_table, hand_made
from align_your_steps.tests.optimizer.laboratory import compare_flat, optimize_flat
from torch import Tensor

TABLE = discrete_table()
HIGH, LOW = TABLE.sigma_max, TABLE.sigma_min
DATA = Mixture.random(16, 5, seed=3)
SHAPE = (16,)
GIVEN = hand_made(6, TABLE)


def compared(denoise=DATA.denoise, schedules=GIVEN, **options) -> Comparison:
    defaults = {"solver": "dpmpp_2m", "sigma_max": HIGH, "sigma_min": LOW}
    return compare_flat(denoise, SHAPE, schedules=schedules, **{**defaults, **options})


def errors_of(found: Comparison) -> dict[str, list[float]]:
    return {score.candidate.name: score.errors for score in found.scores}


def noise_of(count: int, seed: int = 0) -> Tensor:
    return unit_noise(generators(seed, SELECTION, range(count)), SHAPE)


def test_errors_and_ranking_are_those_of_brute_force() -> None:
    noise = noise_of(8)
    fine = fine_levels(fine_steps(6, 1, 3), VE, HIGH, LOW)
    reference = reference_solver(DATA.denoise)(noise, fine, 0)
    solve = builtin_solver("dpmpp_2m", DATA.denoise)
    expected = {
        name: (solve(noise, torch.tensor(levels).float(), 0) - reference).square().mean(1).sqrt()
        for name, levels in GIVEN.items()
    }
    found = compared()
    assert not found.left_out
    assert found.reference_steps == len(fine) - 1
    ranking = sorted(expected, key=lambda name: float(expected[name].mean()))
    assert [score.candidate.name for score in found.scores] == ranking
    for name, errors in errors_of(found).items():
        np.testing.assert_allclose(errors, expected[name].numpy(), rtol=1e-4)
    best = expected[ranking[0]]
    for score in found.scores:
        difference = expected[score.candidate.name] - best
        mean, standard_error = found.behind(score)
        assert mean == pytest.approx(float(difference.mean()), rel=1e-3, abs=1e-6)
        assert standard_error == pytest.approx(float(difference.std()) / 8**0.5, rel=1e-3)


def test_euler_on_gaussian_data_matches_its_closed_form() -> None:
    # x(T) shrinks by c / sqrt(c² + T²) in the limit, in a step by 1 + (s/t - 1) t² / (c² + t²).
    noise = noise_of(4).double()
    lengths = noise.square().mean(1).sqrt()
    found = compared(gaussian.denoise, solver="euler", noises=4)
    for score in found.scores:
        levels = score.candidate.sigmas.double()
        shrunk = math.prod(float(1 + (s / t - 1) * t**2 / (1 + t**2)) for t, s in pairwise(levels))
        off = abs(shrunk - 1 / math.sqrt(1 + HIGH**2)) * HIGH
        np.testing.assert_allclose(score.errors, (off * lengths).numpy(), rtol=0.01)


def test_the_batch_size_changes_nothing() -> None:
    one, many = (compared(noises=5, batch_size=size, seed=2) for size in (1, 16))
    assert [score.candidate.name for score in one.scores] == [
        score.candidate.name for score in many.scores
    ]
    assert one.noises == many.noises == 5
    for name, errors in errors_of(one).items():
        np.testing.assert_allclose(errors, errors_of(many)[name], rtol=1e-4)
    torch.testing.assert_close(one.first_reference, many.first_reference)


def test_optimize_reports_the_same_errors_for_the_same_noises() -> None:
    result = optimize_flat(
        DATA.denoise, SHAPE, sigma_max=HIGH, sigma_min=LOW, steps=6, solver="dpmpp_2m",
        candidates=GIVEN, budget=4000, seed=1,
    )  # fmt: skip
    found = compared(noises=64, seed=1)
    compared_here = errors_of(found)
    given = [score for score in result.scores if score.candidate.given]
    assert given
    most = max(given, key=lambda score: len(score.errors))
    every = np.array(compared_here[most.candidate.name])
    apart = [np.abs(every / error - 1.0) for error in most.errors]
    # A first batch, and after those that schedules are refined on all that follow.
    noises = [int(each.argmin()) for each in apart if each.min() < 1e-4]
    assert len(noises) > 16
    assert noises == sorted(set(noises))
    for score in given:
        there = noises[: len(score.errors)]
        errors = [compared_here[score.candidate.name][k] for k in there]
        np.testing.assert_allclose(errors, score.errors[: len(there)], rtol=1e-3)


def test_schedules_may_have_different_numbers_of_steps() -> None:
    schedules = {f"{n} steps": hand_made(n, TABLE)["karras"] for n in (4, 8, 12)}
    found = compared(schedules=schedules)
    assert [score.candidate.name for score in found.scores] == ["12 steps", "8 steps", "4 steps"]
    assert found.reference_steps == fine_steps(12, 1, 3)


def test_what_cannot_be_compared_is_left_out_with_the_reason() -> None:
    fine = GIVEN["karras"]
    schedules = {
        "fine": fine,
        "near": [HIGH * 0.95, *fine[1:]],
        "low": [HIGH / 2, *fine[3:]],
        "unfinished": fine[:-1],
        "rising": [HIGH, 1.0, 2.0, 0.0],
        "nothing": [HIGH],
        "nan": [HIGH, math.nan, 0.0],
        "words": ["a", "b"],
    }
    found = compared(schedules=schedules)
    assert {score.candidate.name for score in found.scores} == {"fine", "near"}
    assert errors_of(found)["near"] == errors_of(found)["fine"]
    assert found.left_out["low"] == "it starts at 7.307, not at 14.61"
    assert "it ends at" in found.left_out["unfinished"]
    assert found.left_out["rising"] == "its levels do not descend strictly"
    assert found.left_out["nothing"] == "it has no steps"
    assert found.left_out["nan"] == "it has levels that are not finite"
    assert "words" in found.left_out
    with pytest.raises(ValueError, match=r"No schedule can be compared\. low: it starts at"):
        compared(schedules={"low": schedules["low"]})
    with pytest.raises(ValueError, match="Give at least one"):
        compared(schedules={})


def test_a_schedule_whose_runs_fail_does_not_stop_the_others() -> None:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        answer = DATA.denoise(x, sigma)
        return answer * math.nan if float(sigma[0]) == pytest.approx(3.21) else answer

    failing = [HIGH, 3.21, 0.5, 0.0]
    found = compared(denoise, {"failing": failing, "karras": GIVEN["karras"]})
    assert list(errors_of(found)) == ["karras"]
    assert found.left_out["failing"] == "its run came out as NaN or infinity at noise level 3.21"
    with pytest.raises(ValueError, match=r"No schedule can be compared.* noise level 3\.21: "):
        compared(denoise, {"failing": failing})
    with pytest.raises(DenoiserError):
        compared(lambda x, sigma: x * math.nan)


def test_the_first_noise_can_be_given_and_its_end_points_are_kept() -> None:
    own = torch.randn(SHAPE, generator=torch.Generator().manual_seed(42))
    without, found = compared(noises=5), compared(noises=5, first_noise=own)
    solve = builtin_solver("dpmpp_2m", DATA.denoise)
    for score in found.scores:
        name = score.candidate.name
        end = solve(own[None], score.candidate.sigmas, 0)[0]
        torch.testing.assert_close(found.first_ends[name], end)
        error = float((end - found.first_reference).square().mean().sqrt())
        assert score.errors[0] == pytest.approx(error, rel=1e-4)
        assert score.errors[0] != errors_of(without)[name][0]
        np.testing.assert_allclose(score.errors[1:], errors_of(without)[name][1:], rtol=1e-4)


def test_levels_are_run_as_they_are_given() -> None:
    first = torch.tensor(HIGH).float() * (1 + 1e-7)
    schedule = torch.cat([first[None], torch.tensor(GIVEN["karras"]).float()[1:]])
    seen = set()

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        seen.add(float(sigma[0]))
        return DATA.denoise(x, sigma)

    found = compared(denoise, {"own": schedule})
    assert torch.equal(found.best.candidate.sigmas, schedule)
    assert set(schedule[:-1].tolist()) <= seen


@pytest.mark.parametrize("moment", range(0, 16))
def test_it_can_be_ended_after_every_run(moment: int) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > moment

    three = {name: GIVEN[name] for name in ("karras", "normal", "beta")}
    whole, found = (
        compared(schedules=three, noises=10),
        compared(schedules=three, noises=10, stop=stop),
    )
    assert found.noises in (4, 8, 10)
    for name, errors in errors_of(found).items():
        assert errors == errors_of(whole)[name][: found.noises]
    missing = three.keys() - errors_of(found).keys()
    assert missing == found.left_out.keys()
    assert len(missing) == max(0, 2 - max(0, moment - 1)) if found.noises == 4 else not missing
    assert found.total_calls <= whole.total_calls


@pytest.mark.parametrize(("solver", "per_step"), [("dpmpp_2m", 1), ("heun", 2)])
def test_calls_stay_within_what_was_announced(solver: str, per_step: int) -> None:
    computed, told = 0, []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal computed
        computed += len(x)
        return DATA.denoise(x, sigma)

    found = compared(
        denoise, solver=solver, noises=6, progress=lambda phase, rows: told.append(rows)
    )
    most = most_calls([6] * len(GIVEN), 6, per_step, 3, 1)
    assert found.total_calls == computed == told[-1]
    assert 0.8 * most < computed <= most
    assert told == sorted(told)
    alone = compared(solver=solver, noises=4, schedules={"karras": GIVEN["karras"]})
    most = most_calls([6], 4, per_step, 3, 1)
    assert 0.9 * most < alone.total_calls <= most


def test_a_difference_is_told_from_luck() -> None:
    found = compared(noises=24)
    worst = found.scores[-1]
    assert found.as_good(found.best)
    assert not found.as_good(worst)
    mean, standard_error = found.behind(worst)
    assert mean > 2 * standard_error > 0
    alone = compared(noises=1)
    assert math.isnan(alone.behind(alone.scores[-1])[1])
    assert alone.as_good(alone.scores[-1])


def test_schedules_that_differ_by_rounding_are_as_good() -> None:
    karras = torch.tensor(GIVEN["karras"]).float()
    nudged = karras.clone()
    nudged[3] *= 1 + 1e-5
    found = compared(schedules={"one": karras, "other": nudged}, noises=8)
    difference, standard_error = found.behind(found.scores[1])
    assert 2 * standard_error < difference < found.reference_error
    assert found.as_good(found.scores[1])


def test_the_best_so_far_is_told_whenever_it_is_another() -> None:
    told: list[Tensor] = []
    found = compared(noises=8, better=told.append)
    assert told
    assert torch.equal(told[0], torch.tensor(next(iter(GIVEN.values()))).float())
    assert torch.equal(told[-1], found.best.candidate.sigmas)
    assert not any(torch.equal(one, other) for one, other in pairwise(told))


def test_only_the_elements_asked_for_count() -> None:
    elements = torch.tensor([0, 3, 5])
    noise = noise_of(4)
    found = compared(schedules={"karras": GIVEN["karras"]}, noises=4, elements=elements)
    fine = fine_levels(fine_steps(6, 1, 3), VE, HIGH, LOW)
    reference = reference_solver(DATA.denoise)(noise, fine, 0)
    end = builtin_solver("dpmpp_2m", DATA.denoise)(noise, found.best.candidate.sigmas, 0)
    expected = (end - reference)[:, elements].square().mean(1).sqrt()
    np.testing.assert_allclose(found.best.errors, expected.numpy(), rtol=1e-4)


def test_a_flow_schedule_keeps_its_first_level_of_one() -> None:
    schedules = {"even": torch.linspace(1, 0, 7), "late": torch.linspace(1, 0, 7) ** 2}

    def solver(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        x = noise
        for s, below in pairwise(sigmas.tolist()):
            a = max(1.0 - s, 1e-4)
            D = DATA.denoise(x / a, torch.full((len(x),), s / a))
            x = x + (below - s) * (x - D) / s
        return x

    found = compare_flat(
        DATA.denoise, SHAPE, schedules=schedules, sigma_max=1.0, sigma_min=0.001, solver=solver,
        coordinate=FLOW, noises=4,
    )  # fmt: skip
    assert all(float(score.candidate.sigmas[0]) == 1.0 for score in found.scores)
    assert all(0.0 < score.mean < 1.0 for score in found.scores)
    assert math.isnan(found.reference_error)


def test_schedules_may_have_solvers_of_their_own() -> None:
    euler = builtin_solver("euler", DATA.denoise)
    both = {"karras": GIVEN["karras"], "euler karras": GIVEN["karras"]}
    found = errors_of(compared(schedules=both, solvers={"euler karras": euler}))
    assert found["karras"] == errors_of(compared())["karras"]
    alone = compared(solver="euler", schedules={"karras": GIVEN["karras"]})
    # Euler's own comparison has longer references.
    np.testing.assert_allclose(found["euler karras"], errors_of(alone)["karras"], rtol=0.02)


def test_calls_are_those_of_each_ones_solver() -> None:
    heun = builtin_solver("heun", DATA.denoise)
    given = {"karras": GIVEN["karras"], "heun karras": hand_made(3, TABLE)["karras"]}

    class TwoCalls:
        calls_per_step = 2

        def __call__(self, noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
            return heun(noise, sigmas, seed)

    found = compared(schedules=given, solvers={"heun karras": TwoCalls()})
    assert {s.candidate.name: found.calls_of(s) for s in found.scores} == {
        "karras": 6,
        "heun karras": 6,
    }


def test_steps_that_come_as_close_as_the_best_are_measured() -> None:
    def longer(name: str, steps: int) -> object:
        return hand_made(steps, TABLE)[name] if name != "simple" else None

    found = compared(noises=8, seed=1, longer=longer)
    assert found.needed
    assert found.best.candidate.name not in found.needed and "simple" not in found.needed
    behind = [s.candidate.name for s in found.scores if not found.as_good(s)]
    assert set(found.needed) <= set(behind)
    target = found.best.mean
    for name, needed in found.needed.items():
        assert needed.noises in (4, 8)

        def error(steps: int, name: str = name, noises: int = needed.noises) -> float:
            one = {name: hand_made(steps, TABLE)[name]}
            return compared(noises=noises, seed=1, schedules=one).best.mean

        assert 6 < needed.steps <= 18
        if needed.reached:
            # The error to reach is that of the best on the other noises: a little above its own.
            assert error(needed.steps) < 1.5 * target
            if needed.steps > 7:
                assert error(needed.steps - 1) > 0.9 * target
        else:
            assert error(18) > 0.9 * target


def test_no_steps_are_told_on_few_noises_or_after_the_end() -> None:
    def longer(name: str, steps: int) -> object:
        return hand_made(steps, TABLE)[name]

    assert compared(noises=3, longer=longer).needed == {}
    asked: list[None] = []
    whole = compared(noises=8, stop=lambda: bool(asked.append(None)))
    before = len(asked)
    asked.clear()

    def stop() -> bool:
        asked.append(None)
        return len(asked) > before

    ended = compared(noises=8, longer=longer, stop=stop)
    assert ended.needed == {}
    assert errors_of(ended) == errors_of(whole)
