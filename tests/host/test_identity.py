"""The identity of models that the host's own loaders and nodes have made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.tests.host.host_identity import AGAIN, SAME, SAME_GUIDANCE

SCRIPT = Path(__file__).with_name("host_identity.py")


@pytest.fixture
def made(host_answer: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The identities of everything that the script makes."""
    return host_answer(SCRIPT, "all")


def groups(names: dict[str, str], same: tuple[str, ...]) -> list[set[str]]:
    """Tell which names must share a digest: those of `same`, and each with its own ' again'."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for name in names:
        base = name.removesuffix(" again").removesuffix(" after sampling")
        wanted[same[0] if name in same else base].add(name)
    return sorted(wanted.values(), key=sorted)


def found(digests: dict[str, str]) -> list[set[str]]:
    """Tell which names do share a digest."""
    shared: dict[str, set[str]] = defaultdict(set)
    for name, digest in digests.items():
        shared[digest].add(name)
    return sorted(shared.values(), key=sorted)


def test_models_share_an_identity_where_nothing_differs_and_only_there(
    made: dict[str, Any],
) -> None:
    models = {name: identity for name, identity in made["models"].items() if identity is not None}
    assert found(models) == groups(models, SAME)
    assert len(models) > 30


def test_what_cannot_be_described_has_no_identity(made: dict[str, Any]) -> None:
    assert [name for name, identity in made["models"].items() if identity is None] == [
        "unidentified"
    ]


def test_guidance_is_the_same_where_nothing_differs_and_only_there(made: dict[str, Any]) -> None:
    assert found(made["guidance"]) == groups(made["guidance"], SAME_GUIDANCE)
    assert not any(digest.startswith("not") for digest in made["guidance"].values())


def test_another_process_finds_the_same_identities(
    made: dict[str, Any], host_answer: Callable[..., dict[str, Any]]
) -> None:
    again = host_answer(SCRIPT, "again")["models"]
    assert again == {name: made["models"][name] for name in AGAIN}


def test_few_elements_of_a_large_weight_are_read(made: dict[str, Any]) -> None:
    assert made["elements"] == 256


@pytest.mark.usefixtures("made")
def test_the_models_files_are_not_left_in_the_host(host_path: Path) -> None:
    assert not list(host_path.glob("*.safetensors"))
