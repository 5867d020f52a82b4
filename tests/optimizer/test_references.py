"""The runs of one optimisation: what they cost, share, and are measured against."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import FLOW, DenoiserError, Meter, builtin_solver, edm_schedule
from align_your_steps.optimizer import problem as problem_module
from align_your_steps.optimizer.diffusion.brownian import BrownianPath
from align_your_steps.optimizer.diffusion.solvers import reference_solver
from align_your_steps.optimizer.judging import distribution_runs
from align_your_steps.optimizer.judging.select import FINALISTS, Candidate
from align_your_steps.optimizer.plan import FEWEST, REFINEMENT_SHARE
from align_your_steps.optimizer.profile.profile_runs import profile_of
from align_your_steps.tests.optimizer import laboratory
from align_your_steps.tests.optimizer.laboratory import Begun

DATA = Mixture.random(3, 4, seed=0)
FINE = torch.tensor([*edm_schedule(19, 10.0, 0.05), 0.0]).float()
STEPS = len(FINE) - 1
BATCH, EVERY = 4, 3
COARSE = torch.cat([FINE[:-1:EVERY], FINE[-1:]])


def begun(budget: int = 10_000, solver="euler", **options) -> Begun:
    """An optimisation without references yet."""
    settings = {"fine": FINE, "shape": (3,), "batch": BATCH, "every": EVERY, **options}
    return laboratory.begun(DATA.denoise, solver, budget=budget, **settings)


def runs(budget: int = 10_000, references: int = 1, **options) -> Begun:
    made = begun(budget, **options)
    for _ in range(references):
        made.references.add()
    return made


def schedule(*levels: float) -> Candidate:
    return Candidate("mine", torch.tensor([10.0, *levels, 0.0]))


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_reference_of_a_builtin_solver_is_of_third_order_and_costs_a_call_a_step(solver):
    made = runs(solver=solver)
    assert (made.solver.reference_order, made.solver.reference_calls) == (3, 1)
    assert made.references.cost == STEPS * BATCH
    assert made.spent == {"reference": STEPS * BATCH}
    assert made.left == 10_000 - STEPS * BATCH


def test_solver_of_the_callers_is_its_own_reference_and_has_no_error_there():
    solver = builtin_solver("heun", DATA.denoise)
    solver.calls_per_step = 2
    made = begun(solver=solver)
    assert (made.solver.reference_order, made.solver.reference_calls) == (2, 2)
    made.references.add()
    assert made.spent == {"reference": made.references.cost} == {"reference": 2 * STEPS * BATCH}
    assert made.errors.of(Candidate("fine", FINE), 0) == [0.0] * BATCH


def test_reference_of_the_callers_says_its_order_and_what_a_step_costs():
    class Fine:
        order, calls_per_step = 4, 3

        def __call__(self, noise, sigmas, seed):
            return noise

    made = begun(solver="heun", reference=Fine())
    assert (made.solver.reference_order, made.solver.reference_calls) == (4, 3)
    made.references.add()
    assert made.spent == {"reference": 3 * STEPS * BATCH} == {"reference": made.references.cost}
    untold = begun(solver="euler", reference=lambda noise, sigmas, seed: noise)
    assert untold.solver.reference_order == 2


def test_errors_are_distances_to_the_reference_from_the_same_noise():
    noise = []

    def recording(x: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        noise.append(x)
        return builtin_solver("euler", DATA.denoise)(x, sigmas, seed)

    made = runs(solver=recording, reference=reference_solver(DATA.denoise))
    noise.clear()
    errors = made.errors.of(schedule(2.0, 0.5), 0)
    end = builtin_solver("euler", DATA.denoise)(noise[0], torch.tensor([10.0, 2.0, 0.5, 0.0]), 0)
    fine = reference_solver(DATA.denoise)(noise[0], FINE, 0)
    assert errors == pytest.approx((end - fine).norm(dim=1).div(math.sqrt(3)).tolist(), rel=1e-4)


def test_batches_have_their_own_noise_whatever_ran_before():
    made, other = runs(references=3), runs(references=3)
    forward = [made.errors.of(schedule(2.0, 0.5), k) for k in (0, 1, 2)]
    backward = [other.errors.of(schedule(2.0, 0.5), k) for k in (2, 1, 0)]
    assert forward == backward[::-1]
    assert len({error for errors in forward for error in errors}) == 3 * BATCH
    assert runs(seed=1).errors.of(schedule(2.0, 0.5), 0) != forward[0]


def test_schedules_share_the_calls_above_the_first_level_in_which_they_differ():
    made = runs()
    made.errors.of(schedule(5.0, 2.0, 1.0), 0)
    left = made.left
    made.errors.of(schedule(5.0, 2.0, 1.0), 0)
    assert made.left == left
    made.errors.of(schedule(5.0, 2.0, 0.5), 0)
    assert made.left == left - BATCH
    made.errors.of(schedule(4.0, 2.0, 1.0), 0)
    assert made.left == left - 4 * BATCH


def test_run_that_does_not_fit_is_not_made():
    made = runs(budget=STEPS * BATCH + 3 * BATCH)
    assert made.errors.of(schedule(5.0, 2.0, 1.0), 0) is None
    assert made.left == 3 * BATCH
    assert made.errors.of(schedule(5.0, 1.0), 0) is not None
    assert made.left >= 0


def test_further_noise_is_added_while_the_budget_allows_it():
    needed = STEPS * BATCH + FINALISTS * 2 * BATCH  # a reference, and the finalists' runs
    for budget in range(90, 400, 10):
        made = runs(budget=budget)
        batches, left = 0, made.left
        while (errors := made.errors.of(schedule(2.0), batches)) is not None:
            assert len(errors) == BATCH
            assert batches == 0 or left >= needed
            batches, left = batches + 1, made.left
        assert batches == len(made.references.ends)
        assert 0 <= left < needed


def test_profile_is_charged_and_shares_no_memory_with_the_runs():
    made = runs()
    x_0 = DATA.sample(BATCH, seed=1).float()
    profile = profile_of(made.references, x_0, np.geomspace(10.0, 0.05, 8), range(len(x_0)))
    assert made.spent["profile"] == 8 * BATCH
    assert profile.count == BATCH
    left = made.left
    made.errors.of(schedule(2.0), 0)
    # Forgotten: even the call at the first level, which the reference made too, is made again.
    assert left - made.left == 2 * BATCH


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_run_that_ends_in_no_number_has_an_infinite_error(bad):
    made = runs(
        solver=lambda noise, sigmas, seed: noise * bad, reference=reference_solver(DATA.denoise)
    )
    assert made.errors.of(schedule(2.0), 0) == [math.inf] * BATCH


def test_reference_that_ends_in_no_number_is_refused():
    def solver(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        return noise * math.nan

    with pytest.raises(DenoiserError, match="NaN or infinity"):
        begun(solver=solver).references.add()
    with pytest.raises(DenoiserError, match="NaN or infinity"):
        begun(solver=solver).references.add_tracked()


# -- runs that are looked at ----------------------------------------------------------------


@pytest.mark.parametrize("solver, calls", [("euler", 1), ("dpmpp_2m", 1), ("heun", 2)])
def test_tracked_reference_costs_the_coarse_run_too(solver, calls):
    made = begun(solver=solver)
    pair = made.references.add_tracked()
    assert pair is not None
    fine, coarse = pair
    assert np.exp(fine.log_levels[::-1]) == pytest.approx(FINE[:-1].numpy(), rel=1e-6)
    assert np.exp(coarse.log_levels[::-1]) == pytest.approx(COARSE[:-1].numpy(), rel=1e-6)
    # The first call is the same, and Heun's last step takes one.
    rows = STEPS + calls * (len(COARSE) - 1) - calls
    assert made.spent == {"reference": rows * BATCH}
    assert fine.end == pytest.approx(made.references.ends[0].numpy(), abs=1e-6)
    assert len(made.references._errors) == BATCH


def test_tracked_reference_has_the_end_points_of_an_untracked_one():
    plain, tracked = runs(references=2), begun()
    for _ in range(2):
        tracked.references.add_tracked()
    pairs = zip(plain.references.ends, tracked.references.ends, strict=True)
    assert all(torch.equal(*ends) for ends in pairs)


def test_runs_that_pass_through_no_meter_leave_no_track_and_an_unknown_error():
    made = begun(solver=builtin_solver("dpmpp_2m", DATA.denoise))
    assert math.isnan(made.references.error)
    assert made.references.add_tracked() is None
    assert made.spent == {"reference": STEPS * BATCH}
    assert len(made.references.ends) == 1
    assert math.isnan(made.references.error)


def test_error_of_references_is_the_mean_over_all_their_noises():
    made = begun()
    made.references.add_tracked()
    one = made.references.error
    made.references.add_tracked()
    two = made.references._errors[BATCH:]
    assert made.references.error == pytest.approx((one + np.mean(two)) / 2)
    assert one > 0


def test_track_joins_the_first_batches_and_ends_where_the_runs_end():
    made = begun()
    for _ in range(3):
        made.references.add_tracked()
    sigmas = torch.tensor([10.0, 2.0, 0.5, 0.0])
    track = made.track(sigmas, 2)
    assert track is not None
    assert track.x.shape == (3, 2 * BATCH, 3)
    assert np.exp(track.log_levels) == pytest.approx([0.5, 2.0, 10.0])
    errors = [error for k in (0, 1) for error in made.errors.of(Candidate("mine", sigmas), k)]
    ends = torch.cat(made.references.ends[:2]).double().numpy()
    assert np.sqrt(np.square(track.end - ends).mean(1)) == pytest.approx(errors)


@pytest.mark.parametrize("budget", [400, 1000, 1050, 3060])
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_refinement_keeps_to_its_share_and_leaves_room_to_compare(solver, budget):
    made = begun(budget, solver)
    for _ in range(2):
        made.references.add_tracked()
    generator = np.random.default_rng(0)
    made_runs = 0
    while True:
        levels = [10.0, *sorted(generator.uniform(0.1, 9.0, 3), reverse=True), 0.0]
        before, left = made.spent.get("refinement", 0), made.left
        track = made.track(torch.tensor(levels), 2)
        if track is None:
            break
        made_runs += 1
    assert made.spent.get("refinement", 0) == before
    assert made.left == left
    assert before <= REFINEMENT_SHARE * budget
    assert made.left >= made.references.cost + FEWEST * made.runner.cost(4) or made_runs == 0
    once = 2 * made.runner.cost(4)
    assert before + once > REFINEMENT_SHARE * budget or (
        left < once + made.references.cost + FEWEST * made.runner.cost(4)
    )
    # No run is begun that is not finished on every batch: nothing is spent for nothing.
    assert before == made_runs * 2 * BATCH * (4 if solver == "euler" else 7)


def test_flow_tracks_are_in_edm_coordinates():
    """A host's state is (1-s) x_0 + s e; EDM's is that over 1-s, at the level s/(1-s)."""
    meter = Meter()

    def solver(noise: torch.Tensor, sigmas: torch.Tensor, seed: int) -> torch.Tensor:
        x = noise
        for s, t in pairwise(sigmas.tolist()):
            u = min(s, FLOW.top)

            def model(x=x, u=u):
                edm = torch.full((len(x),), u / (1 - u))
                return DATA.denoise(x / (1 - u), edm)

            x = x + (x - meter(x, s, model)) / s * (t - s)
        return x

    fine = torch.tensor([1.0, 0.99, 0.9, 0.7, 0.5, 0.3, 0.1, 0.02, 0.0])
    made = begun(solver=solver, meter=meter, fine=fine, every=2, coordinate=FLOW)
    pair = made.references.add_tracked()
    assert pair is not None
    expected = FLOW.finite_edm(fine[:-1].double().numpy())
    assert np.exp(pair[0].log_levels[::-1]) == pytest.approx(expected, rel=1e-6)
    for track in pair:
        for u, x, D in zip(track.log_levels, track.x, track.denoised, strict=True):
            level = torch.full((BATCH,), math.exp(u), dtype=torch.float64)
            assert pytest.approx(DATA.denoise(torch.from_numpy(x), level).numpy(), abs=1e-3) == D
        # Euler's method on dx/ds = (x - D)/s is Euler's on dx/dt = (x - D)/t.
        t = np.exp(track.log_levels)
        for k in range(1, len(t) - 1):
            ratio = t[k - 1] / t[k]
            after = ratio * track.x[k] + (1 - ratio) * track.denoised[k]
            assert track.x[k - 1] == pytest.approx(after, rel=1e-3, abs=1e-3)


def test_profile_calls_are_not_remembered_and_later_ones_are():
    made = begun()
    made.references.add_tracked()
    x_0 = made.references.whole[0]
    profile_of(made.references, x_0, np.geomspace(10.0, 0.05, 5), range(len(x_0)))
    assert made.solver.meter._seen == {}
    made.errors.of(schedule(2.0, 0.5), 0)
    assert len(made.solver.meter._seen) == 3


def test_end_points_are_compared_on_some_of_the_elements():
    whole = runs()
    some = begun(elements=torch.tensor([0, 2]))
    some.references.add_tracked()
    assert some.references.ends[0].shape == (BATCH, 2)
    assert some.references.whole[0].shape == (BATCH, 3)
    torch.testing.assert_close(some.references.ends[0], whole.references.ends[0][:, [0, 2]])
    end = some.runner.run("candidates", some.solver.run, 0, schedule(2.0, 0.5).sigmas)
    expected = (end - some.references.whole[0])[:, [0, 2]].norm(dim=1) / math.sqrt(2)
    assert some.errors.of(schedule(2.0, 0.5), 0) == pytest.approx(expected.tolist(), rel=1e-4)


def test_few_elements_of_large_end_points_are_held(monkeypatch):
    monkeypatch.setattr(problem_module, "COMPARED", 2)
    made = runs(references=2)
    assert [end.shape for end in made.references.ends] == [(BATCH, 2)] * 2


@pytest.mark.parametrize("held", [0, 3000, 2**30])
def test_stochastic_runs_are_the_same_however_many_paths_are_held(monkeypatch, held):
    """Every noise has its own path: rows are run together for speed only."""
    schedules = [torch.tensor([10.0, 2.0, 0.5, 0.0]), torch.tensor([10.0, 1.0, 0.2, 0.0])]

    def ends() -> list[torch.Tensor]:
        made = begun(solver="dpmpp_2m_sde")
        found = distribution_runs.DistributionRuns(made.references, FINE).ends(schedules)
        assert found is not None
        assert made.spent["law reference"] == STEPS * BATCH
        return [found[0], *found[1]]

    expected = ends()
    rows = []

    class Watched(BrownianPath):
        def __init__(self, draw):
            super().__init__(draw)
            rows.append(len(self.values[0]))

    monkeypatch.setattr(distribution_runs, "BrownianPath", Watched)
    monkeypatch.setattr(distribution_runs, "PATHS_HELD", held)
    for one, other in zip(expected, ends(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    point = 4 * (STEPS + 6) * 3
    assert sum(rows) == BATCH
    assert max(rows) == max(1, min(BATCH, held // point))
