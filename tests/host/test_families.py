"""Every family, guider and group of samplers: each row an executed graph in a real server."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from align_your_steps.tests.host.families import (
    FAMILIES,
    GUIDERS,
    ROWS_A_CALL,
    SAMPLERS,
    STEPS,
    family_graph,
    node,
    optimized,
    sampled,
)
from align_your_steps.tests.host.server import ComfyServer, PromptError

# Every family, every guider and every sampler at least once, and each guider on a flow model and
# on another kind.
COVERING = [
    ("SD1.5", "CFGGuider", "dpmpp_2m"),
    ("SD1.5", "BasicGuider", "dpm_2"),
    ("SD2", "PerpNegGuider", "euler"),
    ("SD2 v", "CFGGuider", "euler_cfg_pp"),
    ("SDXL 700M", "DualCFGGuider", "euler_ancestral"),
    ("SDXL v", "CFGGuider", "dpmpp_2m_sde"),
    ("SD3", "CFGGuider", "heun"),
    ("SD3", "PerpNegGuider", "uni_pc"),
    ("Flux", "BasicGuider", "euler"),
    ("Flux", "CFGGuider", "dpmpp_2m_sde"),
    ("Wan 2.1", "CFGGuider", "uni_pc"),
    ("Wan 2.1", "DualCFGGuider", "euler_ancestral"),
    ("HunyuanVideo", "BasicGuider", "dpmpp_2m"),
    ("LTXV", "CFGGuider", "heun"),
]
REST = [row for row in product(FAMILIES, GUIDERS, SAMPLERS) if row not in COVERING]
ROWS = [*COVERING, *(pytest.param(*row, marks=pytest.mark.full) for row in REST)]


@pytest.fixture(scope="session")
def checkpoint(server: ComfyServer) -> Callable[..., None]:
    """Write a family's checkpoint into the server's folder, once."""
    written = set()

    def write(family: str, runs: bool = True) -> None:
        if family not in written:
            server.run({"checkpoint": node("AYSTestCheckpoint", family=family, runs=runs)})
            written.add(family)

    return write


def least_budget(server: ComfyServer, family: str, guider: str, sampler: str) -> int:
    """The least that an optimisation asks for, as its own error message says."""
    with pytest.raises(PromptError) as refused:
        server.run(optimized(family, guider, sampler, budget=1))
    (least,) = re.findall(r"at least (\d+) are needed", str(refused.value))
    return int(least)


@pytest.mark.parametrize("family, guider, sampler", ROWS)
def test_a_loaded_model_is_optimised_and_sampled(
    server: ComfyServer,
    checkpoint: Callable[..., None],
    record_property: Callable[[str, Any], None],
    family: str,
    guider: str,
    sampler: str,
) -> None:
    row = {"family": family, "guider": guider, "sampler": sampler, "steps": STEPS, "calls": "-"}
    record_property("executed graph", row)
    checkpoint(family)
    budget = least_budget(server, family, guider, sampler)
    server.get("/ays_test/reset")
    graph = optimized(family, guider, sampler, budget)
    entry = server.run(graph)
    row["calls"] = server.get("/ays_test/calls")["rows"] // ROWS_A_CALL[guider]
    assert 0 < row["calls"] <= budget
    levels = entry["outputs"]["sigmas"]["sigmas"]
    sigmas = torch.tensor(levels)
    assert len(sigmas) == STEPS + 1
    assert sigmas.isfinite().all()
    assert (sigmas.diff() < 0).all()
    assert sigmas[-1] == 0
    model, prediction = FAMILIES[family].kind
    assert f"{model}" in server.log
    entry = server.run(sampled(graph, guider, sampler))
    received = {line["label"]: line["sigmas"] for line in server.get("/ays_test/sigmas")}
    assert received == {"KSampler": levels, "SamplerCustomAdvanced": levels}
    for save in ("save KSampler", "save custom"):
        latent = server.latent(entry, save)
        assert latent.isfinite().all()
        assert latent.std() > 0.01
    auto = {
        **family_graph(family),
        "scheduler": node(
            "AYSScheduler",
            model=["model", 0],
            schedule="auto",
            steps=STEPS,
            denoise=1.0,
            denoise_mode="keep steps",
        ),
        "sigmas": node("AYSTestShowSigmas", sigmas=["scheduler", 0]),
    }
    assert server.run(auto)["outputs"]["sigmas"]["sigmas"] == levels
