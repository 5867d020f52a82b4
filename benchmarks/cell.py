"""One cell of the benchmark: every method's schedule for one problem, solver and step count.

All schedules are run from the same held-out noise, which no method has seen, and are compared with
fine-step end points from that noise. For a stochastic solver these runs are its deterministic
twin's; its own samples, all from the same noise again, are compared by their distribution.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..optimizer import Known, Result, builtin_solver, optimize
from ..optimizer.diffusion.coordinate import spread
from ..optimizer.diffusion.solvers import DETERMINISTIC_TWIN
from ..schedules.curves import time_uniform
from .metrics import (
    end_point_errors,
    energy_difference,
    energy_distance,
    gaussian_kl,
    gaussian_w2,
    output_variances,
    paired,
    sliced_w2,
)
from .oracle import oracle
from .peers import GITS_TRAJECTORIES, OSS_NOISES, Found, Gits, fixed, oss
from .problems import TABLE, Problem, problem

__all__ = ["BESIDE", "ORACLE", "OURS", "PUBLISHED", "Arena", "measure"]

OURS, PUBLISHED, ORACLE = "ours", "AYS SD1.5", "oracle"
BESIDE = ("fixed", "peers", "oracle")  # each with those before it; the oracle: exact denoisers
FINE = 300  # steps of the reference
TOLERATED = 1.01  # times the error of another schedule

# Streams of noise: none of them is one that `optimize` draws from.
HELD_OUT, TRUTH, GITS_NOISE, OSS_NOISE, DIRECTIONS, ORACLE_NOISE = range(1_000_003, 1_000_009)
ORACLE_NOISES = 256


class Arena:
    """A problem with all that its cells share: noise, references, true samples, the peers."""

    def __init__(self, name: str, seed: int, noises: int | None = None):
        self.problem: Problem = problem(name, seed)
        self.seed = seed
        self.count = noises or self.problem.noises
        self._truths: dict[bool, Tensor] = {}
        self._oss: dict[int, Found] = {}

    def noise(self, count: int, stream: int) -> Tensor:
        """Unit noise [count, ...] of a stream."""
        source = torch.Generator().manual_seed(stream + 1_000_000 * self.seed)
        return torch.randn(count, *self.problem.shape, generator=source)

    @cached_property
    def held_out(self) -> Tensor:
        """The initial noise that schedules are compared on."""
        return self.noise(self.count, HELD_OUT)

    @cached_property
    def reference(self) -> Tensor:
        """Return where it leads with fine steps: the limit of every deterministic solver."""
        return self.fine("dpmpp_2m", self.held_out)

    @cached_property
    def reference_error(self) -> float:
        """Mean RMS error of the reference, by Richardson's estimate for a second-order solver."""
        part = slice(0, 64)
        coarse = self.fine("dpmpp_2m", self.held_out[part], FINE // 2)
        return float(end_point_errors(coarse, self.reference[part]).mean()) / 3.0

    @cached_property
    def gits(self) -> Gits:
        """GITS, its costs measured."""
        noise = self.noise(GITS_TRAJECTORIES, GITS_NOISE)
        return Gits(self.problem.denoise, noise, TABLE)

    def oss(self, steps: int) -> Found:
        """OSS, which serves every solver."""
        if steps not in self._oss:
            noise = self.noise(OSS_NOISES, OSS_NOISE)
            self._oss[steps] = oss(self.problem.denoise, noise, steps, TABLE)
        return self._oss[steps]

    @cached_property
    def training(self) -> tuple[Tensor, Tensor]:
        """The oracle's noise, and where it leads with fine steps."""
        noise = self.noise(ORACLE_NOISES, ORACLE_NOISE)
        return noise, self.fine("dpmpp_2m", noise)

    def fine(self, solver: str, noise: Tensor, steps: int = FINE) -> Tensor:
        """End points of many small steps."""
        levels = np.append(spread(TABLE.sigma_max, TABLE.sigma_min, steps), 0.0)
        solve = builtin_solver(solver, self.problem.denoise)
        return solve(noise, torch.from_numpy(levels).float(), self.seed + TRUTH)

    def truth(self, stochastic: bool) -> tuple[Tensor, Tensor]:
        """Two independent sets of true samples, as many each as there is held-out noise.

        Where the truth is not known they are fine-step samples: of the stochastic or of the
        deterministic process, whose limits differ for a denoiser that is not ideal.
        """
        if self.problem.sample is not None:
            stochastic = False
        if stochastic not in self._truths:
            if self.problem.sample is not None:
                samples = self.problem.sample(2 * self.count, self.seed + TRUTH)
            else:
                solver = "dpmpp_2m_sde" if stochastic else "dpmpp_2m"
                samples = self.fine(solver, self.noise(2 * self.count, TRUTH))
            self._truths[stochastic] = samples
        first, second = self._truths[stochastic].split(self.count)
        return first, second


def measure(
    arena: Arena, solver: str, steps: int, budget: int, beside: str = "peers"
) -> dict[str, Any]:
    """One cell: plain numbers, ready for JSON.

    beside: what ours is compared with, one of BESIDE. The peers and the oracle have budgets of
        their own, so "fixed" is all that another budget needs; it measures paired errors alone.
    """
    began = time.perf_counter()
    ours, how = _optimised(arena, solver, steps, budget)
    found = {OURS: Found(ours.sigmas, ours.total_calls)}
    if beside != "fixed":
        found |= _peers(arena, solver, steps, budget)
    schedules = fixed(steps, TABLE) | {name: one.sigmas for name, one in found.items()}
    optimised = time.perf_counter() - began
    twin = builtin_solver(DETERMINISTIC_TWIN.get(solver, solver), arena.problem.denoise)
    if beside == "oracle" and arena.problem.exact:
        schedules[ORACLE] = oracle(twin, *arena.training, starts=schedules)

    ends = {name: twin(arena.held_out, sigmas, 0) for name, sigmas in schedules.items()}
    errors = {name: end_point_errors(end, arena.reference) for name, end in ends.items()}
    methods: dict[str, dict[str, Any]] = {
        name: {
            "error": float(errors[name].mean()),
            "standard_error": float(errors[name].std() / len(errors[name]) ** 0.5),
            "calls": found[name].calls if name in found else 0,
            "sigmas": [float(f"{level:.6g}") for level in sigmas],
        }
        for name, sigmas in schedules.items()
    }
    cell = {
        "guided": arena.problem.guided,
        "high_dimensional": arena.problem.high_dimensional,
        "noises": arena.count,
        "how": how,
        "best_fixed": min(fixed(steps, TABLE), key=lambda name: methods[name]["error"]),
        "methods": methods,
        "against": {name: _against(errors[OURS], errors[name]) for name in errors if name != OURS},
        "reference_error": arena.reference_error,
    }
    if beside != "fixed":
        _add_distributions(cell, arena, solver, schedules, ends)
    cell["seconds"] = {
        "ours": how.pop("seconds"),
        "schedules": optimised,
        "cell": time.perf_counter() - began,
    }
    return cell


def _common(arena: Arena, solver: str, steps: int, budget: int) -> dict[str, Any]:
    """Return what every optimisation of a cell is given."""
    return {
        "denoise": arena.problem.denoise,
        "shape": arena.problem.shape,
        "sigma_max": TABLE.sigma_max,
        "sigma_min": TABLE.sigma_min,
        "steps": steps,
        "solver": solver,
        "budget": budget,
        "seed": arena.seed,
    }


def _optimised(arena: Arena, solver: str, steps: int, budget: int) -> tuple[Result, dict[str, Any]]:
    """Our schedule, and how it came about."""
    began = time.perf_counter()
    ours = optimize(
        candidates=dict(fixed(steps, TABLE)),
        known=Known(starts={"time-uniform": time_uniform(steps, TABLE)}),
        **_common(arena, solver, steps, budget),
    )
    return ours, {
        "method": ours.method,
        "noises": ours.noises,
        "calls": dict(ours.calls),
        "seconds": time.perf_counter() - began,
    }


def _peers(arena: Arena, solver: str, steps: int, budget: int) -> dict[str, Found]:
    """The schedules of other methods that optimise."""
    paper = optimize(
        method="paper",
        # Its stages begin with 10 steps.
        known=Known(starts={"time-uniform": time_uniform(10, TABLE)}),
        **_common(arena, solver, steps, budget),
    )
    return {
        "KLUB": Found(paper.sigmas, paper.total_calls),
        "GITS": arena.gits.schedule(steps, "l2"),
        "GITS dev": arena.gits.schedule(steps, "dev"),
        "OSS": arena.oss(steps),
    }


def _against(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Errors compared on the same noise.

    ratio, z:    of the paired errors, z of their difference
    z_tolerated: z of the difference to TOLERATED times the other's error
    """
    both = paired(ours, theirs)
    return {"ratio": both.ratio, "z": both.z, "z_tolerated": paired(ours, TOLERATED * theirs).z}


def _add_distributions(
    cell: dict[str, Any],
    arena: Arena,
    solver: str,
    schedules: dict[str, Tensor],
    ends: dict[str, Tensor],
) -> None:
    """Compare the distributions of the solver's samples, energy distances with standard errors.

    ends: the deterministic twin's, which are a deterministic solver's own
    """
    methods, against = cell["methods"], cell["against"]
    denoise, variances = arena.problem.denoise, arena.problem.variances
    stochastic = solver in DETERMINISTIC_TWIN
    if stochastic:
        sampler = builtin_solver(solver, denoise)
        ends = {name: sampler(arena.held_out, s, HELD_OUT) for name, s in schedules.items()}
    truth, second = arena.truth(stochastic)
    energies = {name: energy_distance(end, truth) for name, end in ends.items()}
    for name, sigmas in schedules.items():
        methods[name]["energy"] = energies[name].value
        if variances is not None:
            got = output_variances(solver, denoise, sigmas, len(variances))
            methods[name] |= {"kl": gaussian_kl(variances, got), "w2": gaussian_w2(variances, got)}
    for name, compared in against.items():
        energy, error = energy_difference(energies[OURS], energies[name])
        compared |= {"energy": energy, "energy_z": energy / error if error > 0 else 0.0}
    for name in (OURS, cell["best_fixed"], PUBLISHED):
        methods[name]["sliced_w2"] = sliced_w2(ends[name], truth, DIRECTIONS)
    cell["floor"] = {
        "energy": energy_distance(second, truth).value,
        "sliced_w2": sliced_w2(second, truth, DIRECTIONS),
    }
