"""Rooms of the house: which knows which, through which door, and that their maps are whole."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
KNOWS = {
    "schedules": set(),
    "optimizer": set(),
    "profiles": {"optimizer", "schedules"},
    "nodes": {"optimizer", "profiles", "schedules"},
}
DOORS = {"optimizer", "profiles", "schedules", "schedules.store"}
PACKAGES = sorted(
    path.relative_to(REPOSITORY)
    for room in KNOWS
    for path in (REPOSITORY / room).rglob("__init__.py")
)


def imports(room: str) -> Iterator[tuple[str, str]]:
    """The modules of a room, and what each imports from this pack."""
    for path in sorted((REPOSITORY / room).rglob("*.py")):
        module = path.relative_to(REPOSITORY).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield ".".join(module), ".".join([*module[: -node.level], node.module or ""])


@pytest.mark.parametrize("room", KNOWS)
def test_a_room_enters_others_by_their_door(room: str) -> None:
    found = [(module, other.rstrip(".")) for module, other in imports(room)]
    assert any(other.split(".")[0] == room for _, other in found)
    outside = {(module, other) for module, other in found if other.split(".")[0] != room}
    assert {other for _, other in outside} <= DOORS
    assert {other.split(".")[0] for _, other in outside} <= KNOWS[room]


def test_the_optimizer_does_not_know_who_shares_its_work() -> None:
    inside = {
        module
        for module, other in imports("optimizer")
        if other.startswith("optimizer.ranks") and not module.startswith("optimizer.ranks.")
    }
    assert inside == {"optimizer.__init__"}, "who brings several processes finds them at the door"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.parent.as_posix())
def test_the_map_of_a_package_names_every_module(package: Path) -> None:
    folder = (REPOSITORY / package).parent
    told = ast.get_docstring(ast.parse((REPOSITORY / package).read_text(encoding="utf-8"))) or ""
    first = {line.split()[0] for line in told.splitlines() if line.strip()}
    modules = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    wings = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert modules | wings <= first, sorted((modules | wings) - first)
    assert {name for name in first if name.endswith(".py")} <= modules


def test_no_module_is_named_by_a_participle() -> None:
    nouns = {"listing.py"}
    names = {path.name for room in KNOWS for path in (REPOSITORY / room).rglob("*.py")}
    participle = re.compile(r"[a-z]+(ed|ing)\.py|(un)?(shown|kept|known|begun|made|given|told)\.py")
    assert {name for name in names if participle.fullmatch(name)} <= nouns
