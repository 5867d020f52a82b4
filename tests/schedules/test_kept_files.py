"""Files that were kept when they were written are read for ever, exactly as they were meant.

Each folder of kept/ was made by one version of the pack, with keep.py; expected.json says what that
version read from its files. A file that is kept is never changed: a test that fails here means
that users would lose what they have saved.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.schedules import Store, Unfinished
from align_your_steps.schedules.store.files import content_of, read_bytes
from align_your_steps.schedules.store.json_file import read_shared
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.schedules.store.workflow_json import unpacked
from align_your_steps.tests.schedules.keep import KEPT, described, tensors_described
from align_your_steps.tests.schedules.made import with_samplers

VERSIONS = sorted(path for path in KEPT.iterdir() if path.is_dir())
EXPECTED = {
    version.name: json.loads((version / "expected.json").read_text(encoding="utf-8"))
    for version in VERSIONS
}
RESULTS = [
    (version, name)
    for version, files in EXPECTED.items()
    for name in files
    if "/" not in name and name != "workflow.json"
]
PACKS = [name for name in EXPECTED if name[0].isdigit()]  # the others were made by hand
KINDS = ("measured", "paper", "pair", "unknown", "early")


def expected(version: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = EXPECTED[version][name]
    return found


@pytest.mark.parametrize("version", EXPECTED)
def test_every_kept_file_is_tested(version: str) -> None:
    files = {path.relative_to(KEPT / version).as_posix() for path in (KEPT / version).rglob("*.*")}
    assert files - {"expected.json"} == EXPECTED[version].keys()


@pytest.mark.parametrize("version", PACKS)
def test_files_of_every_kind_are_kept(version: str) -> None:
    files = EXPECTED[version].keys()
    assert {f"{kind}{end}" for kind in KINDS for end in (".json", ".safetensors")} <= files
    assert {"by-hand.json", "imported.json", "workflow.json"} <= files
    assert expected(version, "unknown.safetensors")["identity"] is None
    assert "ended early" in expected(version, "early.safetensors")["request"]
    assert expected(version, "pair.safetensors")["request"]["boundary"] > 0.0
    assert expected(version, "paper.safetensors")["tensors"].keys() >= {"profile.grams"}


@pytest.mark.parametrize(("version", "name"), RESULTS)
def test_a_kept_result_is_read_as_it_was_meant(version: str, name: str) -> None:
    path = KEPT / version / name
    saved = read_shared(path) if path.suffix == ".json" else read_saved(path, with_tensors=True)
    assert described(saved) == expected(version, name)


@pytest.mark.parametrize(("version", "name"), RESULTS)
def test_a_kept_result_can_be_imported_and_written_again(version: str, name: str) -> None:
    data = (KEPT / version / name).read_bytes()
    saved, suffix = read_bytes(data, name)
    again, _ = read_bytes(content_of(saved, suffix), name)
    assert described(again) == described(saved) == expected(version, name)


@pytest.mark.parametrize("version", EXPECTED)
def test_kept_results_are_listed_and_found_by_their_requests(version: str, tmp_path: Path) -> None:
    names = [name for one, name in RESULTS if one == version]
    for name in names:
        shutil.copy(KEPT / version / name, tmp_path)
    store = Store([tmp_path])
    digests = {expected(version, name)["digest"] for name in names}
    assert {entry.digest for entry in store.list().values()} == digests
    for name in names:
        meant = expected(version, name)
        if meant["identity"] is not None:
            found = store.find(meant["request"])
            assert found is not None and list(found.schedule.levels) == meant["levels"]


def test_a_result_with_samplers_is_kept() -> None:
    kept = expected("format-2", "calibrated.safetensors")
    assert kept == described(with_samplers())
    assert [len(sampler["told"]) for sampler in kept["samplers"]] == [5, 3]
    names = ("calibrated.json", "calibrated.safetensors", "workflow.json")
    for name in names:
        assert expected("format-2", name)["samplers"] == kept["samplers"]


@pytest.mark.parametrize("version", PACKS)
def test_kept_unfinished_work_is_continued(version: str, tmp_path: Path) -> None:
    shutil.copytree(KEPT / version / "unfinished", tmp_path, dirs_exist_ok=True)
    stages = [name for name in EXPECTED[version] if name.startswith("unfinished/")]
    assert stages
    for stage in stages:
        meant = expected(version, stage)
        found = Unfinished(tmp_path, meant["request"]).get(Path(stage).stem)
        assert found is not None and tensors_described(found) == meant["tensors"]


@pytest.mark.parametrize("version", EXPECTED)
def test_kept_levels_of_a_workflow_are_read(version: str) -> None:
    text = (KEPT / version / "workflow.json").read_text(encoding="utf-8")
    nodes = json.loads(text)["nodes"]
    (carried,) = [node["properties"]["ays_schedule"] for node in nodes if "properties" in node]
    (saved,) = unpacked(carried, "carried")
    assert described(saved) == expected(version, "workflow.json")
