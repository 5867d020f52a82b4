"""With how many steps each of several schedules comes as close as the best of them: measured.

On noises of the comparison, whose references are there. The error to reach is, noise by noise, that
of the schedule which is best on the others (gain.py), so that no luck of the best one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from .gain import unseen
from .judging.select import Candidate, Score
from .runs.meter import NotFiniteError
from .steps_needed import FEWEST_CLOSE, StepsNeeded, most_calls, steps_needed

__all__ = ["most_calls_to_match", "steps_to_match"]

LongerCandidate = Callable[[str, int], Candidate | None]  # a named schedule at other steps


class Race(Protocol):
    """What this needs of a comparison that has been run."""

    running: list[Score]
    errors: Any
    stop: Callable[[], bool]
    solvers: Mapping[str, Any]


def steps_to_match(
    race: Race, batch: int, longer: LongerCandidate, behind: Callable[[Score], bool]
) -> dict[str, StepsNeeded]:
    """The steps by name, of those that are behind the best; none on fewer than four noises.

    batch: noises in one
    """
    scores = race.running
    noises = len(scores[0].errors)
    if noises < FEWEST_CLOSE or len(scores) < 2:
        return {}
    batches = -(-FEWEST_CLOSE // batch)
    some = min(noises, batches * batch)
    target = float(unseen(np.array([score.errors for score in scores]))[:some].mean())
    found = {}
    for score in filter(behind, scores):
        name = score.candidate.name

        def close(count: int, name: str = name) -> bool | None:
            candidate = None if race.stop() else longer(name, count)
            if candidate is None:
                return None
            solver = race.solvers.get(name)
            try:
                runs = [race.errors.end_points(candidate.sigmas, k, solver) for k in range(batches)]
            except NotFiniteError:
                return False
            return float(np.mean([error for _, errors in runs for error in errors])) <= target

        answer = steps_needed(close, len(score.candidate.sigmas) - 1, some)
        if answer is not None:
            found[name] = answer
    return found


def most_calls_to_match(steps: int, calls_per_step: int, batch: int) -> int:
    """Denoiser rows that this takes at most for one schedule."""
    return most_calls(steps) * calls_per_step * -(-FEWEST_CLOSE // batch) * batch
