"""A calibrated sampler by `optimize`: what it costs, tells, remembers and refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.benchmarks.peers import fixed
from align_your_steps.benchmarks.problems import TABLE
from align_your_steps.optimizer import (
    FLOW,
    VE,
    JudgedSolver,
    Result,
    SharedReferences,
    builtin_solver,
    optimize,
)
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.diffusion.multistep import (
    TEXTBOOK,
    Multistep,
    steps_above,
    textbook,
)
from align_your_steps.optimizer.diffusion.solvers import reference_solver
from align_your_steps.optimizer.fit.bench import NOISES_AT_ONCE
from align_your_steps.optimizer.judging import end_points
from align_your_steps.optimizer.judging.end_points import MANY
from align_your_steps.optimizer.optimize import check_calibration
from align_your_steps.optimizer.plan import CalibrationPlan
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from align_your_steps.tests.optimizer.test_finish import At
from align_your_steps.tests.optimizer.test_journal import InMemory, Interrupted
from torch import Tensor

DATA = Mixture.random(16, 4, seed=3)
HIGH, LOW = 20.0, 0.05
NOISE = torch.randn(400, 16, generator=torch.Generator().manual_seed(99))


def curves(steps: int) -> dict[str, Any]:
    """What a user has."""
    karras = np.linspace(HIGH ** (1 / 7), LOW ** (1 / 7), steps) ** 7
    return {
        "exponential": [*np.geomspace(HIGH, LOW, steps + 1)[:-1], 0.0],
        "karras": [*karras, 0.0],
        "linear": [*np.linspace(HIGH, LOW, steps + 1)[:-1], 0.0],
    }


class Counted:
    """A denoiser that counts its rows, and may be interrupted."""

    def __init__(self, fails_at: float = math.inf) -> None:
        self.rows, self.fails_at = 0, fails_at

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if self.rows >= self.fails_at:
            raise Interrupted
        self.rows += len(x)
        return DATA.denoise(x, sigma)


def found(denoise: Any = DATA.denoise, steps: int = 5, **settings: Any) -> Result:
    given = {"solver": "calibrated", "budget": 1000, "candidates": curves(steps), "seed": 1}
    ends = {"sigma_max": HIGH, "sigma_min": LOW}
    return optimize_flat(denoise, (16,), steps=steps, **ends, **{**given, **settings})


def errors(solver: Any, sigmas: Any) -> Tensor:
    """RMS errors on noise that nothing was fitted or chosen on."""
    fine = torch.tensor(np.append(spread(HIGH, LOW, 200), 0.0)).float()
    end = reference_solver(DATA.denoise)(NOISE, fine, 0)
    return (solver(NOISE, sigmas, 0) - end).square().mean(1).sqrt()


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
@pytest.mark.parametrize("budget", [500, 1000, 4000])
def test_budget_is_kept_and_what_is_spent_is_told(steps: int, budget: int) -> None:
    model = Counted()
    result = found(model, steps, budget=budget)
    assert model.rows == result.total_calls == sum(result.calls.values()) <= budget
    assert len(result.sigmas) == steps + 1
    assert result.sigmas[0] == HIGH and result.sigmas[-1] == 0.0
    assert (result.sigmas.diff() < 0).all()


@pytest.mark.parametrize("steps", [5, 8])
def test_sampler_is_far_nearer_than_textbook_on_fresh_noise(steps: int) -> None:
    result = found(steps=steps, budget=2000)
    ours = errors(result.solver(DATA.denoise), result.sigmas)
    pairs = [textbook(name, levels) for levels in curves(steps).values() for name in TEXTBOOK]
    ratios = [
        float((ours / errors(lambda x, *_, one=one: one(DATA.denoise, x), ())).log().mean().exp())
        for one in pairs
    ]
    assert max(ratios) < 0.6  # of the best pair in hindsight, too


def test_gain_is_measured_on_noise_that_neither_fitted_nor_chose() -> None:
    result = found(budget=4000)
    assert result.gain is not None and result.gain.ratio < 0.6
    assert result.noises == result.gain.noises >= 8
    assert result.error.figure == min(score.figure for score in result.scores)


def test_result_holds_the_fitted_numbers_as_plain_data_that_json_can_save() -> None:
    result = found()
    assert result.sampler is not None
    again = Multistep.from_plain(json.loads(json.dumps(result.sampler.to_plain())))
    assert again == result.sampler
    ends = (s(DATA.denoise, NOISE[:8]) for s in (again, result.sampler))
    assert torch.equal(*ends)


def test_result_keeps_the_best_plain_curve_for_other_samplers() -> None:
    result = found()
    assert result.plain is not None and result.plain.given
    assert len(result.plain.sigmas) == 6 and result.plain.sigmas[-1] == 0.0


def test_solver_of_a_result_runs_its_own_levels_only() -> None:
    result = found()
    solver = result.solver(DATA.denoise)
    with pytest.raises(ValueError, match="not its own"):
        solver(NOISE[:2], torch.tensor([HIGH, 1.0, 0.0]), 0)
    plain = optimize_flat(
        DATA.denoise, (16,), solver="euler", steps=4, budget=600, sigma_max=HIGH, sigma_min=LOW
    )
    expected = builtin_solver("euler", DATA.denoise)(NOISE[:4], plain.sigmas, 0)
    assert torch.equal(plain.solver(DATA.denoise)(NOISE[:4], plain.sigmas, 0), expected)


def test_solver_of_the_callers_is_not_a_results_to_give() -> None:
    own = builtin_solver("dpmpp_2m", DATA.denoise)
    result = optimize_flat(
        DATA.denoise, (16,), solver=own, steps=4, budget=600, sigma_max=HIGH, sigma_min=LOW
    )
    with pytest.raises(ValueError, match="a solver of your own"):
        result.solver(DATA.denoise)


def test_same_seed_gives_the_same_sampler_whatever_the_size_of_a_call() -> None:
    one, again, small = found(), found(), found(batch_size=3)
    assert one.sampler == again.sampler
    assert one.sampler is not None and small.sampler is not None
    assert np.allclose(one.sampler.levels, small.sampler.levels, rtol=1e-3)


def test_references_of_one_number_of_steps_serve_the_others() -> None:
    shared = SharedReferences([6, 5])
    first, model, kept = found(steps=6, references=shared), Counted(), InMemory()
    second = found(model, references=shared, journal=kept)
    alone = found()
    assert model.rows == second.total_calls <= 1000
    assert second.calls.get("reference", 0) < 0.3 * alone.calls["reference"]
    assert first.reference_steps == second.reference_steps
    fitted, ours = (errors(one.solver(DATA.denoise), one.sigmas) for one in (alone, second))
    assert (ours / fitted).log().mean() < 0.2
    assert second.shown.keys() >= {MANY}
    # Recorded with what others had measured, it goes on without them, and is the same: all but
    # the last stage, which no other has followed, is there.
    again = Counted()
    assert found(again, references=SharedReferences([6, 5]), journal=kept).sampler == second.sampler
    assert again.rows <= 5 * NOISES_AT_ONCE


def test_references_are_not_finer_than_worth_it_for_others() -> None:
    assert CalibrationPlan.of(1000, 5, beside=(8,)).reference == 26
    assert CalibrationPlan.of(1000, 8, beside=(5,)).reference == 26
    of_twenty = CalibrationPlan.of(2000, 20).reference
    assert CalibrationPlan.of(2000, 20, beside=(5, 8)).reference == of_twenty
    assert CalibrationPlan.of(2000, 5, beside=(20, 8)).reference < of_twenty
    for budget in (1000, 4000):
        assert CalibrationPlan.of(budget, 8, beside=(8,)) == CalibrationPlan.of(budget, 8)


@pytest.mark.parametrize("part", [0.5, 0.8])
def test_interrupted_calibration_goes_on_where_it_was(part: float) -> None:
    whole = Counted()
    expected = found(whole)
    journal = InMemory()
    with pytest.raises(Interrupted):
        found(Counted(part * whole.rows), journal=journal)
    second = Counted()
    again = found(second, journal=journal)
    assert again.sampler == expected.sampler
    assert again.calls == expected.calls
    assert second.rows < whole.rows
    assert again.shown.keys() == expected.shown.keys()
    for name, end in expected.shown.items():
        assert torch.equal(again.shown[name], end)


@pytest.mark.parametrize("solver", ["calibrated", "dpmpp_2m"])
def test_one_noises_end_points_are_kept_to_be_looked_at(solver: str) -> None:
    result = found(solver=solver)
    assert MANY in result.shown
    for score in result.scores:
        off = result.shown[score.candidate.name].double() - result.shown[MANY].double()
        assert float(off.square().mean().sqrt()) == pytest.approx(score.errors[0], abs=2e-3)


def test_of_very_large_latents_none_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = found()
    monkeypatch.setattr(end_points.Shown.__init__, "__defaults__", (15,))  # a sample has 16
    result = found()
    assert result.shown == {}
    assert result.sampler == expected.sampler


def test_limit_leaves_out_joint_steps_and_the_result_says_so() -> None:
    result = found(budget=4000, finish=At(1500))
    assert result.ended_early
    assert result.total_calls < 3000
    assert result.gain is not None and result.gain.ratio <= 1.0


def test_flow_levels_are_in_the_models_units() -> None:
    steps = 5
    given = {"linear": np.linspace(1.0, 0.0, steps + 1)}
    given["shifted"] = 3.0 * given["linear"] / (1.0 + 2.0 * given["linear"])
    result = optimize_flat(
        DATA.denoise, (16,), solver="calibrated", steps=steps, sigma_max=1.0, sigma_min=0.02,
        budget=1000, candidates=given, coordinate=FLOW,
    )  # fmt: skip
    assert result.sigmas[0] == 1.0 and (result.sigmas.diff() < 0).all()
    assert result.sampler is not None
    inner = FLOW.edm(result.sigmas[1:-1].double().numpy())
    assert np.allclose(inner, result.sampler.levels[1:-1], rtol=1e-4)
    assert result.gain is not None and result.gain.ratio < 0.9


def test_model_of_coarse_timesteps_is_told_levels_that_it_tells_apart() -> None:
    table = np.geomspace(LOW, HIGH, 12)  # further apart than told levels are moved by
    known = replace(VE, table=table)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        at = float(table[np.abs(np.log(table / float(sigma[0]))).argmin()])
        return DATA.denoise(x, torch.full_like(sigma, at))

    result = found(denoise, coordinate=known)
    assert all(score.finite for score in result.scores)
    assert result.gain.ratio < 1.0


def test_nothing_but_the_given_elements_is_moved_by_a_fit() -> None:
    kept = torch.arange(8)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        D = DATA.denoise(x, sigma)
        D[:, :8] = 1.0
        return D

    result = found(denoise, elements=torch.arange(8, 16))
    sampler = result.sampler
    assert sampler.told == sampler.levels[:-1]
    assert sum(sampler.weights[-1]) == pytest.approx(1.0)
    assert torch.allclose(sampler(denoise, NOISE)[:, kept], torch.ones(len(NOISE), 8), atol=1e-5)


def test_runs_begin_at_the_callers_image() -> None:
    image = 3.0 + torch.zeros(16)
    t = 1.0  # half of the image is left there

    def begin(noise: Tensor) -> Tensor:
        return noise + image / t

    seen: list[Tensor] = []

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        if float(sigma[0]) == t:
            seen.append(x)
        return DATA.denoise(x, sigma)

    solver = JudgedSolver.of("calibrated", denoise, begin=begin)
    levels = {"one": [*np.geomspace(t, LOW, 5), 0.0]}
    optimize(
        denoise, (16,), sigma_max=t, sigma_min=LOW, steps=5, solver=solver, candidates=levels,
        budget=1000,
    )  # fmt: skip
    first = torch.cat(seen).mean(0)
    assert torch.allclose(first, image, atol=1.0)


def test_fit_to_two_models_begins_anew_at_the_boundary() -> None:
    boundary, other = 1.0, Mixture.random(16, 4, seed=4)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return (DATA if float(sigma[0]) > boundary else other).denoise(x, sigma)

    solver = replace(JudgedSolver.of("calibrated", denoise), boundary=boundary)
    result = optimize(
        denoise, (16,), sigma_max=HIGH, sigma_min=LOW, steps=6, solver=solver,
        candidates=curves(6), budget=1500,
    )  # fmt: skip
    sampler = result.sampler
    begins = steps_above(sampler.levels, boundary)
    assert 0 < begins < 6
    for i, row in enumerate(sampler.weights):
        assert len(row) <= (i + 1 if i < begins else i - begins + 1)
    assert all((s > boundary) == (i < begins) for i, s in enumerate(sampler.told))
    # As two runs of the host make it: the second one knows no earlier outputs.
    first = Multistep(sampler.levels[: begins + 1], sampler.told[:begins], sampler.weights[:begins])
    second = Multistep(sampler.levels[begins:], sampler.told[begins:], sampler.weights[begins:])
    left = first(DATA.denoise, NOISE) / second.levels[0]
    whole = sampler(denoise, NOISE)
    assert torch.allclose(second(other.denoise, left), whole, atol=1e-4)
    fine = [*spread(HIGH, boundary, 60), *spread(boundary, LOW, 60)[1:], 0.0]
    end = textbook("unipc_3", fine, boundary)(denoise, NOISE)
    plain = textbook("dpmpp_2m", result.plain.sigmas.tolist(), boundary)(denoise, NOISE)
    ours, theirs = ((x - end).norm(dim=1).log().mean() for x in (whole, plain))
    assert ours < theirs - 0.5


def test_model_of_discrete_time_is_told_levels_of_its_table() -> None:
    """Stable Diffusion's, whose lowest two are 0.35 apart in log s."""
    table = TABLE.sigmas
    known = np.log(table)

    def D(x: Tensor, sigma: Tensor) -> Tensor:
        """As of a network that predicts noise, and is told the nearest of its times."""
        s = float(sigma[0])
        r = float(table[np.abs(known - math.log(s)).argmin()])
        y = x * ((1.0 + r * r) / (1.0 + s * s)) ** 0.5
        return x - s * (y - DATA.denoise(y, torch.full_like(sigma, r))) / r

    result = optimize_flat(
        D, (16,), solver="calibrated", steps=5, budget=2000,
        sigma_max=float(table[-1]), sigma_min=float(table[0]),
        candidates=dict(fixed(5, TABLE)), coordinate=replace(VE, table=table),
    )  # fmt: skip
    assert result.sampler is not None
    assert set(result.sampler.told) <= set(table.tolist())
    assert result.gain is not None and result.gain.ratio < 0.6


def test_curves_that_cannot_be_used_are_left_out_and_none_is_needed() -> None:
    result = found(candidates={"short": [HIGH, 0.0], "words": "karras"})
    assert set(result.left_out) == {"short", "words"}
    assert result.plain is not None and result.plain.name.endswith("EDM")


@pytest.mark.parametrize("steps", [1, 2, 5, 12])
def test_least_budget_is_the_one_that_a_refusal_tells(steps: int) -> None:
    with pytest.raises(ValueError, match="at least, and 1000 are usual") as refused:
        found(budget=10, steps=steps)
    least = int(str(refused.value).split("takes ")[1].split()[0])
    assert found(budget=least, steps=steps).total_calls <= least
    with pytest.raises(ValueError, match="at least"):
        found(budget=least - 1, steps=steps)


def test_least_budget_counts_what_was_spent_before() -> None:
    refusals = []
    for spent in (0, 8):
        with pytest.raises(ValueError) as refused:
            found(budget=50, spent=spent)
        refusals.append(int(str(refused.value).split("takes ")[1].split()[0]))
    assert refusals[1] == refusals[0] + 8
    assert found(budget=refusals[1], spent=8).total_calls <= refusals[0]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"budget": 50}, "The budget was 50 calls: at 5 steps a calibration takes"),
        ({"method": "paper"}, "a calibrated sampler takes 'measured'"),
        ({"steps": 0}, "steps was 0"),
    ],
)
def test_impossible_arguments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        found(**settings)


def test_several_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="There were 2 processes"):
        check_calibration("measured", 2)
