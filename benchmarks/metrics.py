"""Distances of samples from where they should be.

    paired error      RMS distance per element between a solver's end point and a fine-step
                      reference from the same noise: one value a sample
    energy distance   2 E|X - Y| - E|X - X'| - E|Y - Y'|, zero only for equal distributions
                      (Szekely and Rizzo 2013, "Energy statistics")
    MMD²              E k(X, X') + E k(Y, Y') - 2 E k(X, Y) with a Gaussian kernel (Gretton et al.
                      2012, "A Kernel Two-Sample Test")
    Fréchet           |m_X - m_Y|² + tr(C_X + C_Y - 2 (C_X C_Y)^½) of means and covariances: W2² of
                      Gaussians with these moments (Heusel et al. 2017, where it is called FID)
    sliced W2         root mean over directions of the squared 1-D Wasserstein distance
                      (Bonneel et al. 2015, "Sliced and Radon Wasserstein Barycenters of Measures")
    Gaussian KL, W2   exact for a linear solver on Gaussian data with a diagonal covariance

Every estimate comes with a standard error or a noise floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from ..optimizer import SOLVERS, Denoiser

__all__ = [
    "Energy",
    "Paired",
    "end_point_errors",
    "energy_difference",
    "energy_distance",
    "frechet_distance",
    "gaussian_kl",
    "gaussian_w2",
    "median_distance",
    "mmd2",
    "output_variances",
    "paired",
    "sliced_w2",
]

DIRECTIONS = 256


def end_point_errors(x: Tensor, reference: Tensor) -> Tensor:
    """RMS distance per element of each sample, [N], in double precision."""
    return (x.double() - reference.double()).flatten(1).square().mean(1).sqrt()


@dataclass(frozen=True)
class Paired:
    """Two mean errors on the same noise: their ratio, and their difference in standard errors."""

    ratio: float
    z: float


def paired(ours: Tensor, theirs: Tensor) -> Paired:
    """Compare errors [N] that were measured on the same noise; z < 0 where ours are smaller.

    >>> paired(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])).ratio
    0.5
    """
    difference = (ours - theirs).double()
    error = float(difference.std() / len(difference) ** 0.5)
    mean = float(difference.mean())
    z = mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0
    return Paired(float(ours.mean() / theirs.mean()), z)


@dataclass(frozen=True)
class Energy:
    """An energy distance, with what its differences need.

    value: U-statistic; may be slightly negative for equal distributions
    near:  [N] first-order influence of each sample, 2 E_Y|x - Y| - 2 E_X'|x - X'|
    far:   [M] mean distance from each true sample to the samples, E_X|X - y|
    """

    value: float
    near: Tensor
    far: Tensor


def energy_distance(x: Tensor, y: Tensor) -> Energy:
    """The energy distance of samples x [N, ...] and y [M, ...]."""
    x, y = x.double().flatten(1), y.double().flatten(1)
    between, within, among = torch.cdist(x, y), torch.cdist(x, x), torch.cdist(y, y)
    to_own = within.sum(1) / (len(x) - 1)
    value = 2.0 * between.mean() - to_own.mean() - among.sum() / (len(y) * (len(y) - 1))
    return Energy(float(value), 2.0 * between.mean(1) - 2.0 * to_own, between.mean(0))


def energy_difference(a: Energy, b: Energy) -> tuple[float, float]:
    """Difference of two energy distances to the same y, from the same noise: (value, its s.e.).

    The standard error is that of the first-order (Hoeffding) terms of both samples.
    """
    near, far = a.near - b.near, 2.0 * (a.far - b.far)
    error = (near.var() / len(near) + far.var() / len(far)).sqrt()
    return a.value - b.value, float(error)


def median_distance(y: Tensor) -> float:
    """The median distance between two of the samples y [M, ...]: a kernel's usual width."""
    return float(torch.pdist(y.double().flatten(1)).median())


def mmd2(x: Tensor, y: Tensor, width: float) -> float:
    """The squared maximum mean discrepancy of x [N, ...] and y [M, ...], as a U-statistic.

    The kernel is exp(-|a - b|² / (2 width²)). May be slightly negative for equal distributions.

    >>> x = torch.randn(500, 2)
    >>> mmd2(x, x + 3.0, width=1.0) > 0.3
    True
    """
    x, y = x.double().flatten(1), y.double().flatten(1)

    def mean(a: Tensor, b: Tensor) -> Tensor:
        k = torch.exp(-torch.cdist(a, b).square() / (2.0 * width**2))
        return (k.sum() - len(a)) / (len(a) * (len(a) - 1)) if a is b else k.mean()

    return float(mean(x, x) + mean(y, y) - 2.0 * mean(x, y))


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """The Fréchet distance of the moments of x [N, d] and y [M, d].

    Of finite samples it is too large, by about as much for all that are compared with the same y.

    >>> x = torch.tensor([[-1.0], [1.0]])
    >>> round(frechet_distance(x, x + 3.0), 9)
    9.0
    """
    x, y = x.double().flatten(1), y.double().flatten(1)
    a, b = (torch.atleast_2d(torch.cov(z.T)) for z in (x, y))
    # The eigenvalues of C_X C_Y are those of the symmetric S C_Y S with S = C_X^½.
    values, axes = torch.linalg.eigh(a)
    root = axes @ torch.diag(values.clamp_min(0.0).sqrt()) @ axes.T
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp_min(0.0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + a.trace() + b.trace() - 2.0 * cross)


def sliced_w2(x: Tensor, y: Tensor, seed: int, directions: int = DIRECTIONS) -> float:
    """The sliced Wasserstein-2 distance of two sets of equally many samples [N, ...].

    Of two independent sets from one distribution it is not zero: measure that floor as well.

    >>> x = torch.randn(100, 1)
    >>> round(sliced_w2(x, x + 2.0, seed=0), 4)
    2.0
    """
    if len(x) != len(y):
        raise ValueError(
            f"Sliced W2 was given {len(x)} and {len(y)} samples: give equally many of both."
        )
    x, y = x.double().flatten(1), y.double().flatten(1)
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(x.shape[1], directions, generator=generator, dtype=torch.float64)
    u = u / u.norm(dim=0)
    difference = (x @ u).sort(0).values - (y @ u).sort(0).values
    return float(difference.square().mean().sqrt())


def output_variances(solver: str, denoise: Denoiser, sigmas: Tensor, dim: int) -> Tensor:
    """Variance of every element that a solver makes of unit noise, [d], exact.

    Where D is linear and acts on every element by itself, x_0 = Σ_k g_k e_k with e_0 the initial
    noise and e_k the k-th fresh one, so Var x_0 = Σ_k g_k². Row k of one run has e_k = 1, all
    others 0, and ends in g_k.
    """
    levels = sigmas.double()
    rows = torch.eye(len(levels), dtype=torch.float64)[:, :, None].expand(-1, -1, dim)
    drawn = count(1)
    gains = SOLVERS[solver](denoise, levels[0] * rows[:, 0], levels, lambda: rows[:, next(drawn)])
    return gains.square().sum(0)


def gaussian_kl(true: Tensor, got: Tensor) -> float:
    """KL( N(0, diag true) || N(0, diag got) ) in nats: the direction that the KLUB bounds.

    >>> gaussian_kl(torch.ones(3), torch.ones(3))
    0.0
    """
    ratio = true.double() / got.double()
    return float(0.5 * (ratio - 1.0 - ratio.log()).sum())


def gaussian_w2(true: Tensor, got: Tensor) -> float:
    """The Wasserstein-2 distance of N(0, diag true) and N(0, diag got).

    >>> gaussian_w2(torch.tensor([4.0]), torch.tensor([1.0]))
    1.0
    """
    return float((true.double().sqrt() - got.double().sqrt()).square().sum().sqrt())
