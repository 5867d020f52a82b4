"""A free model of a solver's error, built from reference runs that are needed anyway.

A fine-step reference run visits the exact trajectory: for each noise it gives x(t) and
D(x(t), t) at every level. Near it, and in the direction in which solvers stray from it, a denoiser
is linear,

    D(x, t) ~ D_ref(t) + c_k(t) (x - x_ref(t)),

and the slope c_k(t) of noise k is read off one coarse run of the solver from the same noise,
<dD, dx> / <dx, dx>. With this denoiser any schedule can be run from these noises without a call.

Where schedules were really run, more is known: see correction.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..diffusion.coordinate import OwnLevel, edm_level

__all__ = [
    "Surrogate",
    "Track",
    "integration_error",
    "joined",
    "measured_slope",
    "solver_end",
]

ELEMENTS = 512  # latent elements kept of each sample: enough for a norm within 4 %
SIGNIFICANT = 1e-3  # least deviation, relative to the output, that a slope is measured on
LEFT_OUT = 1e-8  # of every vector's length, in compression
SLOPES = (-0.5, 1.5)  # an ideal denoiser's lie in 0 ... 1; guided ones stray a little further


@dataclass(frozen=True)
class Track:
    """Places that a solver's runs visited, in EDM coordinates, on some elements of every latent.

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
        return np.tensordot(at, self.x, 1), np.tensordot(at, self.denoised, 1)

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


def lagrange(grid: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Weights [..., F] that mix values on a grid [F] into those at u [...]: cubic, of four nodes.

    Beyond the grid its end counts.
    """
    count = min(4, len(grid))
    u = np.clip(u, grid[0], grid[-1])
    first = np.clip(np.searchsorted(grid, u) - 2, 0, len(grid) - count)
    nodes = first[..., None] + np.arange(count)  # [..., 4]
    g = grid[nodes]
    shares = np.ones_like(g)
    for k in range(count):
        for j in range(count):
            if j != k:
                shares[..., k] *= (u - g[..., j]) / (g[..., k] - g[..., j])
    weights = np.zeros((*u.shape, len(grid)))
    np.put_along_axis(weights, nodes, shares, -1)
    return weights


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


def solver_end(
    denoise: Callable[[np.ndarray, int], np.ndarray],
    x: np.ndarray,
    levels: np.ndarray,
    solver: str,
    own_level: OwnLevel,
) -> np.ndarray:
    """End points of a solver with S schedules at once, [S, K, ...].

    Arguments:
        denoise: (x [S, K, ...], i) -> the outputs at every schedule's level i.
        x: [S, K, ...] the starts.
        levels: [S, n+1] EDM levels ending in 0.
        solver, own_level: as for `Surrogate`.
    """
    steps = levels.shape[1] - 1
    ratio = (levels[:, 1:] / levels[:, :-1])[..., None, None]  # [S, n, 1, 1]
    h = -np.diff(np.log(own_level(levels[:, :-1])))[..., None, None]
    # Of two levels above a flow's finite top one is left: a step of no length.
    double = np.where(h > 0.0, 2.0 * h, np.inf)
    D_last = None
    for i in range(steps):
        D = denoise(x, i)
        predictor = D
        if solver == "dpmpp_2m" and 0 < i < steps - 1:
            predictor = D + h[:, i] / double[:, i - 1] * (D - D_last)
        after = ratio[:, i] * x + (1.0 - ratio[:, i]) * predictor
        if solver == "heun" and i < steps - 1:
            # The trapezium of the slopes (x - D) / own at both ends, solved for its D.
            predictor = D + np.exp(h[:, i]) / 2.0 * (denoise(after, i + 1) - D)
            after = ratio[:, i] * x + (1.0 - ratio[:, i]) * predictor
        x, D_last = after, D
    return x


class Surrogate:
    """Runs a solver on the linearised denoiser.

    With c_k(t) and o_k(t) = D_ref(t) - c_k(t) x_ref(t) that denoiser is c_k(t) x + o_k(t). So all
    that a run meets is a mixture of its start and of n vectors o_k, and of each only the n + 1
    shares are computed: the vectors themselves are mixed once, at the end.

    Arguments:
        reference: the fine-step runs.
        slope: [F, K] c_k(t) at its levels.
        solver: "euler", "heun" or "dpmpp_2m": which of them the real solver is most like.
        own_level: in which the solver measures its steps, of the EDM level.
    """

    def __init__(
        self,
        reference: Track,
        slope: np.ndarray,
        solver: str,
        own_level: OwnLevel = edm_level,
    ):
        self.reference = reference
        self.slope = slope
        self.solver = solver
        self.own_level = own_level

    @cached_property
    def known(self) -> np.ndarray:
        """Outputs, states and end of every noise: [K, 2F + 1, E]."""
        known = [self.reference.denoised, self.reference.x, self.reference.end[None]]
        return np.concatenate(known).swapaxes(0, 1)

    @property
    def lowest(self) -> float:
        """The lowest positive level that was visited: the model's sigma_min, in EDM units."""
        return float(np.exp(self.reference.log_levels[0]))

    def sloped(self, track: Track) -> Surrogate:
        """The surrogate with the slopes that runs of one schedule show."""
        return self.with_slope(measured_slope(self.reference, track))

    def compressed(self) -> Surrogate:
        """The same runs and error norms in fewer numbers, but for a part below LEFT_OUT.

        Runs are mixtures of 2F + 1 vectors for each noise, which nearly lie in far fewer
        dimensions than they have elements. What is left is their coordinates.
        """
        lengths = np.linalg.norm(self.known, axis=-1, keepdims=True)
        unit = self.known / np.maximum(lengths, np.finfo(float).tiny)
        _, parts, axes = np.linalg.svd(unit, full_matrices=False)
        rank = int((parts > LEFT_OUT * parts[:, :1]).sum(1).max())
        D, x, end = np.split(
            (self.known @ axes[:, :rank].swapaxes(1, 2)).swapaxes(0, 1),
            [len(self.slope), 2 * len(self.slope)],
        )
        track = Track(self.reference.log_levels, x, D, end[0])
        return Surrogate(track, self.slope, self.solver, self.own_level)

    def with_slope(self, slope: np.ndarray) -> Surrogate:
        """The surrogate of the same runs with other slopes [F, K]."""
        return Surrogate(self.reference, slope, self.solver, self.own_level)

    def residuals(self, schedules: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """End point minus reference, [S, K, E], for S schedules [n+1] of EDM levels ending in 0."""
        levels = np.asarray(schedules)  # [S, n+1]
        at = lagrange(self.reference.log_levels, np.log(levels[:, :-1]))  # [S, n, F]
        slope = at @ self.slope  # [S, n, K]
        shares = self._shares(levels, slope)  # [S, K, n+1]
        offsets, start = shares[..., :-1], shares[..., -1]
        of_outputs = offsets @ at  # [S, K, F]
        of_states = -(offsets * slope.swapaxes(1, 2)) @ at
        of_states[..., -1] += start
        mixture = np.concatenate([of_outputs, of_states, -np.ones_like(start)[..., None]], -1)
        return (mixture.swapaxes(0, 1) @ self.known).swapaxes(0, 1)

    def _shares(self, levels: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """The shares of o_k(t_0), ..., o_k(t_{n-1}) and x(t_0) in the end points, [S, K, n+1].

        levels: [S, n+1]; slope: [S, n, K] c_k(t_i)
        """
        count, steps, noises = slope.shape
        *offset, start = np.eye(steps + 1)

        def denoise(x: np.ndarray, i: int) -> np.ndarray:
            return slope[:, i, :, None] * x + offset[i]

        x = np.broadcast_to(start, (count, noises, steps + 1))
        return solver_end(denoise, x, levels, self.solver, self.own_level)

    def errors(self, schedules: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Predicted RMS error per element, [S, K]."""
        return np.sqrt(np.square(self.residuals(schedules)).mean(-1))

    def denoise(self, x: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The linearised denoiser; x of shape [S, K, E], one level [S] for each schedule."""
        return self.line(x, levels)[1]

    def line(self, x: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance of x from the reference, and the linearised denoiser there, [S, K, E] each."""
        at = lagrange(self.reference.log_levels, np.log(levels))
        away = x - np.tensordot(at, self.reference.x, 1)
        D = np.tensordot(at, self.reference.denoised, 1)
        return away, D + (at @ self.slope)[..., None] * away
