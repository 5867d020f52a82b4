"""Distance of the distribution of a stochastic solver's samples from that of many steps.

What counts for a stochastic solver is the distribution of its samples, not where each one ends.
With x_k the end point of noise k with a schedule, and y_k that of a fine run of the same process
from the same noise along the same Brownian path, the criterion is, with means over the elements of
a latent,

    L = sqrt( mean of (mean_k x - mean_k y)² + (std_k x - std_k y)² ).

The noise that x and y share cancels, so that some tens of noises tell schedules apart. Its
standard error is the jackknife's: with L_k the criterion without noise k,

    s.e.² = (K - 1)/K sum_k (L_k - mean L)².

The end-point error of the deterministic twin, which is far less noisy, judges in its place where
nothing else can be afforded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .distribution_runs import DistributionRuns
from .select import Candidate, Score

__all__ = ["distribution_errors", "distribution_scores"]

CHUNK = 2**16  # elements that are worked on at once


def distribution_errors(x: Tensor, y: Tensor) -> list[float]:
    """One value for each of K >= 3 noises whose mean is L and whose standard error is L's.

        L + (K - 1) (mean of the L_j - L_k)

    The values of two schedules may be subtracted: the differences have the mean and the jackknife
    standard error of the difference of their criteria.

    Arguments:
        x: [K, ...] end points of a schedule.
        y: [K, ...] end points of the fine runs along the same noise.

    Returns infinities if an end point is not a number.

    >>> e = torch.randn(8, 100)
    >>> round(sum(distribution_errors(e + 0.5, e)) / 8, 4)
    0.5
    """
    count = len(x)
    if not torch.isfinite(x).all():
        return [math.inf] * count
    x, y = x.flatten(1), y.flatten(1)
    parts = zip(x.split(CHUNK, 1), y.split(CHUNK, 1), strict=True)
    squares = torch.stack([_squares(a.double(), b.double()) for a, b in parts]).sum(0)
    whole, *others = (squares / x.shape[1]).sqrt()
    without = torch.stack(others)
    return (whole + (count - 1) * (without.mean() - without)).tolist()


def _squares(x: Tensor, y: Tensor) -> Tensor:
    """The sum of L² over elements [K, E], then those without noise k = 0 ... K - 1: [1 + K]."""
    count = len(x)
    means = [(one.mean(0), one - one.mean(0)) for one in (x, y)]
    (mean_x, dx), (mean_y, dy) = means
    shift, square_x, square_y = mean_x - mean_y, dx.square(), dy.square()
    sum_x, sum_y = square_x.sum(0), square_y.sum(0)

    def squared(shift: Tensor, sum_x: Tensor, sum_y: Tensor, count: int) -> Tensor:
        std = (sum_x.clamp(min=0) / (count - 1)).sqrt() - (sum_y.clamp(min=0) / (count - 1)).sqrt()
        return (shift.square() + std.square()).sum(-1, keepdim=shift.ndim == 1)

    # Without noise k the mean moves by -d_k / (K - 1), the sum of squares falls by K/(K-1) d_k².
    share = count / (count - 1)
    without = squared(
        shift - (dx - dy) / (count - 1),
        sum_x - share * square_x,
        sum_y - share * square_y,
        count - 1,
    )
    return torch.cat([squared(shift, sum_x, sum_y, count), without])


def distribution_scores(candidates: Sequence[Candidate], runs: DistributionRuns) -> list[Score]:
    """Compare candidates by the distribution of their samples, all on the same noises.

    The budget is spent, and allows one batch at least. Returns scores with `distribution_errors`.
    """
    references: list[Tensor] = []
    ends: list[list[Tensor]] = [[] for _ in candidates]
    schedules = [candidate.sigmas for candidate in candidates]
    while (measured := runs.ends(schedules)) is not None:
        references.append(measured[0])
        for known, end in zip(ends, measured[1], strict=True):
            known.append(end)
    y = torch.cat(references)
    return [
        Score(candidate, distribution_errors(torch.cat(x), y), additive=True)
        for candidate, x in zip(candidates, ends, strict=True)
    ]
