"""One-call-a-step multistep samplers as plain numbers, and the textbook ones among them.

With levels t_0 > … > t_n and r_i = t_{i+1} / t_i,

    D_i     = D(x_i, s_i)                                      s_i the level that the model is told
    x_{i+1} = r_i x_i + (1 - r_i) Σ_j b_ij D_{i-j}             j = 0 … at most i, the newest first

The exact step with D frozen is r x + (1 - r) D, so Σ_j b_ij = 1 for every textbook method:

    euler                       DDIM (Song et al. 2021, arXiv 2010.02502)
    dpmpp_2m                    DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095)
    exponential_3               exponential Adams-Bashforth of order 3 (Zhang and Chen 2022, arXiv
                                2204.13902); its order 2 is RES, the host's res_multistep
    ipndm                       Adams-Bashforth of order 4 on (x - D) / t as if levels were evenly
                                spaced (Liu et al. 2022, arXiv 2202.09778); rows hold all outputs
    unipc_2, unipc_3            UniPC, B(h) = e^h - 1 (Zhao et al. 2023, arXiv 2302.04867): the
                                corrector moves x_i along outputs only, so it is part of the row

The last step of all of them is of first order, as in the host.

In a host whose samples are x = (1 + k s) x_0 + c s e with t = c s / (1 + k s) (coordinate.py), the
same b give the same map with r = s_{i+1} / s_i: (1 + k s') (1 - t'/t) = 1 - s'/s. So everything
here is in EDM units, and only levels are converted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..profile.profile import Denoiser
from .solvers import Solver, adams_weights

__all__ = ["TEXTBOOK", "Multistep", "steps_above", "textbook"]

Row = list[float]


@dataclass(frozen=True)
class Multistep:
    """A sampler.

    levels:  [n+1] EDM levels, descending, the last may be 0
    told:    [n] EDM levels that the model is told
    weights: n rows b_i of at most i + 1 numbers, the newest output first
    """

    levels: tuple[float, ...]
    told: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless the numbers are those of a sampler."""
        n = len(self.levels) - 1
        if n < 1 or len(self.told) != n or len(self.weights) != n:
            raise ValueError(
                f"A sampler was given {n + 1} levels, {len(self.told)} told levels and "
                f"{len(self.weights)} rows of weights: give n + 1, n and n, for n of 1 or more."
            )
        if any(s <= t for s, t in pairwise(self.levels)) or self.levels[-1] < 0.0:
            raise ValueError(
                f"Levels were {list(self.levels)}: give descending ones, the last 0 or more."
            )
        if any(not 1 <= len(row) <= i + 1 for i, row in enumerate(self.weights)):
            raise ValueError(
                f"Rows of weights had {[len(row) for row in self.weights]} numbers: row i mixes "
                "1 to i + 1 outputs, for i = 0, 1, ..."
            )
        if not all(map(math.isfinite, [*self.levels, *self.told, *sum(self.weights, ())])):
            raise ValueError("A sampler's levels and weights must be finite numbers.")

    @property
    def steps(self) -> int:
        """Number of steps n."""
        return len(self.told)

    def __call__(self, denoise: Denoiser, noise: Tensor) -> Tensor:
        """The end points [B, ...] of unit noise [B, ...]: one call a step."""
        x = self.levels[0] * noise
        outputs: list[Tensor] = []
        for i in range(self.steps):
            outputs = [denoise(x, noise.new_full((len(x),), self.told[i])), *outputs]
            x = self.step(i, x, outputs)
            del outputs[self.history(i + 1) :]
        return x

    def step(self, i: int, x: Tensor, outputs: Sequence[Tensor]) -> Tensor:
        """x_{i+1} from x_i and the outputs up to D_i, the newest first."""
        r = self.levels[i + 1] / self.levels[i]
        moved = r * x
        for b, D in zip(self.weights[i], outputs, strict=False):
            moved.add_(D, alpha=(1.0 - r) * b)
        return moved

    def solver(self, denoise: Denoiser, sigmas: Tensor) -> Solver:
        """A Solver that runs the sampler, for `sigmas`, its own levels in the caller's units.

        It raises ValueError for other levels: these weights were fitted to none.
        """

        own = sigmas

        def solve(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
            if sigmas.shape != own.shape or not torch.allclose(sigmas.cpu().float(), own):
                raise ValueError(
                    f"A calibrated sampler was given {len(sigmas)} levels that are not its own: "
                    "run it with the sigmas of its result."
                )
            return self(denoise, noise)

        return solve

    def history(self, i: int) -> int:
        """Number of outputs up to D_{i-1} that steps from i on still mix."""
        return max([0, *(len(row) - 1 - k for k, row in enumerate(self.weights[i:]))])

    def to_plain(self) -> dict[str, object]:
        """Lists of numbers, for JSON; `from_plain` is the inverse, exactly."""
        return {
            "levels": list(self.levels),
            "told": list(self.told),
            "weights": [list(row) for row in self.weights],
        }

    @staticmethod
    def from_plain(plain: Mapping[str, object]) -> Multistep:
        """The sampler stored by `to_plain`.

        >>> sampler = textbook("dpmpp_2m", [10.0, 1.0, 0.1, 0.0])
        >>> Multistep.from_plain(sampler.to_plain()) == sampler
        True
        """
        levels, told, weights = (plain[key] for key in ("levels", "told", "weights"))
        return Multistep(
            tuple(map(float, levels)),  # type: ignore[call-overload]
            tuple(map(float, told)),  # type: ignore[call-overload]
            tuple(tuple(map(float, row)) for row in weights),  # type: ignore[attr-defined]
        )


def steps_above(levels: Sequence[float], boundary: float) -> int:
    """Count the steps that begin above a level.

    >>> steps_above([100.0, 10.0, 1.0, 0.0], boundary=10.0)
    1
    """
    return sum(t > boundary for t in levels[:-1])


def textbook(name: str, levels: Sequence[float], boundary: float = 0.0) -> Multistep:
    """The textbook sampler of that name on n + 1 descending EDM levels.

    boundary: from the first of them on that is not above it, another run goes on; 0: there is one

    Raises ValueError for an unknown name.

    >>> textbook("dpmpp_2m", [100.0, 10.0, 1.0, 0.0]).weights
    ((1.0,), (1.5, -0.5), (1.0,))
    """
    if name not in TEXTBOOK:
        raise ValueError(f"There is no sampler '{name}': choose one of {list(TEXTBOOK)}.")
    levels = tuple(float(t) for t in levels)
    begins, rows = steps_above(levels, boundary), []
    for part in (levels[: begins + 1], levels[begins:]):
        rows += TEXTBOOK[name](part) if len(part) > 1 else []
    return Multistep(levels, levels[:-1], tuple(tuple(map(float, row)) for row in rows))


def euler(levels: Sequence[float]) -> list[Row]:
    """The rows of Euler's method."""
    return [[1.0]] * (len(levels) - 1)


def dpmpp_2m(levels: Sequence[float]) -> list[Row]:
    """The rows of DPM-Solver++(2M): (1 + c, -c), c = h_i / 2 h_{i-1}, h the step in -log t.

    Finite for any levels: a host's need not fall, and where one is 0 or repeated h has no meaning.
    """
    rows: list[Row] = [[1.0]]
    for t_last, t, t_next in zip(levels, levels[1:], levels[2:], strict=False):
        if 0.0 in (t_last, t, t_next) or t_last == t:
            rows.append([1.0])
        else:
            c = math.log(t / t_next) / (2.0 * math.log(t_last / t))
            rows.append([1.0 + c, -c])
    return rows


def exponential(levels: Sequence[float], order: int) -> list[Row]:
    """The rows of the exponential Adams-Bashforth method of an order.

    (1 - r) b integrates e^u p(u) over the step for the polynomial p through the last outputs.
    """
    rows: list[Row] = []
    for i, (t, t_next) in enumerate(pairwise(levels)):
        if t_next == 0.0:
            rows.append([1.0])
            continue
        u = np.log(t / np.array(levels[i::-1][:order]))  # of the outputs; 0 the newest
        h = math.log(t / t_next)
        rows.append(list(adams_weights(u, h) / math.expm1(h)))
    return rows


def ipndm(levels: Sequence[float]) -> list[Row]:
    """The rows of iPNDM of order 4.

    With u = x / t its slopes are u - D / t. As Σ a = 1, every u_i is u_0 plus a mixture of outputs,
    whose shares `u[i]` are followed.
    """
    n = len(levels) - 1
    u = [np.zeros(n)]
    slopes: list[np.ndarray] = []
    rows: list[Row] = []
    for i, (t, t_next) in enumerate(pairwise(levels)):
        slopes = [u[i] - np.eye(n)[i] / t, *slopes]
        if t_next == 0.0:
            return [*rows, [1.0]]
        slope = sum(a * d for a, d in zip(ADAMS_BASHFORTH[min(i, 3)], slopes, strict=False))
        u.append((t * u[i] + (t_next - t) * slope) / t_next)
        row = (u[i + 1] - u[i]) * t_next / (1.0 - t_next / t)
        rows.append(list(row[i::-1]))
    return rows


ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def unipc(levels: Sequence[float], order: int) -> list[Row]:
    """The rows of UniPC of an order, with lower orders at both ends.

    The corrector of step i - 1 replaces x_i by x_i + Σ c_j D_{i-j}, of which step i makes r_i times
    that: its row is that of its predictor and c r / (1 - r).
    """
    n = len(levels) - 1
    order = max(1, min(order, n - 1))
    rows: list[Row] = []
    correction = np.zeros(1)
    for i, (t, t_next) in enumerate(pairwise(levels)):
        r, used = t_next / t, min(order, i + 1, n - i)
        predictor, corrector = _unipc_shares(levels[max(0, i + 1 - used) : i + 2])
        row = np.zeros(max(len(predictor), len(correction)))
        row[: len(predictor)] += predictor / (1.0 - r)
        row[: len(correction)] += correction * r / (1.0 - r)
        rows.append(list(row) if t_next > 0.0 else [1.0])
        correction = corrector
    return rows


def _unipc_shares(levels: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Shares that a step of p levels and the one it leads to add to r x: the predictor's [p] of
    the outputs, and the corrector's [p+1], the new output first, that come to the prediction.
    """
    order = len(levels) - 1
    if levels[-1] == 0.0:
        return np.ones(1), np.zeros(1)
    h = math.log(levels[-2] / levels[-1])
    ratios = np.array([math.log(levels[-2] / t) / h for t in levels[-3::-1]] + [1.0])
    B, phi, factorial = math.expm1(-h), math.expm1(-h) / -h - 1.0, 1.0
    right = []
    for k in range(1, order + 1):
        right.append(phi * factorial / B)
        factorial *= k + 1
        phi = phi / -h - 1.0 / factorial
    powers = np.vander(ratios, increasing=True).T
    rho_p = np.linalg.solve(powers[:-1, :-1], right[:-1]) if order > 2 else np.full(order - 1, 0.5)
    rho_c = np.linalg.solve(powers, right) if order > 1 else np.array([0.5])

    def shares(rho: np.ndarray) -> np.ndarray:
        """Of (new output, newest, older …): -B Σ rho_k (D_k - D_0) / ratio_k."""
        scaled = -B * rho / ratios[: len(rho)]
        old, new = scaled[: order - 1], scaled[order - 1 :].sum()
        return np.array([new, -old.sum() - new, *old])

    predicted, corrected = shares(rho_p), shares(rho_c)
    return predicted[1:] + np.eye(order)[0] * -B, corrected - predicted


TEXTBOOK: dict[str, Callable[[Sequence[float]], list[Row]]] = {
    "euler": euler,
    "dpmpp_2m": dpmpp_2m,
    "exponential_3": lambda levels: exponential(levels, 3),
    "ipndm": ipndm,
    "unipc_2": lambda levels: unipc(levels, 2),
    "unipc_3": lambda levels: unipc(levels, 3),
}
