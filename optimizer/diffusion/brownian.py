"""One source of fresh noise for every run of a stochastic solver, whatever its levels.

With D the denoiser, y = x / t² and the clock u = 1 / t², the reverse process at eta = 1 is
dy = D du + dB, B(0) = 0 at an infinite t. A step from level s to t with D frozen adds the noise

    t sqrt(1 - t²/s²) z,    z = (B(1/t²) - B(1/s²)) / sqrt(1/t² - 1/s²),

where z is unit noise, independent from step to step. So runs with z of one Brownian motion B,
with any levels and any number of steps, follow the same noise, and with ever finer steps they come
to one end point.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["BROWNIAN", "BrownianPath", "Draw"]

BROWNIAN = 3  # the stream of noise for Brownian paths

Draw = Callable[[], Tensor]


class BrownianPath:
    """Brownian motions in the clock u = 1/t², one an element, that remember where they have been.

    Any number of runs with any levels can be driven by the same motions: what was not asked for
    before is drawn from the Brownian bridge between its neighbours.

    Arguments:
        draw: fresh unit noise [B, ...] at every call.

    >>> source = torch.Generator().manual_seed(0)
    >>> path = BrownianPath(lambda: torch.randn(1, 2, generator=source))
    >>> torch.equal(path.noise(4.0, 1.0), path.noise(4.0, 1.0))
    True
    """

    def __init__(self, draw: Draw):
        self.draw = draw
        first = draw()
        self.clock = [0.0, 1.0]
        self.values = [torch.zeros_like(first), first]

    def at(self, level: float) -> Tensor:
        """B(1/t²) at an EDM level t > 0, which may be infinite."""
        u = level**-2
        k = bisect.bisect_left(self.clock, u)
        if k < len(self.clock) and self.clock[k] == u:
            return self.values[k]
        e = self.draw()
        before = u - self.clock[k - 1]
        if k == len(self.clock):
            value = self.values[-1] + before**0.5 * e
        else:
            after = self.clock[k] - u
            w = before / (before + after)
            value = torch.lerp(self.values[k - 1], self.values[k], w) + (w * after) ** 0.5 * e
        self.clock.insert(k, u)
        self.values.insert(k, value)
        return value

    def noise(self, s: float, t: float) -> Tensor:
        """The unit noise z [B, ...] of a step from EDM level s down to t > 0.

        Zero for a step of no length, as some samplers take between their inner levels: their
        factor of it is zero too.
        """
        if not t < s:
            return torch.zeros_like(self.values[0])
        return (self.at(t) - self.at(s)) / (t**-2 - s**-2) ** 0.5

    def steps(self, sigmas: Tensor) -> Iterator[Tensor]:
        """The unit noise of every step of a schedule; that of a step to 0 is not needed."""
        for s, t in pairwise(sigmas[sigmas > 0].tolist()):
            yield self.noise(s, t)
