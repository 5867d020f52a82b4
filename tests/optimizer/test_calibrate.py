"""The fit of a sampler: its parts, and what a whole calibration promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.calibrated import FRESH, TUNING, LocalLab, mixture
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import NotFiniteError
from align_your_steps.optimizer.calibrate import Calibrated, calibrate
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.diffusion.multistep import TEXTBOOK, Multistep, textbook
from align_your_steps.optimizer.fit import bench, likely
from align_your_steps.optimizer.fit.multistep_fit import (
    LEVEL_MOVE,
    Move,
    Path,
    greedy,
    joint_step,
    run,
    tangents,
)
from align_your_steps.optimizer.plan import CalibrationPlan
from align_your_steps.schedules.curves import exponential, karras
from torch import Tensor

HIGH, LOW, DIM = 14.6, 0.03, 24
MIXTURE = Mixture.random(DIM, 6, seed=4, std=0.4)
LEVELS = karras(6, LOW, HIGH).tolist()


TABLE = np.append(np.geomspace(LOW, 0.08, 4), np.geomspace(0.09, HIGH, 300))


def nearest(level: float) -> float:
    return float(TABLE[np.abs(np.log(TABLE / level)).argmin()])


def at(x: Tensor, level: float) -> Tensor:
    return MIXTURE.denoise(x, x.new_full((len(x),), level))


def elements(x: Tensor) -> Tensor:
    return x.flatten(1).double()


def noise(count: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=source, dtype=torch.float64)


def path_of(unit: Tensor, steps: int = 60) -> Path:
    levels = [*spread(HIGH, LOW, steps), 0.0]
    visited: list[tuple[Tensor, Tensor]] = []

    def noting(x: Tensor, level: float) -> Tensor:
        D = at(x, level)
        visited.append(((x - D) / level, D))
        return D

    end = run(noting, textbook("unipc_3", levels), unit, elements).end
    noises, D = (torch.stack(part).flip(0) for part in zip(*visited, strict=True))
    return Path(np.log(levels[-2::-1]), D, noises, end)


def fitted(count: int) -> tuple[Multistep, Tensor, Path]:
    unit = noise(count)
    path = path_of(unit)
    return greedy(at, textbook("dpmpp_2m", LEVELS), unit, path, elements)[0], unit, path


# -- the parts ------------------------------------------------------------------------------


def test_path_knows_states_between_the_levels_that_were_visited() -> None:
    unit = noise(3)
    between = [9.0, 1.3, 0.2]
    states, D = path_of(unit, 40).at(between)
    finer = [*sorted({*spread(HIGH, LOW, 400), *between}, reverse=True), 0.0]
    seen: dict[float, Tensor] = {}

    def noting(x: Tensor, level: float) -> Tensor:
        seen[level] = x
        return at(x, level)

    run(noting, textbook("unipc_3", finer), unit, elements)
    for k, level in enumerate(between):
        torch.testing.assert_close(states[k], seen[level], rtol=0.0, atol=1e-2)
        torch.testing.assert_close(D[k], at(states[k], level), rtol=0.0, atol=1e-2)


def test_greedy_lands_on_the_reference_of_gaussian_data() -> None:
    """Its D is x times a number: one weight moves a noise's x anywhere along itself."""

    def D(x: Tensor, level: float) -> Tensor:
        return gaussian.denoise(x, x.new_full((len(x),), level))

    unit = noise(2)
    levels = [5.0, 1.0, 0.3, 0.0]
    end = unit * 5.0 / math.sqrt(1.0 + 5.0**2)
    t = np.geomspace(5.0, LOW, 300)
    states = end * torch.from_numpy(np.sqrt(1.0 + t**2))[:, None, None]
    outputs = states / torch.from_numpy(1.0 + t**2)[:, None, None]
    noises = (states - outputs) / torch.from_numpy(t)[:, None, None]
    path = Path(np.log(t[::-1]), outputs.flip(0), noises.flip(0), end)
    made = greedy(D, textbook("euler", levels), unit, path, elements)[1]
    plain = run(D, textbook("euler", levels), unit, elements)
    assert float((made.end - end).norm()) < 1e-2 * float((plain.end - end).norm())


def test_tangents_are_the_derivatives_of_whole_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from align_your_steps.optimizer.fit import multistep_fit

    monkeypatch.setattr(multistep_fit, "STATE_MOVE", 1e-5)
    monkeypatch.setattr(multistep_fit, "LEVEL_MOVE", 1e-5)
    sampler, unit, _ = fitted(3)
    made = run(at, sampler, unit, elements)
    T = tangents(at, sampler, unit, made, elements, LOW, directions=50)
    move = Move.of(sampler)
    shaped = move.shape @ T
    for v in range(len(move.shape)):
        step = torch.zeros(len(move.shape), dtype=torch.float64)
        step[v] = 1e-5
        ends = [
            run(at, move.moved(sampler, sign * step, 1e-6), unit, elements).end for sign in (1, -1)
        ]
        if v == len(LEVELS) - 2:  # told more than the highest level: that is never asked for
            ends = [ends[1], made.end]
            expected = -(ends[0] - ends[1]) / 1e-5
        else:
            expected = (ends[0] - ends[1]) / 2e-5
        scale = float(shaped[:, v].norm()) + 1e-3
        assert float((shaped[:, v] - expected).norm()) < 5e-3 * scale, v


def test_few_directions_come_near_all_of_them() -> None:
    sampler, unit, _ = fitted(4)
    made = run(at, sampler, unit, elements)
    all_of_them = tangents(at, sampler, unit, made, elements, LOW, directions=50)
    few = tangents(at, sampler, unit, made, elements, LOW)
    assert float((few - all_of_them).norm() / all_of_them.norm()) < 0.1


def test_tangents_take_no_more_calls_than_planned() -> None:
    rows = 0

    def counting(x: Tensor, level: float) -> Tensor:
        nonlocal rows
        rows += len(x)
        return at(x, level)

    sampler, unit, _ = fitted(3)
    made = run(at, sampler, unit, elements)
    tangents(counting, sampler, unit, made, elements, LOW)
    assert rows / 3 <= CalibrationPlan.tangents_cost(sampler.steps)


def test_nothing_is_told_below_the_lowest_level() -> None:
    asked: list[float] = []

    def noting(x: Tensor, level: float) -> Tensor:
        asked.append(level)
        return at(x, level)

    sampler, unit, _ = fitted(2)
    tangents(noting, sampler, unit, run(at, sampler, unit, elements), elements, LOW)
    assert min(asked) >= LOW * (1 - 1e-9)
    assert LOW * math.exp(LEVEL_MOVE) in [pytest.approx(level) for level in asked]


def test_joint_step_lessens_the_error_on_noise_of_its_own_and_on_other() -> None:
    sampler, unit, path = fitted(8)
    made = run(at, sampler, unit, elements)
    move = Move.of(sampler)
    T = move.shape @ tangents(at, sampler, unit, made, elements, LOW)
    moved = move.moved(sampler, joint_step(T, made.end - path.end, move), LOW)
    assert path.log_error(run(at, moved, unit, elements).end) < path.log_error(made.end)

    fresh = noise(200, seed=1)
    far = path_of(fresh)
    before, after = (far.log_error(run(at, s, fresh, elements).end) for s in (sampler, moved))
    assert after < before


def test_residuals_that_other_noises_do_not_share_are_not_fitted() -> None:
    """The ridge that noises left out choose holds a step back that would fit chance."""
    source = torch.Generator().manual_seed(0)
    T = torch.randn(6, 20, 40, generator=source, dtype=torch.float64)
    shared = torch.full((20,), 0.1, dtype=torch.float64)
    move = Move(torch.eye(20, dtype=torch.float64), torch.zeros(20, dtype=torch.float64))
    chance = torch.randn(6, 40, generator=source, dtype=torch.float64)
    assert float(joint_step(T, chance, move).norm()) < 0.5 * float(shared.norm())
    step = joint_step(T, -(shared @ T), move)
    torch.testing.assert_close(step, shared, rtol=0.05, atol=0.0)


def test_moves_keep_what_they_must() -> None:
    sampler, _, _ = fitted(2)
    sampler = replace(sampler, weights=(*sampler.weights[:-1], (1.2, -0.2)))
    move = Move.of(sampler, told=False, whole=True)
    step = torch.full((len(move.shape),), 10.0, dtype=torch.float64)
    moved = move.moved(sampler, step, LOW)
    assert moved.levels[0] == sampler.levels[0]
    assert moved.levels[-2] >= LOW * (1 - 1e-12)
    assert moved.told == pytest.approx(moved.levels[:-1])
    assert sum(moved.weights[-1]) == pytest.approx(1.0)


def test_derivatives_by_the_told_level_ask_at_another_level_that_the_model_knows() -> None:
    """Its lowest levels are farther apart than LEVEL_MOVE."""
    asked: list[float] = []

    def noting(x: Tensor, level: float) -> Tensor:
        asked.append(level)
        return at(x, level)

    sampler, unit, _ = fitted(2)
    sampler = replace(sampler, told=tuple(map(nearest, sampler.told)))
    made = run(at, sampler, unit, elements)
    T = tangents(noting, sampler, unit, made, elements, LOW, nearest)
    assert bool(T.isfinite().all())
    assert set(asked) <= set(TABLE.tolist())


# -- the whole ------------------------------------------------------------------------------


def curves(steps: int) -> dict[str, list[float]]:
    return {
        "karras": karras(steps, LOW, HIGH).tolist(),
        "exponential": exponential(steps, LOW, HIGH).tolist(),
    }


def calibrated(budget: int = 800, steps: int = 5, **options: object) -> tuple[Calibrated, LocalLab]:
    batch = options.pop("batch_size", 16)
    lab = LocalLab(MIXTURE.denoise, (DIM,), 7, budget, batch_size=batch)  # type: ignore[arg-type]
    found = calibrate(lab, curves(steps), budget=budget, lowest=LOW, **options)  # type: ignore[arg-type]
    return found, lab


def test_calibration_beats_the_raced_pair_on_fresh_noise_within_its_budget() -> None:
    found, lab = calibrated()
    assert lab.rows <= 800
    fresh = noise(500, seed=9)
    path = path_of(fresh)
    ours, theirs = (
        path.log_error(run(at, s, fresh, elements).end)
        for s in (found.sampler, found.pairs[found.pair_name])
    )
    assert ours < theirs - 0.3
    assert found.gain.low <= math.exp(ours - theirs) <= found.gain.high


def test_pairs_that_are_raced_instead_of_others_take_no_calls_beyond_the_budget() -> None:
    problem = mixture(TUNING[1], noises=1)
    lab = LocalLab(problem.denoise, problem.shape, problem.seed, budget=1000)
    found = calibrate(lab, problem.curves(12), budget=1000, lowest=LOW)
    assert lab.rows <= 1000
    assert "greedy" in found.fitted and found.gain is not None


def test_ten_times_the_calls_do_no_harm_where_one_start_leads_nowhere() -> None:
    """With one start the fit of this problem is far from everything as soon as it has 14 noises."""
    problem = mixture(FRESH[0], noises=64)
    few, many = (problem.calibrated(5, budget, problem.seed)[0] for budget in (4_000, 40_000))
    errors = [float(problem.errors(found.sampler).log().mean()) for found in (few, many)]
    assert errors[1] < errors[0] + 0.1


def test_the_same_seed_gives_the_same_sampler_in_any_batches() -> None:
    a, b, c = calibrated()[0], calibrated()[0], calibrated(batch_size=3)[0]
    assert a == b
    for ours, theirs in zip(a.sampler.weights, c.sampler.weights, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("budget", [800, 2000])
def test_an_interrupted_calibration_goes_on_without_a_call(budget: int) -> None:
    kept: dict[str, dict[str, Tensor]] = {}
    took: dict[str, int] = {}

    class Remembering(LocalLab):
        recalled = 0

        def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
            if key not in kept:
                before = self.rows
                kept[key] = measure()
                took[key] = self.rows - before
            elif not self.rows:
                self.recalled += took[key]
            return kept[key]

        @property
        def spent(self) -> int:
            return self.rows + self.recalled

    labs = [Remembering(MIXTURE.denoise, (DIM,), 7, budget) for _ in range(2)]
    found = [calibrate(lab, curves(5), budget=budget, lowest=LOW) for lab in labs]
    assert found[0] == found[1] == calibrated(budget)[0]
    assert labs[0].rows > 0
    assert labs[1].rows == 0


def test_with_a_mask_the_model_is_told_the_level_and_the_last_row_adds_up_to_1() -> None:
    found, _ = calibrated(told=False, whole=True)
    for sampler in found.fitted.values():
        assert sampler.told == pytest.approx(sampler.levels[:-1])
        assert sum(sampler.weights[-1]) == pytest.approx(1.0)


def test_every_stage_of_a_fit_is_told_levels_that_the_model_knows() -> None:
    found, _ = calibrated(1200, model_level=nearest)
    assert len(found.fitted) == 2
    for sampler in found.fitted.values():
        assert set(sampler.told) <= set(TABLE.tolist())
        assert sampler.told != sampler.levels[:-1]


def test_only_elements_that_a_run_can_change_count() -> None:
    """The others' outputs are nonsense, which changes nothing."""
    part = torch.arange(0, DIM, 2)
    smaller = replace(MIXTURE, means=MIXTURE.means[:, part])

    def D(x: Tensor, sigma: Tensor) -> Tensor:
        answer = torch.full_like(x, 3.0) * sigma[:, None]
        answer[:, part] = smaller.denoise(x[:, part], sigma)
        return answer

    lab = LocalLab(D, (DIM,), 7, 800)
    found = calibrate(lab, curves(5), budget=800, lowest=LOW, elements=part)
    assert found.gain.ratio < 0.8


def test_where_the_race_tells_of_no_gain_the_pair_is_returned() -> None:
    """A denoiser that is a number is solved exactly by every sampler."""

    def D(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.ones_like(x)

    lab = LocalLab(D, (4,), 0, 800)
    found = calibrate(lab, curves(5), budget=800, lowest=LOW)
    assert found.gain.ratio == 1.0
    assert found.sampler == found.pairs[found.pair_name]
    assert found.name == found.pair_name


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_any_number_of_steps_that_the_budget_allows(steps: int) -> None:
    found, lab = calibrated(budget=1500, steps=steps)
    assert found.sampler.steps == steps
    assert lab.rows <= 1500
    assert found.gain is not None
    assert (found.gain.ratio >= 1.0) == (found.name == found.pair_name)


def test_a_budget_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="at least, and 1000 are usual"):
        calibrated(budget=100)


@pytest.mark.parametrize("budget", [300, 500, 1000, 4000, 20000])
@pytest.mark.parametrize("steps", [1, 5, 8, 12])
def test_a_plan_fits_its_budget(budget: int, steps: int) -> None:
    try:
        plan = CalibrationPlan.of(budget, steps)
    except ValueError:
        assert budget < 500
        return
    fit = plan.reference + plan.starts * steps + plan.rounds * CalibrationPlan.round_cost(steps)
    raced = plan.reference + (plan.pairs + 1 + bool(plan.rounds)) * steps
    check = plan.checked * (plan.reference + plan.reference // 2)
    check += CalibrationPlan.screening_cost(plan.screened, steps)
    twice = plan.checked * plan.reference
    assert plan.noises * fit + plan.race * raced + check <= budget
    assert plan.noises * fit + (plan.race - 1) * raced + check + twice <= budget
    assert plan.noises > plan.checked
    assert plan.noises >= steps or not plan.rounds


def test_a_race_has_the_best_pair_where_the_linear_model_ranks_it_eighth() -> None:
    """The order of all pairs is turned so: the screening finds what it would have left out."""
    lab = LocalLab(MIXTURE.denoise, (DIM,), 7, 2000)
    fresh = noise(300, seed=9)
    path = path_of(fresh)
    ends = {
        f"{name} {curve}": run(at, textbook(name, levels), fresh, elements).end
        for curve, levels in curves(5).items()
        for name in TEXTBOOK
    }
    worst_first = sorted(ends, key=lambda name: -path.log_error(ends[name]))
    best = worst_first[-1]
    order = [*worst_first[:7], best, *worst_first[7:-1]]
    plan = CalibrationPlan.of(2000, 5)
    truly = likely.Likely.starts_and_pairs

    def misled(self: likely.Likely, probed: int, starts: int) -> tuple[list[Multistep], list[str]]:
        return truly(self, probed, starts)[0], order

    def raced(plan: CalibrationPlan) -> Calibrated:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(likely.Likely, "starts_and_pairs", misled)
            return calibrate(lab, curves(5), budget=2000, lowest=LOW, plan=plan)

    found = raced(plan)
    assert plan.screened
    assert len(found.pairs) == plan.pairs
    assert best in found.pairs
    assert lab.rows <= 2000
    assert best not in raced(replace(plan, screened=0)).pairs


def test_pairs_that_are_screened_are_of_many_kinds() -> None:
    samplers = ("unipc_3", "unipc_2", "ipndm", "dpmpp_2m", "exponential_3", "euler")
    ranked = [f"{name} curve {k}" for name in samplers for k in range(11)]
    chosen = likely.diverse(ranked, 20)
    assert len(set(chosen)) == 20
    assert {"euler curve 0", "dpmpp_2m curve 0"} <= set(chosen)
    for part in range(2):
        kinds = [name.split(" ", 1)[part] for name in chosen]
        assert max(map(kinds.count, kinds)) <= likely.ALIKE


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_screening_takes_no_more_calls_than_planned_and_ends_where_runs_do(steps: int) -> None:
    took: dict[str, tuple[int, dict[str, Tensor]]] = {}

    class Counting(LocalLab):
        def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
            before, found = self.rows, measure()
            took[key] = (self.rows - before, found)
            return found

    lab = Counting(MIXTURE.denoise, (DIM,), 7, 2000)
    found = calibrate(lab, curves(steps), budget=2000, lowest=LOW)
    rows, stage = next(x for key, x in took.items() if key.startswith("screened range(0, 2)"))
    assert 0 < rows <= CalibrationPlan.screening_cost(len(stage["ends"]), steps)
    for sampler in found.pairs.values():
        end = sampler(MIXTURE.denoise, lab.noise(range(2))).double()
        assert any(torch.allclose(end, one, atol=1e-9) for one in stage["ends"])


def test_references_in_doubt_are_those_of_the_robust_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fine steps of Euler stand for a method that a model makes unstable."""
    fresh = noise(500, seed=9)
    path = path_of(fresh)
    monkeypatch.setattr(bench, "REFERENCE", "euler")

    def error() -> float:
        found, _ = calibrated(2000)
        return math.exp(path.log_error(run(at, found.fitted["greedy"], fresh, elements).end))

    checked = error()
    monkeypatch.setattr(bench, "DOUBT", math.inf)
    assert checked < 0.7 * error()


@pytest.mark.parametrize("budget", [500, 1000, 3000])
def test_references_in_doubt_are_replaced_within_the_budget(
    budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "DOUBT", 1e-9)
    for steps in (1, 2, 3, 5, 8):
        found, lab = calibrated(budget, steps)
        assert lab.rows <= budget
        assert found.gain is not None


def test_references_that_are_no_numbers_end_it() -> None:
    lab = LocalLab(lambda x, sigma: x * math.nan, (DIM,), 0, 800)
    with pytest.raises(NotFiniteError, match="no numbers"):
        calibrate(lab, curves(5), budget=800, lowest=LOW)
