"""The four stages of an optimisation: references, profile, candidates, choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from .diffusion.coordinate import spread
from .fit.pool import refined_pool, shortlist
from .fit.surrogate import Surrogate, Track, joined, measured_slope
from .gain import Gain
from .judging.distribution import distribution_scores
from .judging.distribution_runs import DistributionRuns
from .judging.references import PairedErrors, References, refinement_track
from .judging.select import Candidate, Score, halving
from .plan import FEWEST, PROFILE_LEVELS, Plan, distribution_reference_steps
from .problem import Problem
from .profile.candidates import (
    PAPER_STEPS,
    checked_candidate,
    distinct,
    measured_candidates,
    paper_candidates,
)
from .profile.profile import Profile
from .profile.profile_runs import profile_of
from .runs.runner import Runner
from .session import Known, Lab

__all__ = [
    "Verdict",
    "given_candidates",
    "judge",
    "measured_profile",
    "measured_references",
    "refined",
    "suggested",
]

Tracks = list[tuple[Track, Track] | None]


class _TooMuchError(Exception):
    """A limit leaves less than a plan's first references take."""


def measured_references(plan: Plan, lab: Lab) -> tuple[Plan, References, Tracks]:
    """Fine-step references of the noises that schedules are refined on, a quarter of the budget.

    Where a limit leaves too little for the plan, another is made, with smaller batches.
    """
    while True:
        fine = lab.problem.fine_levels(plan.reference_steps)
        references = References(Runner(lab, plan.batch), fine, plan.every)
        lab.ledger.owe(_owed_by(references))
        try:
            return plan, references, _tracked(plan, references)
        except _TooMuchError:
            lab.ledger.cut_short()
            plan = plan.smaller(int(lab.ledger.offered))


def _owed_by(references: References) -> Callable[[], int]:
    """Rows that the smallest honest comparison still takes, before the first fresh noise."""
    lab = references.runner.lab

    def owed() -> int:
        profile = 0 if "profile" in lab.ledger.spent else PROFILE_LEVELS
        runs = FEWEST * references.runner.cost(lab.problem.steps)
        return profile + references.cost + runs

    return owed


def _tracked(plan: Plan, references: References) -> Tracks:
    """The references to refine schedules on, in whole batches.

    Raises _TooMuchError as soon as too few are seen to fit.
    """
    lab = references.runner.lab

    def check() -> None:
        lab.ask()
        if plan.too_large(lab.ledger.rows):
            raise _TooMuchError

    check()
    tracked = [references.add_tracked(check)]
    while len(tracked) < lab.ledger.decide(plan.references):
        tracked.append(references.add_tracked())
    return tracked


def measured_profile(plan: Plan, references: References, known: Known) -> Profile:
    """The denoiser's profile: what is given, or measured with some 8 % of the budget."""
    problem, ledger = plan.problem, references.runner.lab.ledger
    ends = references.take_whole()
    if known.profile is not None:
        return known.profile
    x_0 = torch.cat(ends) if known.samples is None else known.samples
    del ends  # may be the largest of all that is held
    paths = ledger.decide(lambda rows: plan.paths(rows, len(references.ends)))
    noises = torch.arange(paths) % len(x_0)
    coordinate = problem.coordinate
    along = spread(problem.t_max, problem.t_min, PROFILE_LEVELS)
    if coordinate.table is not None:
        along = coordinate.edm(coordinate.thinned(coordinate.level(along)))
    return profile_of(references, x_0[noises], along, noises.tolist())


def suggested(
    problem: Problem,
    profile: Profile,
    candidates: Mapping[str, object] | Sequence[object],
    known: Known,
    method: str,
) -> tuple[list[Candidate], dict[str, str]]:
    """Schedules worth running, the likeliest first: what the caller has, and what a profile tells.

    Returns also those of the caller's that cannot be used, with the reason.
    """
    given, left_out = given_candidates(candidates, problem)
    coordinate, sigma_max = problem.coordinate, problem.sigma_max
    if method == "paper":
        starts = known.checked_starts(PAPER_STEPS)
        found = paper_candidates(profile, problem.steps, coordinate, sigma_max, starts=starts)
        # The paper's own come first: what the caller has is there for comparison only.
        return distinct(found, [], coordinate) + given, left_out
    found = measured_candidates(
        profile,
        problem.steps,
        coordinate,
        sigma_max,
        starts=known.checked_starts(problem.steps),
        order=problem.solver.order,
        own_level=problem.solver.own_level,
    )
    return given + distinct(found, given, coordinate), left_out


def given_candidates(
    candidates: Mapping[str, object] | Sequence[object], problem: Problem
) -> tuple[list[Candidate], dict[str, str]]:
    """The caller's schedules that can be run, and why the others cannot."""
    if not isinstance(candidates, Mapping):
        candidates = {f"candidate {k}": levels for k, levels in enumerate(candidates)}
    pool: list[Candidate] = []
    left_out = {}
    for name, levels in candidates.items():
        try:
            pool.append(checked_candidate(name, levels, problem.steps, problem.sigma_max))
        except (ValueError, TypeError) as error:
            left_out[name] = str(error)
    return pool, left_out


def refined(
    pool: list[Candidate], tracked: Tracks, references: References, plan: Plan
) -> tuple[list[Candidate], Surrogate | None]:
    """The pool with refined schedules, for up to 30 % of the budget, in the order to run it.

    Returns also what is known about schedules of other lengths; None: nothing.
    """
    lab, problem = references.runner.lab, plan.problem
    pairs = [pair for pair in tracked if pair is not None]
    if len(pairs) < len(tracked):
        return pool, None
    fine, coarse = (joined(tracks) for tracks in zip(*pairs, strict=True))
    solver = problem.solver
    surrogate = Surrogate(fine, measured_slope(fine, coarse), solver.stand_in, solver.own_level)

    def measure(candidate: Candidate) -> Track | None:
        return refinement_track(references, plan, candidate.sigmas, len(tracked))

    return refined_pool(
        pool,
        surrogate,
        problem.coordinate,
        measure,
        lead=lab.leader.lead,
        goes_on=lambda: lab.goes_on("refinement"),
    )


@dataclass(frozen=True)
class Verdict:
    """The outcome of the comparison on fresh noise.

    winner:          of the least error
    scores:          of every candidate
    criterion:       "paired error" or "law", what the scores' errors are
    gain:            of what was found over what was given; None: nothing given was run as often
    reference_steps: of the runs that they compare with
    surrogate:       what is known about schedules of other lengths; None: nothing
    """

    winner: Score
    scores: list[Score]
    criterion: str
    gain: Gain | None
    reference_steps: int
    surrogate: Surrogate | None

    @staticmethod
    def on(
        scores: list[Score],
        winner: Score,
        criterion: str,
        reference_steps: int,
        surrogate: Surrogate | None,
        first_round: int = 0,
    ) -> Verdict:
        """The verdict on these scores: one that was given wins unless another is seen to gain.

        winner: of those that were run most
        first_round: noises after which most candidates drop out
        The gain is measured on as many noises as some of both were run on, but for the first round.
        """
        gain, sound = None, [score for score in scores if score.finite]
        for noises in sorted({len(s.errors) for s in sound} - {0}, reverse=True):
            last = [s for s in sound if len(s.errors) >= noises]
            given = [score for score in last if score.candidate.given]
            ours = [score for score in last if not score.candidate.given]
            if given and ours:
                a, b = ([s.errors[:noises] for s in some] for some in (ours, given))
                after = first_round if noises > first_round else 0
                gain = Gain.of_means(a, b) if winner.additive else Gain.of(a, b, after=after)
                if gain.ratio >= 1.0:
                    winner = min(given, key=lambda score: score.place)
                break
        return Verdict(winner, scores, criterion, gain, reference_steps, surrogate)


def judge(
    pool: list[Candidate], surrogate: Surrogate | None, references: References, plan: Plan
) -> Verdict:
    """The candidate of least error from fresh noises: none of them was made from these."""
    lab = references.runner.lab
    if plan.by_distribution and surrogate is not None and lab.ledger.fits(plan.distribution_rows):
        return _by_distribution(shortlist(pool, surrogate, plan.problem.coordinate), references)
    runner, errors = references.runner, PairedErrors(references)
    first = len(references.ends)

    def room(rows: int) -> int:
        left = rows - lab.ledger.made - references.cost
        return plan.rivals(left, runner.cost(plan.problem.steps))

    winner, scores = halving(
        pool[: lab.ledger.decide(room)],
        lambda candidate, k: errors.of(candidate, first + k),
        lab.leader.lead,
    )
    steps = len(references.fine) - 1
    return Verdict.on(scores, winner, "paired error", steps, surrogate, runner.batch)


def _by_distribution(likely: list[Candidate], references: References) -> Verdict:
    """The verdict on a stochastic solver by the distribution of its own samples."""
    problem = references.runner.lab.problem
    fine = problem.fine_levels(distribution_reference_steps(problem.steps))
    scores = distribution_scores(likely, DistributionRuns(references, fine))
    winner = min(scores, key=lambda score: score.place)
    # What the surrogate knows is of the twin, which is not what chose.
    return Verdict.on(scores, winner, "law", len(fine) - 1, None)
