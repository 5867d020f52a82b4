"""What is tried: the caller's schedules, shortest paths, and the sweeps of Algorithm 1."""

import math

import numpy as np
import pytest
import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer import (
    FLOW,
    VE,
    Coordinate,
    Profile,
    coordinate_search,
    edm_schedule,
    measure_profile,
    subdivide,
)
from align_your_steps.optimizer.diffusion.coordinate import spread
from align_your_steps.optimizer.judging.select import Candidate
from align_your_steps.optimizer.profile.candidates import (
    WEIGHT_EXPONENTS,
    checked_candidate,
    distinct,
    measured_candidates,
    paper_candidates,
)

DATA = Mixture.random(8, 6, seed=0)
TOP = {"VE": (VE, 14.6), "FLOW": (FLOW, 1.0)}


def profile(coordinate: Coordinate = VE, sigma_max: float = 14.6) -> Profile:
    top = float(coordinate.edm(np.array(min(sigma_max, coordinate.top or sigma_max))))
    return measure_profile(DATA.denoise, DATA.sample(16, seed=1), spread(top, 0.03, 32))


def names_of(order: int, steps: int = 5) -> list[str]:
    found = measured_candidates(profile(), steps, VE, 14.6, starts={}, order=order)
    return [candidate.name for candidate in found]


@pytest.mark.parametrize(
    "levels", [[8.0, 2.0, 0.5], (8.0, 2.0, 0.0), np.array([8, 2, 0]), torch.tensor([8.0, 2.0, 1.0])]
)
def test_proper_schedule_becomes_a_given_candidate_that_ends_in_zero(levels):
    candidate = checked_candidate("mine", levels, 2, 8.0)
    assert candidate.sigmas.tolist() == [8.0, 2.0, 0.0]
    assert candidate.given
    assert candidate.name == "mine"


def test_first_level_that_differs_by_rounding_is_made_exact():
    candidate = checked_candidate("mine", [14.6145, 1.0, 0.0], 2, 14.6146)
    assert candidate.sigmas[0] == torch.tensor(14.6146)


@pytest.mark.parametrize(
    "levels, reason",
    [
        ([8.0, 0.0], "it has 2 levels, not 3"),
        ([], "it has 0 levels, not 3"),
        ([8.0, math.nan, 0.0], "not finite"),
        ([math.inf, 1.0, 0.0], "not finite"),
        ([7.0, 1.0, 0.0], "it starts at 7, not at 8"),
        ([8.0, 8.0, 0.0], "do not descend strictly"),
        ([8.0, 9.0, 0.0], "do not descend strictly"),
        ([8.0, 0.0, 0.0], "do not descend strictly"),
        ([8.0, -1.0, 0.0], "do not descend strictly"),
    ],
)
def test_improper_schedule_is_refused_with_its_defect(levels, reason):
    with pytest.raises(ValueError, match=reason):
        checked_candidate("mine", levels, 2, 8.0)


def test_levels_that_coincide_in_the_hosts_precision_are_refused():
    with pytest.raises(ValueError, match="do not descend strictly"):
        checked_candidate("mine", [8.0, 2.0 + 1e-9, 2.0, 0.0], 3, 8.0)


def candidate(*levels: float) -> Candidate:
    return Candidate("a", torch.tensor([8.0, *levels, 0.0]))


def test_candidate_is_distinct_unless_all_its_levels_nearly_agree():
    one = candidate(2.0, 1.0)
    assert distinct([one], []) == [one]
    assert distinct([one], [candidate(2.04, 0.98)]) == []
    assert distinct([one], [candidate(2.0, 1.05), candidate(1.9, 1.0)]) == [one]


def test_of_candidates_that_nearly_agree_the_first_is_kept():
    first, same, other = candidate(2.0, 1.0), candidate(2.01, 1.01), candidate(2.0, 0.5)
    assert [id(c) for c in distinct([first, same, other], [])] == [id(first), id(other)]


@pytest.mark.parametrize("apart, kept", [(0.01, 3), (0.1, 2), (0.3, 1)])
def test_candidates_are_as_far_apart_as_is_asked_for(apart, kept):
    found = [candidate(2.0, 1.0), candidate(2.1, 1.05), candidate(2.0, 0.8)]
    others = distinct(found, [], VE, apart)
    assert len(others) == kept
    assert others[0] is found[0]


def test_flow_candidates_are_told_apart_by_their_edm_levels():
    """Near s = 1 levels that hardly differ are far apart in t; s = 1 itself has the highest t."""

    def flow(*levels: float) -> Candidate:
        return Candidate("a", torch.tensor([1.0, *levels, 0.0]))

    pair = [flow(0.990, 0.5), flow(0.995, 0.5)]
    assert distinct(pair, [], FLOW) == pair
    assert distinct(pair, [], VE) == pair[:1]
    top = [flow(FLOW.top, 0.5), flow(1.0 - 1e-6, 0.5)]
    assert distinct(top, [], FLOW) == top[:1]


def test_only_one_schedule_of_one_step_exists():
    assert len(distinct([candidate(), candidate()], [])) == 1
    assert distinct([candidate()], [candidate()]) == []


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("name", TOP)
def test_every_measured_candidate_is_a_schedule_of_the_host(name, steps):
    coordinate, top = TOP[name]
    found = list(
        measured_candidates(profile(coordinate, top), steps, coordinate, top, starts={}, order=2)
    )
    assert len({candidate.name for candidate in found}) == len(found)
    for candidate in found:
        assert len(candidate.sigmas) == steps + 1
        assert candidate.sigmas[0] == torch.tensor(top)
        assert candidate.sigmas[-1] == 0
        assert (candidate.sigmas.diff() < 0).all()
        assert not candidate.given


@pytest.mark.parametrize("order", [1, 2])
def test_paths_of_every_weight_and_order_are_tried_the_solvers_own_order_first(order):
    names = names_of(order)
    position = {
        (p, k): names.index(f"path p={p:g} order {k}") for p in WEIGHT_EXPONENTS for k in (1, 2)
    }
    own = [position[p, order] for p in WEIGHT_EXPONENTS]
    other = [position[p, 3 - order] for p in WEIGHT_EXPONENTS]
    assert own == sorted(own)
    assert max(own) < min(other)


def test_paths_and_sweeps_take_turns():
    names = names_of(order=1)
    first = ["sweep" if name.startswith("sweep") else "path" for name in names[:12]]
    assert first == ["path", "path", "sweep"] * 4


def test_sweeps_of_every_start_are_tried_from_the_start_on():
    start = np.geomspace(14.6, 0.03, 6)
    found = list(measured_candidates(profile(), 5, VE, 14.6, starts={"log": start}, order=1))
    levels = {candidate.name: candidate.sigmas.double().numpy() for candidate in found}
    for name, begin in {"log": start, "EDM": edm_schedule(5, 14.6, 0.03)}.items():
        sweeps = [begin, *coordinate_search(profile(), begin)]
        assert sum(key.endswith(f"from {name}") for key in levels) == len(sweeps)
        for k, sweep in enumerate(sweeps):
            assert levels[f"sweep {k} from {name}"][:-1] == pytest.approx(sweep[:-1], rel=1e-5)


def test_paths_reach_zero_both_from_above_the_lowest_level_and_through_it():
    found = measured_candidates(profile(), 5, VE, 14.6, starts={}, order=1)
    levels = {candidate.name: candidate.sigmas for candidate in found}
    assert levels["path p=1 order 1"][-2] > 0.031
    assert float(levels["path p=1 order 1, through sigma_min"][-2]) == pytest.approx(0.03)


def test_paper_at_ten_steps_tries_every_sweep_of_algorithm_1():
    found = list(paper_candidates(profile(), 10, VE, 14.6, starts={}))
    begin = edm_schedule(10, 14.6, 0.03)
    sweeps = [begin, *coordinate_search(profile(), begin)]
    assert len(found) == len(sweeps) > 3
    for candidate, sweep in zip(found, sweeps, strict=True):
        assert candidate.sigmas[:-1].numpy() == pytest.approx(sweep[:-1], rel=1e-5)
        assert candidate.sigmas[-1] == 0


@pytest.mark.parametrize("steps", [1, 4, 20, 40])
def test_paper_at_other_step_counts_resamples_the_forty_step_schedule(steps):
    found = list(paper_candidates(profile(), steps, VE, 14.6, starts={}))
    begin = edm_schedule(10, 14.6, 0.03)
    for candidate, sweep in zip(found, [begin, *coordinate_search(profile(), begin)], strict=True):
        forty = subdivide(profile(), subdivide(profile(), sweep))
        # 40 is a multiple of all these counts: resampling takes levels of the 40 as they are.
        assert candidate.sigmas[:-1].numpy() == pytest.approx(forty[:-1][:: 40 // steps], rel=1e-5)


def test_paper_starts_where_it_is_told_to():
    start = np.geomspace(14.6, 0.03, 11)
    found = list(paper_candidates(profile(), 10, VE, 14.6, starts={"time-uniform": start}))
    assert {candidate.name.split(" from ")[1] for candidate in found} == {"time-uniform"}
    assert found[0].sigmas[:-1].numpy() == pytest.approx(start[:-1], rel=1e-5)
