"""Schedules to beat: the host's and the published ones, and two methods that optimise per model.

GITS. Chen, Zhou, Wang, Shen, Lyu, "On the Trajectory Regularity of ODE-based Diffusion Sampling"
(2024), arXiv 2405.11326, Section 5: 256 fine trajectories; the cost of a step i -> j is the error
at j of one Euler step from the fine state at i; dynamic programming for

    V(i, k) = min_j  c(i, j) + γ V(j, k - 1),        γ = 1.15

over exactly k steps. Teacher: 60 steps on EDM's rho = 7 levels; calls 256 x 60. Two costs, as
published: the Euclidean distance ("l2"), and by how much the student is farther than the teacher
from the straight line between the trajectory's ends ("dev").

OSS. Pei, Wang, Zhang, "Optimal Stepsize for Diffusion Sampling" (2025), arXiv 2503.21774: a
teacher of 200 Euler steps on the model's own, time-uniform levels. With z(k, j) the student's
state at j after k steps, for every noise by itself

    z(k, j) = the Euler step from z(k-1, i) to j of least mean squared distance to the teacher at j

over all i before j; the schedule is traced back from the end. One schedule for many noises is, as
the authors make one, the median over noises of every level's position. 200 (n + 1) calls a noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..optimizer import SOLVERS, Denoiser, edm_schedule
from ..schedules import PRESETS, NoiseTable, at_steps, hand_made, preset_for_model
from ..schedules.curves import sgm_uniform

__all__ = ["Found", "Gits", "best_path", "fixed", "gits_costs", "oss", "oss_path"]

GITS_TRAJECTORIES, GITS_LEVELS, GITS_COEFFICIENT = 256, 61, 1.15
OSS_NOISES, OSS_TEACHER_STEPS = 8, 200


@dataclass(frozen=True)
class Found:
    """A schedule [n+1] that ends in 0, and the denoiser rows that it took to find it."""

    sigmas: Tensor
    calls: int


def fixed(steps: int, table: NoiseTable) -> dict[str, Tensor]:
    """Return what needs no optimising: the host's curves and the published tables, by name."""
    given = {name: np.asarray(levels) for name, levels in hand_made(steps, table).items()}
    for name in PRESETS:
        published = preset_for_model(name, sigma_max=table.sigma_max, sigmas=table.sigmas.tolist())
        levels = at_steps(published, steps, sigma_min=table.sigma_min)
        given[f"AYS {name}"] = np.asarray(levels)
    return {name: torch.from_numpy(levels).float() for name, levels in given.items()}


# -- GITS -----------------------------------------------------------------------------------


class Gits:
    """GITS for one denoiser: the costs are measured once and serve every step count.

    noise: [N, ...] of unit variance, the starts of the fine trajectories
    """

    def __init__(self, denoise: Denoiser, noise: Tensor, table: NoiseTable):
        steps = GITS_LEVELS - 1
        self.levels = torch.from_numpy(edm_schedule(steps, table.sigma_max, table.sigma_min))
        states, slopes = trajectory(denoise, noise, self.levels)
        self.calls = len(noise) * steps
        self.costs = {
            metric: gits_costs(states, slopes, self.levels, metric) for metric in ("l2", "dev")
        }

    def schedule(self, steps: int, metric: str) -> Found:
        """The schedule of n steps; the last level becomes 0, as in the host's tables of GITS."""
        path = best_path(self.costs[metric], steps, GITS_COEFFICIENT)
        levels = self.levels[path].clone()
        levels[-1] = 0.0
        return Found(levels.float(), self.calls)


def trajectory(denoise: Denoiser, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """States [M, N, d] and slopes dx/dt [M, N, d] of fine DPM-Solver++(2M) runs.

    The slope at the last level is not needed and is zero.
    """
    states: list[Tensor] = []
    slopes: list[Tensor] = []

    def recording(x: Tensor, sigma: Tensor) -> Tensor:
        D = denoise(x, sigma)
        states.append(x.flatten(1).double())
        slopes.append(((x - D).flatten(1) / sigma[:, None]).double())
        return D

    t = levels.to(noise)
    end = SOLVERS["dpmpp_2m"](recording, t[0] * noise, t, lambda: noise)
    states.append(end.flatten(1).double())
    slopes.append(torch.zeros_like(states[-1]))
    return torch.stack(states), torch.stack(slopes)


def gits_costs(states: Tensor, slopes: Tensor, levels: Tensor, metric: str) -> np.ndarray:
    """c(i, j), [M, M]: the mean error at j of one Euler step from the fine state at i < j.

    Arguments:
        states, slopes: [M, N, d].
        levels: [M], descending.
        metric: "l2" or "dev".
    """
    costs = np.full((len(levels), len(levels)), np.inf)
    fine = _deviation(states, states[0], states[-1])  # [M, N]
    for i in range(len(levels) - 1):
        step = (levels[i + 1 :] - levels[i])[:, None, None]
        student = states[i] + step * slopes[i]  # [M - i - 1, N, d]
        if metric == "dev":
            error = _deviation(student, states[0], states[-1]) - fine[i + 1 :]
        else:
            error = (student - states[i + 1 :]).norm(dim=2)
        costs[i, i + 1 :] = error.mean(1).numpy()
    return costs


def best_path(costs: np.ndarray, steps: int, coefficient: float) -> list[int]:
    """The path 0 = i_0 < … < i_n = M - 1 of least Σ_k γ^k c(i_k, i_{k+1})."""
    last = len(costs) - 1
    if not 1 <= steps <= last:
        raise ValueError(f"steps was {steps}: choose 1 to {last}, the steps of the teacher.")
    value = np.full(last + 1, np.inf)
    value[last] = 0.0
    successors = []
    for _ in range(steps):
        total = costs + coefficient * value  # [i, j]
        successors.append(total.argmin(1))
        value = total.min(1)
    path = [0]
    for successor in reversed(successors):
        path.append(int(successor[path[-1]]))
    return path


def _deviation(x: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance of x [M, N, d] from the line through start and end [N, d]; [M, N]."""
    along = (end - start) / (end - start).norm(dim=1, keepdim=True)
    offset = x - start
    return (offset - (offset * along).sum(2, keepdim=True) * along).norm(dim=2)


# -- OSS ------------------------------------------------------------------------------------


def oss(denoise: Denoiser, noise: Tensor, steps: int, table: NoiseTable) -> Found:
    """The schedule of OSS for noise [N, ...] of unit variance."""
    levels = torch.from_numpy(sgm_uniform(OSS_TEACHER_STEPS, table)).to(noise)
    paths, calls = [], 0
    for one in noise.split(1):
        path, spent = oss_path(denoise, one, levels, steps)
        paths.append(path)
        calls += spent
    ordered = np.sort(np.array(paths), axis=0)
    middle = (ordered[(len(paths) - 1) // 2] + ordered[len(paths) // 2]) // 2
    return Found(levels[middle.tolist()].float(), calls)


def oss_path(denoise: Denoiser, noise: Tensor, levels: Tensor, steps: int) -> tuple[list[int], int]:
    """Positions 0 = i_0 < … < i_n = M - 1 in `levels` for one noise [1, ...], and the calls made.

    levels: [M] of the teacher, descending to 0.
    """
    last = len(levels) - 1
    teacher = [levels[0] * noise[0]]
    for s, t in pairwise(levels):
        x = teacher[-1]
        teacher.append(x + (t - s) / s * (x - denoise(x[None], s[None])[0]))
    calls = last

    state: dict[int, Tensor] = {0: teacher[0]}  # where the student can be after k steps
    origins: list[dict[int, int]] = []
    for k in range(steps):
        at = sorted(state)
        x = torch.stack([state[i] for i in at])
        s = levels[at]
        slope = (x - denoise(x, s)) / s.reshape(-1, *[1] * (x.ndim - 1))
        calls += len(at)
        # After the last step only the end counts.
        ends = [last] if k == steps - 1 else range(k + 1, last)
        state, origin = {}, {}
        for j in ends:
            before = [row for row, i in enumerate(at) if i < j]
            step = (levels[j] - s[before]).reshape(-1, *[1] * (x.ndim - 1))
            reached = x[before] + step * slope[before]
            best = int((reached - teacher[j]).flatten(1).square().mean(1).argmin())
            state[j], origin[j] = reached[best], at[before[best]]
        origins.append(origin)
    path = [last]
    for origin in reversed(origins):
        path.append(origin[path[-1]])
    return path[::-1], calls
