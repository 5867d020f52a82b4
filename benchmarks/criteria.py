"""Which criterion should judge schedules of stochastic solvers: measured on pools of schedules.

What counts is the distribution of a stochastic solver's samples: the energy distance of 2,048 of
them to true ones, or, where those are not known (guidance, a network), to fine-step samples of the
same stochastic process. A criterion has to find the schedule of least energy distance from few
noises. The pools hold what misleads it too: schedules refined on the error of the deterministic
twin, and blends of those with others. With x_k the solver's end from noise k and y_k that of a
fine run along the same Brownian path, averages over N noises and all elements:

    twin          mean RMS error of the same solver without fresh noise against the fine ODE
    path          mean RMS of x - y
    weak          the same after averaging over 4 Brownian paths from one initial noise
    moments       root mean of (mean x - mean y)² + (std x - std y)², over the elements
    energy        energy distance of the x to the y
    twin energy   that of the twin's ends to the ODE's
    bound p       the bound of the solver's order with weight t^-p, on N paths of the profile

and products of these, which need no scale. `shortlist, ...` chooses among the few schedules of
least twin error alone, which is all that a budget allows to run. A latent is far larger than these
problems; one that consists of many independent parts is imitated by taking 16 samples for the
parts of one.

Runs of any steps follow the same noise (see optimizer/diffusion/brownian.py). Means over pairs of
different noises (U-statistics) stay unbiased, and the common noise makes them far less noisy than
those of two independent sets of samples.

`python -m align_your_steps.benchmarks.criteria` goes on where it was stopped; the cells are in
results/criteria.json, the summary in results/criteria.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from ..optimizer import SOLVERS, VE, Known, Profile, measure_profile, optimize
from ..optimizer.diffusion.brownian import BrownianPath
from ..optimizer.diffusion.coordinate import spread
from ..optimizer.diffusion.solvers import DETERMINISTIC_TWIN, stochastic_solver
from ..optimizer.judging.select import Candidate
from ..optimizer.profile.candidates import distinct, measured_candidates
from ..optimizer.profile.klub import Landscape
from ..schedules.curves import time_uniform
from .metrics import Energy, end_point_errors, energy_difference, energy_distance
from .peers import fixed
from .problems import TABLE, Problem, problem
from .record import RESULTS

__all__ = ["bound", "coupled_energy", "main", "pair_mean"]

PROBLEMS = (
    "gaussian-64", "gaussian-256", "grid-8x4", "digits-mixture", "digits-mixture-cfg3",
    "digits-mixture-cfg7", "power-mixture", "power-mixture-cfg3", "power-mixture-cfg7",
    "digits-network-cfg3",
)  # fmt: skip
STEPS = (5, 6, 10)
SEEDS = (1, 2, 3)
SOLVER_NAMES = ("dpmpp_2m_sde", "ddim_stochastic")
LARGE = "16 (of 16 parts)"
SETTINGS = {"16": (16, 1), "64": (64, 1), "256": (256, 1), LARGE: (16, 16)}  # noises, parts
NOISES = 256
DRAWS = 4  # Brownian paths from one initial noise
SAMPLES, NETWORK_SAMPLES = 2048, 512  # of a solver, compared with as many true ones
FINE = 200  # steps of the true samples where there are no others
SPLITS = 16  # of two sets of true samples, for the noise floor of their energy distance
EXPONENTS = (0.75, 1.0, 3.0)
PROFILE_PATHS, PROFILE_LEVELS, PROFILE_SEED = 64, 32, 5

MEASURED, BLENDED = 12, 8  # schedules of these kinds in a pool
REFINED_SEEDS, REFINED_BUDGETS = (11, 12), (2000, 4000)
USUAL = ("karras", "exponential", "AYS SDXL", "AYS DeepFloyd IF")  # often the best fixed ones
SAMPLE_NOISE, TRUTH, CRITERION_NOISE, PATH_NOISE = range(2_000_003, 2_000_007)
SHORTLIST, SHORTLIST_FIXED = 6, 3  # schedules of least twin error: of all, of the fixed ones
SHORTLISTED = ("path", "moments", "twin x moments")
SIGNIFICANT = 3.0  # standard errors


# -- criteria ---------------------------------------------------------------------------------


def pair_mean(pairs: Tensor) -> float:
    """The mean over pairs of different rows, of a matrix [N, N]."""
    return float((pairs.sum() - pairs.trace()) / (len(pairs) * (len(pairs) - 1)))


def coupled_energy(x: Tensor, y: Tensor) -> Tensor:
    """[N, N] terms of the energy distance of rows x and y [N, ...] made from the same noise.

    Their `pair_mean` is the energy distance: unbiased, as different rows are independent.
    """
    x, y = x.double().flatten(1), y.double().flatten(1)
    between = torch.cdist(x, y)
    return between + between.T - torch.cdist(x, x) - torch.cdist(y, y)


def bound(landscape: Landscape, sigmas: np.ndarray, order: int) -> float:
    """The bound of `optimizer.paths` for a schedule that ends in 0, down to the lowest level.

    sum_i  int_{t_{i-1}}^{t_i} t^-p E ||D_t - predictor_i||² dt  with the weight of the landscape;
    order 2 has the multistep predictor with steps in -log t, not in the first and last step.
    """
    lowest, highest = float(landscape.levels[0]), float(landscape.levels[-1])
    inside = np.minimum(sigmas[sigmas > lowest * (1 + 1e-6)], highest)
    levels = np.append(inside, lowest)
    total, log = 0.0, np.log(levels)
    for i, (b, a) in enumerate(pairwise(levels)):
        nodes = np.concatenate([[a], landscape.levels[(landscape.levels > a)], [b]])
        nodes = np.unique(np.minimum(nodes, b))
        frozen = landscape.difference(nodes, np.full_like(nodes, b))
        if order == 2 and 0 < i < len(levels) - 2:
            c = levels[i - 1]
            kappa = (log[i] - log[i + 1]) / (2.0 * (log[i - 1] - log[i]))
            before = landscape.difference(nodes, np.full_like(nodes, c))
            constant = landscape.difference(np.array([b]), np.array([c]))
            frozen = (1 + kappa) * (frozen + kappa * constant) - kappa * before
        total += float(landscape.cells(np.log(nodes), np.maximum(frozen, 0.0)).sum())
    return total


@dataclass(frozen=True)
class Ends:
    """End points of one schedule and of the fine runs, [N, ...], row k from noise k.

    twin, ode:     of the deterministic twin, and of the fine ODE
    path, fine:    of the solver, and of the fine process along the same Brownian path
    fan, fine_fan: the same, DRAWS rows in turn from one initial noise
    """

    twin: Tensor
    ode: Tensor
    path: Tensor
    fine: Tensor
    fan: Tensor
    fine_fan: Tensor


def moments(x: Tensor, y: Tensor) -> float:
    """Root mean over the elements of the squared differences of mean and of std, rows [N, d]."""
    mean = (x.mean(0) - y.mean(0)).square()
    std = (x.std(0) - y.std(0)).square()
    return float((mean + std).mean().sqrt())


def criteria(ends: Ends, noises: int, parts: int) -> dict[str, list[float]]:
    """Every criterion that needs runs, on as many sets of `noises` as there are.

    parts: so many rows are taken for the parts of one sample
    """
    found: dict[str, list[float]] = {}
    for start in range(0, len(ends.twin) - noises * parts + 1, noises * parts):

        def rows(x: Tensor, start: int = start) -> Tensor:
            part = x[start : start + noises * parts].double()
            return part.reshape(noises, -1)

        twin, ode, x, y = (rows(one) for one in (ends.twin, ends.ode, ends.path, ends.fine))
        drawn = rows(ends.fan - ends.fine_fan).reshape(-1, DRAWS, *twin.shape[1:])
        one = {
            "twin": float(end_point_errors(twin, ode).mean()),
            "path": float(end_point_errors(x, y).mean()),
            "weak": float(drawn.mean(1).square().mean(1).sqrt().mean()),
            "moments": moments(x, y),
            "energy": pair_mean(coupled_energy(x, y)),
            "twin energy": pair_mean(coupled_energy(twin, ode)),
        }
        one["twin x path"] = one["twin"] * one["path"]
        one["twin x moments"] = one["twin"] * one["moments"]
        one["twin x path x moments"] = one["twin"] * one["path"] * one["moments"]
        for name, value in one.items():
            found.setdefault(name, []).append(value)
    return found


def relative_criteria(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sum and maximum of the twin's and the pathwise error, each over its least in the pool."""
    twin, path = (scores[name] / scores[name].min(1, keepdims=True) for name in ("twin", "path"))
    return {"twin + path": twin + path, "max of twin, path": np.maximum(twin, path)}


def bounds(profile: Profile, pool: Sequence[Candidate], order: int) -> dict[str, list[float]]:
    """The bounds of every schedule of a pool, by name."""
    found = {}
    for p in EXPONENTS:
        landscape = Landscape.of(profile, p)
        levels = [one.sigmas.double().numpy() for one in pool]
        found[f"bound {p:g}"] = [bound(landscape, sigmas, order) for sigmas in levels]
    return found


# -- one cell ---------------------------------------------------------------------------------


class Study:
    """A problem with what its cells share: noise and true samples."""

    def __init__(self, name: str, seed: int):
        self.problem: Problem = problem(name, seed)
        self.seed = seed
        self.count = NETWORK_SAMPLES if "network" in name else SAMPLES
        self.noises = min(NOISES, self.count // 8)  # that criteria are measured on
        self.noise = self.unit(self.count, SAMPLE_NOISE)
        if self.problem.sample is not None:
            samples = self.problem.sample(2 * self.count, seed + TRUTH)
        else:
            samples = self.sampled("dpmpp_2m_sde", self.unit(2 * self.count, TRUTH), _fine(FINE))
        self.truth, self.second = samples.split(self.count)
        self.floor = _floor(self.truth, self.second)

    def unit(self, count: int, stream: int) -> Tensor:
        """Unit noise [count, ...] of a stream."""
        return torch.randn(count, *self.problem.shape, generator=self.source(stream))

    def source(self, stream: int) -> torch.Generator:
        """The generator of a stream of noise."""
        return torch.Generator().manual_seed(stream + 1_000_000 * self.seed)

    def sampled(self, solver: str, noise: Tensor, sigmas: Tensor) -> Tensor:
        """A solver's end points, with the same fresh noise in step k of every schedule."""
        source = self.source(TRUTH + 10)
        return self.run(solver, noise, sigmas, lambda: torch.randn(noise.shape, generator=source))

    def run(self, solver: str, noise: Tensor, sigmas: Tensor, draw: Callable[[], Tensor]) -> Tensor:
        """A solver's end points from unit noise."""
        return SOLVERS[solver](self.problem.denoise, sigmas[0] * noise, sigmas, draw)

    def along(self, solver: str, noise: Tensor, sigmas: Tensor, path: BrownianPath) -> Tensor:
        """A solver's end points along Brownian paths."""
        return stochastic_solver(solver, self.problem.denoise)(noise, sigmas, path)


def _fine(steps: int) -> Tensor:
    levels = np.append(spread(TABLE.sigma_max, TABLE.sigma_min, steps), 0.0)
    return torch.from_numpy(levels).float()


def _floor(x: Tensor, y: Tensor) -> float:
    """The standard deviation of the energy distance of two sets from one distribution.

    Over random splits of both sets together.
    """
    both = torch.cat([x, y]).double().flatten(1)
    distances, count = torch.cdist(both, both), len(x)
    source = torch.Generator().manual_seed(0)
    values = []
    for _ in range(SPLITS):
        sign = torch.ones(2 * count, dtype=torch.float64)
        sign[torch.randperm(2 * count, generator=source)[:count]] = -1.0
        signed = distances @ sign
        between = (distances.sum() - sign @ signed) / 4.0
        own = (distances.sum() - 2.0 * between) / (count * (count - 1))
        values.append(float(2.0 * between / count**2 - own))
    return float(np.std(values))


def ends_of(study: Study, solver: str, pool: Sequence[Candidate], steps: int) -> list[Ends]:
    """The end points of every schedule of a pool, and of the fine runs beside them."""
    fine = _fine(max(48, 6 * steps))
    noise = study.unit(study.noises, CRITERION_NOISE)
    shared = noise[::DRAWS].repeat_interleave(DRAWS, 0)
    source = study.source(PATH_NOISE)

    def draw() -> Tensor:
        return torch.randn(noise.shape, generator=source)

    path, fan = BrownianPath(draw), BrownianPath(draw)
    twin = DETERMINISTIC_TWIN[solver]
    ode = study.run("dpmpp_2m", noise, fine, lambda: noise)
    end = study.along("dpmpp_2m_sde", noise, fine, path)
    ends = study.along("dpmpp_2m_sde", shared, fine, fan)
    return [
        Ends(
            study.run(twin, noise, one.sigmas, lambda: noise),
            ode,
            study.along(solver, noise, one.sigmas, path),
            end,
            study.along(solver, shared, one.sigmas, fan),
            ends,
        )
        for one in pool
    ]


def pool_of(study: Study, solver: str, steps: int) -> list[tuple[str, Candidate]]:
    """(kind, schedule): fixed, measured, refined on the twin's error, and blends of pairs."""
    order = 1 if solver == "ddim_stochastic" else 2
    given = fixed(steps, TABLE)
    common: dict[str, Any] = {
        "sigma_max": TABLE.sigma_max,
        "sigma_min": TABLE.sigma_min,
        "steps": steps,
        "solver": solver,
        "candidates": dict(given),
        "known": Known(starts={"time-uniform": time_uniform(steps, TABLE)}),
    }
    refined = []
    for seed in REFINED_SEEDS:
        for budget in REFINED_BUDGETS:
            result = optimize(
                study.problem.denoise, study.problem.shape, budget=budget, seed=seed, **common
            )
            best = [s.candidate for s in result.scores if "refined" in s.candidate.name][:2]
            refined += best
    kept = [Candidate(name, levels, given=True) for name, levels in given.items()]
    assert result.profile is not None
    measured = measured_candidates(
        result.profile, steps, VE, TABLE.sigma_max, starts=common["known"].starts, order=order
    )
    searched = list(islice(distinct(measured, kept), MEASURED))
    refined = distinct(refined, [])
    usual = [kept[k] for k in range(len(kept)) if kept[k].name in USUAL]
    partners = [*usual, *searched[:4]]
    pairs = [(a, b) for a in refined for b in partners] + list(combinations(partners, 2))
    chosen = np.random.default_rng(study.seed).choice(len(pairs), BLENDED, replace=False)
    blends = [_blend(*pairs[k]) for k in chosen]
    kinds = {"fixed": kept, "measured": searched, "refined": refined, "blend": blends}
    return [(kind, one) for kind, some in kinds.items() for one in some]


def _blend(a: Candidate, b: Candidate) -> Candidate:
    """The geometric mean of two schedules' levels."""
    return Candidate(f"{a.name} x {b.name}", (a.sigmas * b.sigmas).sqrt())


@dataclass(frozen=True)
class Measured:
    """Measurements that a cell's summary is made from.

    energies: of every schedule of the pool
    floor:    standard deviation of the energy distance of equal distributions
    """

    pool: list[tuple[str, Candidate]]
    energies: list[Energy]
    floor: float
    ends: list[Ends]
    profile: Profile


def measure(study: Study, solver: str, steps: int) -> Measured:
    """Run one pool."""
    pool = pool_of(study, solver, steps)
    schedules = [one for _, one in pool]
    ends = ends_of(study, solver, schedules, steps)
    samples = (study.sampled(solver, study.noise, one.sigmas) for one in schedules)
    levels = torch.from_numpy(spread(TABLE.sigma_max, TABLE.sigma_min, PROFILE_LEVELS))
    profile = measure_profile(
        study.problem.denoise, ends[0].fine[:PROFILE_PATHS], levels, seed=PROFILE_SEED
    )
    energies = [energy_distance(x, study.truth) for x in samples]
    return Measured(pool, energies, study.floor, ends, profile)


def all_scores(cell: Measured, solver: str, noises: int, parts: int) -> dict[str, np.ndarray]:
    """Every criterion of every schedule, [sets of noises, schedules]."""
    found = [criteria(ends, noises, parts) for ends in cell.ends]
    scores = {name: np.array([one[name] for one in found]).T for name in found[0]}
    order = 1 if solver == "ddim_stochastic" else 2
    rows = slice(0, min(noises * parts, PROFILE_PATHS))
    whole = cell.profile
    profile = Profile(whole.sigmas, whole.grams[rows], whole.losses[rows], whole.dim)
    off_profile = bounds(profile, [one for _, one in cell.pool], order)
    return scores | relative_criteria(scores) | {k: np.array([v]) for k, v in off_profile.items()}


def shortlisted(scores: dict[str, np.ndarray], kinds: np.ndarray) -> dict[str, np.ndarray]:
    """The criteria of SHORTLISTED, infinite for schedules that the twin rules out."""
    twin = scores["twin"]
    fixed_only = np.where(kinds == "fixed", twin, np.inf)
    limit = np.sort(twin, 1)[:, SHORTLIST - 1, None]
    fixed_limit = np.sort(fixed_only, 1)[:, SHORTLIST_FIXED - 1, None]
    kept = (twin <= limit) | (fixed_only <= fixed_limit)
    return {f"shortlist, {name}": np.where(kept, scores[name], np.inf) for name in SHORTLISTED}


def summary(cell: Measured, solver: str) -> dict[str, Any]:
    """Plain numbers: energy distances, and rank correlation and choices of every criterion."""
    kinds = np.array([kind for kind, _ in cell.pool])
    values = np.array([energy.value for energy in cell.energies])
    best = int(np.where(kinds == "fixed", values, np.inf).argmin())
    against = [energy_difference(one, cell.energies[best]) for one in cell.energies]
    searched = np.flatnonzero(kinds != "refined")
    found: dict[str, dict[str, Any]] = {}
    for setting, (noises, parts) in SETTINGS.items():
        if noises * parts > len(cell.ends[0].twin):
            continue
        scores = all_scores(cell, solver, noises, parts)
        found[setting] = {
            name: {
                "rank correlation": _mean_rank(some, values),
                "chosen": [int(s.argmin()) for s in some],
                "chosen without refined": [int(searched[s[searched].argmin()]) for s in some],
            }
            for name, some in scores.items()
        }
        found[setting] |= {
            name: {"rank correlation": None, "chosen": [int(s.argmin()) for s in some]}
            for name, some in shortlisted(scores, kinds).items()
        }
    return {
        "floor": cell.floor,
        "best fixed": best,
        "schedules": [
            {
                "kind": kind,
                "name": one.name,
                "energy": float(f"{value:.5g}"),
                "z": round(difference / error, 2) if error > 0 else 0.0,
            }
            for (kind, one), value, (difference, error) in zip(
                cell.pool, values, against, strict=True
            )
        ],
        "criteria": found,
    }


def _mean_rank(scores: np.ndarray, values: np.ndarray) -> float:
    """Mean Spearman correlation of the sets of noises, to four decimals."""
    return round(float(np.mean([spearmanr(one, values)[0] for one in scores])), 4)


# -- report -----------------------------------------------------------------------------------


def picks(cell: dict[str, Any], setting: str, criterion: str, chosen: str) -> list[int]:
    """Return what a criterion chose, once for every set of noises; or one named fixed schedule."""
    if criterion.startswith("always "):
        names = [one["name"] for one in cell["schedules"]]
        return [names.index(criterion.removeprefix("always "))]
    return cell["criteria"][setting][criterion][chosen]


def row(
    cells: Sequence[dict[str, Any]], setting: str, criterion: str, chosen: str = "chosen"
) -> list[float]:
    """Rank correlation, ratios to the best fixed and the best of the pool, shares, worst ratio.

    An average over a cell's sets of noises, then over cells; geometric for ratios. Below the
    floor energy distances count as the floor.
    """
    rows = []
    for cell in cells:
        schedules, floor = cell["schedules"], cell["floor"]
        logs = np.log([max(one["energy"], floor) for one in schedules])
        z = np.array([one["z"] for one in schedules])
        k = picks(cell, setting, criterion, chosen)
        found = cell["criteria"][setting].get(criterion, {"rank correlation": None})
        over_fixed = float(np.mean(logs[k] - logs[cell["best fixed"]]))
        rows.append(
            [
                np.nan if found["rank correlation"] is None else found["rank correlation"],
                over_fixed,
                float(np.mean(logs[k] - logs.min())),
                float(np.mean(z[k] > SIGNIFICANT)),
                float(np.mean(z[k] < -SIGNIFICANT)),
            ]
        )
    table = np.array(rows)
    mean = table.mean(0)
    worst = float(np.exp(table[:, 1].max()))
    return [mean[0], float(np.exp(mean[1])), float(np.exp(mean[2])), mean[3], mean[4], worst]


def write_report(cells: Sequence[dict[str, Any]], path: Path) -> str:
    """Write the Markdown summary."""
    parts = [
        "# Criteria for schedules of stochastic solvers",
        f"{len(cells)} cells: problems drawn by seeds {sorted({cell['seed'] for cell in cells})}, "
        f"steps {sorted({cell['steps'] for cell in cells})}, some 40 schedules each. Rank: "
        "Spearman's correlation with the energy distance of the stochastic samples. Chosen: the "
        "energy distance of the schedule with the least criterion, over that of the best fixed "
        "schedule in hindsight and of the best of the pool, geometric means; worse, better: share "
        "of choices by more than 3 standard errors; worst: of the cells' means. "
        "`always ...`: no choice at all, for comparison.",
    ]
    names = list(cells[0]["criteria"]["64"]) + [f"always {name}" for name in USUAL]
    header = "| criterion | rank | over best fixed | over best of pool | worse | better | worst |"
    rule = "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    groups: list[tuple[str, Callable[[str], bool]]] = [
        ("all problems", lambda name: True),
        ("plain", lambda name: "-cfg" not in name),
        ("guided", lambda name: "-cfg" in name),
    ]
    for solver in SOLVER_NAMES:
        for setting in SETTINGS:
            for group, belongs in groups if setting in ("16", LARGE) else groups[:1]:
                some = [
                    cell
                    for cell in cells
                    if cell["solver"] == solver
                    and belongs(cell["problem"])
                    and setting in cell["criteria"]
                ]
                if not some:
                    continue
                found = {name: row(some, setting, name) for name in names}
                lines = [header, rule]
                for name in sorted(names, key=lambda name: found[name][1]):
                    values = found[name]
                    rank = "–" if np.isnan(values[0]) else f"{values[0]:.2f}"
                    lines.append(
                        f"| {name} | {rank} | {values[1]:.3f} | {values[2]:.3f} | "
                        f"{values[3]:.3f} | {values[4]:.3f} | {values[5]:.2f} |"
                    )
                parts.append(f"## {solver}, {setting} noises, {group}: {len(some)} cells")
                parts.append("\n".join(lines))
    parts += ["## Without the refined schedules in the pool", _without_refined(cells, header, rule)]
    text = "\n\n".join(parts) + "\n"
    path.write_text(text)
    return text


def _without_refined(cells: Sequence[dict[str, Any]], header: str, rule: str) -> str:
    """Choices of the criteria from the same pools without the schedules refined on the twin."""
    lines = [header, rule]
    for solver in SOLVER_NAMES:
        for setting in ("16", LARGE):
            some = [c for c in cells if c["solver"] == solver and setting in c["criteria"]]
            for name in ("twin", "path", "twin x moments") if some else ():
                for chosen in ("chosen", "chosen without refined"):
                    values = row(some, setting, name, chosen)
                    lines.append(
                        f"| {solver}, {setting}: {name}, {chosen} | {values[0]:.2f} | "
                        f"{values[1]:.3f} | {values[2]:.3f} | {values[3]:.3f} | {values[4]:.3f} | "
                        f"{values[5]:.2f} |"
                    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure the cells that are missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=PROBLEMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    path = options.output / "criteria.json"
    cells = json.loads(path.read_text()) if path.exists() else []
    done = {tuple(cell[key] for key in ("problem", "seed", "solver", "steps")) for cell in cells}
    for name in options.problems:
        for seed in options.seeds:
            todo = [(v, n) for v in SOLVER_NAMES for n in STEPS if (name, seed, v, n) not in done]
            study = Study(name, seed) if todo else None
            for solver, steps in todo:
                assert study is not None
                began = time.perf_counter()
                key = {"problem": name, "seed": seed, "solver": solver, "steps": steps}
                cells.append(key | summary(measure(study, solver, steps), solver))
                path.write_text(json.dumps(cells, separators=(",", ":")))
                print(*key.values(), f"{time.perf_counter() - began:.0f} s", flush=True)
    print(write_report(cells, options.output / "criteria.md"))


if __name__ == "__main__":
    main()
