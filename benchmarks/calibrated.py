"""Calibrated samplers against the best pair of textbook sampler and curve in hindsight.

    python -m align_your_steps.benchmarks.calibrated mixtures --budgets 500 1000 4000
    python -m align_your_steps.benchmarks.calibrated flow | half | networks | pictures | interval
    python -m align_your_steps.benchmarks.calibrated overhead --budgets 4000
    python -m align_your_steps.benchmarks.calibrated ended --budgets 1000 4000 --runs 4
    python -m align_your_steps.benchmarks.calibrated counts --of test --steps 8 --budgets 1000
    python -m align_your_steps.benchmarks.calibrated mixtures --of tuning

A cell is a problem, a number of steps and a budget, of which every call of a calibration counts:
references, fit and race. Pairs are the six samplers of `multistep.TEXTBOOK` × the host's and the
published curves. The best in hindsight is that of least mean error on the very noises that all are
compared on. Of a cell

    ratio     mean error over the best pair's
    median    of the same ratio, seed by seed
    improved  share of the seeds with a smaller error
    told      the gain over the best raced pair, as a user is told it
    gain      the same on the held-out noises
    gained    share of the seeds with a smaller error than the best raced pair's

TUNING problems, and the TEST ones of digits, were used to choose the constants of
optimizer/calibrate.py; TEST and SEEN problems were measured while it was written, FRESH ones first
when it was done. Networks are FRESH by their seed, which draws class, noises and the whole of a
calibration.

A gain is claimed where the fit was chosen and the told interval lies below 1.

    pictures   Fréchet (in a classifier's features) and energy distance (in pixels) to fine-step
               pictures of independent noise, beside those of fine-step pictures of the same noise;
               and errors beside the best pairs with more steps

    counts     errors of the samplers for other numbers of steps that a calibration makes without a
               call, over those of greedy weights fitted at that number; of dpmpp_2m on the fitted
               levels drawn through that number likewise

Cells are kept as lines of JSON in the file --cells, and one that is there is not measured again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..optimizer import FLOW, Denoiser
from ..optimizer.calibrate import Calibrated, calibrate
from ..optimizer.diffusion.coordinate import spread
from ..optimizer.diffusion.multistep import TEXTBOOK, Multistep, textbook
from ..optimizer.diffusion.noise import SELECTION, generators, unit_noise
from ..optimizer.fit.other_counts import COUNTS
from ..optimizer.runs.finish import Ended
from ..optimizer.step_counts import drawn_through
from ..schedules.curves import flow_table, simple
from .edm import CLASSES, guided
from .metrics import end_point_errors, energy_distance, frechet_distance
from .mixture import Mixture
from .peers import fixed
from .problems import TABLE, digits_mixture
from .record import RESULTS, read_lines

__all__ = ["FRESH", "SEEN", "TEST", "TUNING", "Bench", "Case", "Cells", "LocalLab", "main"]

T = TypeVar("T")

HELD_OUT = 3_000_003  # a stream that no calibration draws from
FINE = 200  # steps of the references that all are compared with
NOISES = 512
STEPS = (5, 8, 12)
BUDGETS = (500, 1000, 4000)
SHIFTS = (1.0, 2.0, 3.0, 5.0)
SCALES = (1.0, 3.0, 7.0)
FRESH_NOISES = 1000  # that an interval is to cover the gain on
PICTURE_STEPS = (8, 12, 14, 16)  # of a calibrated sampler, and of the pairs that it is as good as
SCREENED = 12  # pairs
SHARES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)  # of the calls, after which a calibration is ended
OWN_CALLS, OWN_SEEDS = 1000, (50, 60, 70)  # of the fits at another number of steps itself
SLOW = 0.02  # seconds of a batched call that an overhead is reported for


@dataclasses.dataclass(frozen=True)
class Case:
    """A mixture: "power exponent", "isotropic" or "digits", and the guidance scale."""

    kind: str
    dim: int
    components: int
    scale: float
    seed: int

    @property
    def name(self) -> str:
        """The case, for a table."""
        return f"{self.kind} {self.dim} cfg {self.scale:g}"

    def denoiser(self) -> Denoiser:
        """The exact denoiser; guided toward the first quarter of the components, or one class."""
        mixture, condition = self._mixture()
        if self.scale == 1.0:
            return lambda x, sigma: mixture.denoise(x, sigma)
        return lambda x, sigma: mixture.guided(x, sigma, condition, mixture.weights, self.scale)

    def _mixture(self) -> tuple[Mixture, Tensor]:
        if self.kind == "digits":
            return digits_mixture(self.seed)
        first = torch.arange(self.components) < max(1, self.components // 4)
        condition = first.double() / first.sum()
        if self.kind == "isotropic":
            return Mixture.random(self.dim, self.components, self.seed), condition
        source = torch.Generator().manual_seed(self.seed)
        index = torch.arange(1, self.dim + 1, dtype=torch.float64)
        spread_of = (4.0 / index ** float(self.kind.split()[1])).sqrt()
        e = torch.randn(self.components, self.dim, generator=source, dtype=torch.float64)
        stds = 0.1 + 0.2 * torch.rand(self.components, generator=source, dtype=torch.float64)
        return Mixture(e * spread_of, stds, torch.ones_like(stds) / self.components), condition


TUNING = (
    Case("power 1", 64, 16, 1, 0), Case("power 1", 160, 32, 1, 1), Case("power 1", 160, 32, 4, 2),
    Case("power 0.6", 256, 24, 1, 3), Case("power 0.6", 128, 24, 7, 4),
    Case("power 1.4", 256, 32, 5, 5), Case("isotropic", 128, 12, 1, 6),
    Case("isotropic", 64, 20, 4, 7),
)  # fmt: skip
TEST = (
    Case("power 0.8", 64, 24, 1, 101), Case("power 1.2", 96, 20, 4, 102),
    Case("power 1", 192, 40, 1, 103), Case("power 0.8", 320, 32, 5, 104),
    Case("power 1.2", 512, 48, 1, 105), Case("power 1", 512, 24, 7, 106),
    Case("isotropic", 96, 16, 1, 107), Case("isotropic", 256, 32, 4, 108),
    Case("digits", 64, 60, 1, 109), Case("digits", 64, 60, 5, 113),
)  # fmt: skip
SEEN = tuple(
    dataclasses.replace(case, seed=case.seed + more) for more in (100, 200) for case in TEST
)
FRESH = tuple(
    Case(kind, dim, components, scale, seed + more)
    for more in (0, 100)
    for kind, dim, components, scale, seed in (
        ("power 0.7", 96, 28, 1, 401), ("power 1.1", 128, 24, 4, 402),
        ("power 1", 256, 36, 1, 403), ("power 0.9", 384, 40, 6, 404),
        ("power 1.3", 448, 56, 1, 405), ("power 1", 512, 24, 7, 406),
        ("isotropic", 80, 14, 1, 407), ("isotropic", 192, 28, 5, 408),
        ("digits", 64, 60, 1, 409), ("digits", 64, 60, 5, 413),
    )
)  # fmt: skip
LISTS = {"tuning": TUNING, "test": TEST, "seen": SEEN, "fresh": FRESH}


class LocalLab:
    """A calibration's surroundings without a host: counts rows, keeps to a budget, recalls nothing.

    rounded: precision that outputs are rounded to; None: as they are
    limit:   rows after which it ends
    """

    def __init__(
        self,
        denoise: Denoiser,
        shape: tuple[int, ...],
        seed: int,
        budget: int,
        dtype: torch.dtype = torch.float64,
        rounded: torch.dtype | None = None,
        batch_size: int = 16,
        limit: float = math.inf,
    ):
        self.limit = limit
        self.model, self.shape, self.seed, self.budget = denoise, shape, seed, budget
        self.dtype, self.rounded, self.batch_size = dtype, rounded, batch_size
        self.rows = 0

    def noise(self, indices: range) -> Tensor:
        """Unit noises by their numbers."""
        noise = unit_noise(generators(self.seed, SELECTION, indices), self.shape)
        return noise.to(self.dtype)

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The model's answer; every row is counted."""
        if self.rows + len(x) > self.limit:
            raise Ended
        self.rows += len(x)
        D = self.model(x, sigma)
        return D if self.rounded is None else D.to(self.rounded).to(D)

    @property
    def spent(self) -> int:
        """Rows so far."""
        return self.rows

    def fits(self, rows: int) -> bool:
        """Tell whether so many more rows stay within the budget."""
        return self.rows + rows <= self.budget

    def decide(self, choose: Callable[[int], T]) -> T:
        """Return what is chosen by the budget."""
        return choose(self.budget)

    def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Measured anew."""
        return measure()


class Bench:
    """A model with held-out noise, its fine ends, and the errors of all pairs.

    curves:   (steps) -> EDM levels by name
    rows:     of a call at most
    screened: whether a quarter of the noises tells which SCREENED pairs all of them are run with
    """

    def __init__(
        self,
        name: str,
        denoise: Denoiser,
        shape: tuple[int, ...],
        curves: Callable[[int], dict[str, list[float]]],
        ends: tuple[float, float],
        seed: int = 0,
        noises: int = NOISES,
        dtype: torch.dtype = torch.float64,
        rows: int = 256,
        screened: bool = False,
    ):
        self.rows, self.screened = rows, screened
        self.name, self.denoise, self.shape, self.seed = name, denoise, shape, seed
        self.curves, self.ends, self.dtype = curves, ends, dtype
        source = torch.Generator().manual_seed(HELD_OUT + 1_000_000 * seed)
        self.noise = torch.randn(noises, *shape, generator=source).to(dtype)
        self._pairs: dict[int, dict[str, Tensor]] = {}

    @cached_property
    def reference(self) -> Tensor:
        """Return where the held-out noise leads with fine steps."""
        fine = [*spread(*self.ends, FINE), 0.0]
        return self.ends_of(textbook("exponential_3", fine))

    def ends_of(self, sampler: Multistep, count: int | None = None) -> Tensor:
        """Return where the held-out noises, or the first so many, lead with a sampler."""
        parts = self.noise[:count].split(self.rows)
        return torch.cat([sampler(self.denoise, part) for part in parts])

    def errors(self, sampler: Multistep, count: int | None = None) -> Tensor:
        """RMS errors of a sampler, seed by seed."""
        return end_point_errors(self.ends_of(sampler, count), self.reference[:count])

    def samplers(self, steps: int) -> dict[str, Multistep]:
        """Every textbook sampler on every curve."""
        return {
            f"{name} {curve}": textbook(name, levels)
            for curve, levels in self.curves(steps).items()
            for name in TEXTBOOK
        }

    def pairs(self, steps: int) -> dict[str, Tensor]:
        """The errors of all of them, or of those that a quarter of the noises leaves."""
        if steps not in self._pairs:
            samplers = self.samplers(steps)
            if self.screened:
                few = len(self.noise) // 4
                seen = {name: self.errors(one, few).mean() for name, one in samplers.items()}
                left = sorted(samplers, key=lambda name: float(seen[name]))[:SCREENED]
                samplers = {name: samplers[name] for name in left}
            self._pairs[steps] = {name: self.errors(one) for name, one in samplers.items()}
        return self._pairs[steps]

    def best(self, steps: int) -> tuple[str, Tensor]:
        """The pair of least mean error in hindsight."""
        pairs = self.pairs(steps)
        name = min(pairs, key=lambda name: float(pairs[name].mean()))
        return name, pairs[name]

    def calibrated(
        self,
        steps: int,
        budget: int,
        seed: int = 0,
        rounded: torch.dtype | None = None,
        limit: float = math.inf,
    ) -> tuple[Calibrated, int]:
        """A calibration, ended after so many calls, and the calls that it took."""
        lab = LocalLab(self.denoise, self.shape, seed, budget, self.dtype, rounded, limit=limit)
        found = calibrate(lab, self.curves(steps), budget=budget, lowest=self.ends[1])
        assert lab.rows <= budget, f"{lab.rows} calls were made of {budget}."
        return found, lab.rows

    def cell(
        self, steps: int, budget: int, seed: int = 0, rounded: torch.dtype | None = None
    ) -> dict[str, Any]:
        """One cell as plain data."""
        found, calls = self.calibrated(steps, budget, seed, rounded)
        name, best = self.best(steps)
        ours = self.errors(found.sampler)
        return {
            "calls": calls, "best": name,
            "ratio": float(ours.mean() / best.mean()),
            "median": float((ours / best).median()),
            "improved": float((ours < best).double().mean()),
            **self.told(found, ours),
        }  # fmt: skip

    def ended(self, steps: int, budget: int, seed: int, share: float) -> dict[str, Any]:
        """One cell of a calibration that a user ends after a share of its calls."""
        found, calls = self.calibrated(steps, budget, seed, limit=share * budget)
        best, ours = self.best(steps)[1], self.errors(found.sampler)
        return {
            "calls": calls,
            "ratio": float(ours.mean() / best.mean()),
            "typical": float((ours / best).log().mean().exp()),
            **self.told(found, ours),
        }  # fmt: skip

    def told(self, found: Calibrated, ours: Tensor) -> dict[str, Any]:
        """Return what a user is told of a calibration, beside the truth on the held-out noises."""
        raced = self.errors(found.pairs[found.pair_name])
        worse = ours - raced
        error = float(worse.std()) / len(ours) ** 0.5
        return {
            "winner": found.name, "raced": found.pair_name,
            "told": None if found.gain is None else dataclasses.asdict(found.gain),
            "gain": float((ours.log() - raced.log()).mean().exp()),
            "gained": float((ours < raced).double().mean()),
            "worse_z": float(worse.mean()) / error if error else 0.0,
        }  # fmt: skip


def stable_diffusion(steps: int) -> dict[str, list[float]]:
    """The host's and the published curves of Stable Diffusion's levels."""
    return {name: levels.double().tolist() for name, levels in fixed(steps, TABLE).items()}


def flow_curves(steps: int) -> dict[str, list[float]]:
    """A flow's levels at some shifts, in EDM units."""
    found = {}
    for shift in SHIFTS:
        levels = simple(steps, flow_table(shift))
        t = FLOW.finite_edm(levels[:-1])
        found[f"shift {shift:g}"] = [*map(float, t), 0.0]
    return found


def mixture(case: Case, noises: int = NOISES, flow: bool = False) -> Bench:
    """The bench of a mixture."""
    shape = (64 if case.kind == "digits" else case.dim,)
    if flow:
        ends = (float(FLOW.finite_edm(np.ones(1))[0]), float(FLOW.edm(np.full(1, 1e-3))[0]))
        return Bench(case.name, case.denoiser(), shape, flow_curves, ends, case.seed, noises)
    ends = (TABLE.sigma_max, TABLE.sigma_min)
    return Bench(case.name, case.denoiser(), shape, stable_diffusion, ends, case.seed, noises)


def network(name: str, scale: float, seed: int = 0) -> Bench:
    """The bench of a trained network and one class."""
    from .evidence.networks import NETWORKS

    trained = NETWORKS[name]
    denoise = guided(trained.load(), seed % CLASSES, scale)
    ends = (TABLE.sigma_max, TABLE.sigma_min)
    return Bench(
        f"{name} cfg {scale:g}", denoise, trained.shape, stable_diffusion, ends, seed,
        trained.noises, torch.float32, rows=64 if name == "digits" else 16, screened=True,
    )  # fmt: skip


class Cells:
    """Measurements, kept in a file."""

    def __init__(self, file: Path):
        self.file = file
        self.known = {line["key"]: line for line in read_lines(file)}

    def of(self, key: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The cell of that key: known, or measured and kept."""
        if key not in self.known:
            self.known[key] = {"key": key, **measure()}
            # The file anew: its last line may have been cut off.
            lines = [json.dumps(_short(cell)) + "\n" for cell in self.known.values()]
            self.file.write_text("".join(lines), encoding="utf-8")
        return self.known[key]


def _short(value: Any) -> Any:
    """The same with five digits of every number."""
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def claimed(cell: Mapping[str, Any]) -> bool:
    """Tell whether a gain is claimed: the pair was not returned, and the interval lies below 1."""
    return bool(cell["winner"] != cell["raced"] and cell["told"] and cell["told"]["high"] < 1.0)


def summary(cells: Sequence[dict[str, Any]]) -> str:
    """Geometric means, the worst cell, medians and shares, in one line."""
    ratio, median, improved = (
        np.array([cell[key] for cell in cells]) for key in ("ratio", "median", "improved")
    )
    gained = [cell["gained"] for cell in cells if claimed(cell)]
    return (
        f"ratio {math.exp(np.log(ratio).mean()):.3f} (worst {ratio.max():.2f})  "
        f"median {math.exp(np.log(median).mean()):.3f}  "
        f"improved {improved.mean():.0%} (least {improved.min():.0%})  "
        f"gain claimed in {len(gained)} of {len(cells)}"
        + (f", gained {np.mean(gained):.0%} (least {min(gained):.0%})" if gained else "")
    )


def measured(
    cells: Cells,
    what: str,
    benches: Sequence[Bench],
    steps: Sequence[int],
    budgets: Sequence[int],
    rounded: torch.dtype | None = None,
) -> None:
    """All cells, with a table printed as they come."""
    for budget in budgets:
        of_budget = []
        for n in steps:
            of_steps = []
            for bench in benches:
                key = f"{what} {bench.name} seed {bench.seed}, {n} steps, {budget} calls"
                measure = partial(bench.cell, n, budget, bench.seed, rounded)
                of_steps.append(cells.of(key, measure))
            of_budget += of_steps
            ratios = " ".join(f"{cell['ratio']:.2f}" for cell in of_steps)
            print(f"{budget:5d} calls {n:3d} steps  {summary(of_steps)}  [{ratios}]", flush=True)
        print(f"{budget:5d} calls  all steps  {summary(of_budget)}", flush=True)


# -- intervals ------------------------------------------------------------------------------


def intervals(cells: Cells, benches: Sequence[Bench], budget: int, count: int) -> None:
    """Count intervals that cover the gain on fresh noise, and results that are worse there."""
    found = []
    for k in range(count):
        bench, steps = benches[k % len(benches)], STEPS[k // len(benches) % len(STEPS)]
        key = f"interval {bench.name} seed {bench.seed}, {steps} steps, {budget} calls, run {k}"
        found.append(cells.of(key, partial(_interval, bench, steps, budget, 1000 + k)))
    covered = sum(c["told"]["low"] <= c["gain"] <= c["told"]["high"] for c in found)
    z = np.array([cell["worse_z"] for cell in found])
    print(f"{budget} calls: {covered} of {count} intervals cover the gain on fresh noise; "
          f"{(z > 3.0).sum()} results are worse than the raced pair by 3 standard errors "
          f"(most {z.max():.1f}); {sum(map(claimed, found))} claim a gain")  # fmt: skip


def _interval(bench: Bench, steps: int, budget: int, seed: int) -> dict[str, Any]:
    """Return what one calibration is told to gain, and how it does on the held-out noises."""
    found, _ = bench.calibrated(steps, budget, seed)
    # Where a pair is returned, the interval is still that of the fit over the pair.
    best = min(found.fitted, key=lambda name: float(np.log(found.errors[name]).mean()))
    fitted = bench.told(found, bench.errors(found.fitted[best]))
    given = bench.told(found, bench.errors(found.sampler))
    return {**given, "gain": fitted["gain"], "noises": len(bench.noise)}


# -- pictures -------------------------------------------------------------------------------


def pictures(cells: Cells, given: argparse.Namespace) -> None:
    """Distances of pictures, and errors beside those of pairs with more steps."""
    steps = given.steps or PICTURE_STEPS
    for name in given.networks:
        for scale in given.scales:
            found = [
                cells.of(
                    f"pictures {name} cfg {scale:g} seed {seed}, {list(steps)} steps, "
                    f"{given.budgets[0]} calls",
                    partial(_pictures, name, scale, seed, steps, given.budgets[0]),
                )
                for seed in given.seeds
            ]
            print(f"{name} cfg {scale:g}, {len(found)} seeds: {_pictured(found)}", flush=True)


def _pictures(
    name: str, scale: float, seed: int, steps: Sequence[int], budget: int
) -> dict[str, Any]:
    """One calibration with the least of the steps, its pictures and the pairs beside it."""
    from .evidence.arena import Arena
    from .evidence.features import classifier

    bench = network(name, scale, seed)
    arena = Arena(name, scale, seed, denoise=bench.denoise)
    truth, seen = arena.truth(False), classifier(name).features
    found, calls = bench.calibrated(steps[0], budget, seed)
    ours = bench.errors(found.sampler)

    @torch.no_grad()
    def distances(x: Tensor) -> list[float]:
        return [frechet_distance(seen(x), seen(truth)), energy_distance(x, truth).value]

    best_pair = bench.samplers(steps[0])[bench.best(steps[0])[0]]
    return {
        "calls": calls, "winner": found.name, "error": float(ours.mean()),
        "pairs": {str(n): [bench.best(n)[0], float(bench.best(n)[1].mean())] for n in steps},
        "closer": {str(n): float((ours < bench.best(n)[1]).double().mean()) for n in steps},
        "many": distances(bench.reference),
        "ours": distances(bench.ends_of(found.sampler)),
        "pair": distances(bench.ends_of(best_pair)),
    }  # fmt: skip


def _pictured(cells: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, with 95 % intervals of the distance above the many-step pictures' own."""
    parts = []
    for k, name in enumerate(("Fréchet", "energy")):
        many, ours, pair = (np.array([c[w][k] for c in cells]) for w in ("many", "ours", "pair"))
        above = ours - many
        half = _half(above)
        parts.append(f"{name} many {many.mean():.4f} ours {ours.mean():.4f} pair {pair.mean():.4f} "
                     f"above {above.mean():+.4f} ± {half:.4f}")  # fmt: skip
    for n in cells[0]["pairs"]:
        logs = [math.log(c["error"] / c["pairs"][n][1]) for c in cells]
        parts.append(f"error over best pair at {n}: {math.exp(np.mean(logs)):.2f} "
                     f"[{' '.join(f'{math.exp(log):.2f}' for log in logs)}]")  # fmt: skip
    return "; ".join(parts)


def _half(values: np.ndarray) -> float:
    """Half the 95 % interval of a mean."""
    from scipy.special import stdtrit

    if len(values) < 2:
        return math.inf
    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / len(values) ** 0.5)


# -- ended early ----------------------------------------------------------------------------


def ended(cells: Cells, benches: Sequence[Bench], given: argparse.Namespace) -> None:
    """Calibrations ended after shares of their calls: are they ever worse, and better with more?"""
    for budget in given.budgets:
        for share in SHARES:
            found = []
            for bench in benches:
                for steps in given.steps or STEPS:
                    for run in range(given.runs):
                        seed = bench.seed + 1000 * run
                        of = f"{share:.0%} of {budget}"
                        key = f"ended {bench.name} seed {seed}, {steps} steps, {of}"
                        measure = partial(bench.ended, steps, budget, seed, share)
                        found.append(cells.of(key, measure))
            ratio, typical = (
                math.exp(np.mean([math.log(cell[key]) for cell in found]))
                for key in ("ratio", "typical")
            )
            worse = [cell["worse_z"] for cell in found]
            print(f"{share:.0%} of {budget}: ratio {ratio:.3f}, seed by seed {typical:.3f}, worse "
                  f"than the raced pair by 3 standard errors in {sum(z > 3.0 for z in worse)} of "
                  f"{len(found)} (most {max(worse):.1f})", flush=True)  # fmt: skip


# -- other numbers of steps -----------------------------------------------------------------


def counts(cells: Cells, benches: Sequence[Bench], given: argparse.Namespace) -> None:
    """Samplers for other numbers of steps, beside greedy weights that were fitted there."""
    for budget in given.budgets:
        for steps in given.steps or STEPS:
            found = {}
            for bench in benches:
                key = f"counts {bench.name} seed {bench.seed}, from {steps} steps, {budget} calls"
                found[bench] = cells.of(key, partial(_counts, bench, steps, budget))["errors"]
            rows = [
                (count, which, over(errors[count][which], _own(cells, bench, int(count))))
                for bench, errors in found.items()
                for count in errors
                for which in errors[count]
            ]
            without = sum(not errors for errors in found.values())
            print(f"from {steps} steps, {budget} calls, {len(benches)} problems "
                  f"({without} returned a pair, and no other counts)")  # fmt: skip
            for which in ("fitted", "drawn"):
                every = np.array([ratios for _, one, ratios in rows if one == which])
                if len(every):
                    mean, typical = np.exp(np.log(every).mean(0))
                    print(f"  {which}: {mean:.3f} (worst {every[:, 0].max():.2f}), "
                          f"seed by seed {typical:.3f}; " + " ".join(
                              f"{m}: {_of_count(rows, which, m):.2f}" for m in COUNTS if m != steps
                          ), flush=True)  # fmt: skip


def over(errors: Sequence[float], own: Sequence[float]) -> tuple[float, float]:
    """Ratios of mean errors and of geometric means, where [mean, mean logarithm] is given."""
    return errors[0] / own[0], math.exp(errors[1] - own[1])


def _of_count(rows: Sequence[tuple[str, str, tuple[float, float]]], which: str, m: int) -> float:
    logs = [math.log(mean) for count, one, (mean, _) in rows if one == which and int(count) == m]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _counts(bench: Bench, steps: int, budget: int) -> dict[str, Any]:
    """Mean errors and mean log errors at other numbers of steps, after one calibration."""
    found, calls = bench.calibrated(steps, budget, bench.seed)
    errors = {}
    for count, one in found.counts.items():
        if count != steps:
            levels = drawn_through(np.array(found.sampler.levels), count, bench.ends[1])
            errors[str(count)] = {
                "fitted": _mean_and_log(bench.errors(one.sampler)),
                "drawn": _mean_and_log(bench.errors(textbook("dpmpp_2m", levels.tolist()))),
            }
    return {"calls": calls, "winner": found.name, "errors": errors}


def _own(cells: Cells, bench: Bench, steps: int) -> list[float]:
    """The same of greedy weights fitted there: means over some calibrations."""

    def measure() -> dict[str, Any]:
        made = [
            bench.calibrated(steps, OWN_CALLS, bench.seed + more)[0].fitted["greedy"]
            for more in OWN_SEEDS
        ]
        means = np.array([_mean_and_log(bench.errors(one)) for one in made])
        return {"error": [float(np.exp(np.log(means[:, 0]).mean())), float(means[:, 1].mean())]}

    key = f"greedy {bench.name} seed {bench.seed}, {steps} steps, {OWN_CALLS} calls"
    own: list[float] = cells.of(key, measure)["error"]
    return own


def _mean_and_log(errors: Tensor) -> list[float]:
    return [float(errors.mean()), float(errors.log().mean())]


# -- overhead -------------------------------------------------------------------------------


def overhead(budget: int, steps: int) -> None:
    """Processor time outside the calls, after a run to warm up, and the largest resident set.

    The latter is that of this process so far: of the first that is asked for, its own.
    """
    from ..optimizer import Session, optimize
    from .overhead import MEGABYTE, Timed, high_water, near_two_values, noise

    shape = (4, 128, 128)
    textbook("unipc_3", stable_diffusion(steps)["karras"])(near_two_values, noise(shape, 4))
    plain = high_water()
    for _ in range(2):
        timed = Timed(near_two_values, time.process_time)
        began = time.process_time()
        optimize(
            timed, shape, sigma_max=TABLE.sigma_max, sigma_min=TABLE.sigma_min, steps=steps,
            solver="calibrated", candidates=dict(fixed(steps, TABLE)), budget=budget, seed=0,
            session=Session(batch_size=4),
        )  # fmt: skip
        outside = time.process_time() - began - timed.seconds
    print(f"{budget} calls, {steps} steps: {timed.rows} rows in {timed.calls} batched calls, "
          f"{outside:.2f} s outside: {outside / (timed.calls * SLOW):.1%} of {SLOW * 1e3:.0f} ms a "
          f"batched call; peak {high_water() / MEGABYTE:.0f} MB, plain run "
          f"{plain / MEGABYTE:.0f} MB", flush=True)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    kinds = (
        "mixtures", "networks", "flow", "half", "interval", "pictures", "overhead", "ended",
        "counts",
    )  # fmt: skip
    parser.add_argument("what", choices=kinds)
    parser.add_argument("--of", choices=LISTS, default="fresh", help="the list of mixtures")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS)
    parser.add_argument("--steps", type=int, nargs="+", default=None)
    parser.add_argument(
        "--runs", type=int, default=200, help="of interval; of ended, of every problem"
    )
    parser.add_argument("--noises", type=int, default=None, help="held out, of a mixture")
    parser.add_argument("--cases", type=int, default=None, help="the first so many of the list")
    parser.add_argument("--only", type=int, nargs="+", help="mixtures of the list, by their seeds")
    parser.add_argument("--networks", nargs="+", default=("digits", "patches"))
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--seeds", type=int, nargs="+", default=(87, 98, 109), help="of networks")
    parser.add_argument("--cells", type=Path, default=RESULTS / "calibrated.jsonl")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = Cells(given.cells)
    if given.what == "pictures":
        pictures(cells, given)
    elif given.what == "overhead":
        for budget in given.budgets:
            for steps in given.steps or STEPS:
                overhead(budget, steps)
    elif given.what == "networks":
        benches = [
            network(name, scale, seed)
            for name in given.networks
            for scale in given.scales
            for seed in given.seeds
        ]
        measured(cells, "networks", benches, given.steps or (5, 8), given.budgets)
    else:
        _mixtures(cells, given)


def _mixtures(cells: Cells, given: argparse.Namespace) -> None:
    """Return what is measured on mixtures."""
    noises = given.noises or (FRESH_NOISES if given.what == "interval" else NOISES)
    cases = LISTS[given.of][: given.cases]
    if given.only:
        cases = tuple(case for case in cases if case.seed in given.only)
    benches = [mixture(case, noises, flow=given.what == "flow") for case in cases]
    if given.what in ("ended", "counts"):
        measure = ended if given.what == "ended" else counts
        measure(cells, benches, given)
        return
    if given.what == "interval":
        intervals(cells, benches, given.budgets[0], given.runs)
        return
    rounded = torch.bfloat16 if given.what == "half" else None
    what = f"{given.what}, {given.of}:"
    measured(cells, what, benches, given.steps or STEPS, given.budgets, rounded)


if __name__ == "__main__":
    main()
