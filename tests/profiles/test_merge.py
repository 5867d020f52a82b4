"""Merged profiles are sums, whatever comes first; what is no sum is refused in a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from importlib import import_module
from itertools import permutations
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from align_your_steps.optimizer import Profile, klub, klub_standard_error
from align_your_steps.optimizer.diffusion import gaussian
from align_your_steps.profiles import (
    MeasuredProfile,
    Merged,
    account,
    as_ranges,
    as_result,
    merge,
)
from align_your_steps.profiles.measured_profile import from_ranges
from align_your_steps.schedules import SavedSchedule, Store
from align_your_steps.schedules.store.saved_schedule import read_saved, saved_from, to_bytes
from align_your_steps.schedules.store.store import Asked
from align_your_steps.tests.profiles.made import LEVELS, made, saved


def assert_same(profile: Profile, other: Profile) -> None:
    """To the last bit."""
    mine, theirs = profile.to_tensors(torch.float64), other.to_tensors(torch.float64)
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in mine.items())


def as_file(merged: Merged, results: list[SavedSchedule], name: str = "merged") -> SavedSchedule:
    """Return what is read from the file of a merged profile."""
    return saved_from(to_bytes(as_result(merged, results, name, account(merged))))


def test_a_merged_profile_is_the_sum_of_its_parts() -> None:
    parts = [made(seed, count) for seed, count in ((3, 4), (5, 1), (8, 6))]
    whole = merge(parts, "all").whole
    assert_same(whole.profile, reduce(add, (part.profile for part in parts)))
    assert whole.profile.count == 11
    assert whole.noises == tuple(noise for part in parts for noise in part.noises)


def test_neither_order_nor_brackets_matter() -> None:
    parts = [made(seed, count) for seed, count in ((3, 4), (5, 1), (8, 6))]
    whole = merge(parts, "all").whole
    for order in permutations(parts):
        assert merge(order, "all").whole.profile.digest == whole.profile.digest
        first, second, third = order
        left = merge([merge([first, second], "two").whole, third], "all").whole
        right = merge([first, merge([second, third], "two").whole], "all").whole
        assert_same(left.profile, whole.profile)
        assert_same(right.profile, whole.profile)
        assert left.noises == right.noises == whole.noises


def test_what_may_differ_does_not_matter() -> None:
    other = {"sampler": "heun", "steps": 20, "method": "paper (KLUB)", "budget": 9, "cfg": 7}
    parts = [made(1), made(2, **other)]
    assert merge(parts, "all").whole.profile.count == 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"identity": "another model"}, "are of different models"),
        ({"second identity": "a refiner"}, "have different second models"),
        ({"cfg": 5.5}, "have another guidance scale, cfg 7 and cfg 5.5"),
        ({"cfg": None}, "have another guidance scale, cfg 7 and cfg unknown"),
        ({"guidance": "another prompt"}, "have different prompts or another guidance"),
        ({"second guidance": "another"}, "have different prompts or another guidance"),
        ({"shape": [1, 3, 2]}, "are of latents of different sizes, 1x2x3 and 1x3x2"),
        ({"shape": [[1, 2], [3]]}, "of different sizes, 1x2x3 and 1x2 with 3"),
        ({"shape": [10**400, [[]], None]}, "of different sizes, 1x2x3 and unknownxunknownxunkn"),
        ({"shape": [[[[1]]]]}, "of different sizes, 1x2x3 and unknown"),
        ({"cfg": 10**400}, "cfg 7 and cfg unknown"),
        ({"latent": "a photograph"}, "have different start images, example images or masks"),
        ({"denoise": 0.6}, "are of different parts of the path, denoise 1 and 0.6"),
        ({"boundary": 0.5}, "have second models that take over at different noise levels"),
        ({"dim": 7}, "are of latents of 6 and of 7 elements"),
        ({"profile_levels": [10.0, 1.0, 0.15]}, "7 from 10 to 0.15 and 3 from 10 to 0.15"),
        ({"profile_levels": [9.99, *LEVELS[1:]]}, "7 from 10 to 0.15 and 7 from 9.99 to 0.15"),
    ],
)
def test_profiles_that_do_not_add_are_refused_with_what_differs_first(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match="'seed 1' and 'seed 2' ") as refused:
        merge([made(1), made(2, **change)], "all")
    assert said in str(refused.value)
    assert str(refused.value).endswith(".") and ": " in str(refused.value)


def test_a_model_without_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="'seed 2' is of a model that could not be identified"):
        merge([made(1, identity=None), made(2, identity=None)][::-1], "all")


def test_levels_that_were_only_rounded_differently_are_the_same() -> None:
    rounded = [level * (1.0 + 1e-12) for level in LEVELS]
    parts = [made(1), made(2, profile_levels=rounded)]
    assert not torch.equal(parts[0].profile.sigmas, parts[1].profile.sigmas)
    digests = {merge(order, "all").whole.profile.digest for order in (parts, parts[::-1])}
    assert len(digests) == 1


def test_the_same_seed_adds_nothing_however_it_was_rounded() -> None:
    shifted = replace(made(0, 5), name="another machine's")
    noisy = Profile(
        shifted.profile.sigmas, shifted.profile.grams * 1.001, shifted.profile.losses, 6
    )
    for other in (shifted, replace(shifted, profile=noisy), made(0, 9, name="a longer one")):
        for parts in ([made(0, 5), made(3), other], [other, made(3), made(0, 5)]):
            with pytest.raises(ValueError, match=r"from the same seeds as .* \(seed 0\)"):
                merge(parts, "all")


def test_noises_that_two_merged_profiles_share_count_once() -> None:
    a, b, c = made(1, 4), made(2, 3), made(3, 5)
    ab, ac = merge([a, b], "ab").whole, merge([a, c], "ac").whole
    merged = merge([ac, ab], "abc")
    assert_same(merged.whole.profile, merge([a, b, c], "abc").whole.profile)
    assert sorted(merged.repeated) == [0, 4]
    assert "4 of the samples of" in account(merged)
    with pytest.raises(ValueError, match="'seed 1' was measured from the same seeds as 'ab'"):
        merge([ab, a], "again")


def test_prompts_that_were_rounded_differently_are_merged_if_the_user_says_so() -> None:
    here, there = made(1), made(2, guidance="the same prompt, of another GPU")
    other = made(3, guidance="a third")
    merged = merge([here, there], "all", same_prompts=True)
    assert merged.whole.conditions.difference(here.conditions) is None
    assert merged.whole.conditions.difference(there.conditions) is None
    assert merged.whole.conditions.difference(other.conditions)
    again = MeasuredProfile.of(as_file(merged, [saved(1), saved(2)]), "all")
    assert again.conditions == merged.whole.conditions
    with pytest.raises(ValueError, match="are of different models"):
        merge([here, made(4, identity="another model")], "all", same_prompts=True)


def test_what_was_merged_tells_wherever_it_stands_that_prompts_are_the_same() -> None:
    a, b, c = made(1, guidance="a"), made(2, guidance="b"), made(3, guidance="c")
    ab = merge([a, b], "ab", same_prompts=True).whole
    others = [made(4, guidance="a"), made(5, guidance="b"), ab]
    for order in permutations(others):
        assert merge(order, "all").whole.profile.count == 20
        with pytest.raises(ValueError, match="have different prompts or another guidance"):
            merge([*order, c], "all")


def test_fewer_than_two_are_no_merge() -> None:
    with pytest.raises(ValueError, match="two or more"):
        merge([made(1)], "all")


def test_the_standard_error_falls_with_the_root_of_the_samples() -> None:
    """Four machines halve it; the merged differences are those of the closed form."""
    levels = np.array(LEVELS)
    parts = [made(seed, 120) for seed in range(16)]
    one = [klub_standard_error(part.profile, levels) for part in parts]
    four = klub_standard_error(merge(parts[:4], "four").whole.profile, levels)
    all_of_them = merge(parts, "all").whole.profile
    sixteen = klub_standard_error(all_of_them, levels)
    assert four == pytest.approx(np.mean(one) / 2, rel=0.1)
    assert sixteen == pytest.approx(np.mean(one) / 4, rel=0.1)
    errors = [abs(klub(part.profile, levels) - klub(all_of_them, levels)) for part in parts]
    assert np.mean(errors) == pytest.approx(np.mean(one) * (2 / np.pi) ** 0.5, rel=0.5)
    differences = all_of_them.squared_differences.mean(0)
    expected = gaussian.squared_difference(LEVELS[5], LEVELS[1])
    spread = float(all_of_them.squared_differences.std(0)[5, 1]) / 1920**0.5
    assert abs(float(differences[5, 1]) - expected) < 4 * spread < 0.06 * expected


def test_the_account_names_samples_and_errors_before_and_after() -> None:
    merged = merge([made(1, 40), made(2, 1)], "all")
    text = account(merged).splitlines()
    assert text[0] == "Merged 2 profiles of one model: 41 samples."
    levels = merged.whole.profile.sigmas.numpy()
    before = klub_standard_error(merged.parts[0].profile, levels)
    after = klub_standard_error(merged.whole.profile, levels)
    assert text[2].startswith("'seed 1': 40 samples (seed 1), KLUB ")
    assert text[2].endswith(f"± {before:.2g}")
    assert text[3].endswith("± unknown, because it is a single sample")
    assert text[4].startswith("together: 41 samples (seeds 1, 2), KLUB ")
    assert text[4].endswith(f"± {after:.2g}")


def test_the_account_of_very_many_samples_takes_the_spread_of_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merged = merge([made(1, 400), made(2, 400)], "all")
    exact = account(merged).splitlines()[4]
    module = import_module("align_your_steps.profiles.merge")  # not the function
    monkeypatch.setattr(module, "MOST", 300)
    about = account(merged).splitlines()[4]
    before, after = (float(text.rpartition("± ")[2]) for text in (exact, about))
    assert exact.partition("±")[0] == about.partition("±")[0]
    assert after == pytest.approx(before, rel=0.2)


def test_a_merged_result_is_saved_read_and_merged_again(tmp_path: Path) -> None:
    results = [saved(1, 4, calls=100), saved(2, 3, calls=900), saved(2**63 + 5, 2, calls=500)]
    parts = [MeasuredProfile.of(result, result.schedule.name) for result in results]
    merged = merge(parts[:2], "two")
    path = Store([tmp_path]).save(as_result(merged, results[:2], "two", "a report"))
    read = read_saved(path, with_tensors=True)
    assert read.schedule.levels == results[1].schedule.levels, "of the one with the most calls"
    assert "seed" not in read.request and read.notes["report"] == "a report"
    again = MeasuredProfile.of(read, "two")
    assert_same(again.profile, merged.whole.profile)
    assert again.profile.digest == merged.whole.profile.digest
    assert again.noises == merged.whole.noises
    assert again.conditions == merged.whole.conditions
    three = merge([again, parts[2]], "three").whole
    assert_same(three.profile, merge(parts, "three").whole.profile)
    # The same parts give the same file, and others another one.
    same = as_result(merge(parts[1::-1], "two"), results[1::-1], "two", "a report")
    assert same.digest == read.digest
    assert as_result(merge(parts[1:], "two"), results[1:], "two", "").digest != read.digest


def test_auto_takes_what_was_measured_before_what_was_merged(tmp_path: Path) -> None:
    results = [saved(1, steps=2), saved(2, steps=2)]
    store = Store([tmp_path])
    merged = merge([MeasuredProfile.of(result, "one") for result in results], "merged")
    store.save(as_result(merged, results, "merged", ""))
    found = store.nearest("a model", Asked(9))
    assert found is not None and found.name == "merged"
    store.save(results[0])
    store.save(as_result(merged, results, "merged", ""))  # the newest again
    found = store.nearest("a model", Asked(9))
    assert found is not None and found.name == "seed 1"


def broken(**changes: Any) -> SavedSchedule:
    """A result of which one tensor is another one; None: is missing."""
    result = saved(1, 4)
    tensors = {**result.tensors, **{f"profile.{key}": value for key, value in changes.items()}}
    return replace(result, tensors={k: v for k, v in tensors.items() if v is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"grams": None},
        {"sigmas": None},
        {"grams": torch.zeros(4, 7, 6)},
        {"grams": torch.zeros(7, 7)},
        {"grams": torch.zeros(0, 7, 7)},
        {"grams": torch.full((4, 7, 7), float("nan"))},
        {"grams": torch.full((4, 7, 7), 1e300, dtype=torch.float64)},
        {"grams": -torch.ones(4, 7, 7)},
        {"grams": torch.ones(4, 7, 7, dtype=torch.int64)},
        {"losses": torch.zeros(3, 7)},
        {"losses": torch.full((4, 7), float("inf"))},
        {"sigmas": torch.tensor(LEVELS[::-1])},
        {"sigmas": torch.tensor([*LEVELS[:-1], 0.0])},
        {"sigmas": torch.tensor([*LEVELS[:-1], 1e-300], dtype=torch.float64)},
        {"sigmas": torch.tensor(5.0)},
        {
            "sigmas": torch.linspace(2, 1, 200),
            "grams": torch.zeros(4, 200, 200),
            "losses": torch.zeros(4, 200),
        },
        {"dim": torch.tensor([])},
        {"dim": torch.tensor([0])},
        {"dim": torch.tensor([1, 2])},
        {"dim": torch.tensor([6.0])},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_a_damaged_profile_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'it' holds a profile that is damaged: "):
        MeasuredProfile.of(broken(**changes), "it")


def test_a_schedule_without_a_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="'it' holds no profile, as no schedule does that came"):
        MeasuredProfile.of(replace(saved(1), tensors={}), "it")


@pytest.mark.parametrize("seed", [None, -1, True, 1.0, "1", 2**64, [1]])
def test_a_result_that_does_not_say_its_seed_is_refused(seed: Any) -> None:
    with pytest.raises(ValueError, match="does not say with which seed it was measured"):
        MeasuredProfile.of(replace(saved(1), request={"identity": "a model", "seed": seed}), "it")


@pytest.mark.parametrize(
    "ranges",
    [
        None,
        "noises",
        [[1, 0, 3]],
        [[1, 0, 6]],
        [[1, 0, 2], [1, 1, 3]],
        [[1, 0, 10**15]],
        [[1, 0, 5, 0]],
        [[1, 0.0, 5]],
        [[1, -1, 5]],
        [1, 0, 5],
    ],
    ids=str,
)
def test_noises_that_cannot_be_those_of_the_samples_are_refused(ranges: Any) -> None:
    result = saved(1, 5)
    json.dumps(ranges)  # as a file may hold it
    with pytest.raises(ValueError, match="does not say rightly from which seeds"):
        MeasuredProfile.of(replace(result, notes={"noises": ranges}), "it")


def test_noises_are_written_as_ranges_and_read_again() -> None:
    noises = [(1, 0), (1, 1), (1, 3), (2**64 - 1, 0)]
    assert from_ranges(as_ranges(noises), 4) == noises
