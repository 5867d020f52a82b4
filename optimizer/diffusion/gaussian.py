"""Closed forms for Gaussian data x_0 ~ N(0, c^2 I): what everything else is tested against.

The ideal denoiser is `D(x, t) = x c^2 / (c^2 + t^2)`. All values are per latent element; levels
are EDM levels. Sources: Sabour, Fidler, Kreis, "Align Your Steps" (2024), arXiv 2404.14507,
Theorem 3.1, for `kl_schedule`; the rest is elementary.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..profile.klub import Levels

__all__ = ["denoise", "kl_schedule", "klub", "klub_schedule", "squared_difference"]


def denoise(x: Tensor, sigma: Tensor, c: float = 1.0) -> Tensor:
    """The ideal denoiser, D(x, t) = x c^2 / (c^2 + t^2); x of shape [B, ...], sigma [B]."""
    return x * (c**2 / (c**2 + sigma**2)).reshape(-1, *[1] * (x.ndim - 1))


def squared_difference(t: float, s: float, c: float = 1.0) -> float:
    """E (D_t - D_s)^2 = c^4 [1/(t^2 + c^2) - 1/(s^2 + c^2)] for t <= s on one forward path.

    >>> squared_difference(1.0, 1.0)
    0.0
    >>> squared_difference(0.0, 1.0)
    0.5
    """
    return c**4 * (1.0 / (t**2 + c**2) - 1.0 / (s**2 + c**2))


def klub(schedule: Levels, c: float = 1.0) -> float:
    """The KLUB in nats per element; with k = c^2, an interval (a, b] contributes

        c^4 / 2 { (1/a^2 - 1/b^2) b^2 / (k (b^2+k)) + k^-2 log( a^2 (b^2+k) / (b^2 (a^2+k)) ) }

    which is c^4 times the integral of t^-3 [1/(t^2+k) - 1/(b^2+k)].
    """
    k = c**2
    b2, a2 = np.square(schedule[:-1]), np.square(schedule[1:])
    rational = (1.0 / a2 - 1.0 / b2) * b2 / (k * (b2 + k))
    logarithm = np.log(a2 * (b2 + k) / (b2 * (a2 + k))) / k**2
    return float(c**4 / 2.0 * np.sum(rational + logarithm))


def klub_schedule(steps: int, sigma_max: float, sigma_min: float, c: float = 1.0) -> np.ndarray:
    """The schedule of least KLUB: log(1 + c^2 / t_i^2) is linear in i. steps + 1 levels.

    >>> klub_schedule(2, 10.0, 0.1).round(3).tolist()
    [10.0, 0.331, 0.1]
    """
    ends = np.log1p(c**2 / np.square([sigma_max, sigma_min]))
    return c / np.sqrt(np.expm1(np.linspace(ends[0], ends[1], steps + 1)))


def kl_schedule(steps: int, sigma_max: float, sigma_min: float, c: float = 1.0) -> np.ndarray:
    """The schedule of least KL for Euler on the ODE: arctan(t_i / c) is linear in i.

    >>> kl_schedule(2, 10.0, 0.1).round(3).tolist()
    [10.0, 1.0, 0.1]
    """
    ends = np.arctan(np.array([sigma_max, sigma_min]) / c)
    return c * np.tan(np.linspace(ends[0], ends[1], steps + 1))
