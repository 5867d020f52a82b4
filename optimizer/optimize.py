"""The whole method: from a denoiser and a solver to the schedule with the least measured error.

1. References: fine-step end points from a few initial noises, a quarter of the budget.
2. Profile: squared differences of the denoiser along forward paths, some 8 %.
3. Candidates: what the caller already has, shortest paths, the sweeps of the paper's Algorithm 1;
   the best of them refined, with real runs for up to 30 %.
4. Choice: the candidates are run from fresh noises; the least end-point error wins.

For a stochastic solver the search is done with its deterministic twin, for a part of the budget;
with the rest the solver itself is run with a shortlist, and the law of its samples chooses
(law.py). At first order it is also run with a schedule that the spectrum of its samples tells
(spectrum.py). Where the budget is too small for all that, the twin's errors choose.

The budget counts denoiser rows (one sample at one level) and is never exceeded. A limit (finish.py)
may end it early: whatever it leaves, two references, one path and three runs are made, so that what
is found is still compared, from fresh noise, with the best of what the caller has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .candidates import (
    PAPER_STEPS,
    checked_candidate,
    distinct,
    edm_levels,
    from_edm,
    measured_candidates,
    paper_candidates,
    path_schedules,
)
from .coordinate import VE, Coordinate, edm_level, spread
from .fine import fine_levels, fine_steps
from .finish import Finish
from .journal import Journal
from .klub import Levels, klub
from .law import law_scores
from .law_runs import FEWEST_NOISES, law_cost, law_fits, law_reference_steps
from .meter import Meter
from .pool import refined_pool, shortlist
from .profile import Denoiser, Profile
from .profile_runs import profile_of
from .ranks import Ranks, on_all_ranks
from .refine import settled
from .runs import FEWEST, PROFILE_LEVELS, Better, Progress, Runs
from .select import Candidate, Score, halving
from .solvers import DETERMINISTIC_TWIN, Solver
from .spectrum import gaussian_candidate
from .step_counts import at_steps, drawn_through
from .surrogate import Surrogate, Track, joined, measured_slope

__all__ = ["Result", "optimize"]

# Shares of the budget. On 48 cells of mixtures (6 problems, 4 seeds, 5 and 10 steps, dpmpp_2m) with
# 4,000 calls the held-out errors were 0.76 of the best fixed schedule's in hindsight; a fifth or a
# third for references, or fewer real runs, gave up to 0.05 more.
REFERENCE_SHARE = 0.26  # for the noises that schedules are refined on
PROFILE_SHARE = 0.08
BATCHES = 4  # of these noises, at least
FEWEST_BATCHES = 2  # which a limit must leave, or another plan is made
BATCH = 4  # noises in one, if there are so many; nothing is ranked on fewer
AMPLE = 300  # times a run's calls: a budget for longer references
COARSE_STEPS = 8  # of the coarse run beside a reference, at least
FIRST_ROUND_SHARE = 0.25  # of what is left, for running every candidate on the first fresh batch
ROUNDING = 1e-3  # relative, between a given profile's end levels and those of the model
METHODS = ("measured", "paper")

TWIN_SHARE = 0.5  # of the budget, to plan the twin of a stochastic solver judged by its law with


@dataclass(frozen=True)
class Result:
    """The schedule found, and what was measured on the way.

    sigmas:          [n+1] levels in the host's units, ending in 0
    method:          name of the candidate that won
    scores:          every candidate that was run, with its errors, those run most and best first
    left_out:        given candidates that could not be used, with the reason
    failed:          candidates whose runs came out as NaN or infinity, with the noise levels; and
                     noises whose references did, before which the comparison ended
    profile:         the denoiser's profile, in EDM units, measured or given
    calls:           denoiser rows computed, by phase; on several ranks, by all of them
    noises:          number of initial noises the winner was run on
    criterion:       what the scores' errors are: "paired error", end points against a reference
                     from the same noise, of a stochastic solver's deterministic twin; or "law",
                     a stochastic solver's own, of the distribution of its samples (law.py)
    reference_steps: steps of the reference runs that the scores compare with
    reference_error: estimated RMS error of the deterministic references; where trajectories part,
                     it may be a few times too low
    surrogate:       what is known about schedules of other lengths; None: nothing
    ended_early:     whether a limit has changed what was done; if not, the result is the one that
                     would have been found without it
    resumable:       whether one that ended early can go on from its journal: not if there was so
                     little time that it was planned in another way, with smaller batches
    """

    sigmas: Tensor
    method: str
    scores: list[Score]
    left_out: dict[str, str]
    failed: dict[str, str]
    profile: Profile
    calls: dict[str, int]
    noises: int
    criterion: str
    reference_steps: int
    reference_error: float
    coordinate: Coordinate
    surrogate: Surrogate | None
    ended_early: bool
    resumable: bool

    def at_steps(self, steps: int) -> Tensor:
        """The levels [steps+1] for a number of steps, its own or one of `at_step_counts`."""
        return self.sigmas if steps == len(self.sigmas) - 1 else self.at_step_counts([steps])[0]

    def at_step_counts(self, counts: Sequence[int]) -> list[Tensor]:
        """The levels for other numbers of steps, [n+1] each, without a denoiser call.

        Together they take less time than one by one.

        Raises ValueError where nothing is known about other step counts: after the paper's method,
        for solvers judged by the law of their samples, and for those that pass through no meter;
        and where the model knows fewer levels.
        """
        if self.surrogate is None:
            raise ValueError(
                "This result knows its own number of steps only: use the method 'measured', a "
                "deterministic solver, and a built-in one or a meter."
            )
        lowest = self.surrogate.lowest
        for steps in counts:
            self.coordinate.check_steps(steps, float(self.sigmas[0]))
        tried = [edm_levels(score.candidate, self.coordinate) for score in self.scores]
        pools = path_schedules(self.profile, counts, self.surrogate.own_level)
        answers = []
        for steps, paths in zip(counts, pools, strict=True):
            drawn = [drawn_through(levels, steps, lowest) for levels in tried]
            levels = at_steps(self.surrogate, [*drawn, *paths])
            levels = settled(self.surrogate.residuals, levels, self.coordinate)
            answers.append(from_edm("", levels, self.coordinate, float(self.sigmas[0])).sigmas)
        return answers

    @property
    def total_calls(self) -> int:
        """All denoiser rows computed."""
        return sum(self.calls.values())

    @property
    def error(self) -> Score:
        """The winner's score."""
        return next(s for s in self.scores if s.candidate.sigmas is self.sigmas)

    def klub(self, sigmas: Tensor) -> float:
        """The KLUB of a schedule that ends in 0, scored to the lowest measured level instead."""
        highest, lowest = float(self.profile.sigmas[0]), float(self.profile.sigmas[-1])
        levels = self.coordinate.finite_edm(sigmas[:-1].double().numpy())
        levels = np.minimum(levels, highest)
        above = levels[levels > lowest * (1.0 + 1e-6)]
        return klub(self.profile, np.append(above, lowest))


@on_all_ranks
def optimize(
    denoise: Denoiser,
    shape: Sequence[int],
    *,
    sigma_max: float,
    sigma_min: float,
    steps: int,
    solver: str | Solver,
    samples: Tensor | None = None,
    elements: Tensor | None = None,
    candidates: Mapping[str, object] | Sequence[object] = (),
    budget: int = 4000,
    spent: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
    method: str = "measured",
    starts: Mapping[str, Levels] | None = None,
    coordinate: Coordinate = VE,
    reference: Solver | None = None,
    order: int | None = None,
    batch_size: int = 16,
    meter: Meter | None = None,
    journal: Journal | None = None,
    finish: Finish | None = None,
    better: Better | None = None,
    profile: Profile | None = None,
    ranks: Ranks | None = None,
    least_batch: int = 1,
) -> Result:
    """Find the schedule with which a solver comes closest to its own fine-step limit.

    Arguments:
        denoise: (x [B, ...], sigma [B]) -> E[x_0 | x], in EDM coordinates.
        shape: of one sample, without the batch.
        sigma_max, sigma_min: ends of the model's noise levels, in the host's units.
        steps: number of steps n >= 1.
        solver: name of a built-in solver, or a Solver, which may say `calls_per_step` (1 if not)
            and the `own_level` of an EDM level in which it measures its steps (itself if not).
            A stochastic built-in one is judged by the law of its samples or, if the budget is
            too small for that, by its deterministic twin's errors. So is a Solver
            with an attribute `stochastic`, the StochasticSolver whose twin it is, if both pass
            through a `meter`.
        samples: x_0 [N, ...] for the profile; None: the end points of the reference runs.
        elements: those of one flattened sample that a run can change, as indices; errors are of
            these. None: all.
        candidates: schedules in the host's units that must not be beaten, by name or in order.
        budget: denoiser rows to spend at most.
        spent: rows of these that the caller has spent already, to prepare.
        seed: the same seed gives the same result.
        progress: called as progress(phase, rows so far).
        method: "measured", the whole method; "paper", the paper's procedure alone with its early
            stop by the measured error.
        starts: EDM levels [n+1] by name from which Algorithm 1 starts beside EDM's; for "paper"
            the first of them, of 10 steps, replaces EDM's.
        coordinate: the map between host and EDM levels. With a table, all levels of the result
            are in it, but for the first and for schedules of `candidates`.
        reference: solver of the reference runs; None: the built-in one's own choice, or `solver`.
        order: of the solver, 1 or 2; None: known for built-in ones, else 2.
        batch_size: rows of a call at most; on several ranks, of their calls together.
        meter: the meter that `denoise` and `solver` already pass through; None: one is made for
            the built-in solvers, and a Solver's runs are charged calls_per_step a step.
        journal: of an optimisation with these very arguments that was interrupted: it goes on
            where the last finished stage of runs ended, with the same result. Stages that end are
            recorded in it.
        finish: a limit beside the budget, asked as the work goes on: it may end early, with the
            best schedule so far. The journal of such an optimisation serves a later one with the
            same arguments and a larger limit.
        better: called with the levels of the best schedule so far, whenever it is another one:
            first the best by prediction, then by what was measured.
        profile: of this very denoiser (the same model, guidance and prompt), measured before at
            levels from sigma_max to sigma_min, perhaps on several machines and added up. None is
            measured then, and the comparison has its share of the budget.
        ranks: processes that share the work, see Ranks; all of them call `optimize` with the same
            arguments, each with its own denoiser, and all return the same result. A batch of noise
            is split among them, so that it has one row a rank at least. Of `journal` and `finish`
            those of rank 0 count, and a limit is asked after every batch of runs. `progress` and
            `better` are each rank's own: called on all ranks that give them, `progress` with the
            rows of all up to the last batch and its own since. What any of them raises ends the
            optimisation on all ranks. A solver of the caller's that draws by its seed draws the
            same on every rank. None: this process runs everything, whether or not others exist.
        least_batch: noises in a batch at least, whatever batch_size is. With as many as there were
            ranks, one process finds what they would have found, and goes on from their journal.

    A schedule whose own run comes out as NaN or infinity is out of the comparison. Noises whose
    reference does end the comparison with those before.

    Raises ValueError for arguments out of range, DenoiserError for a model that returns another
    shape, NotFiniteError for one that returns NaN or infinities in the first reference runs, along
    the paths of the profile, or in the runs of every schedule. On several ranks RankError where
    another one has failed, LostRankError where one is gone; the profile measured so far is theirs.

    Example: the ideal denoiser of Gaussian data.

    >>> from align_your_steps.optimizer import gaussian, optimize
    >>> result = optimize(gaussian.denoise, (4,), sigma_max=10.0, sigma_min=0.1, steps=4,
    ...                   solver="euler", budget=1500)
    >>> len(result.sigmas), float(result.sigmas[-1]), result.total_calls <= 1500
    (5, 0.0, True)
    """
    _check(steps, sigma_max, sigma_min, order, method, coordinate)
    left = budget - spent
    runs = Runs(
        denoise, solver, reference, meter, shape, seed, left, progress, journal, elements, finish,
        better, ranks,
    )  # fmt: skip
    least_batch = max(least_batch, runs.ranks.size)
    by_law = method == "measured" and law_fits(left, steps, runs)
    if by_law:
        runs.twin_share = TWIN_SHARE
    t_max = float(coordinate.finite_edm(np.asarray(sigma_max)))
    t_min = float(coordinate.edm(np.asarray(sigma_min)))
    if profile is not None:
        _check_profile(profile, math.prod(shape), t_max, t_min)
        runs.know(profile)

    def begun(plan: _Plan) -> Tensor:
        """Begin with a plan, and return the levels of its reference runs."""
        levels = fine_levels(plan.reference_steps, coordinate, sigma_max, sigma_min)
        runs.begin(levels, plan.every, plan.batch, steps, coordinate)
        return levels

    def share(rows: int) -> int:
        """What the deterministic solver's runs may be planned with."""
        return int(runs.twin_share * rows)

    plan = _plan(share(left), steps, runs, batch_size, least_batch)
    if share(left) < plan.least:
        raise ValueError(_too_small(budget, plan.least + spent, steps, least_batch))
    while True:
        levels = begun(plan)
        try:
            tracked = _tracked(plan, runs)
            break
        except _TooMuch:
            runs.budget.ended_early = True
            rows = share(int(runs.budget.offered))
            plan = _plan(rows, steps, runs, plan.batch - 1, least_batch)

    if profile is None:
        x_0 = torch.cat(runs.whole) if samples is None else samples
        runs.whole.clear()
        paths = runs.budget.decided(lambda rows: plan.paths(share(rows), len(tracked)))
        x_0 = x_0[torch.arange(paths) % len(x_0)]
        along = spread(t_max, t_min, PROFILE_LEVELS)
        if coordinate.table is not None:
            along = coordinate.edm(coordinate.thinned(coordinate.level(along)))
        profile = profile_of(runs, x_0, along)
        del x_0  # may be the largest of all that is held
    runs.whole.clear()

    given, left_out = _given(candidates, steps, sigma_max)
    begin = _checked_starts(starts or {}, PAPER_STEPS if method == "paper" else steps)
    own_level = getattr(solver, "own_level", edm_level)
    order = order or (1 if solver in ("euler", "ddim_stochastic") else 2)
    if method == "paper":
        found = paper_candidates(profile, steps, coordinate, sigma_max, starts=begin)
        # The paper's own come first: what the caller has is there for comparison only.
        pool = distinct(found, [], coordinate) + given
    else:
        found = measured_candidates(
            profile,
            steps,
            coordinate,
            sigma_max,
            starts=begin,
            order=order,
            own_level=own_level,
        )
        pool = given + distinct(found, given, coordinate)
    learnt, criterion, compared_with = None, "paired error", levels
    if method == "measured" and None not in tracked:
        fine_track, coarse_track = (joined(tracks) for tracks in zip(*tracked, strict=True))
        surrogate = Surrogate(
            fine_track,
            measured_slope(fine_track, coarse_track),
            _stand_in(solver, order, runs.calls_per_step),
            own_level=own_level,
        )
        pool, learnt = refined_pool(pool, surrogate, runs, coordinate, len(tracked))

    # The noises compared on are fresh: none of the candidates was made from them.
    noises = -(-FEWEST_NOISES // plan.batch) * plan.batch
    if by_law and learnt is not None and runs.fits(noises * law_cost(steps, runs)):
        criterion = "law"
        law_steps = law_reference_steps(steps)
        compared_with = fine_levels(law_steps, coordinate, sigma_max, sigma_min)
        likely = shortlist(pool, learnt, coordinate)

        def design(ends: Tensor) -> Candidate:
            return gaussian_candidate("ddim_stochastic", ends, likely, coordinate, t_min)

        scores = law_scores(likely, runs, compared_with, design if order == 1 else None)
        learnt = None  # of the twin, which is not what chose
        winner = min(scores, key=_place)
    else:

        def room(rows: int) -> int:
            """Candidates of the first round."""
            first = FIRST_ROUND_SHARE * (rows - runs.made - runs.reference_cost)
            return max(FEWEST, int(first / runs.cost(steps)))

        winner, scores = halving(
            pool[: runs.budget.decided(room)],
            lambda candidate, k: runs.errors(candidate, len(tracked) + k),
            runs.lead,
        )
    if method == "paper":
        ours = [s for s in scores if not s.candidate.given and s.errors]
        winner = min(ours, key=_place)
    if not winner.finite:
        raise runs.failed.error()
    return Result(
        sigmas=winner.candidate.sigmas,
        method=winner.candidate.name,
        scores=sorted(
            (score for score in scores if score.errors and score.finite),
            key=_place,
        ),
        left_out=left_out,
        failed=runs.failed.of(score.candidate for score in scores),
        profile=profile,
        calls=runs.spent,
        noises=len(winner.errors),
        criterion=criterion,
        reference_steps=len(compared_with) - 1,
        reference_error=runs.reference_error,
        coordinate=coordinate,
        surrogate=learnt,
        ended_early=runs.budget.ended_early,
        resumable=plan.budget == share(left),
    )


def _place(score: Score) -> tuple[bool, int, float]:
    """What scores are put in order by: those that are numbers, run most, with the least mean."""
    return not score.finite, -len(score.errors), score.mean


def _stand_in(solver: str | Solver, order: int, calls_per_step: int) -> str:
    """The built-in solver that a solver is most like, for the surrogate."""
    if isinstance(solver, str):
        return DETERMINISTIC_TWIN.get(solver, solver)
    if order == 1:
        return "euler"
    return "heun" if calls_per_step > 1 else "dpmpp_2m"


def _check(
    steps: int,
    sigma_max: float,
    sigma_min: float,
    order: int | None,
    method: str,
    coordinate: Coordinate,
) -> None:
    if steps < 1:
        raise ValueError(f"steps was {steps}: a schedule has at least 1 step.")
    coordinate.check_steps(steps, sigma_max)
    if not (0.0 < sigma_min < sigma_max < float("inf")):
        raise ValueError(
            f"sigma_min was {sigma_min:g} and sigma_max {sigma_max:g}: give "
            "0 < sigma_min < sigma_max."
        )
    if order not in (None, 1, 2):
        raise ValueError(f"order was {order}: a solver's order is 1 or 2 here.")
    if method not in METHODS:
        raise ValueError(f"method was '{method}': choose one of {list(METHODS)}.")


def _check_profile(profile: Profile, dim: int, t_max: float, t_min: float) -> None:
    """Raise ValueError for a profile that is not of this latent and these levels."""
    if profile.dim != dim:
        raise ValueError(
            f"The profile is of {profile.dim} latent elements, but the latent has {dim}: give one "
            "measured on this latent size, or none."
        )
    highest, lowest = float(profile.sigmas[0]), float(profile.sigmas[-1])
    if abs(highest / t_max - 1.0) > ROUNDING or abs(lowest / t_min - 1.0) > ROUNDING:
        raise ValueError(
            f"The profile's levels go from {highest:.4g} to {lowest:.4g} in EDM units, those of "
            f"this optimisation from {t_max:.4g} to {t_min:.4g}: give a profile measured from "
            "sigma_max to sigma_min, or none."
        )


def _too_small(budget: int, least: int, steps: int, batch: int) -> str:
    """That a budget is too small, and what to do."""
    among = f" with {batch} noises at a time" if batch > 1 else ""
    remedy = "Raise the budget, or use fewer processes." if batch > 1 else "Raise the budget."
    return (
        f"The budget was {budget} calls: at {steps} steps{among} at least {least} are needed to "
        f"compare anything, and 4000 are usual. {remedy}"
    )


def _checked_starts(starts: Mapping[str, Levels], steps: int) -> dict[str, np.ndarray]:
    """The starts of Algorithm 1 as arrays of steps+1 levels."""
    for name, levels in starts.items():
        if len(levels) != steps + 1:
            raise ValueError(
                f"The start '{name}' has {len(levels)} levels: give {steps + 1} for {steps} steps."
            )
    return {name: np.asarray(levels, dtype=np.float64) for name, levels in starts.items()}


def _given(
    candidates: Mapping[str, object] | Sequence[object], steps: int, sigma_max: float
) -> tuple[list[Candidate], dict[str, str]]:
    """The caller's schedules that can be run, and why the others cannot."""
    if not isinstance(candidates, Mapping):
        candidates = {f"candidate {k}": levels for k, levels in enumerate(candidates)}
    pool: list[Candidate] = []
    left_out = {}
    for name, levels in candidates.items():
        try:
            pool.append(checked_candidate(name, levels, steps, sigma_max))
        except (ValueError, TypeError) as error:
            left_out[name] = str(error)
    return pool, left_out


@dataclass(frozen=True)
class _Plan:
    """How a budget is spent; counts of noises and paths are multiples of the batch.

    least_batch: noises in a batch at least
    tracked:     rows of a reference and the coarse run beside it
    path:        rows of a sample of the profile; 0: it is given
    comparison:  rows of the smallest comparison, of one noise
    """

    budget: int
    reference_steps: int
    every: int
    batch: int
    least_batch: int
    tracked: int
    path: int
    comparison: int

    @property
    def least(self) -> int:
        """Rows of two references, one path and three runs, for every noise of the least batch."""
        return self.least_batch * (self.tracked + self.path + self.comparison)

    def noises(self, budget: int) -> int:
        """Noises to refine schedules on."""
        return int(REFERENCE_SHARE * budget / self.tracked)

    def paths(self, budget: int, batches: int) -> int:
        """Samples of the profile; no whole batch only where a limit leaves less."""
        affordable = budget - self.batch * (batches * self.tracked + self.comparison)
        paths = min(int(PROFILE_SHARE * budget), affordable) // PROFILE_LEVELS
        if paths < self.batch and budget < self.budget:
            return max(1, paths)
        return max(1, paths // self.batch) * self.batch


class _TooMuch(Exception):
    """A limit leaves less than a plan's first references take."""


def _tracked(plan: _Plan, runs: Runs) -> list[tuple[Track, Track] | None]:
    """The references to refine schedules on, in whole batches.

    Raises _TooMuch as soon as fewer than FEWEST_BATCHES of several noises are seen to fit.
    """

    def noises(rows: int) -> int:
        return plan.noises(int(runs.twin_share * rows))

    def check() -> None:
        runs.ask()
        # With a quarter of 4,000 calls on 12 mixtures, a plan of its own gave errors 1.28 times
        # those of the whole budget; the whole one's larger batches, of which one fitted, 1.46.
        if plan.batch > max(plan.least_batch, noises(runs.budget.rows) // FEWEST_BATCHES):
            raise _TooMuch

    check()
    runs.check = check
    try:
        tracked = [runs.add_tracked_reference()]
    finally:
        runs.check = None
    while len(tracked) < runs.budget.decided(lambda rows: noises(rows) // plan.batch):
        tracked.append(runs.add_tracked_reference())
    return tracked


def _plan(budget: int, steps: int, runs: Runs, batch_size: int, least_batch: int) -> _Plan:
    """Shares of the budget, rounded down to whole batches."""
    calls = steps * runs.calls_per_step
    ample = budget >= AMPLE * calls
    reference_steps = fine_steps(steps, runs.calls_per_step, runs.reference_order, ample=ample)
    every = max(1, reference_steps // max(COARSE_STEPS, steps))
    reference_rows = reference_steps * runs.reference_calls
    tracked = reference_rows + -(-reference_steps // every) * runs.calls_per_step
    comparison = reference_rows + FEWEST * steps * runs.calls_per_step
    noises = max(1, int(REFERENCE_SHARE * budget / tracked))
    batch = min(max(1, noises // BATCHES, min(BATCH, noises // 2)), batch_size)
    batch = max(batch, least_batch)
    path = 0 if "profile" in runs.spent else PROFILE_LEVELS
    return _Plan(budget, reference_steps, every, batch, least_batch, tracked, path, comparison)
