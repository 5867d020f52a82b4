"""The host's noise levels and the EDM noise levels that the mathematics uses.

A host noises a sample as `x = a(s) x_0 + b(s) e`. Divided by a, this is EDM's `x_0 + t e` with

    t(s) = b(s) / a(s)

so a `Coordinate` is the pair of functions s -> t and t -> s. For variance-exploding models
(eps, v, EDM prediction in ComfyUI) t = s; for flow models, `x = (1-s) x_0 + s e`, t = s / (1-s),
infinite at s = 1. A first level of 1 is therefore never converted: it stays as it is, and
everything measured starts a little below it.

In general `a = 1 + k s` and `b = c s` (`affine`). A host whose samplers integrate

    dx/ds = (x - D) / s        D = E[x_0 | x]

solves the right equation for these models and no others: x/a at the level t = b/a must obey
dx/dt = (x - D) / t, which takes b'/b = 1/s and a - s a' = 1.

Samplers of such a host differ in the level in which they measure their steps, in whose logarithm
they extrapolate: some take t, some s. For variance-exploding models it is one.

A model of discrete time knows a table of levels, and is called at the nearest. For such a model
every level that is not the caller's is one of the table (`snapped`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "FINE",
    "FLOW",
    "FLOW_TOP",
    "VE",
    "Coordinate",
    "OwnLevel",
    "affine",
    "edm_level",
    "spread",
]

FLOW_TOP = 1.0 - 1e-4  # the highest flow level at which a denoiser is evaluated for the profile
FINE = 0.03  # of log t: no schedule is told from one whose levels all agree so well
KNEE = 50.0  # EDM level above which `spread` thins out

OwnLevel = Callable[[np.ndarray], np.ndarray]  # t -> the level in which a solver measures its steps


@dataclass(frozen=True)
class Coordinate:
    """The map between a host's levels s and EDM levels t, both increasing functions.

    edm:   s -> t, in EDM units (the standard deviation of the noise on x_0)
    level: t -> s, its inverse
    top:   the highest host level with a usable (finite) EDM level; None: no bound
    noise: s -> b(s)
    table: [T] the ascending host levels that the model knows; None: it knows every level
    """

    edm: Callable[[np.ndarray], np.ndarray]
    level: Callable[[np.ndarray], np.ndarray]
    top: float | None = None
    noise: Callable[[np.ndarray], np.ndarray] = lambda s: s
    table: np.ndarray | None = None

    def finite_edm(self, levels: np.ndarray) -> np.ndarray:
        """EDM levels; a host level with an infinite one is lowered to the highest usable first."""
        return self.edm(levels if self.top is None else np.minimum(levels, self.top))

    def check_steps(self, steps: int, start: float) -> None:
        """Raise ValueError unless the model knows enough levels below the first of a schedule."""
        if self.table is not None and steps > (most := 1 + int((self.table < start).sum())):
            raise ValueError(
                f"steps was {steps}, but the model knows only {most - 1} noise levels below "
                f"{start:.4g}, where the schedule starts: give at most {most} steps, or a higher "
                "denoise."
            )

    def snapped(self, levels: np.ndarray) -> np.ndarray:
        """Positive host levels [n], descending, each moved to the nearest that the model knows.

        Nearest in log s, as the host does it. The first level stays as it is, and all stay
        distinct: where two would meet, the lower one goes down if there is room, else the higher
        one goes up.

        Raises ValueError where the table has too few levels below the first.
        """
        if self.table is None:
            return levels
        self.check_steps(len(levels), float(levels[0]))
        below = self.table[self.table < levels[0]]
        at = _nearest(below, levels[1:])
        lowest = np.arange(len(at))[::-1]  # what leaves room for those that follow
        for k in range(1, len(at)):
            at[k] = min(at[k], at[k - 1] - 1)
        return np.append(levels[0], below[np.maximum(at, lowest)])

    def thinned(self, levels: np.ndarray) -> np.ndarray:
        """As `snapped` for levels that need not stay as many: those that would meet become one."""
        if self.table is None:
            return levels
        below = self.table[self.table < levels[0]]
        return np.append(levels[0], below[np.unique(_nearest(below, levels[1:]))[::-1]])

    def known_edm(self, levels: np.ndarray) -> np.ndarray:
        """EDM levels [n+1] that end in 0, the positive ones `snapped`."""
        if self.table is None:
            return levels
        return np.append(self.edm(self.snapped(self.level(levels[:-1]))), 0.0)

    def neighbours(self, levels: np.ndarray) -> np.ndarray:
        """Known EDM levels [n+1] that end in 0, an inner one moved up or down by one: [S, n+1].

        Only where the levels stay distinct, and the next is so far that it matters.
        """
        assert self.table is not None
        known, moved = self.edm(self.table), []
        for k, at in enumerate(_nearest(known, levels[1:-1]), start=1):
            for other in (at - 1, at + 1):
                if not (0 <= other < len(known) and levels[k + 1] < known[other] < levels[k - 1]):
                    continue
                if abs(np.log(known[other] / known[at])) > FINE:
                    moved.append(levels.copy())
                    moved[-1][k] = known[other]
        return np.array(moved).reshape(-1, len(levels))


def edm_level(t: np.ndarray) -> np.ndarray:
    """The own level of a solver that measures its steps in EDM levels."""
    return t


def affine(k: float, c: float) -> Coordinate:
    """The coordinate of x = (1 + k s) x_0 + c s e; k = -1 and c = 1 make a flow.

    >>> affine(-1.0, 2.0).edm(np.array([0.5]))
    array([2.])
    """
    return Coordinate(
        edm=lambda s: c * s / (1.0 + k * s),
        level=lambda t: t / (c - k * t),
        top=None if k >= 0.0 else FLOW_TOP / -k,
        noise=lambda s: c * s,
    )


VE = affine(0.0, 1.0)
FLOW = affine(-1.0, 1.0)


def spread(highest: float, lowest: float, count: int, rho: float | None = None) -> np.ndarray:
    """`count` descending EDM levels, even in log t, thinning out above the knee of 50.

    Even in u = log(t / (1 + t/50)), or, with rho, in (t / (1 + t/50))^(1/rho). Far above the data's
    own scale (about 1 in latent units) the denoiser hardly changes, and a flow model's levels reach
    10^4: plain log spacing would spend half its levels there.

    >>> spread(10.0, 0.1, 3).round(3).tolist()
    [10.0, 0.929, 0.1]
    """
    v_high, v_low = (t / (1.0 + t / KNEE) for t in (highest, lowest))
    if rho is None:
        v = np.exp(np.linspace(np.log(v_high), np.log(v_low), count))
    else:
        v = np.linspace(v_high ** (1.0 / rho), v_low ** (1.0 / rho), count) ** rho
    levels = v / (1.0 - v / KNEE)
    levels[0], levels[-1] = highest, lowest
    return levels


def _nearest(table: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The index of the level of an ascending table nearest to each level, in log s."""
    return np.abs(np.log(levels)[:, None] - np.log(table)).argmin(1)
