"""Successive halving on synthetic errors: candidates are names, no denoiser runs."""

import math

import pytest
import torch
from align_your_steps.optimizer.judging.select import (
    FAVOURITES,
    FINALISTS,
    Candidate,
    Score,
    halving,
)
from align_your_steps.optimizer.stages import Verdict
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

BATCH = 4


class Errors:
    """Errors per noise: a level for each candidate times noise, and a log of what was asked.

    batches, runs: after so many batches or runs of a candidate on a batch, the budget is spent
    """

    def __init__(
        self,
        levels: dict[str, float],
        noise: float = 0.0,
        batches: int = 5,
        runs: float = math.inf,
    ):
        self.levels, self.noise, self.batches, self.runs = levels, noise, batches, runs
        self.asked: list[tuple[str, int]] = []

    def __call__(self, candidate: Candidate, batch: int) -> list[float] | None:
        if batch >= self.batches or len(self.asked) >= self.runs:
            return None
        self.asked.append((candidate.name, batch))
        seed = 1000 * batch + list(self.levels).index(candidate.name)
        e = torch.rand(BATCH, generator=torch.Generator().manual_seed(seed))
        return (self.levels[candidate.name] * torch.exp(self.noise * e)).tolist()


def pool(levels: dict[str, float], given: tuple[str, ...] = ()) -> list[Candidate]:
    return [Candidate(name, torch.tensor([1.0, 0.0]), name in given) for name in levels]


def many(count: int = 40) -> dict[str, float]:
    """Candidates c0 (the best) to c39 in another order: c35 first, c0 sixth."""
    order = sorted(range(count), key=lambda k: (k * 17 + 5) % count)
    return {f"c{k}": 1.0 + 0.1 * k for k in order}


@pytest.mark.parametrize("batches", [1, 2, 6])
def test_winner_is_the_best_candidate(batches):
    winner, scores = halving(pool(many()), Errors(many(), batches=batches))
    assert winner.candidate.name == "c0"
    assert len(winner.errors) == batches * BATCH
    assert len(scores) == 40


def test_winner_ranks_first_of_all_that_ran_on_every_noise():
    for seed in range(5):
        levels = {f"{name}-{seed}": 1.0 for name in many()}
        winner, scores = halving(pool(levels), Errors(levels, noise=1.0 + seed))
        finalists = [s for s in scores if len(s.errors) == 5 * BATCH]
        assert len(finalists) >= FINALISTS
        assert winner.rank(5 * BATCH) == min(score.rank(5 * BATCH) for score in finalists)


def test_pool_is_halved_until_the_finalists_remain():
    errors = Errors(many())
    halving(pool(many()), errors)
    counts = [sum(batch == k for _, batch in errors.asked) for k in range(5)]
    assert counts == [max(FINALISTS, math.ceil(40 / 2**k)) for k in range(5)]
    assert counts[-1] == FINALISTS


def test_batches_are_run_in_order_and_each_candidate_once_on_each():
    errors = Errors(many())
    halving(pool(many()), errors)
    assert [batch for _, batch in errors.asked] == sorted(batch for _, batch in errors.asked)
    assert len(set(errors.asked)) == len(errors.asked)


def test_best_given_candidates_stay_to_the_end_however_bad_they_are():
    given = ("c30", "c32", "c34", "c36", "c38")
    _, scores = halving(pool(many(), given), Errors(many(), batches=6))
    full = {score.candidate.name for score in scores if len(score.errors) == 6 * BATCH}
    assert set(given[:FAVOURITES]) <= full
    assert not set(given[FAVOURITES:]) & full
    assert len(full) == FINALISTS + FAVOURITES


def test_rare_outlier_in_the_first_batch_does_not_lose_the_best_candidate():
    levels, outlier = many(), 10.0

    class WithOutlier(Errors):
        def __call__(self, candidate: Candidate, batch: int) -> list[float] | None:
            values = super().__call__(candidate, batch)
            if values and candidate.name == "c0" and batch == 0:
                values[0] = outlier
            return values

    by_mean = (outlier + (BATCH - 1) * levels["c0"]) / BATCH
    assert sum(level < by_mean for level in levels.values()) > len(levels) / 2  # it would be lost
    _, scores = halving(pool(levels), WithOutlier(levels))
    best = next(score for score in scores if score.candidate.name == "c0")
    assert len(best.errors) == 5 * BATCH


@pytest.mark.parametrize("runs", [41, 50, 59, 61, 75])
def test_spent_budget_ends_the_search_with_the_best_so_far(runs):
    errors = Errors(many(), noise=0.01, runs=runs)
    winner, scores = halving(pool(many()), errors)
    assert len(errors.asked) == runs
    assert winner.candidate.name == "c0"
    assert sum(len(score.errors) for score in scores) == runs * BATCH


def test_an_unfinished_round_in_which_a_given_one_is_better_tells_nothing_but_failures():
    class Turning(Errors):
        def __call__(self, candidate: Candidate, batch: int) -> list[float] | None:
            errors = super().__call__(candidate, batch)
            later = {"a": 9.0, "b": math.inf, "given": 0.1}
            return [later[candidate.name]] * BATCH if errors and batch == 1 else errors

    levels = {"a": 1.0, "given": 2.0, "b": 3.0, "c": 4.0}
    winner, scores = halving(pool(levels, given=("given",)), Turning(levels, runs=7))
    assert [len(score.errors) for score in scores] == [BATCH, BATCH, 2 * BATCH, BATCH]
    assert winner.candidate.name == "a"


@pytest.mark.parametrize("runs", [1, 7, 39])
def test_budget_spent_in_the_first_round_leaves_the_best_of_those_that_ran(runs):
    errors = Errors(many(), runs=runs)
    winner, scores = halving(pool(many()), errors)
    ran = [score for score in scores if score.errors]
    assert len(ran) == runs
    assert winner.mean == min(score.mean for score in ran)


def test_single_candidate_wins():
    winner, scores = halving(pool({"only": 1.0}), Errors({"only": 1.0}, batches=3))
    assert winner is scores[0]
    assert winner.errors == [1.0] * 3 * BATCH


def test_candidate_with_infinite_errors_never_wins():
    levels = {"bad": math.inf, "worse": math.inf, "good": 1.0}
    winner, _ = halving(pool(levels, given=("bad",)), Errors(levels))
    assert winner.candidate.name == "good"


def test_score_shows_what_chooses_the_geometric_mean_and_its_standard_error():
    score = Score(Candidate("a", torch.tensor([1.0, 0.0])), [1.0, 2.0, 6.0])
    assert score.mean == pytest.approx(3.0)
    assert score.figure == score.rank(3) == pytest.approx(12.0 ** (1 / 3))
    logs = torch.tensor([1.0, 2.0, 6.0]).log()
    assert score.standard_error == pytest.approx(score.figure * float(logs.std()) / math.sqrt(3.0))


def test_score_of_values_that_only_add_up_shows_their_mean():
    score = Score(Candidate("a", torch.tensor([1.0, 0.0])), [-1.0, 2.0, 6.0], additive=True)
    assert score.figure == score.rank(3) == score.mean == pytest.approx(7.0 / 3.0)
    assert score.standard_error == pytest.approx(math.sqrt(37.0 / 9.0))


def test_rank_of_an_error_of_nothing_is_nothing():
    assert Score(Candidate("a", torch.tensor([1.0, 0.0])), [0.0, 0.0]).rank(2) < 1e-9


def test_rank_of_equal_errors_is_their_size_and_scales_with_it():
    candidate = Candidate("a", torch.tensor([1.0, 0.0]))
    assert Score(candidate, [0.7] * 5).rank(5) == pytest.approx(0.7)
    errors = [1.0, 2.0, 6.0]
    one, three = (Score(candidate, [k * error for error in errors]) for k in (1.0, 3.0))
    assert three.rank(3) == pytest.approx(3.0 * one.rank(3))


def test_rank_reads_the_first_noises_only():
    candidate = Candidate("a", torch.tensor([1.0, 0.0]))
    assert Score(candidate, [4.0, 4.0, 9.0, math.inf]).rank(2) == pytest.approx(4.0)
    assert Score(candidate, [4.0, 9.0]).rank(2) == pytest.approx(6.0)
    assert Score(candidate, [4.0, math.inf]).rank(2) == math.inf


def test_score_before_the_first_run_is_infinite_and_of_one_run_has_no_standard_error():
    candidate = Candidate("a", torch.tensor([1.0, 0.0]))
    assert Score(candidate).mean == math.inf
    assert math.isnan(Score(candidate, [1.0]).standard_error)


# -- the promise ----------------------------------------------------------------------------


@st.composite
def races(draw: st.DrawFn) -> tuple[list[Candidate], dict[str, list[float]], int]:
    """Candidates, their errors on every noise, some of them infinite, and the runs that fit."""
    count = draw(st.integers(1, 24))
    names = [f"c{k}" for k in range(count)]
    given = tuple(draw(st.lists(st.sampled_from(names), unique=True)))
    hardness = draw(st.lists(st.floats(0.1, 10.0), min_size=40, max_size=40))
    errors = {}
    for name in names:
        own = draw(st.floats(0.5, 2.0))
        noise = draw(st.lists(st.floats(0.3, 3.0), min_size=40, max_size=40))
        errors[name] = [own * a * b for a, b in zip(hardness, noise, strict=True)]
        if draw(st.integers(0, 9)) == 0:
            errors[name] = [math.inf] * 40
    return pool(dict.fromkeys(names, 0.0), given), errors, draw(st.integers(count, 200))


@hypothesis_given(races(), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_the_chosen_one_has_no_more_error_than_any_given_one(
    race: tuple[list[Candidate], dict[str, list[float]], int], batch: int
) -> None:
    candidates, known, runs = race

    def errors(candidate: Candidate, k: int) -> list[float] | None:
        nonlocal runs
        runs -= 1
        found = known[candidate.name][k * batch : (k + 1) * batch]
        return found if runs >= 0 and len(found) == batch else None

    winner, scores = halving(candidates, errors)
    chosen = Verdict.on(scores, winner, "paired error", 40, None, batch).winner
    if not chosen.finite:
        return
    for score in scores:
        shared = min(len(score.errors), len(chosen.errors))
        if score.candidate.given and shared and score.finite:
            assert chosen.rank(shared) <= score.rank(shared)


@pytest.mark.parametrize("seed", range(8))
def test_nor_has_it_by_the_distribution_of_samples(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for k in range(10):
        values = 1.0 + 0.02 * k + torch.randn(12, generator=generator, dtype=torch.float64)
        scores.append(Score(Candidate(f"c{k}", torch.tensor([1.0, 0.0]), k % 3 == 0), [], True))
        scores[-1].errors.extend(values.tolist())
    winner = min(scores, key=lambda score: score.place)
    chosen = Verdict.on(scores, winner, "law", 40, None).winner
    assert all(chosen.figure <= score.figure for score in scores if score.candidate.given)
