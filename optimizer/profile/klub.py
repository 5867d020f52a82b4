"""The KLUB of a schedule, and its generalisations, read off a measured profile.

For a schedule t_n > ... > t_0 (Sabour et al. 2024, arXiv 2404.14507, eq. 9 in EDM units)

    KLUB = sum_i  int_{t_{i-1}}^{t_i} t^-3  E || D(x_t, t) - D(x_{t_i}, t_i) ||^2  dt

is an upper bound, in nats, on the KL divergence that Stochastic-DDIM adds by freezing the denoiser
at the noisy end of each interval. Two things are generalised here: the weight, `t^-p` instead of
`t^-3` (p = 3 is the KLUB; smaller p move steps to higher noise), and the frozen predictor.

Between measured levels the squared differences d(t, s) are interpolated as if they were
L(s) - L(t), which they are for an ideal denoiser: L, the running sum of the differences between
neighbours, is a monotone cubic (PCHIP) in log t, and d is linear in L within a cell. On a grid four
times as fine d is then taken as linear in log t, and the integrals over the weight are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

from .profile import Profile

__all__ = ["Landscape", "Levels", "klub", "klub_standard_error"]

Levels = Sequence[float] | np.ndarray  # descending noise levels

Cell = tuple[np.ndarray, np.ndarray]  # index of a cell's lower level, place in the cell in 0 ... 1

PARTS = 4  # cells of the fine grid in a measured one
EDGE_TOLERANCE = 1e-6  # relative; levels this far off the profile's range are taken as its ends


class Landscape:
    """Interpolated squared differences d(t, s) and their weighted integrals.

    levels:          [M] ascending EDM levels
    differences:     [M, M] E ||D_a - D_b||^2 per latent element, in that order
    weight_exponent: p of the weight t^-p
    """

    def __init__(self, levels: np.ndarray, differences: np.ndarray, weight_exponent: float = 3.0):
        self.levels = levels
        self.log_levels = np.log(levels)
        self.differences = differences
        self.weight_exponent = weight_exponent

    @classmethod
    def of(cls, profile: Profile, weight_exponent: float = 3.0, parts: int = PARTS) -> Landscape:
        """The landscape of a profile's mean squared differences, with every cell divided."""
        differences = profile.squared_differences.mean(0).flip(0, 1).numpy()
        levels = profile.sigmas.flip(0).numpy()
        running = np.append(0.0, np.cumsum(np.diagonal(differences, 1)))
        return cls(levels, differences, weight_exponent)._refined(running, parts)

    def difference(self, t: np.ndarray, s: np.ndarray) -> np.ndarray:
        """d(t, s), broadcast."""
        return self._between(self._cell(t), self._cell(s))

    def _between(self, first: Cell, second: Cell) -> np.ndarray:
        """d between two points given as cells and places in them: bilinear, and linear in the
        distance where both are in one cell."""
        (i, w), (j, v) = first, second
        d = self.differences
        bilinear = (1 - w) * ((1 - v) * d[i, j] + v * d[i, j + 1])
        bilinear += w * ((1 - v) * d[i + 1, j] + v * d[i + 1, j + 1])
        # In its own cell bilinear interpolation would give d(t, t) > 0.
        return np.where(i == j, np.abs(w - v) * d[i, i + 1], bilinear)

    def edge(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The integral of t^-p d(t, high) over t from low to high, elementwise over [K]."""
        low, high = np.broadcast_arrays(np.atleast_1d(low), np.atleast_1d(high))
        first, last = np.searchsorted(self.levels, [low.min(), high.max()])
        inner = np.clip(self.levels[first:last], low[:, None], high[:, None])  # [K, m]
        nodes = np.concatenate([low[:, None], inner, high[:, None]], 1)  # [K, m+2]
        values = self.difference(nodes, high[:, None])
        return self.cells(np.log(nodes), values).sum(1)

    def cells(self, u: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Integrals of t^-p f over the cells between nodes u = log t, f linear in u.

        int e^{qu} f du = e^{q u_0} h [ f_0 (A - B) + f_1 B ],   q = 1 - p,  z = q h,
        A = (e^z - 1)/z,   B = (e^z (z - 1) + 1)/z^2
        """
        q = 1.0 - self.weight_exponent
        h = np.diff(u, axis=-1)
        z = q * h
        small = np.abs(z) < 1e-3
        safe = np.where(small, 1.0, z)
        A = np.where(small, 1 + z / 2 + z**2 / 6, np.expm1(safe) / safe)
        B = np.where(small, 0.5 + z / 3 + z**2 / 8, (np.exp(safe) * (safe - 1) + 1) / safe**2)
        f_0, f_1 = values[..., :-1], values[..., 1:]
        return np.exp(q * u[..., :-1]) * h * (f_0 * (A - B) + f_1 * B)

    def _refined(self, running: np.ndarray, parts: int) -> Landscape:
        """The same landscape with every cell divided, the measured levels kept.

        running: [M] L at the levels, ascending
        """
        index = np.arange((len(self.levels) - 1) * parts + 1) / parts
        log_levels = np.interp(index, np.arange(len(self.levels)), self.log_levels)
        L = PchipInterpolator(self.log_levels, running)(log_levels)
        i = np.minimum(index.astype(int), len(self.levels) - 2)
        width = running[i + 1] - running[i]
        even = (log_levels - self.log_levels[i]) / (self.log_levels[i + 1] - self.log_levels[i])
        w = np.where(width > 0, (L - running[i]) / np.where(width > 0, width, 1.0), even)
        cells = i, np.clip(w, 0.0, 1.0)
        levels = np.exp(log_levels)
        levels[::parts] = self.levels
        differences = self._between(
            (cells[0][:, None], cells[1][:, None]), (cells[0][None, :], cells[1][None, :])
        )
        return Landscape(levels, differences, self.weight_exponent)

    def checked(self, schedule: Levels) -> np.ndarray:
        """The schedule as an array, its ends moved onto the measured range within tolerance.

        Raises ValueError unless it descends strictly, is positive and lies in that range.
        """
        levels = np.asarray(schedule, dtype=np.float64)
        if levels.ndim != 1 or len(levels) < 2 or not (np.diff(levels) < 0).all():
            raise ValueError(
                f"The schedule was {levels.tolist()}: give two or more strictly descending levels."
            )
        lowest, highest = self.levels[0], self.levels[-1]
        slack = 1.0 + EDGE_TOLERANCE
        if levels[-1] < lowest / slack or levels[0] > highest * slack:
            raise ValueError(
                f"The schedule runs from {levels[0]:g} to {levels[-1]:g}, outside the measured "
                f"levels {highest:g} to {lowest:g}: end it at the lowest measured level (a final "
                "0 has no finite KLUB), or measure a wider profile."
            )
        return np.clip(levels, lowest, highest)

    def _cell(self, t: np.ndarray) -> Cell:
        u = np.log(t)
        i = np.clip(np.searchsorted(self.log_levels, u, side="right") - 1, 0, len(self.levels) - 2)
        w = (u - self.log_levels[i]) / (self.log_levels[i + 1] - self.log_levels[i])
        return i, np.clip(w, 0.0, 1.0)


def klub(profile: Profile, schedule: Levels, *, weight_exponent: float = 3.0) -> float:
    """The KLUB of a schedule on a measured profile, in nats per latent element.

    Arguments:
        profile: as measured.
        schedule: strictly descending EDM levels within the profile's range; levels off its grid
            are interpolated. It must not end in 0, where the bound is infinite.
        weight_exponent: p of the weight t^-p; 3 is the paper's bound.

    Raises ValueError for a schedule that does not descend or leaves the measured range.
    """
    landscape = Landscape.of(profile, weight_exponent)
    levels = landscape.checked(schedule)
    return float(landscape.edge(levels[1:], levels[:-1]).sum())


def klub_standard_error(profile: Profile, schedule: Levels) -> float:
    """The standard error of `klub` over the profile's samples; NaN for a single sample."""
    values = [klub(_one(profile, k), schedule) for k in range(profile.count)]
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def _one(profile: Profile, k: int) -> Profile:
    rows = slice(k, k + 1)
    return Profile(profile.sigmas, profile.grams[rows], profile.losses[rows], profile.dim)
