"""What the pack says fits into the consoles of Windows: cp1252 in the west, cp1251 in the east."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SPEAKING = ("nodes", "optimizer", "profiles", "schedules")
# What these hold is drawn into pictures, or compared with what others write: none of it is said.
SILENT = {"nodes/pictures/schedules.py", "nodes/pictures/sheet.py", "nodes/plot_sigmas.py"}
SILENT |= {"schedules/names.py"}
ENCODINGS = ("cp1252", "cp1251")


def sources() -> list[Path]:
    """The modules whose texts people read on a console."""
    folders = (sorted((REPOSITORY / folder).rglob("*.py")) for folder in SPEAKING)
    found = [path for folder in folders for path in folder]
    return [path for path in found if str(path.relative_to(REPOSITORY)) not in SILENT]


def texts(path: Path) -> Iterator[ast.Constant]:
    """The texts of a module, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    told = {id(node.body[0].value) for node in ast.walk(tree)  # type: ignore[attr-defined]
            if isinstance(node, places) and isinstance(node.body[0], ast.Expr)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_text_can_be_printed(encoding: str) -> None:
    looked_at = 0
    for path in sources():
        for text in texts(path):
            looked_at += 1
            said = "".join(filter(str.isprintable, text.value))
            missing = said.encode(encoding, "ignore").decode(encoding) != said
            assert not missing, f"{path}:{text.lineno}: {text.value!r} is not in {encoding}"
    assert looked_at > 1000
