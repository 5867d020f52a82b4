"""Which result `auto` takes: the nearest, of these the one of the least error."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.schedules import CalibratedSampler, Provenance, SavedSchedule, Schedule, Store
from align_your_steps.schedules.store.json_file import to_json_bytes
from align_your_steps.schedules.store.nearest import CRITERION, GAIN, INTERVAL
from align_your_steps.schedules.store.saved_schedule import MERGED
from align_your_steps.schedules.store.store import Asked, Nearest


def fitted(steps: int) -> CalibratedSampler:
    levels = tuple(float(k) for k in range(steps, -1, -1))
    return CalibratedSampler(levels, levels[:-1], ((1.0,),) * steps)


def result(
    name: str,
    steps: int = 10,
    *,
    error: Any = None,
    gain: Any = None,
    interval: Any = None,
    samplers: tuple[int, ...] = (),
    **request: Any,
) -> SavedSchedule:
    known = {"error": error, GAIN: gain, INTERVAL: interval, CRITERION: request.pop(CRITERION, "x")}
    asked = {"identity": "a model", "name": name, "sampler": "euler", "cfg": 7.0, "denoise": 1.0}
    return SavedSchedule(
        Schedule(fitted(steps).levels, name, Provenance("", "", "")),
        "a model",
        {**asked, "steps": steps, "shape": [1, 4, 64, 64], **request},
        notes={key: value for key, value in known.items() if value is not None},
        samplers=tuple(map(fitted, samplers)),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store([tmp_path])


def add(store: Store, *results: SavedSchedule) -> None:
    """Save results, the oldest first."""
    for saved in results:
        store.save(saved)


def taken(store: Store, steps: int | None = 10, **asked: Any) -> Nearest:
    found = store.nearest("a model", Asked(steps, **asked))
    assert found is not None
    return found


# -- the nearest ----------------------------------------------------------------------------


def test_steps_get_the_result_for_these_steps_whatever_else_is_there(store: Store) -> None:
    add(store, result("twenty", 20, error=0.5, cfg=1.0), result("ten", 10, error=0.1))
    add(store, result("five", 5, error=0.01, samplers=(5,), sampler="ays_model"))
    assert taken(store, 20).name == "twenty"
    assert taken(store, 20, sampler="ays_model", cfg=7.0).name == "twenty"
    assert [taken(store, steps).name for steps in (4, 9, 10, 100)] == [
        "five",
        "ten",
        "ten",
        "twenty",
    ]
    assert taken(store, 20).why == "the nearest of 3"


def test_then_the_sampler_and_then_the_cfg_count_where_they_are_known(store: Store) -> None:
    add(
        store,
        result("euler 3", cfg=3.0),
        result("euler 7"),
        result("heun 5", sampler="heun", cfg=5.0),
    )
    assert taken(store, sampler="euler", cfg=4.0).name == "euler 3"
    assert taken(store, sampler="euler", cfg=8.0).name == "euler 7"
    assert taken(store, sampler="heun", cfg=7.0).name == "heun 5"
    assert taken(store, sampler="lms", cfg=3.1).name == "euler 3"
    assert taken(store).name == "heun 5", "the newest"


def test_results_without_a_sampler_come_last_of_equally_near_steps(store: Store) -> None:
    add(store, result("fitted", sampler="ays_model", samplers=(10,), error=0.2))
    add(store, result("plain", error=0.1), result("plain for 9", 9, error=0.1))
    assert taken(store, 10).name == "fitted"
    assert taken(store, 9).name == "plain for 9"
    assert taken(store, 10, sampler="euler").name == "plain", "its schedule is made for euler"


def test_a_sampler_for_these_steps_is_as_near_as_a_result_for_them(store: Store) -> None:
    add(store, result("eight", 8, sampler="ays_model", samplers=(8, 20)))
    assert taken(store, 20).name == "eight"
    add(store, result("twelve", 12))
    assert taken(store, 20).name == "eight"
    add(store, result("twenty", 20, sampler="ays_model", samplers=(20,)))
    add(store, result("eight again", 8, sampler="ays_model", samplers=(8, 20)))
    assert taken(store, 20).name == "twenty"


def simpler(steps: int) -> SavedSchedule:
    """A result for 5 steps, of which the weights alone were fitted to others."""
    saved = result("five", 5, sampler="ays_model", samplers=(5, steps))
    own, other = saved.samplers
    return replace(saved, samplers=(own, replace(other, weights_only=True)))


def test_weights_alone_come_after_a_full_fit_and_before_another_samplers_schedule(
    store: Store,
) -> None:
    add(store, simpler(8), result("eight", 8, sampler="ays_model", samplers=(8,)))
    add(store, result("plain", 8))
    assert taken(store, 8, sampler="ays_model").name == "eight"
    assert taken(store, 8, sampler="euler").name == "plain"
    store.delete("eight")
    assert taken(store, 8, sampler="ays_model").name == "five"
    assert taken(store, 8).name == "plain", "whoever runs, its levels are for 8 steps"


def test_by_steps_takes_weights_alone_where_there_is_nothing_else(store: Store) -> None:
    add(store, simpler(8))
    assert store.by_steps("a model", "ays_model")[8].schedule.name == "five"
    add(store, result("plain", 8))
    assert store.by_steps("a model", "ays_model")[8].schedule.name == "plain"


def test_where_steps_are_not_known_a_sampler_counts_first(store: Store) -> None:
    add(store, result("fitted", 30, sampler="ays_model", samplers=(30,)), result("plain"))
    assert taken(store, None).name == "fitted"
    store.delete("fitted")
    add(store, result("five", 5))
    assert taken(store, None).name == "plain"


def test_what_was_merged_or_measured_for_a_part_comes_last(store: Store) -> None:
    add(store, result("whole", 30, error=0.9), result("part", denoise=0.5, error=0.1))
    add(store, result("merged", **{MERGED: {}}, error=0.1))
    assert taken(store).name == "whole"
    store.delete("whole")
    assert taken(store).name == "part"


# -- the least error ------------------------------------------------------------------------


def test_the_least_error_counts_and_not_the_newest(store: Store) -> None:
    add(store, result("better", error=0.1, interval=[0.095, 0.105]))
    add(store, result("22 % worse", error=0.122, interval=[0.115, 0.13]))
    assert (taken(store).name, taken(store).why) == ("better", "the least error of 2 as near")


def test_of_errors_whose_intervals_overlap_the_newest_is_taken(store: Store) -> None:
    add(store, result("least", error=0.1, interval=[0.09, 0.11]))
    add(store, result("as good", error=0.105, interval=[0.1, 0.12]))
    add(store, result("worse", error=0.13, interval=[0.12, 0.14]))
    assert taken(store).name == "as good"
    assert taken(store).why == "the newest of 2 as good"


def test_gains_are_compared_where_all_are_known(store: Store) -> None:
    add(store, result("better", error=0.1, interval=[0.01, 1.0], gain=[0.5, 0.45, 0.55]))
    add(store, result("worse", error=0.122, interval=[0.01, 1.0], gain=[0.6, 0.56, 0.65]))
    assert taken(store).name == "better"
    add(store, result("other sampler", sampler="heun", error=1.5, gain=[0.2, 0.19, 0.21]))
    assert taken(store).name == "worse", "another sampler's gain is over other schedules"


def test_older_results_are_ordered_by_their_errors_and_those_without_come_last(
    store: Store,
) -> None:
    add(store, result("better", error=0.1), result("worse", error=0.122), result("unknown"))
    assert taken(store).name == "better"
    add(store, result("as good", error=0.1))
    assert taken(store).name == "as good"


def test_an_older_result_competes_with_the_interval_of_a_newer_one(store: Store) -> None:
    add(store, result("older", error=0.1))
    add(store, result("surely worse", error=0.122, interval=[0.11, 0.13]))
    assert taken(store).name == "older"
    add(store, result("maybe as good", error=0.11, interval=[0.09, 0.12]))
    assert taken(store).name == "maybe as good"


@pytest.mark.parametrize("other", [{"cfg": 1.0}, {"shape": [1, 4, 8, 8]}, {CRITERION: "law"}])
def test_errors_of_another_kind_are_not_compared(store: Store, other: dict[str, Any]) -> None:
    add(store, result("of another kind", error=0.001, **other))
    add(store, result("better", error=0.1), result("newest", error=0.2))
    assert taken(store).name == "better"


def test_another_models_results_are_never_taken(store: Store) -> None:
    add(store, result("mine", 30, error=0.9))
    other = result("other", error=0.1)
    request = {**other.request, "identity": "b"}
    store.save(SavedSchedule(other.schedule, "b", request, {}, other.notes))
    assert (taken(store).name, taken(store).why) == ("mine", "")
    assert store.nearest("c", Asked(10)) is None
    assert store.nearest(None, Asked(10)) is None


@pytest.mark.parametrize("odd", ["x", True, -1.0, 0.0, [0.1], {"a": 1}, 10**400])
def test_odd_figures_in_a_file_are_none(store: Store, tmp_path: Path, odd: Any) -> None:
    (tmp_path / "odd.json").write_bytes(
        to_json_bytes(result("odd", error=odd, interval=odd, gain=odd))
    )
    (tmp_path / "odd too.json").write_bytes(
        to_json_bytes(result("odd too", error=0.01, interval=[odd, 0.02], cfg=[7.0], shape=odd))
    )
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    add(store, result("better", error=0.1), result("worse", error=0.2))
    assert taken(store, cfg=7.0).name == "better"


# -- all numbers of steps -------------------------------------------------------------------


def test_by_steps_tells_the_best_result_for_each_number_of_steps(store: Store) -> None:
    add(store, result("eight", 8, sampler="ays_model", samplers=(8, 20), error=0.1))
    add(store, result("twenty", 20, error=0.2), result("twenty, worse", 20, error=0.3))
    add(store, result("part", 5, denoise=0.5), result("merged", 6, **{MERGED: {}}))
    found = {count: saved.schedule.name for count, saved in store.by_steps("a model").items()}
    assert found == {8: "eight", 20: "eight"}
    add(store, result("thirty", 30))
    assert store.by_steps("a model").keys() == {8, 20, 30}
    assert store.by_steps(None) == {}


def test_by_steps_keeps_to_a_sampler_and_a_cfg(store: Store) -> None:
    add(store, result("as asked"), result("other cfg", cfg=3.0), result("other", sampler="heun"))
    for asked, name in (({"cfg": 6.0}, "as asked"), ({"cfg": 2.0}, "other cfg")):
        assert store.by_steps("a model", "euler", **asked)[10].schedule.name == name
    assert store.by_steps("a model", "heun", 2.0)[10].schedule.name == "other"
