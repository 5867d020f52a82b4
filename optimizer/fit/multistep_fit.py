"""Fitting a multistep sampler to a denoiser from a few noises: levels, told levels and weights.

Notation as in multistep.py. For K noises with fine-step references x_ref(t),

1. `greedy`: the sampler is run once. At step i the row b_i is fitted by least squares, so that
   x_{i+1} comes nearest to x_ref(t_{i+1}): n calls a noise, in closed form.
2. `tangents`: the derivatives of the end points with respect to every number of the sampler.
   They obey the run's own recursion,

       dx_{i+1} = r_i dx_i + (1 - r_i) Σ_j b_ij dD_{i-j} + what the numbers of step i move,
       dD_i     = J_i dx_i + (dD/dlog s) dlog s_i,

   with J_i = dD/dx. The many dx_i of a noise lie close to a few directions: their first principal
   components are moved along, with one call each, and J_i is a multiple of one on what is left.
   So it takes n (DIRECTIONS + 1) calls a noise, where differences of whole runs take some 5 n² / 2.
   With 2 directions and 5, 8 and 12 steps these came within 1 to 9, 1 to 5 and 1 to 15 % of such
   differences on mixtures, and fits with 2, 3, 4, 6 and all directions ended alike.
3. `joint_step`: one Gauss-Newton step on the end residuals over all numbers at once, with a ridge
   toward the greedy sampler. How strong it is, noises left out of the step tell (`_leave_one_out`).

Every noise counts by 1/norm of its residual: what is minimised is near the mean error, and a noise
whose trajectory ends elsewhere does not own the fit.

Arithmetic is double precision on a part of each latent's elements, the states keep their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..diffusion.multistep import Multistep, steps_above
from .surrogate import SIGNIFICANT, SLOPES, lagrange

__all__ = [
    "Elements",
    "Linear",
    "Move",
    "Path",
    "Run",
    "greedy",
    "joint_step",
    "run",
    "slopes",
    "tangents",
]

HISTORY = 4  # outputs that a fitted row mixes at most
GREEDY_RIDGE = 1e-5  # × n³, of every diagonal element, toward the start's weights
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the mean diagonal element of the normal matrix
USUAL_RIDGE = 1e-2  # where no noise can be left out
DIRECTIONS = 2  # along which J is measured
STATE_MOVE = 0.03  # length of such a move, relative to the output
LEVEL_MOVE = 0.05  # of log s, to measure dD/dlog s
WIDEST_MOVE = 2.0  # of log s, beyond which it may leave the levels of the model at hand
ROUNDING = 1e-5  # by which a level is above another, relative: less is none in single precision
TRUST = 0.2  # most that a number is moved by in a step: a weight, log of a gap, log of told/level

At = Callable[[Tensor, float], Tensor]  # (x [B, ...], one EDM level) -> D [B, ...]
Elements = Callable[[Tensor], Tensor]  # [B, ...] -> some elements [B, E] in double precision


@dataclass(frozen=True)
class Path:
    """Fine-step runs, on some elements of every latent.

    log_levels: [F] ascending log t
    outputs:    [F, K, E] D(x_ref(t), t)
    noises:     [F, K, E] (x_ref(t) - D) / t, which like D changes slowly with log t
    end:        [K, E]
    """

    log_levels: np.ndarray
    outputs: Tensor
    noises: Tensor
    end: Tensor

    def at(self, levels: Sequence[float]) -> tuple[Tensor, Tensor]:
        """States and outputs at other levels [S], [S, K, E] each: cubic between those visited."""
        t = np.asarray(levels, dtype=np.float64)
        at = torch.from_numpy(lagrange(self.log_levels, np.log(t)))
        D, noise = torch.tensordot(at, self.outputs, 1), torch.tensordot(at, self.noises, 1)
        return D + torch.from_numpy(t)[:, None, None] * noise, D

    def part(self, noises: int, elements: int) -> Path:
        """The path of the first so many noises and elements."""
        rows, columns = slice(noises), slice(elements)
        return Path(
            self.log_levels,
            self.outputs[:, rows, columns],
            self.noises[:, rows, columns],
            self.end[rows, columns],
        )

    def joined(self, other: Path) -> Path:
        """The path of these noises and others."""
        parts = ((self.outputs, other.outputs), (self.noises, other.noises))
        outputs, noises = (torch.cat(part, 1) for part in parts)
        return Path(self.log_levels, outputs, noises, torch.cat((self.end, other.end)))

    def log_error(self, end: Tensor) -> float:
        """The mean log distance of end points [K, E]; infinite where they are no numbers."""
        error = float((end - self.end).norm(dim=1).clamp_min(1e-12).log().mean())
        return error if math.isfinite(error) else math.inf

    def targets(self, levels: Sequence[float]) -> list[Tensor]:
        """x_ref at the levels t_1 … t_n, the last of which is 0."""
        return [*self.at(levels[1:-1])[0], self.end]


@dataclass(frozen=True)
class Run:
    """A sampler's run on K noises: all outputs [K, ...], the oldest first, and the end [K, E]."""

    outputs: list[Tensor]
    end: Tensor

    def part(self, noises: range) -> Run:
        """The run of some of the noises."""
        rows = slice(noises.start, noises.stop)
        return Run([D[rows] for D in self.outputs], self.end[rows])

    @staticmethod
    def joined(runs: Sequence[Run]) -> Run:
        """The run of the noises of several."""
        outputs = [torch.cat(parts) for parts in zip(*(one.outputs for one in runs), strict=True)]
        return Run(outputs, torch.cat([one.end for one in runs]))


def run(denoise: At, sampler: Multistep, noise: Tensor, elements: Elements) -> Run:
    """Run a sampler from unit noise [K, ...]: n calls a noise."""
    x, outputs = sampler.levels[0] * noise, []
    for i, s in enumerate(sampler.told):
        outputs.append(denoise(x, s))
        x = sampler.step(i, x, outputs[::-1])
    return Run(outputs, elements(x))


class Linear:
    """A denoiser without calls, linear about each noise's reference: D_ref + c (x - x_ref).

    slopes: [S, K] c at S descending levels; beyond them the nearest counts
    """

    def __init__(self, path: Path, levels: Sequence[float], slopes: Tensor):
        self.path, self.known = path, slopes.numpy()[::-1]
        self.log_levels = np.log(levels)[::-1]
        self.lines: dict[float, tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, level: float) -> Tensor:
        if level not in self.lines:
            self.lines[level] = self._line(level)
        slope, offset = self.lines[level]
        return slope * x + offset

    def _line(self, level: float) -> tuple[Tensor, Tensor]:
        """c [K, 1] and D_ref - c x_ref [K, E] at a level."""
        state, D = self.path.at([level])
        log_level = math.log(level)
        slopes = [np.interp(log_level, self.log_levels, known) for known in self.known.T]
        slope = torch.tensor(np.array(slopes))[:, None]
        return slope, D[0] - slope * state[0]


def slopes(sampler: Multistep, noise: Tensor, made: Run, path: Path, elements: Elements) -> Tensor:
    """<dD, dx> / <dx, dx> [n, K] along a run beside the references.

    Where dx is no more than SIGNIFICANT of D, that would be a ratio of rounding errors: it is that
    of unit Gaussian data, 1 / (1 + t²).
    """
    found = []
    x = sampler.levels[0] * noise
    for i, s in enumerate(sampler.told):
        state, D = path.at([s])
        dx, dD = elements(x) - state[0], elements(made.outputs[i]) - D[0]
        squared = dx.square().sum(1)
        usual = torch.full_like(squared, 1.0 / (1.0 + s * s))
        usable = squared > SIGNIFICANT**2 * D[0].square().sum(1)
        ratio = (dx * dD).sum(1) / squared.clamp_min(1e-300)
        found.append(torch.where(usable, ratio.clamp(*SLOPES), usual))
        x = sampler.step(i, x, made.outputs[i::-1])
    return torch.stack(found)


# -- greedy ---------------------------------------------------------------------------------


def greedy(
    denoise: At,
    start: Multistep,
    noise: Tensor,
    path: Path,
    elements: Elements,
    whole: bool = False,
    boundary: float = 0.0,
) -> tuple[Multistep, Run]:
    """Fit the rows of a start one by one, each landing nearest to the references.

    Arguments:
        start: whose levels are kept, and whose first HISTORY weights rows are drawn toward.
        noise: [K, ...] the unit noises of the references.
        whole: whether the weights of the last row add up to 1.
        boundary: from it on rows mix no outputs of steps above it; 0: all mix all.
    """
    begins = steps_above(start.levels, boundary)
    x = start.levels[0] * noise
    outputs: list[Tensor] = []
    recent: list[Tensor] = []
    rows: list[tuple[float, ...]] = []
    targets = path.targets(start.levels)
    ridge = GREEDY_RIDGE * start.steps**3
    for i, (t, t_next) in enumerate(pairwise(start.levels)):
        outputs.append(denoise(x, start.told[i]))
        recent = [] if i == begins else recent
        recent = [elements(outputs[-1]), *recent][:HISTORY]
        r = t_next / t
        goal = (targets[i] - r * elements(x)) / (1.0 - r)
        last = whole and t_next == 0.0
        row = _nearest(torch.stack(recent), goal, start.weights[i], ridge, last)
        rows.append(row)
        x = r * x
        for b, D in zip(row, outputs[::-1], strict=False):
            x.add_(D, alpha=(1.0 - r) * b)
    return replace(start, weights=tuple(rows)), Run(outputs, elements(x))


def _nearest(
    basis: Tensor, goal: Tensor, row: Sequence[float], ridge: float, whole: bool
) -> tuple[float, ...]:
    """The weights [h] with which outputs [h, K, E] mix nearest to goals [K, E].

    Unknowns are the weight of the newest output and those of the others' differences from it.
    """
    first = torch.zeros(len(basis), dtype=basis.dtype)
    first[: len(row)] = torch.tensor(row[: len(basis)], dtype=basis.dtype)
    missed = goal - torch.tensordot(first, basis, 1)
    shape = torch.eye(len(basis), dtype=basis.dtype)
    shape[1:, 0] = -1.0
    shape = shape[1:] if whole else shape
    if not len(shape):
        return tuple(first.tolist())
    moves = torch.tensordot(shape, basis, 1)  # [U, K, E]
    weighted = moves / missed.norm(dim=1).clamp_min(1e-9)[:, None]
    A = torch.tensordot(weighted, moves, ([1, 2], [1, 2]))
    g = torch.tensordot(weighted, missed, ([1, 2], [0, 1]))
    A = A + torch.diag(A.diagonal() * ridge + 1e-12 * A.diagonal().max())
    return tuple((first + torch.linalg.solve(A, g) @ shape).tolist())


# -- tangents -------------------------------------------------------------------------------


def tangents(
    denoise: At,
    sampler: Multistep,
    noise: Tensor,
    made: Run,
    elements: Elements,
    lowest: float,
    model_level: Callable[[float], float] = float,
    boundary: float = 0.0,
    directions: int = DIRECTIONS,
) -> Tensor:
    """Derivatives of the end points [K, U, E] with respect to log t_1 … log t_{n-1}, the log s_i
    and the weights, one row after the other; moving a level moves what is told with it.

    Everything that a run of one noise meets is a mixture of few vectors: the start, the outputs
    and the measured derivatives. So tangents are shares of these, and of the vectors only inner
    products on some elements are needed, but for the directions that are moved along.

    Arguments:
        noise, made: K noises and the sampler's run on them.
        lowest: EDM level below which the model is told nothing.
        model_level: the level nearest to one that the model knows.
        boundary: at and below which another model answers; 0: there is one.
    """
    n, count = sampler.steps, len(noise)
    most = 1 + 2 * n + (n - 1) * directions
    vectors = _Vectors(elements, [sampler.levels[0] * noise, *made.outputs], most)
    levels = {i: i - 1 for i in range(1, n)}  # the unknowns by index
    told = {i: n - 1 + i for i in range(n)}
    rows = np.cumsum([2 * n - 1, *map(len, sampler.weights)])
    unknowns = int(rows[-1])
    state = vectors.share({0: 1.0}).expand(count, 1, -1)  # of x_i
    dx = vectors.share({}).expand(count, unknowns, -1)
    dD: list[Tensor] = []
    x = sampler.levels[0] * noise
    for i, s in enumerate(sampler.told):
        b, r = sampler.weights[i], sampler.levels[i + 1] / sampler.levels[i]
        output = made.outputs[i]
        moved = _along(denoise, vectors, dx, x, s, output, directions) if i else dx
        ends = _ends(sampler.levels[i], sampler.levels[0], lowest, boundary)
        other = _beside(s, *ends, model_level)
        by_level = vectors.add((denoise(x, other) - output) / math.log(other / s))
        moved = vectors.padded(moved)
        moved[:, told[i], by_level] += 1.0
        if i:
            moved[:, levels[i], by_level] += 1.0
        dD = [moved, *dD][:HISTORY]
        mixture = vectors.share({1 + i - j: weight for j, weight in enumerate(b)})
        away = vectors.padded(state) - mixture
        dx = r * vectors.padded(dx)
        for weight, D in zip(b, dD, strict=False):
            dx = dx + (1.0 - r) * weight * vectors.padded(D)
        if i:
            dx[:, levels[i]] -= r * away[:, 0]
        if i + 1 < n:
            dx[:, levels[i + 1]] += r * away[:, 0]
        for j in range(len(b)):
            dx[:, rows[i] + j, 1 + i - j] += 1.0 - r
        state = r * vectors.padded(state) + (1.0 - r) * mixture
        x = sampler.step(i, x, made.outputs[i::-1])
    return dx @ vectors.kept


def _ends(level: float, highest: float, lowest: float, boundary: float) -> tuple[float, float]:
    """The lowest and the highest that may be told at a level: the same model has to answer."""
    if level > boundary:
        return max(lowest, boundary * (1.0 + ROUNDING)), highest
    return lowest, min(highest, boundary)


def _beside(
    s: float, lowest: float, highest: float, model_level: Callable[[float], float]
) -> float:
    """A level that the model knows some LEVEL_MOVE below s, or above where that is too low.

    Farther off where a table has none so near: Stable Diffusion's lowest two are 0.35 apart.
    """
    for size in (LEVEL_MOVE * 2.0**k for k in range(8)):
        for other in (model_level(s * math.exp(step)) for step in (-size, size)):
            inside = lowest <= other and (other <= highest or size > WIDEST_MOVE)
            if inside and abs(math.log(other / s)) > 0.5 * LEVEL_MOVE:
                return other
    return s * math.exp(LEVEL_MOVE)


class _Vectors:
    """Vectors [K, ...] of K noises' runs, with kept elements [K, M, E] and products [K, M, M]."""

    def __init__(self, elements: Elements, vectors: list[Tensor], most: int):
        self.elements = elements
        self.vectors: list[Tensor] = []
        kept = elements(vectors[0])
        self._kept = kept.new_zeros(len(kept), most, kept.shape[1])
        self._products = kept.new_zeros(len(kept), most, most)
        for vector in vectors:
            self.add(vector)

    @property
    def count(self) -> int:
        """Number of vectors M."""
        return len(self.vectors)

    @property
    def kept(self) -> Tensor:
        """Their kept elements."""
        return self._kept[:, : self.count]

    @property
    def products(self) -> Tensor:
        """Their inner products on these."""
        return self._products[:, : self.count, : self.count]

    def add(self, vector: Tensor) -> int:
        """Add a vector, and return its index."""
        index = self.count
        self.vectors.append(vector)
        self._kept[:, index] = self.elements(vector)
        row = (self.kept @ self._kept[:, index, :, None])[..., 0]
        self._products[:, index, : index + 1] = row
        self._products[:, : index + 1, index] = row
        return index

    def share(self, shares: dict[int, float]) -> Tensor:
        """Shares [1, 1, M] of the vectors."""
        mixed = torch.zeros(1, 1, self.count, dtype=self.kept.dtype)
        for index, value in shares.items():
            mixed[..., index] = value
        return mixed

    def padded(self, shares: Tensor) -> Tensor:
        """A copy of shares of the first vectors as shares of all."""
        return torch.nn.functional.pad(shares, (0, self.count - shares.shape[-1])).clone()

    def mixed(self, shares: Tensor) -> Tensor:
        """The mixtures [K, ...] with shares [K, M]."""
        total = torch.zeros_like(self.vectors[0])
        for m, vector in enumerate(self.vectors[: shares.shape[-1]]):
            by = shares[:, m].to(total)
            total += by.reshape(-1, *[1] * (total.ndim - 1)) * vector
        return total


def _along(
    denoise: At, vectors: _Vectors, dx: Tensor, x: Tensor, s: float, output: Tensor, directions: int
) -> Tensor:
    """J dx as shares [K, U, M'], with J measured along the principal directions of all dx."""
    dx = vectors.padded(dx)
    squares, axes = torch.linalg.eigh(dx @ vectors.products @ dx.mT)
    live = int((squares > 1e-12 * squares[:, -1:]).sum(1).max())
    count = min(directions, live)
    squares, axes = squares[:, -count:].flip(1), axes[:, :, -count:].flip(2)  # largest first
    unit = axes.mT @ dx / squares.clamp_min(1e-300).sqrt()[..., None]  # [K, Q, M]
    shares = dx @ vectors.products @ unit.mT  # [K, U, Q]
    length = STATE_MOVE * vectors.elements(output).norm(dim=1)  # [K]
    across = (-1, *[1] * (x.ndim - 1))
    slopes, indices = [], []
    for q in range(count):
        move = vectors.mixed(unit[:, q] * length[:, None])
        answer = denoise(x + move, s) - output
        indices.append(vectors.add(answer / length.to(answer).reshape(across)))
        products = vectors.products[:, -1, : unit.shape[-1]]
        slopes.append((unit[:, q] * products).sum(1))
    slope = torch.stack(slopes[-2:]).mean(0).clamp(0.0, 1.0)
    rest = vectors.padded(slope[:, None, None] * (dx - shares @ unit))
    for q, index in enumerate(indices):
        rest[:, :, index] += shares[:, :, q]
    return rest


# -- Gauss-Newton ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """The coordinates in which a sampler is moved.

    shape: [V, U] what each of them moves of log levels, log told levels and weights
    total: [V] how far the sampler is from the greedy one
    """

    shape: Tensor
    total: Tensor

    @staticmethod
    def of(sampler: Multistep, told: bool = True, whole: bool = False) -> Move:
        """Log gaps, told over level, sums of rows, and weights of differences from the newest.

        told:  whether told levels may leave the levels
        whole: whether the weights of the last row keep their sum
        """
        n = sampler.steps
        sizes = [len(row) for row in sampler.weights]
        rows = np.cumsum([2 * n - 1, *sizes])
        shape = torch.zeros(int(rows[-1]), int(rows[-1]), dtype=torch.float64)
        for m in range(1, n):  # gap m: levels m … n-1
            gap = math.log(sampler.levels[m - 1] / sampler.levels[m])
            shape[m - 1, m - 1 : n - 1] = -gap
        for k in range(n - 1, len(shape)):
            shape[k, k] = 1.0
        for i, size in enumerate(sizes):
            shape[rows[i] + 1 : rows[i] + size, rows[i]] = -1.0
        free = torch.ones(len(shape), dtype=torch.bool)
        if not told:
            free[n - 1 : 2 * n - 1] = False
        if whole:
            free[rows[n - 1]] = False
        shape = shape[free]
        return Move(shape, torch.zeros(len(shape), dtype=torch.float64))

    def moved(
        self, sampler: Multistep, step: Tensor, lowest: float, boundary: float = 0.0
    ) -> Multistep:
        """The sampler after a step [V], within the TRUST of each coordinate.

        lowest, boundary: as for `tangents`
        """
        n = sampler.steps
        step = step.clamp(-TRUST, TRUST)
        gaps = -np.diff(np.log(sampler.levels[:-1])) * np.exp(step[: n - 1].numpy())
        most = math.log(sampler.levels[0] / lowest)
        gaps *= min(1.0, most / gaps.sum()) if n > 1 else 1.0
        levels = sampler.levels[0] * np.exp(-np.concatenate([[0.0], np.cumsum(gaps)]))
        change = (step @ self.shape).numpy()
        ratio = np.array(sampler.told) / np.array(sampler.levels[:-1])
        told = levels * ratio * np.exp(change[n - 1 : 2 * n - 1])
        weights = np.concatenate(sampler.weights) + change[2 * n - 1 :]
        cuts = np.cumsum([len(row) for row in sampler.weights])[:-1]
        ends = [_ends(t, sampler.levels[0], lowest, boundary) for t in levels]
        return Multistep(
            (*map(float, levels), 0.0),
            tuple(map(float, np.clip(told, *np.transpose(ends)))),
            tuple(tuple(map(float, row)) for row in np.split(weights, cuts)),
        )


def joint_step(T: Tensor, residual: Tensor, move: Move) -> Tensor:
    """The Gauss-Newton step [V], with the ridge that does best on noises left out of it.

    Arguments:
        T: [K, V, E] derivatives of the end points with respect to the coordinates of `move`.
        residual: [K, E] end points minus references.
    """
    norms = residual.norm(dim=1).clamp_min(1e-9)
    A = T @ T.mT / norms[:, None, None]  # [K, V, V]
    g = (T @ residual[:, :, None])[..., 0] / norms[:, None]  # [K, V]
    ridge = _leave_one_out(T, residual, A, g, move.total)
    return _solved(A.sum(0), g.sum(0), move.total, ridge)


def _solved(A: Tensor, g: Tensor, total: Tensor, ridge: float) -> Tensor:
    """The step that minimises the weighted residual, and ridge × the distance from the start."""
    R = ridge * A.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None]  # [..., 1]
    regular = A + torch.diag_embed(R.expand(*A.shape[:-1]))
    return torch.linalg.solve(regular, (-g - R * total)[..., None])[..., 0].clamp(-TRUST, TRUST)


def _leave_one_out(T: Tensor, residual: Tensor, A: Tensor, g: Tensor, total: Tensor) -> float:
    """The ridge with the least mean log error of noises that the step is not made from."""
    if len(T) < 3:
        return USUAL_RIDGE

    def log_error(ridge: float) -> float:
        steps = _solved(A.sum(0) - A, g.sum(0) - g, total, ridge)  # [K, V]
        left = residual + (steps[:, None] @ T)[:, 0]
        return float(left.norm(dim=1).clamp_min(1e-9).log().mean())

    return min(reversed(RIDGES), key=log_error)
