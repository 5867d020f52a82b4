"""Data distributions whose ideal denoiser is known in closed form.

Notation (EDM): `x_t = x_0 + t e`, with e standard normal, and `D(x, t) = E[x_0 | x_t = x]`.

`Mixture`: x_0 ~ Σ_k w_k N(μ_k, s_k² I). With v_k = s_k² + t² and responsibilities

    r_k(x) ∝ w_k N(x; μ_k, v_k I),      Σ_k r_k = 1

the ideal denoiser is

    D(x, t) = Σ_k r_k(x) (s_k² x + t² μ_k) / v_k.

`DiagonalGaussian`: x_0 ~ N(0, diag(λ)), for which `D(x, t)_j = x_j λ_j / (λ_j + t²)`.

All arithmetic is double precision, whatever the dtype of the input: log densities of thousands of
elements, whose small differences decide, leave too few digits in single precision. The result
has the dtype and device of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["DiagonalGaussian", "Mixture", "power_law"]


@dataclass(frozen=True)
class Mixture:
    """A mixture of isotropic Gaussians, Σ_k w_k N(μ_k, s_k² I).

    means:   [K, d] μ_k
    stds:    [K] s_k, positive
    weights: [K] w_k, not negative; normalised where they are used
    """

    means: Tensor
    stds: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        """Raise ValueError unless shapes and values are those of a mixture."""
        shapes = [list(part.shape) for part in (self.means, self.stds, self.weights)]
        if self.means.ndim != 2 or any(shape != shapes[0][:1] for shape in shapes[1:]):
            raise ValueError(
                f"A mixture was given means, stds and weights of shapes {shapes}: "
                "give [K, d], [K] and [K]."
            )
        if (self.stds <= 0).any() or (self.weights < 0).any() or self.weights.sum() <= 0:
            raise ValueError(
                f"A mixture was given stds {self.stds.tolist()} and weights "
                f"{self.weights.tolist()}: give positive stds, and weights that are not negative "
                "and not all zero."
            )

    @staticmethod
    def random(dim: int, components: int, seed: int, std: float = 0.2) -> Mixture:
        """Equal weights, equal stds, and means standard normal in each element.

        >>> Mixture.random(2, 3, seed=0).means.shape
        torch.Size([3, 2])
        """
        generator = torch.Generator().manual_seed(seed)
        means = torch.randn(components, dim, generator=generator, dtype=torch.float64)
        stds = torch.full((components,), std, dtype=torch.float64)
        return Mixture(means, stds, torch.full_like(stds, 1.0 / components))

    def denoise(self, x: Tensor, sigma: Tensor, weights: Tensor | None = None) -> Tensor:
        """The ideal denoiser, D(x, t) = Σ_k r_k(x) (s_k² x + t² μ_k) / v_k.

        Arguments:
            x: [B, d] noised samples.
            sigma: [B] EDM levels t.
            weights: [B, K] (or [K]) weights that take the place of the mixture's own: what a
                condition does to the data. Every row needs a positive one.

        Returns E[x_0 | x_t = x], of shape [B, d].

        >>> one = Mixture(torch.zeros(1, 1), torch.ones(1), torch.ones(1))
        >>> one.denoise(torch.tensor([[1.0]]), torch.tensor([1.0]))
        tensor([[0.5000]])
        """
        y = x.double()
        means, stds = (part.to(x.device).double() for part in (self.means, self.stds))
        w = (self.weights if weights is None else weights).to(x.device).double()
        noise = sigma.to(x.device).double().square()[:, None]  # [B, 1]
        variance = stds.square() + noise  # [B, K]
        distance = y.square().sum(1, keepdim=True) - 2.0 * y @ means.T + means.square().sum(1)
        log_r = w.log() - 0.5 * distance / variance - 0.5 * x.shape[1] * variance.log()
        r = torch.exp(log_r - log_r.logsumexp(1, keepdim=True))  # [B, K]
        shrink = (r * stds.square() / variance).sum(1, keepdim=True)  # [B, 1]
        return (shrink * y + (r * noise / variance) @ means).to(x)

    def guided(
        self, x: Tensor, sigma: Tensor, cond_weights: Tensor, uncond_weights: Tensor, scale: float
    ) -> Tensor:
        """Classifier-free guidance, D_uncond + scale (D_cond - D_uncond), as the host combines it.

        Each condition is a set of weights, of shape [B, K] or [K]; see `denoise` for the rest.
        """
        cond = self.denoise(x, sigma, cond_weights)
        uncond = self.denoise(x, sigma, uncond_weights)
        return uncond + scale * (cond - uncond)

    def sample(self, count: int, seed: int) -> Tensor:
        """Draw x_0, of shape [count, d], in the dtype of the means."""
        generator = torch.Generator().manual_seed(seed)
        k = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        e = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        return (self.means.cpu()[k] + self.stds.cpu()[k, None] * e).to(self.means)

    def denoiser(self) -> Callable[[Tensor, Tensor], Tensor]:
        """`denoise` for inputs of any shape [B, ...] with d elements a row."""
        return _on_rows(self.denoise)


@dataclass(frozen=True)
class DiagonalGaussian:
    """A Gaussian N(0, diag(λ)).

    variances: [d] λ_j, not negative
    """

    variances: Tensor

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The ideal denoiser, D(x, t)_j = x_j λ_j / (λ_j + t²); x of shape [B, d], sigma [B].

        >>> DiagonalGaussian(torch.ones(2)).denoise(torch.ones(1, 2), torch.ones(1))
        tensor([[0.5000, 0.5000]])
        """
        variances = self.variances.to(x.device).double()
        noise = sigma.to(x.device).double().square()[:, None]  # [B, 1]
        return (x.double() * variances / (variances + noise)).to(x)

    def sample(self, count: int, seed: int) -> Tensor:
        """Draw x_0, of shape [count, d], in the dtype of the variances."""
        generator = torch.Generator().manual_seed(seed)
        e = torch.randn(count, len(self.variances), generator=generator, dtype=torch.float64)
        return (self.variances.cpu().sqrt() * e).to(self.variances)

    def denoiser(self) -> Callable[[Tensor, Tensor], Tensor]:
        """`denoise` for inputs of any shape [B, ...] with d elements a row."""
        return _on_rows(self.denoise)


def power_law(dim: int, exponent: float = 2.0) -> DiagonalGaussian:
    """Gaussian data with variances k^-exponent, k = 1 ... dim: exponent 2 is 1/f² data.

    >>> power_law(3).variances.tolist()
    [1.0, 0.25, 0.1111111111111111]
    """
    return DiagonalGaussian(torch.arange(1, dim + 1, dtype=torch.float64) ** -exponent)


def _on_rows(denoise: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A denoiser of rows [B, d], applied to an input of any shape [B, ...]."""
    return lambda x, sigma: denoise(x.flatten(1), sigma).reshape(x.shape)
