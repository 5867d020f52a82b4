"""Calibrated samplers in files: kept to the last bit, never lost, and nothing trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.schedules import CalibratedSampler, SavedSchedule, Store
from align_your_steps.schedules.calibrated_sampler import MOST_MIXED
from align_your_steps.schedules.store.files import content_of, read_bytes
from align_your_steps.schedules.store.json_file import from_json, to_json, to_json_bytes
from align_your_steps.schedules.store.saved_schedule import (
    MAX_SAMPLERS,
    read_saved,
    saved_from,
    to_bytes,
)
from align_your_steps.schedules.store.tensor_file import TensorFile
from align_your_steps.schedules.store.version import NewerVersionError, check_version
from align_your_steps.tests.folders import files_in
from align_your_steps.tests.schedules.made import with_samplers
from hypothesis import given
from hypothesis import strategies as st

ONE = with_samplers()
PLAIN = replace(ONE, samplers=())
FORMATS = (".safetensors", ".json")


def again(saved: SavedSchedule, suffix: str) -> SavedSchedule:
    return read_bytes(content_of(saved, suffix), "x")[0]


def version_in(saved: SavedSchedule, tmp_path: Path) -> tuple[str, int]:
    """The versions that the two formats of a result say."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(to_bytes(saved))
    with path.open("rb") as file:
        said = TensorFile(file, path.stat().st_size).metadata["version"]
    return said, to_json(saved)["version"]


# -- there and back -------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_samplers_come_back_to_the_last_bit(suffix: str) -> None:
    back = again(ONE, suffix)
    assert back.samplers == ONE.samplers
    assert back.schedule == ONE.schedule, "the best plain one"
    assert back.digest == ONE.digest


numbers = st.floats(-1e30, 1e30, allow_nan=False)


@given(st.lists(numbers, min_size=3, max_size=3), st.floats(1e-30, 1e30))
def test_any_numbers_that_a_sampler_may_have_come_back(row: list[float], told: float) -> None:
    rows = ((row[0],), (row[1], row[2]))
    sampler = CalibratedSampler((14.6, 0.1 + 0.2, 0.0), (told, told / 3.0), rows)
    schedule = replace(ONE.schedule, levels=(3.0, 1.0, 0.0), others=())
    one = replace(ONE, schedule=schedule, samplers=(sampler,))
    assert [again(one, suffix).samplers for suffix in FORMATS] == [(sampler,)] * 2


def test_what_has_no_sampler_is_written_for_older_packs(tmp_path: Path) -> None:
    assert version_in(PLAIN, tmp_path) == ("1", 1)
    assert "samplers" not in to_json(PLAIN)
    assert b"samplers" not in to_bytes(PLAIN)
    assert version_in(ONE, tmp_path) == ("2", 2)


def test_an_older_pack_says_in_one_sentence_what_to_do() -> None:
    for written in ("2", 2):
        with pytest.raises(NewerVersionError, match="newer version of this pack has written it"):
            check_version(written, 1)
    for known in ("1", 1, 2, "2"):
        check_version(known, 2, 1)
    for other in (0, "0", "3", None, "1.5", [1], {}):
        with pytest.raises(ValueError, match=r"version 1 to 2|format version 3"):
            check_version(other, 2, 1)


def test_listing_knows_samplers_without_reading_tensors(tmp_path: Path) -> None:
    path = Store([tmp_path]).save(ONE)
    (entry,) = Store([tmp_path]).list().values()
    assert entry.saved.samplers == ONE.samplers
    assert read_saved(path, with_tensors=False).samplers == ONE.samplers


# -- never lost -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", FORMATS)
def test_importing_and_renaming_keep_samplers(tmp_path: Path, suffix: str) -> None:
    store = Store([tmp_path])
    name = store.add(content_of(ONE, suffix), "sent" + suffix).name
    renamed = store.rename(name, "another name")
    loaded = store.load(renamed)
    assert loaded is not None and loaded.samplers == ONE.samplers
    assert loaded.schedule.name == "another name"
    assert store.add(content_of(ONE, suffix), "sent" + suffix) == ("another name", False)


def test_a_result_with_other_samplers_is_not_here_already(tmp_path: Path) -> None:
    store = Store([tmp_path])
    store.add(to_bytes(PLAIN), "plain.safetensors")
    assert store.add(to_bytes(ONE), "fitted.safetensors").new
    assert len(store.list()) == 2


def test_models_that_cannot_be_told_apart_do_not_lose_each_others_samplers(tmp_path: Path) -> None:
    store = Store([tmp_path])
    request = {**ONE.request, "identity": None}
    one = replace(ONE, identity=None, request=request)
    other = replace(one, samplers=(moved(ONE.samplers[0]),))
    assert one.schedule == other.schedule
    for saved in (one, other):
        store.save(saved)
    found = {entry.saved.samplers for entry in store.list().values()}
    assert found == {one.samplers, other.samplers}


def moved(sampler: CalibratedSampler) -> CalibratedSampler:
    return replace(sampler, told=tuple(level * 1.001 for level in sampler.told))


# -- nothing is trusted ---------------------------------------------------------------------

GOOD = ONE.samplers[0].to_dict()
LONG = {
    "levels": list(range(20, -1, -1)),
    "told": [1.0] * 20,
    "weights": [[1.0]] * 19 + [[0.1] * (MOST_MIXED + 1)],
}
HOSTILE: dict[str, Any] = {
    "a text": "x",
    "an object": {"levels": [1, 0]},
    "numbers": [1.0],
    "empty objects": [{}],
    "no weights": [{key: GOOD[key] for key in ("levels", "told")}],
    "a text for weights": [{**GOOD, "weights": "1"}],
    "an object for weights": [{**GOOD, "weights": {"0": [1]}}],
    "numbers for weights": [{**GOOD, "weights": [1.0] * 5}],
    "texts in weights": [{**GOOD, "weights": [["1"]] * 5}],
    "truths in weights": [{**GOOD, "weights": [[True]] * 5}],
    "an empty row": [{**GOOD, "weights": [[]] * 5}],
    "more outputs than there are": [{**GOOD, "weights": [[1.0, 0.0]] * 5}],
    "a long history": [LONG],
    "too few told levels": [{**GOOD, "told": GOOD["told"][:-1]}],
    "a told level of 0": [{**GOOD, "told": [*GOOD["told"][:-1], 0]}],
    "a told level below float32": [{**GOOD, "told": [*GOOD["told"][:-1], 1e-60]}],
    "a told level above float32": [{**GOOD, "told": [1e39, *GOOD["told"][1:]]}],
    "weights above float32": [{**GOOD, "weights": [[1e39], *GOOD["weights"][1:]]}],
    "400 digits": [{**GOOD, "weights": [[10**400], *GOOD["weights"][1:]]}],
    "rising levels": [{**GOOD, "levels": sorted(GOOD["levels"])}],
    "levels that do not end in 0": [{**GOOD, "levels": [*GOOD["levels"][:-1], 0.01]}],
    "twice the same steps": [GOOD, GOOD],
    "not that of the schedule first": [ONE.samplers[1].to_dict(), GOOD],
    "too many": [GOOD] * (MAX_SAMPLERS + 1),
    "too many steps": [{**GOOD, "levels": list(range(10_002, -1, -1))}],
    "too many told levels": [{**GOOD, "told": [1.0] * 10_002}],
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_no_sampler_can_be_is_refused_in_a_sentence(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    changed = {**to_json(ONE), "samplers": HOSTILE[kind]}
    data = json.dumps(changed).encode()
    if suffix == ".safetensors":
        data = in_header(HOSTILE[kind])
    with pytest.raises(ValueError, match=r"'bad' is not a schedule: [^.]+\."):
        Store([tmp_path]).add(data, "bad")
    assert not files_in(tmp_path)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused_in_both_formats(constant: str) -> None:
    text = json.dumps([{**GOOD, "told": ["X", *GOOD["told"][1:]]}]).replace('"X"', constant)
    whole = json.dumps({**to_json(ONE), "samplers": "X"}).replace('"X"', text)
    with pytest.raises(ValueError, match="one of its numbers is"):
        from_json(whole.encode(), "x")
    with pytest.raises(ValueError, match="must be finite"):
        saved_from(in_header(json.loads(text)))


def in_header(samplers: Any) -> bytes:
    """A safetensors file of version 2 with this in the place of its samplers."""
    data = to_bytes(ONE)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    result = json.loads(header["__metadata__"]["result"])
    header["__metadata__"]["result"] = json.dumps({**result, "samplers": samplers})
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_a_healthy_header_is_read() -> None:
    assert saved_from(in_header([GOOD])).samplers == ONE.samplers[:1]


def test_what_could_not_be_read_again_cannot_be_made() -> None:
    fewer = replace(ONE.schedule, levels=(3.0, 1.0, 0.0))
    for change in ({"schedule": fewer}, {"samplers": (*ONE.samplers, ONE.samplers[1])}):
        with pytest.raises(ValueError, match="one calibrated sampler for these"):
            replace(ONE, **change)


def test_samplers_written_by_hand_need_no_version() -> None:
    by_hand = {"levels": [14.6, 4.0, 1.0, 0.5, 0.1, 0.0], "samplers": [GOOD]}
    assert from_json(json.dumps(by_hand).encode(), "x").samplers == ONE.samplers[:1]
    assert from_json(to_json_bytes(ONE), "x").samplers == ONE.samplers


# -- other numbers of steps, and runs that begin inside -------------------------------------

SMALL = CalibratedSampler((9.0, 3.0, 0.0), (9.0, 3.0), ((1.2,), (1.5, -0.5)))


def test_what_is_said_of_a_sampler_comes_back() -> None:
    sampler = replace(SMALL, weights_only=True, restarts=(((1.1,),),))
    assert CalibratedSampler.from_dict(json.loads(json.dumps(sampler.to_dict()))) == sampler


def test_older_samplers_were_fitted_fully_and_are_written_as_before() -> None:
    plain = SMALL.to_dict()
    assert plain.keys() == {"levels", "told", "weights"}
    assert not CalibratedSampler.from_dict(plain).weights_only


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights_only": 1},
        {"weights_only": None},
        {"restarts": None},
        {"restarts": 5},
        {"restarts": "ab"},
        {"restarts": [5]},
        {"restarts": [[5]]},
        {"restarts": [["5"]]},
        {"restarts": [[[True]]]},
        {"restarts": [[[1.0]], [[1.0]]]},
        {"restarts": [[[1.0, 2.0]]]},
        {"restarts": [[[]]]},
        {"restarts": [[[1e300]]]},
        {"restarts": [[[10**400]]]},
    ],
)
def test_what_is_said_of_a_sampler_is_not_trusted(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sampler"):
        CalibratedSampler.from_dict({**SMALL.to_dict(), **wrong})
