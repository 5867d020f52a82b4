"""The candidates worth running: ranked and refined on the surrogate before they cost a call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .candidates import distinct
from .coordinate import Coordinate
from .refine import corrected, levenberg_marquardt
from .runs import Runs
from .select import FAVOURITES, Candidate
from .surrogate import Surrogate

__all__ = ["refined_pool"]

STARTS = 6  # candidates refined on the surrogate alone


def refined_pool(
    pool: Sequence[Candidate],
    surrogate: Surrogate,
    runs: Runs,
    coordinate: Coordinate,
    batches: int,
) -> list[Candidate]:
    """The pool in the order in which to run it: the best given ones, refined ones, the others.

    Refined with real runs are the best given schedule, the best searched one and the best of those
    refined on the surrogate alone, which is free but goes too far where the surrogate ends.

    Arguments:
        surrogate: made from the first `batches` batches of noise; real runs use the same.
    """
    ranked = ranked_by_prediction(pool, surrogate, coordinate)
    given = [candidate for candidate in ranked if candidate.given]
    searched = [candidate for candidate in ranked if not candidate.given]

    def freely(start: Candidate) -> Candidate:
        levels = levenberg_marquardt(
            surrogate.residuals, edm_levels(start, coordinate), lowest=surrogate.lowest
        )
        return _candidate(f"{start.name}, refined on the surrogate", levels, coordinate, start)

    free = distinct((freely(start) for start in ranked[:STARTS]), [], coordinate)
    free = ranked_by_prediction(free, surrogate, coordinate)

    def measure(levels: np.ndarray) -> np.ndarray | None:
        candidate = _candidate("", levels, coordinate, ranked[0])
        parts = [runs.residual(candidate.sigmas, batch) for batch in range(batches)]
        whole = [part for part in parts if part is not None]
        return np.concatenate(whole) if len(whole) == batches else None

    def really(start: Candidate) -> Candidate:
        levels = corrected(surrogate, measure, edm_levels(start, coordinate))
        return _candidate(f"{start.name}, refined", levels, coordinate, start)

    real = [really(start) for start in (*given[:1], *searched[:1], *free[:1])]
    front = distinct([*real, *free], given, coordinate)
    return [*given[:FAVOURITES], *front, *given[FAVOURITES:], *searched]


def ranked_by_prediction(
    pool: Sequence[Candidate], surrogate: Surrogate, coordinate: Coordinate
) -> list[Candidate]:
    """The candidates by the surrogate's mean error, the least first."""
    errors = [surrogate.errors(edm_levels(c, coordinate)[None]).mean() for c in pool]
    return [pool[k] for k in np.argsort(errors)]


def edm_levels(candidate: Candidate, coordinate: Coordinate) -> np.ndarray:
    """A candidate's levels in EDM units, the final 0 as it is."""
    return np.append(coordinate.finite_edm(candidate.sigmas[:-1].double().numpy()), 0.0)


def _candidate(
    name: str, levels: np.ndarray, coordinate: Coordinate, like: Candidate
) -> Candidate:
    """EDM levels as a candidate with the same first host level as another one."""
    sigmas = torch.from_numpy(np.append(coordinate.level(levels[:-1]), 0.0)).float()
    sigmas[0] = like.sigmas[0]
    return Candidate(name, sigmas)
