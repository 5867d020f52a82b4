"""Solvers for use without a host, in EDM (variance-exploding) coordinates.

Every solver integrates from `x = sigma_0 e` down to the last level with one denoiser call a step
(heun: two). Each has the signature `(denoise, x, sigmas, noise) -> x_0`, where `noise()` draws
unit noise of x's shape. They compute what ComfyUI's samplers of the same names compute; the host
tests compare them step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..profile.profile import Denoiser
from .brownian import BrownianPath, Draw
from .noise import generators, unit_noise

__all__ = [
    "CALIBRATED",
    "DETERMINISTIC_TWIN",
    "SOLVERS",
    "Solver",
    "StochasticSolver",
    "adams_weights",
    "builtin_solver",
    "reference_solver",
    "stochastic_solver",
]

SOLVER_NOISE = 2  # the noise stream of stochastic solvers

# The name under which a whole sampler is fitted (calibrate.py), and what it is most like.
CALIBRATED, LIKE_CALIBRATED = "calibrated", "dpmpp_2m"

# The solver of the same order with its fresh noise switched off. Its errors find schedules for the
# stochastic one; the distribution of its own samples (distribution.py) chooses among them. With
# 4,000 calls on exact mixtures the energy distance, over that of the best fixed schedule in
# hindsight, was 1.15 for dpmpp_2m_sde chosen so and 1.93 by the twin (32 cells; worst 4.0 and 251).
DETERMINISTIC_TWIN = {"ddim_stochastic": "euler", "dpmpp_2m_sde": "dpmpp_2m"}


class Solver(Protocol):
    """(noise [B, ...] of unit variance, sigmas [n+1], seed) -> x_0 [B, ...].

    It closes over its denoiser; levels are in the host's units and end in 0.
    """

    def __call__(self, noise: Tensor, sigmas: Tensor, seed: int) -> Tensor: ...


# (noise [B, ...] of unit variance, sigmas [n+1], path) -> x_0 [B, ...]: fresh noise from the path.
StochasticSolver = Callable[[Tensor, Tensor, BrownianPath], Tensor]

Method = Callable[[Denoiser, Tensor, Tensor, Draw], Tensor]


def euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: Draw) -> Tensor:
    """Euler's method on dx/dt = (x - D) / t (Karras et al. 2022), which is DDIM."""
    for s, t in pairwise(sigmas):
        D = denoise(x, s.expand(len(x)))
        x = x + (x - D) / s * (t - s)
    return x


def heun(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: Draw) -> Tensor:
    """Heun's method (Karras et al. 2022, Algorithm 1); the step to 0 is Euler's."""
    for s, t in pairwise(sigmas):
        slope = (x - denoise(x, s.expand(len(x)))) / s
        x_t = x + slope * (t - s)
        if t > 0:
            slope_t = (x_t - denoise(x_t, t.expand(len(x)))) / t
            x_t = x + (slope + slope_t) / 2 * (t - s)
        x = x_t
    return x


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: Draw) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022): the multistep predictor in the clock -log t."""
    last: tuple[Tensor, Tensor] | None = None
    for s, t in pairwise(sigmas):
        D = denoise(x, s.expand(len(x)))
        h = s.log() - t.log()
        predictor = D if t == 0 else _multistep(D, h, last)
        x = t / s * x - torch.expm1(-h) * predictor
        last = h, D
    return x


def multistep_3(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: Draw) -> Tensor:
    """The third-order exponential multistep method in the clock λ = -log t, for references.

    All deterministic solvers here solve dx/dt = (x - D) / t, so one accurate method serves them
    all: x_t = t/s x + t ∫ e^λ D dλ with D the parabola through its last three values (the
    exponential Adams-Bashforth form of Zhang and Chen 2022, arXiv 2204.13902). The first two steps
    are of lower order: at sigma_max D hardly changes.
    """
    last: list[tuple[float, Tensor]] = []  # λ and D, newest first
    for s, t in pairwise(sigmas):
        D = denoise(x, s.expand(len(x)))
        last = [(-math.log(float(s)), D), *last[:2]]
        if t == 0:
            return D
        x = t / s * x
        clock = np.array([clock for clock, _ in last])
        weights = adams_weights(clock - clock[0], -math.log(float(t)) - float(clock[0]))
        for weight, (_, D) in zip(weights.tolist(), last, strict=True):
            x = x + float(t / s) * weight * D
    return x


def adams_weights(u: np.ndarray, h: float) -> np.ndarray:
    """w [K] with ∫_0^h e^u p(u) du = Σ_k w_k p(u_k) for polynomials p of degree below K.

    u: [K] clock of the outputs, 0 the newest
    """
    integrals = [math.expm1(h)]
    for power in range(1, len(u)):
        integrals.append(h**power * math.exp(h) - power * integrals[-1])
    powers = np.vander(u, increasing=True)  # [k, power]
    weights: np.ndarray = np.linalg.solve(powers.T, integrals)
    return weights


def ddim_stochastic(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: Draw) -> Tensor:
    """Stochastic-DDIM, the solver the KLUB is the bound of: exact steps with D frozen."""
    for s, t in pairwise(sigmas):
        D = denoise(x, s.expand(len(x)))
        ratio = (t / s) ** 2
        x = D + ratio * (x - D)
        if t > 0:
            x = x + t * torch.sqrt(1 - ratio) * noise()
    return x


def dpmpp_2m_sde(denoise: Denoiser, x: Tensor, sigmas: Tensor, noise: Draw) -> Tensor:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022), midpoint form, eta = 1."""
    last: tuple[Tensor, Tensor] | None = None
    for s, t in pairwise(sigmas):
        D = denoise(x, s.expand(len(x)))
        if t == 0:
            return D
        h = s.log() - t.log()
        predictor = _multistep(D, h, last)
        x = t / s * torch.exp(-h) * x - torch.expm1(-2 * h) * predictor
        x = x + t * torch.sqrt(-torch.expm1(-2 * h)) * noise()
        last = h, D
    return x


def _multistep(D: Tensor, h: Tensor, last: tuple[Tensor, Tensor] | None) -> Tensor:
    """The second-order prediction from this output and the last: D + h/(2 h') (D - D')."""
    if last is None:
        return D
    h_last, D_last = last
    return D + h / (2 * h_last) * (D - D_last)


SOLVERS = {
    "euler": euler,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "ddim_stochastic": ddim_stochastic,
    "dpmpp_2m_sde": dpmpp_2m_sde,
}


def builtin_solver(name: str, denoise: Denoiser) -> Solver:
    """The named solver, closed over a denoiser in EDM coordinates.

    Raises ValueError for an unknown name.

    >>> solver = builtin_solver("euler", lambda x, sigma: torch.zeros_like(x))
    >>> solver(torch.ones(1, 2), torch.tensor([4.0, 2.0, 0.0]), seed=0)
    tensor([[0., 0.]])
    """
    if name not in SOLVERS:
        raise ValueError(f"There is no built-in solver '{name}': choose one of {list(SOLVERS)}.")
    return _bound(SOLVERS[name], denoise)


def reference_solver(denoise: Denoiser) -> Solver:
    """`multistep_3`, closed over a denoiser: for fine-step references."""
    return _bound(multistep_3, denoise)


def stochastic_solver(name: str, denoise: Denoiser) -> StochasticSolver:
    """The named solver of DETERMINISTIC_TWIN, closed over a denoiser, to be run along a path.

    >>> source = torch.Generator().manual_seed(0)
    >>> path = BrownianPath(lambda: torch.randn(1, 2, generator=source))
    >>> solver = stochastic_solver("ddim_stochastic", lambda x, sigma: torch.zeros_like(x))
    >>> solver(torch.ones(1, 2), torch.tensor([4.0, 2.0, 0.0]), path)
    tensor([[0., 0.]])
    """

    def solve(noise: Tensor, sigmas: Tensor, path: BrownianPath) -> Tensor:
        levels = sigmas.to(noise)
        steps = path.steps(levels)
        return SOLVERS[name](denoise, levels[0] * noise, levels, lambda: next(steps).to(noise))

    return solve


def _bound(method: Method, denoise: Denoiser) -> Solver:
    def solve(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        levels = sigmas.to(noise)
        sources = generators(seed, SOLVER_NOISE, range(len(noise)))
        return method(
            denoise,
            levels[0] * noise,
            levels,
            lambda: unit_noise(sources, noise.shape[1:]).to(noise),
        )

    return solve
