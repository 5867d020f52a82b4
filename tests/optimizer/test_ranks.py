"""Several processes find together what one finds alone, and none waits for one that is gone."""

from __future__ import annotations

import json
import math
import multiprocessing
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.optimizer import (
    LostRankError,
    Profile,
    RankError,
    Ranks,
)
from align_your_steps.optimizer.ranks.parts import joined_parts, packed, unpacked
from align_your_steps.optimizer.runs.processes import OneProcess
from align_your_steps.tests.optimizer import rank_worker
from align_your_steps.tests.optimizer.rank_worker import (
    EQUAL,
    FAILING,
    HUNG,
    STAYS,
    UNEVEN,
    Model,
    OnDisk,
    given_profile,
    run,
    told,
)
from torch import distributed

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="needs gloo"
)

Found = list[dict[str, Any]]  # by rank, and by job: those before the rank was killed
SOON = 20.0  # seconds in which a survivor notices that another rank is gone
ROUNDING = 1e-4  # relative: single precision along a run, in batches of another size
ENDED = 90.0  # seconds after which a process is no longer waited for


def launched(job: str, size: int, folder: Path) -> Found:
    """Return what the ranks of a job have found."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([rank_worker.__name__])  # torch is imported once
    processes = [
        context.Process(target=rank_worker.work, args=(job, rank, size, folder), daemon=True)
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    ends = time.monotonic() + ENDED
    for process in processes:
        process.join(max(0.0, ends - time.monotonic()))
    hung = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for rank in hung:
        processes[rank].kill()
    assert not hung, f"ranks {hung} did not end"
    paths = [folder / f"{rank}.json" for rank in range(size)]
    return [json.loads(path.read_text()) if path.exists() else {} for path in paths]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """Return what one process finds."""

    def one(**settings: Any) -> dict[str, Any]:
        model = Model()
        return told(run(model, **settings), model)

    uneven = {name: one(**settings, least_batch=3) for name, settings in UNEVEN.items()}
    return {name: one(**settings) for name, settings in EQUAL.items()} | uneven


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """Return what two ranks have found; before, one process has written a journal for them."""
    folder = tmp_path_factory.mktemp("pair")
    run(Model(), journal=OnDisk(folder / "read"))
    return folder, launched("pair", 2, folder)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return launched("three", 3, tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return launched("four", 4, tmp_path_factory.mktemp("four"))


def of(found: Found, job: str) -> list[dict[str, Any]]:
    """Return what the ranks that live have found in one job."""
    return [one[job] for one in found if job in one]


def common(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is the same on all ranks, to the last bit: all but time and their own rows."""
    results = [{k: v for k, v in one.items() if k not in ("own_rows", "seconds")} for one in found]
    assert all(one == results[0] for one in results), results
    assert "error" not in results[0], results[0]
    if results[0]["calls"]["reference"]:
        assert sum(one["own_rows"] for one in found) <= sum(results[0]["calls"].values())
    return results[0]


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """They differ by no more than rounding."""
    assert one["method"] == other["method"]
    assert one["calls"] == other["calls"]
    assert one["noises"] == other["noises"]
    assert one["criterion"] == other["criterion"]
    assert one["ended_early"] == other["ended_early"]
    assert one["sigmas"] == pytest.approx(other["sigmas"], rel=ROUNDING)
    assert one["reference_error"] == pytest.approx(other["reference_error"], rel=0.01)
    assert one["errors"].keys() == other["errors"].keys()
    for name, errors in one["errors"].items():
        assert errors == pytest.approx(other["errors"][name], rel=0.01, abs=1e-4)


# -- the same result ------------------------------------------------------------------------


@pytest.mark.parametrize("job", [name for name in EQUAL if name != "limited"])
def test_two_ranks_find_what_one_process_does(job: str, pair: Any, alone: Any) -> None:
    found = of(pair[1], job)
    same(common(found), alone[job])
    assert (alone[job]["criterion"] == "law") == (job == "distribution")
    rows = [one["own_rows"] for one in found]
    assert sum(rows) == sum(alone[job]["calls"].values()), "no row is computed twice"
    assert max(rows) <= 0.7 * sum(rows), "each computes its own"


@pytest.mark.parametrize("job", UNEVEN)
def test_three_ranks_find_what_one_process_does_with_as_many_noises(
    job: str, three: Any, alone: Any
) -> None:
    found = of(three, job)
    same(common(found), alone[job])
    rows = [one["own_rows"] for one in found]
    assert sum(rows) == sum(alone[job]["calls"].values())
    assert min(rows) > 0
    if job != "few":
        assert max(rows) > 1.5 * min(rows), "four rows on three ranks"


def test_what_three_ranks_plan_with_a_small_budget_is_not_what_one_plans(alone: Any) -> None:
    one, three = run(Model(), **UNEVEN["few"]).calls, alone["few"]["calls"]
    assert three["profile"] == 3 * one["profile"], "a sample for every rank"


def test_all_ranks_follow_the_limit_that_the_first_has(pair: Any, alone: Any) -> None:
    found = common(of(pair[1], "limited"))
    assert found["ended_early"]
    assert 0.6 * 600 < sum(found["calls"].values()) <= 600
    assert found["errors"].keys() >= {"mine"}


def test_a_limit_that_leaves_nothing_ends_in_the_smallest_comparison(pair: Any) -> None:
    found = common(of(pair[1], "ended at once"))
    assert found["ended_early"]
    assert found["noises"] == 2, "one for each rank"
    assert sum(found["calls"].values()) < 400


def test_the_journal_of_two_ranks_serves_one_process(pair: Any, alone: Any) -> None:
    folder, found = pair
    same(common(of(found, "journal written")), alone["dpmpp_2m"])
    model = Model()
    again = told(run(model, journal=OnDisk(folder / "written")), model)
    assert again["sigmas"] == of(found, "journal written")[0]["sigmas"]
    calls = of(found, "journal written")[0]["calls"]
    assert model.rows < calls["candidates"], "all but the stage that was not ended"


def test_the_journal_of_one_process_serves_two_ranks(pair: Any, alone: Any) -> None:
    found = of(pair[1], "journal read")
    same(common(found), alone["dpmpp_2m"])
    assert sum(one["own_rows"] for one in found) < alone["dpmpp_2m"]["calls"]["candidates"]


def test_ranks_split_rows_as_equally_as_can_be() -> None:
    def rows(count: int, size: int) -> list[int]:
        ranks = Ranks.__new__(Ranks)
        ranks.size = size
        parts = []
        for ranks.rank in range(size):
            parts.append(range(count)[ranks.rows(count)])
        assert [row for part in parts for row in part] == list(range(count))
        return [len(part) for part in parts]

    assert rows(8, 2) == [4, 4]
    assert rows(5, 3) == [2, 2, 1]
    assert rows(2, 4) == [1, 1, 0, 0]
    assert range(7)[OneProcess().rows(7)] == range(7)


def test_torchrun_starts_it(tmp_path: Path, alone: Any) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, *command, "-m", rank_worker.__name__, str(tmp_path)],
        check=True, timeout=ENDED, capture_output=True,
    )  # fmt: skip
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for result in results:
        same(result, alone["euler"])


# -- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(("job", "settings"), [
    ("failing", {}), ("failing distribution", {"solver": "dpmpp_2m_sde", "budget": 1000}),
])  # fmt: skip
def test_a_schedule_that_fails_on_one_rank_is_out_on_all(
    job: str, settings: dict[str, Any], pair: Any
) -> None:
    result = common(of(pair[1], job))
    assert "noise level 6" in result["failed"]["mine"]
    assert "mine" not in result["errors"]

    def fails(call: int, level: float) -> slice:
        return slice(-1, None) if abs(level - FAILING) < 1e-6 else slice(0, 0)

    model = Model(fails)
    expected = told(run(model, **settings), model)
    assert result["method"] == expected["method"]
    assert result["failed"] == expected["failed"]
    assert result["sigmas"] == pytest.approx(expected["sigmas"], rel=ROUNDING)


def test_a_reference_that_fails_on_one_rank_is_the_same_error_on_all(pair: Any) -> None:
    first, second = of(pair[1], "no reference")
    assert first["error"] == second["error"] == "NotFiniteError"
    assert first["message"] == second["message"]
    assert "noise level" in first["message"]


def test_a_later_reference_that_fails_on_one_rank_ends_the_comparison_on_all(
    pair: Any, alone: Any
) -> None:
    result = common(of(pair[1], "no further reference"))
    assert "many-step picture" in result["failed"]["further seeds"]
    assert 0 < result["noises"] < alone["dpmpp_2m"]["noises"]


def test_a_rank_that_raises_when_all_is_done_is_still_heard(pair: Any) -> None:
    first, second = of(pair[1], "at the end")
    assert second["error"] == "OSError"
    assert first["error"] == "RankError"
    assert "when all is done" in first["message"]


def test_a_rank_that_raises_ends_it_on_all(pair: Any) -> None:
    first, second = of(pair[1], "raises")
    assert second["error"] == "MemoryError"
    assert first["error"] == "RankError"
    assert "Process 1 of 2" in first["message"]
    assert "no memory left on this device" in first["message"]
    assert first["kept"] > 0
    assert first["seconds"] < SOON


def test_one_cancel_is_enough(pair: Any) -> None:
    first, second = of(pair[1], "cancelled")
    assert second["error"] == "KeyboardInterrupt"
    assert first["error"] == "RankError"
    assert "KeyboardInterrupt" in first["message"]
    assert first["seconds"] < SOON


@pytest.mark.parametrize("job", ["other arguments", "other candidates"])
def test_ranks_with_other_arguments_are_told(job: str, pair: Any) -> None:
    for found in of(pair[1], job):
        assert found["error"] == "RankError"
        assert "the same arguments" in found["message"]
        assert found["seconds"] < SOON


def test_too_small_a_budget_is_refused_everywhere(pair: Any) -> None:
    for found in of(pair[1], "too little"):
        assert found["error"] == "ValueError"
        assert "with 2 seeds at a time" in found["message"]
        assert "fewer processes" in found["message"]


def test_what_went_wrong_does_not_disturb_the_next_one(pair: Any, alone: Any) -> None:
    same(common(of(pair[1], "after all that")), alone["dpmpp_2m"])


def test_a_rank_that_hangs_is_not_waited_for(pair: Any) -> None:
    first, second = of(pair[1], "hangs")
    assert first["error"] == second["error"] == "LostRankError"
    assert first["seconds"] < HUNG
    assert "within 1 s" in first["message"]


def test_all_survivors_notice_that_a_rank_is_gone_and_keep_its_samples(three: Found) -> None:
    assert "killed" not in three[2]
    for found in of(three, "killed"):
        assert found["error"] == "LostRankError"
        assert found["seconds"] < SOON
        assert "One of 3 processes is gone" in found["message"]
        assert "'profile'" in found["message"]
        assert found["kept"] == 3


def test_ranks_of_a_group_are_among_themselves(four: Found) -> None:
    assert len(of(four, "groups")) == 4
    for number, found in enumerate(of(four, "groups")):
        odd = number % 2
        assert found["rank"] == number // 2
        assert found["errors"] == [10.0 + odd, 12.0 + odd]
        assert found["left"] == 7 + odd
        assert "not in the group" in found["refused"]


def test_a_survivor_that_has_noticed_lets_those_notice_that_wait_for_it(four: Found) -> None:
    for survivor in four[:3]:
        assert survivor["killed"]["error"] == "LostRankError"
        assert survivor["killed"]["seconds"] < STAYS - 1.0, "not only when the others had ended"
        assert "'exchange'" in survivor["killed"]["message"]


@pytest.mark.parametrize(("job", "lost", "phase"), [
    ("killed_early", 1, "reference"), ("killed_late", 0, "candidates"),
])  # fmt: skip
def test_one_process_goes_on_where_a_rank_was_lost(
    job: str, lost: int, phase: str, tmp_path: Path, alone: Any
) -> None:
    found = launched(job, 2, tmp_path)
    assert found[lost] == {}
    (survivor,) = of(found, "killed")
    assert survivor["error"] == "LostRankError"
    assert survivor["seconds"] < SOON
    assert phase in survivor["message"]
    assert "same journal, and with least_batch=2" in survivor["message"]
    if job == "killed_late":
        assert survivor["kept"] == 3
    else:
        assert survivor["kept"] is None
    before = sorted(path.name for path in (tmp_path / "journal").iterdir())
    assert before
    shutil.copytree(tmp_path / "journal", tmp_path / "again")
    model = Model()
    same(told(run(model, journal=OnDisk(tmp_path / "again")), Model()), alone["dpmpp_2m"])
    assert model.rows < sum(alone["dpmpp_2m"]["calls"].values()), "what was recorded serves"


def test_without_an_initialised_group_the_error_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match="torchrun"):
        Ranks()
    assert issubclass(LostRankError, RankError)


def test_without_torch_distributed_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"no torch\.distributed"):
        Ranks()
    assert run(Model(), budget=400).method, "without ranks it is not needed"


# -- a given profile ------------------------------------------------------------------------


def test_a_given_profile_is_not_measured_and_its_calls_go_to_the_comparison(alone: Any) -> None:
    profile, model = given_profile(), Model()
    result = run(model, profile=profile)
    assert result.profile is profile
    assert result.calls["profile"] == 0
    assert result.total_calls == model.rows
    measured = alone["dpmpp_2m"]
    assert measured["calls"]["profile"] > 0
    assert result.total_calls > 0.9 * sum(measured["calls"].values()), "nothing is wasted"
    assert result.noises >= measured["noises"]


def test_a_given_profile_counts_on_several_ranks_too(pair: Any) -> None:
    model = Model()
    expected = told(run(model, profile=given_profile()), model)
    same(common(of(pair[1], "given")), expected)


def test_a_given_profile_is_the_one_that_schedules_are_searched_with() -> None:
    def paths(profile: Profile) -> dict[str, Any]:
        scores = run(Model(), profile=profile).scores
        searched = [s.candidate for s in scores if s.candidate.name.startswith("path")]
        return {candidate.name: candidate.sigmas for candidate in searched}

    profile = given_profile()
    weight = torch.linspace(1.0, 0.1, len(profile.sigmas), dtype=torch.float64)
    grams = profile.grams * weight[:, None] * weight
    one, other = paths(profile), paths(Profile(profile.sigmas, grams, profile.losses, profile.dim))
    both = one.keys() & other.keys()
    assert both
    assert not any(torch.allclose(one[name], other[name]) for name in both)


def test_a_smaller_budget_is_enough_where_the_profile_is_given() -> None:
    with pytest.raises(ValueError, match="at least") as refused:
        run(Model(), budget=10)
    least = int(str(refused.value).split("at least ")[1].split(" ")[0])
    with pytest.raises(ValueError, match="at least"):
        run(Model(), budget=least - 1)
    result = run(Model(), budget=least - 32, profile=given_profile())
    assert result.total_calls <= least - 32


def test_a_profile_of_another_latent_is_refused() -> None:
    profile = given_profile()
    wrong = Profile(profile.sigmas, profile.grams, profile.losses, 15)
    with pytest.raises(ValueError, match="15 latent elements, but the latent has 16"):
        run(Model(), profile=wrong)


@pytest.mark.parametrize("part", [slice(1, None), slice(None, -1)])
def test_a_profile_that_does_not_reach_the_end_levels_is_refused(part: slice) -> None:
    profile = given_profile()
    wrong = Profile(
        profile.sigmas[part], profile.grams[:, part, part], profile.losses[:, part], profile.dim
    )
    with pytest.raises(ValueError, match=r"from 20 to 0\.05"):
        run(Model(), profile=wrong)


def test_a_journal_with_a_profile_is_not_one_without(tmp_path: Path) -> None:
    run(Model(), journal=OnDisk(tmp_path))
    expected, model = Model(), Model()
    result = run(expected, profile=given_profile())
    found = run(model, profile=given_profile(), journal=OnDisk(tmp_path))
    assert torch.equal(found.sigmas, result.sigmas)
    assert model.rows == expected.rows, "nothing that was recorded without it fits"
    third = Model()
    run(third, profile=given_profile(), journal=OnDisk(tmp_path))
    assert third.rows < model.rows, "but what was recorded with it does"


def test_the_digest_of_a_profile_changes_with_every_number() -> None:
    profile = given_profile()
    again = Profile.from_tensors(profile.to_tensors(torch.float64))
    assert again.digest == profile.digest
    losses = profile.losses.clone()
    losses[-1, -1] += 1e-12
    assert Profile(profile.sigmas, profile.grams, losses, profile.dim).digest != profile.digest


# -- what passes between ranks --------------------------------------------------------------


def test_bytes_are_the_tensors_again_to_the_last_bit() -> None:
    tensors = {
        "run.x": torch.randn(2, 3, 4, dtype=torch.float64).transpose(0, 1),
        "errors": torch.tensor([0.1, math.inf, math.nan]),
        "half": torch.randn(5).bfloat16(),
        "number": torch.tensor(7),
        "none": torch.empty(0, 3),
        "yes": torch.tensor([True, False]),
    }
    found, said = unpacked(packed(tensors, {"rows": {"reference": 3}}))
    assert said == {"rows": {"reference": 3}}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].nan_to_num(), tensor.nan_to_num())
        assert found[name].shape == tensor.shape
    assert unpacked(packed({}))[1] is None


def test_parts_join_to_the_whole_in_order() -> None:
    whole = {
        "end": torch.randn(5, 2), "ends": torch.randn(3, 5, 2), "errors": torch.randn(5),
        "fine.log_levels": torch.arange(4.0), "fine.x": torch.randn(4, 5, 2),
        "fine.denoised": torch.randn(4, 5, 2), "fine.end": torch.randn(5, 2),
        "profile.sigmas": torch.arange(3.0), "profile.grams": torch.randn(5, 3, 3),
        "profile.losses": torch.randn(5, 3), "profile.dim": torch.tensor([2]),
    }  # fmt: skip
    second = {"ends", "fine.x", "fine.denoised"}
    shared = {"fine.log_levels", "profile.sigmas", "profile.dim"}

    def part(rows: slice) -> dict[str, torch.Tensor]:
        return {
            name: x if name in shared else x[:, rows] if name in second else x[rows]
            for name, x in whole.items()
        }

    joined = joined_parts([part(slice(0, 2)), part(slice(2, 4)), part(slice(4, 5))])
    assert joined.keys() == whole.keys()
    for name, x in whole.items():
        assert torch.equal(joined[name], x), name


def test_what_one_part_lacks_is_not_found_and_a_failure_in_one_is_one() -> None:
    levels = torch.tensor([2.0]), torch.tensor([6.0, 2.0])
    parts = [
        {"end": torch.ones(1, 2), "coarse.end": torch.ones(1, 2), "failed, 0": levels[0]},
        {"end": torch.ones(2, 2), "failed, 0": levels[1], "failed, 3": torch.empty(0)},
    ]
    joined = joined_parts(parts)
    assert set(joined) == {"end", "failed, 0", "failed, 3"}
    assert joined["failed, 0"].tolist() == [6.0, 2.0]
    assert len(joined["failed, 3"]) == 0


def test_a_tensor_of_no_known_kind_is_not_joined() -> None:
    with pytest.raises(KeyError):
        joined_parts([{"new": torch.ones(1)}, {"new": torch.ones(1)}])
