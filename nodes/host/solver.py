"""A Solver of the optimiser: sampling runs of the host with one SAMPLER."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ...optimizer import BrownianPath, Coordinate, OwnLevel, StochasticSolver, edm_level

__all__ = ["HostSolver", "Sample", "along"]


class Sample(Protocol):
    """One sampling run of the host with a SAMPLER: noise [B, ...], levels [n+1] -> x_0 [B, ...]."""

    def __call__(self, noise: Tensor, sigmas: Tensor, sampler: Any, seed: int, /) -> Tensor:
        """Run it."""


@dataclass(frozen=True, eq=False)
class HostSolver:
    """A Solver of the optimiser: one sampling run of the host.

    sample:         how a run is made
    sampler:        the SAMPLER
    calls_per_step: denoiser calls a step
    order:          of convergence
    own_level:      in which the sampler measures its steps, of the EDM level
    stochastic:     the run of the sampler whose deterministic twin this is, along given noise;
                    None: there is none, or none that can be run so
    """

    sample: Sample
    sampler: Any
    calls_per_step: int
    order: int
    own_level: OwnLevel = edm_level
    stochastic: StochasticSolver | None = None

    def __call__(self, noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        """(noise [B, ...], sigmas [n+1], seed) -> x_0 [B, ...]."""
        return self.sample(noise, sigmas, self.sampler, seed)


def along(sample: Sample, sampler: Any, coordinate: Coordinate) -> StochasticSolver:
    """(noise, sigmas, path) -> x_0: the runs of a stochastic SAMPLER along given noise.

    coordinate: host levels <-> EDM levels, in which a path knows its noise
    """

    def run(noise: Tensor, sigmas: Tensor, path: BrownianPath) -> Tensor:
        def unit_noise(s: Tensor, t: Tensor) -> Tensor:
            """Return what the host's samplers ask for a step from level s down to t."""
            levels = coordinate.finite_edm(np.array([float(s), float(t)]))
            return path.noise(*levels.tolist()).to(s)

        noisy = copy.copy(sampler)
        noisy.extra_options = {**sampler.extra_options, "noise_sampler": unit_noise}
        return sample(noise, sigmas, noisy, 0)

    return run
