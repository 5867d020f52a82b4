"""What public checkers of node packs look for, where they are right."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NODES = sorted((REPOSITORY / "nodes").rglob("*.py"))
SCRIPTS = sorted((REPOSITORY / "web").rglob("*.js"))


def modules_of_the_host(tree: ast.AST) -> Iterator[str]:
    """The names under which a file knows modules of the host."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "comfy":
                    yield alias.asname or alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("comfy."):
            yield from (alias.asname or alias.name for alias in node.names)


def read_from(source: str) -> list[str]:
    """Return what a file reads of the host's modules that no module defines: __name__ and its kin.

    Checkers that follow what the host removes take these for names that are gone.
    """
    tree = ast.parse(source)
    known = set(modules_of_the_host(tree))
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.fullmatch(r"__\w+__", node.attr)
        and ast.unparse(node.value) in known
    ]


@pytest.mark.parametrize("path", NODES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_is_read_of_the_host_that_it_does_not_define(path: Path) -> None:
    assert read_from(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import comfy.samplers\ncomfy.samplers.__name__",
        "import comfy.k_diffusion.sampling as k\nprint(k.__name__)",
        "from comfy.extra_samplers import uni_pc\nx = {uni_pc.__name__}",
        "from comfy import samplers\nfrom comfy.a import samplers as s\ns.__file__",
        "def f():\n    import comfy.utils\n    return comfy.utils.__dict__",
    ],
)
def test_such_reads_are_found(source: str) -> None:
    assert len(read_from(source)) == 1


def test_the_page_extension_has_the_name_of_the_pack() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    (shown,) = re.findall(r'^DisplayName = "(.*)"', project, re.MULTILINE)
    namespace = re.sub(r"\W", "", shown).lower()
    source = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    names = re.findall(r"registerExtension\(\{\s*name: \"([^\"]+)\"", source)
    assert names == [f"{namespace}.page"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_element_is_put_into_the_page_beside_our_own(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    insert = r"document\.\w+\.(append|appendChild|prepend|insertBefore|replaceChildren)\("
    found = [match[0] for match in re.finditer(insert, source)]
    # The style sheet, all of whose rules are for elements of ours.
    assert found == (["document.head.append("] if path.name == "text.js" else [])
