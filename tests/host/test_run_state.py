"""A model keeps its identity over pictures and starts, and shares it with no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_run_state import PATCHES, STATE_ALONE, UNCLEAR

SCRIPT = Path(__file__).with_name("host_run_state.py")
COMPILED = ("wrapper", "object patch", "block", "a pack's wrapper", "a module around it")
DESCRIBED = (
    "an engine", "an engine with slots", "a number", "a file", "a plain tensor", "an array",
    "LoRAs by file", "LoRAs as tensors", "a LoRA on a layer of torch", "a hook",
    "a method in place of its own", "a class made for it",
)  # fmt: skip
OPAQUE = ("a handle", "the address of an engine", "a generator")


@pytest.fixture
def made(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The identities of everything that the script makes."""
    return host_answer(SCRIPT)


def of_one_model(row: dict[str, Any]) -> set[str]:
    """The identities that must be one."""
    return {row[key] for key in ("before", "after", "of a clone", "anew")}


@pytest.mark.parametrize("name", PATCHES)
def test_what_a_patch_remembers_of_its_runs_is_no_identity(made: dict[str, Any], name: str) -> None:
    row = made["patches"][name]
    assert of_one_model(row) == {row["before"]}
    assert row["before"] is not None
    assert row["other model"] != row["before"]
    assert row["before"] != made["plain"]["before"]


@pytest.mark.parametrize("name", sorted(PATCHES.keys() - STATE_ALONE - UNCLEAR))
def test_a_setting_beside_what_is_remembered_tells_two_patches_apart(
    made: dict[str, Any], name: str
) -> None:
    row = made["patches"][name]
    assert row["other setting"] not in (None, row["before"])


def test_what_cannot_be_told_from_settings_is_said_once(made: dict[str, Any]) -> None:
    assert len(made["told"]) == len(UNCLEAR)
    for text, name in zip(made["told"], ("settings_by_name", "without_source"), strict=True):
        assert text.startswith(f"The patch '{name}.<locals>.wrap' of this model keeps what it ")
        assert text.endswith("After changing that patch's settings, optimise again.")
    for name in UNCLEAR:  # found by everything else
        row = made["patches"][name]
        assert row["other setting"] == row["before"]


@pytest.mark.parametrize("form", COMPILED)
def test_a_compiled_model_is_the_same_after_pictures_and_for_its_weights_alone(
    made: dict[str, Any], form: str
) -> None:
    row = made["compiled"][form]
    assert of_one_model(row) == {row["before"]}
    assert row["other model"] not in (None, row["before"])


def test_another_process_finds_the_same_identities(
    made: dict[str, Any], host_answer: Callable[..., dict[str, Any]]
) -> None:
    again = host_answer(SCRIPT, "again")
    for kind in ("patches", "compiled", "beside"):
        assert again[kind] == made[kind]


@pytest.mark.parametrize("name", DESCRIBED)
def test_networks_that_differ_beside_their_weights_have_two_identities(
    made: dict[str, Any], name: str
) -> None:
    one, other, after = made["beside"][name]
    assert one == after
    assert None not in (one, other)
    assert one != other


@pytest.mark.parametrize("name", OPAQUE)
def test_what_nobody_can_see_into_leaves_a_model_unidentified(
    made: dict[str, Any], name: str
) -> None:
    assert set(made["beside"][name]) == {None}


def test_a_model_that_is_not_identified_is_told_of(made: dict[str, Any]) -> None:
    told = made["told of networks"]
    assert told
    assert all(text.startswith("The model cannot be identified (") for text in told)
