"""Schedules as JSON files: what was saved comes back, what is hostile does not get in."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.schedules import Provenance, SavedSchedule, Schedule, Store
from align_your_steps.schedules.store.json_file import LARGEST, from_json, to_json, to_json_bytes
from align_your_steps.schedules.store.saved_schedule import to_bytes
from align_your_steps.schedules.store.store import Asked
from align_your_steps.tests.folders import files_in
from hypothesis import given
from hypothesis import strategies as st

LEVELS = (14.614641189575195, 3.0, 1.0 / 3.0, 0.0)


def result(name: str = "mine", identity: str | None = "model a", **request: Any) -> SavedSchedule:
    return SavedSchedule(
        Schedule(LEVELS, name, Provenance("me", "a toy", "2025-01-01"), ((14.6, 0.1, 0.0),)),
        identity,
        {"identity": identity, "steps": 3, "cfg": 7.5, "sampler": "euler", **request},
        {"gram": torch.arange(6.0)},
        {"flow": False, "error": 0.25, "report": "long, and with /a/folder/in/it"},
    )


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# -- there and back -------------------------------------------------------------------------


def test_a_result_comes_back_from_json_without_its_tensors_and_its_report() -> None:
    one = result()
    back = from_json(to_json_bytes(one), "another name")
    assert back.schedule == one.schedule  # levels bit for bit
    assert (back.identity, back.request) == (one.identity, one.request)
    assert back.notes == {"flow": False, "error": 0.25}
    assert back.tensors == {}
    assert back.digest == one.digest
    assert to_json(back) == to_json(one)


@given(
    st.lists(st.floats(2.0**-60, 2.0**60, width=32), min_size=2, max_size=12, unique=True).map(
        lambda levels: sorted(levels, reverse=True)
    )
)
def test_levels_survive_bit_for_bit(levels: list[float]) -> None:
    one = SavedSchedule(
        Schedule(tuple(levels), "any", Provenance("", "", "")), None, {"identity": None}
    )
    assert from_json(to_json_bytes(one), "x").schedule.levels == tuple(levels)


@pytest.mark.parametrize(
    ("content", "levels", "flow"),
    [
        ({"levels": [14.6, 1, 0]}, (14.6, 1.0, 0.0), False),
        ({"levels": [14.6, 1, 0.03]}, (14.6, 1.0, 0.03), False),
        ({"sigmas": [14.6, 1, 0.03, 0]}, (14.6, 1.0, 0.03, 0.0), False),
        ({"sigmas": [14.6, 1, 0.03]}, (14.6, 1.0, 0.03, 0.0), False),
        ({"sigmas": [1.0, 0.5]}, (1.0, 0.5, 0.0), True),
        ({"levels": [1.0, 0.5, 0.0], "notes": {"flow": False}}, (1.0, 0.5, 0.0), False),
        ({"levels": [2, 1], "sigmas": [9, 8], "anything": [1]}, (2.0, 1.0), False),
    ],
)
def test_levels_alone_are_enough(
    content: dict[str, Any], levels: tuple[float, ...], flow: bool
) -> None:
    found = from_json(json.dumps(content).encode(), "from the file")
    assert found.schedule.levels == levels
    assert found.schedule.name == "from the file"
    assert found.schedule.provenance.who == "imported"
    assert (found.identity, found.notes["flow"]) == (None, flow)


def test_a_schedule_of_no_model_is_told_from_others_by_its_levels() -> None:
    one, same, other = (
        from_json(json.dumps(content).encode(), "x").digest
        for content in (
            {"sigmas": [2, 1, 0]},
            {"name": "another", "levels": [2.0, 1.0, 0.0]},
            {"levels": [2.0, 1.5, 0.0]},
        )
    )
    assert one == same != other


def test_a_mark_before_the_text_is_no_matter() -> None:
    assert from_json(b"\xef\xbb\xbf" + to_json_bytes(result()), "x").schedule.name == "mine"


def test_what_is_too_large_to_be_read_is_not_written() -> None:
    one = result(x="y" * LARGEST)
    with pytest.raises(ValueError, match="2 MiB"):
        to_json_bytes(one)


def test_levels_for_every_number_of_steps_come_back() -> None:
    others = tuple((14.6, 14.5 - number / 1000, 0.0) for number in range(1000))
    one = replace(result(), schedule=replace(result().schedule, others=others))
    assert from_json(to_json_bytes(one), "x").schedule == one.schedule
    more = replace(one, schedule=replace(one.schedule, others=(*others, (2.0, 1.0))))
    with pytest.raises(ValueError, match="1000 other numbers of steps"):
        to_json_bytes(more)


@pytest.mark.parametrize("figure", [math.nan, math.inf, {"deep": [math.nan]}])
def test_a_figure_that_is_no_number_stays_behind(figure: Any) -> None:
    one = replace(result(), notes={"flow": False, "error": figure})
    assert from_json(to_json_bytes(one), "x").notes == {"flow": False}


# -- in a folder ----------------------------------------------------------------------------


def test_a_file_dropped_into_a_folder_is_listed(tmp_path: Path) -> None:
    store = Store([tmp_path / "first", tmp_path])
    written(tmp_path / "From a friend.json", {"sigmas": [14.6, 1.0, 0.1]})
    written(tmp_path / "named.JSON", {"levels": [14.6, 1.0, 0.1], "name": "its own name"})
    assert list(store.list()) == ["From a friend", "its own name"]
    found = store.load("From a friend")
    assert found is not None and found.schedule.levels == (14.6, 1.0, 0.1, 0.0)
    assert store.nearest(None, Asked(3)) is None


def test_two_schedules_of_one_name_are_told_apart_by_digits(tmp_path: Path) -> None:
    store = Store([tmp_path / "a", tmp_path / "b"])
    for folder, level in (("a", 1.0), ("b", 2.0)):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "x.json", {"sigmas": [14.6, level]})
    names = list(store.list())
    assert len(names) == 2 and all(name.startswith("x [") for name in names)
    assert {store.load(name).schedule.levels[1] for name in names} == {1.0, 2.0}  # type: ignore[union-attr]


@pytest.mark.parametrize("newest", ["json", "safetensors"])
def test_both_formats_of_a_result_are_one_entry_with_its_tensors(
    tmp_path: Path, newest: str
) -> None:
    store = Store([tmp_path])
    paths = {"safetensors": store.save(result()), "json": tmp_path / "mine.json"}
    paths["json"].write_bytes(to_json_bytes(result()))
    older = paths["json" if newest == "safetensors" else "safetensors"]
    os.utime(older, (1, 1))
    assert list(store.list()) == ["mine"]
    loaded, found = store.load("mine"), store.find(result().request)
    assert loaded is not None and found is not None
    assert "gram" in loaded.tensors and "gram" in found.tensors


def test_a_shared_result_is_found_for_its_model(tmp_path: Path) -> None:
    (tmp_path / "sent.json").write_bytes(to_json_bytes(result()))
    found = Store([tmp_path]).nearest("model a", Asked(3))
    assert found is not None and found.name == "mine"


# -- nothing is trusted ---------------------------------------------------------------------

GOOD = to_json(result())
HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "nothing": b"{}",
    "a number": b"5",
    "not UTF-8": json.dumps(GOOD).encode("utf-16"),
    "Latin letters": b'{"levels": [2, 1], "name": "\xe9"}',
    "half a character": b'{"levels": [2, 1], "name": "\\ud800"}',
    "NaN": b'{"levels": [NaN, 1, 0]}',
    "infinite": b'{"levels": [Infinity, 1, 0]}',
    "beyond all floats": b'{"levels": [1e999, 1, 0]}',
    "NaN in the notes": b'{"levels": [2, 1], "notes": {"error": NaN}}',
    "beyond all floats in the request": b'{"levels": [2, 1], "request": {"cfg": 1e999}}',
    "400 digits": b'{"levels": [1' + b"0" * 400 + b", 1, 0]}",
    "100,000 digits": b'{"levels": [2, 1], "notes": {"x": 1' + b"0" * 100_000 + b"}}",
    "twice": b'{"levels": [2, 1], "levels": [3, 1]}',
    "twice inside": b'{"levels": [2, 1], "notes": {"a": 1, "a": 2}}',
    "deep": b"[" * 100_000,
    "deep inside": b'{"levels": [2, 1], "notes": {"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
    "text": b'{"levels": "2, 1"}',
    "texts": b'{"levels": ["2", "1"]}',
    "truths": b'{"levels": [true, false]}',
    "lists": b'{"levels": [[2], [1]]}',
    "none": b'{"levels": []}',
    "one": b'{"levels": [1]}',
    "rising": b'{"levels": [1, 2, 0]}',
    "equal in float32": b'{"levels": [1.0, 0.99999999999, 0]}',
    "below 0": b'{"levels": [1, 0.5, -1]}',
    "too many": json.dumps({"levels": list(range(10_001, -1, -1))}).encode(),
    "other levels rise": b'{"levels": [2, 1], "others": [[1, 2]]}',
    "other levels no list": b'{"levels": [2, 1], "others": {"4": [2, 1]}}',
    "too many others": json.dumps({"levels": [2, 1], "others": [[2, 1]] * 1001}).encode(),
    "name no text": b'{"levels": [2, 1], "name": 7}',
    "provenance no texts": b'{"levels": [2, 1], "provenance": {"who": 1, "what": "", "when": ""}}',
    "provenance a list": b'{"levels": [2, 1], "provenance": []}',
    "request a list": b'{"levels": [2, 1], "request": []}',
    "notes a text": b'{"levels": [2, 1], "notes": "x"}',
    "identity a number": b'{"levels": [2, 1], "request": {"identity": 5}}',
    "another format": b'{"format": "other", "levels": [2, 1]}',
    "another version": b'{"version": 3, "levels": [2, 1]}',
    "too large": b'{"levels": [2, 1], "notes": {"x": "' + b"y" * LARGEST + b'"}}',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_schedule_is_skipped_with_one_log_line(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store([tmp_path])
    store.save(result())
    bad = tmp_path / "bad.json"
    bad.write_bytes(HOSTILE[kind])
    for _ in range(3):
        assert list(store.list()) == ["mine"]
    assert [str(bad) in record.getMessage() for record in caplog.records] == [True]
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_schedule_cannot_be_added(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'bad\.json' is (not a schedule|too new): "):
        Store([tmp_path]).add(HOSTILE[kind], "bad.json")
    assert not files_in(tmp_path)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link outside"])
def test_what_is_no_file_of_the_folder_is_skipped(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    bad = folder / "bad.json"
    if kind == "folder":
        bad.mkdir()
    elif kind == "link outside":
        bad.symlink_to(written(tmp_path / "outside.json", {"levels": [2, 1]}))
    elif hasattr(os, "mkfifo"):
        os.mkfifo(bad)
    assert Store([folder]).list() == {}


def test_hidden_files_are_nothing_to_talk_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "._mine.json").write_bytes(b"\x00\x05\x16\x07")
    assert Store([tmp_path]).list() == {}
    assert not caplog.records


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_be_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is not a schedule"):
        Store([]).add(data, "x")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "sigmas"]), json_values))
def test_any_json_is_a_proper_schedule_or_refused(content: dict[str, Any]) -> None:
    data = json.dumps(content).encode()
    try:
        found = from_json(data, "x")
    except ValueError:
        return
    levels = found.schedule.levels
    assert len(levels) >= 2 and all(map(math.isfinite, levels))
    assert from_json(to_json_bytes(found), "x").schedule == found.schedule


@pytest.mark.parametrize("data", [to_bytes(result()), to_json_bytes(result())])
def test_the_content_tells_the_format_and_not_the_name(tmp_path: Path, data: bytes) -> None:
    store = Store([tmp_path])
    assert store.add(data, "C:\\Users\\me\\strange.txt").name == "mine"
    (path,) = files_in(tmp_path)
    assert path.suffix == (".json" if data[:1] == b"{" else ".safetensors")
    loaded = store.load("mine")
    assert loaded is not None and loaded.schedule == result().schedule
