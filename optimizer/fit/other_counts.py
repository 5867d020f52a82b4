"""A sampler for other numbers of steps, and for runs that begin inside the path: without a call.

What a fit has run beside its references tells how the denoiser answers near them. With u a unit
vector along dx = x - x_ref(t) of such a run, v the change of D that it had, over |dx|, and c the
slope of the linear model,

    D(x, t) ≈ D_ref(t) + c (x - x_ref) + Σ a_p (v_p - c_p u_p)         over the runs' nearest levels

where Σ a_p u_p comes nearest to x - x_ref, with a ridge that grows with the distance in log t. The
greedy fit (multistep_fit.py) is made on this instead of on the denoiser.

Error over that of greedy weights fitted at the other number itself with 1,000 calls, geometric mean
over 8 mixtures (`calibrated counts` of benchmarks/) and 4 to 12 and 16 steps: from 8 steps and
1,000 calls 1.01, from 12 and 1,000 1.05, from 5 and 500 1.15, from 5 and 1,000 1.09. With starts
that the linear model chooses it was 1.03, 1.06, 1.23 and 1.19.

A run that begins at step i has no outputs from before. Weights that are fitted to that, from the
references' states on, had 0.2 to 0.9 of the error of the whole run's weights with the missing ones
added to the oldest output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..diffusion.multistep import Multistep, textbook
from .multistep_fit import Linear, Path, greedy

__all__ = ["COUNTS", "NOISES", "FittedCount", "Secants", "fitted_count", "restarts", "with_counts"]

COUNTS = (*range(4, 13), 16)  # numbers of steps that are fitted beside that which was asked for
NOISES, ELEMENTS_OF_COUNTS = 12, 1024  # that are fitted to, at most
NEAREST = 6  # pairs (u, v) that are used at a level
SECANT_PULL, FADE = (
    0.1,
    0.25,
)  # at a pair's own level; the distance in log t over which it grows e-fold
WEIGHT_DIGITS = (
    6  # after the point of a weight: that is less than these are good for, and short to write
)
START = "unipc_2"  # whose weights a fit is drawn toward

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class FittedCount:
    """A sampler for a number of steps.

    restarts: for i = 1 … n-1 the rows of a run that begins at step i, n - i of them; row k mixes
        k + 1 outputs at most
    """

    sampler: Multistep
    restarts: tuple[Rows, ...]


class Secants:
    """A denoiser without calls, near some noises' references: see above.

    Arguments:
        path: of K noises.
        unit: [K, E] these noises.
        runs: samplers, and the outputs [K, E] of their runs from these noises.
        probed: EDM levels that the linear model's slopes [S, P] of the first noises are at.
    """

    def __init__(
        self,
        path: Path,
        unit: Tensor,
        runs: Iterable[tuple[Multistep, Sequence[Tensor]]],
        probed: Sequence[float],
        slopes: Tensor,
    ):
        self.path, self.unit = path, unit
        more = slopes.mean(1, keepdim=True).expand(-1, len(path.end) - slopes.shape[1])
        slopes = torch.cat((slopes, more), 1)
        self.linear = Linear(path, probed, slopes)
        self.pairs = [pair for one, outputs in runs for pair in self._pairs(one, outputs)]
        self.known: dict[float, tuple[Tensor, ...]] = {}

    def _pairs(
        self, sampler: Multistep, outputs: Sequence[Tensor]
    ) -> list[tuple[float, Tensor, Tensor]]:
        """Of every step after the first the level, u, and v - c u."""
        found, x = [], sampler.levels[0] * self.unit
        for i, t in enumerate(sampler.told):
            if i:
                state = self.path.at([t])[0][0]
                length = (x - state).norm(dim=1, keepdim=True).clamp_min(1e-12)
                missed = outputs[i] - self.linear(x, t)
                found.append((t, (x - state) / length, missed / length))
            x = sampler.step(i, x, outputs[i::-1])
        return found

    def __call__(self, x: Tensor, level: float) -> Tensor:
        """D [K, E]."""
        D = self.linear(x, level)
        if level not in self.known:
            self.known[level] = self._near(level)
        state, u, missed, ridge = self.known[level]
        if not len(ridge):
            return D
        A = u @ u.mT + torch.diag(ridge)
        share = torch.linalg.solve(A, u @ (x - state)[:, :, None])  # [K, P, 1]
        return D + (share * missed).sum(1)

    def _near(self, level: float) -> tuple[Tensor, ...]:
        """x_ref [K, E], and of the nearest pairs u [K, P, E], v - c u and the ridge [P]."""
        state = self.path.at([level])[0][0]
        away = [abs(math.log(t / level)) for t, _, _ in self.pairs]
        nearest = np.argsort(away, kind="stable")[:NEAREST]
        ridge = torch.tensor([SECANT_PULL * math.exp(away[k] / FADE) for k in nearest]).double()
        if not len(nearest):
            return state, state, state, ridge
        u, missed = (torch.stack([self.pairs[k][part] for k in nearest], 1) for part in (1, 2))
        return state, u, missed, ridge

    def forget(self) -> None:
        """Let what is known at single levels go: it is large."""
        self.known.clear()


def with_counts(
    secants: Secants,
    sampler: Multistep,
    curves: Callable[[int], Sequence[Sequence[float]]],
    known: Callable[[Multistep], Multistep],
    whole: bool = False,
) -> dict[int, FittedCount]:
    """A fitted sampler and those for the other COUNTS, the nearest first, with all restarts.

    Arguments:
        curves: (n) -> EDM levels [n+1] to start from, all from the first level of the references.
        known: gives a sampler told levels that the model knows.
        whole: whether the last row adds up to 1.
    """
    found = {sampler.steps: FittedCount(sampler, restarts(secants, sampler, whole))}
    away = {count: abs(math.log(count / sampler.steps)) for count in COUNTS}
    for count in sorted(away.keys() - found.keys(), key=lambda count: away[count]):
        starts = [known(textbook(START, levels)) for levels in curves(count)]
        found[count] = fitted_count(secants, starts, whole)
        secants.forget()
    return found


def fitted_count(secants: Secants, starts: Sequence[Multistep], whole: bool) -> FittedCount:
    """The greedy fit of that start from which it comes nearest to the references."""

    def missed(start: Multistep) -> float:
        end = greedy(secants, start, secants.unit, secants.path, _same, whole)[1].end
        secants.forget()
        return secants.path.log_error(end)

    start = min(starts, key=missed)
    sampler = _greedy(secants, start, secants.unit, whole)
    return FittedCount(sampler, restarts(secants, sampler, whole))


def restarts(secants: Secants, sampler: Multistep, whole: bool) -> tuple[Rows, ...]:
    """The rows of runs that begin at each step but the first, from the references' states."""
    found = []
    for i in range(1, sampler.steps):
        rows = tuple(_folded(row, k + 1) for k, row in enumerate(sampler.weights[i:]))
        part = Multistep(sampler.levels[i:], sampler.told[i:], rows)
        state = secants.path.at([part.levels[0]])[0][0]
        found.append(_greedy(secants, part, state / part.levels[0], whole).weights)
    return tuple(found)


def _greedy(secants: Secants, start: Multistep, unit: Tensor, whole: bool) -> Multistep:
    """The greedy fit from states, its weights with few digits."""
    found, _ = greedy(secants, start, unit, secants.path, _same, whole)
    rows = [tuple(round(b, WEIGHT_DIGITS) for b in row) for row in found.weights]
    if whole:
        rows[-1] = (1.0 - sum(rows[-1][1:]), *rows[-1][1:])
    return replace(found, weights=tuple(rows))


def _folded(row: Sequence[float], history: int) -> tuple[float, ...]:
    """The weights for so many outputs at most: the oldest one has those that would follow it."""
    return (*row[: history - 1], sum(row[history - 1 :]))


def _same(x: Tensor) -> Tensor:
    return x
