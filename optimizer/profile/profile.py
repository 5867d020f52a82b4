"""The profile: what a denoiser does along forward noising paths, measured once.

Notation (EDM): `x_t = x_0 + t e`, denoiser `D(x, t) = E[x_0 | x_t = x]`. The KLUB and every bound
like it needs only the squared differences

    E || D(x_t, t) - D(x_s, s) ||^2        for pairs of levels t < s on the SAME forward path.

So each sample is noised once along levels g_1 < ... < g_M, a path with the right joint
distribution for every pair, and its Gram matrix

    G[a, b] = < D_a - D_1, D_b - D_1 >

is kept, where D_1 is the output at the lowest level. Differences of nearly equal outputs cancel
in floating point; subtracting D_1 first keeps single precision exact enough. The squared
differences are then `G[a,a] + G[b,b] - 2 G[a,b]`.

Gram matrices are kept per sample: any bound is linear in them, so its standard error over the
samples follows, and profiles of different samples or machines simply add.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..diffusion.noise import PATHS, generators, unit_noise
from ..runs.conditions import Conditions

__all__ = ["Denoiser", "Profile", "measure_profile"]

WALKED = 256 * 2**20  # bytes of outputs that the samples walked together may take
PRODUCT_CHUNK = 2**18  # elements that inner products are computed on at once


class Denoiser(Protocol):
    """(x [B, ...], sigma [B]) -> E[x_0 | x] [B, ...], in EDM coordinates.

    A denoiser may also have a method `walk(points, sigmas)`, which takes an iterator of
    (x, sigma) from high to low noise, and their levels [M], and gives the outputs in turn: for
    hosts in which one path is one sampling run.
    """

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Profile:
    """Per-sample Gram matrices of denoiser outputs along shared forward paths.

    sigmas: [M] descending EDM levels
    grams:  [N, M, M] G[a, b] = <D_a - D_low, D_b - D_low> of each sample
    losses: [N, M] ||D_a - x_0||^2 of each sample
    dim:    number of latent elements of one sample
    """

    sigmas: Tensor
    grams: Tensor
    losses: Tensor
    dim: int

    @property
    def count(self) -> int:
        """Number of samples."""
        return self.grams.shape[0]

    @property
    def gram(self) -> Tensor:
        """[M, M] mean Gram matrix."""
        return self.grams.mean(0)

    @property
    def loss(self) -> Tensor:
        """[M] mean squared denoising error per latent element."""
        return self.losses.mean(0) / self.dim

    @property
    def standard_error(self) -> Tensor:
        """[M, M] standard error of `gram` over the samples; NaN for a single sample."""
        return self.grams.std(0) / self.count**0.5

    @property
    def too_large(self) -> Tensor:
        """[...] the EDM levels at which something is no number in single precision."""
        squares = torch.cat([self.losses, self.grams.diagonal(dim1=1, dim2=2)]).float()
        return self.sigmas[~torch.isfinite(squares).all(0)]

    @property
    def squared_differences(self) -> Tensor:
        """[N, M, M] ||D_a - D_b||^2 per latent element, of each sample."""
        diagonal = self.grams.diagonal(dim1=1, dim2=2)
        squared = diagonal[:, :, None] + diagonal[:, None, :] - 2.0 * self.grams
        return squared.clamp_min(0.0) / self.dim

    @property
    def digest(self) -> str:
        """32 hex digits that two profiles share only if all their numbers are the same."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in self.to_tensors(torch.float64).items():
            digest.update(f"{name}{list(tensor.shape)}".encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def __add__(self, other: Profile) -> Profile:
        """The profile of both sets of samples together.

        Raises ValueError unless both were measured at the same levels and latent size.
        """
        if self.dim != other.dim or not torch.equal(self.sigmas, other.sigmas):
            raise ValueError(
                f"Profiles of {self.dim} elements at {len(self.sigmas)} levels and of {other.dim} "
                f"elements at {len(other.sigmas)} levels do not add: measure both on the same "
                "latent size and the same levels."
            )
        return Profile(
            self.sigmas,
            torch.cat([self.grams, other.grams]),
            torch.cat([self.losses, other.losses]),
            self.dim,
        )

    def to_tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Named tensors for storage; `from_tensors` is the inverse, exact for float64."""
        return {
            "profile.sigmas": self.sigmas,
            "profile.grams": self.grams.to(dtype),
            "profile.losses": self.losses.to(dtype),
            "profile.dim": torch.tensor([self.dim]),
        }

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor]) -> Profile:
        """The profile stored by `to_tensors`."""
        return Profile(
            tensors["profile.sigmas"].double(),
            tensors["profile.grams"].double(),
            tensors["profile.losses"].double(),
            int(tensors["profile.dim"].item()),
        )


def measure_profile(
    denoise: Denoiser,
    samples: Tensor,
    sigmas: Tensor | Sequence[float],
    *,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[int], bool | None] | None = None,
    paths: Sequence[int] | None = None,
    conditions: Conditions | None = None,
    noises: Sequence[int] | None = None,
) -> Profile:
    """Measure the profile of a denoiser on samples x_0, with M calls a sample.

    Arguments:
        denoise: the denoiser, in EDM coordinates.
        samples: x_0, of shape [N, ...].
        sigmas: [M >= 2] descending positive EDM levels.
        seed: of the noise paths; the same seed gives the same paths for any batch size.
        batch_size: samples a call, fewer where their outputs would take more than WALKED; the last
            batch is padded by repeating its last sample, so that every call has the same shape.
        progress: called with the number of samples done after every batch; True: these are enough.
        paths: numbers [N] of the samples' noise paths; None: 0, 1, 2, ... Parts of one set of
            samples, measured with the numbers that they have in it, add up to its profile.
        conditions: of the denoiser; None: it has one.
        noises: numbers [N] of the noises that led to the samples, which tell their conditions;
            None: those of the paths.

    Raises ValueError for levels that do not descend, no samples, or outputs of a wrong shape.

    Example: an ideal denoiser of unit Gaussian data shrinks its input by 1 / (1 + t^2).

    >>> shrink = lambda x, sigma: x / (1 + sigma[:, None] ** 2)
    >>> profile = measure_profile(shrink, torch.randn(8, 2), [2.0, 1.0, 0.5])
    >>> profile.count, profile.dim, tuple(profile.gram.shape)
    (8, 2, (3, 3))
    """
    levels = torch.as_tensor(sigmas, dtype=torch.float64)
    if levels.ndim != 1 or len(levels) < 2 or not _positive_descending(levels):
        raise ValueError(
            f"Profile levels were {levels.tolist()}: give two or more positive levels, descending."
        )
    if len(samples) == 0:
        raise ValueError("No samples were given to measure a profile on: give at least one.")

    numbers = range(len(samples)) if paths is None else paths
    led = numbers if noises is None else noises
    conditions = conditions or Conditions()
    dim = samples[0].numel()
    batch_size = max(1, min(batch_size, WALKED // (4 * dim * len(levels))))
    grams, losses = [], []
    for start in range(0, len(samples), batch_size):
        rows = list(range(start, min(start + batch_size, len(samples))))
        kept = len(rows)
        rows += rows[-1:] * (min(batch_size, len(samples)) - kept)
        x_0 = samples[rows]  # [B, ...]
        points = forward_path(x_0, levels, generators(seed, PATHS, (numbers[row] for row in rows)))
        with conditions.of(led[row] for row in rows):
            walked = [_checked(D, x_0).flatten(1) for D in _walk(denoise, points, levels)]
        if len(walked) != len(levels):
            raise ValueError(
                f"The denoiser's walk gave {len(walked)} outputs for {len(levels)} levels: it must "
                "give one for each point."
            )
        truth = x_0.to(walked[0]).flatten(1)
        loss = torch.stack([(D - truth).square().sum(-1) for D in walked])  # [M, B]
        losses.append(loss.T[:kept].double().cpu())
        grams += [_gram([D[row] for D in walked]) for row in range(kept)]
        del walked  # before the next batch is walked
        if progress is not None and progress(start + kept):
            break
    return Profile(levels, torch.stack(grams), torch.cat(losses), dim)


def _gram(outputs: Sequence[Tensor]) -> Tensor:
    """G[a, b] = <D_a - D_low, D_b - D_low> of one sample's outputs [d], the lowest level last.

    In chunks of the elements: the outputs are many and large.
    """
    gram = torch.zeros(len(outputs), len(outputs), dtype=torch.float64)
    for parts in zip(*(D.split(PRODUCT_CHUNK) for D in outputs), strict=True):
        difference = torch.stack(parts).sub_(parts[-1])  # [M, at most PRODUCT_CHUNK]
        gram += (difference @ difference.T).cpu().double()
    return gram


def forward_path(
    x_0: Tensor, sigmas: Tensor, sources: Sequence[torch.Generator]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (x_t, t) along one forward path of each sample, from the highest level down.

    The path is drawn from its noisy end, as a Brownian bridge in t^2 pinned at x_0,

        x_t = x_0 + (t/s)^2 (x_s - x_0) + t sqrt(1 - (t/s)^2) e,     t < s,

    which has the distribution of adding noise level by level but keeps one state only.
    """
    noise = None
    previous = float("inf")
    for sigma in sigmas.tolist():
        ratio = (sigma / previous) ** 2
        fresh = unit_noise(sources, x_0.shape[1:]).to(x_0)
        spread = sigma * (1.0 - ratio) ** 0.5 * fresh
        noise = spread if noise is None else ratio * noise + spread
        yield x_0 + noise, torch.full((len(x_0),), sigma, dtype=x_0.dtype, device=x_0.device)
        previous = sigma


def _positive_descending(levels: Tensor) -> bool:
    return bool(torch.isfinite(levels).all() and levels[-1] > 0 and (levels.diff() < 0).all())


def _walk(
    denoise: Denoiser, points: Iterator[tuple[Tensor, Tensor]], sigmas: Tensor
) -> Iterable[Tensor]:
    walk = getattr(denoise, "walk", None)
    return walk(points, sigmas) if walk is not None else (denoise(x, s) for x, s in points)


def _checked(output: Tensor, x_0: Tensor) -> Tensor:
    if output.shape != x_0.shape:
        raise ValueError(
            f"The denoiser returned shape {list(output.shape)} for an input of shape "
            f"{list(x_0.shape)}: it must return the prediction of x_0 in the input's shape."
        )
    return output
