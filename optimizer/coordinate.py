"""The host's noise levels and the EDM noise levels that the mathematics uses.

A host noises a sample as `x = a(s) x_0 + b(s) e`. Divided by a, this is EDM's `x_0 + t e` with

    t(s) = b(s) / a(s)

so a `Coordinate` is just the pair of functions s -> t and t -> s. For variance-exploding models
(eps, v, EDM prediction in ComfyUI) t = s; for flow models, `x = (1-s) x_0 + s e`, t = s / (1-s),
infinite at s = 1. A first level of 1 is therefore never converted: it stays as it is, and
everything measured starts a little below it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["FLOW", "FLOW_TOP", "VE", "Coordinate", "spread"]

FLOW_TOP = 1.0 - 1e-4  # the highest flow level at which a denoiser is evaluated for the profile
KNEE = 50.0  # EDM level above which `spread` thins out


@dataclass(frozen=True)
class Coordinate:
    """The map between a host's levels s and EDM levels t, both increasing functions.

    edm:   s -> t, in EDM units (the standard deviation of the noise on x_0)
    level: t -> s, its inverse
    top:   the highest host level with a usable (finite) EDM level; None: no bound
    noise: s -> b(s)
    """

    edm: Callable[[np.ndarray], np.ndarray]
    level: Callable[[np.ndarray], np.ndarray]
    top: float | None = None
    noise: Callable[[np.ndarray], np.ndarray] = lambda s: s

    def finite_edm(self, levels: np.ndarray) -> np.ndarray:
        """EDM levels; a host level with an infinite one is lowered to the highest usable first."""
        return self.edm(levels if self.top is None else np.minimum(levels, self.top))


VE = Coordinate(edm=lambda s: s, level=lambda t: t)
FLOW = Coordinate(edm=lambda s: s / (1.0 - s), level=lambda t: t / (1.0 + t), top=FLOW_TOP)


def spread(highest: float, lowest: float, count: int) -> np.ndarray:
    """`count` descending EDM levels, even in log t, thinning out above the knee of 50.

    Even in u = log(t / (1 + t/50)). Far above the data's own scale (about 1 in latent units) the
    denoiser hardly changes, and a flow model's levels reach 10^4: plain log spacing would spend
    half its levels there.

    >>> spread(10.0, 0.1, 3).round(3).tolist()
    [10.0, 0.929, 0.1]
    """
    u_high, u_low = (np.log(t / (1.0 + t / KNEE)) for t in (highest, lowest))
    v = np.exp(np.linspace(u_high, u_low, count))
    levels = v / (1.0 - v / KNEE)
    levels[0], levels[-1] = highest, lowest
    return levels
