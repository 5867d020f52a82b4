"""A free model of a solver's error, built from reference runs that are needed anyway.

A fine-step reference run visits the exact trajectory: for each noise it gives x(t) and
D(x(t), t) at every level. Near it, and in the direction in which solvers stray from it, a denoiser
is linear,

    D(x, t) ~ D_ref(t) + c_k(t) (x - x_ref(t)),

and the slope c_k(t) of noise k is read off one coarse run of the same solver from the same noise,
<dD, dx> / <dx, dx>. With this denoiser any schedule can be run from these noises without a call.
On exact mixtures, plain and guided, isotropic and with power-law spectra, it predicts the error of
a schedule within 13 % (geometric mean), which is enough to rank schedules and to improve them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Surrogate", "Trajectory", "measured_slope", "sum_of"]

ELEMENTS = 2048  # latent elements kept of each sample: enough for a norm within 2 %
SIGNIFICANT = 1e-3  # least deviation, relative to the output, that a slope is measured on
SLOPES = (-0.5, 1.5)  # an ideal denoiser's lie in 0 ... 1; guided ones stray a little further


@dataclass(frozen=True)
class Trajectory:
    """What reference runs visited, in EDM coordinates, on some elements of every latent.

    log_levels: [F] ascending log t
    x:          [F, K, E] states x_ref(t)
    denoised:   [F, K, E] outputs D(x_ref(t), t)
    end:        [K, E] end points of the runs
    slope:      [F, K] c_k(t)
    """

    log_levels: np.ndarray
    x: np.ndarray
    denoised: np.ndarray
    end: np.ndarray
    slope: np.ndarray

    def __add__(self, other: Trajectory) -> Trajectory:
        """The trajectories of both sets of noises, visited at the same levels."""
        return Trajectory(
            self.log_levels,
            np.concatenate([self.x, other.x], 1),
            np.concatenate([self.denoised, other.denoised], 1),
            np.concatenate([self.end, other.end]),
            np.concatenate([self.slope, other.slope], 1),
        )


def measured_slope(
    log_levels: np.ndarray, strayed: Mapping[int, tuple[np.ndarray, np.ndarray]], D: np.ndarray
) -> np.ndarray:
    """c_k(t) = <dD, dx> / <dx, dx> at every level, [F, K], from some levels of a coarse run.

    Arguments:
        strayed: index of a level -> (dx, dD), each [K, E], off the reference trajectory.
        D: [F, K, E] outputs on it. Where dx is below a small part of D, the ratio would be that
            of rounding errors, and the nearest other level stands in.
    """
    slope = np.empty(D.shape[:2])
    for k in range(D.shape[1]):
        at, value = [], []
        for index, (dx, dD) in sorted(strayed.items()):
            squared = np.square(dx[k]).sum()
            if squared > SIGNIFICANT**2 * np.square(D[index, k]).sum():
                at.append(log_levels[index])
                value.append(np.clip((dx[k] * dD[k]).sum() / squared, *SLOPES))
        slope[:, k] = np.interp(log_levels, at, value) if at else 0.0
    return slope


def sum_of(trajectories: Sequence[Trajectory | None]) -> Trajectory:
    """All trajectories as one; none of them may be missing."""
    first, *rest = (path for path in trajectories if path is not None)
    return sum(rest, first)


class Surrogate:
    """Runs a solver on the linearised denoiser.

    Arguments:
        trajectory: of the reference runs.
        solver: "euler", "heun" or "dpmpp_2m": which of them the real solver is most like.
    """

    def __init__(self, trajectory: Trajectory, solver: str):
        self.trajectory = trajectory
        self.solver = solver

    @property
    def lowest(self) -> float:
        """The lowest positive level that was visited: the model's sigma_min, in EDM units."""
        return float(np.exp(self.trajectory.log_levels[0]))

    def residuals(self, schedules: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """End point minus reference, [S, K, E], for S schedules [n+1] of EDM levels ending in 0."""
        levels = np.asarray(schedules)  # [S, n+1]
        steps = levels.shape[1] - 1
        x = np.broadcast_to(self.trajectory.x[-1], (len(levels), *self.trajectory.end.shape))
        D_last = None
        for i in range(steps):
            s, t = levels[:, i, None, None], levels[:, i + 1, None, None]
            D = self.denoise(x, levels[:, i])
            predictor = D
            if self.solver == "dpmpp_2m" and i > 0 and i + 1 < steps:
                previous = levels[:, i - 1, None, None]
                predictor = D + np.log(s / t) / (2.0 * np.log(previous / s)) * (D - D_last)
            after = t / s * x + (1.0 - t / s) * predictor
            if self.solver == "heun" and i + 1 < steps:
                slope_t = (after - self.denoise(after, levels[:, i + 1])) / t
                after = x + ((x - D) / s + slope_t) / 2.0 * (t - s)
            x, D_last = after, D
        return x - self.trajectory.end

    def errors(self, schedules: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Predicted RMS error per element, [S, K]."""
        return np.sqrt(np.square(self.residuals(schedules)).mean(-1))

    def denoise(self, x: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The linearised denoiser; x of shape [S, K, E], one level [S] for each schedule."""
        nodes, weights = self._cubic(np.log(levels))  # [S, 4]
        mix = weights[:, :, None, None]
        path = self.trajectory
        reference = (mix * path.x[nodes]).sum(1)
        slope = (weights[:, :, None] * path.slope[nodes]).sum(1)[:, :, None]  # [S, K, 1]
        return (mix * path.denoised[nodes]).sum(1) + slope * (x - reference)

    def _cubic(self, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lagrange's four nodes and weights around each log level; exact at the nodes."""
        grid = self.trajectory.log_levels
        u = np.clip(u, grid[0], grid[-1])
        first = np.clip(np.searchsorted(grid, u) - 2, 0, len(grid) - 4)
        nodes = first[:, None] + np.arange(4)
        g = grid[nodes]  # [S, 4]
        difference = u[:, None] - g
        weights = np.ones_like(g)
        for k in range(4):
            for j in range(4):
                if j != k:
                    weights[:, k] *= difference[:, j] / (g[:, k] - g[:, j])
        return nodes, weights
