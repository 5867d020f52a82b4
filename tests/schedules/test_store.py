"""The store of results: whole or absent, live, and unmoved by files that are not results."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from align_your_steps.schedules import Provenance, SavedSchedule, Schedule, Store
from align_your_steps.schedules.store import changes, files, store
from align_your_steps.schedules.store import folder_lock as locked_module
from align_your_steps.schedules.store import saved_schedule as module
from align_your_steps.schedules.store.files import (
    content_of,
    one_line,
    read_bytes,
    read_whole,
    slug,
)
from align_your_steps.schedules.store.folder_lock import LOCK, BusyError, all_locked, locked
from align_your_steps.schedules.store.json_file import to_json_bytes
from align_your_steps.schedules.store.saved_schedule import FORMAT_VERSION, to_bytes
from align_your_steps.schedules.store.store import Asked, NameTakenError, UnknownNameError
from align_your_steps.tests.folders import files_in
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

LEVELS = (14.6146412293, 3.0, 1.0 / 3.0, 0.0)
META = {
    "format": "align_your_steps.schedule",
    "version": str(FORMAT_VERSION),
    "result": json.dumps(
        {
            "name": "made by hand",
            "provenance": {"who": "a", "what": "b", "when": "c"},
            "request": {"identity": "m"},
            "notes": {},
        }
    ),
}


def result(
    name: str = "mine",
    identity: str | None = "model a",
    levels: tuple[float, ...] = LEVELS,
    notes: dict[str, Any] | None = None,
    **request: Any,
) -> SavedSchedule:
    return SavedSchedule(
        Schedule(levels, name, Provenance("me", "a toy", "2025-01-01")),
        identity,
        {"identity": identity, "steps": len(levels) - 1, "guidance": 7.5, **request},
        {"gram": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(4)},
        notes or {},
    )


def write(path: Path, metadata: dict[str, str], **tensors: torch.Tensor) -> Path:
    save_file(tensors, path, metadata)
    return path


def good(path: Path) -> Path:
    """A readable result, against which one thing at a time can be broken."""
    return write(path, META, levels=torch.tensor(LEVELS, dtype=torch.float64))


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


# -- saving and loading ---------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    one = result(shape=[1, 4, 64, 64], notes={"error": 0.25, "calls": [1, 2]})
    path = Store([tmp_path]).save(one)
    assert path.name == f"mine-{one.digest[:12]}.safetensors"
    back = Store([tmp_path]).load("mine")
    assert back is not None
    assert back.schedule == one.schedule  # levels bit for bit
    assert (back.identity, back.request, back.notes) == (one.identity, one.request, one.notes)
    assert back.tensors.keys() == one.tensors.keys()
    assert all(torch.equal(back.tensors[key], one.tensors[key]) for key in one.tensors)


def test_tensors_that_are_views_or_made_in_inference_mode_are_saved(tmp_path: Path) -> None:
    with torch.inference_mode():
        whole = torch.arange(12.0).reshape(3, 4)
        tensors = {"whole": whole, "view": whole[:, 1], "transposed": whole.T}
        Store([tmp_path]).save(replace(result(), tensors=tensors))
    back = Store([tmp_path]).load("mine")
    assert back is not None
    assert all(torch.equal(back.tensors[key], tensors[key]) for key in tensors)


def test_the_digest_depends_on_the_request_alone() -> None:
    assert result("a", notes={"x": 1}).digest == result("b").digest
    assert result(seed=1).digest != result(seed=2).digest
    one = result()
    reordered = replace(one, request=dict(reversed(one.request.items())))
    assert reordered.digest == one.digest


def test_the_identity_must_be_that_of_the_request() -> None:
    with pytest.raises(ValueError, match="same identity in both"):
        replace(result(), identity="another")


def test_the_same_request_replaces_its_answer(tmp_path: Path) -> None:
    store = Store([tmp_path])
    first = store.save(result())
    assert store.save(result(levels=(9.0, 2.0, 1.0, 0.0))) == first
    assert [entry.saved.schedule.levels[0] for entry in store.list().values()] == [9.0]


def test_results_of_one_name_for_two_models_are_both_kept(tmp_path: Path) -> None:
    store = Store([tmp_path])
    a, b = result(identity="model a"), result(identity="model b")
    store.save(a)
    store.save(b)
    names = {f"mine [{one.digest[:6]}]": one.identity for one in (a, b)}
    assert {name: entry.saved.identity for name, entry in store.list().items()} == names
    for name, identity in names.items():
        back = store.load(name)
        assert back is not None and back.identity == identity


def test_results_of_two_unidentified_models_are_both_kept(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result(identity=None))
    store.save(result(identity=None, levels=(9.0, 2.0, 1.0, 0.0)))
    assert len(store.list()) == 2


def test_a_failing_move_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=rf"{tmp_path}.*No space left.*writable"):
        store.save(result(levels=(9.0, 2.0, 1.0, 0.0)))
    assert path.read_bytes() == before
    assert files_in(tmp_path) == [path]


def test_a_folder_that_cannot_be_written_falls_through_to_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, free = tmp_path / "a file", tmp_path / "not there yet" / "schedules"
    blocked.write_text("in the way")
    store = Store([blocked, free])
    assert store.save(result()).parent == free
    assert len(caplog.records) == 1
    assert list(store.list()) == ["mine"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_falls_through_to_the_next(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert Store([locked, tmp_path]).save(result()).parent == tmp_path


def test_saving_nowhere_names_every_folder(tmp_path: Path) -> None:
    blocked = [tmp_path / "one", tmp_path / "two"]
    for path in blocked:
        path.touch()
    with pytest.raises(OSError, match=rf"{blocked[0]}.*{blocked[1]}.*add a folder"):
        Store(blocked).save(result())


@pytest.mark.parametrize(
    ("tensors", "notes", "reason"),
    [
        ({"levels": torch.zeros(3)}, {}, "rename"),
        ({}, {"text": "x" * (16 * 2**20)}, "header"),
        ({"z": torch.zeros(3, dtype=torch.complex64)}, {}, "complex64"),
    ],
)
def test_a_result_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, tensors: dict[str, torch.Tensor], notes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Store([tmp_path]).save(replace(result(notes=notes), tensors=tensors))
    assert not files_in(tmp_path)


def test_leftovers_of_killed_writers_are_not_listed_and_go_with_the_next_change(
    tmp_path: Path,
) -> None:
    store = Store([tmp_path])
    for number, (change, seconds) in enumerate(
        [
            (lambda: store.save(result()), 0.0),
            (lambda: store.rename("mine", "yours"), 3700.0),
            (lambda: store.add(to_json_bytes(result("sent", seed=3)), "x.json"), -3700.0),
            (lambda: store.forget(result().request, "nobody"), 0.0),
            (lambda: store.delete("yours"), 0.0),
        ]
    ):
        leftover = tmp_path / f".ays-{number}.tmp"
        leftover.write_bytes(b"half a file")
        age(leftover, seconds)
        store.list()
        assert leftover.exists()
        change()
        assert not leftover.exists()


# -- the lock -------------------------------------------------------------------------------


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has none, as some network disks."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)


def test_a_disk_without_locks_can_be_written_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_locks(monkeypatch)
    store = Store([tmp_path])
    (tmp_path / ".ays-1.tmp").write_bytes(b"of one who writes now")
    (tmp_path / ".ays-2.tmp").write_bytes(b"of one who was killed")
    age(tmp_path / ".ays-2.tmp", 3700)
    store.save(result())
    store.rename("mine", "yours")
    assert store.add(to_json_bytes(result("sent", seed=3)), "x.json").name == "sent"
    store.delete("yours")
    assert list(store.list()) == ["sent"]
    assert files_in(tmp_path)[0].name == ".ays-1.tmp"
    assert len(files_in(tmp_path)) == 2
    assert not caplog.records


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_lock_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("somebody's")
    (folder / LOCK).mkdir() if kind == "folder" else (folder / LOCK).symlink_to(outside)
    store = Store([folder])
    store.save(result())
    assert store.rename("mine", "yours") == "yours"
    assert outside.read_text() == "somebody's"


def test_a_lock_that_stays_taken_holds_up_no_saving_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    before = path.read_bytes()
    monkeypatch.setattr(locked_module, "PATIENCE", 0.05)
    with ThreadPoolExecutor(1) as other, locked(tmp_path):
        for change in (
            lambda: store.rename("mine", "yours"),
            lambda: store.delete("mine"),
            lambda: store.add(to_json_bytes(result("sent", seed=3)), "x.json"),
        ):
            with pytest.raises(BusyError, match=rf"changing the folder {tmp_path}.*try again"):
                other.submit(change).result()
        assert files_in(tmp_path) == [path] and path.read_bytes() == before
        other.submit(store.forget, result().request, "mine").result()
        assert files_in(tmp_path) == [path]
        assert not caplog.records
        other.submit(store.save, result("another", seed=2)).result()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert list(store.list()) == ["another", "mine"]
    store.delete("mine")


PAIRED = {
    "save": lambda store: store.save(result(levels=(9.0, 2.0, 1.0, 0.0))),
    "rename": lambda store: store.rename("mine", "yours"),
    "delete": lambda store: store.delete("mine"),
    "add": lambda store: store.add(to_bytes(result("mine", levels=(8.0, 2.0, 1.0, 0.0))), "sent"),
    "forget": lambda store: store.forget(result().request, "mine"),
}


@pytest.mark.parametrize("second", PAIRED)
@pytest.mark.parametrize("first", PAIRED)
def test_two_changes_at_once_are_as_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    """While the first one is about to change a file, the second one begins, and must wait."""
    expected = Store([tmp_path / "expected"])
    store = Store([tmp_path / "folder"])
    for each in (expected, store):
        each.save(result())
    outcomes = []
    for change in (first, second):
        with suppress(UnknownNameError):
            PAIRED[change](expected)

    other, begun, waiting = ThreadPoolExecutor(1), Event(), Event()
    seconds: list[Future[object]] = []
    acquire = FileLock.acquire

    def watched(lock: FileLock, **options: Any) -> Any:
        if begun.is_set():
            waiting.set()
        return acquire(lock, **options)

    def meanwhile(real: Callable[..., Any]) -> Callable[..., Any]:
        def about_to(*args: Any, **options: Any) -> Any:
            if not begun.is_set():
                begun.set()
                seconds.append(other.submit(PAIRED[second], store))
                seconds[0].add_done_callback(lambda _: waiting.set())
                waiting.wait()
                outcomes.append(seconds[0].done())
            return real(*args, **options)

        return about_to

    with monkeypatch.context() as patch:
        for owner, name in [(os, "replace"), (Path, "unlink")]:
            patch.setattr(owner, name, meanwhile(getattr(owner, name)))
        patch.setattr(FileLock, "acquire", watched)
        PAIRED[first](store)
        with suppress(UnknownNameError):
            seconds[0].result()
    assert outcomes == [False], "the second has not waited"
    shown = [
        {name: entry.saved.schedule.levels for name, entry in each.list().items()}
        for each in (expected, store)
    ]
    assert shown[0] == shown[1]


def test_folders_are_locked_in_one_order_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, again = tmp_path / "one", tmp_path / "two", tmp_path / "one again"
    for folder in (one, two):
        folder.mkdir()
    again.symlink_to(one)
    taken: list[Path] = []
    monkeypatch.setattr(locked_module, "locked", lambda folder: nullcontext(taken.append(folder)))
    for folders in ([one, two], [two, again], [again, one]):
        with all_locked(folders):
            pass
    assert taken == [one, two, one, two, one]


# -- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["auto", "SD1.5", "SDXL", "DeepFloyd IF", "SVD"])
def test_reserved_names_show_with_digits(tmp_path: Path, name: str) -> None:
    store = Store([tmp_path])
    store.save(result(name))
    shown = f"{name} [{result(name).digest[:6]}]"
    assert list(store.list()) == [shown]
    assert store.load(name) is None
    assert store.load(shown) is not None


def test_a_name_that_looks_like_anothers_digits_cannot_pass_for_it(tmp_path: Path) -> None:
    store = Store([tmp_path])
    a, b = result(identity="model a"), result(identity="model b")
    impostor = result(f"mine [{a.digest[:6]}]", identity="model c")
    for one in (a, b, impostor):
        store.save(one)
    assert len(store.list()) == 3
    back = store.load(f"mine [{a.digest[:6]}]")
    assert back is not None and back.identity == "model a"


def test_a_name_with_digits_is_understood_after_its_namesake_is_gone(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result(identity="model a"))
    other = store.save(result(identity="model b"))
    other.unlink()
    assert list(store.list()) == ["mine"]
    assert store.load(f"mine [{result(identity='model a').digest[:6]}]") is not None


def test_a_plain_name_that_stands_for_two_results_is_the_models_own_else_the_newest(
    tmp_path: Path,
) -> None:
    store = Store([tmp_path])
    age(store.save(result(identity="model a")), 10)
    store.save(result(identity="model b"))
    for asked, got in [("model a", "model a"), ("model b", "model b"), (None, "model b")]:
        back = store.load("mine", asked)
        assert back is not None and back.identity == got


def test_a_free_name_is_not_that_of_another_result(tmp_path: Path) -> None:
    store = Store([tmp_path])
    first, second = result(identity="model a"), result(identity="model b")
    assert store.free_name("mine", first.digest) == "mine"
    store.save(first)
    assert store.free_name("mine", first.digest) == "mine"
    assert store.free_name("mine", second.digest) == "mine (2)"


def test_results_of_one_request_are_forgotten_under_one_name(tmp_path: Path) -> None:
    store = Store([tmp_path / "mine", tmp_path / "theirs"])
    early = result("mine", part=True)
    for saved in (early, result("kept", part=True), result("mine, whole")):
        store.save(saved)
    Store([tmp_path / "theirs"]).save(early)
    assert store.free_name("mine", result().digest, early.digest) == "mine"
    store.forget(early.request, "mine")
    assert list(store.list()) == ["kept", "mine, whole"]


def test_copies_in_two_folders_are_one_result_and_the_newest_counts(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    age(Store(folders[:1]).save(result()), 10)
    Store(folders[1:]).save(result(levels=(9.0, 2.0, 1.0, 0.0)))
    back = Store(folders).load("mine")
    assert list(Store(folders).list()) == ["mine"]
    assert back is not None and back.schedule.levels[0] == 9.0


@pytest.mark.parametrize(
    ("name", "shown"),
    [("two\nlines\x00\u202e", "two lines"), ("", "schedule"), ("x" * 500, "x" * 100)],
)
def test_any_name_can_be_saved_and_shows_as_one_short_line(
    tmp_path: Path, name: str, shown: str
) -> None:
    store = Store([tmp_path])
    store.save(result(name))
    assert list(store.list()) == [shown]
    back = store.load(shown)
    assert back is not None and back.schedule.name == name


@given(
    st.text() | st.sampled_from(["CON", "nul.txt", "com1", "LPT9.a.b", "..", ".hidden", "a/../b"])
)
def test_a_slug_is_a_safe_file_name(name: str) -> None:
    safe = slug(name)
    assert 1 <= len(safe) <= 60
    assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in safe)
    assert safe[0] != "."
    devices = {"con", "prn", "aux", "nul", *(f"{d}{k}" for d in ("com", "lpt") for k in range(10))}
    assert safe.split(".")[0].lower() not in devices


def test_a_slug_keeps_what_is_safe() -> None:
    assert slug("SDXL_v1.0-10 steps") == "SDXL_v1.0-10-steps"


@pytest.mark.parametrize(
    ("name", "look"),
    [("SDXL", "SDХL"), ("auto", "аuto"), ("auto", "au\u3164to"), ("SVD", "ＳＶＤ")],
)
def test_a_name_that_only_looks_reserved_shows_with_digits(
    tmp_path: Path, name: str, look: str
) -> None:
    assert name != look
    Store([tmp_path]).save(result(look))
    assert list(Store([tmp_path]).list()) == [f"{look} [{result(look).digest[:6]}]"]


def test_names_that_look_the_same_show_with_digits(tmp_path: Path) -> None:
    store = Store([tmp_path])
    for number, name in enumerate(("mine", "mіne", "ｍine", "Mine")):
        store.save(result(name, seed=number))
    shown = list(store.list())
    assert "Mine" in shown, "capitals can be told apart"
    assert sum(name.endswith("]") for name in shown) == 3


@given(st.text())
def test_one_line_of_a_name_stays_as_it_is(name: str) -> None:
    assert one_line(one_line(name)) == one_line(name)
    assert one_line(name).isprintable()


def test_half_a_character_in_a_name_loses_no_result(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result("a\ud800b"))
    (name,) = store.list()
    back = store.load(name)
    assert back is not None and back.schedule.levels == LEVELS
    assert read_bytes(content_of(back, ".json"), "x")[0].schedule.levels == LEVELS


# -- versions -------------------------------------------------------------------------------


def newer(path: Path) -> bytes:
    """Make a file one that a newer version of the pack has written; its content."""
    with monkey_version(FORMAT_VERSION + 1):
        path.write_bytes(to_bytes(result()))
    return path.read_bytes()


@contextmanager
def monkey_version(version: int) -> Iterator[None]:
    before, module.version_of = module.version_of, lambda saved: version
    try:
        yield
    finally:
        module.version_of = before


def test_a_file_of_a_newer_version_is_not_listed_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "new.safetensors"
    newer(path)
    assert Store([tmp_path]).list() == {}
    (record,) = caplog.records
    assert f"{path}: a newer version of this pack has written it" in record.getMessage()
    with pytest.raises(ValueError, match=r"'new\.safetensors' is too new: .* update the pack"):
        Store([tmp_path]).add(path.read_bytes(), path.name)


def test_a_file_of_a_newer_version_is_not_written_over(tmp_path: Path) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    kept = newer(path)
    for _ in range(2):
        other = store.save(result())
        assert other.name == f"{path.stem}-2.safetensors"
    store.forget(result().request, "mine")
    assert path.read_bytes() == kept
    assert store.list() == {}


@pytest.mark.parametrize("version", [None, "", "0", "one", "9" * 5000, "²"])
def test_a_file_of_no_version_is_not_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: str | None
) -> None:
    meta = {**META, "version": version}
    meta = {key: value for key, value in meta.items() if value is not None}
    write(tmp_path / "a.safetensors", meta, levels=torch.tensor(LEVELS, dtype=F64))  # type: ignore[arg-type]
    assert Store([tmp_path]).list() == {}
    assert "format version 1" in caplog.records[0].getMessage()


# -- listing --------------------------------------------------------------------------------


def test_the_list_is_live(tmp_path: Path) -> None:
    store = Store([tmp_path, tmp_path / "missing"])
    assert store.list() == {}
    Store([tmp_path]).save(result("b"))
    path = Store([tmp_path]).save(result("A", seed=2))
    assert list(store.list()) == ["A", "b"]
    path.unlink()
    assert list(store.list()) == ["b"]


def test_a_file_that_a_listing_has_missed_while_it_was_renamed_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([tmp_path])
    store.save(result())
    listed, seen = os.listdir, []

    def listdir(folder: Path) -> list[str]:
        seen.append(folder)
        return [] if len(seen) == 1 else listed(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    assert store.list().keys() == {"mine"}


def test_a_result_that_is_renamed_while_it_is_looked_for_is_found_and_no_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Store([tmp_path])
    older = shelf.save(result("older"))
    newer = shelf.save(result("newer"))
    age(older, 100.0)
    looked: list[Path] = []

    def renamed_first(path: Path) -> SavedSchedule | None:
        looked.append(path)
        if len(looked) == 1:
            Store([tmp_path]).rename("newer", "other name")
            assert not newer.exists()
        return read_whole(path)

    monkeypatch.setattr(store, "read_whole", renamed_first)
    found = shelf.find(result("any").request)
    assert found is not None and found.schedule.name == "other name"


def test_listing_does_not_read_a_file_again_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = module.opened

    def counted(path: Path, **options: Any) -> Any:
        read.append(path)
        return real(path, **options)

    monkeypatch.setattr(module, "opened", counted)
    path = good(tmp_path / "one.safetensors")
    for _ in range(3):
        assert list(Store([tmp_path]).list()) == ["made by hand"]
    assert read == [path]
    age(path, 100)
    Store([tmp_path]).list()
    assert read == [path, path]


def _metadata(**change: Any) -> dict[str, str]:
    """The good metadata, with some keys of its JSON changed."""
    return {**META, "result": json.dumps({**json.loads(META["result"]), **change})}


F64 = torch.float64
BROKEN_LEVELS = {
    "float32": torch.tensor(LEVELS),
    "a matrix": torch.tensor([LEVELS], dtype=F64),
    "NaN": torch.tensor([1.0, float("nan"), 0.0], dtype=F64),
    "rising": torch.tensor([1.0, 2.0, 0.0], dtype=F64),
    "one": torch.tensor([1.0], dtype=F64),
    "none": torch.zeros(0, dtype=F64),
    "too many": torch.linspace(1, 0, 10_002, dtype=F64),
}
BROKEN_METADATA = {
    "foreign": {"format": "pt"},
    "huge header": {**META, "padding": "x" * 17 * 2**20},
    "another version": {**META, "version": str(FORMAT_VERSION + 1)},
    "no result": {key: META[key] for key in ("format", "version")},
    "no JSON": {**META, "result": "{"},
    "deep JSON": {**META, "result": "[" * 100_000},
    "a list": {**META, "result": "[]"},
    "no request": _metadata(request=None),
    "a list for notes": _metadata(notes=[]),
    "identity no text": _metadata(request={"identity": 5}),
    "NaN in the request": _metadata(request={"identity": "m", "seed": float("nan")}),
    "no provenance": _metadata(provenance=None),
    "name no text": _metadata(name=["auto"]),
}


def _huge(path: Path) -> None:
    """A proper file, but for its size: a second tensor of 513 MiB, sparse, so it takes no room."""
    size = 32 + 513 * 2**20
    header = {
        "__metadata__": META,
        "levels": {"dtype": "F64", "shape": [4], "data_offsets": [0, 32]},
        "zeros": {"dtype": "U8", "shape": [size - 32], "data_offsets": [32, size]},
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + struct.pack("<4d", *LEVELS))
        file.truncate(8 + len(text) + size)


def _bytes(name: str, whole: bytes) -> bytes:
    """Files that are damaged below the level of tensors and JSON."""
    return {
        "empty": b"",
        "seven bytes": whole[:7],
        "truncated header": whole[:100],
        "truncated tensor": whole[:-1],
        "endless header": struct.pack("<Q", 2**64 - 1) + whole[8:],
        "a pickle": b"\x80\x04cos\nsystem\n(S'echo'\ntR.",
        "offsets outside": whole.replace(b"[0,32]", b"[0,64]"),
    }[name]


@pytest.mark.parametrize(
    "kind",
    [
        *BROKEN_LEVELS,
        *BROKEN_METADATA,
        *("empty", "seven bytes", "truncated header", "truncated tensor"),
        *("endless header", "a pickle", "offsets outside", "no levels", "no metadata"),
        *("huge file", "folder", "pipe", "link outside", "broken link outside"),
    ],
)
def test_what_is_not_a_result_is_skipped_with_one_log_line(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    store = Store([folder])
    store.save(result())
    bad = folder / "a-bad.safetensors"
    if kind in BROKEN_LEVELS:
        write(bad, META, levels=BROKEN_LEVELS[kind])
    elif kind in BROKEN_METADATA:
        write(bad, BROKEN_METADATA[kind], levels=torch.tensor(LEVELS, dtype=F64))
    elif kind == "no levels":
        write(bad, META, other=torch.zeros(2))
    elif kind == "no metadata":
        save_file({"levels": torch.tensor(LEVELS, dtype=F64)}, bad)
    elif kind == "huge file":
        _huge(bad)
    elif kind == "folder":
        bad.mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no named pipes here")
        os.mkfifo(bad)
    elif kind == "link outside":
        bad.symlink_to(good(tmp_path / "outside.safetensors"))
    elif kind == "broken link outside":
        bad.symlink_to(tmp_path / "nothing")
    else:
        whole = good(tmp_path / "whole.safetensors").read_bytes()
        assert _bytes(kind, whole) != whole
        bad.write_bytes(_bytes(kind, whole))
    for _ in range(3):
        assert list(store.list()) == ["mine"]
    assert [str(bad) in record.getMessage() for record in caplog.records] == [True]
    assert caplog.records[0].levelno == logging.WARNING


def test_what_the_broken_files_are_made_from_is_a_result(tmp_path: Path) -> None:
    good(tmp_path / "one.safetensors")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "one.safetensors")
    assert list(Store([tmp_path]).list()) == ["made by hand"]


def test_a_file_that_cannot_be_opened_now_is_listed_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store([tmp_path])
    store.save(result())

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "in use by another program")

    with monkeypatch.context() as patch:
        patch.setattr(module, "opened", fail)
        assert store.list() == store.list() == {}
    assert len(caplog.records) == 1
    assert list(store.list()) == ["mine"]


def test_a_file_that_breaks_after_listing_loads_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    listed = store.list()
    monkeypatch.setattr(store, "list", lambda: listed)
    path.write_bytes(b"no longer")
    assert store.load("mine") is None
    path.unlink()
    assert store.load("mine") is None


# -- renaming, deleting and adding -----------------------------------------------------------


def as_json(path: Path, one: SavedSchedule) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json_bytes(one))
    return path


def blocked(monkeypatch: pytest.MonkeyPatch, method: str, where: Path) -> None:
    """Let opening for writing or deleting fail for a file, or for all that are in a folder."""
    real = getattr(Path, method)

    def fail(path: Path, *args: Any, **options: Any) -> Any:
        if where in (path, path.parent) and args != ("rb",):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(Path, method, fail)


def names(*folders: Path) -> list[str]:
    return list(Store(folders).list())


def test_a_renamed_result_is_the_same_result(tmp_path: Path) -> None:
    store = Store([tmp_path])
    old = store.save(result())
    age(old, 100)
    before = old.stat().st_mtime_ns
    assert store.rename("mine", "  better:\n than ever ") == "better: than ever"
    (new,) = files_in(tmp_path)
    assert new.name == f"better-than-ever-{result().digest[:12]}.safetensors"
    assert new.stat().st_mtime_ns == before + 1000, "'auto' takes the newest of equals"
    back = store.load("better: than ever")
    assert back is not None
    assert back.schedule == replace(result().schedule, name="better: than ever")
    assert torch.equal(back.tensors["gram"], result().tensors["gram"])
    assert (back.digest, back.notes) == (result().digest, result().notes)


@pytest.mark.parametrize(
    "new", ["a-b", "a:b", "A b", "mine"], ids=["same file", "same file too", "case", "nothing new"]
)
def test_a_name_of_the_same_file_name_is_shown_at_once(tmp_path: Path, new: str) -> None:
    store = Store([tmp_path])
    store.save(result("mine" if new == "mine" else "a b"))
    (shown,) = store.list()
    assert store.rename(shown, new) == new
    assert list(store.list()) == [new]
    assert len(files_in(tmp_path)) == 1
    assert store.rename(new, "a.b") == "a.b"
    assert store.rename("a.b", new) == new
    assert list(store.list()) == [new]


def test_a_rename_overwrites_no_other_result_of_the_same_file_name(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result("a-b"))
    store.save(result("c"))
    store.rename("c", "a:b")
    assert names(tmp_path) == ["a-b", "a:b"]


def test_rename_and_delete_change_every_copy_of_either_format(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    store = Store([one, two])
    Store([one]).save(result())
    Store([two]).save(result())
    as_json(two / "sent.json", result())
    Store([two]).save(result("another", identity="model b"))
    assert store.rename("mine", "yours") == "yours"
    assert (names(one), names(two)) == (["yours"], ["another", "yours"])
    assert len(files_in(two)) == 3
    store.delete("yours")
    assert (names(one), names(two)) == ([], ["another"])


@pytest.mark.parametrize("action", ["rename", "delete"])
def test_of_two_results_of_one_name_only_that_with_the_digits_is_changed(
    tmp_path: Path, action: str
) -> None:
    store = Store([tmp_path])
    a, b = result(identity="model a"), result(identity="model b")
    store.save(a)
    store.save(b)
    shown = f"mine [{a.digest[:6]}]"
    store.rename(shown, "that of a") if action == "rename" else store.delete(shown)
    left = {name: entry.saved.identity for name, entry in store.list().items()}
    expected = {"mine": "model b"}
    assert left == (expected | {"that of a": "model a"} if action == "rename" else expected)


@pytest.mark.parametrize("action", ["rename", "delete"])
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("never heard of it", UnknownNameError, "no schedule 'never heard of it'"),
        ("auto", ValueError, "built in"),
        ("SDXL", ValueError, "built in"),
        ("../mine", UnknownNameError, "no schedule"),
    ],
)
def test_what_is_not_there_cannot_be_changed(
    tmp_path: Path, action: str, name: str, error: type[Exception], words: str
) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    before = path.read_bytes()
    with pytest.raises(error, match=words):
        store.rename(name, "new") if action == "rename" else store.delete(name)
    assert files_in(tmp_path) == [path] and path.read_bytes() == before


def test_names_that_mean_something_else_are_not_taken(tmp_path: Path) -> None:
    Store([tmp_path]).save(result("karras"))
    store = Store([tmp_path], taken=["karras", "beta"])
    # What has such a name already is found under it, as before.
    assert list(store.list()) == ["karras"]
    assert store.load("karras") is not None
    assert store.rename("karras", "mine") == "mine"
    for name in ("karras", " Karras ", "kаrras", "beta", "auto", "sdxl"):
        with pytest.raises(NameTakenError, match="another meaning"):
            store.rename("mine", name)
        with pytest.raises(NameTakenError, match="another meaning"):
            store.check_name(name)
    store.check_name("karras 2")
    sent = to_json_bytes(result("Beta", identity="model b"))
    assert store.add(sent, "x.json") == ("Beta (2)", True)
    assert store.add(sent, "x.json") == ("Beta (2)", False)
    assert store.free_name("karras") == "karras (2)"
    assert list(store.list()) == ["Beta (2)", "mine"]


@pytest.mark.parametrize(
    ("new", "error", "words"),
    [
        ("", ValueError, "0 characters; give it 1 to 100"),
        (" \n\t\u202e", ValueError, "0 characters"),
        ("x" * 101, ValueError, "101 characters"),
        ("auto", NameTakenError, "another meaning"),
        ("SD1.5", NameTakenError, "another meaning"),
        ("taken", NameTakenError, "already a schedule called 'taken'"),
    ],
)
def test_a_name_that_cannot_be_given_changes_nothing(
    tmp_path: Path, new: str, error: type[Exception], words: str
) -> None:
    store = Store([tmp_path])
    store.save(result())
    store.save(result("taken", identity="model b"))
    with pytest.raises(error, match=words):
        store.rename("mine", new)
    assert names(tmp_path) == ["mine", "taken"]


def test_a_copy_that_cannot_be_changed_is_named_and_the_others_are_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        Store([folder]).save(result())
    before = {path: path.read_bytes() for path in files_in(two)}
    with monkeypatch.context() as patch:
        blocked(patch, "open", two)
        with pytest.raises(OSError, match=rf"renamed to 'new', but not this copy: {two}.*denied"):
            Store([one, two]).rename("mine", "new")
    assert (names(one), names(two)) == (["new"], ["mine"])
    assert {path: path.read_bytes() for path in files_in(two)} == before


def test_a_result_that_cannot_be_changed_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        blocked(patch, "open", tmp_path)
        with pytest.raises(OSError, match=rf"'mine' stays as it is: {path}.*denied.*writable"):
            store.rename("mine", "new")
    with monkeypatch.context() as patch:
        blocked(patch, "unlink", tmp_path)
        with pytest.raises(OSError, match=rf"'mine' is still there: {path}.*denied.*yourself"):
            store.delete("mine")
    assert files_in(tmp_path) == [path] and path.read_bytes() == before


@pytest.mark.parametrize("action", ["rename", "delete"])
def test_a_file_that_someone_without_a_lock_deletes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    copies = changes._copies
    monkeypatch.setattr(changes, "_copies", lambda *given: (copies(*given), path.unlink())[0])
    if action == "delete":
        store.delete("mine")  # as it was wanted
    else:
        with pytest.raises(UnknownNameError, match="refresh the list"):
            store.rename("mine", "new")
    assert not files_in(tmp_path)


def test_a_renamed_result_is_there_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([tmp_path])
    store.save(result())
    seen = []
    for function in ("replace", "rename", "fsync", "utime"):
        real = getattr(os, function)

        def watched(*args: Any, real: Any = real, **options: Any) -> None:
            seen.append(list(Store([tmp_path]).list()))
            real(*args, **options)
            seen.append(list(Store([tmp_path]).list()))

        monkeypatch.setattr(os, function, watched)
    store.rename("mine", "yours")
    assert len(seen) >= 10
    assert seen == sorted(seen) and {len(names) for names in seen} == {1}


def test_where_a_file_cannot_be_moved_the_name_in_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store([tmp_path])
    path = store.save(result())
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
        assert store.rename("mine", "yours") == "yours"
    assert (files_in(tmp_path), names(tmp_path)) == ([path], ["yours"])
    store.save(result(levels=(9.0, 2.0, 1.0, 0.0)))
    assert names(tmp_path) == ["mine", "yours"], "the old name may be given again"
    store.save(result("yours", levels=(8.0, 2.0, 1.0, 0.0)))
    assert len(files_in(tmp_path)) == 2
    back = store.load("yours")
    assert back is not None and back.schedule.levels[0] == 8.0


def test_an_added_file_gets_a_name_that_changes_no_other(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result())
    sent = result(identity="model b")
    assert store.add(to_bytes(sent), "x.safetensors").name == "mine (2)"
    assert list(store.list()) == ["mine", "mine (2)"]
    assert store.add(to_json_bytes(sent), "y.json").name == "mine (2)", "it is there already"
    assert store.add(to_json_bytes(result("renamed")), "z.json").name == "mine"
    assert len(files_in(tmp_path)) == 2
    back = store.load("mine (2)")
    assert back is not None and torch.equal(back.tensors["gram"], sent.tensors["gram"])


def test_another_answer_to_the_same_request_replaces_nothing(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result())
    sent = result(levels=(9.0, 2.0, 1.0, 0.0))
    assert store.add(to_json_bytes(sent), "x.json").name == "mine (2)"
    back = store.load("mine")
    assert back is not None and back.schedule.levels == LEVELS


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("auto", "auto (2)"),
        ("SDXL", "SDXL (2)"),
        ("", "schedule"),
        ("x" * 500, "x" * 94),
        ("../../a\\b", "../../a\\b"),
    ],
)
def test_an_added_file_may_have_any_name(tmp_path: Path, name: str, shown: str) -> None:
    store = Store([tmp_path / "folder"])
    assert store.add(to_json_bytes(result(name)), "x.json").name == shown
    assert list(store.list()) == [shown]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert store.add(to_json_bytes(result(name, identity="b")), "x.json").name not in ("", shown)
    assert len(store.list()) == 2


def test_an_added_file_goes_where_it_can_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.touch()
    free = tmp_path / "free"
    assert Store([in_the_way, free]).add(to_bytes(result()), "x").name == "mine"
    assert names(free) == ["mine"]
    with pytest.raises(OSError, match="add a folder"):
        Store([in_the_way]).add(to_bytes(result()), "x")


# -- what the clock says --------------------------------------------------------------------


@pytest.mark.parametrize("now", [0, 10**18], ids=["1970", "2001"])
def test_what_is_saved_last_is_the_newest_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: int
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    Store([two]).save(result("there before", seed=1))
    age(Store([two]).save(result("from the future", seed=1)), -(10**8))
    store = Store([one, two])
    monkeypatch.setattr(time, "time_ns", lambda: now)
    for k in range(5):
        saved = result(f"now {k}", seed=1, levels=(9.0 + k, 2.0, 1.0, 0.0))
        store.save(saved)
        found = store.find(saved.request)
        assert found is not None and found.schedule == saved.schedule
    store.rename("now 4", "renamed")
    found = store.find(saved.request)
    assert found is not None and found.schedule.name == "renamed"
    store.rename("now 3", "no newer for that")
    found = store.find(saved.request)
    assert found is not None and found.schedule.name == "renamed"


def test_a_file_that_is_as_old_and_as_long_as_the_one_before_is_read_again(tmp_path: Path) -> None:
    path = Store([tmp_path]).save(result())
    before = path.stat()
    assert names(tmp_path) == ["mine"]
    path.write_bytes(to_bytes(result("ours")))
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert names(tmp_path) == ["ours"]


# -- what others change meanwhile -----------------------------------------------------------


@pytest.mark.parametrize("ask", ["list", "load", "find"])
def test_a_file_that_is_moved_while_it_is_looked_for_is_found_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ask: str
) -> None:
    store = Store([tmp_path])
    store.save(result())
    if ask != "list":
        store.list()  # so that the next to be read is what is asked for
    real, moves = files.read_saved, [tmp_path / f"elsewhere-{k}.safetensors" for k in range(5)]

    def read(path: Path, **options: Any) -> SavedSchedule:
        if moves:
            path.rename(moves.pop())
        return real(path, **options)

    monkeypatch.setattr(files, "read_saved", read)
    if ask == "list":
        assert list(store.list()) == ["mine"]
    else:
        assert store.load("mine") if ask == "load" else store.find(result().request)
    assert not moves
    assert not caplog.records


# -- finding --------------------------------------------------------------------------------


def test_find_needs_the_same_request(tmp_path: Path) -> None:
    store = Store([tmp_path])
    one = result(seed=1)
    store.save(one)
    found = store.find(one.request)
    assert found is not None and found.schedule == one.schedule
    assert store.find({**one.request, "seed": 2}) is None


def test_find_takes_the_newest_of_several_names(tmp_path: Path) -> None:
    store = Store([tmp_path])
    age(store.save(result("old")), 10)
    store.save(result("new"))
    found = store.find(result().request)
    assert found is not None and found.schedule.name == "new"


def test_an_unidentified_result_is_never_picked_up(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result(identity=None))
    assert store.find(result(identity=None).request) is None
    assert store.nearest(None, Asked(3)) is None


def test_nearest_returns_what_load_returns_under_that_name(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.save(result(identity="model a"))
    store.save(result(identity="model b"))
    found = store.nearest("model b", Asked(3))
    assert found is not None
    loaded = store.load(found.name)
    assert loaded is not None
    assert loaded.identity == found.saved.identity == "model b"
