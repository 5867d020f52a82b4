"""What an optimisation says in the end: what to do now, what was gained, and the rest below."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_report import CASES

SCRIPT = Path(__file__).with_name("host_report.py")
TWICE = "Set KSampler to sampler ays_model and scheduler ays_model, 7 steps"
KEEP = "Keep sampler dpmpp_2m, choose scheduler ays_model, 7 steps"
UNIPC = "the best standard choice, uni_pc_bh2 with AYS DeepFloyd IF"
KARRAS = "the best standard choice, karras"
SAID = {
    "fitted": (
        f"{TWICE}, cfg 3.",
        f"About 64 % less error than {UNIPC} (measured on 4 seeds; between 53 and 73 %).",
    ),
    "fitted, many seeds": (
        f"{TWICE}.",
        f"64 % less error than {UNIPC} (measured on 12 seeds; between 61 and 67 %).",
    ),
    "fitted, steps known": (
        f"{TWICE}.",
        f"64 % less error than {UNIPC} (measured on 12 seeds; between 61 and 67 %). As close as 14 "
        "steps of uni_pc_bh2 with AYS DeepFloyd IF (measured on 8 seeds).",
    ),
    "fitted, out of reach": (
        f"{TWICE}.",
        f"64 % less error than {UNIPC} (measured on 12 seeds; between 61 and 67 %). Even 21 steps "
        "of uni_pc_bh2 with AYS DeepFloyd IF do not come as close (measured on 4 seeds).",
    ),
    "fitted, open": (
        f"{TWICE}, cfg 7.5.",
        f"On these 3 seeds nothing is certainly better than {UNIPC}; a larger budget may tell.",
    ),
    "fitted, none better": (
        f"{TWICE}, cfg 3, denoise 0.6.",
        f"On these 2 seeds nothing is better than {UNIPC}, so ays_model gives you that; a larger "
        "budget may find better.",
    ),
    "fitted, one seed": (
        f"{TWICE}, cfg 3.",
        f"On one seed nothing is certainly better than {UNIPC}; a larger budget may tell.",
    ),
    "fitted, a pair of models": (
        "Set both KSamplerAdvanced to sampler ays_model and scheduler ays_model, 7 steps; the "
        "first ends and the second starts at step 3.",
        f"About 65 % less error than {UNIPC} (measured on 3 seeds; between 38 and 81 %).",
    ),
    "plain": (
        f"{KEEP}, cfg 3.",
        f"About 64 % less error than {KARRAS} (measured on 4 seeds; between 53 and 73 %).",
    ),
    "plain, open": (
        f"{KEEP}, cfg 3.",
        f"On these 3 seeds nothing is certainly better than {KARRAS}; more time may tell.",
    ),
    "plain, none better": (
        f"{KEEP}, cfg 3.",
        f"On these 3 seeds nothing is better than {KARRAS}, so ays_model gives you that; a larger "
        "budget may find better.",
    ),
    "plain, nothing to compare with": (
        f"{KEEP}, cfg 3.",
        "No standard choice could be compared, so nobody knows what is gained.",
    ),
    "plain, hardly better": (
        f"{KEEP}, cfg 3.",
        f"Hardly less error than {KARRAS} (measured on 3 seeds).",
    ),
    "plain, a pair of models": (
        "Keep sampler dpmpp_2m, choose scheduler ays_model in both KSamplerAdvanced, 7 steps; the "
        "first ends and the second starts at step 3.",
        f"About 65 % less error than {KARRAS} (measured on 3 seeds; between 38 and 81 %).",
    ),
}
# What nobody outside knows, or what says nothing.
UNSAID = ("noises", "you had", "greedy", "joint", "unipc_", "exponential_", "not known", "nan")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    """A kind of result."""
    name: str = request.param
    return name


@pytest.fixture
def told(host_answer: Callable[..., dict[str, Any]], case: str) -> dict[str, str]:
    """The summary and the report of a result of that kind."""
    found: dict[str, str] = host_answer(SCRIPT)[case]
    return found


def test_the_summary_says_what_to_do_and_what_was_gained(told: dict[str, str], case: str) -> None:
    assert tuple(told["summary"].splitlines()) == SAID[case]


def test_the_report_begins_with_the_summary_and_names_nothing_from_inside(
    told: dict[str, str], case: str
) -> None:
    report = told["report"]
    assert tuple(report.split("\n\n")[:2]) == SAID[case]
    assert not [word for word in UNSAID if word in report]
    assert ("KLUB, the bound of the paper, is" in report) == case.startswith("plain")
    assert ("Profile: " in report) == case.startswith("plain")
    calls = "2,020: images in many steps 1,400, fitting the sampler 20, comparing 600"
    assert f"Model calls: {calls}." in report
    assert ("The many-step image's own error is about" in report) == case.startswith("plain")
    assert "Out of the comparison: uni_pc_bh2 order 2 with beta (its run broke)." in report


FITTED = {
    "fitted": (
        "Fitted for 7 steps. Any other number of steps is sampled as dpmpp_2m does.\n\nThese "
        "levels and the fitted steps belong together: "
    ),
    "fitted, many seeds": (
        "Fitted for 7 steps. For 4, 5, 16 steps a simpler fit comes with it, from the same "
        "measurement; it was not compared with anything. Any other number of steps is sampled as "
        "dpmpp_2m does.\n\nThese levels and the fitted steps belong together: "
    ),
    "fitted, none better": (
        "Nothing is fitted: 7 steps are those of uni_pc_bh2 with AYS DeepFloyd IF. Any other "
        "number of steps is sampled as dpmpp_2m does.\n\nOther samplers with "
        "scheduler ays_model get "
    ),
}


@pytest.mark.parametrize("case", FITTED)
def test_the_report_says_what_is_fitted_to_which_steps(told: dict[str, str], case: str) -> None:
    assert FITTED[case] in told["report"]


def test_the_table_fits_into_a_narrow_window(told: dict[str, str], case: str) -> None:
    rows = told["report"].split("```")[1].strip().splitlines()
    assert max(map(len, rows)) <= 48
    shown = [row.split("  ")[0] for row in rows]
    if case.startswith("fitted"):
        assert shown[:3] == ["sampler, schedule", "ays_model, refined", "ays_model, fitted"]
        assert "res_multistep order 3, karras" in shown
    assert len({len(row) for row in rows}) == 1


def test_levels_stand_on_lines_of_their_own(told: dict[str, str], case: str) -> None:
    lines = [line for line in told["report"].splitlines() if "10.0000, 5.0000" in line]
    starts = ["sigmas: 10.0"]
    if case.startswith("fitted"):
        starts.append("sigmas of AYS DeepFloyd IF: 10.0")
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))
