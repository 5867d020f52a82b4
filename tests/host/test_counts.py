"""Several fitted numbers of steps: which one is taken, and that what is said of it is true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_counts import ASKED, OWN, SIMPLER

SCRIPT = Path(__file__).with_name("host_counts.py")
BY_WEIGHTS = "with weights that were fitted from a measurement for another number of steps"
ELSEWHERE = "these are not the levels that the attached sampler was fitted to"
FULL, WEIGHTS, TEXTBOOK = "full", "weights", "textbook"


@pytest.fixture
def answer(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return host_answer(SCRIPT)


def test_scheduler_says_which_levels_were_measured_and_which_belong_to_a_simpler_fit(
    answer: dict[str, Any],
) -> None:
    told = {int(steps): line for steps, (line,) in answer["schedulers"].items()}
    simpler = {steps for steps, line in told.items() if "the levels of a simpler fit" in line}
    measured = {steps for steps, line in told.items() if "as it was measured" in line}
    assert (simpler, measured) == ({*SIMPLER}, {OWN})
    assert told.keys() == {*ASKED}


def test_levels_for_another_sampler_are_those_of_no_fit(answer: dict[str, Any]) -> None:
    told = {int(steps): line for steps, (line,) in answer["others"].items()}
    assert not [line for line in told.values() if "simpler fit" in line]
    assert all(f"levels drawn through those for {OWN} steps" in told[s] for s in ASKED if s != OWN)


@pytest.mark.parametrize(
    "case, said",
    [
        ("own", f"samples {OWN} steps as they were fitted."),
        ("simpler", f"samples 7 steps {BY_WEIGHTS}."),
        ("end of simpler", f"samples 4 steps {BY_WEIGHTS}."),
        ("part of simpler", f"samples 3 of 5 steps {BY_WEIGHTS}, and the others with "),
        ("masked", f"samples 7 steps {BY_WEIGHTS}."),
    ],
)
def test_sampler_says_where_weights_alone_were_fitted(
    answer: dict[str, Any], case: str, said: str
) -> None:
    (line,) = answer["samplers"][case]
    assert said in line


@pytest.mark.parametrize(
    "case, said",
    [
        ("elsewhere", f"{ELSEWHERE}. Choose the scheduler 'ays_model' too, with 5 steps, or 7 or "
         "10 steps, which have a simpler fit, at denoise 1."),
        ("elsewhere, one fit", f"{ELSEWHERE}. Choose the scheduler 'ays_model' too, with 5 steps "
         "at denoise 1."),
        ("masked, not its fit", f"{ELSEWHERE} with a noise mask. Choose the scheduler 'ays_model' "
         "too, with 7 or 10 steps, which have a simpler fit, at denoise 1."),
        ("masked, no fit", "the attached sampler was fitted without a noise mask."),
    ],
)  # fmt: skip
def test_sampler_says_with_which_steps_something_fitted_would_run(
    answer: dict[str, Any], case: str, said: str
) -> None:
    (line,) = answer["samplers"][case]
    assert said in line


def test_joined_results_have_their_own_fit_then_full_ones_then_weights(
    answer: dict[str, Any],
) -> None:
    assert answer["joined"] == [[OWN, False], [10, False], [7, False], [4, True]]
    assert answer["joined to none"] == [[7, False]]


@pytest.mark.parametrize(
    "case, names",
    [
        ("all", [FULL, TEXTBOOK, FULL, WEIGHTS]),
        ("no full", [WEIGHTS, TEXTBOOK, TEXTBOOK, WEIGHTS]),
        ("no textbook", [FULL, FULL, FULL, WEIGHTS]),
    ],
)
def test_auto_takes_a_full_fit_then_weights_then_a_schedule_for_the_sampler_that_runs(
    answer: dict[str, Any], case: str, names: list[str]
) -> None:
    assert [name for name, _, _ in answer["chosen"][case]] == names


def test_auto_says_where_weights_alone_were_fitted(answer: dict[str, Any]) -> None:
    whys = [why for choices in answer["chosen"].values() for _, why, _ in choices]
    assert [why for why in whys if "a simpler fit for 7" in why] == [
        "auto: saved for this model: weights (measured for ays_model, 5 steps, cfg 3; a simpler "
        "fit for 7), the nearest of 2"
    ]


@pytest.mark.parametrize("case, simpler", [("all", False), ("no full", True)])
def test_where_steps_are_not_known_full_fits_take_the_place_of_weights(
    answer: dict[str, Any], case: str, simpler: bool
) -> None:
    _, why, samplers = answer["chosen"][case][-1]
    assert samplers == [[OWN, False], [7, simpler], [10, True]]
    assert "; other steps as saved for 7" in why
