"""A sampler fitted over four classes, used on others: its error over that of their own fit.

    python -m align_your_steps.benchmarks.several_prompts --scales 3 7 --steps 5 8 --budgets 1000

Each noise of the fit has one of four classes in turn (Conditions), so it takes as many calls as a
fit to one class. Held out are other noises of four other classes. Of a cell, which is a guidance
scale, a number of steps and a seed that draws the classes, the noises and the calibrations,

    others   mean error on them over that of a sampler fitted to that class alone, geometric mean
    single   the same of a sampler that was fitted to the first of the four alone
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..optimizer import Conditions, Result, optimize
from ..optimizer.diffusion.coordinate import spread
from ..optimizer.diffusion.multistep import Multistep, textbook
from .calibrated import stable_diffusion
from .edm import CLASSES
from .evidence.networks import NETWORKS
from .metrics import end_point_errors
from .problems import TABLE

__all__ = ["Classes", "main"]

HELD_OUT = 5_000_011  # a stream that no calibration draws from
FITTED = 4  # classes, and so many others
NOISES, FINE = 48, 120


class Classes:
    """A network's guided denoiser whose rows take turns with classes."""

    def __init__(self, model: Any, labels: Sequence[int], scale: float):
        self.model, self.scale = model, scale
        self.conditions = Conditions(len(labels))
        self.labels = functional.one_hot(torch.tensor(labels), CLASSES).float()

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D_free + scale (D_label - D_free), with each row's own label."""
        given = self.labels[self.conditions.rows or [0] * len(x)]
        both = torch.cat([given, torch.zeros_like(given)])
        D: Tensor = self.model(x.repeat(2, 1, 1, 1), sigma.repeat(2), both)
        conditional, free = D.chunk(2)
        return free + self.scale * (conditional - free)


class Cell:
    """One guidance scale and seed: classes to fit and others, with held-out noise."""

    def __init__(self, network: str, scale: float, seed: int):
        self.trained, self.scale, self.seed = NETWORKS[network], scale, seed
        self.model = self.trained.load()
        source = torch.Generator().manual_seed(HELD_OUT + seed)
        order = torch.randperm(CLASSES, generator=source).tolist()
        self.fitted, self.others = order[:FITTED], order[FITTED : 2 * FITTED]
        self.noise = torch.randn(NOISES, *self.trained.shape, generator=source)
        fine = textbook("exponential_3", [*spread(TABLE.sigma_max, TABLE.sigma_min, FINE), 0.0])
        self.ends = {label: self.end(fine, label) for label in self.others}

    def end(self, sampler: Multistep, label: int) -> Tensor:
        """Return where the held-out noise leads with one class."""
        return sampler(Classes(self.model, [label], self.scale), self.noise)

    def fit(self, labels: Sequence[int], steps: int, budget: int) -> Result:
        """A calibration whose noises take turns with classes."""
        return optimize(
            Classes(self.model, labels, self.scale),
            self.trained.shape,
            sigma_max=TABLE.sigma_max,
            sigma_min=TABLE.sigma_min,
            steps=steps,
            solver="calibrated",
            candidates=stable_diffusion(steps),
            budget=budget,
            seed=self.seed,
        )

    def error(self, sampler: Multistep, label: int) -> float:
        """Mean error on another class."""
        return float(end_point_errors(self.end(sampler, label), self.ends[label]).mean())

    def ratios(self, steps: int, budget: int) -> dict[str, list[float]]:
        """Ratios by name, one for each of the other classes."""
        four, one = self.fit(self.fitted, steps, budget), self.fit(self.fitted[:1], steps, budget)
        assert four.sampler and one.sampler
        found: dict[str, list[float]] = {"others": [], "single": []}
        for label in self.others:
            own = self.fit([label], steps, budget).sampler
            assert own is not None
            error = self.error(own, label)
            found["others"].append(self.error(four.sampler, label) / error)
            found["single"].append(self.error(one.sampler, label) / error)
        return found


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main() -> None:
    """Measure and print a line for each guidance scale, number of steps and budget."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--network", default="digits", choices=list(NETWORKS))
    parser.add_argument("--scales", type=float, nargs="+", default=[3.0, 7.0])
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 8])
    parser.add_argument("--budgets", type=int, nargs="+", default=[1000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    every: dict[int, list[float]] = {}
    for scale in given.scales:
        cells = [Cell(given.network, scale, seed) for seed in given.seeds]
        for budget in given.budgets:
            for steps in given.steps:
                found = [cell.ratios(steps, budget) for cell in cells]
                others = [ratio for cell in found for ratio in cell["others"]]
                single = [ratio for cell in found for ratio in cell["single"]]
                every.setdefault(budget, []).extend(others)
                print(
                    f"{given.network} cfg {scale:g}, {steps} steps, {budget} calls: over four "
                    f"{_mean(others):.3f} (worst {max(others):.2f}), over one {_mean(single):.3f} "
                    f"(worst {max(single):.2f}), {len(others)} classes",
                    flush=True,
                )
    for budget, ratios in every.items():
        print(f"{budget} calls, all: {_mean(ratios):.3f}")


if __name__ == "__main__":
    main()
