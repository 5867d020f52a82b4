"""The host's hand-made schedules as formulas, over a small description of a model's noise levels.

Every curve of n steps is a float64 array that falls from about sigma_max and ends in 0. It has
n + 1 values, except where the host's has not: `ddim_uniform` and `beta` say so. They are what an
optimised schedule must not be worse than, so they follow the host in everything that is finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "CURVES",
    "NoiseTable",
    "beta",
    "ddim_uniform",
    "discrete_table",
    "edm_table",
    "exponential",
    "flow_table",
    "hand_made",
    "karras",
    "kl_optimal",
    "linear_quadratic",
    "normal",
    "sgm_uniform",
    "simple",
    "time_uniform",
]

LevelArray = npt.NDArray[np.float64]


# -- noise tables ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """A model's noise levels and its clock.

    Arguments:
        sigmas: the model's own table of levels, ascending, float64 [T].
        sigma: the level at a time, sigma(t); one number in, one out.
        timestep: the time of a level, t(sigma). Not everywhere the inverse of `sigma`: discrete
            models round to a timestep, and flow models shift twice.
    """

    sigmas: LevelArray
    sigma: Callable[[float], float]
    timestep: Callable[[float], float]

    @property
    def sigma_min(self) -> float:
        """The lowest level of the table."""
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        """The highest level of the table."""
        return float(self.sigmas[-1])


def discrete_table(
    linear_start: float = 0.00085,
    linear_end: float = 0.012,
    timesteps: int = 1000,
    zero_terminal_snr: bool = False,
) -> NoiseTable:
    """Stable Diffusion's table: betas even in their square roots; the defaults are SD's and SDXL's.

    sigma_t = sqrt((1 - a_t) / a_t), a_t the product of the 1 - beta up to t. Between two entries
    sigma(t) is log-linear; t(sigma) is the nearest entry in log sigma. Zero-terminal-SNR tables
    shift and stretch sqrt(a_t) to end in (nearly) 0: Lin et al. (2023), arXiv 2305.08891,
    Algorithm 1.

    >>> table = discrete_table()
    >>> round(table.sigma_max, 4), round(table.sigma_min, 4)
    (14.6146, 0.0292)
    """
    betas = np.linspace(math.sqrt(linear_start), math.sqrt(linear_end), timesteps) ** 2
    root = np.sqrt(np.cumprod(1.0 - betas))
    if zero_terminal_snr:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        root[-1] = math.sqrt(4.8973451890853435e-08)  # the host's stand-in for 0: sigma 4518.8
    sigmas = np.sqrt(1.0 / root**2 - 1.0)
    log_sigmas = np.log(sigmas)
    times = np.arange(timesteps)
    return NoiseTable(
        sigmas=sigmas,
        sigma=lambda t: float(np.exp(np.interp(t, times, log_sigmas))),
        timestep=lambda sigma: float(np.argmin(np.abs(log_sigmas - math.log(sigma)))),
    )


def edm_table(sigma_min: float = 0.002, sigma_max: float = 80.0) -> NoiseTable:
    """EDM's continuous levels, t = log(sigma) / 4: Karras et al. (2022), arXiv 2206.00364."""
    return NoiseTable(
        sigmas=np.geomspace(sigma_min, sigma_max, 1000),
        sigma=lambda t: math.exp(4.0 * t),
        timestep=lambda sigma: 0.25 * math.log(sigma),
    )


def flow_table(shift: float = 1.0, multiplier: float = 1000.0) -> NoiseTable:
    """A flow model's levels, sigma(t) = shift u / (1 + (shift - 1) u), u = t / multiplier.

    Esser et al. (2024), arXiv 2403.03206, Section 5.3.2. As in the host t(sigma) is
    multiplier * sigma, which is the inverse only for shift 1.
    """

    def sigma(t: float) -> float:
        u = t / multiplier
        return shift * u / (1.0 + (shift - 1.0) * u)

    return NoiseTable(
        sigmas=np.array([sigma(multiplier * k / 1000) for k in range(1, 1001)]),
        sigma=sigma,
        timestep=lambda level: level * multiplier,
    )


# -- curves between two levels --------------------------------------------------------------


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> LevelArray:
    """sigma^(1/rho) is linear in the index: Karras et al. (2022), arXiv 2206.00364, Eq. 5.

    >>> karras(3, 0.1, 10.0).round(4).tolist()
    [10.0, 1.4507, 0.1, 0.0]
    """
    ramp = np.linspace(sigma_max ** (1.0 / rho), sigma_min ** (1.0 / rho), steps)
    return _then_zero(ramp**rho)


def exponential(steps: int, sigma_min: float, sigma_max: float) -> LevelArray:
    """log sigma is linear in the index (k-diffusion, K. Crowson, 2022)."""
    return _then_zero(np.exp(np.linspace(math.log(sigma_max), math.log(sigma_min), steps)))


def kl_optimal(steps: int, sigma_min: float, sigma_max: float) -> LevelArray:
    """arctan(sigma) is linear in the index: Sabour et al. (2024), arXiv 2404.14507, Theorem 3.1.

    The host's own divides by steps - 1 and is NaN for one step; here that is [sigma_max, 0].
    """
    return _then_zero(np.tan(np.linspace(math.atan(sigma_max), math.atan(sigma_min), steps)))


# -- curves over a table --------------------------------------------------------------------


def simple(steps: int, table: NoiseTable) -> LevelArray:
    """Every (T / n)-th entry of the table, counted from its top (ComfyUI, comfyanonymous, 2023)."""
    stride = len(table.sigmas) / steps
    return _then_zero(table.sigmas[[-(1 + int(k * stride)) for k in range(steps)]])


def normal(steps: int, table: NoiseTable) -> LevelArray:
    """Even in time from sigma_max to sigma_min, then 0 (ComfyUI, after k-diffusion, 2022)."""
    if math.isclose(table.sigma(table.timestep(table.sigma_min)), 0.0, abs_tol=1e-5):
        # The lowest level is as good as 0 and stands for it, instead of a step of its own.
        return _then_zero(_even_in_time(steps + 1, table)[:-1])
    return _then_zero(_even_in_time(steps, table))


def sgm_uniform(steps: int, table: NoiseTable) -> LevelArray:
    """Even in time, with 0 in the place of sigma_min (Stability AI, generative-models, 2023)."""
    return _then_zero(_even_in_time(steps + 1, table)[:-1])


def ddim_uniform(steps: int, table: NoiseTable) -> LevelArray:
    """Every (T // n)-th entry from entry 1 up: Song et al. (2021), arXiv 2010.02502, Appendix D.

    As in the host the stride is a whole number: there may be more than n steps, and the first
    level may lie below sigma_max.
    """
    if math.isclose(table.sigmas[1], 0.0, abs_tol=1e-5):  # then that entry stands for 0
        stride = max(len(table.sigmas) // (steps + 1), 1)
        return _then_zero(table.sigmas[1::stride][:0:-1])
    stride = max(len(table.sigmas) // steps, 1)
    return _then_zero(table.sigmas[1::stride][::-1])


def beta(steps: int, table: NoiseTable, a: float = 0.6, b: float = 0.6) -> LevelArray:
    """Table entries at quantiles of a Beta(0.6, 0.6): Lee et al. (2024), arXiv 2407.12173.

    Where two quantiles round to one entry, it is taken once: there may be fewer than n steps.
    """
    import scipy.stats  # takes a second to load

    quantiles = scipy.stats.beta.ppf(1.0 - np.arange(steps) / steps, a, b)
    entries = np.rint(quantiles * (len(table.sigmas) - 1)).astype(int)
    repeated = np.diff(entries, prepend=-1) == 0
    return _then_zero(table.sigmas[entries[~repeated]])


def linear_quadratic(steps: int, table: NoiseTable, threshold: float = 0.025) -> LevelArray:
    """1 - sigma / sigma_max rises linearly, then as a parabola (Genmo, Mochi 1, 2024).

    Half the steps cover the first `threshold` of the range. The parabola goes on from there with
    the same slope, and reaches 1 after n steps.
    """
    if steps == 1:
        return np.array([table.sigma_max, 0.0])
    half = steps // 2
    slope = threshold / half
    index = np.arange(steps + 1)
    after = np.maximum(index - half, 0)
    curvature = (1.0 - slope * steps) / (steps - half) ** 2
    covered = slope * index + curvature * after**2
    covered[-1] = 1.0
    return table.sigma_max * (1.0 - covered)


def time_uniform(steps: int, table: NoiseTable) -> LevelArray:
    """steps + 1 positive levels even in time, from sigma_max to sigma_min exactly.

    Where the paper's search starts for discrete-time models (Section 3.3). It does not end in 0.
    """
    levels = _even_in_time(steps + 1, table)
    # t(sigma) is not exactly the inverse of sigma(t): the ends are set, not computed.
    levels[0], levels[-1] = table.sigma_max, table.sigma_min
    return levels


# -- all of them ----------------------------------------------------------------------------


CURVES: dict[str, Callable[[int, NoiseTable], LevelArray]] = {
    "simple": simple,
    "sgm_uniform": sgm_uniform,
    "karras": lambda steps, table: karras(steps, table.sigma_min, table.sigma_max),
    "exponential": lambda steps, table: exponential(steps, table.sigma_min, table.sigma_max),
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "normal": normal,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": lambda steps, table: kl_optimal(steps, table.sigma_min, table.sigma_max),
}


def hand_made(steps: int, table: NoiseTable) -> dict[str, LevelArray]:
    """The host's curves that are proper n-step schedules of this model, by scheduler name.

    Left out are those that are not finite, do not strictly decrease, have another count than
    n + 1 values, or do not run from sigma_max (to 1e-4) to 0.
    """

    def proper(levels: LevelArray) -> bool:
        return (
            len(levels) == steps + 1
            and bool(np.isfinite(levels).all() and (np.diff(levels) < 0).all())
            and levels[-1] == 0
            and math.isclose(levels[0], table.sigma_max, rel_tol=1e-4)
        )

    curves = {name: curve(steps, table) for name, curve in CURVES.items()}
    return {name: levels for name, levels in curves.items() if proper(levels)}


def _even_in_time(points: int, table: NoiseTable) -> LevelArray:
    ends = table.timestep(table.sigma_max), table.timestep(table.sigma_min)
    return np.array([table.sigma(float(t)) for t in np.linspace(*ends, points)])


def _then_zero(levels: LevelArray) -> LevelArray:
    return np.append(levels, 0.0)
