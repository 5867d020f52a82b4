"""A free model of a solver's error, built from reference runs that are needed anyway.

A fine-step reference run visits the exact trajectory: for each noise it gives x(t) and
D(x(t), t) at every level. Near it, and in the direction in which solvers stray from it, a denoiser
is linear,

    D(x, t) ~ D_ref(t) + c_k(t) (x - x_ref(t)),

and the slope c_k(t) of noise k is read off one coarse run of the solver from the same noise,
<dD, dx> / <dx, dx>. With this denoiser any schedule can be run from these noises without a call.

Where a schedule was really run, more is known: slopes at the distance at which this schedule
strays, and what the line above still misses. A surrogate that follows such a run has these slopes
and D_ref moved by what was missed, so it repeats the run, and is the better the closer a schedule
is to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .coordinate import OwnLevel, edm_level

__all__ = ["Surrogate", "Track", "integration_error", "joined", "measured_slope"]

ELEMENTS = 512  # latent elements kept of each sample: enough for a norm within 4 %
SIGNIFICANT = 1e-3  # least deviation, relative to the output, that a slope is measured on
SLOPES = (-0.5, 1.5)  # an ideal denoiser's lie in 0 ... 1; guided ones stray a little further


@dataclass(frozen=True)
class Track:
    """What a solver's runs visited, in EDM coordinates, on some elements of every latent.

    log_levels: [F] ascending log t
    x:          [F, K, E] states x(t)
    denoised:   [F, K, E] outputs D(x(t), t)
    end:        [K, E] end points of the runs
    """

    log_levels: np.ndarray
    x: np.ndarray
    denoised: np.ndarray
    end: np.ndarray

    def at(self, log_levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """States and outputs at other levels [S], both [S, K, E]: cubic between those visited."""
        at = lagrange(self.log_levels, log_levels)
        return interpolated(self.x, *at), interpolated(self.denoised, *at)

    def to_tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors named after the track, for storage; `from_tensors` is the inverse."""
        return {f"{name}.{key}": torch.from_numpy(value) for key, value in vars(self).items()}

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], name: str) -> Track | None:
        """The track of that name stored by `to_tensors`; None if there is none."""
        keys = [f"{name}.{field.name}" for field in fields(Track)]
        if not all(key in tensors for key in keys):
            return None
        return Track(*(tensors[key].numpy() for key in keys))


def joined(tracks: Sequence[Track]) -> Track:
    """Runs from several sets of noises, visited at the same levels, as one."""
    return Track(
        tracks[0].log_levels,
        np.concatenate([track.x for track in tracks], 1),
        np.concatenate([track.denoised for track in tracks], 1),
        np.concatenate([track.end for track in tracks]),
    )


def lagrange(grid: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cubic interpolation on a grid [F] at u [S]: the first of four nodes [S], weights [S, 4].

    Beyond the grid its end counts.
    """
    count = min(4, len(grid))
    u = np.clip(u, grid[0], grid[-1])
    first = np.clip(np.searchsorted(grid, u) - 2, 0, len(grid) - count)
    g = grid[first[:, None] + np.arange(count)]  # [S, 4]
    weights = np.ones_like(g)
    for k in range(count):
        for j in range(count):
            if j != k:
                weights[:, k] *= (u - g[:, j]) / (g[:, k] - g[:, j])
    return first, weights


def interpolated(values: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Values [F, ...] on the grid at S points, [S, ...]: four rows are mixed for each."""
    rows = values.reshape(len(values), -1)
    count = weights.shape[1]
    mixed = [w @ rows[k : k + count] for k, w in zip(first, weights, strict=True)]
    return np.stack(mixed).reshape(len(first), *values.shape[1:])


def measured_slope(reference: Track, strayed: Track) -> np.ndarray:
    """c_k(t) = <dD, dx> / <dx, dx> at the reference's levels, [F, K], from runs beside it.

    Where dx is below a small part of D, the ratio would be that of rounding errors, and the
    nearest other level stands in.
    """
    x, D = reference.at(strayed.log_levels)
    dx, dD = strayed.x - x, strayed.denoised - D
    squared = np.square(dx).sum(-1)  # [L, K]
    usable = squared > SIGNIFICANT**2 * np.square(D).sum(-1)
    ratio = np.clip((dx * dD).sum(-1) / np.where(usable, squared, 1.0), *SLOPES)
    slope = np.zeros(reference.x.shape[:2])
    for k, good in enumerate(usable.T):
        if good.any():
            at = strayed.log_levels[good]
            slope[:, k] = np.interp(reference.log_levels, at, ratio[good, k])
    return slope


def integration_error(reference: Track, slope: np.ndarray) -> np.ndarray:
    """Estimated RMS error of the reference's own end points, [K].

    The exact solution from t_k to t_{k+1} is t_{k+1}/t_k x + t_{k+1} ∫ e^λ D dλ with λ = -log t.
    With the outputs interpolated between their levels, where the solver had to extrapolate them,
    what the reference missed in every step is known, and dε/dlog t = (1 - c) ε carries it on.
    """
    log_t = reference.log_levels[::-1]  # descending, as the runs went
    nodes, weights = np.polynomial.legendre.leggauss(4)
    error = np.zeros_like(reference.end)
    for k, (u, v) in enumerate(pairwise(log_t)):
        row = len(log_t) - 1 - k  # of u in the track; v is the row before
        points = (u + v) / 2.0 + (v - u) / 2.0 * nodes
        _, D = reference.at(points)
        integral = np.einsum("q,qke->ke", weights * np.exp(v - points), D) * (u - v) / 2.0
        exact = np.exp(v - u) * reference.x[row] + integral
        c = slope[row - 1 : row + 1].mean(0)[:, None]
        error = np.exp((1.0 - c) * (v - u)) * error + reference.x[row - 1] - exact
    return np.sqrt(np.square(slope[0][:, None] * error).mean(-1))


class Surrogate:
    """Runs a solver on the linearised denoiser.

    Arguments:
        reference: the fine-step runs.
        slope: [F, K] c_k(t) at its levels.
        solver: "euler", "heun" or "dpmpp_2m": which of them the real solver is most like.
        missed: [F, K, E] what is added to the outputs.
        own_level: in which the solver measures its steps, of the EDM level.
    """

    def __init__(
        self,
        reference: Track,
        slope: np.ndarray,
        solver: str,
        missed: np.ndarray | float = 0.0,
        own_level: OwnLevel = edm_level,
    ):
        self.reference = reference
        self.slope = slope
        self.solver = solver
        self.outputs = reference.denoised + missed
        self.own_level = own_level

    @property
    def lowest(self) -> float:
        """The lowest positive level that was visited: the model's sigma_min, in EDM units."""
        return float(np.exp(self.reference.log_levels[0]))

    def sloped(self, track: Track) -> Surrogate:
        """The surrogate with the slopes that runs of one schedule show."""
        return self._with(measured_slope(self.reference, track))

    def compressed(self) -> Surrogate:
        """The same runs and error norms in fewer numbers, exactly.

        Runs are linear combinations of what was visited: 2F + 1 vectors for each noise. In an
        orthonormal basis of these, E elements become 2F + 1.
        """
        x, D, end = self.reference.x, self.outputs, self.reference.end
        if end.shape[1] <= 2 * len(x) + 1:
            return self
        coordinates = [
            np.linalg.qr(np.concatenate([x[:, k], D[:, k], end[k : k + 1]]).T, mode="r")
            for k in range(len(end))
        ]
        whole = np.stack(coordinates, 1).transpose(2, 1, 0)  # [2F + 1, K, 2F + 1]
        F = len(x)
        track = Track(self.reference.log_levels, whole[:F], whole[F : 2 * F], whole[2 * F])
        return Surrogate(track, self.slope, self.solver, own_level=self.own_level)

    def halfway(self, other: Surrogate) -> Surrogate:
        """The surrogate with the mean of two surrogates' slopes."""
        return self._with((self.slope + other.slope) / 2.0)

    def following(self, track: Track) -> Surrogate:
        """The surrogate that repeats what runs of one schedule saw."""
        straight = self.sloped(track)
        missed = track.denoised - straight.denoise(track.x, np.exp(track.log_levels))  # [L, K, E]
        u, v = self.reference.log_levels, track.log_levels
        if len(v) > 1:
            left = np.clip(np.searchsorted(v, u) - 1, 0, len(v) - 2)
            share = np.clip((u - v[left]) / (v[left + 1] - v[left]), 0.0, 1.0)[:, None, None]
            missed = (1.0 - share) * missed[left] + share * missed[left + 1]
        return self._with(straight.slope, missed)

    def _with(self, slope: np.ndarray, missed: np.ndarray | float = 0.0) -> Surrogate:
        """The same solver and references with other slopes."""
        return Surrogate(self.reference, slope, self.solver, missed, self.own_level)

    def residuals(self, schedules: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """End point minus reference, [S, K, E], for S schedules [n+1] of EDM levels ending in 0."""
        levels = np.asarray(schedules)  # [S, n+1]
        own = self.own_level(levels)
        steps = levels.shape[1] - 1
        x = np.broadcast_to(self.reference.x[-1], (len(levels), *self.reference.end.shape))
        D_last = None
        for i in range(steps):
            s, t = levels[:, i, None, None], levels[:, i + 1, None, None]
            own_s, own_t = own[:, i, None, None], own[:, i + 1, None, None]
            D = self.denoise(x, levels[:, i])
            predictor = D
            if self.solver == "dpmpp_2m" and i > 0 and i + 1 < steps:
                before = np.log(own[:, i - 1, None, None] / own_s)
                # Of two levels above a flow's finite top one is left: a step of no length.
                slope = np.divide(D - D_last, before, out=np.zeros_like(D), where=before > 0.0)
                predictor = D + np.log(own_s / own_t) / 2.0 * slope
            after = t / s * x + (1.0 - t / s) * predictor
            if self.solver == "heun" and i + 1 < steps:
                # The trapezium of the slopes (x - D) / own at both ends, solved for its D.
                D_t = self.denoise(after, levels[:, i + 1])
                predictor = D + own_s / own_t / 2.0 * (D_t - D)
                after = t / s * x + (1.0 - t / s) * predictor
            x, D_last = after, D
        return x - self.reference.end

    def errors(self, schedules: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Predicted RMS error per element, [S, K]."""
        return np.sqrt(np.square(self.residuals(schedules)).mean(-1))

    def denoise(self, x: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The linearised denoiser; x of shape [S, K, E], one level [S] for each schedule."""
        at = lagrange(self.reference.log_levels, np.log(levels))
        away = x - interpolated(self.reference.x, *at)
        away *= interpolated(self.slope, *at)[:, :, None]
        away += interpolated(self.outputs, *at)
        return away
