"""The paper's search for a schedule of least KLUB: Algorithm 1 and its subdivision.

Sabour, Fidler, Kreis, "Align Your Steps" (2024), arXiv 2404.14507, Algorithm 1 and Section 3.3.
The KLUB's own minimum is a bad schedule, and the paper stops the search early, by eye. So every
sweep is kept here: which one is best is for a measured error to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .klub import Landscape, Levels
from .profile import Profile

__all__ = ["coordinate_search", "edm_schedule", "subdivide"]


def edm_schedule(steps: int, sigma_max: float, sigma_min: float, rho: float = 7.0) -> np.ndarray:
    """EDM's schedule (Karras et al. 2022): t_i^(1/rho) is linear in i. steps + 1 levels.

    >>> edm_schedule(2, 80.0, 0.002).round(3).tolist()
    [80.0, 2.515, 0.002]
    """
    ends = np.array([sigma_max, sigma_min]) ** (1.0 / rho)
    return np.linspace(ends[0], ends[1], steps + 1) ** rho


def coordinate_search(
    profile: Profile,
    start: Levels,
    *,
    candidates: int = 11,
    max_sweeps: int = 300,
) -> list[np.ndarray]:
    """Algorithm 1: move one level at a time to the best of a few candidates, until none moves.

    The paper gives 11 candidates around t_i, t_i itself among them, and not their width: here
    they are even in log t on both sides, as far as half-way (geometrically) to the neighbours.

    Arguments:
        profile: as measured.
        start: strictly descending EDM levels; the first and the last stay fixed.
        candidates: per level, odd.
        max_sweeps: at most this many sweeps.

    Returns the schedule after every sweep that changed something. The KLUB never rises.
    """
    landscape = Landscape.of(profile)
    levels = landscape.checked(start)
    inner = range(1, len(levels) - 1)
    return list(_sweeps(landscape, levels, inner, candidates, max_sweeps))


def subdivide(profile: Profile, schedule: Levels) -> np.ndarray:
    """Twice the steps: insert geometric midpoints, then optimise only the new levels.

    The paper goes 10 -> 20 -> 40 this way, with every level of the coarser schedule kept.
    """
    landscape = Landscape.of(profile)
    coarse = landscape.checked(schedule)
    fine = np.empty(2 * len(coarse) - 1)
    fine[::2] = coarse
    fine[1::2] = np.sqrt(coarse[:-1] * coarse[1:])
    *_, best = fine, *_sweeps(landscape, fine, range(1, len(fine) - 1, 2), 11, 300)
    return best


def _sweeps(
    landscape: Landscape, levels: np.ndarray, free: range, candidates: int, max_sweeps: int
) -> Iterator[np.ndarray]:
    """Yield the levels after each sweep over the free indices that changed them."""
    levels = levels.copy()
    for _ in range(max_sweeps):
        before = levels.copy()
        for i in free:
            tried = _around(levels[i - 1], levels[i], levels[i + 1], candidates)
            low = np.append(tried, np.full(candidates, levels[i + 1]))
            high = np.append(np.full(candidates, levels[i - 1]), tried)
            cost = landscape.edge(low, high).reshape(2, candidates).sum(0)
            best = int(np.argmin(cost))
            # t_i itself is the middle candidate: a tie or a rounding error must not move it.
            if cost[best] < cost[candidates // 2] * (1.0 - 1e-12):
                levels[i] = tried[best]
        if np.array_equal(before, levels):
            return
        yield levels.copy()


def _around(high: float, level: float, low: float, candidates: int) -> np.ndarray:
    reach = np.linspace(0.0, 0.5, candidates // 2 + 1)
    below = level * (low / level) ** reach[:0:-1]
    above = level * (high / level) ** reach[1:]
    return np.concatenate([below, [level], above])
