"""Choosing a schedule by its measured end-point error.

The error of a schedule on one initial noise is the RMS distance, per latent element, between the
solver's end point and a fine-step reference from the same noise. Schedules are compared on equal
noise only. The target is the mean error. With few noises it is dominated by rare trajectories that
change basin, so early rounds rank by a mean with such errors clipped: on 14 exact mixtures, three
solvers and 5 and 10 steps, choosing among some 40 schedules on 8 noises, the chosen one's held-out
mean error was 1.086 times the least with clipping, 1.091 without, 1.112 by geometric mean and
1.171 by median. On 32 noises mean and clipped mean are equal (1.045).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor

__all__ = ["Candidate", "Score", "halving"]

FINALISTS = 6  # candidates that are run on every noise
FAVOURITES = 3  # of these, at least this many that the user already has
CLIP = 3.0  # early rounds clip errors at this multiple of the median over candidates and noises


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
    """The errors of one candidate, one value per noise it was run on."""

    candidate: Candidate
    errors: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean error; infinite before the first run."""
        return sum(self.errors) / len(self.errors) if self.errors else float("inf")

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN for fewer than two noises."""
        values = torch.tensor(self.errors, dtype=torch.float64)
        return float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")


def halving(
    candidates: Sequence[Candidate],
    errors: Callable[[Candidate, int], list[float] | None],
) -> tuple[Score, list[Score]]:
    """Run all candidates on the first batch of noise, the better half on the next, and so on.

    Arguments:
        candidates: at least one.
        errors: the errors of a candidate on batch k = 0, 1, 2, ...; None once the budget does
            not allow it, which ends the comparison.

    Returns the winner and the scores of all candidates. The winner has the least mean error among
    those run on as many noises as any; the given candidates that look best stay in to the end.
    """
    scores = [Score(candidate) for candidate in candidates]
    running = list(scores)
    finished = running
    for batch in count():
        for score in running:
            measured = errors(score.candidate, batch)
            if measured is None:
                return _best([score for score in finished if score.errors]), scores
            score.errors.extend(measured)
        finished = running
        running = _survivors(running)
    raise AssertionError("a budget always ends")


def _survivors(running: list[Score]) -> list[Score]:
    """The better half, at least FINALISTS, and the FAVOURITES best given ones."""
    errors = torch.tensor([score.errors for score in running], dtype=torch.float64)
    clipped = errors.clamp(max=CLIP * errors.median()).mean(1).tolist()
    ranked = [score for _, score in sorted(zip(clipped, running, strict=True), key=lambda p: p[0])]
    chosen = ranked[: max(FINALISTS, (len(ranked) + 1) // 2)]
    given = [score for score in ranked if score.candidate.given][:FAVOURITES]
    return chosen + [score for score in given if score not in chosen]


def _best(running: list[Score]) -> Score:
    """Least mean over the noises that all of these were run on."""
    shared = min(len(score.errors) for score in running)
    return min(running, key=lambda score: sum(score.errors[:shared]))
