"""What is chosen has no more error than anything the user had, in the table that is shown."""

from __future__ import annotations

import re

import pytest
from align_your_steps.tests.host.graphs import model_graph, optimize_graph
from align_your_steps.tests.host.seen import report
from align_your_steps.tests.host.server import ComfyServer

# One of each kind: multistep of its own weights, with a history, of two calls a step, stochastic of
# first and second order, of third; CFG++; and those that ask for one step more than they run.
KINDS = [
    "gradient_estimation", "ipndm", "er_sde", "euler", "lms", "heun", "deis", "euler_ancestral",
    "dpmpp_2m_sde", "dpmpp_3m_sde", "res_multistep_cfg_pp", "uni_pc", "dpm_2", "sa_solver",
]  # fmt: skip
REFUSED = {"dpm_fast", "dpm_adaptive", "lcm", "lcm_upscale", "ar_video"}


def check(server: ComfyServer, sampler: str, prediction: str, budget: int) -> None:
    """Optimise at 4 steps, and look at every row of the table."""
    graph = optimize_graph(
        model=model_graph(prediction, denoiser="gaussian mixture"),
        sampler_name=sampler, steps=4, budget=budget, seed=2, reuse="measure again", name="worse",
    )  # fmt: skip
    text = report(server.run(graph))
    known = server.choices("KSampler", "scheduler")
    lines = text.split("```")[1].strip().splitlines()
    lines, heads = lines[1:], lines[0].split()
    seeds = "seeds" in heads  # not where all were run on as many
    count = len(heads) - 1
    rows = [(" ".join(x.split()[:-count]), *x.split()[-count:]) for x in lines if x[0] != "…"]
    assert text.startswith(f"Keep sampler {sampler}, choose scheduler ays_model, 4 steps, ")
    chosen, error = re.findall(r"that were compared: '(.*?)'\. Its error is (\S+) ± ", text)[0]
    # A long name lacks its middle.
    shown = next(row for row in rows if re.fullmatch(re.escape(row[0]).replace("…", ".*"), chosen))
    given = [row for row in rows if row[0] in known or row[0].startswith("AYS ")]
    beaten = [row for row in given if not seeds or row[3] == shown[3]]
    assert beaten, "nothing that was given is in the table"
    assert all(float(shown[1]) <= float(row[1]) for row in beaten), text
    assert error == shown[1]
    # What dropped out before was run on fewer noises, and stands below.
    assert not seeds or all(int(row[3]) <= int(shown[3]) for row in rows)


@pytest.mark.parametrize("sampler", KINDS)
def test_for_samplers_of_every_kind(server: ComfyServer, sampler: str) -> None:
    check(server, sampler, "v to zero SNR", 1200)


@pytest.mark.full
@pytest.mark.parametrize("prediction", ["v to zero SNR", "eps", "flow"])
def test_for_all_samplers(server: ComfyServer, prediction: str) -> None:
    for sampler in set(server.choices("AYSOptimize", "sampler_name")) - REFUSED:
        check(server, sampler, prediction, 4000)
