"""What the pack and its tests import is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

import pytest

try:
    import tomllib
except ImportError:  # before Python 3.11
    tomllib = None  # type: ignore[assignment]

REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED = ("__init__.py", "merge_profiles.py", "nodes", "optimizer", "profiles", "schedules")
TESTS = ("tests", "benchmarks")
# Modules of ComfyUI itself, and what 0.3.64, the oldest that the pack works with, requires.
HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "folder_paths", "nodes", "server"}
HOST_REQUIRES = {"PIL", "aiohttp", "numpy", "psutil", "safetensors", "scipy", "torch"}
# torch cannot be installed without them.
WITH_TORCH = {"filelock"}
TOOLS = {"mypy", "pytest-xdist", "ruff"}  # the Makefile runs them
# module -> package of another name
PACKAGES = {"sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow"}


def imported(*places: str) -> dict[str, str]:
    """Every module that is imported anywhere but from here or the standard library, and by whom."""
    found = {}
    for place in places:
        path = REPOSITORY / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            for name in imports_of(ast.parse(file.read_text(encoding="utf-8"))):
                if name not in sys.stdlib_module_names and name != "align_your_steps":
                    found[name] = str(file.relative_to(REPOSITORY))
    return found


def imports_of(tree: ast.AST) -> Iterable[str]:
    """The first parts of the names of imported modules, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def required(file: str) -> dict[str, str]:
    """Package -> its whole line, of a requirements file."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\w", line)]
    return {re.split(r"[^\w-]", line)[0]: line for line in lines}


def package(module: str) -> str:
    return PACKAGES.get(module, module)


def test_the_pack_imports_what_it_declares_or_the_host_brings() -> None:
    declared = required("requirements.txt").keys()
    strange = {
        module: file
        for module, file in imported(*SHIPPED).items()
        if package(module) not in declared and module not in HOST | HOST_REQUIRES | WITH_TORCH
    }
    assert strange == {}


def test_tests_and_benchmarks_import_what_they_declare() -> None:
    declared = required("requirements.txt").keys() | required("requirements-dev.txt").keys()
    strange = {
        module: file
        for module, file in imported(*TESTS).items()
        if package(module) not in declared and module not in HOST | HOST_REQUIRES | WITH_TORCH
    }
    assert strange == {}


def test_nothing_is_declared_that_is_not_used() -> None:
    shipped = {package(module) for module in imported(*SHIPPED)}
    used = shipped | {package(module) for module in imported(*TESTS)} | TOOLS
    assert required("requirements.txt").keys() <= shipped
    assert required("requirements-dev.txt").keys() <= used


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_has_a_lower_bound_and_its_reason(file: str) -> None:
    blocks = (REPOSITORY / file).read_text(encoding="utf-8").strip().split("\n\n")
    for block in blocks[1:]:  # the first says what the file is
        reason, *lines = re.split(r"\n(?!#)", block)
        assert reason.startswith("# ") and lines, block
        for line in lines:
            assert re.fullmatch(r"[\w-]+>=\d+(\.\d+)+", line), line
    assert sum(len(re.findall(r"^\w", block, re.M)) for block in blocks[1:]) == len(required(file))


@pytest.mark.skipif(tomllib is None, reason="needs the tomllib of Python 3.11")
def test_the_registry_is_told_the_same() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["dependencies"] == list(required("requirements.txt").values())


def test_torch_brings_what_is_said_to_come_with_it() -> None:
    brought = {re.split(r"[^\w-]", line)[0] for line in requires("torch") or []}
    assert brought >= WITH_TORCH


def test_the_host_requires_what_is_said_to_come_with_it(host_path: Path) -> None:
    text = (host_path / "requirements.txt").read_text(encoding="utf-8")
    brought = {re.split(r"[^\w-]", line)[0].lower() for line in text.splitlines()}
    assert brought >= {package(module) for module in HOST_REQUIRES}
