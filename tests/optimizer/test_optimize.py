"""The whole method: budgets, guarantees, errors, and what is found on exact mixtures."""

import math
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture, power_law
from align_your_steps.optimizer import (
    FLOW,
    VE,
    DenoiserError,
    Meter,
    Result,
    builtin_solver,
    coordinate_search,
    edm_schedule,
    klub,
    subdivide,
)
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.diffusion.solvers import reference_solver
from align_your_steps.optimizer.judging.select import Score
from align_your_steps.schedules.curves import discrete_table, hand_made
from align_your_steps.schedules.presets import PRESETS, preset_for_model
from align_your_steps.schedules.resample import at_steps
from align_your_steps.tests.optimizer.laboratory import optimize_flat

TABLE = discrete_table()
HIGH, LOW = TABLE.sigma_max, TABLE.sigma_min
ALL_SOLVERS = ["euler", "heun", "dpmpp_2m", "ddim_stochastic", "dpmpp_2m_sde"]
DATA = Mixture.random(4, 5, seed=0)


def given(steps: int) -> dict[str, np.ndarray]:
    """Return what a user has: the host's own curves and the published schedules."""
    schedules = hand_made(steps, TABLE)
    for name in PRESETS:
        published = preset_for_model(name, sigma_max=HIGH)
        schedules[name] = np.array(at_steps(published, steps, sigma_min=LOW))
    return schedules


class Counted:
    """A denoiser that counts its rows."""

    def __init__(self, denoise=DATA.denoise):
        self.denoise, self.rows = denoise, 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.rows += len(x)
        return self.denoise(x, sigma)


def found(denoise=DATA.denoise, **options) -> Result:
    """An optimisation of dpmpp_2m at 5 steps, unless options say otherwise."""
    shape = options.pop("shape", (4,))
    defaults = {"solver": "dpmpp_2m", "steps": 5, "budget": 2000}
    ends = {"sigma_max": HIGH, "sigma_min": LOW}
    return optimize_flat(denoise, shape, **{**defaults, **ends, **options})


# -- budget and result ----------------------------------------------------------------------


def least_budget(**options) -> int:
    """Return what the refusal of a budget that is too small says to be enough."""
    with pytest.raises(ValueError, match="The budget was 10 calls") as refused:
        found(budget=10, **options)
    stated = re.search(r"at least (\d+) are needed", str(refused.value))
    assert stated is not None
    return int(stated[1])


@pytest.mark.parametrize(
    "steps, budgets", [(1, [300, 4000]), (2, [2000]), (5, [300, 4000]), (10, [1000]), (20, [1500])]
)
@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_budget_is_kept_and_the_result_is_no_worse_than_what_was_given(solver, steps, budgets):
    schedules = given(steps)
    least = least_budget(solver=solver, steps=steps)
    for budget in (least, *budgets):
        denoise = Counted()
        result = found(denoise, solver=solver, steps=steps, budget=budget, candidates=schedules)
        assert denoise.rows == result.total_calls == sum(result.calls.values()) <= budget

        assert len(result.sigmas) == steps + 1
        assert result.sigmas[0] == torch.tensor(HIGH)
        assert result.sigmas[-1] == 0
        assert (result.sigmas.diff() < 0).all()

        winner = result.error
        assert torch.equal(winner.candidate.sigmas, result.sigmas)
        assert winner.candidate.name == result.method
        assert result.noises == len(winner.errors) >= 1
        for score in result.scores:
            if score.candidate.given and len(score.errors) == result.noises:
                assert chosen_by(result, winner) <= chosen_by(result, score)


def chosen_by(result: Result, score: Score) -> float:
    """The figure to choose by: the rank of paired errors, the mean of a distribution's values."""
    return score.mean if result.criterion == "law" else score.rank(result.noises)


@pytest.mark.parametrize("budget", [1000, 4000, 20_000])
def test_most_of_the_budget_is_spent(budget):
    assert found(budget=budget, candidates=given(5)).total_calls > 0.8 * budget


def test_least_error_wins_even_if_the_budget_ends_in_the_first_round():
    result = found(steps=20, budget=least_budget(steps=20), candidates=given(20))
    assert result.noises == 1
    assert result.error.rank(1) == min(score.rank(1) for score in result.scores)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "heun"])
def test_budget_one_call_too_small_is_refused(solver):
    enough = least_budget(solver=solver, steps=10)
    assert 10 < enough < 400
    with pytest.raises(ValueError, match=f"The budget was {enough - 1} calls: at 10 steps"):
        found(solver=solver, steps=10, budget=enough - 1)


def test_calls_spent_before_are_part_of_the_budget() -> None:
    least = least_budget()
    assert least_budget(spent=7) == least + 7
    assert found(budget=least + 7, spent=7).total_calls <= least


def test_same_seed_gives_the_same_result_and_another_seed_other_noise():
    one, again, other = (found(seed=seed, candidates=given(5)) for seed in (0, 0, 1))
    assert torch.equal(one.sigmas, again.sigmas)
    assert [s.errors for s in one.scores] == [s.errors for s in again.scores]
    assert torch.equal(one.profile.grams, again.profile.grams)
    assert one.error.errors != other.error.errors


def gaussian_limit(noise: torch.Tensor) -> torch.Tensor:
    """Give the end of fine steps on unit Gaussian data: D of the exact solution at sigma_min."""
    x = HIGH * noise * math.sqrt((1 + LOW**2) / (1 + HIGH**2))
    return gaussian.denoise(x, torch.full((len(x),), LOW))


def test_error_is_the_distance_to_the_fine_step_limit_up_to_the_references_own_error():
    result = found(gaussian.denoise, solver="heun", steps=2, budget=8000, candidates=given(2))
    noise = torch.randn(4000, 4, generator=torch.Generator().manual_seed(7))
    limit = gaussian_limit(noise)
    for score in result.scores:
        end = builtin_solver("heun", gaussian.denoise)(noise, score.candidate.sigmas, 0)
        error = (end - limit).square().mean(1).sqrt()
        chance = math.hypot(score.standard_error, float(error.std()) / len(error) ** 0.5)
        assert abs(score.mean - float(error.mean())) < 4 * chance + 2 * result.reference_error


@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m"])
def test_reference_error_has_the_size_of_the_references_own_error(solver):
    result = found(gaussian.denoise, solver=solver, budget=20_000)
    noise = torch.randn(200, 4, generator=torch.Generator().manual_seed(7))
    fine = torch.tensor(np.append(spread(HIGH, LOW, result.reference_steps), 0.0)).float()
    end = reference_solver(gaussian.denoise)(noise, fine, 0)
    actual = float((end - gaussian_limit(noise)).square().mean(1).sqrt().mean())
    assert actual / 2 < result.reference_error < 2 * actual


def test_reference_error_is_unknown_for_a_solver_that_passes_through_no_meter():
    result = found(solver=builtin_solver("dpmpp_2m", DATA.denoise), candidates=given(5))
    assert math.isnan(result.reference_error)
    assert not any("refined" in score.candidate.name for score in result.scores)


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_the_reference_is_much_nearer_to_the_limit_than_what_it_judges(solver):
    for steps in (5, 10):
        result = found(solver=solver, steps=steps, budget=4000, candidates=given(steps))
        assert result.reference_error < 0.2 * result.error.mean


def test_progress_rises_through_the_phases_to_all_calls():
    reports: list[tuple[str, int]] = []
    result = found(progress=lambda phase, rows: reports.append((phase, rows)))
    rows = [row for _, row in reports]
    assert rows == sorted(rows)
    assert rows[-1] == result.total_calls
    assert {phase for phase, _ in reports} == set(result.calls)
    assert {"reference", "profile", "candidates"} <= set(result.calls)


def test_calls_have_one_level_and_at_most_the_given_batch_size():
    sizes = set()

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert sigma.shape == (len(x),)
        assert len(sigma.unique()) == 1
        sizes.add(len(x))
        return DATA.denoise(x, sigma)

    found(denoise, budget=8000, batch_size=4)
    assert sizes == {4}


def test_images_are_optimised_in_their_own_shape():
    shapes = set()

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        shapes.add(x.shape[1:])
        return DATA.denoiser()(x, sigma)

    assert found(denoise, shape=(1, 2, 2)).profile.dim == 4
    assert shapes == {(1, 2, 2)}


def test_profile_is_measured_on_the_given_samples():
    seen = []

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if abs(float(sigma[0]) / LOW - 1) < 1e-6:
            seen.append(x)
        return DATA.denoise(x, sigma)

    found(denoise, samples=torch.full((2, 4), 50.0))
    assert any((x - 50.0).abs().max() < 1 for x in seen)
    seen.clear()
    found(denoise)
    assert not any((x - 50.0).abs().max() < 1 for x in seen)


def test_klub_of_the_result_is_that_of_its_profile():
    result = found(steps=5)
    exact = klub(result.profile, [HIGH, 5.0, 1.0, 0.3, 0.1, LOW])
    above = torch.tensor([HIGH, 5.0, 1.0, 0.3, 0.1, 0.0])
    assert result.klub(above) == pytest.approx(exact, rel=1e-5)
    through = torch.tensor([HIGH, 5.0, 1.0, 0.3, 0.1, LOW, 0.0])
    assert result.klub(through) == pytest.approx(exact, rel=1e-4)
    assert result.klub(torch.tensor([HIGH, 0.0])) > exact


# -- what is given --------------------------------------------------------------------------


def test_given_schedules_that_cannot_be_used_are_left_out_with_the_reason():
    good = [HIGH, 5.0, 2.0, 1.0, 0.3, 0.0]
    bad = {
        "short": good[1:],
        "long": [*good, -1.0],
        "NaN": [HIGH, 5.0, math.nan, 1.0, 0.3, 0.0],
        "infinite": [HIGH, math.inf, 2.0, 1.0, 0.3, 0.0],
        "repeated": [HIGH, 5.0, 5.0, 1.0, 0.3, 0.0],
        "rising": [HIGH, 5.0, 6.0, 1.0, 0.3, 0.0],
        "another start": [HIGH / 2, 5.0, 2.0, 1.0, 0.3, 0.0],
        "empty": [],
        "text": "karras",
        "nothing": None,
        "objects": [object()] * 6,
        "words": ["a"] * 6,
        "ragged": [[1.0], [2.0, 3.0]],
    }
    result = found(candidates={**bad, "good": good})
    assert set(result.left_out) == set(bad)
    assert all(reason for reason in result.left_out.values())
    assert {s.candidate.name for s in result.scores if s.candidate.given} == {"good"}
    assert "5 levels, not 6" in result.left_out["short"]
    assert "not finite" in result.left_out["NaN"]
    assert "not descend" in result.left_out["repeated"]
    assert "it starts at" in result.left_out["another start"]


def test_unnamed_schedules_are_named_in_order():
    good = [HIGH, 5.0, 2.0, 1.0, 0.3, 0.0]
    result = found(candidates=[good[1:], good])
    assert set(result.left_out) == {"candidate 0"}
    assert any(s.candidate.name == "candidate 1" and s.candidate.given for s in result.scores)


def test_schedules_whose_levels_coincide_in_single_precision_do_not_stop_the_search():
    twice = [HIGH, 5.0, 1.0 + 1e-9, 1.0, 0.3, 0.0]
    assert set(found(candidates={"twice": twice}).left_out) == {"twice"}


def test_search_starts_from_the_given_starts_too():
    start = np.geomspace(HIGH, LOW, 6)
    result = found(starts={"mine": start}, budget=20_000)
    assert {"sweep 0 from mine", "sweep 0 from EDM"} <= {s.candidate.name for s in result.scores}


@pytest.mark.parametrize("method", ["measured", "paper"])
def test_start_of_another_length_is_refused(method):
    with pytest.raises(ValueError, match="levels"):
        found(method=method, steps=10, starts={"mine": np.geomspace(HIGH, LOW, 8)})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps was 0: a schedule has at least 1 step"),
        ({"steps": -3}, "steps was -3"),
        ({"sigma_min": HIGH}, "give 0 < sigma_min < sigma_max"),
        ({"sigma_min": 20.0}, "give 0 < sigma_min < sigma_max"),
        ({"sigma_min": 0.0}, "give 0 < sigma_min < sigma_max"),
        ({"sigma_min": math.nan}, "give 0 < sigma_min < sigma_max"),
        ({"sigma_max": math.inf}, "give 0 < sigma_min < sigma_max"),
        ({"method": "magic"}, "method was 'magic'"),
        ({"solver": "ddim"}, "no built-in solver 'ddim'"),
        ({"budget": 0}, "The budget was 0 calls"),
    ],
)
def test_impossible_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        found(**options)


# -- denoisers that fail --------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("below", [math.inf, 1.0, 0.05])
def test_denoiser_that_returns_no_numbers_is_refused_with_the_level(bad, below):
    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        output = DATA.denoise(x, sigma)
        return output.index_fill(1, torch.tensor([0]), bad) if sigma[0] < below else output

    with pytest.raises(DenoiserError, match="NaN or infinite values at noise level"):
        found(denoise)


def test_denoiser_that_changes_the_shape_is_refused():
    with pytest.raises(DenoiserError, match=r"shape \[\d+, 3\] for an input of shape \[\d+, 4\]"):
        found(lambda x, sigma: x[:, :3])


def test_solver_that_changes_the_shape_is_refused():
    with pytest.raises(ValueError, match=r"The solver returned shape \[\d+, 3\]"):
        found(solver=lambda noise, sigmas, seed: noise[:, :3])


def test_solver_whose_references_are_not_finite_is_refused():
    with pytest.raises(ValueError, match="NaN or infinity"):
        found(
            solver=lambda noise, sigmas, seed: noise * math.nan,
            samples=DATA.sample(4, seed=0).float(),
        )


def test_schedule_on_which_a_solver_fails_does_not_win():
    euler = builtin_solver("euler", DATA.denoise)

    def solver(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        end = euler(noise, sigmas, seed)
        return end * math.nan if float(sigmas[1]) == 7.0 else end

    fails = {"fails": [HIGH, 7.0, 2.0, 1.0, 0.3, 0.0]}
    result = found(solver=solver, candidates=fails)
    assert result.method != "fails"
    assert math.isfinite(result.error.mean)


# -- solvers of the caller's ----------------------------------------------------------------


def test_solver_without_a_meter_is_charged_for_its_steps():
    denoise = Counted()
    result = found(denoise, solver=builtin_solver("dpmpp_2m", denoise), candidates=given(5))
    assert denoise.rows == result.total_calls <= 2000


def test_solver_without_a_meter_is_charged_what_it_says_a_step_costs():
    denoise = Counted()

    class Heun:
        calls_per_step = 2

        def __call__(self, noise, sigmas, seed):
            return builtin_solver("heun", denoise)(noise, sigmas, seed)

    result = found(denoise, solver=Heun(), candidates=given(5))
    # The step to 0 takes one call, and is charged two.
    assert 0.8 * result.total_calls < denoise.rows <= result.total_calls <= 2000


def test_shared_meter_saves_repeated_calls_and_counts_the_rest():
    denoise, meter = Counted(), Meter()

    def metered(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return meter(x, float(sigma[0]), lambda: denoise(x, sigma))

    class Reference:
        order = 3

        def __call__(self, noise, sigmas, seed):
            return reference_solver(metered)(noise, sigmas, seed)

    solver = builtin_solver("dpmpp_2m", metered)
    result = found(metered, solver=solver, reference=Reference(), meter=meter)
    assert denoise.rows == meter.rows == result.total_calls <= 2000
    # The same runs as of the built-in solver's own, so the same choice.
    assert result.sigmas.tolist() == found().sigmas.tolist()
    assert result.reference_error == found().reference_error


def test_schedule_on_which_a_metered_solver_fails_does_not_win():
    meter = Meter()

    def metered(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return meter(x, float(sigma[0]), lambda: DATA.denoise(x, sigma))

    def solver(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        end = builtin_solver("euler", metered)(noise, sigmas, seed)
        return end * math.nan if float(sigmas[1]) == 7.0 else end

    # The only given one: its run is the first that refinement sees.
    fails = {"fails": [HIGH, 7.0, 2.0, 1.0, 0.3, 0.0]}
    result = found(metered, solver=solver, meter=meter, candidates=fails)
    assert result.method != "fails"
    assert math.isfinite(result.error.mean)
    assert any("refined" in score.candidate.name for score in result.scores)


def test_caller_may_choose_the_solver_of_the_references():
    denoise = Counted()
    steps = []

    def reference(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        steps.append(len(sigmas) - 1)
        return builtin_solver("dpmpp_2m", denoise)(noise, sigmas, seed)

    result = found(denoise, solver="euler", reference=reference)
    assert set(steps) >= {result.reference_steps}
    assert denoise.rows <= result.total_calls <= 2000


# -- the paper's procedure ------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [(), given(10)])
def test_paper_method_at_ten_steps_returns_a_sweep_of_algorithm_1(candidates):
    result = found(method="paper", steps=10, candidates=candidates)
    start = edm_schedule(10, float(result.profile.sigmas[0]), float(result.profile.sigmas[-1]))
    sweeps = [start, *coordinate_search(result.profile, start)]
    expected = sweeps[int(result.method.split()[1])]
    assert result.method.endswith("from EDM")
    assert result.sigmas[:-1].numpy() == pytest.approx(expected[:-1], rel=1e-5)
    assert not result.error.candidate.given


@pytest.mark.parametrize("candidates", [False, True])
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_paper_method_at_other_step_counts_resamples_its_forty_steps(steps, candidates):
    result = found(method="paper", steps=steps, candidates=given(steps) if candidates else ())
    start = edm_schedule(10, float(result.profile.sigmas[0]), float(result.profile.sigmas[-1]))
    sweeps = [start, *coordinate_search(result.profile, start)]
    ten = sweeps[int(result.method.split()[1])]
    forty = subdivide(result.profile, subdivide(result.profile, ten))
    assert result.sigmas[:-1].numpy() == pytest.approx(forty[:-1][:: 40 // steps], rel=1e-5)


def test_paper_method_returns_a_sweep_even_with_the_least_budget():
    enough = least_budget(steps=20)
    result = found(method="paper", steps=20, budget=enough, candidates=given(20))
    assert result.method.startswith("sweep")


def test_paper_method_starts_where_it_is_told_to():
    start = np.geomspace(HIGH, LOW, 11)
    result = found(method="paper", steps=10, starts={"time-uniform": start})
    assert result.method.endswith("from time-uniform")


# -- flow models ----------------------------------------------------------------------------

FLOW_DATA = power_law(8)  # x_0 ~ N(0, diag(variance)): the flow from noise e ends at std * e
STD = FLOW_DATA.variances.sqrt().float()


def flow_euler(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
    """Euler's method on dx/ds = (x - D) / s, with D = E[x_0 | x_s] of FLOW_DATA."""
    x = noise
    for s, t in pairwise(sigmas):
        variance = STD**2
        D = (1 - s) * variance / ((1 - s) ** 2 * variance + s**2) * x
        x = x + (x - D) / s * (t - s)
    return x


def test_flow_schedule_runs_from_one_to_zero_and_beats_the_linear_one():
    def error(sigmas: torch.Tensor) -> float:
        noise = torch.randn(1000, 8, generator=torch.Generator().manual_seed(7))
        return float((flow_euler(noise, sigmas, 0) - STD * noise).square().mean(1).sqrt().mean())

    def solver(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        assert sigmas[0] == 1.0
        assert sigmas[-1] == 0.0
        return flow_euler(noise, sigmas, seed)

    linear = torch.linspace(1.0, 0.0, 7)
    result = optimize_flat(
        FLOW_DATA.denoise,
        (8,),
        sigma_max=1.0,
        sigma_min=0.001,
        steps=6,
        solver=solver,
        order=1,
        coordinate=FLOW,
        candidates={"linear": linear},
    )
    assert result.sigmas[0] == 1.0
    assert result.sigmas[-1] == 0.0
    assert (result.sigmas.diff() < 0).all()
    assert error(result.sigmas) < error(linear)
    assert result.total_calls <= 4000
    assert 0 < result.klub(result.sigmas) < math.inf
    assert float(result.profile.sigmas[0]) == pytest.approx(9999.0)


def metered_flow(meter: Meter, denoise) -> dict:
    """An Euler solver of a flow model with an EDM denoiser, both through one meter."""

    def in_edm(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        t = float(sigma[0])
        return meter(x, t, lambda: denoise(x, sigma))

    def solver(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        x = noise
        for s, t in pairwise(sigmas.tolist()):
            u = min(s, FLOW.top)

            def model(x=x, u=u):
                return denoise(x / (1 - u), torch.full((len(x),), u / (1 - u)))

            x = x + (x - meter(x, s, model)) / s * (t - s)
        return x

    return {"denoise": in_edm, "solver": solver, "meter": meter, "order": 1}


FLOW_MIXTURE = Mixture.random(6, 8, seed=2, std=0.3)


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_flow_schedule_is_refined_where_the_solver_passes_through_a_meter(steps):
    counted = Counted(FLOW_MIXTURE.denoise)
    options = metered_flow(Meter(), counted)
    schedules = {
        "linear": torch.linspace(1.0, 0.0, steps + 1),
        "shifted": (lambda u: 3 * u / (1 + 2 * u))(torch.linspace(1.0, 0.0, steps + 1)),
    }
    if steps > 1:  # levels that no EDM level tells apart
        inner = torch.linspace(0.9, 0.0, steps - 1)
        schedules["at the top"] = torch.tensor([1.0, 1 - 2e-5, *inner])
    result = optimize_flat(
        shape=(6,),
        sigma_max=1.0,
        sigma_min=0.002,
        steps=steps,
        coordinate=FLOW,
        candidates=schedules,
        **options,
    )
    assert counted.rows == result.total_calls <= 4000
    assert result.left_out == {}
    assert result.sigmas[0] == 1.0
    assert result.sigmas[-1] == 0.0
    assert (result.sigmas.diff() < 0).all()
    for score in result.scores:
        if score.candidate.given and len(score.errors) == result.noises:
            assert result.error.rank(result.noises) <= score.rank(result.noises)
    assert 0 < result.reference_error < math.inf
    if steps == 6:
        assert result.method == "refined"


# -- discrete models ------------------------------------------------------------------------

KNOWN = TABLE.sigmas[:: len(TABLE.sigmas) // 50]
KNOWN = np.append(KNOWN[:-1], HIGH)


class Rounded:
    """A model of discrete time: called at a level that it does not know, it takes the nearest."""

    def __init__(self):
        self.asked: set[float] = set()

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.asked.add(float(sigma[0]))
        at = np.abs(np.log(KNOWN / float(sigma[0]))).argmin()
        return DATA.denoise(x, torch.full_like(sigma, KNOWN[at]))


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
@pytest.mark.parametrize("method", ["measured", "paper"])
def test_a_discrete_model_is_called_at_levels_that_it_knows(steps, method):
    model, coordinate = Rounded(), replace(VE, table=KNOWN)
    result = found(model, steps=steps, coordinate=coordinate, method=method)
    known = set(KNOWN.astype(np.float32).tolist())
    assert {np.float32(level) for level in model.asked} <= known
    for score in result.scores:
        assert set(score.candidate.sigmas[:-1].tolist()) <= known
        assert (score.candidate.sigmas.diff() < 0).all()
        assert len(score.candidate.sigmas) == steps + 1
    if method == "measured":
        levels = result.at_steps(12)
        assert set(levels[:-1].tolist()) <= known
        assert (levels.diff() < 0).all()


def test_schedules_of_the_callers_stay_as_they_are_on_a_discrete_model():
    mine = {"mine": np.append(edm_schedule(4, HIGH, LOW), 0.0)}
    result = found(Rounded(), candidates=mine, coordinate=replace(VE, table=KNOWN))
    (own,) = [score.candidate for score in result.scores if score.candidate.given]
    assert own.sigmas[1:].tolist() == torch.tensor(mine["mine"][1:]).float().tolist()


def test_all_the_levels_of_a_discrete_model_can_be_its_schedule():
    few = replace(VE, table=np.array([LOW, 0.1, 0.5, 2.0, HIGH]))
    whole = found(coordinate=few, steps=5).sigmas.tolist()
    assert whole == pytest.approx([HIGH, 2.0, 0.5, 0.1, LOW, 0.0])
    result = found(coordinate=few, steps=4)
    assert len(set(result.sigmas.tolist())) == 5
    with pytest.raises(ValueError, match="steps was 6, but the model knows only 4 noise levels"):
        found(coordinate=few, steps=6)
    with pytest.raises(ValueError, match="steps was 6, but the model knows only 4 noise levels"):
        result.at_steps(6)


# -- exact mixtures -------------------------------------------------------------------------

MIXTURES = {
    "2-D": Mixture.random(2, 8, seed=0),
    "16-D": Mixture.random(16, 10, seed=1, std=0.3),
    "64-D": Mixture.random(64, 40, seed=0, std=0.5),
}


@cache
def held_out(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """1,000 fresh noises and their end points by Heun's method in 200 steps."""
    data = MIXTURES[name]
    generator = torch.Generator().manual_seed(2024)
    noise = torch.randn(1000, data.means.shape[1], generator=generator)
    fine = torch.tensor(np.append(np.geomspace(HIGH, LOW, 200), 0.0))
    return noise, builtin_solver("heun", data.denoise)(noise, fine, 0)


@pytest.mark.parametrize("solver", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("name", MIXTURES)
def test_held_out_error_is_close_to_or_below_the_best_given_schedule_in_hindsight(name, solver):
    data = MIXTURES[name]
    noise, end = held_out(name)

    def error(sigmas: np.ndarray | torch.Tensor) -> float:
        x_0 = builtin_solver(solver, data.denoise)(noise, torch.as_tensor(sigmas).float(), 0)
        return float((x_0 - end).square().mean(1).sqrt().mean())

    result = found(
        data.denoise,
        shape=(data.means.shape[1],),
        solver=solver,
        steps=10,
        budget=40_000,
        candidates=given(10),
    )
    assert error(result.sigmas) < 1.03 * min(map(error, given(10).values()))


@pytest.mark.parametrize("name", ["16-D", "64-D"])
@pytest.mark.parametrize("seed", [0, 1])
def test_refinement_leaves_every_given_schedule_behind_at_the_usual_budget(name, seed):
    data = MIXTURES[name]
    noise, end = held_out(name)

    def error(sigmas: np.ndarray | torch.Tensor) -> float:
        x_0 = builtin_solver("dpmpp_2m", data.denoise)(noise, torch.as_tensor(sigmas).float(), 0)
        return float((x_0 - end).square().mean(1).sqrt().mean())

    result = found(
        data.denoise,
        shape=(data.means.shape[1],),
        steps=10,
        budget=4000,
        seed=seed,
        candidates=given(10),
    )
    assert error(result.sigmas) < 0.95 * min(map(error, given(10).values()))


def test_elements_that_no_run_changes_change_nothing():
    """As under an inpainting mask: errors are those of the elements that are left to the model."""

    def masked(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        free = DATA.denoise(x[:, :4], sigma)
        return torch.cat([free, torch.full((len(x), 12), 0.5, dtype=x.dtype)], 1)

    result = found(masked, shape=(16,), elements=torch.arange(4))
    spread_out = found(masked, shape=(16,))
    assert spread_out.error.mean < 0.7 * result.error.mean
    errors = {tuple(s.candidate.sigmas.tolist()): s.errors for s in spread_out.scores}
    same = [s for s in result.scores if tuple(s.candidate.sigmas.tolist()) in errors]
    assert same
    for score in same:
        other = errors[tuple(score.candidate.sigmas.tolist())]
        for mine, theirs in zip(score.errors, other, strict=False):
            assert mine == pytest.approx(2.0 * theirs, rel=1e-4)
