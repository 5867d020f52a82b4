"""Choosing a schedule by its measured end-point error.

The error of a schedule on one initial noise is the RMS distance, per latent element, between the
solver's end point and a fine-step reference from the same noise. Schedules are compared on equal
noise only. The mean error is owned by rare trajectories that change basin, which tell little of
what a typical seed gains. So the number that schedules are ranked by, and that is shown, is the
geometric mean

    exp( mean of log e_k )

whose ratio for two schedules is the geometric mean of their ratios seed by seed. On 48 cells of
exact mixtures (plain and guided, 5 and 10 steps, dpmpp_2m), choosing among some 30 schedules, the
chosen one's held-out arithmetic mean was 1.070, 1.057, 1.050 and 1.049 times the least with 8, 16,
32 and 64 noises; ranked by the arithmetic mean itself 1.117, 1.076, 1.050 and 1.039.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

__all__ = ["Candidate", "Score", "halving"]

FINALISTS = 4  # candidates that are run on every noise
FAVOURITES = 2  # given candidates that stay too, if they are not among these
LEAST = 1e-12  # of an error: a run may end where its reference does


@dataclass(frozen=True)
class Candidate:
    """A schedule in the running.

    sigmas: [n+1] levels in the host's units, ending in 0
    given:  whether the caller named it as one not to be beaten
    """

    name: str
    sigmas: Tensor
    given: bool = False


@dataclass
class Score:
    """The errors of one candidate, one value per noise it was run on.

    additive: whether only the mean of the values says something, as in distribution.py
    """

    candidate: Candidate
    errors: list[float] = field(default_factory=list)
    additive: bool = False

    @property
    def mean(self) -> float:
        """Arithmetic mean; infinite before the first run."""
        return sum(self.errors) / len(self.errors) if self.errors else math.inf

    @property
    def figure(self) -> float:
        """The number that chooses and that is shown; infinite before the first run.

        The geometric mean of the errors; of values that are additive their mean.
        """
        return self.rank(len(self.errors)) if self.errors else math.inf

    @property
    def finite(self) -> bool:
        """True if every run ended in numbers."""
        return all(map(math.isfinite, self.errors))

    def rank(self, noises: int) -> float:
        """The figure on the first so many noises."""
        errors = self.errors[:noises]
        if self.additive or not all(map(math.isfinite, errors)):
            return sum(errors) / noises
        return math.exp(sum(math.log(max(error, LEAST)) for error in errors) / noises)

    @property
    def place(self) -> tuple[bool, int, float]:
        """The order of scores: those that are numbers, run most, of the least error."""
        return not self.finite, -len(self.errors), self.figure

    @property
    def standard_error(self) -> float:
        """Standard error of the figure; NaN for fewer than two noises."""
        if len(self.errors) < 2:
            return math.nan
        values = torch.tensor(self.errors, dtype=torch.float64)
        scale = 1.0
        if not self.additive and self.finite:
            values, scale = values.clamp_min(LEAST).log(), self.figure
        return scale * float(values.std() / len(values) ** 0.5)


def halving(
    candidates: Sequence[Candidate],
    errors: Callable[[Candidate, int], list[float] | None],
    lead: Callable[[Candidate], None] = lambda _: None,
) -> tuple[Score, list[Score]]:
    """Run all candidates on the first batch of noise, the better half on the next, and so on.

    Arguments:
        candidates: at least one.
        errors: the errors of a candidate on batch k = 0, 1, 2, ...; None once the budget does
            not allow it, which ends the comparison. Infinite ones end it for this candidate.
        lead: called after every run with the candidate that leads among those run as often.

    Returns the winner and the scores of all candidates. The winner ranks first among those run on
    as many noises as any; the given candidates that look best stay in to the end. Its errors are
    finite, unless those of all candidates are not.
    """
    scores = [Score(candidate) for candidate in candidates]
    running = list(scores)
    finished = running
    for batch in count():
        done = len(running[0].errors)
        for score in running:
            measured = errors(score.candidate, batch)
            if measured is None:
                winner = _winner(finished, scores)
                if any(_beats(score, winner) for score in scores):
                    _forget_after(done, running)
                    winner = _winner(finished, scores)
                return winner, scores
            score.errors.extend(measured)
            first = _best([s for s in running if len(s.errors) == len(score.errors)])
            if first.finite:
                lead(first.candidate)
        finished = running
        running = _survivors(running)
        if not running:
            return _winner(finished, scores), scores
    raise AssertionError("a budget always ends")


def _beats(score: Score, winner: Score) -> bool:
    """Tell whether a given candidate has less error on the noises that it shares with a winner."""
    shared = min(len(score.errors), len(winner.errors))
    given = score.candidate.given and shared > 0
    return given and score.rank(shared) < winner.rank(shared)


def _forget_after(done: int, running: list[Score]) -> None:
    """Drop the errors of an unfinished round: then all of it are compared on equal noise.

    Those of the first round stay, and those that tell of a failure.
    """
    for score in running:
        if done and score.finite:
            del score.errors[done:]


def _winner(finished: list[Score], scores: list[Score]) -> Score:
    """The best of those that have finished a round; if all of these failed, of those run most."""
    run = [score for score in scores if score.errors]
    sound = [score for score in run if score.finite]
    if left := [score for score in finished if score.errors and score.finite]:
        return _best(left)
    most = max((len(score.errors) for score in sound), default=0)
    return _best([score for score in sound if len(score.errors) == most] or run)


def _survivors(running: list[Score]) -> list[Score]:
    """The better half, at least FINALISTS, and the FAVOURITES best given ones; none that failed."""
    sound = [score for score in running if score.finite]
    ranked = sorted(sound, key=lambda score: score.rank(len(score.errors)))
    chosen = ranked[: max(FINALISTS, (len(ranked) + 1) // 2)]
    given = [score for score in ranked if score.candidate.given][:FAVOURITES]
    return chosen + [score for score in given if score not in chosen]


def _best(running: list[Score]) -> Score:
    """The first in rank over the noises that all of these were run on."""
    shared = min(len(score.errors) for score in running)
    return min(running, key=lambda score: score.rank(shared))
