"""Bound on how good a schedule can be: gradient descent through the solver and the exact denoiser.

No method could do this with a real model: it needs the denoiser's derivatives and some 10^6 calls.
Least mean paired error on many training noises, over the logarithms of the gaps in log sigma, by
Adam (Kingma and Ba 2015, arXiv 1412.6980) from several schedules; the least training error wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..optimizer import Solver
from .metrics import end_point_errors

__all__ = ["oracle"]

ITERATIONS, RATE = 150, 0.05
STARTS = 3


def oracle(
    solver: Solver, noise: Tensor, reference: Tensor, starts: Mapping[str, Tensor]
) -> Tensor:
    """The schedule [n+1] of least mean error on the training noise.

    Arguments:
        solver: through whose denoiser gradients flow; deterministic.
        noise, reference: [N, ...] initial noise, and where its fine-step runs end.
        starts: schedules that end in 0, with one first level; the best few are improved.
    """

    def error(sigmas: Tensor) -> Tensor:
        return end_point_errors(solver(noise, sigmas, 0), reference).mean()

    with torch.no_grad():
        ranked = sorted(starts.values(), key=lambda sigmas: float(error(sigmas)))
    found = [_descended(error, start) for start in ranked[:STARTS]]
    with torch.no_grad():
        return min([ranked[0], *found], key=lambda sigmas: float(error(sigmas)))


def _descended(error: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """A schedule after ITERATIONS steps of Adam with a rate that falls to 0."""
    log_levels = start[:-1].double().log()
    if len(log_levels) == 1:
        return start
    gaps = (-log_levels.diff()).log().requires_grad_()
    adam = torch.optim.Adam([gaps], lr=RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, ITERATIONS)

    def sigmas() -> Tensor:
        inner = (log_levels[0] - gaps.exp().cumsum(0)).exp()
        return torch.cat([start[:1], inner.to(start), start[-1:]])

    for _ in range(ITERATIONS):
        adam.zero_grad()
        error(sigmas()).backward()
        adam.step()
        rate.step()
    return sigmas().detach()
