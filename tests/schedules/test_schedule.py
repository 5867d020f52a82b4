"""What a schedule accepts, and what it hands to a sampler."""

from __future__ import annotations

import json
import math

import pytest
import torch
from align_your_steps.schedules import Provenance, Schedule

ANYONE = Provenance("a person", "a model", "a day")


def schedule(*levels: float) -> Schedule:
    return Schedule(levels, "name", ANYONE)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ((), "at least two"),
        ((1.0,), "at least two"),
        ((1.0, math.nan), "finite"),
        ((math.inf, 1.0), "finite"),
        ((1e39, 1.0), "finite"),  # beyond float32
        ((1.0, 2.0), "strictly decrease"),
        ((2.0, 1.0, 1.0, 0.0), "strictly decrease"),
        ((1.0 + 1e-9, 1.0), "strictly decrease"),  # one level in float32
        ((2.0, 0.0, 0.0), "strictly decrease"),
        ((1.0, 1e-50, 0.0), "strictly decrease"),  # the second is 0 in float32
        ((1.0, -0.1), "below 0"),
    ],
)
def test_unusable_levels_are_refused(levels: tuple[float, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        schedule(*levels)


@pytest.mark.parametrize("last", [0.0, 0.03])
def test_sigmas_replace_the_last_level_by_zero(last: float) -> None:
    sigmas = schedule(14.6, 1.0, last).sigmas
    assert torch.equal(sigmas, torch.tensor([14.6, 1.0, 0.0]))
    assert sigmas.dtype == torch.float32
    assert sigmas.device.type == "cpu"


def test_writing_into_sigmas_does_not_change_the_schedule() -> None:
    one = schedule(2.0, 1.0, 0.0)
    one.sigmas.fill_(7.0)
    assert one.sigmas.tolist() == [2.0, 1.0, 0.0]


def test_steps_count_the_intervals() -> None:
    assert schedule(2.0, 1.0, 0.0).steps == 2


def test_a_schedule_survives_json() -> None:
    one = schedule(14.6146412293, 1.0 / 3.0, 0.0)
    assert Schedule.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    "change",
    [
        {"levels": None},
        {"levels": "10"},
        {"levels": ["2", "1"]},
        {"levels": [1, 2]},
        {"levels": [True, False]},
        {"levels": [10**400, 1]},
        {"name": 5},
        {"provenance": None},
        {"provenance": {"who": "me"}},
        {"provenance": {"who": 1, "what": 2, "when": 3}},
    ],
)
def test_a_damaged_dict_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Schedule.from_dict({**schedule(2.0, 1.0).to_dict(), **change})


def test_levels_for_other_steps_travel_with_the_schedule() -> None:
    one = Schedule((14.6, 1.0, 0.0), "name", ANYONE, ((14.6, 0.0), (14.6, 3.0, 0.5, 0.0)))
    assert Schedule.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_a_schedule_saved_before_there_were_other_steps_is_read() -> None:
    saved = schedule(14.6, 1.0, 0.0).to_dict()
    del saved["others"]
    assert Schedule.from_dict(saved).others == ()


@pytest.mark.parametrize("others", [7, [7], [[1.0, "2"]], [[1.0, 2.0]], [[1.0]], [[1.0, None]]])
def test_unusable_other_steps_are_refused(others: object) -> None:
    saved = schedule(14.6, 1.0, 0.0).to_dict()
    saved["others"] = others
    with pytest.raises(ValueError, match="levels"):
        Schedule.from_dict(saved)


def test_the_nearest_known_levels_are_the_shortest_that_are_long_enough() -> None:
    short, long = (14.6, 0.0), (14.6, 3.0, 0.5, 0.1, 0.0)
    one = Schedule((14.6, 1.0, 0.0), "name", ANYONE, (long, short))
    assert [len(one.nearest(steps)) - 1 for steps in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, 4]
