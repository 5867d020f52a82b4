"""Schedules for other step counts come from one measurement, without a call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import Result, builtin_solver, edm_schedule
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.optimizer.step_counts import at_steps, drawn_through
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from align_your_steps.tests.optimizer.test_surrogate import HIGH, LOW, prepared

DATA = Mixture.random(64, 40, seed=11, std=0.5)


def optimised(method: str = "measured", seed: int = 0) -> tuple[Result, list[int]]:
    """The result for 8 steps, and a list that holds the calls made so far."""
    calls = [0]

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls[0] += len(x)
        return DATA.denoise(x, sigma)

    karras = np.append(edm_schedule(7, HIGH, LOW), 0.0)
    result = optimize_flat(
        denoise, (64,), sigma_max=HIGH, sigma_min=LOW, steps=8, solver="dpmpp_2m",
        candidates={"karras": karras}, budget=2000, method=method, seed=seed,
    )  # fmt: skip
    return result, calls


def held_out(sigmas: torch.Tensor) -> float:
    """Mean error of dpmpp_2m on noise that no optimisation has seen."""
    noise = torch.randn(256, 64, generator=torch.Generator().manual_seed(99))
    fine = torch.from_numpy(np.append(edm_schedule(200, HIGH, LOW), 0.0)).float()
    solver = builtin_solver("dpmpp_2m", DATA.denoise)
    apart = solver(noise, sigmas, 0) - solver(noise, fine, 0)
    return float(apart.square().mean(1).sqrt().mean())


def test_another_number_of_steps_takes_no_call_and_beats_interpolation() -> None:
    better: dict[int, list[float]] = {5: [], 12: []}
    for seed in range(4):  # a single one may be otherwise
        result, calls = optimised(seed=seed)
        spent = calls[0]
        for steps, ratios in better.items():
            levels = result.at_steps(steps)
            assert len(levels) == steps + 1
            assert levels[0] == result.sigmas[0]
            assert levels[-1] == 0.0
            assert (levels.diff() < 0).all()
            drawn = drawn_through(result.sigmas.double().numpy(), steps, LOW)
            ratios.append(held_out(levels) / held_out(torch.from_numpy(drawn).float()))
        assert calls[0] == spent
    assert all(np.log(ratios).mean() < np.log(0.95) for ratios in better.values()), better


def test_several_numbers_of_steps_together_give_what_each_gives_alone() -> None:
    result, _ = optimised()
    for levels, steps in zip(result.at_step_counts([12, 1, 5]), [12, 1, 5], strict=True):
        assert torch.allclose(levels, result.at_steps(steps), rtol=1e-4)


def test_its_own_number_of_steps_is_the_result_itself() -> None:
    result, _ = optimised()
    assert result.at_steps(8) is result.sigmas


def test_one_step_has_no_inner_level() -> None:
    result, _ = optimised()
    assert result.at_steps(1).tolist() == [result.sigmas[0], 0.0]


def test_the_papers_method_knows_its_own_number_only() -> None:
    result, _ = optimised("paper")
    with pytest.raises(ValueError, match="measured"):
        result.at_steps(5)


def test_the_answer_is_no_worse_on_the_surrogate_than_what_it_starts_from() -> None:
    _, surrogate = prepared(DATA.denoise, "dpmpp_2m", dim=64)
    start = np.append(np.geomspace(HIGH, LOW, 6), 0.0)
    found = at_steps(surrogate, [start])
    assert surrogate.errors(found[None]).mean() < surrogate.errors(start[None]).mean()


def test_compression_changes_no_error() -> None:
    data = Mixture.random(300, 10, seed=2, std=0.5)
    _, surrogate = prepared(data.denoise, "dpmpp_2m", dim=300)
    small = surrogate.compressed()
    assert small.reference.end.shape[1] < 300
    schedules = np.stack([np.append(np.geomspace(HIGH, low, 6), 0.0) for low in (LOW, 0.1, 0.3)])
    whole = np.linalg.norm(surrogate.residuals(schedules), axis=-1)
    assert np.linalg.norm(small.residuals(schedules), axis=-1) == pytest.approx(whole, rel=1e-9)


def test_what_hardly_varies_is_compressed_further_than_to_its_number_of_vectors() -> None:
    _, surrogate = prepared(lambda x, sigma: gaussian.denoise(x, sigma, 0.5), "euler", dim=300)
    small = surrogate.compressed()
    assert small.reference.end.shape[1] < len(surrogate.slope) / 2
    schedule = np.append(np.geomspace(HIGH, LOW, 6), 0.0)[None]
    norms = [np.linalg.norm(s.residuals(schedule), axis=-1) for s in (small, surrogate)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


@pytest.mark.filterwarnings("error")
def test_outputs_that_are_zero_are_compressed() -> None:
    _, surrogate = prepared(lambda x, sigma: torch.zeros_like(x), "dpmpp_2m", dim=300)
    schedule = np.append(np.geomspace(HIGH, LOW, 6), 0.0)[None]
    assert surrogate.compressed().errors(schedule) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 3, 7, 20])
def test_a_curve_drawn_through_keeps_its_ends(steps: int) -> None:
    drawn = drawn_through(np.array([8.0, 3.0, 0.5, 0.0]), steps, lowest=0.1)
    assert len(drawn) == steps + 1
    assert drawn[0] == pytest.approx(8.0)
    assert drawn[-1] == 0.0
    assert (drawn[:-1] > 0.1 * (1 - 1e-9)).all()


@pytest.mark.parametrize("steps", [1, 2, 6, 20])
def test_a_curve_that_reaches_sigma_min_keeps_it_and_has_no_level_twice(steps: int) -> None:
    drawn = drawn_through(np.array([8.0, 3.0, 0.1, 0.0]), steps, lowest=0.1)
    assert len(drawn) == steps + 1
    assert (np.diff(drawn) < 0).all()
    if steps > 1:
        assert drawn[-2] == pytest.approx(0.1)


@pytest.mark.filterwarnings("error")
def test_schedules_through_sigma_min_lead_to_no_undefined_number() -> None:
    result, _ = optimised()
    assert result.surrogate is not None
    assert result.at_steps(20).isfinite().all()
