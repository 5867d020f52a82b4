"""Refinement: the inner levels of a schedule as the unknowns of a least-squares problem.

The end-point residual r_k(z) of noise k is a smooth function of the inner levels, z = log t. The
mean of the norms |r_k| is brought down by Levenberg-Marquardt steps with weights 1/|r_k|

    (A + lambda diag A) dz = -g,   A = sum_k J_k^T J_k / |r_k|,   g = sum_k J_k^T r_k / |r_k|

so that the mean of norms falls and not the mean of squares, which rare outliers own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .surrogate import Surrogate

__all__ = ["corrected", "levenberg_marquardt"]

PERTURBATION = 1e-3  # of log t, for finite differences
LARGEST_STEP = 0.5  # of log t, per iteration
CLOSEST = 0.02  # two levels never come closer than 2 %
ENOUGH = 3e-3  # relative gain of an iteration below which it stops


def levenberg_marquardt(
    residuals: Callable[[np.ndarray], np.ndarray],
    schedule: np.ndarray,
    *,
    lowest: float,
    iterations: int = 20,
    reach: float = np.inf,
) -> np.ndarray:
    """Lower the mean residual norm by moving the inner levels of a schedule.

    Arguments:
        residuals: [S, n+1] schedules of EDM levels ending in 0 -> [S, K, E] residuals.
        schedule: [n+1] levels, descending, ending in 0; the first stays fixed.
        lowest: positive levels stay at or above this, the model's sigma_min.
        iterations: at most this many.
        reach: no level moves further than this in log t.

    Returns the schedule found; it is at least as good as the given one.
    """
    start = z = np.log(schedule[1:-1])
    if len(z) == 0:
        return schedule
    top = np.log(schedule[0])

    def levels(points: np.ndarray) -> np.ndarray:
        ends = np.full((len(points), 1), schedule[0]), np.zeros((len(points), 1))
        return np.concatenate([ends[0], np.exp(points), ends[1]], 1)

    def allowed(point: np.ndarray) -> bool:
        falls = np.diff(np.concatenate([[top], point])) < -CLOSEST
        inside = point[-1] >= np.log(lowest) and np.abs(point - start).max() <= reach
        return bool(falls.all() and inside)

    damping = 1e-2
    for _ in range(iterations):
        moved = np.concatenate([z[None], z + PERTURBATION * np.eye(len(z))])
        values = residuals(levels(moved))  # [1 + m, K, E]
        r = values[0]
        J = (values[1:] - r) / PERTURBATION  # [m, K, E]
        norm = np.maximum(np.linalg.norm(r, axis=1), 1e-12)
        A = np.einsum("ike,jke,k->ij", J, J, 1.0 / norm)
        g = np.einsum("ike,ke,k->i", J, r, 1.0 / norm)
        error, better = norm.mean(), None
        for _ in range(8):
            step = -np.linalg.solve(A + damping * np.diag(np.diag(A) + 1e-12), g)
            step *= min(1.0, LARGEST_STEP / max(float(np.abs(step).max()), 1e-12))
            if allowed(z + step):
                trial = residuals(levels((z + step)[None]))[0]
                after = np.linalg.norm(trial, axis=1).mean()
                if after < error:
                    better = z + step
                    damping = max(damping / 3.0, 1e-6)
                    break
            damping *= 4.0
        if better is None:
            break
        z = better
        if after > error * (1.0 - ENOUGH):
            break
    return levels(z[None])[0]


def corrected(
    surrogate: Surrogate,
    measure: Callable[[np.ndarray], np.ndarray | None],
    schedule: np.ndarray,
    *,
    rounds: int = 3,
) -> np.ndarray:
    """Refine on the surrogate, corrected by real runs from the same noises.

    Every round adds to the surrogate's residual the difference to the real one at the best
    schedule so far, refines within reach of it, and runs what it finds; a find that is no
    better halves the reach.

    Arguments:
        measure: real residuals [K, E] of a schedule of EDM levels; None: the budget is spent.
    """
    best, residual = schedule, measure(schedule)
    reach = 0.4
    for _ in range(rounds):
        if residual is None:
            break
        error = np.linalg.norm(residual, axis=1).mean()
        offset = residual - surrogate.residuals(best[None])[0]
        trial = levenberg_marquardt(
            _shifted(surrogate, offset), best, lowest=surrogate.lowest, reach=reach
        )
        found = measure(trial)
        if found is None:
            break
        if np.linalg.norm(found, axis=1).mean() < error:
            best, residual = trial, found
        else:
            reach /= 2.0
    return best


def _shifted(surrogate: Surrogate, offset: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The surrogate's residuals with a constant added."""
    return lambda schedules: surrogate.residuals(schedules) + offset
