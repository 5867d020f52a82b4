"""Shares of an optimisation's budget, and the least that each must be.

On 48 cells of mixtures (6 problems, 4 seeds, 5 and 10 steps, dpmpp_2m) with 4,000 calls the
held-out errors were 0.76 of the best fixed schedule's in hindsight; a fifth or a third for
references, or fewer real runs, gave up to 0.05 more.

A stochastic solver's own runs cost so much that its deterministic twin is optimised with a part of
the budget, and the solver itself is run with a shortlist for the rest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import count

from .fit.multistep_fit import DIRECTIONS
from .fit.pool import SHORTLIST
from .judging.reference_steps import every_of_coarse, fine_steps
from .problem import Problem

__all__ = [
    "FEWEST",
    "FEWEST_BY_DISTRIBUTION",
    "FEWEST_NOISES",
    "FEWEST_RACED",
    "MOST_RACED",
    "PROBED",
    "PROFILE_LEVELS",
    "SCREENED_ON",
    "CalibrationPlan",
    "Grown",
    "Plan",
    "Round",
    "distribution_reference_steps",
]

REFERENCE_SHARE = 0.26  # for the noises that schedules are refined on
PROFILE_SHARE = 0.08
REFINEMENT_SHARE = 0.30  # for real runs on the noises that schedules are refined on
OPENING_SHARE = 0.05  # for the given schedules that are run before all else
FIRST_ROUND_SHARE = 0.25  # of what is left, for running every candidate on the first fresh batch
TWIN_SHARE = 0.5  # to plan the twin of a stochastic solver with that its own samples judge
TWIN_SPENT = 0.4  # by it, at most: nothing is compared by the twin's errors

BATCHES = 4  # of the noises that schedules are refined on, at least
FEWEST_BATCHES = 2  # which a limit must leave, or another plan is made
BATCH = 4  # noises in one, if there are so many; nothing is ranked on fewer
AMPLE = 300  # times a run's calls: a budget for longer references
PROFILE_LEVELS = 32
FEWEST = 3  # candidates compared, however small the budget
FEWEST_BY_DISTRIBUTION = 3  # noises on which the distribution of samples has a standard error
FEWEST_NOISES = 8  # on fewer than these a standard deviation says too little

# Of a calibrated sampler (calibrate.py).
RACE_SHARE = 0.28  # at least: what the fit leaves goes to the race
FEWEST_RACED, MOST_RACED = 3, 20  # noises
MOST_ROUNDS, MOST_FITTED = 4, 32  # joint steps, and noises that they are made from
FIRST_FITTED = 3  # noises of the first round
GROWTH = 3.0  # calls after a round, over those before
LAST = 0.5  # of all calls: a round that would come so far is the last one, and takes them all
MOST_FINER = 1.35  # times its own steps, at most, may a reference have to serve others too
LITTLE = 0.1  # of all calls: with no more left there is no other round
AT_ONCE = 1.6  # times the first round's calls: with fewer than these there is but one round
MORE_NOISES = 2  # noises for every joint step but the first, which needs as many as steps
PROBED = 4  # noises that slopes are measured on
TRIES = 1.5  # runs that try a joint step, on average: the whole one, and a shorter one
CALIBRATION_AMPLE = 250  # times the steps: a budget for longer references
SCREENING = 300  # times the steps: a budget to really run the likeliest pairs before the race
SCREENED, SCREENED_ON = 20, 2  # pairs, and noises of the fit that they are run with
SEVERAL = 100  # times the steps: a budget for two starts, three pairs and two noises of the check


def distribution_reference_steps(steps: int) -> int:
    """Steps of a stochastic solver's fine runs."""
    return max(24, 3 * steps + 2)


@dataclass(frozen=True)
class Plan:
    """Shares of the budget, rounded down to whole batches of noise.

    problem:         that it is for
    budget:          rows that the deterministic solver's runs are planned with
    by_distribution: whether a stochastic solver is to be judged by its own samples
    batch:           noises in a batch
    least_batch:     at least
    reference_steps: of a fine run
    every:           the coarse run beside it takes every so many-th of its levels
    tracked:         rows of a reference and the coarse run beside it, of one noise
    path:            rows of a sample of the profile; 0: it is given
    comparison:      rows of the smallest comparison, of one noise
    """

    problem: Problem
    budget: int
    by_distribution: bool
    batch: int
    least_batch: int
    reference_steps: int
    every: int
    tracked: int
    path: int
    comparison: int

    @staticmethod
    def of(
        problem: Problem,
        rows: int,
        *,
        method: str,
        profile_given: bool,
        batch_size: int,
        least_batch: int,
    ) -> Plan:
        """Plan with so many rows; raise ValueError where they are too few."""
        by_distribution = method == "measured" and _distribution_fits(problem, rows)
        path = 0 if profile_given else PROFILE_LEVELS
        plan = Plan(problem, 0, by_distribution, 0, least_batch, 0, 0, 0, path, 0)
        return plan._with(plan.share(rows), batch_size)

    def smaller(self, rows: int) -> Plan:
        """The plan where a limit leaves so many rows only, with fewer noises in a batch."""
        return self._with(self.share(rows), self.batch - 1)

    def _with(self, budget: int, batch_size: int) -> Plan:
        solver, steps = self.problem.solver, self.problem.steps
        calls = steps * solver.calls_per_step
        ample = budget >= AMPLE * calls
        fine = fine_steps(steps, solver.calls_per_step, solver.reference_order, ample=ample)
        every = every_of_coarse(fine, steps)
        reference = fine * solver.reference_calls
        tracked = reference + -(-fine // every) * solver.calls_per_step
        noises = max(1, int(REFERENCE_SHARE * budget / tracked))
        batch = min(max(1, noises // BATCHES, min(BATCH, noises // 2)), batch_size)
        return replace(
            self,
            budget=budget,
            batch=max(batch, self.least_batch),
            reference_steps=fine,
            every=every,
            tracked=tracked,
            comparison=reference + FEWEST * calls,
        )

    def share(self, rows: int) -> int:
        """Rows, of so many, that the deterministic solver's runs are planned with."""
        return int(TWIN_SHARE * rows) if self.by_distribution else rows

    @property
    def least(self) -> int:
        """Rows of two references, one path and three runs, for every noise of the least batch."""
        return self.least_batch * (self.tracked + self.path + self.comparison)

    def checked(self, budget: int, spent: int) -> Plan:
        """The plan itself; raise ValueError where it allows no comparison.

        budget, spent: in all, and of it before
        """
        if self.budget >= self.least:
            return self
        batch = self.least_batch
        among = f" with {batch} seeds at a time" if batch > 1 else ""
        remedy = "Raise the budget, or use fewer processes." if batch > 1 else "Raise the budget."
        raise ValueError(
            f"The budget was {budget} calls: at {self.problem.steps} steps{among} at least "
            f"{self.least + spent} are needed to compare anything, and 4000 are usual. {remedy}"
        )

    def references(self, rows: int) -> int:
        """Batches of references to refine schedules on."""
        return self._noises(rows) // self.batch

    def too_large(self, rows: int) -> bool:
        """Say whether fewer than FEWEST_BATCHES of several noises fit into what a limit leaves."""
        # With a quarter of 4,000 calls on 12 mixtures, a plan of its own gave errors 1.28 times
        # those of the whole budget; the whole one's larger batches, of which one fitted, 1.46.
        return self.batch > max(self.least_batch, self._noises(rows) // FEWEST_BATCHES)

    def _noises(self, rows: int) -> int:
        return int(REFERENCE_SHARE * self.share(rows) / self.tracked)

    def paths(self, rows: int, batches: int) -> int:
        """Samples of the profile, after so many batches of references.

        No whole batch of them only where a limit leaves less.
        """
        budget = self.share(rows)
        affordable = budget - self.batch * (batches * self.tracked + self.comparison)
        paths = min(int(PROFILE_SHARE * budget), affordable) // PROFILE_LEVELS
        if paths < self.batch and budget < self.budget:
            return max(1, paths)
        return max(1, paths // self.batch) * self.batch

    def refinement(self, rows: int) -> float:
        """Rows for real runs on the noises that schedules are refined on."""
        return REFINEMENT_SHARE * self.share(rows)

    def opened(self, rows: int) -> int:
        """Given schedules that are run before all else."""
        return max(FEWEST - 1, self._opened(rows))

    def roomy(self, rows: int) -> bool:
        """Say whether the best so far is run on fresh noise before it is refined further."""
        return self._opened(rows) >= FEWEST

    def _opened(self, rows: int) -> int:
        run = self.batch * self.problem.steps * self.problem.solver.calls_per_step
        return int(OPENING_SHARE * self.share(rows) / run)

    def rivals(self, left: int, run: int) -> int:
        """Candidates of the first round, with rows left for it that a run takes so many of."""
        return max(FEWEST, int(FIRST_ROUND_SHARE * left / run))

    @property
    def distribution_rows(self) -> int:
        """Rows of the smallest comparison by the distribution of samples, in whole batches."""
        return -(-FEWEST_NOISES // self.batch) * self.batch * _distribution_cost(self.problem)


def _distribution_cost(problem: Problem) -> int:
    """Calls that one noise takes to be compared by the distribution of samples."""
    steps = problem.steps
    return (distribution_reference_steps(steps) + SHORTLIST * steps) * problem.solver.calls_per_step


def _distribution_fits(problem: Problem, rows: int) -> bool:
    """Say whether a solver can be judged by the distribution of its samples."""
    # What is enough for this is far more than the least that a plan for the twin takes.
    enough = FEWEST_NOISES * _distribution_cost(problem)
    return problem.solver.stochastic is not None and enough <= (1.0 - TWIN_SPENT) * rows


@dataclass(frozen=True)
class Round:
    """A round of a calibration.

    noises:  that the fit is made on then
    joint:   joint steps
    race:    noises that were raced then
    calls:   of all rounds up to its end
    screens: whether pairs are screened
    is_last: whether it takes all calls that are left
    """

    noises: int
    joint: int
    race: int
    calls: int
    screens: bool = False
    is_last: bool = False


@dataclass(frozen=True)
class Grown:
    """What the rounds so far have done.

    spent:    calls
    noises:   that the fit is made on
    joint:    joint steps that were made
    raced:    noises of the race
    screened: whether pairs were screened
    """

    spent: int
    noises: int = 0
    joint: int = 0
    raced: int = 0
    screened: bool = False


@dataclass(frozen=True)
class CalibrationPlan:
    """Shares of the budget of a calibrated sampler.

    reference: steps of a reference run
    noises:    that the fit is made on
    rounds:    joint steps
    pairs:     of textbook sampler and curve in the race
    race:      noises of the race; more where calls are left, one fewer where they are not
    starts:    curves that the greedy fit is made from
    checked:   noises that references are checked on
    screened:  pairs that are run with noises of the fit to find those; 0: none are
    """

    reference: int
    noises: int
    rounds: int
    pairs: int
    race: int
    starts: int = 1
    checked: int = 1
    screened: int = 0

    @staticmethod
    def of(
        budget: int, steps: int, spent: int = 0, beside: Collection[int] = ()
    ) -> CalibrationPlan:
        """The plan for a number of calls, of which some may be spent already.

        beside: numbers of steps that are calibrated too, with the same references where they can

        Raises ValueError where the least that is honest does not fit.
        """
        shared = CalibrationPlan._shared_steps(budget, steps, beside) if beside else 0
        plans = CalibrationPlan._fitting(budget - spent, steps, shared)
        plans = plans or CalibrationPlan._fitting(budget - spent, steps)
        if not plans:
            enough = (n for n in count(budget + 1) if CalibrationPlan._fitting(n - spent, steps))
            raise ValueError(
                f"The budget was {budget} calls: at {steps} steps a calibration takes "
                f"{next(enough)} at least, and 1000 are usual. Raise the budget."
            )
        return plans[-1]

    @staticmethod
    def _reference_steps(budget: int, steps: int) -> int:
        ample = budget >= CALIBRATION_AMPLE * steps
        return max(30, 3 * steps) if ample else max(24, 2 * steps + 10)

    @staticmethod
    def _shared_steps(budget: int, steps: int, beside: Collection[int]) -> int:
        """Steps of a reference that serves other numbers of steps too: the finest's, if near."""
        shared = 0
        for one in sorted({steps, *beside}, reverse=True):
            own = CalibrationPlan._reference_steps(budget, one)
            if not own <= shared <= MOST_FINER * own:
                shared = own
            if one == steps:
                break
        return shared

    @staticmethod
    def _fitting(budget: int, steps: int, reference: int = 0) -> list[CalibrationPlan]:
        """The plans that a budget allows, those with more joint steps last.

        reference: steps of a reference run; 0: the fewest that do
        """
        several = budget >= SEVERAL * steps
        reference = reference or CalibrationPlan._reference_steps(budget, steps)
        starts, pairs, checked = (2, 3, 2) if several else (1, 2, 1)
        screened = SCREENED if budget >= SCREENING * steps else 0
        check = checked * (reference + reference // 2)
        before = check + CalibrationPlan.screening_cost(screened, steps)
        plans = []
        for rounds in range(MOST_ROUNDS + 1):
            raced = reference + (pairs + 1 + min(1, rounds)) * steps
            race = max(FEWEST_RACED, min(MOST_RACED, int(RACE_SHARE * budget / raced)))
            fitted = reference + starts * steps + rounds * CalibrationPlan.round_cost(steps)
            # A reference in doubt is run twice, which costs no more than a noise of the race.
            left = budget - race * raced - before - max(0, checked * reference - raced)
            noises = min(MOST_FITTED, (left - PROBED * steps) // fitted)
            if noises < PROBED:
                noises = left // (fitted + steps)
            if noises >= max(checked + 1, steps + MORE_NOISES * (rounds - 1) if rounds else 0):
                plan = CalibrationPlan(reference, noises, rounds, pairs, race, starts, checked)
                plans.append(replace(plan, screened=screened))
        return plans

    @staticmethod
    def screening_cost(screened: int, steps: int) -> int:
        """Calls of screening so many pairs, at most: they share some of them."""
        return SCREENED_ON * screened * steps

    @staticmethod
    def round_cost(steps: int) -> int:
        """Calls of a joint step, a noise: tangents, and runs that try it."""
        return CalibrationPlan.tangents_cost(steps) + int(TRIES * steps)

    @staticmethod
    def tangents_cost(steps: int) -> int:
        """Calls of all derivatives, a noise."""
        return steps + DIRECTIONS * (steps - 1)

    def next_round(self, calls: int, steps: int, done: Grown) -> Round | None:
        """The next round where so many calls may be made in all; None: there is none."""
        if not done.noises:
            first = min(FIRST_FITTED, self.noises)
            cost = first * (self.reference + 2 * steps)
            cost += FEWEST_RACED * (self.reference + (self.pairs + 1) * steps)
            cost += self.checked * (self.reference + self.reference // 2)
            if AT_ONCE * cost > calls:
                return Round(self.noises, self.rounds, self.race, calls, is_last=True)
            return Round(first, 0, FEWEST_RACED, cost)
        if calls - done.spent < LITTLE * calls:
            return None
        is_last = GROWTH * done.spent > LAST * calls
        target = calls if is_last else int(GROWTH * done.spent)
        screens = self.screened > 0 and not done.screened and target >= SCREENING * steps
        ours = 2 + min(1, done.joint)  # greedy, joint, and what the round before has left
        raced = self.reference + (self.pairs + ours) * steps
        race = min(MOST_RACED, int(RACE_SHARE * target / raced))
        race = max(done.raced, race)
        left = target - done.spent - (race - done.raced) * raced - done.raced * 2 * steps
        left -= max(0, PROBED - done.noises) * steps
        if screens:
            left -= self.screening_cost(self.screened, steps) + done.raced * self.pairs * steps
        rounds = []
        for joint in range(MOST_ROUNDS + 1):
            for fewer in range(2):  # noises of the race than its share
                more = left + fewer * raced if race - fewer >= max(FEWEST_RACED, done.raced) else 0
                new = self.reference + (steps if done.joint else 0)
                each = (self.starts if is_last else 1) * steps + joint * self.round_cost(steps)
                noises = min(MOST_FITTED, (more + done.noises * new) // (each + new))
                enough = steps + MORE_NOISES * (done.joint + joint - 1) if joint else 0
                again = joint > 0 and joint * self.round_cost(steps) * done.noises <= more
                if noises <= done.noises and again:
                    noises = done.noises
                if noises >= max(enough, done.noises + (not again)):
                    rounds.append(Round(noises, joint, race - fewer, target, screens, is_last))
                    break
        if rounds:
            return rounds[-1]
        if race > done.raced:
            return Round(done.noises, 0, race, target, screens, is_last)
        return None
