"""A Solver of the optimiser: sampling runs of the host with one SAMPLER."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ...optimizer.brownian import BrownianPath
from ...optimizer.coordinate import OwnLevel, edm_level
from ...optimizer.solvers import StochasticSolver

if TYPE_CHECKING:
    from .measure import GuidedModel

__all__ = ["HostSolver"]


class HostSolver:
    """A Solver of the optimiser: one sampling run of the host.

    noisy:     the stochastic SAMPLER whose twin `sampler` is; None: there is none, or none to run
    own_level: in which the sampler measures its steps, of the EDM level
    fine:      whether its runs take many steps
    """

    def __init__(
        self,
        model: GuidedModel,
        sampler: Any,
        calls_per_step: int,
        order: int,
        noisy: Any = None,
        own_level: OwnLevel = edm_level,
        fine: bool = False,
    ):
        self.model = model
        self.own_level = own_level
        self.sampler = sampler
        self.calls_per_step = calls_per_step
        self.order = order
        self.noisy = noisy
        self.fine = fine

    @property
    def stochastic(self) -> StochasticSolver | None:
        """(noise, sigmas, path) -> x_0: the stochastic sampler along given noise."""
        return None if self.noisy is None else self._along

    def _along(self, noise: Tensor, sigmas: Tensor, path: BrownianPath) -> Tensor:
        coordinate = self.model.levels.coordinate

        def unit_noise(s: Tensor, t: Tensor) -> Tensor:
            """What the host's samplers ask for a step from level s down to t."""
            levels = coordinate.finite_edm(np.array([float(s), float(t)]))
            return path.noise(*levels.tolist()).to(s)

        sampler = copy.copy(self.noisy)
        sampler.extra_options = {**sampler.extra_options, "noise_sampler": unit_noise}
        return self.model.sample(noise, sigmas, sampler, seed=0)

    def __call__(self, noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        """(noise [B, ...], sigmas [n+1], seed) -> x_0 [B, ...]."""
        return self.model.sample(noise, sigmas, self.sampler, seed, fine=self.fine)
