"""Every sampler of the host is optimised, falls back to another, or is refused, with one reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.graphs import STEPS as NODE_STEPS
from align_your_steps.tests.host.graphs import optimize_graph
from align_your_steps.tests.host.host_judged import BUDGET, STEPS
from align_your_steps.tests.host.sampler_nodes import NODES
from align_your_steps.tests.host.server import ComfyServer

SCRIPT = Path(__file__).with_name("host_judged.py")
Rows = dict[str, dict[str, Any]]

MULTISTEP = "the reference is computed with a third-order multistep method"
PLAIN = "judged by '{}' with plain guidance: CFG++ has no many-step result"
QUIET = "judged with its fresh noise switched off"
DISTRIBUTION = "schedules are found with its fresh noise switched off"
OWN_LEVELS = "it chooses its own noise levels"
NO_LIMIT = "it has no many-step result to be compared with"

CFG_PP = (
    "beside the guided prediction it takes the ones with and without the prompt, as CFG++ does, "
    "which has no many-step result"
)
FRESH = "it adds fresh noise, and no option 'eta' switches it off"

REFUSED = {
    "dpm_fast": OWN_LEVELS,
    "dpm_adaptive": OWN_LEVELS,
    "lcm": NO_LIMIT,
    "SamplerDPMAdaptative": OWN_LEVELS,
    "SamplerLCMUpscale": NO_LIMIT,
    "SamplerLCM": NO_LIMIT,
    "SamplerARVideo": NO_LIMIT,
    "restless": FRESH,
    "history": CFG_PP,
    "history by class": CFG_PP,
    "around euler_cfg_pp": CFG_PP,
    "around res_multistep_cfg_pp": CFG_PP,
    "in place of dpmpp_2m": CFG_PP,
    "around lcm": FRESH,
    "around dpm_adaptive": OWN_LEVELS,
    "around dpm_fast": OWN_LEVELS,
    "cfgpp_ud10_ab": CFG_PP,
    "other cfg_pp": "CFG++ has no many-step result, and there is no plain sampler 'other'",
}
# How the report calls what differs from the sampler, for all with a note of more than MULTISTEP.
NOTES = {
    "euler_cfg_pp": [PLAIN.format("euler")],
    "euler_ancestral": [DISTRIBUTION],
    "euler_ancestral_cfg_pp": [PLAIN.format("euler_ancestral"), QUIET],
    "dpm_2_ancestral": ["judged by 'dpm_2', its deterministic twin"],
    "dpmpp_2s_ancestral": [DISTRIBUTION],
    "dpmpp_2s_ancestral_cfg_pp": [PLAIN.format("dpmpp_2s_ancestral"), QUIET],
    "dpmpp_sde": [DISTRIBUTION],
    "dpmpp_sde_gpu": [DISTRIBUTION],
    "dpmpp_2m_cfg_pp": [PLAIN.format("dpmpp_2m")],
    "dpmpp_2m_sde": [DISTRIBUTION],
    "dpmpp_2m_sde_gpu": [DISTRIBUTION],
    "dpmpp_2m_sde_heun": [DISTRIBUTION],
    "dpmpp_2m_sde_heun_gpu": [DISTRIBUTION],
    "dpmpp_3m_sde": [DISTRIBUTION],
    "dpmpp_3m_sde_gpu": [DISTRIBUTION],
    "ddpm": ["judged by 'euler', its deterministic twin"],
    "res_multistep_cfg_pp": [PLAIN.format("res_multistep")],
    "res_multistep_ancestral": [DISTRIBUTION],
    "res_multistep_ancestral_cfg_pp": [PLAIN.format("res_multistep_ancestral"), QUIET],
    "gradient_estimation_cfg_pp": [PLAIN.format("gradient_estimation")],
    "er_sde": [DISTRIBUTION],
    "seeds_2": [DISTRIBUTION],
    "seeds_3": [DISTRIBUTION],
    "sa_solver": [QUIET],
    "sa_solver_pece": [QUIET],
    "exp_heun_2_x0_sde": [DISTRIBUTION],
    "SamplerDPMPP_3M_SDE": [DISTRIBUTION],
    "SamplerDPMPP_2M_SDE": [DISTRIBUTION],
    "SamplerDPMPP_SDE": [DISTRIBUTION],
    "SamplerDPMPP_2S_Ancestral": [DISTRIBUTION],
    "SamplerEulerAncestral": [DISTRIBUTION],
    "SamplerEulerAncestralCFGPP": [PLAIN.format("euler_ancestral"), QUIET],
    "SamplerER_SDE": [DISTRIBUTION],
    "reverse: SamplerER_SDE": [DISTRIBUTION],
    "SamplerSASolver": [QUIET],
    "SamplerSEEDS2": [DISTRIBUTION],
    "SamplerEulerCFGpp": [PLAIN.format("euler")],
    "cfg_pp": [PLAIN.format("gradient_estimation")],
    "churn": [QUIET],
}
OWN_REFERENCE = {
    "other: SamplerEulerCFGpp": "euler_pp",
    "midpoint": "midpoint",
    "class": "OwnClass",
    "watching": "watching",
    "guidance": "of_guidance",
    "around dpmpp_2m": "around",
    "in place of heun": "heun",
}
# What is refused of the above on every host.
ALWAYS_REFUSED = {
    *("dpm_fast", "dpm_adaptive", "lcm", "restless", "history", "history by class"),
    *("around euler_cfg_pp", "around res_multistep_cfg_pp", "around lcm", "around dpm_adaptive"),
    *("around dpm_fast", "in place of dpmpp_2m"),
}


@pytest.fixture
def answer(host_answer: Callable[..., Rows]) -> Rows:
    """Return what is known of every sampler, and measured on a flow model; and the warnings."""
    return host_answer(SCRIPT, "flow", "all")


@pytest.fixture
def judged(answer: Rows) -> Rows:
    """Return what is known of every sampler, and measured on a flow model."""
    return {name: row for name, row in answer.items() if name not in ("warnings", "again")}


def usable(rows: Rows) -> Rows:
    """The rows of the samplers that are not refused."""
    return {name: row for name, row in rows.items() if "refused" not in row}


def test_refusals_are_one_sentence_with_the_reason_and_another_sampler(judged: Rows) -> None:
    refused = {name: row["refused"] for name, row in judged.items() if "refused" in row}
    assert refused.keys() >= ALWAYS_REFUSED
    assert refused.keys() <= REFUSED.keys()
    for name, message in refused.items():
        assert message.startswith("No schedule can be optimised for the sampler '"), name
        assert f"': {REFUSED[name]}. Choose another sampler, for example " in message, name


def test_the_report_says_how_each_sampler_is_judged_and_why(judged: Rows) -> None:
    assert {"euler", "euler_cfg_pp", "SamplerER_SDE", "class"} <= usable(judged).keys()
    for name, row in usable(judged).items():
        own = OWN_REFERENCE.get(name)
        reference = f"the reference is computed with '{own}' itself" if own else MULTISTEP
        assert row["note"] == "; ".join([*NOTES.get(name, []), reference]), name
        assert row["by_distribution"] == (DISTRIBUTION in row["note"]), name
        assert row["reference_order"] == (2 if own else 3), name


def test_calls_of_a_step_are_counted_without_the_model_and_are_those_of_a_run(
    judged: Rows,
) -> None:
    for name, row in usable(judged).items():
        assert row["asked"] == 0, name
        # The step to 0 takes one call, and the last but one of Heun++ and SEEDS-3 may take two.
        most = STEPS * row["calls_per_step"]
        assert most - 3 * (row["calls_per_step"] - 1) <= row["calls"] <= most, name
        assert (row["calls_per_step"] == 1) == (row["calls"] == STEPS), name


def test_twice_the_steps_halve_the_error_of_first_order_samplers_only(judged: Rows) -> None:
    orders = {name: row["order"] for name, row in usable(judged).items()}
    assert orders["euler"] == orders["heunpp2"] == orders["order 1: SamplerLMS"] == 1
    assert orders["heun"] == orders["dpmpp_2m"] == orders["SamplerLMS"] == 2
    for name, row in usable(judged).items():
        if name in ("cfg_pp", "class"):
            continue  # of an option's order and of another pack's nothing is known
        coarse, fine = row["errors"]
        assert (coarse / fine < 2.5) == (row["order"] == 1), name


def test_every_sampler_comes_to_the_end_of_its_reference(judged: Rows) -> None:
    for name, row in usable(judged).items():
        coarse, fine = row["errors"]
        assert fine < 0.02, name
        assert fine < coarse / 1.5, name


def test_a_sampler_object_is_called_what_the_drop_down_calls_it(judged: Rows) -> None:
    assert judged["uni_pc: KSamplerSelect"]["name"] == "uni_pc"
    for name in ("uni_pc", "uni_pc: KSamplerSelect", "dpm_2", "dpm_2_ancestral"):
        assert judged[name]["spare_level"], name
    assert not judged["euler"]["spare_level"]


def test_the_digest_of_options_tells_samplers_apart_and_nothing_else(answer: Rows) -> None:
    again = answer["again"]
    assert "SamplerER_SDE" in again
    for label, digest in again.items():
        assert answer[label]["options"] == digest, label
    of_one_kind = [digest for label, digest in again.items() if label.endswith("SamplerER_SDE")]
    assert len(set(of_one_kind)) == len(of_one_kind) == 4
    assert again["ddim: KSamplerSelect"] != again["uni_pc: KSamplerSelect"]


def assert_optimised(rows: Rows) -> None:
    """Within the budget and with the note, or refused before any call."""
    for name, row in usable(rows).items():
        levels = row["sigmas"]
        assert len(levels) == STEPS + 1, name
        assert levels == sorted(set(levels), reverse=True), name
        assert levels[-1] == 0.0, name
        assert 0 < row["rows"] <= BUDGET, name
        fits = name == "ays_model"
        first = "Set KSampler to sampler {} and" if fits else "Keep sampler {}, choose"
        first = first.format(row["name"])
        assert row["report"].startswith(f"{first} scheduler ays_model, {STEPS} steps.\n\n"), name
        assert row["report"].count(row["note"]) == 1, name
        assert ("distribution of its samples" in row["report"]) == row["by_distribution"], name


def test_every_name_of_the_drop_down_is_optimised(host_answer: Callable[..., Rows]) -> None:
    rows = host_answer(SCRIPT, "eps", "names")
    assert {"euler", "dpmpp_2m", "dpmpp_sde", "uni_pc", "ddim", "ays_model"} <= usable(rows).keys()
    assert_optimised(rows)


def test_few_steps_without_guidance_and_lcm_sampling_are_warned_of(answer: Rows) -> None:
    warnings = {case: text for case, text in answer["warnings"].items() if text}
    assert warnings.keys() == {"cfg 1, 8 steps", "LCM, 8 steps", "LCM, 9 steps"}
    assert "(cfg 1), and only 8 steps. If this model is distilled" in warnings["cfg 1, 8 steps"]
    assert "Flux dev" in warnings["cfg 1, 8 steps"]
    assert "set to LCM sampling" in warnings["LCM, 9 steps"]


def test_the_warning_is_in_the_report_and_in_the_log(server: ComfyServer) -> None:
    warning = f"There is no guidance (cfg 1), and only {NODE_STEPS} steps."
    report = server.run(optimize_graph(cfg=1.0))["outputs"]["report"]["text"][0]
    assert report.count(f"Warning: {warning}") == 1
    assert warning in server.log


@pytest.mark.full
@pytest.mark.parametrize(
    "prediction, which", [("flow", "names"), ("eps", "objects"), ("flow", "objects")]
)
def test_every_sampler_is_optimised_on_every_kind_of_model(
    host_answer: Callable[..., Rows], prediction: str, which: str
) -> None:
    rows = host_answer(SCRIPT, prediction, which)
    assert len(usable(rows)) > len(rows) / 2
    assert_optimised(rows)


@pytest.mark.full
def test_the_nodes_of_the_host_are_the_ones_that_the_table_knows(judged: Rows) -> None:
    assert len(judged.keys() & NODES.keys()) >= len(NODES) - 4  # some are of newer hosts only
