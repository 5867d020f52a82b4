"""One optimisation's problem: what never changes while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .diffusion.coordinate import VE, Coordinate
from .fit.surrogate import ELEMENTS
from .judging.judged_solver import JudgedSolver
from .judging.reference_steps import fine_levels
from .judging.select import Candidate
from .profile.candidates import edm_levels

__all__ = ["Problem"]

COMPARED = 2**18  # elements of an end point that are kept to compare with: enough for any RMS


@dataclass(frozen=True)
class Problem:
    """A solver to be given levels, on one latent and one model.

    solver:     with its denoiser
    shape:      of one sample, without the batch
    sigma_max, sigma_min: ends of the model's noise levels, in the host's units
    steps:      optimised for, or the most that are compared
    coordinate: the map between host and EDM levels
    elements:   of one flattened sample, those that a run can change; None: all
    seed:       of all noise

    Raises ValueError for numbers out of range.
    """

    solver: JudgedSolver
    shape: Sequence[int]
    sigma_max: float
    sigma_min: float
    steps: int
    coordinate: Coordinate = VE
    elements: Tensor | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps was {self.steps}: a schedule has at least 1 step.")
        if not (0.0 < self.sigma_min < self.sigma_max < math.inf):
            raise ValueError(
                f"sigma_min was {self.sigma_min:g} and sigma_max {self.sigma_max:g}: give "
                "0 < sigma_min < sigma_max."
            )

    @property
    def dim(self) -> int:
        """Elements of a sample."""
        return math.prod(self.shape)

    @cached_property
    def t_max(self) -> float:
        """The EDM level of sigma_max, finite for flow models too."""
        return float(self.coordinate.finite_edm(np.asarray(self.sigma_max)))

    @cached_property
    def t_min(self) -> float:
        """The EDM level of sigma_min."""
        return float(self.coordinate.edm(np.asarray(self.sigma_min)))

    def fine_levels(self, count: int) -> Tensor:
        """Levels of a reference run of so many steps, see `fine.fine_levels`."""
        return fine_levels(count, self.coordinate, self.sigma_max, self.sigma_min)

    def edm(self, candidate: Candidate) -> np.ndarray:
        """A candidate's levels in EDM units, [n+1], ending in 0."""
        return edm_levels(candidate, self.coordinate)

    def compared(self, end: Tensor) -> Tensor:
        """The elements [B, E] of end points [B, ...] that errors are of."""
        return end.flatten(1)[:, self._compared.to(end.device)]

    def tracked(self, x: Tensor) -> np.ndarray:
        """The elements [B, E] of states or outputs [B, ...] that a track keeps."""
        return x.flatten(1)[:, self._tracked.to(x.device)].cpu().double().numpy()

    @cached_property
    def _compared(self) -> Tensor:
        return self._some(COMPARED)

    @cached_property
    def _tracked(self) -> Tensor:
        return self._some(ELEMENTS)

    def _some(self, count: int) -> Tensor:
        """So many of the elements at most, as indices, always the same ones."""
        counted = np.arange(self.dim) if self.elements is None else self.elements.numpy()
        chosen = np.random.default_rng(0).permutation(counted)[:count]
        return torch.from_numpy(np.sort(chosen))
