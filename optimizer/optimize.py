"""The whole method: from a denoiser and a solver to the schedule with the least measured error.

1. References: fine-step end points from a few initial noises, a quarter of the budget.
2. Profile: squared differences of the denoiser along forward paths, a fifth.
3. Candidates: what the caller already has, shortest paths, the sweeps of the paper's Algorithm 1.
4. Choice: the candidates are run from the reference noises; the least end-point error wins.

The budget counts denoiser rows (one sample at one level) and is never exceeded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .candidates import checked_candidate, distinct, measured_candidates, paper_candidates
from .coordinate import VE, Coordinate, spread
from .klub import Levels, klub
from .meter import Meter
from .noise import SELECTION, generators, unit_noise
from .profile import Denoiser, Profile, measure_profile
from .select import Candidate, Score, halving
from .solvers import DETERMINISTIC_TWIN, REFERENCE, Solver, builtin_solver

__all__ = ["Result", "optimize"]

REFERENCE_SHARE = 0.25  # of the budget
PROFILE_SHARE = 0.20
FIRST_ROUND_SHARE = 0.5  # of what is left, for running every candidate on the first batch
PROFILE_LEVELS = 32
METHODS = ("measured", "paper")

Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Result:
    """The schedule found, and what was measured on the way.

    sigmas:          [n+1] levels in the host's units, ending in 0
    method:          name of the candidate that won
    scores:          every candidate that was run, best first, with its errors
    left_out:        given candidates that could not be used, with the reason
    profile:         the denoiser's profile, in EDM units
    calls:           denoiser rows computed, by phase
    noises:          number of initial noises the winner was run on
    reference_steps: steps of the reference runs
    reference_error: estimated RMS error of the references themselves; NaN if it was not measured
    """

    sigmas: Tensor
    method: str
    scores: list[Score]
    left_out: dict[str, str]
    profile: Profile
    calls: dict[str, int]
    noises: int
    reference_steps: int
    reference_error: float
    coordinate: Coordinate

    @property
    def total_calls(self) -> int:
        """All denoiser rows computed."""
        return sum(self.calls.values())

    @property
    def error(self) -> Score:
        """The winner's score."""
        return next(s for s in self.scores if s.candidate.name == self.method)

    def klub(self, sigmas: Tensor) -> float:
        """The KLUB of a schedule that ends in 0, scored to the lowest measured level instead."""
        highest, lowest = float(self.profile.sigmas[0]), float(self.profile.sigmas[-1])
        host = sigmas[:-1].double().numpy()
        if self.coordinate.top is not None:
            host = np.minimum(host, self.coordinate.top)
        levels = np.minimum(self.coordinate.edm(host), highest)
        above = levels[levels > lowest * (1.0 + 1e-6)]
        return klub(self.profile, np.append(above, lowest))


def optimize(
    denoise: Denoiser,
    shape: Sequence[int],
    *,
    sigma_max: float,
    sigma_min: float,
    steps: int,
    solver: str | Solver,
    samples: Tensor | None = None,
    candidates: Mapping[str, object] | Sequence[object] = (),
    budget: int = 4000,
    seed: int = 0,
    progress: Progress | None = None,
    method: str = "measured",
    starts: Mapping[str, Levels] | None = None,
    coordinate: Coordinate = VE,
    reference: Solver | None = None,
    order: int | None = None,
    batch_size: int = 16,
    meter: Meter | None = None,
) -> Result:
    """Find the schedule with which a solver comes closest to its own fine-step limit.

    Arguments:
        denoise: (x [B, ...], sigma [B]) -> E[x_0 | x], in EDM coordinates.
        shape: of one sample, without the batch.
        sigma_max, sigma_min: ends of the model's noise levels, in the host's units.
        steps: number of steps n >= 1.
        solver: name of a built-in solver, or a Solver. A stochastic built-in one is judged by its
            deterministic twin. A Solver may say `calls_per_step` (1 if not).
        samples: x_0 [N, ...] for the profile; None: the end points of the reference runs.
        candidates: schedules in the host's units that must not be beaten, by name or in order.
        budget: denoiser rows to spend at most.
        seed: the same seed gives the same result.
        progress: called as progress(phase, rows so far).
        method: "measured", the whole method; "paper", the paper's procedure alone with its early
            stop by the measured error.
        starts: EDM levels [n+1] by name from which Algorithm 1 starts beside EDM's; for "paper"
            the first of them, of 10 steps, replaces EDM's.
        coordinate: the map between host and EDM levels.
        reference: solver of the reference runs; None: the built-in one's own choice, or `solver`.
        order: of the solver, 1 or 2; None: known for built-in ones, else 2.
        batch_size: rows of a call at most.
        meter: the meter that `denoise` and `solver` already pass through; None: one is made for
            the built-in solvers, and a Solver's runs are charged calls_per_step a step.

    Raises ValueError for arguments out of range, DenoiserError for a model that returns NaN,
    infinities or another shape.

    Example: the ideal denoiser of Gaussian data.

    >>> from align_your_steps.optimizer import gaussian, optimize
    >>> result = optimize(gaussian.denoise, (4,), sigma_max=10.0, sigma_min=0.1, steps=4,
    ...                   solver="euler", budget=1500)
    >>> len(result.sigmas), float(result.sigmas[-1]), result.total_calls <= 1500
    (5, 0.0, True)
    """
    _check(steps, sigma_max, sigma_min, budget, method)
    run = _Runs(denoise, solver, reference, meter, steps, budget, progress)
    plan = _plan(budget, steps, run.calls_per_step, batch_size)
    t_max = float(coordinate.edm(np.asarray(min(sigma_max, coordinate.top or sigma_max))))
    t_min = float(coordinate.edm(np.asarray(sigma_min)))

    fine = coordinate.level(spread(t_max, t_min, plan.reference_steps))
    fine[0] = sigma_max
    noises = [
        unit_noise(generators(seed, SELECTION, rows), shape)
        for rows in np.arange(plan.batches * plan.batch).reshape(plan.batches, plan.batch).tolist()
    ]
    ends, reference_error = run.references(noises, torch.from_numpy(np.append(fine, 0.0)), seed)

    x_0 = torch.cat(ends) if samples is None else samples
    x_0 = x_0[torch.arange(plan.paths) % len(x_0)]
    profile = run.profile(x_0, spread(t_max, t_min, plan.levels), seed, plan.batch)

    pool, left_out = _given(candidates, steps, sigma_max)
    begin = {name: np.asarray(levels, dtype=np.float64) for name, levels in (starts or {}).items()}
    if method == "paper":
        found = paper_candidates(profile, steps, coordinate, sigma_max, starts=begin)
    else:
        found = measured_candidates(
            profile,
            steps,
            coordinate,
            sigma_max,
            starts=begin,
            order=order or (1 if solver in ("euler", "ddim_stochastic") else 2),
        )
    room = max(len(pool) + 1, int(FIRST_ROUND_SHARE * run.left / run.cost(plan.batch)))
    for candidate in found:
        if len(pool) >= room:
            break
        if distinct(candidate, pool):
            pool.append(candidate)

    def errors(candidate: Candidate, batch: int) -> list[float] | None:
        return run.errors(candidate.sigmas, noises[batch], ends[batch], seed, batch)

    winner, scores = halving(pool, plan.batches, errors)
    if method == "paper":
        ours = [s for s in scores if not s.candidate.given and s.errors]
        winner = min(ours, key=lambda s: (-len(s.errors), s.mean))
    return Result(
        sigmas=winner.candidate.sigmas,
        method=winner.candidate.name,
        scores=sorted((s for s in scores if s.errors), key=lambda s: (-len(s.errors), s.mean)),
        left_out=left_out,
        profile=profile,
        calls=run.spent,
        noises=len(winner.errors),
        reference_steps=plan.reference_steps,
        reference_error=reference_error,
        coordinate=coordinate,
    )


def _check(steps: int, sigma_max: float, sigma_min: float, budget: int, method: str) -> None:
    if steps < 1:
        raise ValueError(f"steps was {steps}: a schedule has at least 1 step.")
    if not (0.0 < sigma_min < sigma_max < float("inf")):
        raise ValueError(
            f"sigma_min was {sigma_min:g} and sigma_max {sigma_max:g}: give "
            "0 < sigma_min < sigma_max."
        )
    if method not in METHODS:
        raise ValueError(f"method was '{method}': choose one of {list(METHODS)}.")


def _given(
    candidates: Mapping[str, object] | Sequence[object], steps: int, sigma_max: float
) -> tuple[list[Candidate], dict[str, str]]:
    """The caller's schedules that can be run, and why the others cannot."""
    if not isinstance(candidates, Mapping):
        candidates = {f"candidate {k}": levels for k, levels in enumerate(candidates)}
    pool: list[Candidate] = []
    left_out = {}
    for name, levels in candidates.items():
        try:
            pool.append(checked_candidate(name, levels, steps, sigma_max))
        except (ValueError, TypeError) as error:
            left_out[name] = str(error)
    return pool, left_out


@dataclass(frozen=True)
class _Plan:
    """How a budget is spent; counts of noises and paths are multiples of the batch."""

    reference_steps: int
    batch: int
    batches: int
    levels: int
    paths: int


def _plan(budget: int, steps: int, calls_per_step: int, batch_size: int) -> _Plan:
    """Shares of the budget, rounded down to whole batches.

    Raises ValueError when the budget does not allow one noise, one path and three runs.
    """
    # 6 times the steps leave a second-order reference about 1/36 of the error that is measured.
    reference_steps = max(48, 6 * steps)
    reference_rows = reference_steps * calls_per_step
    least = reference_rows + PROFILE_LEVELS + 3 * steps * calls_per_step
    if budget < least:
        raise ValueError(
            f"The budget was {budget} calls: at {steps} steps at least {least} are needed for one "
            "reference, one profile path and three runs."
        )
    noises = max(1, int(REFERENCE_SHARE * budget / reference_rows))
    batch = min(max(1, noises // 4), batch_size)
    paths = max(1, int(PROFILE_SHARE * budget / PROFILE_LEVELS / batch)) * batch
    return _Plan(reference_steps, batch, noises // batch, PROFILE_LEVELS, paths)


class _Runs:
    """Solver runs and profile paths through one meter, within one budget."""

    def __init__(
        self,
        denoise: Denoiser,
        solver: str | Solver,
        reference: Solver | None,
        meter: Meter | None,
        steps: int,
        budget: int,
        progress: Progress | None,
    ):
        self.budget, self.steps, self.progress = budget, steps, progress
        self.meter = meter or Meter()
        self.spent: dict[str, int] = {}
        self.charged = 0  # rows of a Solver that passes through no meter of ours
        self.denoise = denoise
        self.calls_per_step = getattr(solver, "calls_per_step", 2 if solver == "heun" else 1)
        self.assumed = 0 if isinstance(solver, str) or meter else self.calls_per_step
        if meter is None:
            self.denoise = self._metered
        self._bare = denoise
        if isinstance(solver, str):
            name = DETERMINISTIC_TWIN.get(solver, solver)
            self.solver = builtin_solver(name, self.denoise)
            self.reference = reference or builtin_solver(REFERENCE[name], self.denoise)
        else:
            self.solver, self.reference = solver, reference or solver

    @property
    def rows(self) -> int:
        """Denoiser rows spent so far."""
        return self.meter.rows + self.charged

    @property
    def left(self) -> int:
        """Denoiser rows left of the budget."""
        return self.budget - self.rows

    def cost(self, batch: int) -> int:
        """Rows that a run of one schedule on one batch takes at most."""
        return self.steps * self.calls_per_step * batch

    def references(
        self, noises: list[Tensor], fine: Tensor, seed: int
    ) -> tuple[list[Tensor], float]:
        """Fine-step end points of every batch, and an estimate of their own error.

        The estimate is Richardson's, from a run with half the steps on the first batch, for a
        second-order solver: |x_N - x_{N/2}| / 3.
        """
        ends = []
        for k, noise in enumerate(noises):
            self.meter.forget()
            ends.append(self._run("reference", self.reference, noise, fine, seed + k))
        self.meter.forget()
        half = torch.cat([fine[:-1:2], fine[-1:]])
        if (len(half) - 1) * self.calls_per_step * len(noises[0]) > 0.05 * self.budget:
            return ends, float("nan")
        coarse = self._run("reference", self.reference, noises[0], half, seed)
        return ends, sum(_rmse(coarse, ends[0])) / len(noises[0]) / 3.0

    def profile(self, x_0: Tensor, sigmas: np.ndarray, seed: int, batch: int) -> Profile:
        """The profile on the given samples."""
        self.meter.forget()
        before = self.rows
        remember, self.meter.remember = self.meter.remember, False
        try:
            return measure_profile(
                self.denoise,
                x_0,
                torch.from_numpy(sigmas),
                seed=seed,
                batch_size=batch,
                progress=lambda _: self._tell("profile"),
            )
        finally:
            self.meter.remember = remember
            self.spent["profile"] = self.rows - before

    def errors(
        self, sigmas: Tensor, noise: Tensor, end: Tensor, seed: int, batch: int
    ) -> list[float] | None:
        """RMS distance per element to the reference, per noise; None when the budget is spent."""
        if self.cost(len(noise)) > self.left:
            return None
        if batch != getattr(self, "_batch", None):
            self.meter.forget()
            self._batch = batch
        return _rmse(self._run("candidates", self.solver, noise, sigmas, seed + batch), end)

    def _run(self, phase: str, solver: Solver, noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        before = self.rows
        x_0 = solver(noise, sigmas.float(), seed)
        self.charged += self.assumed * (len(sigmas) - 1) * len(noise)
        self.spent[phase] = self.spent.get(phase, 0) + self.rows - before
        if x_0.shape != noise.shape:
            raise ValueError(
                f"The solver returned shape {list(x_0.shape)} for noise of shape "
                f"{list(noise.shape)}: it must return end points of the same shape."
            )
        self._tell(phase)
        return x_0

    def _tell(self, phase: str) -> None:
        if self.progress is not None:
            self.progress(phase, self.rows)

    def _metered(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.meter(x, float(sigma[0]), lambda: self._bare(x, sigma))


def _rmse(x: Tensor, end: Tensor) -> list[float]:
    """RMS distance per latent element, of each sample."""
    distance = (x.double() - end.double()).flatten(1).square().mean(1).sqrt()
    return [float(value) for value in distance]
