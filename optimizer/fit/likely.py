"""What is likely to be good: starts for a fit, and textbook pairs that are hard to beat.

A pair is a textbook sampler on a curve. A linear model tells from which curve a fit ends nearest,
and which pairs are likeliest to be hard to beat. It costs n calls a noise: linear about each
noise's reference, with the slopes that one textbook run beside it shows. Where modes compete, as
with another class as negative, it ranks pairs hardly better than chance. So with calls to spare
more of them are really run (`screened`), with two of the fit's noises, whose references are there:
a pair has no numbers that were fitted to these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from ..diffusion.coordinate import spread
from ..diffusion.multistep import TEXTBOOK, Multistep, textbook
from .bench import FITTED_ELEMENTS, ROBUST, Bench
from .multistep_fit import Linear, Path, Run, greedy, run, slopes
from .other_counts import ELEMENTS_OF_COUNTS, NOISES, Secants

__all__ = ["Likely", "diverse", "likeliest"]

FEWER = 256  # elements of a latent that the linear model is run on
START = "unipc_2"  # whose weights the fit is drawn toward
PLAINEST = "euler"  # which the linear model takes for worse than it is under strong guidance
ALIKE = 4  # pairs of one sampler, or of one curve, that are screened at most
SHARED = 2  # outputs that pairs on one curve have in common: their first step is Euler's


class Likely:
    """What is likely, by a linear model of a bench's denoiser and by few runs.

    pairs: every textbook sampler on every curve, by name
    """

    def __init__(self, bench: Bench):
        self.bench = bench
        self.pairs = {
            f"{name} {curve}": textbook(name, levels, bench.boundary)
            for curve, levels in bench.curves.items()
            for name in TEXTBOOK
        }
        highest = next(iter(bench.curves.values()))[0]
        probed = [*spread(highest, bench.lowest, bench.steps)[: bench.steps], 0.0]
        self._probe = textbook(START, probed, bench.boundary)
        self._probes: Run | None = None
        self._slopes = torch.empty(0)  # [n, K], at the levels of the probe

    def starts_and_pairs(self, probed: int, starts: int) -> tuple[list[Multistep], list[str]]:
        """By the linear model: the best starts for a fit, and all pairs, the best first.

        probed: noises that it is made from
        """
        bench, noises = self.bench, range(probed)
        path = bench.path_of(probed).part(probed, FEWER)
        linear = Linear(path, self._probe.told, self._probed(noises, path))
        start = self._few(bench.source.noise(noises))
        missed = {
            name: path.log_error(run(linear, sampler, start, _same).end)
            for name, sampler in self.pairs.items()
        }
        begun = [textbook(START, levels, bench.boundary) for levels in bench.curves.values()]
        ends = [
            greedy(linear, one, start, path, _same, False, bench.boundary)[1].end for one in begun
        ]
        best = sorted(range(len(begun)), key=lambda k: path.log_error(ends[k]))[:starts]
        return [begun[k] for k in best], sorted(missed, key=lambda name: missed[name])

    def _probed(self, noises: range, path: Path) -> Tensor:
        """The slopes [n, K] of the linear model; noises that had been probed take no calls."""
        known = 0 if self._probes is None else len(self._probes.end)
        if len(noises) > known:
            more = self.bench.run(self._probe, range(known, len(noises)), "probe")
            self._probes = more if self._probes is None else Run.joined([self._probes, more])
        assert self._probes is not None
        made = self._probes.part(noises)
        self._slopes = slopes(self._probe, self.bench.source.noise(noises), made, path, self._few)
        return self._slopes

    def secants(self, beside: Sequence[tuple[Multistep, Run]], noises: int) -> Secants:
        """What runs of so many noises beside the references tell of the denoiser."""
        count = min(NOISES, noises)

        def few(x: Tensor) -> Tensor:
            return self.bench.elements(x[:count])[:, :ELEMENTS_OF_COUNTS]

        runs = [(one, [*map(few, made.outputs)]) for one, made in beside]
        unit = few(self.bench.source.noise(range(count)))
        part = self.bench.path_of(count).part(count, ELEMENTS_OF_COUNTS)
        return Secants(part, unit, runs, self._probe.told, self._slopes)

    def _few(self, x: Tensor) -> Tensor:
        return self.bench.elements(x)[:, :FEWER]

    def guessed(self) -> str:
        """The pair that is best for Gaussian data of unit variance, without a call."""
        x = torch.ones(1, 1, dtype=torch.float64)

        def missed(sampler: Multistep) -> float:
            T = sampler.levels[0]
            end = sampler(lambda x, s: x / (1.0 + s[:, None] ** 2), x * (1.0 + T**2) ** 0.5 / T)
            return abs(float(end) - 1.0)

        return min(self.pairs, key=lambda name: missed(self.pairs[name]))

    def screened(self, ranked: Sequence[str], count: int, on: int) -> list[str]:
        """The likeliest pairs, so many, in the order of their errors on the first noises."""
        noises, known = range(on), dict[object, Tensor]()
        noise = self.bench.source.noise(noises)
        names = diverse(ranked, count)
        samplers = [self.pairs[name] for name in names]

        def measure() -> dict[str, Tensor]:
            return {"ends": torch.stack([self._end(one, noise, known) for one in samplers])}

        ends = self.bench.once("screened", noises, measure, *samplers)["ends"]
        near = self.bench.path_of(on).part(on, FITTED_ELEMENTS)
        missed = {name: near.log_error(end) for name, end in zip(names, ends, strict=True)}
        return sorted(names, key=lambda name: missed[name])

    def _end(self, sampler: Multistep, noise: Tensor, known: dict[object, Tensor]) -> Tensor:
        """Where a sampler leads, with first outputs that are known from others before it."""
        i = -1

        def denoise(x: Tensor, level: float) -> Tensor:
            nonlocal i
            i += 1
            before = (sampler.levels[: i + 1], sampler.told[: i + 1], sampler.weights[:i])
            if before in known:
                return known[before]
            D = self.bench.denoise(x, level)
            if i < SHARED:
                known[before] = D
            return D

        return run(denoise, sampler, noise, self.bench.elements).end


def _same(x: Tensor) -> Tensor:
    return x


def diverse(ranked: Sequence[str], count: int) -> list[str]:
    """The first of PLAINEST and ROBUST, and the likeliest others, of each kind ALIKE at most."""
    chosen = [next(name for name in ranked if name.startswith(one)) for one in (PLAINEST, ROBUST)]
    alike = Counter(part for name in chosen for part in name.split(" ", 1))
    for name in ranked:
        parts = name.split(" ", 1)
        if len(chosen) < count and name not in chosen and all(alike[p] < ALIKE for p in parts):
            chosen.append(name)
            alike.update(parts)
    return chosen


def likeliest(ranked: Sequence[str], count: int, plainest: bool = True) -> list[str]:
    """The first so many pairs; of three or more one is of PLAINEST, if that is asked for."""
    chosen = list(ranked[:count])
    if plainest and count > 2 and not any(name.startswith(PLAINEST) for name in chosen):
        chosen[-1] = next(name for name in ranked if name.startswith(PLAINEST))
    return chosen
