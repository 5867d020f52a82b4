"""The schedules that a profile suggests, in the order in which they deserve to be tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

import numpy as np
import torch

from ..diffusion.coordinate import FINE, VE, Coordinate, OwnLevel, edm_level
from ..judging.select import Candidate
from .algorithm_1 import coordinate_search, edm_schedule, subdivide
from .paths import shortest_paths
from .profile import Profile

__all__ = [
    "checked_candidate",
    "distinct",
    "edm_levels",
    "from_edm",
    "log_linear",
    "measured_candidates",
    "paper_candidates",
    "path_schedules",
]

# From the most to the least likely to win: exponents near 3/4 suit most solvers, 3 is the KLUB.
WEIGHT_EXPONENTS = (0.75, 1.0, 0.5, 1.25, 0.25, 1.5, 0.0, 2.0, 3.0)
PAPER_STEPS = 10  # the paper searches at 10 steps and subdivides twice

Named = tuple[str, np.ndarray]


def measured_candidates(
    profile: Profile,
    steps: int,
    coordinate: Coordinate,
    sigma_max: float,
    *,
    starts: Mapping[str, np.ndarray],
    order: int,
    own_level: OwnLevel = edm_level,
) -> Iterator[Candidate]:
    """Shortest paths of every weight and order and the sweeps of Algorithm 1, interleaved.

    Arguments:
        starts: name -> n+1 EDM levels from which Algorithm 1 starts, beside EDM's own schedule.
        order: of the solver; its own order of paths comes first.
        own_level: in which the solver measures its steps, of the EDM level.
    """
    orders = (2, 1) if order == 2 else (1, 2)
    paths = (named for k in orders for named in _paths(profile, steps, k, own_level))
    sweeps = ((name, _ending(levels)) for name, levels in _sweeps(profile, steps, starts))
    for group in zip_longest(*[paths] * 2, sweeps):
        for named in group:
            if named is not None:
                name, levels = named
                yield from_edm(name, levels, coordinate, sigma_max)


def paper_candidates(
    profile: Profile,
    steps: int,
    coordinate: Coordinate,
    sigma_max: float,
    *,
    starts: Mapping[str, np.ndarray],
) -> Iterator[Candidate]:
    """The paper's procedure for every possible early stop: sweeps of Algorithm 1 at 10 steps.

    Another step count subdivides each sweep's result 10 -> 20 -> 40 and resamples the 40 steps
    log-linearly. `starts` as for `measured_candidates`, of 10 steps; the first one replaces EDM's.
    """
    for name, levels in _sweeps(profile, PAPER_STEPS, dict(list(starts.items())[:1]), edm=False):
        if steps != PAPER_STEPS:
            fine = subdivide(profile, subdivide(profile, levels))
            levels = log_linear(fine, steps + 1)
        yield from_edm(name, _ending(levels), coordinate, sigma_max)


def checked_candidate(name: str, sigmas: object, steps: int, sigma_max: float) -> Candidate:
    """A schedule of the caller's as a candidate.

    Raises ValueError, naming the defect, unless it has steps+1 finite, strictly descending levels
    that start at sigma_max. A positive last level is replaced by 0, as samplers do.
    """
    levels = torch.as_tensor(sigmas, dtype=torch.float64).flatten().clone()
    if len(levels) != steps + 1:
        raise ValueError(f"it has {len(levels)} levels, not {steps + 1}")
    if not torch.isfinite(levels).all():
        raise ValueError("it has levels that are not finite")
    if abs(float(levels[0]) / sigma_max - 1.0) > 1e-3:
        raise ValueError(f"it starts at {float(levels[0]):.4g}, not at {sigma_max:.4g}")
    levels[0], levels[-1] = sigma_max, 0.0
    if (levels.float().diff() >= 0).any():
        raise ValueError("its levels do not descend strictly")
    return Candidate(name, levels.float(), given=True)


def distinct(
    found: Iterable[Candidate],
    others: Sequence[Candidate],
    coordinate: Coordinate = VE,
    apart: float = FINE,
) -> list[Candidate]:
    """Those found whose EDM levels differ by `apart` in log t somewhere from all before them."""

    def inner(candidate: Candidate) -> np.ndarray:
        return np.log(coordinate.finite_edm(candidate.sigmas[1:-1].double().numpy()))

    kept: list[Candidate] = []
    before = [inner(other) for other in others]
    for candidate in found:
        log_levels = inner(candidate)
        if not any((np.abs(log_levels - other) < apart).all() for other in before):
            kept.append(candidate)
            before.append(log_levels)
    return kept


def from_edm(name: str, levels: np.ndarray, coordinate: Coordinate, sigma_max: float) -> Candidate:
    """EDM levels [n+1] that end in 0 as a candidate in the host's units, from sigma_max exactly.

    Its levels are those that the model knows.
    """
    sigmas = coordinate.level(levels[:-1])
    sigmas = np.append(sigma_max, sigmas[1:])
    return Candidate(name, torch.from_numpy(np.append(coordinate.snapped(sigmas), 0.0)).float())


def edm_levels(candidate: Candidate, coordinate: Coordinate) -> np.ndarray:
    """A candidate's levels in EDM units, the final 0 as it is."""
    return np.append(coordinate.finite_edm(candidate.sigmas[:-1].double().numpy()), 0.0)


def log_linear(levels: np.ndarray, points: int) -> np.ndarray:
    """`points` levels on the curve through positive ones, log-linear in the index."""
    index = np.linspace(0.0, len(levels) - 1, points)
    return np.exp(np.interp(index, np.arange(len(levels)), np.log(levels)))


def path_schedules(
    profile: Profile, counts: Sequence[int], own_level: OwnLevel = edm_level
) -> list[list[np.ndarray]]:
    """For each number of steps the shortest paths of every weight and both orders.

    All together they take as long as those of the largest number alone.
    """
    top = float(profile.sigmas[0])
    found: list[list[np.ndarray]] = [[] for _ in counts]
    lengths = sorted({n for steps in counts for n in (steps, steps - 1) if n > 0})
    for order in (1, 2):
        for _, paths in _shortest(profile, lengths, order, own_level):
            through = {len(levels) - 1: np.append(top, levels[1:]) for levels in paths}
            for schedules, steps in zip(found, counts, strict=True):
                schedules.append(_ending(through[steps]))
                if steps > 1:
                    schedules.append(np.append(through[steps - 1], 0.0))
    return found


def _paths(profile: Profile, steps: int, order: int, own_level: OwnLevel) -> Iterator[Named]:
    """Shortest paths with both ways to reach 0: from the level above sigma_min, or through it."""
    counts = [steps, steps - 1] if steps > 1 else [steps]
    for p, (above, *through) in _shortest(profile, counts, order, own_level):
        yield f"path p={p:g} order {order}", _ending(above)
        for levels in through:
            yield f"path p={p:g} order {order}, through sigma_min", np.append(levels, 0.0)


def _shortest(
    profile: Profile, counts: Sequence[int], order: int, own_level: OwnLevel
) -> Iterator[tuple[float, list[np.ndarray]]]:
    """For every weight exponent the shortest path of each number of steps."""

    def clock(t: np.ndarray) -> np.ndarray:
        return np.log(own_level(t))

    for p in WEIGHT_EXPONENTS:
        yield p, shortest_paths(profile, counts, weight_exponent=p, order=order, clock=clock)


def _sweeps(
    profile: Profile, steps: int, starts: Mapping[str, np.ndarray], *, edm: bool = True
) -> Iterator[Named]:
    """Algorithm 1's schedules after 0, 1, 2, ... sweeps from every start, in turn: all positive."""
    highest, lowest = float(profile.sigmas[0]), float(profile.sigmas[-1])
    every = dict(starts)
    if edm or not every:
        every["EDM"] = edm_schedule(steps, highest, lowest)

    def from_start(name: str, start: np.ndarray) -> Iterator[Named]:
        inside = np.clip(start, lowest, highest)
        for k, levels in enumerate([inside, *coordinate_search(profile, inside)]):
            yield f"sweep {k} from {name}", levels

    for group in zip_longest(*[from_start(name, start) for name, start in every.items()]):
        yield from (named for named in group if named is not None)


def _ending(levels: np.ndarray) -> np.ndarray:
    """The last level replaced by 0, as every host does with a published schedule."""
    return np.append(levels[:-1], 0.0)
