"""Every family, guider and group of samplers: each row an executed graph in a real server."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.tests.host.families import (
    AGAIN,
    FAMILIES,
    GUIDERS,
    ROWS_A_CALL,
    SAMPLERS,
    STEPS,
    auto,
    auto_with_nothing_saved,
    node,
    optimized,
    sampled,
)
from align_your_steps.tests.host.server import ComfyServer, PromptError
from align_your_steps.tests.host.test_latents import newest

# Every family, every guider and every sampler at least once.
COVERING = [
    ("SD1.5", "CFGGuider", "dpm_2"),
    ("SD2", "BasicGuider", "dpmpp_2m"),
    ("SD2 v", "PerpNegGuider", "euler_cfg_pp"),
    ("SDXL 700M", "CFGGuider", "euler_ancestral"),
    ("SDXL v", "BasicGuider", "dpmpp_2m_sde"),
    ("SD3", "PerpNegGuider", "heun"),
    ("Flux", "BasicGuider", "euler"),
    ("Wan 2.1", "CFGGuider", "uni_pc"),
    ("HunyuanVideo", "DualCFGGuider", "dpmpp_2m"),
    ("LTXV", "CFGGuider", "dpmpp_2m_sde"),
    ("SD1.5", "PerpNegGuider", "ays_model"),
    ("Flux", "BasicGuider", "ays_model"),
    ("HunyuanVideo", "CFGGuider", "ays_model"),
]
RUNNING = [name for name, family in FAMILIES.items() if family.runs]
REST = [row for row in product(RUNNING, GUIDERS, SAMPLERS) if row not in COVERING]
ROWS = [*COVERING, *(pytest.param(*row, marks=pytest.mark.full) for row in REST)]


@pytest.fixture(scope="session")
def checkpoint(server: ComfyServer) -> Callable[[str], None]:
    """Write a family's checkpoint into the server's folder, once, under two names."""
    written = set()

    def write(family: str) -> None:
        if family not in written:
            inputs = {"family": family, "file": family, "runs": FAMILIES[family].runs}
            entry = server.run({"checkpoint": node("AYSTestCheckpoint", **inputs)})
            path = Path(entry["outputs"]["checkpoint"]["path"][0])
            path.with_stem(f"{family}{AGAIN}").hardlink_to(path)
            written.add(family)

    return write


@pytest.fixture(scope="session")
def saved() -> dict[str, list[list[float]]]:
    """The levels that were saved for each family so far."""
    return {name: [] for name in FAMILIES}


def test_the_short_table_covers_everything() -> None:
    families, guiders, samplers = map(set, zip(*COVERING, strict=True))
    assert families == set(RUNNING)
    assert guiders == set(GUIDERS)
    assert samplers == set(SAMPLERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_auto_knows_the_family_of_a_loaded_model(
    server: ComfyServer, checkpoint: Callable[[str], None], family: str
) -> None:
    checkpoint(family)
    before = len(server.log)
    outputs = server.run(auto_with_nothing_saved(family))["outputs"]
    assert tuple(outputs["kind"]["kind"]) == FAMILIES[family].kind
    levels, expected = (
        torch.tensor(outputs[show]["sigmas"]) for show in ("show auto", "show expected")
    )
    torch.testing.assert_close(levels, expected)
    said = FAMILIES[family].preset or "'simple'"
    assert re.search(f"auto: nothing saved .*{re.escape(said)}", server.log[before:])


def least_budget(server: ComfyServer, family: str, guider: str, sampler: str) -> int:
    """The least that an optimisation asks for, as its own error message says."""
    with pytest.raises(PromptError) as refused:
        server.run(optimized(family, guider, sampler, budget=1))
    said = str(refused.value)
    (least,) = re.findall(r"at least (\d+) are needed|takes (\d+) at least", said)
    return int("".join(least))


@pytest.mark.parametrize("family, guider, sampler", ROWS)
def test_a_loaded_model_is_optimised_and_sampled(
    server: ComfyServer,
    checkpoint: Callable[[str], None],
    record_property: Callable[[str, Any], None],
    saved: dict[str, list[list[float]]],
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
    entry = server.run(sampled(graph, guider, sampler))
    received = {line["label"]: line["sigmas"] for line in server.get("/ays_test/sigmas")}
    assert received == {"KSampler": levels, "SamplerCustomAdvanced": levels}
    for save in ("save KSampler", "save custom"):
        latent = server.latent(entry, save)
        assert latent.isfinite().all()
        assert latent.std() > 0.01
    if sampler == "ays_model":  # 'auto' of AYS Scheduler gives levels for any sampler
        levels = newest(server).schedule.sigmas.tolist()
    saved[family].append(levels)
    before = len(server.log)
    assert server.run(auto(family))["outputs"]["sigmas"]["sigmas"] in saved[family]
    assert "auto: saved for this model" in server.log[before:]


def test_a_model_whose_batch_is_one_video_is_refused(
    server: ComfyServer, checkpoint: Callable[[str], None]
) -> None:
    checkpoint("SVD")
    with pytest.raises(PromptError, match="frames of one video"):
        server.run(optimized("SVD", "BasicGuider", "euler", budget=100))
