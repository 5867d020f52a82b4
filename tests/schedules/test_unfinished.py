"""Unfinished work on disk: whole or absent, bounded, and unmoved by whatever lies in its place."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from align_your_steps.schedules import Unfinished
from align_your_steps.schedules.store import stage_files as module
from safetensors.torch import load_file, save_file

REQUEST = {"identity": "a model", "steps": 10, "cfg": 7.0}
TENSORS = {
    "0 reference: end": torch.randn(2, 3, 4),
    "0 reference: rows, reference": torch.tensor(48),
    "1 candidates: errors": torch.tensor([0.1, float("inf")], dtype=torch.float64),
    "half": torch.ones(3, dtype=torch.bfloat16),
}


def kept(folder: Path, name: str = "00001") -> Path:
    """The one file of a request's folder after a put."""
    Unfinished(folder, REQUEST).put(name, TENSORS)
    return next(folder.glob(f"*/{name}.safetensors"))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_tensors_come_back_bit_for_bit_in_a_later_process(tmp_path: Path) -> None:
    Unfinished(tmp_path, REQUEST).put("00001", TENSORS)
    back = Unfinished(tmp_path, dict(reversed(REQUEST.items()))).get("00001")
    assert back is not None and back.keys() == TENSORS.keys()
    for key, tensor in TENSORS.items():
        assert back[key].dtype == tensor.dtype
        assert torch.equal(back[key], tensor)


def test_views_and_tensors_made_in_inference_mode_are_kept(tmp_path: Path) -> None:
    with torch.inference_mode():
        whole = torch.arange(12.0).reshape(3, 4)
        Unfinished(tmp_path, REQUEST).put("a", {"view": whole[:, 1], "transposed": whole.T})
    back = Unfinished(tmp_path, REQUEST).get("a")
    assert back is not None
    assert torch.equal(back["transposed"], whole.T) and torch.equal(back["view"], whole[:, 1])


def test_nothing_is_made_before_there_is_something_to_keep(tmp_path: Path) -> None:
    assert Unfinished(tmp_path / "new", REQUEST).get("00001") is None
    assert not (tmp_path / "new").exists()


def test_another_request_has_work_of_its_own(tmp_path: Path) -> None:
    kept(tmp_path)
    assert Unfinished(tmp_path, {**REQUEST, "cfg": 7}).get("00001") is None


def test_discarded_work_is_gone(tmp_path: Path) -> None:
    kept(tmp_path)
    Unfinished(tmp_path, {**REQUEST, "seed": 1}).put("00001", TENSORS)
    Unfinished(tmp_path, REQUEST).discard()
    assert Unfinished(tmp_path, REQUEST).get("00001") is None
    assert len(list(tmp_path.iterdir())) == 1


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def no_tensors(path: Path) -> None:
    path.write_bytes(b"not a record at all")


def without_digests(path: Path) -> None:
    save_file(load_file(path), path)


def of_another_request(path: Path) -> None:
    other = Unfinished(path.parents[1], {"identity": "b"})
    other.put("00001", TENSORS)
    path.write_bytes((other.folder / "00001.safetensors").read_bytes())


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    "damage",
    [
        cut_short, one_bit, no_tensors, without_digests, of_another_request, a_folder, a_pipe,
        a_link,
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_absent_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage
) -> None:
    damage(kept(tmp_path))
    assert Unfinished(tmp_path, REQUEST).get("00001") is None
    (line,) = warnings(caplog)
    assert "00001.safetensors is not used" in line


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a.b", "\0"])
def test_names_are_never_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain word"):
        Unfinished(tmp_path, REQUEST).get(name)


def test_work_deleted_by_another_process_at_any_moment_goes_on_without_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = Unfinished(tmp_path, REQUEST), Unfinished(tmp_path, REQUEST)
    with ThreadPoolExecutor(2) as both:
        for _ in range(60):
            ours.put("00001", TENSORS)
            deeds = [lambda: ours.put("00002", TENSORS), lambda: ours.get("00001"), theirs.discard]
            for done in [both.submit(deed) for deed in deeds]:
                done.result()
    assert ours.writes
    ours.put("00003", TENSORS)
    assert ours.get("00003") is not None
    assert warnings(caplog) == []


def test_a_folder_that_cannot_be_written_costs_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    unfinished = Unfinished(tmp_path / "file", REQUEST)
    for name in ("00001", "00002"):
        unfinished.put(name, TENSORS)
        assert unfinished.get(name) is None
    (line,) = warnings(caplog)
    assert "cannot continue" in line


def test_what_is_too_much_is_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = kept(tmp_path).stat().st_size
    monkeypatch.setattr(module, "LARGEST_UNFINISHED", 2 * size + size // 2)
    unfinished = Unfinished(tmp_path, REQUEST)
    for name in ("00002", "00003", "00004"):
        unfinished.put(name, TENSORS)
    files = {file.stem for file in tmp_path.glob("*/*.safetensors")}
    assert files == {"00001", "00002"}
    assert len(warnings(caplog)) == 1


def test_work_that_nobody_comes_back_to_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {}
    for seed in range(4):
        unfinished = Unfinished(tmp_path, {**REQUEST, "seed": seed})
        unfinished.put("00001", TENSORS)
        folders[seed] = unfinished.folder
    for seed, days in enumerate((8.0, 3.0, 2.0, 1.0)):
        then = time.time() - days * 24 * 3600
        os.utime(folders[seed], (then, then))
    foreign = tmp_path / "not ours"
    foreign.mkdir()
    os.utime(foreign, (0, 0))
    size = sum(file.stat().st_size for file in folders[0].iterdir())
    monkeypatch.setattr(module, "LARGEST_UNFINISHED", 4 * size + size // 2)
    Unfinished(tmp_path, {**REQUEST, "seed": 1})
    # 0 is too old; 1 is being continued; of the others the newest fit into half of the room.
    assert {seed for seed, folder in folders.items() if folder.exists()} == {1, 2, 3}
    monkeypatch.setattr(module, "LARGEST_UNFINISHED", 2 * size + size // 2)
    Unfinished(tmp_path, {**REQUEST, "seed": 1})
    assert {seed for seed, folder in folders.items() if folder.exists()} == {1, 3}
    monkeypatch.setattr(module, "MOST_FOLDERS", 0)
    Unfinished(tmp_path, {**REQUEST, "seed": 1})
    assert {seed for seed, folder in folders.items() if folder.exists()} == {1}
    assert foreign.exists()


def test_work_of_a_newer_version_is_not_used_and_not_written_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "UNFINISHED_VERSION", 2)
        path = kept(tmp_path)
    before = path.read_bytes()
    unfinished = Unfinished(tmp_path, REQUEST)
    assert unfinished.get("00001") is None
    unfinished.put("00001", {"other": torch.zeros(1)})
    assert path.read_bytes() == before
    (line,) = warnings(caplog)
    assert "a newer version of this pack has written it" in line
