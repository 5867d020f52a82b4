"""Solver runs and profile paths of one optimisation: one meter, one budget, one stream of noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .brownian import BROWNIAN, BrownianPath
from .coordinate import Coordinate
from .meter import DenoiserError, Meter
from .noise import SELECTION, generators, unit_noise
from .profile import Denoiser, Profile, measure_profile
from .select import FINALISTS, Candidate
from .solvers import (
    DETERMINISTIC_TWIN,
    LAW_JUDGED,
    Solver,
    StochasticSolver,
    builtin_solver,
    reference_solver,
    stochastic_solver,
)
from .surrogate import ELEMENTS, Track, integration_error, joined, measured_slope

__all__ = ["Progress", "Runs"]

REFINEMENT_SHARE = 0.30  # of the budget, for real runs on the noises that schedules are refined on
FEWEST = 3  # candidates compared, however small the budget

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
        self.metered = meter is not None
        self.meter = meter or Meter()
        self.charged = -self.meter.rows  # a meter of the caller's may have counted before
        self.spent: dict[str, int] = {}
        self.shape, self.seed, self.budget, self.progress = shape, seed, budget, progress
        self.twin_budget = budget  # what the deterministic solver's runs may be planned with
        self.ends: list[Tensor] = []
        self.law_batches = 0
        self.reference_errors: list[float] = []
        self.denoise = denoise if meter is not None else self._metered(denoise)
        self.solver = self._solver(solver)
        self.stochastic = self._stochastic(solver)
        if isinstance(solver, str) and reference is None:
            self.reference_order, self.reference_calls = 3, 1
            self.reference = reference_solver(self.denoise)
        else:
            fine = reference or self.solver
            self.reference_order = getattr(fine, "order", 2)
            self.reference_calls = getattr(fine, "calls_per_step", self.calls_per_step)
            self.reference = self._charged(fine, self.reference_calls) if reference else fine

    def _solver(self, solver: str | Solver) -> Solver:
        """The solver that is judged."""
        if not isinstance(solver, str):
            return self._charged(solver, self.calls_per_step)
        return builtin_solver(DETERMINISTIC_TWIN.get(solver, solver), self.denoise)

    def _stochastic(self, solver: str | Solver) -> StochasticSolver | None:
        """The solver itself where it is to be judged by the law of its samples."""
        if isinstance(solver, str):
            return stochastic_solver(solver, self.denoise) if solver in LAW_JUDGED else None
        # Without a common meter nobody would know what its runs cost.
        return getattr(solver, "stochastic", None) if self.metered else None

    def _charged(self, solver: Solver, calls_per_step: int) -> Solver:
        """A Solver of the caller's: without a common meter, its runs cost what it is said to."""
        if self.metered:
            return solver

        def run(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
            self.charged += (len(sigmas) - 1) * calls_per_step * len(noise)
            return solver(noise, sigmas, seed)

        return run

    def begin(self, fine: Tensor, every: int, batch: int, coordinate: Coordinate) -> None:
        """Set the noises in a batch and the levels of the reference runs, ending in 0.

        The coarse run beside a reference takes `every` so many-th level.
        """
        self.fine, self.batch, self.current = fine, batch, -1
        self.coarse = torch.cat([fine[:-1:every], fine[-1:]])
        self.coordinate = coordinate
        chosen = np.random.default_rng(0).permutation(math.prod(self.shape))[:ELEMENTS]
        self.elements = torch.from_numpy(np.sort(chosen))

    @property
    def left(self) -> int:
        """Denoiser rows left of the budget."""
        return self.budget - self.meter.rows - self.charged

    def cost(self, steps: int) -> int:
        """Rows that a run of so many steps on one batch takes at most."""
        return steps * self.calls_per_step * self.batch

    @property
    def reference_cost(self) -> int:
        """Rows that a reference run of one batch takes."""
        return (len(self.fine) - 1) * self.reference_calls * self.batch

    def add_reference(self) -> None:
        """Compute the end points of the next batch of noise."""
        end = self._run("reference", self.reference, len(self.ends), self.fine)
        self.ends.append(_finite(end, self.fine))

    def add_tracked_reference(self) -> tuple[Track, Track] | None:
        """The same, with what the runs visited, and a coarse run of the judged solver beside them.

        None if the runs pass through no meter.
        """
        batch = len(self.ends)
        end, fine = self._tracked("reference", self.reference, batch, self.fine)
        self.ends.append(_finite(end, self.fine))
        if fine is None:
            return None
        _, coarse = self._tracked("reference", self.solver, batch, self.coarse)
        assert coarse is not None  # the meter that has seen the one has seen the other
        slope = measured_slope(fine, coarse)
        self.reference_errors += integration_error(fine, slope).tolist()
        return fine, coarse

    @property
    def reference_error(self) -> float:
        """The references' own mean error by estimate; NaN if their runs pass through no meter."""
        return float(np.mean(self.reference_errors)) if self.reference_errors else math.nan

    def track(self, sigmas: Tensor, batches: int) -> Track | None:
        """What the judged solver visits with a schedule on the first so many batches of noise.

        None when refinement's share of the budget does not allow all of them.
        """
        once = self.cost(len(sigmas) - 1)
        cost = batches * once
        spent = self.spent.get("refinement", 0) + cost
        comparison = self.reference_cost + FEWEST * once  # must stay affordable
        if spent > REFINEMENT_SHARE * self.twin_budget or cost + comparison > self.left:
            return None
        tracks = [self._tracked("refinement", self.solver, k, sigmas)[1] for k in range(batches)]
        return joined([track for track in tracks if track is not None])

    def refining(self) -> None:
        """Report progress while schedules are refined without a call: the caller may cancel."""
        self._tell("refinement")

    def _tracked(
        self, phase: str, solver: Solver, batch: int, sigmas: Tensor
    ) -> tuple[Tensor, Track | None]:
        """A run's end point, and x and D on the kept elements at every level visited.

        Solvers with two calls a step visit a level twice: the later state is on the trajectory.
        """
        visited: dict[float, tuple[np.ndarray, np.ndarray]] = {}

        def note(level: float, x: Tensor, D: Tensor) -> None:
            visited[level] = self._kept(x), self._kept(D)

        self.meter.observe = note
        try:
            end = self._run(phase, solver, batch, sigmas)
        finally:
            self.meter.observe = None
        if not visited:
            return end, None
        levels = np.array(sorted(visited))
        t = self.coordinate.finite_edm(levels)
        scale = t / self.coordinate.noise(levels)  # a host's x is b(s)/t times EDM's
        x = np.stack([c * visited[s][0] for s, c in zip(levels, scale, strict=True)])
        D = np.stack([visited[s][1] for s in levels])
        return end, Track(np.log(t), x, D, self._kept(end))

    def _kept(self, x: Tensor) -> np.ndarray:
        return x.flatten(1)[:, self.elements.to(x.device)].cpu().double().numpy()

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
            runs = FINALISTS if "candidates" in self.spent else FEWEST
            if self.reference_cost + runs * cost > self.left:
                return None
            self.add_reference()
        if cost > self.left:
            return None
        end = self._run("candidates", self.solver, batch, candidate.sigmas)
        return _rmse(end, self.ends[batch])

    def law_ends(
        self, fine: Tensor, schedules: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]] | None:
        """End points of the stochastic solver on the next batch of noise, never used before.

        Those of its fine run and of every schedule, all along the same Brownian paths; None when
        the budget is spent.
        """
        stochastic = self.stochastic
        assert stochastic is not None
        if sum(self.cost(len(levels) - 1) for levels in (fine, *schedules)) > self.left:
            return None
        batch = len(self.ends) + self.law_batches
        self.law_batches += 1
        rows = range(batch * self.batch, (batch + 1) * self.batch)
        sources = generators(self.seed, BROWNIAN, rows)
        path = BrownianPath(lambda: unit_noise(sources, self.shape))

        def along(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
            return stochastic(noise, sigmas, path)

        end = self._run("law reference", along, batch, fine)
        return _finite(end, fine), [self._run("candidates", along, batch, s) for s in schedules]

    def _run(self, phase: str, solver: Solver, batch: int, sigmas: Tensor) -> Tensor:
        """One run on one batch of noise, charged to a phase."""
        if batch != self.current:
            rows = range(batch * self.batch, (batch + 1) * self.batch)
            self.noise = unit_noise(generators(self.seed, SELECTION, rows), self.shape)
            self.current = batch
            self.meter.forget()
        before = self.left
        x_0 = solver(self.noise, sigmas, (self.seed + batch) % 2**63)
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


def _finite(end: Tensor, levels: Tensor) -> Tensor:
    """A reference's end points; raises DenoiserError where they are no numbers."""
    if not torch.isfinite(end).all():
        raise DenoiserError(
            f"The sampler's own result with {len(levels) - 1} steps is NaN or infinite: "
            "choose another sampler, or run the model in another precision (bf16 or fp32)."
        )
    return end


def _rmse(x: Tensor, end: Tensor) -> list[float]:
    """RMS distance per latent element, of each sample; infinite where x is not a number."""
    distance = (x.double() - end.double()).flatten(1).square().mean(1).sqrt()
    return distance.nan_to_num(nan=math.inf, posinf=math.inf).tolist()
