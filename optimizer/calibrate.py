"""The calibrated sampler: fitted to the loaded model, chosen and judged on noise it has not seen.

1. References of some noises, by fine steps of UniPC of order 3, which has a third of the error of
   the exponential method of order 3 at equal calls.
2. A model of the denoiser that costs n calls a noise: linear about each noise's reference, with
   the slopes that one textbook run beside it shows. It tells from which curve a fit ends nearest,
   and which textbook pairs are likeliest to be hard to beat.
3. The fit (multistep_fit.py): greedy, then joint steps, each of which needs as many noises as
   steps.
4. The race, on fresh noises: what each stage of the fit has left, beside the likeliest pairs of
   textbook sampler and curve. The least geometric mean of errors wins.
5. The gain that is told: for every noise of the race, winner and best pair are chosen by the other
   noises, and the ratio of their errors on this one counts. So no ratio is of a noise that has been
   used to choose. If their geometric mean tells of no gain, the pair is returned.

All calls count: one for each row of each batch that the denoiser is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .coordinate import spread
from .gain import Gain
from .meter import NotFiniteError
from .multistep import TEXTBOOK, Multistep, steps_above, textbook
from .multistep_fit import (
    Linear,
    Move,
    Path,
    Run,
    greedy,
    joint_step,
    run,
    slopes,
    tangents,
)
from .plan import PROBED, TRIALS, CalibrationPlan

__all__ = ["Calibrated", "Source", "calibrate"]

ELEMENTS = 2048  # of a latent that a fit is made on
FEWER = 256  # that the linear model is run on
START = "unipc_2"  # whose weights the fit is drawn toward
REFERENCE = "unipc_3"


class Source(Protocol):
    """What a calibration needs of its surroundings.

    shape:      of one sample
    batch_size: rows of a call at most
    """

    shape: tuple[int, ...]
    batch_size: int

    def noise(self, indices: range) -> Tensor:
        """Unit noises [K, ...] by their numbers."""

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D [B, ...] of x [B, ...] in EDM coordinates at one EDM level sigma [B]: B calls."""

    def fits(self, rows: int) -> bool:
        """Whether so many more calls may be spent; asked before every stage."""

    def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What a stage finds: recalled if a stage of that key is known, else measured."""


@dataclass(frozen=True)
class Calibrated:
    """The sampler found, and what was measured on the way.

    name:      of the winner: "greedy", "joint 1", …, or a pair's
    pair_name: of the best of the raced pairs
    fitted:    every stage of the fit, by name
    pairs:     that were raced, of textbook sampler and curve, by name
    errors:    of all that were raced, by name, one for each noise of the race; infinite ones where
               a run came out as NaN or infinity
    gain:      of the best stage of the fit over the best pair; None: all of one kind failed
    """

    name: str
    pair_name: str
    fitted: dict[str, Multistep] = field(repr=False)
    pairs: dict[str, Multistep] = field(repr=False)
    errors: dict[str, list[float]] = field(repr=False)
    gain: Gain | None

    @property
    def sampler(self) -> Multistep:
        """The winner, in EDM units."""
        return {**self.fitted, **self.pairs}[self.name]


SHORTER = 0.4  # of a joint step, where the whole one leads nowhere better


def calibrate(
    source: Source,
    curves: Mapping[str, Sequence[float]],
    *,
    budget: int,
    lowest: float,
    told: bool = True,
    whole: bool = False,
    elements: Tensor | None = None,
    model_level: Callable[[float], float] = float,
    boundary: float = 0.0,
    plan: CalibrationPlan | None = None,
) -> Calibrated:
    """Fit, choose and judge a sampler.

    Arguments:
        source: the denoiser, noise, and who counts.
        curves: EDM levels [n+1] by name, descending and ending in 0, all from the same first level.
        budget: calls to plan with; `source.fits` may allow less.
        lowest: the model's lowest EDM level.
        told: whether the model may be told other levels than its input is at: not with a mask.
        whole: whether the last row adds up to 1: with a mask, so that what is kept is kept.
        elements: indices of those of a flattened sample that a run can change; None: all.
        model_level: the level at which the model answers, of one that it is told.
        boundary: the EDM level at and below which another model answers, in a run of its own, which
            knows no earlier outputs; 0: there is one model.
        plan: in the place of the budget's own.

    Raises ValueError for a budget that is too small, NotFiniteError for references, or the runs of
    every sampler, that are no numbers.
    """
    steps = len(next(iter(curves.values()))) - 1
    plan = plan or CalibrationPlan.of(budget, steps)
    kept = _kept(source.shape, elements)
    bench = _Bench(source, kept, lowest, plan.reference, curves, boundary)
    fit = range(plan.noises)
    path = bench.path(fit)
    starts, pairs = bench.likely(path, plan)
    fitted = _fitted(bench, fit, path, plan.rounds, starts, told, whole, model_level)

    errors = bench.errors({**fitted, **pairs}, range(plan.noises, plan.noises + plan.race))
    return _judged(fitted, pairs, {name: e.tolist() for name, e in errors.items()})


def _judged(
    fitted: dict[str, Multistep], pairs: dict[str, Multistep], errors: dict[str, list[float]]
) -> Calibrated:
    """The winner of the race: a stage of the fit where a gain is seen, else the best pair.

    Raises NotFiniteError where every run has failed.
    """
    scores = {name: float(np.log(e).mean()) for name, e in errors.items()}
    sound = [name for name, score in scores.items() if math.isfinite(score)]
    if not sound:
        raise NotFiniteError("No sampler can be compared, because every run came out as NaN", [])
    ours, theirs = ([name for name in sound if name in some] for some in (fitted, pairs))
    pair = min(theirs or pairs, key=lambda name: scores[name])
    winner, gain = min(ours or theirs, key=lambda name: scores[name]), None
    if ours and theirs:
        gain = Gain.of([errors[name] for name in ours], [errors[name] for name in theirs])
        if gain.ratio >= 1.0:
            winner = pair
    return Calibrated(winner, pair, fitted, pairs, errors, gain)


def _kept(shape: Sequence[int], elements: Tensor | None) -> Tensor:
    """Indices of the elements that a fit is made on."""
    counted = np.arange(math.prod(shape)) if elements is None else elements.numpy()
    chosen = np.random.default_rng(0).permutation(counted)[:ELEMENTS]
    return torch.from_numpy(np.sort(chosen))


class _Bench:
    """Stages of runs from a source, on the elements that are kept."""

    def __init__(
        self,
        source: Source,
        kept: Tensor,
        lowest: float,
        reference: int,
        curves: Mapping[str, Sequence[float]],
        boundary: float,
    ):
        self.source, self.kept, self.lowest = source, kept, lowest
        self.boundary = boundary
        self.curves = {name: [float(t) for t in levels] for name, levels in curves.items()}
        highest = next(iter(self.curves.values()))[0]
        fine = spread(highest, lowest, reference)
        if lowest < boundary < highest:  # one level is the boundary, lest a step crosses it
            fine[1 + np.abs(np.log(fine[1:-1] / boundary)).argmin()] = boundary
        self.reference = textbook(REFERENCE, [*fine, 0.0], boundary)
        steps = len(next(iter(self.curves.values()))) - 1
        self.probe = textbook(START, [*spread(highest, lowest, steps)[:steps], 0.0], boundary)
        self.ends: dict[range, Tensor] = {}

    def denoise(self, x: Tensor, level: float) -> Tensor:
        """D of any number of rows at one level, in batches."""
        parts = [
            self.source.denoise(rows, rows.new_full((len(rows),), level))
            for rows in x.split(self.source.batch_size)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def elements(self, x: Tensor) -> Tensor:
        """The kept elements [K, E] in double precision, on the CPU."""
        return x.flatten(1).index_select(1, self.kept.to(x.device)).cpu().double()

    def path(self, noises: range) -> Path:
        """The references of noises, with what they visited."""
        visited: list[tuple[Tensor, Tensor]] = []

        def noting(x: Tensor, sigma: Tensor) -> Tensor:
            D = self.denoise(x, float(sigma[0]))
            visited.append((self.elements(x), self.elements(D)))
            return D

        def measure() -> dict[str, Tensor]:
            end = self.elements(self.reference(noting, self.source.noise(noises)))
            t = torch.tensor(self.reference.told, dtype=torch.float64)[:, None, None]
            x, D = (torch.stack(part) for part in zip(*visited, strict=True))
            return {"outputs": D.flip(0), "noises": ((x - D) / t).flip(0), "end": end}

        found = self.source.once(f"path {noises}", measure)
        _check(found["end"])
        log_levels = np.log(self.reference.told[::-1])
        return Path(log_levels, found["outputs"], found["noises"], found["end"])

    def end(self, noises: range) -> Tensor:
        """The references' end points [K, E]."""

        def measure() -> dict[str, Tensor]:
            return {"end": self.elements(self.reference(self._rows, self.source.noise(noises)))}

        if noises not in self.ends:
            self.ends[noises] = self.source.once(f"reference {noises}", measure)["end"]
            _check(self.ends[noises])
        return self.ends[noises]

    def errors(self, samplers: Mapping[str, Multistep], noises: range) -> dict[str, Tensor]:
        """RMS errors [N] of samplers by name; infinite where a run's end is no number."""
        end = self.end(noises)
        found = {}
        for name, sampler in samplers.items():

            def measure(sampler: Multistep = sampler) -> dict[str, Tensor]:
                return {"x": self.elements(sampler(self._rows, self.source.noise(noises)))}

            x = self.source.once(f"{name} {noises}", measure)["x"]
            error = (x - end).square().mean(1).sqrt()
            found[name] = torch.where(error.isfinite(), error, math.inf).clamp_min(1e-12)
        return found

    def _rows(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoise(x, float(sigma[0]))

    def likely(
        self, path: Path, plan: CalibrationPlan
    ) -> tuple[list[Multistep], dict[str, Multistep]]:
        """By the linear model: the best starts for the fit, and the likeliest pairs to be best."""
        noises = range(min(PROBED, plan.noises))
        path = path.part(len(noises), FEWER)
        noise = self.source.noise(noises)

        def few(x: Tensor) -> Tensor:
            return self.elements(x)[:, :FEWER]

        def probed() -> dict[str, Tensor]:
            made = run(self.denoise, self.probe, noise, self.elements)
            return {"slopes": slopes(self.probe, noise, made, path, few)}

        known = self.source.once(f"probe {noises}", probed)["slopes"]
        linear = Linear(path, self.probe.told, known)
        start = few(noise)
        samplers = {
            f"{name} {curve}": textbook(name, levels, self.boundary)
            for curve, levels in self.curves.items()
            for name in TEXTBOOK
        }
        missed = {
            name: path.log_error(run(linear, sampler, start, _same).end)
            for name, sampler in samplers.items()
        }
        starts = [textbook(START, levels, self.boundary) for levels in self.curves.values()]
        ends = [
            greedy(linear, one, start, path, _same, False, self.boundary)[1].end for one in starts
        ]
        best = sorted(range(len(starts)), key=lambda k: path.log_error(ends[k]))[: plan.starts]
        likeliest = sorted(samplers, key=lambda name: missed[name])[: plan.pairs]
        return [starts[k] for k in best], {name: samplers[name] for name in likeliest}


def _same(x: Tensor) -> Tensor:
    return x


def _fitted(
    bench: _Bench,
    noises: range,
    path: Path,
    rounds: int,
    starts: Sequence[Multistep],
    told: bool,
    whole: bool,
    model_level: Callable[[float], float],
) -> dict[str, Multistep]:
    """What each stage of the fit leaves, by name."""
    noise, boundary = bench.source.noise(noises), bench.boundary

    begun = []
    for k, start in enumerate(starts):

        def measure(start: Multistep = start) -> dict[str, Tensor]:
            found = greedy(bench.denoise, start, noise, path, bench.elements, whole, boundary)
            return _tensors(*found)

        begun.append(_sampler(bench.source.once(f"greedy {k} {noises}", measure)))
    sampler, made = min(begun, key=lambda pair: path.log_error(pair[1].end))
    found = {"greedy": sampler}
    total: Tensor | None = None
    for k in range(1, rounds + 1):
        move = Move.of(sampler, told, whole)
        move = Move(move.shape, move.total if total is None else total)
        if not bench.source.fits(len(noises) * CalibrationPlan.round_cost(sampler.steps)):
            break

        def differentiate(sampler: Multistep = sampler, made: Run = made) -> dict[str, Tensor]:
            return {
                "tangents": tangents(
                    bench.denoise, sampler, noise, made, bench.elements, bench.lowest, model_level,
                    boundary,
                )
            }  # fmt: skip

        natural = bench.source.once(f"tangents {k} {noises}", differentiate)["tangents"]
        step = joint_step(move.shape @ natural, made.end - path.end, move)
        for length in (1.0, SHORTER)[:TRIALS]:
            moved = move.moved(sampler, length * step, bench.lowest, boundary)
            if steps_above(moved.levels, boundary) != steps_above(sampler.levels, boundary):
                continue  # its rows are for another switch

            def trial(moved: Multistep = moved) -> dict[str, Tensor]:
                return _tensors(moved, run(bench.denoise, moved, noise, bench.elements))

            key = f"joint {k} by {length} {noises}"
            moved, tried = _sampler(bench.source.once(key, trial))
            if path.log_error(tried.end) < path.log_error(made.end):
                break
        else:
            break
        sampler, made, total = moved, tried, move.total + length * step
        found[f"joint {k}"] = sampler
    return found


def _tensors(sampler: Multistep, made: Run) -> dict[str, Tensor]:
    """A sampler and its run as tensors; `_sampler` is the inverse."""
    return {
        "levels": torch.tensor(sampler.levels, dtype=torch.float64),
        "told": torch.tensor(sampler.told, dtype=torch.float64),
        "sizes": torch.tensor([len(row) for row in sampler.weights]),
        "weights": torch.tensor([b for row in sampler.weights for b in row], dtype=torch.float64),
        "end": made.end,
        **{f"output {i}": D for i, D in enumerate(made.outputs)},
    }


def _sampler(found: Mapping[str, Tensor]) -> tuple[Multistep, Run]:
    levels, told = (tuple(found[name].tolist()) for name in ("levels", "told"))
    rows = found["weights"].split(found["sizes"].tolist())
    sampler = Multistep(levels, told, tuple(tuple(row.tolist()) for row in rows))
    return sampler, Run([found[f"output {i}"] for i in range(len(told))], found["end"])


def _check(end: Tensor) -> None:
    """Raise NotFiniteError unless references ended in numbers."""
    if not bool(end.isfinite().all()):
        raise NotFiniteError("The reference runs' end points are no numbers", np.array([]))
