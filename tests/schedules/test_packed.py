"""What a workflow carries: small however much there is, exact, and nothing trusted."""

from __future__ import annotations

import base64
import json
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest
from align_your_steps.schedules import CalibratedSampler, Provenance, SavedSchedule, Schedule
from align_your_steps.schedules.store.json_file import LARGEST, from_json, to_json
from align_your_steps.schedules.store.version import NewerVersionError, check_version
from align_your_steps.schedules.store.workflow_json import MOST_TEXT, NEEDED, packed, unpacked
from align_your_steps.tests.schedules.made import with_samplers

ONE = with_samplers()
PLAIN = replace(ONE, samplers=())
SEVERAL = (4, 5, 6, 8, 10, 12, 15, 20)  # numbers of steps


def fitted(steps: int) -> CalibratedSampler:
    """A sampler in numbers with all their digits."""
    draw = random.Random(steps)
    levels = sorted((draw.uniform(0.03, 14.0) for _ in range(steps)), reverse=True)
    rows = tuple(tuple(draw.gauss(0.0, 1.0) for _ in range(min(i + 1, 3))) for i in range(steps))
    return CalibratedSampler((*levels, 0.0), tuple(level * 1.01 for level in levels), rows)


def result(steps: int, more: tuple[int, ...] = (), *, plain: bool = False) -> SavedSchedule:
    """A result as Optimize AYS saves it, with samplers for more numbers of steps."""
    draw = random.Random(-steps)
    derived = tuple(fitted(count).levels for count in (4, 6, 10, 15, 25, 30) if count != steps)
    digests = {key: draw.randbytes(16).hex() for key in ("guidance", "latent", "sampler_options")}
    request = {"identity": "a" * 32, "steps": steps, "sampler": "ays_model", "cfg": 7.0, **digests}
    what = f"ays_model, {steps} steps cfg 7, denoise 1, latent [1, 4, 64, 64]: fitted from karras"
    notes = {"summary": "40% less error than karras", "error": 0.1, "flow": False, "boundary": None}
    return SavedSchedule(
        Schedule(
            fitted(steps).levels, f"mine, {steps} steps", Provenance("me", what, "now"), derived
        ),
        "a" * 32,
        request,
        notes={**notes, "sigma_min": 0.0291675, "spare_level": False},
        samplers=() if plain else tuple(map(fitted, (steps, *more))),
    )


def same(one: SavedSchedule, other: SavedSchedule) -> bool:
    return to_json(one) == to_json(other) and one.digest == other.digest


def through_a_page(found: dict[str, Any]) -> dict[str, Any]:
    """Return what comes back from a picture."""
    came: dict[str, Any] = json.loads(json.dumps(found))
    return came


# -- there and back -------------------------------------------------------------------------


def test_what_older_packs_can_read_stays_so() -> None:
    found, left_out = packed(PLAIN, [])
    assert left_out == ""
    assert same(from_json(json.dumps(found).encode(), "x"), PLAIN)
    assert found["version"] == 1
    several, _ = packed(PLAIN, [PLAIN])
    assert same(from_json(json.dumps(several["more"][0]).encode(), "x"), PLAIN)


def test_numbers_come_back_to_the_last_bit() -> None:
    first, more = result(5, SEVERAL[2:]), [result(count) for count in SEVERAL[2:]]
    found, left_out = packed(first, more)
    assert left_out == ""
    back = unpacked(through_a_page(found), "x")
    assert back[0].samplers == first.samplers and back[0].schedule == first.schedule
    assert len(back) == 1 + len(more)
    assert all(map(same, back, (first, *more)))
    assert len(json.dumps(found)) < MOST_TEXT


def test_the_name_outside_counts() -> None:
    found, _ = packed(ONE, [])
    assert found["name"] == ONE.schedule.name
    (back,) = unpacked({**found, "name": "renamed"}, "x")
    assert back.schedule.name == "renamed"
    assert back.samplers == ONE.samplers


def test_an_older_pack_says_what_to_do() -> None:
    found, _ = packed(ONE, [])
    with pytest.raises(NewerVersionError, match="update the pack"):
        check_version(found["version"], 1)


# -- small ----------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [True, False])
def test_it_stays_small_however_many_numbers_of_steps_there_are(plain: bool) -> None:
    counts = tuple(range(1, 31))
    first = result(31, counts, plain=plain)
    more = [result(count, plain=plain) for count in counts] * 3
    found, left_out = packed(first, more)
    assert len(json.dumps(found)) <= MOST_TEXT
    back = unpacked(through_a_page(found), "x")
    assert back[0].schedule.levels == first.schedule.levels
    assert back[0].samplers == first.samplers[: len(back[0].samplers)]
    assert f"{len(more) - len(back[1:])} further results" in left_out
    assert all(map(same, back[1:], more))
    if not plain:
        assert "calibrated samplers for" in left_out
        assert len(back[0].samplers) > 20


def test_what_is_sampled_is_never_left_out() -> None:
    first = result(600, (5, 8))
    found, left_out = packed(first, [ONE])
    (back,) = unpacked(through_a_page(found), "x")
    assert back.schedule.levels == first.schedule.levels
    assert back.samplers == first.samplers[:1]
    assert back.notes == {key: first.notes[key] for key in NEEDED}
    words = ("samplers for 2 other", "levels for 6 other", "notes on what", "1 further results")
    assert all(word in left_out for word in words)
    assert back.digest == first.digest


# -- nothing is trusted ---------------------------------------------------------------------


def zipped(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


GOOD, _ = packed(ONE, [])
INSIDE = zlib.decompress(base64.b64decode(GOOD["packed"]))
HOSTILE: dict[str, dict[str, Any]] = {
    "a number": {"packed": 5},
    "no base64": {"packed": "é"},
    "a broken end": {"packed": GOOD["packed"][:-40]},
    "not compressed": {"packed": base64.b64encode(INSIDE).decode()},
    "a bomb": {"packed": zipped(b"[" + b"0," * 50 * 2**20 + b"0]")},
    "too long a text": {"packed": "A" * (LARGEST + 4)},
    "a list inside": {"packed": zipped(b"[]")},
    "nothing inside": {"packed": zipped(b"{}")},
    "no JSON inside": {"packed": zipped(b"{")},
    "deep inside": {"packed": zipped(b'{"x":' + b"[" * 100_000)},
    "NaN inside": {"packed": zipped(INSIDE.replace(b"1.4183", b"NaN"))},
    "too much inside": {"packed": zipped(INSIDE[:-1] + b',"more":[' + b"{}," * 65 + b"{}]}")},
    "a text for more": {"packed": zipped(INSIDE[:-1] + b',"more":"x"}')},
    "another version": {"version": 3},
    "another version inside": {"packed": zipped(INSIDE.replace(b'"version":2', b'"version":3'))},
    "another format": {"format": "other"},
    "a number for the name": {"name": 5},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_was_packed_by_nobody_is_refused(kind: str) -> None:
    with pytest.raises(ValueError):
        unpacked({**GOOD, **HOSTILE[kind]}, "x")


def test_a_result_that_no_reader_would_take_is_refused() -> None:
    with pytest.raises(ValueError, match="2 MiB"):
        packed(replace(PLAIN, request={**PLAIN.request, "x": "y" * LARGEST}), [])
