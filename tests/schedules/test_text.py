"""Levels as text for other tools: each is read back as that tool reads it."""

from __future__ import annotations

import ast
import re

import numpy as np
import pytest
from align_your_steps.schedules import discrete_table
from align_your_steps.schedules.to_text import PLAIN, TOOLS, paste_hint, paste_text
from hypothesis import given
from hypothesis import strategies as st

FLOW = [float(np.float32(level)) for level in (1.0, 0.9, 0.3, 1e-05, 0.0)]
TABLE = discrete_table()
TIMESTEPS = [999, 650, 500, 40, 0]
SIGMAS = [*(float(np.float32(TABLE.sigma(t))) for t in TIMESTEPS), 0.0]


def pipe_call(text: str) -> dict[str, list[float]]:
    """The keywords with which the pipeline is called, from a text that is valid Python."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    (call,) = [call for call in calls if ast.unparse(call.func) == "pipe"]
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


def settings_of(text: str) -> dict[str, object]:
    """Return what a pipeline's scheduler is set to, whatever it was set to before."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    (call,) = [call for call in calls if ast.unparse(call.func).endswith(".from_config")]
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


# With one of these diffusers refuses levels, or takes its own curve.
CURVES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
NO_CURVES = dict.fromkeys(CURVES, False).items()

levels = st.lists(st.floats(2.0**-40, 2.0**12, width=32), min_size=1, max_size=9, unique=True)


@given(levels.map(lambda x: [*sorted(x, reverse=True), 0.0]))
def test_every_reader_in_comfyui_gets_the_very_levels(sigmas: list[float]) -> None:
    text = paste_text(sigmas, "comfyui", flow=False)
    # ManualSigmas takes what looks like a number, CustomSigmas what is between ", ".
    for found in (re.findall(r"[-+]?(?:\d*\.*\d+)", text), text.split(", ")):
        assert [float(np.float32(number)) for number in found] == sigmas
    assert f"interpolate_to_steps {len(sigmas)}" in paste_hint(sigmas, "comfyui")


@pytest.mark.parametrize("sigmas", [SIGMAS, FLOW])
def test_the_extension_of_a1111_gets_a_list_of_as_many_levels_as_steps(
    sigmas: list[float],
) -> None:
    text = paste_text(sigmas, "a1111", flow=sigmas is FLOW)
    assert text[0] + text[-1] == "[]"
    assert not any(word in text for word in ("import", "eval", "scripts", "e-"))
    found = [float(np.float32(number)) for number in text.strip("[]").split(",")]
    assert found == sigmas[:-1]
    assert f"{len(found)} sampling steps" in paste_hint(sigmas, "a1111")


def test_diffusers_takes_the_final_0_of_eulers_scheduler() -> None:
    text = paste_text(SIGMAS, "diffusers", flow=False)
    assert "EulerDiscreteScheduler" in text and settings_of(text).items() >= NO_CURVES
    assert np.float32(pipe_call(text)["sigmas"]).tolist() == SIGMAS


def test_diffusers_adds_the_final_0_of_a_flow_and_does_not_shift_it_again() -> None:
    text = paste_text(FLOW, "diffusers", flow=True, sampler="dpmpp_2m")
    assert "FlowMatchEulerDiscreteScheduler" in text
    unshifted = {"shift": 1.0, "use_dynamic_shifting": False, "shift_terminal": None}
    assert settings_of(text) == {**unshifted, **dict(NO_CURVES)}
    assert "Wan does not" in text and "diffusers runs no 'dpmpp_2m' on these levels" in text
    assert np.float32(pipe_call(text)["sigmas"]).tolist() == FLOW[:-1]


@pytest.mark.parametrize(
    ("sampler", "scheduler", "algorithm"),
    [
        ("dpmpp_2m", "DPMSolverMultistepScheduler", "dpmsolver++"),
        ("dpmpp_2m_sde", "DPMSolverMultistepScheduler", "sde-dpmsolver++"),
        ("dpmpp_2m_sde_gpu", "DPMSolverMultistepScheduler", "sde-dpmsolver++"),
        ("heun", "HeunDiscreteScheduler", None),
    ],
)
def test_diffusers_takes_timesteps_where_it_takes_no_sigmas(
    sampler: str, scheduler: str, algorithm: str | None
) -> None:
    text = paste_text(SIGMAS, "diffusers", flow=False, sampler=sampler)
    assert scheduler in text
    assert pipe_call(text) == {"timesteps": TIMESTEPS}
    settings = settings_of(text)
    assert settings.items() >= NO_CURVES
    assert settings.get("algorithm_type") == algorithm
    if algorithm:
        # A last level of sigma_min would take the place of 0.
        assert settings["final_sigmas_type"] == "zero"
        assert settings["use_lu_lambdas"] is settings["use_flow_sigmas"] is False
    assert (
        f"# The timesteps nearest to sigmas=[{paste_text(SIGMAS, 'comfyui', flow=False)}]" in text
    )


@pytest.mark.parametrize(
    "sampler", ["uni_pc", "dpmpp_sde", "euler_ancestral", "lms", "my\nsampler"]
)
@pytest.mark.parametrize("flow", [False, True])
def test_a_sampler_that_diffusers_does_not_run_on_levels_is_named(sampler: str, flow: bool) -> None:
    text = paste_text(FLOW if flow else SIGMAS, "diffusers", flow=flow, sampler=sampler)
    name = sampler.replace("\n", "")
    assert f"# Euler's steps: diffusers runs no '{name}' on these levels." in text.splitlines()
    assert "sigmas" in pipe_call(text)


@pytest.mark.parametrize("sampler", ["euler", "ddim", None])
def test_of_eulers_steps_nothing_is_said(sampler: str | None) -> None:
    assert "#" not in paste_text(SIGMAS, "diffusers", flow=False, sampler=sampler)


@pytest.mark.parametrize("sigmas", [[700.0, 1.0, 0.0], [14.6, 1.0, 0.001, 0.0], [2.0, 1.9999, 0.0]])
def test_levels_that_are_not_stable_diffusions_have_no_timesteps(sigmas: list[float]) -> None:
    text = paste_text(sigmas, "diffusers", flow=False, sampler="dpmpp_2m")
    assert "sigmas" in pipe_call(text)


@pytest.mark.parametrize("tool", TOOLS)
def test_where_a_calibrated_sampler_is_left_behind_the_hint_says_so(tool: str) -> None:
    plain, beside = paste_hint(SIGMAS, tool), paste_hint(SIGMAS, tool, calibrated=True)
    assert beside == f"{plain}. {PLAIN}"


def test_another_tool_is_refused() -> None:
    with pytest.raises(ValueError, match=", ".join(TOOLS)):
        paste_text(SIGMAS, "forge", flow=False)
