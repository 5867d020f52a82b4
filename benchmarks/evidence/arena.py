"""One network with one guidance scale and one seed: all that its cells share.

The seed draws the class that is painted, all noise, and the whole of every procedure that makes a
schedule. Schedules are run from held-out noise, which none of them has seen, and compared by

    paired            mean RMS distance to the fine-step picture of the same noise; of a stochastic
                      solver's deterministic twin
    energy, mmd       in pixels, to fine-step pictures of independent noise
    feature energy, feature mmd, frechet
                      the same, and the Fréchet distance, in the last hidden layer of a classifier
    frechet to data   of what is not guided: to real pictures of the class, unseen by training

Fine-step pictures are those of the same network with the same guidance: of its ODE, or for a
stochastic solver of its own process, whose limits differ where a denoiser is not ideal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...optimizer import Denoiser, Known, Result, builtin_solver, optimize
from ...optimizer.diffusion.coordinate import spread
from ...optimizer.diffusion.solvers import DETERMINISTIC_TWIN, Solver, reference_solver
from ...schedules.curves import time_uniform
from ..edm import CLASSES, guided
from ..metrics import (
    end_point_errors,
    energy_distance,
    frechet_distance,
    median_distance,
    mmd2,
)
from ..peers import GITS_TRAJECTORIES, Found, Gits, fixed, oss
from ..problems import TABLE
from .features import Classifier, classifier
from .networks import NETWORKS

__all__ = ["FIXED", "FLOOR", "KLUB", "MEASURES", "OURS", "PEERS", "Arena", "judge_of"]

OURS, KLUB, FLOOR = "ours", "KLUB", "many steps"
PEERS = (KLUB, "GITS", "OSS")
FIXED = tuple(fixed(10, TABLE))
MEASURES = (
    "paired", "energy", "mmd", "frechet", "feature energy", "feature mmd", "frechet to data",
)  # fmt: skip

# Streams of noise: none of them is one that `optimize` draws from.
HELD_OUT, TRUTH, GITS_NOISE, OSS_NOISE, FRESH = range(2_000_003, 2_000_008)
FINE, FINE_STOCHASTIC = 80, 100  # steps of the third-order ODE solver and of dpmpp_2m_sde
BUDGET = 4000  # calls of an optimisation
CHECKED = 16  # noises that the references' own error is estimated on


def judge_of(solver: str) -> str:
    """The deterministic solver of whose errors a schedule for a solver is made."""
    return DETERMINISTIC_TWIN.get(solver, solver)


class Arena:
    """Noise, references, pictures to compare with, peers; everything is made at first use.

    denoise, shape, noises, truths: another denoiser, shape of a picture, number of held-out noises
    or of pictures to compare with than the network's own
    """

    def __init__(
        self,
        network: str,
        scale: float,
        seed: int,
        *,
        denoise: Denoiser | None = None,
        shape: tuple[int, ...] | None = None,
        noises: int | None = None,
        truths: int | None = None,
    ) -> None:
        self.name, self.scale, self.seed = network, scale, seed
        self.network = NETWORKS[network]
        self.denoise = denoise or guided(self.network.load(), seed % CLASSES, scale)
        self.shape = shape or self.network.shape
        self.noises = noises or self.network.noises
        self.truths = truths or self.network.truths
        self._truths: dict[bool, Tensor] = {}
        self._compared: dict[bool, tuple[Tensor, Tensor, float, float]] = {}
        self._results: dict[tuple[str, int, str], Result] = {}
        self._oss: dict[int, Found] = {}
        self._ends: dict[tuple[str, tuple[float, ...]], Tensor] = {}

    def noise(self, count: int, stream: int) -> Tensor:
        """Unit noise [count, ...] of a stream."""
        source = torch.Generator().manual_seed(stream + 1_000_000 * self.seed)
        return torch.randn(count, *self.shape, generator=source)

    @cached_property
    def held_out(self) -> Tensor:
        """The initial noise that schedules are compared on."""
        return self.noise(self.noises, HELD_OUT)

    def fine(self, noise: Tensor, stochastic: bool, steps: int | None = None) -> Tensor:
        """End points of many small steps."""
        count = steps or (FINE_STOCHASTIC if stochastic else FINE)
        levels = np.append(spread(TABLE.sigma_max, TABLE.sigma_min, count), 0.0)
        solver: Solver = (
            builtin_solver("dpmpp_2m_sde", self.denoise)
            if stochastic
            else reference_solver(self.denoise)
        )
        return solver(noise, torch.from_numpy(levels).float(), self.seed + FRESH)

    @cached_property
    def reference(self) -> Tensor:
        """Return where the held-out noise leads with fine steps."""
        return self.fine(self.held_out, False)

    @cached_property
    def reference_error(self) -> float:
        """Mean RMS distance of some references to those of twice the steps."""
        finer = self.fine(self.held_out[:CHECKED], False, 2 * FINE)
        return float(end_point_errors(self.reference[:CHECKED], finer).mean())

    def truth(self, stochastic: bool) -> Tensor:
        """Fine-step pictures of independent noise."""
        if stochastic not in self._truths:
            noise = self.noise(self.truths, TRUTH)
            self._truths[stochastic] = self.fine(noise, stochastic)
        return self._truths[stochastic]

    # -- schedules --------------------------------------------------------------------------

    @cached_property
    def gits(self) -> Gits:
        """GITS, its costs measured."""
        noise = self.noise(GITS_TRAJECTORIES, GITS_NOISE)
        return Gits(self.denoise, noise, TABLE)

    def oss(self, steps: int) -> Found:
        """OSS, which serves every solver."""
        if steps not in self._oss:
            noise = self.noise(self.network.oss_noises, OSS_NOISE)
            self._oss[steps] = oss(self.denoise, noise, steps, TABLE)
        return self._oss[steps]

    def result(self, solver: str, steps: int, method: str = "measured") -> Result:
        """Our optimisation, or the paper's procedure with its early stop by the measured error."""
        judged = judge_of(solver) if method == "paper" else solver  # whose error stops it
        key = judged, steps, method
        if key not in self._results:
            self._results[key] = self.optimized(judged, steps, method=method)
        return self._results[key]

    def optimized(
        self, solver: str, steps: int, budget: int = BUDGET, method: str = "measured"
    ) -> Result:
        """An optimisation, made anew."""
        paper = method == "paper"
        found = optimize(
            self.denoise,
            self.shape,
            sigma_max=TABLE.sigma_max,
            sigma_min=TABLE.sigma_min,
            steps=steps,
            solver=solver,
            candidates={} if paper else dict(fixed(steps, TABLE)),
            known=Known(starts={"time-uniform": time_uniform(10 if paper else steps, TABLE)}),
            budget=budget,
            seed=self.seed,
            method=method,
        )
        return dataclasses.replace(found, surrogate=None)  # large, and not needed

    def ours(self, solver: str, steps: int) -> dict[str, Found]:
        """Our schedule alone."""
        result = self.result(solver, steps)
        return {OURS: Found(result.sigmas, result.total_calls)}

    def schedules(self, solver: str, steps: int, *, peers: bool = True) -> dict[str, Found]:
        """Every schedule that is compared, with the calls that it took."""
        return {
            **self.ours(solver, steps),
            **(self.theirs(solver, steps) if peers else {}),
            **{name: Found(sigmas, 0) for name, sigmas in fixed(steps, TABLE).items()},
        }

    def theirs(self, solver: str, steps: int) -> dict[str, Found]:
        """The schedules of the PEERS."""
        paper = self.result(solver, steps, method="paper")
        return {
            KLUB: Found(paper.sigmas, paper.total_calls),
            "GITS": self.gits.schedule(steps, "l2"),
            "OSS": self.oss(steps),
        }

    def error(self, solver: str, sigmas: Tensor) -> float:
        """The paired error alone."""
        ends = self.ends(judge_of(solver), sigmas)
        return float(end_point_errors(ends, self.reference).mean())

    # -- measures ---------------------------------------------------------------------------

    def ends(self, solver: str, sigmas: Tensor) -> Tensor:
        """Ends of the held-out noise with a schedule; kept, for other solvers' measures."""
        key = solver, tuple(sigmas.tolist())
        if key not in self._ends:
            run = builtin_solver(solver, self.denoise)
            self._ends[key] = run(self.held_out, sigmas, self.seed + HELD_OUT)
        return self._ends[key]

    def forget(self) -> None:
        """Drop the end points that are kept."""
        self._ends.clear()

    def measure(self, solver: str, schedules: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
        """All MEASURES of every schedule, and of many steps."""
        stochastic = solver in DETERMINISTIC_TWIN
        found = {}
        for name, sigmas in schedules.items():
            errors = end_point_errors(self.ends(judge_of(solver), sigmas), self.reference)
            found[name] = {
                "paired": float(errors.mean()),
                "paired standard error": float(errors.std() / len(errors) ** 0.5),
                **self._distances(self.ends(solver, sigmas), stochastic),
            }
        many = self.fine(self.held_out, True) if stochastic else self.reference
        found[FLOOR] = {"paired": 0.0, **self._distances(many, stochastic)}
        return found

    def _distances(self, x: Tensor, stochastic: bool) -> dict[str, float]:
        truth, seen, width, feature_width = self._compared_with(stochastic)
        features = self._features(x)
        found = {
            "energy": energy_distance(x, truth).value,
            "mmd": mmd2(x, truth, width),
            "frechet": frechet_distance(features, seen),
            "feature energy": energy_distance(features, seen).value,
            "feature mmd": mmd2(features, seen, feature_width),
        }
        if self.scale == 1.0 and len(self._real) > 1:
            found["frechet to data"] = frechet_distance(features, self._real)
        return found

    def _compared_with(self, stochastic: bool) -> tuple[Tensor, Tensor, float, float]:
        """Fine-step pictures, their features, and the widths of the kernels for both."""
        if stochastic not in self._compared:
            truth = self.truth(stochastic)
            seen = self._features(truth)
            widths = median_distance(truth), median_distance(seen)
            self._compared[stochastic] = truth, seen, *widths
        return self._compared[stochastic]

    @cached_property
    def _real(self) -> Tensor:
        return self._features(self.network.real(self.seed % CLASSES))

    @cached_property
    def _classifier(self) -> Classifier:
        return classifier(self.name)

    @torch.no_grad()
    def _features(self, x: Tensor) -> Tensor:
        return self._classifier.features(x)
