"""Several prompts in one measurement: each row has its own, and the request knows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.graphs import fitted_graph, optimize_graph, twice
from align_your_steps.tests.host.host_prompts import BUDGET, KINDS, LABELS, SAMPLERS
from align_your_steps.tests.host.seen import network_rows, saved, shown
from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError

SCRIPT = Path(__file__).with_name("host_prompts.py")
TEXTS = "class 1\n\n class 4 \nclass 1\n"  # an empty line, spaces, a repeated one


@pytest.fixture(params=KINDS)
def row(host_answer: Callable[..., dict[str, Any]], request: pytest.FixtureRequest) -> Any:
    return host_answer(SCRIPT)[request.param]


def test_rows_together_are_what_each_is_alone_with_its_own_prompt(row: Any) -> None:
    assert row["apart"].keys() == {"sample", "reference", "walk", "fit"}
    assert max(row["apart"].values()) < 1e-4


def test_call_of_the_network_has_one_prompt_and_all_of_them_are_used(row: Any) -> None:
    assert row["mixed"] == 1
    assert row["asked"] == {sampler: sorted(LABELS) for sampler in SAMPLERS}


def test_every_call_is_counted(row: Any) -> None:
    for told, counted in row["result"].values():
        assert told == counted <= BUDGET


def test_rows_that_cannot_be_told_apart_are_run_alone(row: Any) -> None:
    assert row["rows"] == [16, 1, 1]


def test_digest_is_that_of_the_prompts_and_of_one_alone_as_it_was(row: Any) -> None:
    same, again, other, one, plain = row["digests"]
    assert same == again
    assert len({same, other, one}) == 3
    assert one == plain


def test_our_own_prompts_are_sixteen_different_ones(row: Any) -> None:
    assert row["ours"] == 16


def test_text_takes_over_what_is_not_of_the_linked_text_or_of_its_place(row: Any) -> None:
    assert row["carried"] == {"guidance": 3.5, "width": 1024, "of_the_text": 4}


def test_note_tells_of_the_prompts(row: Any) -> None:
    assert row["note"] == "3 prompts took turns, seed by seed."


WIDGETS = {"INT", "FLOAT", "STRING", "COMBO"}
# Workflows keep widgets' values by their place: those of version 0.2 have these.
OF_0_2 = [
    "cfg", "sampler_name", "steps", "denoise", "budget", "minutes", "seed", "method", "reuse",
    "name", "more_steps", "boundary_step",
]  # fmt: skip


def test_new_widgets_come_last_so_that_older_workflows_keep_their_values(
    server: ComfyServer,
) -> None:
    given = server.object_info("AYSOptimize")["input"]
    inputs = {**given["required"], **given["optional"]}
    widgets = [
        name for name, (kind, *_) in inputs.items() if isinstance(kind, list) or kind in WIDGETS
    ]
    assert widgets[: len(OF_0_2)] == OF_0_2
    assert widgets[-1] == "prompts"
    assert inputs["sampler_name"][1]["default"] == "ays_model"
    assert inputs["budget"][1]["default"] == 1000


def test_inputs_that_ksampler_has_not_are_advanced(server: ComfyServer, row: Any) -> None:
    given = server.object_info("AYSOptimize")["input"]
    own = {**given["required"], **given["optional"]}.keys()
    theirs = server.object_info("KSampler")["input"]["required"].keys() - {"seed"}
    assert {*row["advanced"]} == own - theirs


def with_clip(graph: Graph, texts: str | None = None) -> Graph:
    """The same with a CLIP linked to Optimize AYS, and texts."""
    graph = {**graph, "clip": {"class_type": "AYSTestCLIP", "inputs": {}}}
    inputs = {**graph["optimize"]["inputs"], "clip": ["clip", 0]}
    inputs |= {} if texts is None else {"prompts": texts}
    return {**graph, "optimize": {**graph["optimize"], "inputs": inputs}}


def report(entry: dict[str, Any]) -> str:
    """Return what a run has reported."""
    text: str = entry["outputs"]["report"]["text"][0]
    return text


def test_ksampler_samples_with_what_was_fitted_to_several_prompts(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    entry = server.run(twice(with_clip(fitted_graph(name="several prompts"), TEXTS)))
    assert "3 prompts took turns" in report(entry)  # two of the text, and the linked one
    (line,) = server.get("/ays_test/sigmas")
    sampler = saved(server, "several prompts").samplers[0]
    assert line["sigmas"] == shown(entry) == list(sampler.levels)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "ays_model"])
def test_result_is_found_again_with_equal_prompts_only(server: ComfyServer, sampler: str) -> None:
    def rows(graph: Graph) -> int:
        server.get("/ays_test/reset")
        server.run(graph)
        return network_rows(server)

    def graph(**inputs: Any) -> Graph:
        return optimize_graph(seed=31, sampler_name=sampler, **inputs)

    assert rows(graph()) > 0
    assert rows(with_clip(graph(name=f"{sampler} a"), TEXTS)) > 0
    assert rows(with_clip(graph(name=f"{sampler} b"), "class 1\nclass 4")) == 0
    assert rows(with_clip(graph(name=f"{sampler} c"), "class 1\nclass 5")) > 0
    assert rows(graph(name=f"{sampler} d")) == 0


def test_clip_without_texts_takes_our_own_prompts(server: ComfyServer) -> None:
    entry = server.run(with_clip(fitted_graph(seed=32)))
    assert "17 prompts took turns" in report(entry)


def test_texts_alone_are_enough_without_a_linked_prompt(server: ComfyServer) -> None:
    entry = server.run(with_clip(fitted_graph(seed=33, positive=None), TEXTS))
    assert "2 prompts took turns" in report(entry)


def test_texts_without_a_clip_are_refused_in_a_sentence(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match="no CLIP that could read them: link 'clip'"):
        server.run(fitted_graph(prompts="a house"))
    with pytest.raises(PromptError, match="'prompts' has 101 lines: give at most 100"):
        server.run(with_clip(fitted_graph(), "\n".join(map(str, range(101)))))


def test_guider_brings_its_own_prompts(server: ComfyServer) -> None:
    graph = with_clip(fitted_graph(seed=34), TEXTS)
    made = {
        "model": ["model", 0], "positive": ["positive", 0], "negative": ["negative", 0], "cfg": 3.0
    }  # fmt: skip
    graph["guider"] = {"class_type": "CFGGuider", "inputs": made}
    graph["optimize"]["inputs"]["guider"] = ["guider", 0]
    with pytest.raises(PromptError, match="A linked guider brings its own prompts"):
        server.run(graph)
