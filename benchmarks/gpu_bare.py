"""Runs of the GPU figures without ComfyUI: the optimiser on plain torch networks.

Beside this repository they need torch, numpy and safetensors. The optimiser's one use of scipy, a
monotone cubic through a measured profile, has straight lines in its place where scipy is missing:
some of the schedules that are tried then differ a little, and the figures do not.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .gpu_cases import CFG, SAMPLER, STEPS, TOKENS, Case, Taken
from .unet import Guided, random_network

if TYPE_CHECKING:  # it may lack scipy until `do_without_scipy`
    from ..optimizer import Denoiser

__all__ = ["BARE_CALLS", "Bare", "do_without_scipy"]

BARE_CALLS = 40
WARM_CALLS = 3
SEED = 0
OTHER_STEPS = (4, 5, 6, 8, 12, 15, 20, 25, 30)  # which are saved beside a result


class StraightLines:
    """In the place of scipy's PchipInterpolator."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y

    def __call__(self, at: np.ndarray) -> np.ndarray:
        """The values there."""
        return np.interp(at, self.x, self.y)


def do_without_scipy() -> None:
    """Before the optimiser is imported: let that work where scipy is missing."""
    if importlib.util.find_spec("scipy") is None:
        scipy, interpolate = ModuleType("scipy"), ModuleType("scipy.interpolate")
        interpolate.PchipInterpolator = StraightLines  # type: ignore[attr-defined]
        sys.modules |= {"scipy": scipy, "scipy.interpolate": interpolate}


class FirstCall(Exception):
    """Ends an optimisation at its first call, which has so many rows."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows


class Counted:
    """A denoiser that counts its calls and rows."""

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.calls = self.rows = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D, [B, ...]."""
        self.calls += 1
        self.rows += len(x)
        return self.denoise(x, sigma)


class Bare:
    """A random network of the case's sizes on a device, in bf16: a `Stand`."""

    def __init__(self, case: Case, device: torch.device, budget: int) -> None:
        from ..schedules import discrete_table

        self.device, self.budget = device, budget
        self.shape = 4, case.side, case.side
        self.table = discrete_table()
        network = random_network(case.sizes, device)
        guided = Guided(network, case.sizes, self.table.sigmas, CFG, TOKENS)
        self.denoise = Counted(guided)

    def plain(self, latents: int) -> Taken:
        """A run of the built-in solver."""
        from ..optimizer import builtin_solver
        from ..schedules.curves import sgm_uniform

        solve = builtin_solver(SAMPLER, self.denoise)
        levels = torch.from_numpy(sgm_uniform(STEPS, self.table)).float()
        return self._taken(lambda: solve(self._noise(latents), levels, SEED))

    def rows_a_call(self) -> int:
        """The rows of an optimisation's first call, which is not made; then calls to warm up."""

        def first(x: Tensor, sigma: Tensor) -> Tensor:
            raise FirstCall(len(x))

        try:
            self._optimised(first)
        except FirstCall as call:
            self._calls(call.rows, WARM_CALLS)
            return call.rows
        raise RuntimeError("The optimisation has made no call.")

    def bare(self, latents: int) -> Taken:
        """BARE_CALLS calls, one after the other at descending levels."""
        return self._taken(lambda: self._calls(latents, BARE_CALLS))

    def optimise(self) -> Taken:
        """The optimisation, and from it the levels for other numbers of steps."""
        return self._taken(lambda: self._optimised(self.denoise).at_step_counts(OTHER_STEPS))

    def _optimised(self, denoise: Denoiser) -> Any:
        """Beside the schedules that a user's would be compared with; `beta` is scipy's."""
        from ..optimizer import Known, optimize
        from ..schedules.curves import CURVES, time_uniform

        table = self.table
        return optimize(
            denoise,
            self.shape,
            sigma_max=table.sigma_max,
            sigma_min=table.sigma_min,
            steps=STEPS,
            solver=SAMPLER,
            candidates={
                name: torch.from_numpy(curve(STEPS, table).copy()).float()
                for name, curve in CURVES.items()
                if name != "beta"
            },
            known=Known(starts={"time-uniform": time_uniform(STEPS, table)}),
            budget=self.budget,
            seed=SEED,
        )

    def _calls(self, latents: int, count: int) -> None:
        noise = self._noise(latents)
        for t in np.geomspace(self.table.sigma_max, self.table.sigma_min, count):
            self.denoise(float(t) * noise, torch.full((latents,), float(t)))

    def _noise(self, latents: int) -> Tensor:
        generator = torch.Generator().manual_seed(SEED)
        return torch.randn(latents, *self.shape, generator=generator)

    def _taken(self, work: Callable[[], object]) -> Taken:
        gpu = self.device.type == "cuda"
        gc.collect()
        if gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        calls, rows = self.denoise.calls, self.denoise.rows
        began = time.perf_counter()
        work()
        if gpu:
            torch.cuda.synchronize()
        return Taken(
            self.denoise.calls - calls,
            self.denoise.rows - rows,
            time.perf_counter() - began,
            torch.cuda.max_memory_allocated() if gpu else None,
            torch.cuda.max_memory_reserved() if gpu else None,
        )
