"""Merge AYS Profiles in a real server: measured with two seeds, merged, and optimised with both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.optimizer import Profile
from align_your_steps.schedules import SavedSchedule
from align_your_steps.schedules.store.saved_schedule import read_saved, to_bytes
from align_your_steps.tests.host.graphs import (
    BUDGET,
    STEPS,
    merge_graph,
    model_graph,
    optimize_graph,
)
from align_your_steps.tests.host.seen import network_rows, saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, PromptError

KEPT = Path(__file__).parents[1] / "schedules" / "kept" / "0.2.0" / "measured.safetensors"
ONE, TWO, BOTH = "one machine", "another, with commas", "both machines"


def report(entry: dict[str, Any], node: str = "merged") -> str:
    """The report of a run."""
    (text,) = entry["outputs"][node]["text"]
    return str(text)


def results(server: ComfyServer) -> dict[str, SavedSchedule]:
    """Return what is saved, by name."""
    files = [path for path in saved_files(server) if path.suffix == ".safetensors"]
    found = [read_saved(path, with_tensors=True) for path in files]
    return {result.schedule.name: result for result in found}


def measure(server: ComfyServer, name: str, seed: int, **inputs: Any) -> Profile:
    """Optimise and save under a name; return the profile."""
    server.run(optimize_graph(name=name, seed=seed, **inputs))
    return Profile.from_tensors(results(server)[name].tensors)


@pytest.fixture(scope="module")
def farm(server: ComfyServer) -> Iterator[ComfyServer]:
    """A host that has the results of two machines; the second used another sampler."""
    measure(server, ONE, seed=101)
    measure(server, TWO, seed=102, sampler_name="heun", steps=STEPS + 1, budget=2 * BUDGET)
    yield server


def test_two_seeds_are_merged_and_an_optimisation_takes_both(farm: ComfyServer) -> None:
    one, two = (Profile.from_tensors(results(farm)[name].tensors) for name in (ONE, TWO))
    entry = farm.run(merge_graph(f"{TWO},\n{ONE.upper()}", name=BOTH))
    total = one.count + two.count
    assert report(entry).startswith(f"Merged 2 profiles of one model: {total} samples.")
    assert f"'{ONE}': {one.count} sample" in report(entry)
    assert f"Saved as '{BOTH}'" in report(entry)
    assert entry["outputs"]["merge"]["text"] == [report(entry)]
    saved = results(farm)[BOTH]
    merged = Profile.from_tensors(saved.tensors)
    assert torch.equal(merged.grams, (one + two).grams)
    assert BOTH in farm.choices("AYSScheduler", "schedule")

    # The same request with and without the profile, which leaves its calls for the rest.
    alone = farm.run(optimize_graph(name="alone", seed=103))
    farm.get("/ays_test/reset")
    graph = optimize_graph(name="with both", seed=103, profile=["merge", 0])
    graph |= merge_graph(BOTH)
    entry = farm.run(graph)
    assert 0 < network_rows(farm) <= 2 * BUDGET
    assert f"Profile: {total} samples, those of '{BOTH}'; none was measured here." in report(
        entry, "report"
    )
    found = results(farm)
    assert f"Profile: {Profile.from_tensors(found['alone'].tensors).count} sample" in report(
        alone, "report"
    )
    with_both = found["with both"]
    assert torch.equal(Profile.from_tensors(with_both.tensors).grams, merged.grams)
    assert with_both.request == {**found["alone"].request, "profile": merged.digest}
    calls = [found[name].notes["calls"].get("profile", 0) for name in ("with both", "alone")]
    assert calls[0] == 0 < calls[1]
    assert len(shown(entry)) == STEPS + 1

    # Found again, and measured anew without the profile or with another one.
    farm.get("/ays_test/reset")
    graph["optimize"]["inputs"]["name"] = "found again"
    again = farm.run(graph)
    assert network_rows(farm) == 0
    assert "no model call made" in report(again, "report")
    assert shown(again) == shown(entry)
    other = optimize_graph(name="with one", seed=103, profile=["merge", 0])
    farm.run(other | merge_graph(ONE))
    assert network_rows(farm) > 0


def test_a_result_with_a_merged_profile_is_merged_without_counting_twice(
    farm: ComfyServer,
) -> None:
    farm.run(merge_graph(f"{ONE}, {TWO}", name=BOTH))
    other = {"sampler_name": "euler", "steps": STEPS + 2, "method": "paper (KLUB)"}
    graph = optimize_graph(name="from both", seed=104, profile=["merge", 0], **other)
    assert len(shown(farm.run(graph | merge_graph(BOTH)))) == STEPS + 3
    with pytest.raises(PromptError, match=f"'{ONE}' was measured from the same seeds as 'from b"):
        farm.run(merge_graph(f"{ONE}, from both"))
    third = measure(farm, "a third", seed=105)
    entry = farm.run(merge_graph("a third, from both"))
    count = Profile.from_tensors(results(farm)[BOTH].tensors).count + third.count
    assert report(entry).startswith(f"Merged 2 profiles of one model: {count} samples.")
    assert f"Saved as '{count} samples merged'" in report(entry)


def test_a_single_result_is_handed_on_and_nothing_is_saved(farm: ComfyServer) -> None:
    before = saved_files(farm)
    assert report(farm.run(merge_graph(ONE))).startswith("One profile, handed on as it is.")
    assert saved_files(farm) == before


def test_the_same_seed_is_refused_on_whatever_sampler(farm: ComfyServer) -> None:
    measure(farm, "the same seed", seed=101, sampler_name="heun")
    before = saved_files(farm)
    with pytest.raises(PromptError, match=r"same seeds as .*\(seed 101\).*with another seed"):
        farm.run(merge_graph(f"{ONE}, the same seed"))
    assert saved_files(farm) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model", "are of different models"),
        ("cfg", "have another guidance scale, cfg 3 and cfg 4"),
        ("prompt", "have different prompts or another guidance"),
        ("size", "are of latents of different sizes, 1x8x8 and 1x8x16"),
        ("denoise", "are of different parts of the path, denoise 1 and 0.6"),
    ],
)
def test_what_is_not_of_one_guided_model_is_refused(
    farm: ComfyServer, change: str, said: str
) -> None:
    base = model_graph("eps")
    inputs: dict[str, Any] = {}
    if change == "model":
        patch = {"model": ["model", 0], "strength": 0.1}
        base["patched"] = {"class_type": "AYSTestPatch", "inputs": patch}
        inputs["model"] = ["patched", 0]
    elif change == "prompt":
        base["positive"]["inputs"]["label"] = 4
    elif change == "size":
        base["latent"]["inputs"]["width"] = 128
    else:
        inputs[change] = {"cfg": 4.0, "denoise": 0.6}[change]
    graph = optimize_graph(seed=110, name=f"another {change}")
    graph |= base
    graph["optimize"]["inputs"] |= inputs

    # With the profile of the other model, nothing is measured.
    linked = graph | merge_graph(ONE)
    linked["optimize"] = {
        "class_type": "AYSOptimize",
        "inputs": {**graph["optimize"]["inputs"], "profile": ["merge", 0]},
    }
    farm.get("/ays_test/reset")
    with pytest.raises(PromptError) as refused:
        farm.run(linked)
    assert f"The linked profile '{ONE}' and this node {said}" in str(refused.value)
    assert network_rows(farm) == 0

    farm.run(graph)
    with pytest.raises(PromptError) as refused:
        farm.run(merge_graph(f"{ONE}, another {change}"))
    assert f"'{ONE}' and 'another {change}' {said}" in str(refused.value)
    if change == "prompt":
        merged = farm.run(merge_graph(f"{ONE}, another {change}", same_prompts=True))
        assert "Merged 2 profiles" in report(merged)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", "There is nothing to merge: write the names of two or more saved results"),
        (" ,\n,", "There is nothing to merge: write the names of two or more saved results"),
        (f"{ONE}, one machin", f"no saved result 'one machin'. Did you mean '{ONE}'?"),
        ("karras", "There is no saved result 'karras'."),
        ("auto", "There is no saved result 'auto'."),
    ],
)
def test_names_that_cannot_be_merged_are_told_in_a_sentence(
    farm: ComfyServer, names: str, said: str
) -> None:
    with pytest.raises(PromptError) as refused:
        farm.run(merge_graph(names))
    assert said in str(refused.value)


def test_a_schedule_without_a_profile_is_told_in_a_sentence(farm: ComfyServer) -> None:
    farm.post("/ays/schedules/import?filename=bare.json", {"sigmas": [14.0, 1.0, 0.0]})
    with pytest.raises(PromptError, match="'bare' holds no profile"):
        farm.run(merge_graph(f"{ONE}, bare"))


def test_something_else_in_place_of_a_profile_is_refused(server: ComfyServer) -> None:
    graph = optimize_graph(profile=["broken", 7])
    assert server.object_info("AYSTestBroken")["output"][7] == "AYS_PROFILE"
    inputs = {"what": "AYS_PROFILE: a text", "model": ["model", 0], "positive": ["positive", 0]}
    graph["broken"] = {"class_type": "AYSTestBroken", "inputs": inputs}
    with pytest.raises(PromptError, match="is not a profile: link the output of Merge AYS Prof"):
        server.run(graph)


def test_results_that_were_saved_before_there_were_merged_profiles_are_found(
    server: ComfyServer,
) -> None:
    kept = read_saved(KEPT, with_tensors=True)
    server.run(optimize_graph(name="as of today"))
    now = results(server)["as of today"]
    # Another version of the host may describe the same model and prompts in another way.
    theirs = {key: now.request[key] for key in ("identity", "guidance")}
    assert now.request == {**kept.request, **theirs}
    kept = replace(kept, identity=now.identity, request={**kept.request, **theirs})
    for path in saved_folder(server).glob("*.safetensors"):
        if read_saved(path, with_tensors=False).digest == kept.digest:
            path.unlink()
    (saved_folder(server) / "from-before.safetensors").write_bytes(to_bytes(kept))
    server.get("/ays_test/reset")
    entry = server.run(optimize_graph(name="from before"))
    assert network_rows(server) == 0
    assert "no model call made" in report(entry, "report")
    assert shown(entry) == kept.schedule.sigmas.tolist()


def saved_folder(server: ComfyServer) -> Path:
    """Return where the pack saves results."""
    return server.base / "custom_nodes" / "align-your-steps" / "schedules" / "optimized"
