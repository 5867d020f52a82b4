"""Packs with lists of schedulers and samplers of their own, loaded before and after ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.graphs import model_graph, node
from align_your_steps.tests.host.seen import recorded
from align_your_steps.tests.host.server import OUR_PACK, TEST_PACK, ComfyServer, PromptError

HERE = Path(__file__).parent
COPYING, REPLACING = HERE / "copying_pack", HERE / "replacing_pack"
STEPS = 5


@pytest.fixture(scope="module")
def copying(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A server with a pack that copied the lists before ours came, and once more after."""
    packs = COPYING, OUR_PACK, COPYING, TEST_PACK
    with ComfyServer(host_path, tmp_path_factory.mktemp("comfy"), packs) as server:
        yield server


@pytest.fixture(scope="module")
def replacing(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A server with a pack that has replaced the lists after ours came."""
    packs = OUR_PACK, TEST_PACK, REPLACING
    with ComfyServer(host_path, tmp_path_factory.mktemp("comfy"), packs) as server:
        yield server


def sample_graph(label: str, sampler: Any = "euler", scheduler: Any = "karras") -> Any:
    graph = model_graph("eps")
    applied = node(graph, "apply", "AYSApply", model=["model", 0], schedule="SD1.5")
    node(
        graph,
        "sample",
        "KSampler",
        model=node(graph, "record", "AYSTestRecord", model=applied, label=label),
        positive=node(graph, "positive", "AYSTestConditioning", label=3),
        negative=node(graph, "negative", "AYSTestConditioning", label=-1),
        latent_image=node(graph, "latent", "EmptyLatentImage", width=64, height=64, batch_size=1),
        seed=5,
        steps=STEPS,
        cfg=3.0,
        sampler_name=sampler,
        scheduler=scheduler,
        denoise=1.0,
    )
    node(graph, "save", "SaveLatent", samples=["sample", 0], filename_prefix="neighbours")
    return graph


def levels(server: ComfyServer, label: str, graph: Any) -> list[float]:
    server.run(graph)
    return recorded(server)[label]


@pytest.mark.parametrize("when", ["Early", "Late"])
@pytest.mark.parametrize("scheduler", ["karras", "simple", "normal"])
def test_a_copied_list_of_schedulers_is_linked_as_if_we_were_not_there(
    copying: ComfyServer, when: str, scheduler: str
) -> None:
    label = f"{when} {scheduler}"
    direct = levels(copying, label, sample_graph(label, scheduler=scheduler))
    label += " linked"
    graph = sample_graph(label, scheduler=["chosen", 0])
    node(graph, "chosen", f"{when}Schedulers", choice=scheduler)
    assert levels(copying, label, graph) == direct
    assert len(direct) == STEPS + 1


@pytest.mark.parametrize("when", ["Early", "Late"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "uni_pc"])
def test_a_copied_list_of_samplers_is_linked_as_if_we_were_not_there(
    copying: ComfyServer, when: str, sampler: str
) -> None:
    label = f"{when} {sampler}"
    graph = sample_graph(label, sampler=["chosen", 0])
    node(graph, "chosen", f"{when}Samplers", choice=sampler)
    assert len(levels(copying, label, graph)) == STEPS + 1


@pytest.mark.parametrize("kind", ["Schedulers", "Samplers"])
@pytest.mark.parametrize("first, second", [("Early", "Late"), ("Late", "Early")])
def test_two_copies_are_linked_to_each_other(
    copying: ComfyServer, kind: str, first: str, second: str
) -> None:
    label = f"{first} {second} {kind}"
    of, name = ("scheduler", "karras") if kind == "Schedulers" else ("sampler", "euler")
    graph = sample_graph(label, **{of: ["second", 0]})
    node(graph, "first", f"{first}{kind}", choice=name)
    node(graph, "second", f"{second}{kind}", choice=["first", 0])
    assert len(levels(copying, label, graph)) == STEPS + 1


@pytest.mark.parametrize("when", ["Early", "Late"])
def test_another_list_is_refused_as_ever(copying: ComfyServer, when: str) -> None:
    graph = sample_graph("refused", scheduler=["chosen", 0])
    node(graph, "chosen", f"{when}OtherSchedulers", choice="karras")
    with pytest.raises(PromptError, match="Return type mismatch"):
        copying.run(graph)


@pytest.mark.parametrize(
    "class_type, name",
    [
        ("KSampler", "scheduler"),
        ("KSamplerAdvanced", "scheduler"),
        ("BasicScheduler", "scheduler"),
        ("KSampler", "sampler_name"),
        ("KSamplerAdvanced", "sampler_name"),
        ("KSamplerSelect", "sampler_name"),
    ],
)
def test_a_list_in_place_of_the_hosts_has_our_name_too(
    replacing: ComfyServer, class_type: str, name: str
) -> None:
    assert replacing.choices(class_type, name).count("ays_model") == 1


def test_our_names_run_beside_a_neighbour_that_was_loaded_later(replacing: ComfyServer) -> None:
    found = levels(
        replacing, "ours", sample_graph("ours", sampler="ays_model", scheduler="ays_model")
    )
    karras = levels(replacing, "theirs", sample_graph("theirs", scheduler="of_the_neighbour"))
    assert found != karras
    assert found[1:3] == pytest.approx([4.617, 1.886], rel=0.3)
    assert "'ays_model' samples with DPM-Solver++(2M)" in replacing.log


def test_our_names_come_back_when_a_node_has_replaced_the_lists(replacing: ComfyServer) -> None:
    graph: Any = {}
    node(graph, "replace", "ReplaceLists")
    replacing.run(graph)
    graph = sample_graph("after", sampler="ays_model", scheduler="ays_model")
    assert levels(replacing, "after", graph)[0] == pytest.approx(14.6146, rel=1e-4)
    assert "ays_model" in replacing.choices("KSampler", "sampler_name")
