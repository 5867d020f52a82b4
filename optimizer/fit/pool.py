"""The candidates worth running: ranked and refined on the surrogate before they cost a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..diffusion.coordinate import Coordinate
from ..judging.select import FAVOURITES, Candidate
from ..profile.candidates import distinct, edm_levels, from_edm
from .refine import Refinement, levenberg_marquardt, settled
from .surrogate import Surrogate, Track

__all__ = ["SHORTLIST", "ranked_by_prediction", "refined_freely", "refined_pool", "shortlist"]

STARTS = 6  # candidates refined on the surrogate alone
TRIED = 3  # of what comes out of it, really run
APART = 0.1  # of log t, between two of these

# What a stochastic solver is run with: its deterministic twin is only a hint.
LIKELY, LIKELY_GIVEN = 4, 5
SHORTLIST = LIKELY + LIKELY_GIVEN
BLENDED, BLENDED_GIVEN = 4, 4  # schedules blended with each other, pair by pair


def refined_pool(
    pool: Sequence[Candidate],
    surrogate: Surrogate,
    coordinate: Coordinate,
    measure: Callable[[Candidate], Track | None],
    *,
    lead: Callable[[Candidate], None],
    race: Callable[[Candidate], object],
    goes_on: Callable[[], bool],
) -> tuple[list[Candidate], Surrogate]:
    """The pool in the order in which to run it: the best given ones, refined ones, the others.

    The best given schedule is run first: its run shows the slopes at the distance at which
    schedules of so few steps stray. With them the likeliest candidates are refined without calls,
    the best results are run, and the best of all these runs is refined further.

    Arguments:
        measure: a real run on the noises that the surrogate is made from; None: none fits any
            more, or it fails.
        lead: told of the best so far.
        race: runs the best so far on fresh noise, before it is refined further.
        goes_on: asked before every refinement without a call.

    Returns also the surrogate with the mean of its slopes and those of the best run: what is known
    about schedules of other lengths; compressed.
    """
    learnt = small = surrogate.compressed()  # says the same of schedules that are not run
    ranked = ranked_by_prediction(pool, small, coordinate)
    sigma_max = float(ranked[0].sigmas[0])

    def candidate(name: str, levels: np.ndarray) -> Candidate:
        return from_edm(name, levels, coordinate, sigma_max)

    refinement = Refinement(surrogate, lambda x: measure(candidate("", x)), coordinate)

    def run(levels: np.ndarray) -> None:
        refinement.run(levels)
        if refinement.tried:
            lead(candidate("", refinement.best[0]))

    lead(ranked[0])
    first = next((one for one in ranked if one.given), ranked[0])
    run(edm_levels(first, coordinate))
    if refinement.tried:
        surrogate = surrogate.sloped(refinement.best[1])
        small = small.with_slope(surrogate.slope)
        ranked = ranked_by_prediction(pool, small, coordinate)

    free = refined_freely(ranked[:STARTS], small, coordinate, goes_on)
    for found in free[:TRIED]:
        run(edm_levels(found, coordinate))
    if refinement.tried:
        best = refinement.best[0]
        race(
            next((one for one in free if np.array_equal(edm_levels(one, coordinate), best)), first)
        )
    improved = []
    if refinement.tried:
        while refinement.improve():
            lead(candidate("", refinement.best[0]))
        levels, track = refinement.best
        improved = [candidate("refined", levels)]
        learnt = learnt.with_slope((learnt.slope + surrogate.sloped(track).slope) / 2.0)

    given = [one for one in ranked if one.given]
    searched = [one for one in ranked if not one.given]
    front = distinct([*improved, *free], given, coordinate)
    return [*given[:FAVOURITES], *front, *given[FAVOURITES:], *searched], learnt


def refined_freely(
    starts: Sequence[Candidate],
    surrogate: Surrogate,
    coordinate: Coordinate,
    goes_on: Callable[[], bool],
) -> list[Candidate]:
    """The starts refined on the surrogate alone, the best first, all apart from one another."""
    found: list[Candidate] = []
    for start in starts:
        if not goes_on() and found:
            break
        levels = levenberg_marquardt(
            surrogate.residuals, edm_levels(start, coordinate), lowest=surrogate.lowest
        )
        levels = settled(surrogate.residuals, levels, coordinate)
        name = f"{start.name}, refined on the surrogate"
        found.append(from_edm(name, levels, coordinate, float(start.sigmas[0])))
    return distinct(ranked_by_prediction(found, surrogate, coordinate), [], coordinate, APART)


def shortlist(
    pool: Sequence[Candidate], surrogate: Surrogate, coordinate: Coordinate
) -> list[Candidate]:
    """The few schedules that a stochastic solver is run with, at most SHORTLIST.

    The best given ones and, of the others and their blends sqrt(a b) with the best given ones,
    those of least predicted error of the deterministic twin that are apart from one another: what
    is best for the twin alone need not be good.
    """
    ranked = ranked_by_prediction(pool, surrogate, coordinate)
    given = [candidate for candidate in ranked if candidate.given]
    free = [candidate for candidate in ranked if not candidate.given]
    blends = [_blend(a, b, coordinate) for a in free[:BLENDED] for b in given[:BLENDED_GIVEN]]
    kept = given[:LIKELY_GIVEN]
    likely = ranked_by_prediction([*free, *blends], surrogate, coordinate)
    return [*kept, *distinct(likely, kept, coordinate, APART)[:LIKELY]]


def _blend(a: Candidate, b: Candidate, coordinate: Coordinate) -> Candidate:
    """The geometric mean of two schedules' EDM levels."""
    levels = np.sqrt(edm_levels(a, coordinate) * edm_levels(b, coordinate))
    return from_edm(f"{a.name} x {b.name}", levels, coordinate, float(a.sigmas[0]))


def ranked_by_prediction(
    pool: Sequence[Candidate], surrogate: Surrogate, coordinate: Coordinate
) -> list[Candidate]:
    """The candidates by the surrogate's mean error, the least first."""
    if not pool:
        return []
    errors = surrogate.errors([edm_levels(candidate, coordinate) for candidate in pool])
    return [pool[k] for k in np.argsort(errors.mean(1))]
