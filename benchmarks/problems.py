"""Problems to compare schedules on: exact denoisers and one trained network, drawn by a seed.

    gaussian-64, gaussian-256   N(0, diag(λ)), λ_k = 4 k^-2 and 4 k^-1: KL and W2 of linear solvers
                                are exact
    grid-8x8, -8x4, -6x6        2-D mixtures on a grid, as in the paper's toy experiments
    digits-mixture              64-D: a mixture of isotropic Gaussians fitted to digits, 6 a class
    power-mixture               160-D: 32 components whose means have a 1/k spectrum
    digits-network              the trained denoiser of `digits/`, conditional on one class

The last three exist with classifier-free guidance too: `-cfg3`, `-cfg7`. A condition is a subset
of the mixture's components; guided, D = D_all + scale (D_subset - D_all), as the host combines
them. The noise levels are Stable Diffusion's. The paper: Sabour, Fidler, Kreis, "Align Your
Steps" (2024), arXiv 2404.14507.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..optimizer import Denoiser
from ..schedules import NoiseTable, discrete_table
from .digits.network import load_digits
from .edm import guided
from .mixture import DiagonalGaussian, Mixture

__all__ = ["PROBLEMS", "QUICK", "TABLE", "Problem", "problem"]

TABLE: NoiseTable = discrete_table()
GUIDED = ("digits-mixture", "power-mixture", "digits-network")
SCALES = (3, 7)
PROBLEMS = (
    "gaussian-64", "gaussian-256", "grid-8x8", "grid-8x4", "grid-6x6", *GUIDED,
    *(f"{name}-cfg{scale}" for name in GUIDED for scale in SCALES),
)  # fmt: skip
QUICK = ("gaussian-256", "digits-mixture", "power-mixture-cfg7", "digits-network-cfg3")

GRID_EXTENT, GRID_STD = 1.7, 0.05  # half the side of the grid; std of a component
CLASS_COMPONENTS = 6  # of the digits mixture, for each class
LEAST_STD = 0.05  # of a fitted component


@dataclass(frozen=True)
class Problem:
    """A denoiser and what is known about the distribution that it samples.

    shape:     of one sample
    denoise:   (x [B, ...], sigma [B]) -> D, in EDM coordinates; guided if the problem is
    sample:    (count, seed) -> x_0 of the true distribution; None: guided or a network, whose
               only truth is its own fine-step sampling
    variances: [d] of Gaussian data, for exact KL and W2; None: not Gaussian
    noises:    held-out initial noises to compare schedules on
    """

    name: str
    shape: tuple[int, ...]
    denoise: Denoiser
    sample: Callable[[int, int], Tensor] | None
    variances: Tensor | None
    noises: int

    @property
    def guided(self) -> bool:
        """Tell whether the denoiser is guided."""
        return "-cfg" in self.name

    @property
    def exact(self) -> bool:
        """Tell whether the denoiser is a formula, through which gradients flow."""
        return not self.name.startswith("digits-network")

    @property
    def high_dimensional(self) -> bool:
        """Tell whether a sample has 64 elements or more."""
        return int(np.prod(self.shape)) >= 64


def problem(name: str, seed: int) -> Problem:
    """A problem by name; the seed draws its grid weights, means, condition or class.

    Raises ValueError for an unknown name.

    >>> problem("grid-8x4", seed=0).shape
    (2,)
    """
    if name not in PROBLEMS:
        raise ValueError(f"There is no problem '{name}': choose one of {list(PROBLEMS)}.")
    kind, _, scale = name.partition("-cfg")
    if kind.startswith("gaussian"):
        dim, exponent = {"gaussian-64": (64, 2.0), "gaussian-256": (256, 1.0)}[kind]
        variances = 4.0 * torch.arange(1, dim + 1, dtype=torch.float64) ** -exponent
        data = DiagonalGaussian(variances)
        return Problem(name, (dim,), _unguided(data), data.sample, variances, 2048)
    if kind == "digits-network":
        denoise = guided(load_digits(), seed % 10, float(scale or 1))
        return Problem(name, (1, 8, 8), denoise, None, None, 192)
    if kind.startswith("grid"):
        rows, columns = (int(side) for side in kind[len("grid-") :].split("x"))
        mixture, condition = grid(rows, columns, seed), None
    elif kind == "digits-mixture":
        mixture, condition = digits_mixture(seed)
    else:
        mixture, condition = power_mixture(160, 32, seed)
    noises = 4096 if mixture.means.shape[1] == 2 else 2048
    shape = (mixture.means.shape[1],)
    if not scale:
        return Problem(name, shape, _unguided(mixture), mixture.sample, None, noises)
    denoise = _guided(mixture, condition, float(scale))
    return Problem(name, shape, denoise, None, None, noises)


def grid(rows: int, columns: int, seed: int) -> Mixture:
    """Narrow components on a grid in the square of side 2 GRID_EXTENT, of random weights."""
    generator = torch.Generator().manual_seed(seed)
    sides = (
        torch.linspace(-GRID_EXTENT, GRID_EXTENT, n, dtype=torch.float64) for n in (rows, columns)
    )
    means = torch.cartesian_prod(*sides)
    weights = 0.5 + torch.rand(len(means), generator=generator, dtype=torch.float64)
    return Mixture(means, torch.full_like(weights, GRID_STD), weights / weights.sum())


def power_mixture(dim: int, components: int, seed: int) -> tuple[Mixture, Tensor]:
    """Means with variances 4/k in element k, stds between 0.1 and 0.3; a quarter is a condition."""
    generator = torch.Generator().manual_seed(seed)
    spectrum = 4.0 / torch.arange(1, dim + 1, dtype=torch.float64)
    e = torch.randn(components, dim, generator=generator, dtype=torch.float64)
    stds = 0.1 + 0.2 * torch.rand(components, generator=generator, dtype=torch.float64)
    weights = torch.full_like(stds, 1.0 / components)
    return Mixture(e * spectrum.sqrt(), stds, weights), _subset(weights, components // 4)


@lru_cache(maxsize=4)
def digits_mixture(seed: int) -> tuple[Mixture, Tensor]:
    """Isotropic components fitted to the digits, class by class; one class is the condition."""
    from sklearn.mixture import GaussianMixture

    from .digits.data import CLASSES, digits

    images, labels = digits(held_out=False)
    x, label = images.flatten(1).double().numpy(), labels.argmax(1).numpy()
    means, variances, weights = [], [], []
    for k in range(CLASSES):
        fit = GaussianMixture(CLASS_COMPONENTS, covariance_type="spherical", random_state=seed)
        fit.fit(x[label == k])
        means.append(fit.means_)
        variances.append(fit.covariances_)
        weights.append(fit.weights_ * np.mean(label == k))
    stds = torch.from_numpy(np.concatenate(variances)).sqrt().clamp(min=LEAST_STD)
    w = torch.from_numpy(np.concatenate(weights))
    mixture = Mixture(torch.from_numpy(np.concatenate(means)), stds, w / w.sum())
    first = CLASS_COMPONENTS * (seed % CLASSES)
    condition = torch.zeros_like(w)
    condition[first : first + CLASS_COMPONENTS] = w[first : first + CLASS_COMPONENTS]
    return mixture, condition / condition.sum()


def _subset(weights: Tensor, count: int) -> Tensor:
    """The weights of the first components alone, normalised."""
    kept = weights * (torch.arange(len(weights)) < count)
    return kept / kept.sum()


def _unguided(data: Mixture | DiagonalGaussian) -> Denoiser:
    """The ideal denoiser."""
    return lambda x, sigma: data.denoise(x, sigma)


def _guided(mixture: Mixture, condition: Tensor | None, scale: float) -> Denoiser:
    """The mixture guided towards the condition."""
    if condition is None:
        raise ValueError("This mixture has no condition to be guided to: choose no guidance.")

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return mixture.guided(x, sigma, condition, mixture.weights, scale)

    return denoise
