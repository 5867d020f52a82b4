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
CORRECTED = 2  # of these, refined with real runs as well


def refined_pool(
    pool: Sequence[Candidate],
    surrogate: Surrogate,
    runs: Runs,
    coordinate: Coordinate,
    batches: int,
) -> list[Candidate]:
    """The pool in the order in which to run it: the best given ones, refined ones, the others.

    Arguments:
        surrogate: made from the first `batches` batches of noise; real runs use the same.
    """
    predicted = predictions(pool, surrogate, coordinate)
    ranked = [pool[k] for k in np.argsort(predicted)]
    given = [c for c in ranked if c.given]

    def refined(start: Candidate) -> Candidate:
        levels = levenberg_marquardt(
            surrogate.residuals, edm_levels(start, coordinate), lowest=surrogate.lowest
        )
        return _candidate(f"refined {start.name}", levels, coordinate, start)

    free = distinct((refined(start) for start in ranked[:STARTS]), [], coordinate)
    free = [free[k] for k in np.argsort(predictions(free, surrogate, coordinate))]

    def measure(levels: np.ndarray) -> np.ndarray | None:
        candidate = _candidate("", levels, coordinate, ranked[0])
        parts = [runs.residual(candidate.sigmas, batch) for batch in range(batches)]
        whole = [part for part in parts if part is not None]
        return np.concatenate(whole) if len(whole) == batches else None

    real = [
        _candidate(
            f"{start.name}, corrected",
            corrected(surrogate, measure, edm_levels(start, coordinate)),
            coordinate,
            start,
        )
        for start in free[:CORRECTED]
    ]
    front = distinct([*real, *free], given, coordinate)
    rest = [c for c in ranked if c not in given]
    return [*given[:FAVOURITES], *front, *given[FAVOURITES:], *rest]


def predictions(
    pool: Sequence[Candidate], surrogate: Surrogate, coordinate: Coordinate
) -> np.ndarray:
    """The surrogate's mean error of every candidate."""
    if not pool:
        return np.empty(0)
    return np.array([surrogate.errors(edm_levels(c, coordinate)[None]).mean() for c in pool])


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
