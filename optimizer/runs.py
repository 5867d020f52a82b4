"""Solver runs and profile paths of one optimisation: one meter, one budget, one stream of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .meter import Meter
from .noise import SELECTION, generators, unit_noise
from .profile import Denoiser, Profile, measure_profile
from .select import FINALISTS, Candidate
from .solvers import DETERMINISTIC_TWIN, REFERENCE, Solver, builtin_solver

__all__ = ["Progress", "Runs"]

CHECK_SHARE = 0.05  # of the budget, at most, for estimating the references' own error

Progress = Callable[[str, int], None]  # (phase, denoiser rows spent so far)


class Runs:
    """Runs schedules from shared initial noises and measures how far from the reference they end.

    Noise comes in batches 0, 1, 2, ... of equal size; every batch has one reference end point a
    noise. Arguments as for `optimize`.
    """

    def __init__(
        self,
        denoise: Denoiser,
        solver: str | Solver,
        reference: Solver | None,
        meter: Meter | None,
        shape: Sequence[int],
        seed: int,
        budget: int,
        progress: Progress | None,
    ):
        self.calls_per_step = getattr(solver, "calls_per_step", 2 if solver == "heun" else 1)
        # A Solver that passes through no meter of ours is charged what it is said to cost.
        self.unmetered = not isinstance(solver, str) and meter is None
        self.meter = meter or Meter()
        self.charged = 0
        self.spent: dict[str, int] = {}
        self.shape, self.seed, self.budget, self.progress = shape, seed, budget, progress
        self.ends: list[Tensor] = []
        self.denoise = denoise if meter is not None else self._metered(denoise)
        self.solver, self.reference = self._solvers(solver, reference)

    def _solvers(self, solver: str | Solver, reference: Solver | None) -> tuple[Solver, Solver]:
        """The solver that is judged and the one that computes references."""
        if not isinstance(solver, str):
            return solver, reference or solver
        name = DETERMINISTIC_TWIN.get(solver, solver)
        judged = builtin_solver(name, self.denoise)
        return judged, reference or builtin_solver(REFERENCE[name], self.denoise)

    def begin(self, fine: Tensor, batch: int) -> None:
        """Set the levels of the reference runs, ending in 0, and the noises in a batch."""
        self.fine, self.batch, self.current = fine, batch, -1

    @property
    def left(self) -> int:
        """Denoiser rows left of the budget."""
        return self.budget - self.meter.rows - self.charged

    def cost(self, steps: int) -> int:
        """Rows that a run of so many steps on one batch takes at most."""
        return steps * self.calls_per_step * self.batch

    def add_reference(self) -> None:
        """Compute the end points of the next batch of noise."""
        self.ends.append(self._run("reference", self.reference, len(self.ends), self.fine))

    def reference_error(self) -> float:
        """The references' own error, estimated on the first batch from a run of half the steps.

        Richardson's estimate for a second-order solver, |x_N - x_{N/2}| / 3. NaN where that run
        would take more than its share of the budget.
        """
        half = torch.cat([self.fine[:-1:2], self.fine[-1:]])
        if self.cost(len(half) - 1) > CHECK_SHARE * self.budget:
            return float("nan")
        coarse = self._run("reference", self.reference, 0, half)
        return float(np.mean(_rmse(coarse, self.ends[0]))) / 3.0

    def profile(self, x_0: Tensor, sigmas: np.ndarray) -> Profile:
        """The denoiser's profile on the given samples."""
        before = self.left
        self.meter.forget()
        profile = measure_profile(
            self.denoise,
            x_0,
            torch.from_numpy(sigmas),
            seed=self.seed,
            batch_size=self.batch,
            progress=lambda _: self._tell("profile"),
        )
        self.meter.forget()
        self.current = -1
        self.spent["profile"] = before - self.left
        return profile

    def errors(self, candidate: Candidate, batch: int) -> list[float] | None:
        """RMS distance per element to the reference, per noise; None when the budget is spent.

        A batch beyond the references is added if its reference and the finalists' runs fit.
        """
        cost = self.cost(len(candidate.sigmas) - 1)
        if batch == len(self.ends):
            if self.cost(len(self.fine) - 1) + FINALISTS * cost > self.left:
                return None
            self.add_reference()
        if cost > self.left:
            return None
        end = self._run("candidates", self.solver, batch, candidate.sigmas)
        return _rmse(end, self.ends[batch])

    def _run(self, phase: str, solver: Solver, batch: int, sigmas: Tensor) -> Tensor:
        """One run on one batch of noise, charged to a phase."""
        if batch != self.current:
            rows = range(batch * self.batch, (batch + 1) * self.batch)
            self.noise = unit_noise(generators(self.seed, SELECTION, rows), self.shape)
            self.current = batch
            self.meter.forget()
        before = self.left
        x_0 = solver(self.noise, sigmas, (self.seed + batch) % 2**63)
        if self.unmetered:
            self.charged += self.cost(len(sigmas) - 1)
        self.spent[phase] = self.spent.get(phase, 0) + before - self.left
        if x_0.shape != self.noise.shape:
            raise ValueError(
                f"The solver returned shape {list(x_0.shape)} for noise of shape "
                f"{list(self.noise.shape)}: it must return end points of the same shape."
            )
        self._tell(phase)
        return x_0

    def _tell(self, phase: str) -> None:
        if self.progress is not None:
            self.progress(phase, self.budget - self.left)

    def _metered(self, denoise: Denoiser) -> Denoiser:
        """The denoiser behind this object's meter."""

        def metered(x: Tensor, sigma: Tensor) -> Tensor:
            return self.meter(x, float(sigma[0]), lambda: denoise(x, sigma))

        return metered


def _rmse(x: Tensor, end: Tensor) -> list[float]:
    """RMS distance per latent element, of each sample."""
    distance = (x.double() - end.double()).flatten(1).square().mean(1).sqrt()
    return [float(value) for value in distance]
