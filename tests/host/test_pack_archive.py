"""What the registry gets: nothing that users do not need, and all that a fresh host does."""

from __future__ import annotations

import json
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pytest
from align_your_steps.tests.host.archive import (
    can_make_archive,
    make_archive,
    validate,
)
from align_your_steps.tests.host.graphs import optimize_graph, scheduler_graph
from align_your_steps.tests.host.seen import shown
from align_your_steps.tests.host.server import TEST_PACK, ComfyServer

NODES = ("AYSScheduler", "AYSOptimize", "AYSApply", "AYSCompare", "AYSMergeProfiles", "AYSPlot")
LANGUAGES = ("en", "zh", "ja", "ko", "ru")
PACK = "align-your-steps"  # the folder that the Manager unpacks it to: the project's name
TOP = {"__init__.py", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "requirements.txt"}
TOP |= {"example_workflows", "locales", "media", "merge_profiles.py", "nodes", "optimizer"}
TOP |= {"profiles", "schedules", "web"}
NEEDED = {"schedules/published.json", "media/icon.png"}
NEEDED |= {f"web/docs/{node}.md" for node in NODES}
NEEDED |= {f"locales/{language}/nodeDefs.json" for language in LANGUAGES}
MOST_BYTES = 2**20  # docs/developing.md says so


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of this repository."""
    reason = can_make_archive()
    if reason:
        pytest.skip(f"THE REGISTRY'S ARCHIVE WAS NOT TESTED: {reason}")
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def unpacked(archive: Path) -> Path:
    """The archive as it lies in custom_nodes."""
    folder = archive.parent / PACK
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def fresh(
    host_path: Path, unpacked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    """A host that has seen nothing but the unpacked archive, and a model to sample."""
    packs = (unpacked, TEST_PACK)
    with ComfyServer(host_path, tmp_path_factory.mktemp("fresh"), packs=packs) as server:
        yield server


def test_the_registrys_checks_are_clean(archive: Path) -> None:
    assert "All validation checks passed" in validate()


def test_the_archive_holds_what_users_need_and_nothing_else(archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        files = set(packed.namelist())
    assert files >= NEEDED
    assert {PurePosixPath(file).parts[0] for file in files} == TOP
    hidden = [file for file in files if any(part[0] == "." for part in Path(file).parts)]
    assert not hidden
    examples = {file for file in files if file.startswith("example_workflows/")}
    pictured = {str(PurePosixPath(file).with_suffix(".jpg")) for file in examples}
    assert examples and pictured <= examples
    assert archive.stat().st_size < MOST_BYTES


def test_the_other_tests_load_what_the_archive_holds(unpacked: Path, tmp_path: Path) -> None:
    ComfyServer(tmp_path, tmp_path / "base")  # it copies the packs at once
    copied = tmp_path / "base" / "custom_nodes" / "align-your-steps"
    for file in unpacked.rglob("*"):
        if file.is_file():
            assert (copied / file.relative_to(unpacked)).read_bytes() == file.read_bytes(), file


def test_the_version_is_in_the_changelog(unpacked: Path) -> None:
    version = re.search(r'^version = "(.+)"$', (unpacked / "pyproject.toml").read_text(), re.M)
    headings = re.findall(r"^## \[?([\d.]+)", (unpacked / "CHANGELOG.md").read_text(), re.M)
    assert version is not None
    assert headings[0] == version[1]


def test_a_fresh_host_takes_a_published_schedule(fresh: ComfyServer, unpacked: Path) -> None:
    published = json.loads((unpacked / "schedules" / "published.json").read_text())
    levels = shown(fresh.run(scheduler_graph(schedule="SDXL", steps=10)))
    assert levels[:-1] == pytest.approx(published["schedules"]["sdxl"]["paper"][:-1], rel=0.05)
    assert levels[-1] == 0.0


def test_a_fresh_host_optimises_saves_and_finds_again(fresh: ComfyServer) -> None:
    optimised = shown(fresh.run(optimize_graph(budget=400)))
    graph = optimize_graph(budget=400)
    (model,) = [name for name, node in graph.items() if name == "model"]
    found = scheduler_graph(schedule="auto", steps=len(optimised) - 1)
    found["model"] = graph[model]
    assert shown(fresh.run(found)) == optimised
    optimized = fresh.base / "custom_nodes" / PACK / "schedules" / "optimized"
    assert list(optimized.glob("*.safetensors"))


def test_a_fresh_host_serves_help_languages_and_examples(fresh: ComfyServer) -> None:
    for node in NODES:
        assert fresh.object_info(node)["python_module"].endswith(PACK)
        page = text_of(fresh, f"/extensions/{PACK}/docs/{node}.md")
        assert page.lstrip().startswith("#")
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
            address = f"/extensions/{PACK}/docs/{picture.removeprefix('./')}"
            with urllib.request.urlopen(fresh._url + address, timeout=60) as answer:
                assert answer.headers["Content-Type"].startswith("image/"), address
    offered = fresh.get("/i18n")
    for language in LANGUAGES:
        assert set(offered[language]["nodeDefs"]) >= set(NODES)
    examples = fresh.get("/workflow_templates")[PACK]
    assert examples
    for example in examples:
        assert fresh.get(f"/api/workflow_templates/{PACK}/{quote(example)}.json")["nodes"]


def text_of(server: ComfyServer, path: str) -> str:
    """The text that the server answers at a path."""
    with urllib.request.urlopen(server._url + path, timeout=60) as answer:
        text: str = answer.read().decode()
    return text
