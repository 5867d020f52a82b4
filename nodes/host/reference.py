"""The sampler of the reference runs: the optimiser's third-order method on the host's own model.

With ever finer steps every deterministic sampler of the host solves, at the host's levels s,

    dx/ds = (x - D) / s        D the guided E[x_0 | x] of x = a(s) x_0 + b(s) e

for b = c s with a = 1 (variance exploding) or a = 1 - s (flow). Either way x/a at the EDM level
t = b/a solves dx/dt = (x - D) / t, and there the method's clock is -log t. On flow models -log s
would be the clock of the same equation, but D is smoother in log t: at 32 steps the reference is
4 to 10 times closer to the limit.
"""

from __future__ import annotations

from typing import Any

import comfy.samplers
import numpy as np
import torch
from torch import Tensor

from ...optimizer import multistep_3
from .model import NoiseLevels

__all__ = ["reference_sampler"]


def reference_sampler(levels: NoiseLevels, judged: Any) -> Any:
    """The SAMPLER of the reference runs; one call a step.

    levels: of the model
    judged: SAMPLER whose reference it computes: the noise under an inpainting mask must be the same
    """
    masked = getattr(judged, "inpaint_options", {})
    return comfy.samplers.KSAMPLER(_sample_multistep_3, {"levels": levels}, masked)


@torch.no_grad()
def _sample_multistep_3(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    callback: Any,
    disable: bool,
    levels: NoiseLevels,
) -> Tensor:
    """Called by the host in place of a sampler function."""

    def predict(x: Tensor, level: float) -> Tensor:
        D: Tensor = model(x, level * x.new_ones(len(x)), **extra_args)
        return D

    *visited, last = sigmas.tolist()
    top = levels.coordinate.top
    if top is not None and visited[0] > top:
        # A flow's first level is infinite in EDM units: Euler's step in the host's own.
        s = visited.pop(0)
        ratio = float(sigmas[1]) / s
        x = ratio * x + (1 - ratio) * predict(x, s)
        if not visited:
            return x
    end = levels.coordinate.edm(np.array([last])) if last > 0 else [0.0]
    t = np.append(levels.coordinate.edm(np.array(visited)), end)
    points = iter([(s, levels.signal(s)) for s in visited])

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        s, a = next(points)
        return predict(a * x, s)

    x = x / levels.signal(visited[0])
    # The levels stay on the CPU: the method's clock is float64, which not every device has.
    x = multistep_3(denoise, x, torch.from_numpy(t).float(), lambda: torch.zeros_like(x))
    return levels.signal(last) * x if last > 0 else x  # above 0: another model goes on from here
