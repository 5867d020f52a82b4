"""Schedules whose runs come out as NaN or infinity: what becomes of them, and of the others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import Meter, NotFiniteError, Result
from align_your_steps.optimizer.diffusion.solvers import builtin_solver
from align_your_steps.optimizer.judging.select import Candidate, halving
from align_your_steps.optimizer.runs.failures import Failures
from align_your_steps.schedules import Unfinished
from align_your_steps.tests.optimizer.laboratory import compare_flat, optimize_flat
from align_your_steps.tests.torture.failing import Fault
from torch import Tensor

DATA = Mixture.random(16, 4, seed=3)
GIVEN = {"mine": [20.0, 6.0, 1.5, 0.3, 0.0], "even": [20.0, 15.0, 10.0, 5.0, 0.0]}
BROKEN = 6.0  # the level of `mine` at which the model fails in most of these tests


class Model:
    """A denoiser with a fault."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        def answer() -> Tensor:
            return DATA.denoise(x, sigma)

        return answer() if self.fault is None else self.fault(float(sigma[0]), answer)


def at(level: float, kind: str = "nan", **how: Any) -> Model:
    """A model that fails at one level."""
    return Model(Fault(kind, low=0.999 * level, high=1.001 * level, **how))


def found(model: Any, **settings: Any) -> Result:
    settings = {"steps": 4, "solver": "dpmpp_2m", "budget": 900, "candidates": GIVEN, **settings}
    return optimize_flat(model, (16,), sigma_max=20.0, sigma_min=0.05, **settings)


@pytest.mark.parametrize("kind", ["nan", "inf", "minus inf"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "heun"},
        {"method": "paper", "budget": 6000},
        {"solver": "dpmpp_2m_sde", "budget": 2000},
    ],
    ids=str,
)
def test_a_schedule_that_fails_is_out_and_the_others_go_on(
    kind: str, settings: dict[str, Any]
) -> None:
    result = found(at(BROKEN, kind), **settings)
    assert result.failed["mine"] == "its run came out as NaN or infinity at noise level 6"
    names = {score.candidate.name for score in result.scores}
    assert "even" in names
    assert not names & result.failed.keys()
    assert result.method not in result.failed
    assert all(math.isfinite(error) for score in result.scores for error in score.errors)


def test_a_schedule_that_has_failed_is_not_run_again() -> None:
    model = at(BROKEN)
    found(model)
    assert model.fault is not None
    assert model.fault.failed == 1


def test_nothing_is_refined_where_the_coarse_run_beside_a_reference_fails() -> None:
    meter = Meter()
    denoise = Model()

    def metered(x: Tensor, sigma: Tensor) -> Tensor:
        return meter(x, float(sigma[0]), lambda: denoise(x, sigma))

    right, third = builtin_solver("euler", metered), builtin_solver("dpmpp_2m", metered)

    def coarse_fails(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        return right(noise, sigmas, seed) * (1.0 if len(sigmas) == 5 else math.nan)

    result = found(metered, solver=coarse_fails, reference=third, meter=meter)
    assert result.surrogate is None
    assert math.isnan(result.reference_error)
    assert math.isfinite(result.error.mean)


def test_a_failure_is_kept_on_disk_too(tmp_path: Path) -> None:
    levels = torch.tensor([9.0, 2.0, 0.0])
    for where in ([], [2.0]):
        failures, again = Failures(), Failures()
        failures.add(levels, where)
        unfinished = Unfinished(tmp_path, {"where": where})
        unfinished.put("stage", failures.to_tensors([levels]))
        kept = Unfinished(tmp_path, {"where": where}).get("stage")
        assert kept is not None
        again.remember([levels], kept)
        assert again.levels == failures.levels


@pytest.mark.parametrize("level", [20.0, 0.05])
def test_references_that_fail_end_it_with_the_level_and_a_remedy(level: float) -> None:
    with pytest.raises(NotFiniteError, match=rf"at noise level {level:g}: .*--fp32-unet"):
        found(at(level))


def test_a_profile_too_large_for_single_precision_ends_it_with_the_levels() -> None:
    with pytest.raises(NotFiniteError, match=r"too large to be measured at noise levels 20, .*"):
        found(lambda x, sigma: 10.0 * x, budget=1500)


def test_a_picture_too_large_for_single_precision_on_the_way_ends_it_with_the_level() -> None:
    with pytest.raises(NotFiniteError, match=r"values became infinite at noise level [\d.]+: "):
        found(lambda x, sigma: torch.full_like(x, 3e38), budget=1500)


def test_if_every_run_fails_all_their_levels_are_named() -> None:
    def fails(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        end = builtin_solver("euler", DATA.denoise)(noise, sigmas, seed)
        return end if len(sigmas) > 6 else end * math.nan

    with pytest.raises(NotFiniteError, match="No schedule can be compared, because every run"):
        found(Model(), solver=fails)
    failures = Failures()
    failures.add(torch.tensor([9.0, 2.0, 0.0]), [2.0])
    failures.add(torch.tensor([9.0, 3.0, 0.0]), [3.0])
    assert "NaN or infinity at noise levels 3 and 2: " in str(failures.error())


@pytest.mark.parametrize(
    "settings, before_the_end",
    [({}, 70), ({"solver": "dpmpp_2m_sde", "budget": 2000}, 90)],
    ids=["paired", "distribution"],
)
def test_noises_whose_reference_fails_end_the_comparison_with_those_before(
    settings: dict[str, Any], before_the_end: int
) -> None:
    count = Fault("nan", times=0)
    whole = found(Model(count), **settings)
    fault = Fault("nan", call=count.calls - before_the_end, low=0.05, high=0.0501)
    late = found(Model(fault), **settings)
    assert late.criterion == whole.criterion
    assert "the many-step picture came out" in late.failed["further seeds"]
    assert 0 < late.noises < whole.noises
    assert math.isfinite(late.error.mean)


def test_a_comparison_ends_before_noises_whose_reference_fails() -> None:
    def compared(model: Model) -> Any:
        return compare_flat(
            model, (16,), schedules=GIVEN, sigma_max=20.0, sigma_min=0.05, solver="euler",
            noises=12,
        )  # fmt: skip

    count = Fault("nan", times=0)
    whole = compared(Model(count))
    late = compared(Model(Fault("nan", call=2 * count.calls // 3, low=0.05, high=0.0501)))
    assert (whole.noises, late.noises) == (12, 8)
    assert "the many-step picture came out" in late.left_out["further seeds"]
    for one, other in zip(whole.scores, late.scores, strict=True):
        assert one.errors[:8] == other.errors


def candidates(count: int) -> list[Candidate]:
    return [Candidate(str(k), torch.tensor([9.0, 1.0 + k, 0.0])) for k in range(count)]


def test_a_candidate_that_fails_late_is_dropped_and_one_that_did_not_wins() -> None:
    """Of six, the four best go on; all of them fail on the next noise."""
    run: list[tuple[str, int]] = []

    def errors(candidate: Candidate, batch: int) -> list[float] | None:
        run.append((candidate.name, batch))
        return [math.inf] if batch == 1 else [1.0 + int(candidate.name)]

    led: list[str] = []
    winner, scores = halving(candidates(6), errors, lambda c: led.append(c.name))
    assert winner.candidate.name == "4"
    assert run == [(str(k), 0) for k in range(6)] + [(str(k), 1) for k in range(4)]
    assert [score.finite for score in scores] == [False] * 4 + [True] * 2


def test_if_all_candidates_fail_the_comparison_ends_after_one_round() -> None:
    winner, _ = halving(candidates(3), lambda candidate, batch: [math.inf])
    assert winner.mean == math.inf
