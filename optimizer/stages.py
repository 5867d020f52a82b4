"""The stages of an optimisation: a first small round, references, profile, candidates, choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from .diffusion.coordinate import spread
from .fit.pool import ranked_by_prediction, refined_freely, refined_pool, shortlist
from .fit.surrogate import Surrogate, Track, joined, measured_slope
from .gain import Gain
from .judging.distribution import distribution_scores
from .judging.distribution_runs import DistributionRuns
from .judging.fresh import Fresh
from .judging.references import References, refinement_track
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
    "add_references",
    "first_references",
    "given_candidates",
    "judge",
    "measured_profile",
    "opened",
    "refined",
    "suggested",
]

FEW = 6  # noises: with fewer, one whose picture changes altogether may not be among them

Tracks = list[tuple[Track, Track] | None]


class _TooMuchError(Exception):
    """A limit leaves less than a plan's first references take."""


def first_references(plan: Plan, lab: Lab) -> tuple[Plan, References, Tracks]:
    """Fine-step references of the first batch of noises that schedules are refined on.

    Where a limit leaves too little for the plan, another is made, with smaller batches.
    """
    while True:
        fine = lab.problem.fine_levels(plan.reference_steps)
        references = References(Runner(lab, plan.batch), fine, plan.every)
        lab.ledger.owe(_owed_by(references))
        try:
            return plan, references, [_first_tracked(plan, references)]
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


def _first_tracked(plan: Plan, references: References) -> tuple[Track, Track] | None:
    """The first references to refine schedules on.

    Raises _TooMuchError as soon as too few are seen to fit.
    """
    lab = references.runner.lab

    def check() -> None:
        lab.ask()
        if plan.too_large(lab.ledger.rows):
            raise _TooMuchError

    check()
    return references.add_tracked(check)


def opened(
    given: list[Candidate], tracked: Tracks, references: References, plan: Plan, fresh: Fresh
) -> None:
    """Race the likeliest given schedules, and one refined on the first references alone."""
    lab, coordinate = references.runner.lab, plan.problem.coordinate
    surrogate = _surrogate(tracked, plan.problem)
    if surrogate is not None:
        surrogate = surrogate.compressed()
        given = ranked_by_prediction(given, surrogate, coordinate)
        lab.leader.lead(given[0])
    for candidate in given[: lab.ledger.decide(plan.opened)]:
        if not fresh.race(candidate):
            return
    if surrogate is not None and lab.goes_on("refinement"):
        starts = [fresh.best.candidate, given[0]]
        free = refined_freely(starts, surrogate, coordinate, lambda: lab.goes_on("refinement"))
        fresh.race(free[0])


def add_references(tracked: Tracks, references: References, plan: Plan) -> None:
    """Fine-step references of more noises to refine schedules on, for a quarter of the budget."""
    while len(tracked) < references.runner.lab.ledger.decide(plan.references):
        tracked.append(references.add_tracked())


def measured_profile(plan: Plan, references: References, known: Known) -> Profile:
    """The denoiser's profile: what is given, or measured with some 8 % of the budget."""
    problem, ledger = plan.problem, references.runner.lab.ledger
    ends = references.take_whole()
    if known.profile is not None:
        return known.profile
    x_0 = torch.cat(ends) if known.samples is None else known.samples
    del ends  # may be the largest of all that is held
    paths = ledger.decide(lambda rows: plan.paths(rows, len(references.tracked)))
    chosen = torch.arange(paths) % len(x_0)
    noises = torch.tensor([n for k in references.tracked for n in references.runner.noises(k)])
    coordinate = problem.coordinate
    along = spread(problem.t_max, problem.t_min, PROFILE_LEVELS)
    if coordinate.table is not None:
        along = coordinate.edm(coordinate.thinned(coordinate.level(along)))
    return profile_of(references, x_0[chosen], along, noises[chosen % len(noises)].tolist())


def suggested(
    problem: Problem,
    profile: Profile,
    given: list[Candidate],
    known: Known,
    method: str,
) -> list[Candidate]:
    """Schedules worth running, the likeliest first: those given, and what a profile tells."""
    coordinate, sigma_max = problem.coordinate, problem.sigma_max
    if method == "paper":
        starts = known.checked_starts(PAPER_STEPS)
        found = paper_candidates(profile, problem.steps, coordinate, sigma_max, starts=starts)
        # The paper's own come first: what the caller has is there for comparison only.
        return distinct(found, [], coordinate) + given
    found = measured_candidates(
        profile,
        problem.steps,
        coordinate,
        sigma_max,
        starts=known.checked_starts(problem.steps),
        order=problem.solver.order,
        own_level=problem.solver.own_level,
    )
    return given + distinct(found, given, coordinate)


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
    pool: list[Candidate], tracked: Tracks, references: References, plan: Plan, fresh: Fresh
) -> tuple[list[Candidate], Surrogate | None]:
    """The pool with refined schedules, for up to 30 % of the budget, in the order to run it.

    Returns also what is known about schedules of other lengths; None: nothing.
    """
    lab, problem = references.runner.lab, plan.problem
    surrogate = _surrogate(tracked, problem)
    if surrogate is None:
        return pool, None

    def measure(candidate: Candidate) -> Track | None:
        return refinement_track(references, plan, candidate.sigmas, len(tracked))

    def race(candidate: Candidate) -> None:
        if lab.ledger.decide(plan.roomy) and fresh.raced:
            fresh.race(candidate)

    return refined_pool(
        pool,
        surrogate,
        problem.coordinate,
        measure,
        lead=lab.leader.lead,
        race=race,
        goes_on=lambda: lab.goes_on("refinement"),
    )


def _surrogate(tracked: Tracks, problem: Problem) -> Surrogate | None:
    """What the references say of any schedule; None where one has no track."""
    pairs = [pair for pair in tracked if pair is not None]
    if len(pairs) < len(tracked):
        return None
    fine, coarse = (joined(tracks) for tracks in zip(*pairs, strict=True))
    solver = problem.solver
    return Surrogate(fine, measured_slope(fine, coarse), solver.stand_in, solver.own_level)


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
        Where these are few, the mean error must be less too.
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
                best = min(given, key=lambda score: score.place)
                if gain.ratio >= 1.0 or not _trusted(winner, best, noises):
                    winner = best
                break
        return Verdict(winner, scores, criterion, gain, reference_steps, surrogate)


def _trusted(winner: Score, given: Score, noises: int) -> bool:
    """Say whether so many noises tell that what was found is no worse than what was given."""
    if winner.additive or noises >= FEW:
        return True
    ours, theirs = (sum(score.errors[:noises]) for score in (winner, given))
    return noises > 1 and ours <= theirs


def judge(
    pool: list[Candidate],
    surrogate: Surrogate | None,
    references: References,
    plan: Plan,
    fresh: Fresh,
) -> Verdict:
    """The candidate of least error from fresh noises: none of them was made from these."""
    lab = references.runner.lab
    if plan.by_distribution and surrogate is not None and lab.ledger.fits(plan.distribution_rows):
        return _by_distribution(shortlist(pool, surrogate, plan.problem.coordinate), references)
    runner = references.runner
    others = [one for one in pool if not fresh.has(one)]
    if fresh.raced:  # the best that was found, then the best given ones that were not raced yet
        first = next((one for one in others if not one.given), None)
        others.sort(key=lambda one: one is not first)

    def room(rows: int) -> int:
        run = runner.cost(plan.problem.steps)
        left = rows - lab.ledger.made + len(fresh.raced) * run
        if not fresh.raced:
            left -= references.cost
        return max(FEWEST - 1, plan.rivals(left, run) - len(fresh.raced))

    winner, scores = halving(
        [*fresh.raced, *others[: lab.ledger.decide(room)]], fresh.errors, lab.leader.lead
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
