"""The schedule of least cost for any number of steps, as a shortest path over noise levels.

With d(t, s) = E ||D_t - D_s||^2 per element, a step from level b down to level a costs

    int_a^b t^-p E || D_t - predictor ||^2 dt.

Order 1 freezes the denoiser, predictor = D_b: p = 3 is the KLUB, and a path with n edges of least
cost is its global optimum on the grid. Order 2 is the predictor of multistep solvers such as
DPM-Solver++(2M), which also uses the level c before b:

    predictor = D_b + kappa (D_b - D_c),    kappa = h / (2 h_prev),
    E || D_t - predictor ||^2 = (1 + kappa) d(t, b) - kappa d(t, c) + kappa (1 + kappa) d(b, c)

with h the step lengths in the solver's own clock, and order 1 in the first step. Its states are
pairs of levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .klub import Landscape
from .profile import Profile

__all__ = ["shortest_path", "shortest_paths"]

GRID = 96  # levels of the refined grid: finer than that changes a schedule by less than 3 %


def shortest_path(
    profile: Profile,
    steps: int,
    *,
    weight_exponent: float = 3.0,
    order: int = 1,
    clock: Callable[[np.ndarray], np.ndarray] = np.log,
) -> np.ndarray:
    """The schedule of least cost with `steps` steps between the profile's end levels.

    Arguments:
        profile: as measured; its highest and lowest level are the schedule's ends.
        steps: number of steps n >= 1.
        weight_exponent: p of the weight t^-p; 3 is the KLUB.
        order: 1 for a frozen denoiser, 2 for the multistep predictor.
        clock: increasing function of the EDM level in which an order-2 solver measures its
            steps; log for DPM-Solver++(2M).

    Returns [steps + 1] descending EDM levels, a subset of the profile's grid refined.
    Raises ValueError for steps < 1 or an order other than 1 and 2.
    """
    return shortest_paths(
        profile, [steps], weight_exponent=weight_exponent, order=order, clock=clock
    )[0]


def shortest_paths(
    profile: Profile,
    steps: Sequence[int],
    *,
    weight_exponent: float = 3.0,
    order: int = 1,
    clock: Callable[[np.ndarray], np.ndarray] = np.log,
) -> list[np.ndarray]:
    """`shortest_path` for several step counts at the price of the largest."""
    if min(steps) < 1:
        raise ValueError(f"steps was {min(steps)}: a schedule has at least 1 step.")
    if order not in (1, 2):
        raise ValueError(f"order was {order}: 1 (frozen denoiser) and 2 (multistep) are known.")
    cells = max(GRID, 4 * max(steps)) - 1
    grid = Landscape.of(profile, weight_exponent, parts=-(-cells // (len(profile.sigmas) - 1)))
    find = _first_order if order == 1 else _second_order
    return [grid.levels[path][::-1].copy() for path in find(grid, steps, clock)]


def _integrals(grid: Landscape) -> np.ndarray:
    """[anchor, k] integral of t^-p d(t, anchor) dt from the lowest level up to level k."""
    cells = grid.cells(grid.log_levels[None, :], grid.differences)  # [M, M-1]
    return np.concatenate([np.zeros((len(cells), 1)), np.cumsum(cells, 1)], 1)


def _first_order(grid: Landscape, steps: Sequence[int], clock: object) -> list[list[int]]:
    """Bellman's recursion from the top: value[a] = min over b > a of value[b] + cost[b, a]."""
    integral = _integrals(grid)
    count = len(grid.levels)
    cost = integral[np.arange(count), np.arange(count)][:, None] - integral  # [b, a]
    cost[~np.tri(count, k=-1, dtype=bool)] = np.inf
    value = np.full(count, np.inf)
    value[-1] = 0.0
    choices = []
    for _ in range(max(steps)):
        total = value[:, None] + cost
        choices.append(total.argmin(0))
        value = total.min(0)

    def trace(n: int) -> list[int]:
        path = [0]
        for choice in reversed(choices[:n]):
            path.append(int(choice[path[-1]]))
        return path

    return [trace(n) for n in steps]


def _second_order(
    grid: Landscape, steps: Sequence[int], clock: Callable[[np.ndarray], np.ndarray]
) -> list[list[int]]:
    """The same over pairs: value[c, b] is the least cost of a path that ends with the step c to b.

    cost[b][c, a] is that of the step from b to a after the step from c to b.
    """
    integral = _integrals(grid)
    count, d = len(grid.levels), grid.differences
    weight = np.concatenate([[0.0], np.cumsum(grid.cells(grid.log_levels, np.ones(count)))])
    time = clock(grid.levels)

    def cost(b: int) -> np.ndarray:
        c, a = np.arange(b + 1, count)[:, None], np.arange(b)[None, :]
        kappa = (time[b] - time[a]) / (2.0 * (time[c] - time[b]))
        frozen = integral[b, b] - integral[b, a]
        before = integral[c, b] - integral[c, a]
        constant = d[b, c] * (weight[b] - weight[a])
        total = (1 + kappa) * frozen - kappa * before + kappa * (1 + kappa) * constant
        return np.maximum(total, 0.0)  # [C, A]; interpolation may break the square by a hair

    costs = {b: cost(b) for b in range(1, count - 1)}
    top = count - 1
    value = np.full((count, count), np.inf)  # [c, b]
    value[top, :top] = integral[top, top] - integral[top, :top]
    values = [value]
    for _ in range(max(steps) - 1):
        after = np.full((count, count), np.inf)  # [b, a]
        for b, step in costs.items():
            after[b, :b] = (value[b + 1 :, b, None] + step).min(0)
        value = after
        values.append(value)

    def trace(n: int) -> list[int]:
        path = [0, int(values[n - 1][:, 0].argmin())]
        for value in reversed(values[: n - 1]):
            a, b = path[-2:]
            path.append(int((value[b + 1 :, b] + costs[b][:, a]).argmin()) + b + 1)
        return path

    return [trace(n) for n in steps]
