"""Calibrated samplers against the best pair of textbook sampler and curve in hindsight.

    python -m align_your_steps.benchmarks.calibrated mixtures --budgets 500 1000 4000
    python -m align_your_steps.benchmarks.calibrated networks | flow | half | interval
    python -m align_your_steps.benchmarks.calibrated mixtures --tuning   # the plan was made on them

A cell is a problem, a number of steps and a budget, of which every call of a calibration counts:
references, fit and race. Pairs are the six samplers of `multistep.TEXTBOOK` × the host's and the
published curves. The best in hindsight is that of least mean error on the very noises that all are
compared on. Of a cell

    ratio     mean error over the best pair's
    median    of the same ratio, seed by seed
    improved  share of the seeds with a smaller error

TUNING problems were used to choose the constants of optimizer/calibrate.py, TEST problems were not:
other seeds, sizes, spectra and conditions.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..optimizer import FLOW, Denoiser
from ..optimizer.calibrate import Calibrated, calibrate
from ..optimizer.coordinate import spread
from ..optimizer.multistep import TEXTBOOK, Multistep, textbook
from ..optimizer.noise import SELECTION, generators, unit_noise
from ..schedules.curves import flow_table, simple
from .edm import CLASSES, guided
from .metrics import end_point_errors
from .mixture import Mixture
from .peers import fixed
from .problems import TABLE, digits_mixture

__all__ = ["TEST", "TUNING", "Bench", "Case", "LocalLab"]

HELD_OUT = 3_000_003  # a stream that no calibration draws from
FINE = 200  # steps of the references that all are compared with
NOISES = 512
STEPS = (5, 8, 12)
BUDGETS = (500, 1000, 4000)
SHIFTS = (1.0, 2.0, 3.0, 5.0)


@dataclasses.dataclass(frozen=True)
class Case:
    """A mixture: "power exponent", "isotropic" or "digits", and the guidance scale."""

    kind: str
    dim: int
    components: int
    scale: float
    seed: int

    @property
    def name(self) -> str:
        """The case, for a table."""
        return f"{self.kind} {self.dim} cfg {self.scale:g}"

    def denoiser(self) -> Denoiser:
        """The exact denoiser; guided toward the first quarter of the components, or one class."""
        mixture, condition = self._mixture()
        if self.scale == 1.0:
            return lambda x, sigma: mixture.denoise(x, sigma)
        return lambda x, sigma: mixture.guided(x, sigma, condition, mixture.weights, self.scale)

    def _mixture(self) -> tuple[Mixture, Tensor]:
        if self.kind == "digits":
            return digits_mixture(self.seed)
        first = torch.arange(self.components) < max(1, self.components // 4)
        condition = first.double() / first.sum()
        if self.kind == "isotropic":
            return Mixture.random(self.dim, self.components, self.seed), condition
        source = torch.Generator().manual_seed(self.seed)
        index = torch.arange(1, self.dim + 1, dtype=torch.float64)
        spread_of = (4.0 / index ** float(self.kind.split()[1])).sqrt()
        e = torch.randn(self.components, self.dim, generator=source, dtype=torch.float64)
        stds = 0.1 + 0.2 * torch.rand(self.components, generator=source, dtype=torch.float64)
        return Mixture(e * spread_of, stds, torch.ones_like(stds) / self.components), condition


TUNING = (
    Case("power 1", 64, 16, 1, 0), Case("power 1", 160, 32, 1, 1), Case("power 1", 160, 32, 4, 2),
    Case("power 0.6", 256, 24, 1, 3), Case("power 0.6", 128, 24, 7, 4),
    Case("power 1.4", 256, 32, 5, 5), Case("isotropic", 128, 12, 1, 6),
    Case("isotropic", 64, 20, 4, 7),
)  # fmt: skip
TEST = (
    Case("power 0.8", 64, 24, 1, 101), Case("power 1.2", 96, 20, 4, 102),
    Case("power 1", 192, 40, 1, 103), Case("power 0.8", 320, 32, 5, 104),
    Case("power 1.2", 512, 48, 1, 105), Case("power 1", 512, 24, 7, 106),
    Case("isotropic", 96, 16, 1, 107), Case("isotropic", 256, 32, 4, 108),
    Case("digits", 64, 60, 1, 109), Case("digits", 64, 60, 5, 113),
)  # fmt: skip


class LocalLab:
    """A calibration's surroundings without a host: counts rows, keeps to a budget, recalls nothing.

    rounded: precision that outputs are rounded to; None: as they are
    """

    def __init__(
        self,
        denoise: Denoiser,
        shape: tuple[int, ...],
        seed: int,
        budget: int,
        dtype: torch.dtype = torch.float64,
        rounded: torch.dtype | None = None,
        batch_size: int = 16,
    ):
        self.model, self.shape, self.seed, self.budget = denoise, shape, seed, budget
        self.dtype, self.rounded, self.batch_size = dtype, rounded, batch_size
        self.rows = 0

    def noise(self, indices: range) -> Tensor:
        """Unit noises by their numbers."""
        noise = unit_noise(generators(self.seed, SELECTION, indices), self.shape)
        return noise.to(self.dtype)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The model's answer; every row is counted."""
        self.rows += len(x)
        D = self.model(x, sigma)
        return D if self.rounded is None else D.to(self.rounded).to(D)

    def fits(self, rows: int) -> bool:
        """Whether so many more rows stay within the budget."""
        return self.rows + rows <= self.budget

    def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Measured anew."""
        return measure()


class Bench:
    """A model with held-out noise, its fine ends, and the errors of all pairs.

    curves: (steps) -> EDM levels by name
    """

    def __init__(
        self,
        name: str,
        denoise: Denoiser,
        shape: tuple[int, ...],
        curves: Callable[[int], dict[str, list[float]]],
        ends: tuple[float, float],
        seed: int = 0,
        noises: int = NOISES,
        dtype: torch.dtype = torch.float64,
    ):
        self.name, self.denoise, self.shape, self.seed = name, denoise, shape, seed
        self.curves, self.ends, self.dtype = curves, ends, dtype
        source = torch.Generator().manual_seed(HELD_OUT + 1_000_000 * seed)
        self.noise = torch.randn(noises, *shape, generator=source).to(dtype)
        self._pairs: dict[int, dict[str, Tensor]] = {}

    @cached_property
    def reference(self) -> Tensor:
        """Where the held-out noise leads with fine steps."""
        fine = [*spread(*self.ends, FINE), 0.0]
        return self._ends(textbook("exponential_3", fine))

    def _ends(self, sampler: Multistep) -> Tensor:
        return torch.cat([sampler(self.denoise, part) for part in self.noise.split(256)])

    def errors(self, sampler: Multistep) -> Tensor:
        """RMS errors of a sampler, seed by seed."""
        return end_point_errors(self._ends(sampler), self.reference)

    def pairs(self, steps: int) -> dict[str, Tensor]:
        """Those of every textbook sampler on every curve."""
        if steps not in self._pairs:
            self._pairs[steps] = {
                f"{name} {curve}": self.errors(textbook(name, levels))
                for curve, levels in self.curves(steps).items()
                for name in TEXTBOOK
            }
        return self._pairs[steps]

    def best(self, steps: int) -> tuple[str, Tensor]:
        """The pair of least mean error in hindsight."""
        pairs = self.pairs(steps)
        name = min(pairs, key=lambda name: float(pairs[name].mean()))
        return name, pairs[name]

    def calibrated(
        self, steps: int, budget: int, seed: int = 0, rounded: torch.dtype | None = None
    ) -> tuple[Calibrated, int]:
        """A calibration, and the calls that it took."""
        lab = LocalLab(self.denoise, self.shape, seed, budget, self.dtype, rounded)
        found = calibrate(lab, self.curves(steps), budget=budget, lowest=self.ends[1])
        assert lab.rows <= budget, f"{lab.rows} calls were made of {budget}."
        return found, lab.rows

    def cell(
        self, steps: int, budget: int, seed: int = 0, rounded: torch.dtype | None = None
    ) -> dict[str, object]:
        """One cell as plain data."""
        began = time.perf_counter()
        found, calls = self.calibrated(steps, budget, seed, rounded)
        seconds = time.perf_counter() - began
        name, best = self.best(steps)
        ours = self.errors(found.sampler)
        against = self.errors(found.pairs[found.pair_name])
        difference = ours - against
        error = float(difference.std()) / len(ours) ** 0.5
        return {
            "problem": self.name, "steps": steps, "budget": budget, "seed": seed, "calls": calls,
            "seconds": seconds, "winner": found.name, "raced": found.pair_name, "best": name,
            "ratio": float(ours.mean() / best.mean()),
            "median": float((ours / best).median()),
            "improved": float((ours < best).double().mean()),
            "told": None if found.gain is None else dataclasses.asdict(found.gain),
            "gain": float((ours.log() - against.log()).mean().exp()),
            "worse_z": float(difference.mean()) / error if error else 0.0,
            "sampler": found.sampler.to_plain(),
        }  # fmt: skip


def stable_diffusion(steps: int) -> dict[str, list[float]]:
    """The host's and the published curves of Stable Diffusion's levels."""
    return {name: levels.double().tolist() for name, levels in fixed(steps, TABLE).items()}


def flow_curves(steps: int) -> dict[str, list[float]]:
    """A flow's levels at some shifts, in EDM units."""
    found = {}
    for shift in SHIFTS:
        levels = simple(steps, flow_table(shift))
        t = FLOW.finite_edm(levels[:-1])
        found[f"shift {shift:g}"] = [*map(float, t), 0.0]
    return found


def mixture(case: Case, noises: int = NOISES, flow: bool = False) -> Bench:
    """The bench of a mixture."""
    shape = (64 if case.kind == "digits" else case.dim,)
    if flow:
        ends = (float(FLOW.finite_edm(np.ones(1))[0]), float(FLOW.edm(np.full(1, 1e-3))[0]))
        return Bench(case.name, case.denoiser(), shape, flow_curves, ends, case.seed, noises)
    ends = (TABLE.sigma_max, TABLE.sigma_min)
    return Bench(case.name, case.denoiser(), shape, stable_diffusion, ends, case.seed, noises)


def network(name: str, scale: float, seed: int = 0) -> Bench:
    """The bench of a trained network and one class."""
    from .evidence.networks import NETWORKS

    trained = NETWORKS[name]
    denoise = guided(trained.load(), seed % CLASSES, scale)
    ends = (TABLE.sigma_max, TABLE.sigma_min)
    return Bench(
        f"{name} cfg {scale:g}", denoise, trained.shape, stable_diffusion, ends, seed,
        trained.noises, torch.float32,
    )  # fmt: skip


def summary(cells: Sequence[dict[str, object]]) -> str:
    """Geometric means, the worst cell, medians and shares, in one line."""
    ratio, median, improved = (
        np.array([cell[key] for cell in cells]) for key in ("ratio", "median", "improved")
    )
    return (
        f"ratio {math.exp(np.log(ratio).mean()):.3f} (worst {ratio.max():.2f})  "
        f"median {math.exp(np.log(median).mean()):.3f}  "
        f"improved {improved.mean():.0%} (least {improved.min():.0%})"
    )


def measured(
    benches: Sequence[Bench],
    steps: Sequence[int],
    budgets: Sequence[int],
    rounded: torch.dtype | None = None,
) -> Iterator[dict[str, object]]:
    """All cells, with a table printed as they come."""
    for budget in budgets:
        of_budget = []
        for n in steps:
            cells = []
            for bench in benches:
                cells.append(bench.cell(n, budget, rounded=rounded))
                yield cells[-1]
            of_budget += cells
            ratios = " ".join(f"{cell['ratio']:.2f}" for cell in cells)
            print(f"{budget:5d} calls {n:3d} steps  {summary(cells)}  [{ratios}]", flush=True)
        print(f"{budget:5d} calls  all steps  {summary(of_budget)}", flush=True)


def intervals(benches: Sequence[Bench], budget: int, count: int) -> None:
    """Count intervals that cover the gain on fresh noise, and results that are worse there."""
    covered = worse = 0
    for k in range(count):
        bench, steps = benches[k % len(benches)], STEPS[k // len(benches) % len(STEPS)]
        cell = bench.cell(steps, budget, seed=1000 + k)
        told = cell["told"]
        assert isinstance(told, dict)
        covered += told["low"] <= cell["gain"] <= told["high"]
        worse += cell["worse_z"] > 3.0  # type: ignore[operator]
    print(f"{budget} calls: {covered} of {count} intervals cover the gain on fresh noise; "
          f"{worse} results are worse than the raced pair by 3 standard errors")  # fmt: skip


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("mixtures", "networks", "flow", "half", "interval"))
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--steps", type=int, nargs="+", default=None)
    parser.add_argument("--tuning", action="store_true", help="the tuning problems")
    parser.add_argument("--runs", type=int, default=200, help="of interval")
    parser.add_argument("--networks", nargs="+", default=("digits", "patches"))
    parser.add_argument("--out", help="a file for the cells, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cases = TUNING if given.tuning else TEST
    steps = given.steps or STEPS
    cells: list[dict[str, object]] = []
    if given.what == "networks":
        benches = [
            network(name, scale)
            for name in given.networks
            for scale in (1.0, 3.0, 7.0)
            if (name, scale) != ("patches", 7.0)
        ]
        cells += measured(benches, given.steps or (5, 8), given.budgets)
    elif given.what == "interval":
        intervals([mixture(case) for case in cases], given.budgets[0], given.runs)
    else:
        benches = [mixture(case, flow=given.what == "flow") for case in cases]
        rounded = torch.bfloat16 if given.what == "half" else None
        cells += measured(benches, steps, given.budgets, rounded)
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            json.dump(cells, file)


if __name__ == "__main__":
    main()
