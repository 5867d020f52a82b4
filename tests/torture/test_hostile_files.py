"""Files from strangers: refused in one sentence, or as good as any; never worse than that.

Whatever is read here is watched: no file but those of the folder is opened, no code is run, no
batch hangs or takes much memory. What is accepted keeps the laws of a schedule and survives being
written and read again, bit for bit.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import struct
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from align_your_steps.schedules import SavedSchedule, Store, Unfinished
from align_your_steps.schedules.store.files import (
    JSON,
    SAFETENSORS,
    content_of,
    in_folder,
    read_bytes,
    read_whole,
)
from align_your_steps.schedules.store.json_file import from_json
from align_your_steps.schedules.store.saved_schedule import FORMAT, MAX_LEVELS, saved_from
from align_your_steps.tests.folders import files_in
from align_your_steps.tests.schedules.keep import tensors_described
from align_your_steps.tests.torture.damage import (
    hostile_name,
    in_bytes,
    in_header,
    in_json,
    in_tensors,
)
from align_your_steps.tests.torture.watched import at_opening, watched
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

KEPT = Path(__file__).parents[1] / "schedules" / "kept" / "0.2.0"
RESULT = (KEPT / "measured.safetensors").read_bytes()
SHARED = (KEPT / "measured.json").read_bytes()
FITTED = (KEPT.parent / "format-2" / "calibrated.safetensors").read_bytes()
FITTED_SHARED = (KEPT.parent / "format-2" / "calibrated.json").read_bytes()
BY_HAND = b'{"sigmas": [14.6, 6.4, 3.8, 2.0, 1.0, 0.5, 0.03]}'
STAGE = next(KEPT.glob("unfinished/*/*.safetensors"))
HEALTHY = "healthy.json"
BATCH = 50
SEED = 8  # bytes of each input's

AtLength = Callable[[int, int], int]
Fault = Callable[..., None]
Change = Callable[[Random, bytes], bytes]

CHANGES: dict[str, tuple[Change, tuple[bytes, ...]]] = {
    "bytes of a result": (in_bytes, (RESULT,)),
    "bytes of a JSON file": (in_bytes, (SHARED, BY_HAND)),
    "header of a result": (in_header, (RESULT, FITTED)),
    "levels of a result": (in_tensors, (RESULT,)),
    "values and keys of a JSON file": (in_json, (SHARED, FITTED_SHARED, BY_HAND)),
}


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import what Python imports once, at the first use of something: that is no misdeed."""
    folder = tmp_path_factory.mktemp("warm")
    store = Store([folder])
    for data in (RESULT, SHARED, BY_HAND):
        store.add(data, "x.json")
    name = next(iter(store.list()))
    store.rename(name, "another")
    store.delete("another")
    for data in (b"\xff", b"{", b"\x00" * 9):
        judged(lambda data=data: read_bytes(data, "x.json")[0])


# -- the judge ------------------------------------------------------------------------------


def judged(read: Callable[[], SavedSchedule]) -> bool:
    """Tell whether a file was accepted: lawful then, and else refused in one sentence."""
    try:
        saved = read()
    except (ValueError, OSError) as error:
        assert_sentence(str(error))
        return False
    assert_lawful(saved)
    return True


def assert_sentence(text: str) -> None:
    """A line for a person, that no character of a hostile file has got into as it is."""
    assert text.isprintable(), repr(text)
    assert 10 < len(text) < 700, text
    strange = ("Error", "Traceback", "delimiter", "NoneType", "codec", "indices", "object at 0x")
    assert not any(word in text for word in strange), text
    assert not text.endswith("..") and not text.endswith(":."), text


def assert_lawful(saved: SavedSchedule) -> None:
    """Levels fall, and all of it is the same when it was written and read again."""
    schedule = saved.schedule
    for levels in (schedule.levels, *schedule.others):
        rounded = np.array(levels, dtype=np.float32)
        assert 2 <= len(levels) <= MAX_LEVELS
        assert np.isfinite(rounded).all() and rounded[-1] >= 0.0 and (np.diff(rounded) < 0.0).all()
    assert len(saved.digest) == 32
    assert_same(saved, saved_from(content_of(saved, SAFETENSORS)))
    shared = from_json(content_of(saved, JSON), "x")
    assert (shared.schedule, shared.request) == (schedule, saved.request)
    assert repr(shared.samplers) == repr(saved.samplers)
    assert_same(shared, from_json(content_of(shared, JSON), "x"))


def assert_same(one: SavedSchedule, other: SavedSchedule) -> None:
    """Equal, bit for bit; NaN is itself here."""
    assert repr(one.schedule) == repr(other.schedule)
    assert repr(one.samplers) == repr(other.samplers)
    assert one.digest == other.digest
    assert json.dumps([one.request, one.notes]) == json.dumps([other.request, other.notes])
    assert one.tensors.keys() == other.tensors.keys()
    for key, tensor in one.tensors.items():
        again = other.tensors[key]
        assert (tensor.dtype, tensor.shape) == (again.dtype, again.shape)
        assert torch.equal(as_bytes(tensor), as_bytes(again))


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def tried(
    make: Callable[[Random], Any],
    judge: Callable[[list[Any]], None],
    count: int,
    *,
    short: bool,
    folder: Path | None = None,
) -> int:
    """Make inputs from seeds of hypothesis's and judge them in batches; how many there were.

    The short version takes the same ones each time. What fails is reported.
    """
    seen: set[bytes] = set()

    @settings(
        max_examples=1 + count // BATCH,  # the first is all zeros
        derandomize=short,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a failing input is small enough
    )
    @given(st.binary(min_size=BATCH * SEED, max_size=BATCH * SEED))
    def batch(data: bytes) -> None:
        seeds = [data[at : at + SEED] for at in range(0, len(data), SEED)]
        seen.update(seeds)
        made = [make(Random(seed)) for seed in seeds]
        with watched(*([] if folder is None else [folder])):
            judge(made)

    batch()
    return len(seen)


def each(judge: Callable[[Any], Any]) -> Callable[[list[Any]], None]:
    """Judge one input after the other, and say which one failed."""

    def judge_all(made: list[Any]) -> None:
        for one in made:
            try:
                judge(one)
            except Exception as error:
                raise AssertionError(f"{one!r:.2000}: {error}") from error

    return judge_all


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The log lines since the last call."""

    def taken() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    caplog.set_level(logging.WARNING, "align_your_steps")
    return taken


# -- contents -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CHANGES)
def test_changed_contents_are_refused_or_lawful(
    kind: str, at_length: AtLength, fault: Fault
) -> None:
    change, healthy = CHANGES[kind]
    accepted = 0

    def judge(data: bytes) -> None:
        nonlocal accepted
        accepted += judged(lambda: read_bytes(data, "x.json")[0])

    count = at_length(500, 20_000)
    trials = tried(
        lambda random: change(random, random.choice(healthy)), each(judge), count, short=count < 1e4
    )
    assert 0 < accepted < trials, "some changes do no harm, others do"
    fault(
        f"Changed: {kind}",
        trials=trials,
        survived=trials,
        remark=f"{accepted} accepted, all others refused in one sentence",
    )


@pytest.mark.parametrize("kind", ["result", "JSON file"])
def test_every_truncation_is_refused(kind: str, at_length: AtLength, fault: Fault) -> None:
    data = {"result": RESULT, "JSON file": SHARED.rstrip()}[kind]
    lengths = range(0, len(data), at_length(29, 1))
    with watched():
        accepted = [n for n in lengths if judged(lambda n=n: read_bytes(data[:n], "x.json")[0])]
    assert accepted == []
    remark = "at every byte" if len(lengths) == len(data) else "at every 29th byte"
    fault(f"Truncated: {kind}", trials=len(lengths), survived=len(lengths), remark=remark)


# -- files in a folder ----------------------------------------------------------------------


def a_file(random: Random) -> tuple[bytes, str]:
    """A changed file and a name for it, which may be one that no system takes."""
    change, healthy = random.choice(list(CHANGES.values()))
    data = change(random, random.choice(healthy))
    suffix = random.choice((JSON, SAFETENSORS, JSON.upper(), ".Safetensors"))
    return data, hostile_name(random, suffix)


def put(folder: Path, files: Iterable[tuple[bytes, str]]) -> list[Path]:
    """The files, under their names where a file can have them."""
    made = []
    for number, (data, name) in enumerate(files):
        path = folder / "".join(c for c in f"{number} {name}" if c not in "/\0")
        try:
            path.write_bytes(data)
        except (OSError, UnicodeError):  # too long a name, or half a character
            path = folder / f"{number}{path.suffix}"
            path.write_bytes(data)
        made.append(path)
    return made


def test_a_folder_of_hostile_files_lists_the_healthy_one(
    tmp_path: Path,
    at_length: AtLength,
    fault: Fault,
    lines: Callable[[], list[str]],
) -> None:
    folder, count = tmp_path / "schedules", at_length(250, 8_000)

    def judge(made: list[tuple[bytes, str]]) -> None:
        emptied(folder)
        (folder / HEALTHY).write_bytes(SHARED)
        files = put(folder, made)
        listed = {entry.path: entry for entry in in_folder(folder)}
        assert folder / HEALTHY in listed
        told = lines()
        refused = [path for path in files if path not in listed]
        assert len(told) == len(refused), "one line for each"
        for line in told:
            assert_sentence(line)
        for path, entry in listed.items():
            assert_lawful(entry.saved)
            assert entry.label.isprintable() and 0 < len(entry.label) <= 100
            whole = read_whole(path)
            assert whole is not None and whole.schedule == entry.saved.schedule
        names = Store([folder]).list()
        assert len({(e.digest, e.label) for e in listed.values()}) == len(names)
        assert lines() == [], "not told again"

    folder.mkdir()
    trials = tried(a_file, judge, count, short=count < 1e3, folder=folder)
    fault(
        "Changed files in a folder beside a healthy one",
        trials=trials,
        survived=trials,
        remark="the healthy one listed, one log line for each refused",
    )


def emptied(folder: Path) -> None:
    """Delete the files in a folder."""
    for path in folder.iterdir():
        path.unlink()


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def circle(path: Path, _: Path) -> None:
    other = path.with_name(f"other {path.name}")
    other.symlink_to(path)
    path.symlink_to(other)


def by_two(path: Path, target: Path) -> None:
    between = path.with_name("between")
    between.symlink_to(target)
    path.symlink_to(between)


def of_a_folder(path: Path, target: Path) -> None:
    path.symlink_to(target.parent)


def device(path: Path, _: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero


def listening(path: Path, _: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


NO_FILES: dict[str, Callable[[Path, Path], None]] = {
    "a link out of the folder": link,
    "a link by another link": by_two,
    "a link to itself": lambda path, _: path.symlink_to(path),
    "two links in a circle": circle,
    "a link to nothing": lambda path, _: path.symlink_to("nothing"),
    "a link to a folder outside": of_a_folder,
    "a link to this folder": lambda path, _: path.symlink_to("."),
    "a link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "a folder": lambda path, _: path.mkdir(),
    "a pipe": lambda path, _: os.mkfifo(path),
    "a socket": listening,
    "a device": device,
}


def open_handles() -> int | None:
    """Count how many files this process has open, where the system tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else None


def test_what_is_no_file_of_the_folder_is_not_opened(
    tmp_path: Path, fault: Fault, lines: Callable[[], list[str]]
) -> None:
    outside = tmp_path / "outside" / "secret.json"
    outside.parent.mkdir()
    outside.write_bytes(SHARED)
    tested, told, handles = 0, [], open_handles()
    for kind, make in NO_FILES.items():
        for suffix in (JSON, SAFETENSORS):
            folder = tmp_path / f"{kind}{suffix}"
            folder.mkdir()
            (folder / HEALTHY).write_bytes(BY_HAND)
            try:
                make(folder / f"hostile{suffix}", outside)
            except PermissionError:  # only root makes devices
                continue
            with watched(folder):
                listed = [entry.path.name for entry in in_folder(folder)]
                assert listed == [HEALTHY], kind
                again = [entry.path.name for entry in in_folder(folder)]
            assert again == [HEALTHY]
            found = lines()
            assert found, kind
            for line in found:
                assert_sentence(line)
                assert ": it is not a file" in line or ": it is a link" in line
            told += found
            tested += 1
    assert open_handles() == handles
    fault(
        "Links, pipes, sockets, devices, folders",
        trials=tested,
        survived=tested,
        remark=f"{len(NO_FILES)} kinds, nothing outside opened",
    )


def test_a_link_within_the_folder_is_a_file_like_others(tmp_path: Path) -> None:
    (tmp_path / HEALTHY).write_bytes(BY_HAND)
    (tmp_path / "link.json").symlink_to(HEALTHY)
    assert [entry.path.name for entry in in_folder(tmp_path)] == [HEALTHY, "link.json"]


@pytest.mark.parametrize("suffix", [JSON, SAFETENSORS])
def test_a_file_that_changes_while_it_is_read_is_read_whole_or_not(
    suffix: str, tmp_path: Path, fault: Fault, lines: Callable[[], list[str]]
) -> None:
    """Just before it is opened, or once it is, something else takes its place."""
    data = {JSON: SHARED, SAFETENSORS: RESULT}[suffix]
    outside = tmp_path / "outside"
    outside.write_bytes(data)

    def linked(path: Path) -> None:
        path.unlink()
        path.symlink_to(outside)

    def piped(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def made_a_folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    swaps: dict[str, Callable[[Path], object]] = {
        "a link": linked,
        "a pipe": piped,
        "a folder": made_a_folder,
        "cut short": lambda path: os.truncate(path, len(data) // 2),
        "emptied": lambda path: os.truncate(path, 0),
        "longer": lambda path: path.write_bytes(data + b"x" * 5000),
        "deleted": lambda path: path.unlink(),
        "another": lambda path: path.write_bytes(b"x" * len(data)),
    }
    moments = {"before": str, "after": int}  # what an opening names: the path, then its number
    for moment, kind in moments.items():
        for what, swap in swaps.items():
            folder = tmp_path / f"{what} {moment}"
            folder.mkdir()
            path = folder / f"a{suffix}"
            path.write_bytes(data)
            (folder / HEALTHY).write_bytes(BY_HAND)
            left = [swap]

            def act(opened: object, kind: type = kind, path: Path = path) -> None:
                now = isinstance(opened, kind) and (kind is int or opened == str(path))
                if now and left and path.exists():  # noqa: B023
                    left.pop()(path)  # noqa: B023

            with at_opening(lambda opened: act(os.fspath(opened) if isinstance(opened, Path)
                                               else opened)):  # fmt: skip
                entries = in_folder(folder)
            assert not left, "the swap was made"
            assert folder / HEALTHY in [entry.path for entry in entries]
            for entry in entries:
                assert_lawful(entry.saved)
            if moment == "before" and what == "a link":
                assert [entry.path.name for entry in entries] == [HEALTHY], "followed a link"
            for line in lines():
                assert_sentence(line)
    trials = len(moments) * len(swaps)
    fault(f"Changed while it is read: {suffix}", trials=trials, survived=trials)


# -- room and time --------------------------------------------------------------------------


def result_with(notes: str, others: str = "[]") -> bytes:
    """A result whose header holds JSON text as it is."""
    text = (
        '{"name": "a", "provenance": {"who": "", "what": "", "when": ""}, "request": {}, '
        f'"others": {others}, "notes": {{"x": {notes}}}}}'
    )
    header = {
        "__metadata__": {"format": FORMAT, "version": "1", "result": text},
        "levels": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]},
    }
    packed = json.dumps(header).encode()
    return struct.pack("<Q", len(packed)) + packed + struct.pack("<2d", 2.0, 1.0)


MOST = 15 * 2**20  # bytes of JSON text
LARGE: dict[str, Callable[[], bytes]] = {
    "lists": lambda: result_with("[" + ",".join(["[]"] * (MOST // 3)) + "]"),
    "objects": lambda: result_with("[" + ",".join(["{}"] * (MOST // 3)) + "]"),
    "nested lists": lambda: result_with("[" * (MOST // 2) + "]" * (MOST // 2)),
    "numbers": lambda: result_with("[" + ",".join(["1.5"] * (MOST // 4)) + "]"),
    "texts": lambda: result_with("[" + ",".join(['"ab"'] * (MOST // 7)) + "]"),
    "one text": lambda: result_with('"' + "x" * MOST + '"'),
    "one number": lambda: result_with("1" * MOST),
    "keys": lambda: result_with("{" + ",".join(f'"{k:x}":1' for k in range(MOST // 12)) + "}"),
    "as many numbers as there may be": lambda: result_with(
        "[" + ",".join(f"{k}.5" for k in range(590_000)) + "]"
    ),
    "as many lists as there may be": lambda: result_with("[" + ",".join(["[]"] * 99_000) + "]"),
    "two million other levels": lambda: result_with(
        "1", "[[" + ",".join(map(str, range(1_900_000, 0, -1))) + "]]"
    ),
    "lists in JSON": lambda: b'{"levels":[2,1],"notes":{"x":[' + b"[]," * 690_000 + b"1]}}",
    "nested lists in JSON": lambda: b'{"levels":' + b"[" * (2**21 - 20),
    "ten million levels in JSON": lambda: b'{"levels":[' + b"1," * 10_000_000 + b"0]}",
}


def test_large_contents_take_little_memory(at_length: AtLength, fault: Fault) -> None:
    peaks = {}
    kinds = list(LARGE)[:: at_length(3, 1)]
    for kind in kinds:
        data = LARGE[kind]()
        tracemalloc.start()
        try:
            with watched():
                judged_only(lambda data=data: read_bytes(data, "x")[0])  # type: ignore[misc]
            peaks[kind] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    worst = max(peaks, key=lambda kind: peaks[kind])
    assert peaks[worst] < 80 * 2**20, peaks
    fault(
        "Large contents, up to the most that is read",
        trials=len(kinds),
        survived=len(kinds),
        remark=f"at most {peaks[worst] / 2**20:.0f} MiB of memory, for {worst}",
    )


def judged_only(read: Callable[[], SavedSchedule]) -> None:
    """Read, and look at the refusal, but do not read it again."""
    try:
        read()
    except ValueError as error:
        assert_sentence(str(error))


def test_tensors_are_not_read_to_list_a_file(tmp_path: Path, fault: Fault) -> None:
    """Files with 500 MiB of zeros, sparse, and with ten million levels."""
    small, rest = result_with("1"), 500 * 2**20
    end = 8 + int.from_bytes(small[:8], "little")
    header = json.loads(small[8:end])
    header["zeros"] = {"dtype": "U8", "shape": [rest], "data_offsets": [16, 16 + rest]}
    for name in ("zeros", "levels"):
        if name == "levels":
            header["levels"] |= {"shape": [10_000_000], "data_offsets": [0, 80_000_000]}
            del header["zeros"]
        text = json.dumps(header).encode()
        with (tmp_path / f"{name}.safetensors").open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + struct.pack("<2d", 2.0, 1.0))
            file.truncate(8 + len(text) + (16 + rest if name == "zeros" else 80_000_000))
    tracemalloc.start()
    try:
        with watched(tmp_path):
            listed = [entry.path.name for entry in in_folder(tmp_path)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert listed == ["zeros.safetensors"]
    assert peak < 2**20
    fault("Large: 500 MiB of tensors, 10^7 levels", trials=2, survived=2,
          remark=f"memory {peak / 2**10:.0f} KiB to list them")  # fmt: skip


def test_a_folder_of_very_many_files_is_listed(
    tmp_path: Path, at_length: AtLength, fault: Fault, lines: Callable[[], list[str]]
) -> None:
    count = at_length(400, 10_000)
    for number in range(count):
        levels = [14.6, 1.0 + number / 20_000, 0.1]
        content = {"sigmas": levels if number % 2 else levels[::-1]}
        (tmp_path / f"{number}.json").write_text(json.dumps(content), encoding="utf-8")
    with watched(tmp_path):
        assert len(in_folder(tmp_path)) == count // 2
    assert len(lines()) == count // 2
    opened: list[object] = []
    with at_opening(opened.append):
        assert len(Store([tmp_path]).list()) == count // 2
    assert not [path for path in opened if str(path).endswith(JSON)], "none is read again"
    assert lines() == []
    fault("Very many files in a folder, half of them damaged", trials=count, survived=count,
          remark="each read once, told once")  # fmt: skip


# -- names ----------------------------------------------------------------------------------


def test_hostile_names_stay_in_the_folder(
    tmp_path: Path, at_length: AtLength, fault: Fault, lines: Callable[[], list[str]]
) -> None:
    """Of files that are imported, of schedules in them, and to rename them to."""
    folder, count = tmp_path / "schedules", at_length(50, 400)
    folder.mkdir()
    store = Store([folder])

    def make(random: Random) -> tuple[bytes, str, str]:
        content = {"sigmas": [14.6, 0.5 + random.random(), 0.1], "name": hostile_name(random)}
        data = json.dumps(content).encode()
        return data, hostile_name(random, random.choice((JSON, "", ".txt"))), hostile_name(random)

    def judge(one: tuple[bytes, str, str]) -> None:
        data, file_name, new_name = one
        try:
            shown = store.add(data, file_name).name
        except ValueError as error:
            assert "half a character" in str(error)
            assert_sentence(str(error))
            shown = store.add(BY_HAND, file_name).name
        assert shown.isprintable() and 0 < len(shown) <= 110
        assert shown in store.list()
        try:
            renamed = store.rename(shown, new_name)
        except ValueError as error:
            assert_sentence(str(error))
            renamed = shown
        assert renamed in store.list() and renamed.isprintable()
        for path in files_in(folder):
            assert path.name.isascii() and " " not in path.name and len(path.name) < 100
            assert not path.name.startswith((".", "-"))
        store.delete(renamed)
        with pytest.raises(LookupError) as unknown:
            store.delete(f"{new_name} {file_name} nowhere")
        assert_sentence(str(unknown.value))

    trials = tried(make, each(judge), count, short=count < 1e3, folder=folder)
    assert files_in(folder) == []
    assert lines() == []
    fault("Names of imports, of schedules, to rename to", trials=trials, survived=trials,
          remark="files stay in the folder, under plain names")  # fmt: skip


# -- unfinished work ------------------------------------------------------------------------


def test_changed_unfinished_work_is_absent(
    tmp_path: Path, at_length: AtLength, fault: Fault, lines: Callable[[], list[str]]
) -> None:
    expected = json.loads((KEPT / "expected.json").read_text(encoding="utf-8"))
    request = expected[STAGE.relative_to(KEPT).as_posix()]["request"]
    unfinished = Unfinished(tmp_path, request)
    path = tmp_path / STAGE.parent.name / STAGE.name
    path.parent.mkdir()
    whole, count, accepted = STAGE.read_bytes(), at_length(250, 5_000), 0
    path.write_bytes(whole)
    healthy = unfinished.get(STAGE.stem)
    assert healthy is not None

    def judge(made: list[bytes]) -> None:
        nonlocal accepted
        for data in made:
            path.write_bytes(data)
            found, told = unfinished.get(STAGE.stem), lines()
            assert len(told) == (found is None)
            if found is None:
                assert_sentence(told[0])
            else:
                assert tensors_described(found) == tensors_described(healthy)
                accepted += 1

    trials = tried(
        lambda random: random.choice((in_bytes, in_header))(random, whole),
        judge,
        count,
        short=count < 1e3,
        folder=tmp_path,
    )
    assert accepted < trials / 10
    fault("Changed: unfinished work", trials=trials, survived=trials,
          remark=f"{accepted} were as before, all others absent with one log line")  # fmt: skip


# -- levels that come with a workflow -------------------------------------------------------


@pytest.mark.host
def test_changed_workflows_carry_lawful_levels_or_none(
    host_answer: Callable[..., dict[str, Any]], at_length: AtLength, fault: Fault
) -> None:
    answer = host_answer(Path(__file__).with_name("host_carried.py"), str(at_length(300, 5_000)))
    trials = answer["trials"]
    assert answer["accepted"] > trials / 20 and answer["refused"] > trials / 5
    fault("Changed: levels that come with a workflow", trials=trials, survived=trials,
          remark=f"{answer['refused']} refused in one log line")  # fmt: skip
