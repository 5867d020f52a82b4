"""The sampler `ays_model` in the host: what was fitted is what runs, and else it is dpmpp_2m."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_calibrated import KINDS, NOISES, SIZE, SPLITS, STEPS

SCRIPT = Path(__file__).with_name("host_calibrated.py")
Rows = dict[str, dict[str, Any]]


@pytest.fixture
def answer(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return host_answer(SCRIPT)


@pytest.fixture
def rows(answer: dict[str, Any]) -> Rows:
    return {kind: answer[kind] for kind in KINDS}


@pytest.fixture(params=KINDS)
def row(answer: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = answer[request.param]
    return found


def mean_ratio(pairs: list[list[float]]) -> float:
    """The geometric mean of the first over the second."""
    return math.exp(sum(math.log(ours / theirs) for ours, theirs in pairs) / len(pairs))


def test_name_is_once_in_every_list_and_last(answer: dict[str, Any]) -> None:
    assert answer["listed"] == [1, 1, 1]
    assert answer["last"] == ["ays_model"] * 3


def test_context_windows_find_the_step_by_the_level_that_the_model_is_told(
    answer: dict[str, Any],
) -> None:
    assert answer["windows"] == list(range(STEPS))


def test_run_is_that_of_the_fit(row: dict[str, Any]) -> None:
    assert row["end"] < 1e-4


def test_model_is_told_what_the_fit_tells_it_and_finds_it_among_the_levels(
    row: dict[str, Any],
) -> None:
    told, fitted = row["told"]
    assert told == pytest.approx(fitted, rel=1e-6)
    assert row["looked_up"]


def test_some_fit_tells_the_model_other_levels(rows: Rows) -> None:
    assert any(row["told"][1] != pytest.approx(row["asked"][1][:-1], rel=1e-3)
               for row in rows.values())  # fmt: skip


def test_ksampler_gets_fitted_levels_for_ays_model_and_plain_ones_for_others(
    row: dict[str, Any],
) -> None:
    asked, fitted, others, plain = row["asked"]
    assert asked == fitted
    assert others == plain


def test_callback_is_called_as_by_the_hosts_samplers(row: dict[str, Any]) -> None:
    shape = [NOISES, 1, SIZE, SIZE]
    assert row["callback"] == [[step, shape, shape, STEPS] for step in range(STEPS)]


def test_any_other_use_is_dpmpp_2m(row: dict[str, Any]) -> None:
    for use, difference in row["textbook"].items():
        assert difference < 1e-4, use  # in single precision


@pytest.mark.parametrize("at", SPLITS)
def test_split_run_is_no_worse_than_that_of_dpmpp_2m(rows: Rows, at: int) -> None:
    assert mean_ratio([row["split"][str(at)] for row in rows.values()]) < 1.0


@pytest.mark.parametrize("use, most", [("whole", 0.2), ("LoRA", 0.5), ("denoise 0.3", 1.001),
                                       ("denoise 0.5", 1.001)])  # fmt: skip
def test_other_use_is_no_worse_than_that_of_dpmpp_2m(rows: Rows, use: str, most: float) -> None:
    assert mean_ratio([row["likewise"][use] for row in rows.values()]) < most


def test_fit_for_a_part_of_the_path_starts_from_the_image(rows: Rows) -> None:
    assert mean_ratio([row["part"] for row in rows.values()]) < 0.5


def test_fit_for_a_mask_keeps_what_is_kept_exactly(rows: Rows) -> None:
    assert [row["kept"] for row in rows.values()] == [0.0] * len(rows)
    assert mean_ratio([row["masked"] for row in rows.values()]) < 0.5


def test_log_says_once_what_is_done(row: dict[str, Any]) -> None:
    lines = row["lines"]
    whole = f"'ays_model' samples {STEPS} steps as they were fitted."
    assert lines["whole"] == [whole]
    assert lines["again"] == []
    assert lines["other cfg"] == [f"{whole} They were fitted at cfg 3, and this is cfg 1.5."]
    assert any("the run begins among them" in line for line in lines["split"])
    (other,), (nothing,), (mask,) = (
        lines[use] for use in ("other levels", "nothing attached", "mask without a fit")
    )
    assert "these are not the levels" in other and f"{STEPS} steps at denoise 1" in other
    assert "no fitted sampler is attached" in nothing
    assert "fitted without a noise mask" in mask
