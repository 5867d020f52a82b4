"""The calibrated sampler: fitted to the loaded model, chosen and judged on noise it has not seen.

1. References of some noises, by fine steps of UniPC of order 3, which has a third of the error of
   the exponential method of order 3 at equal calls. Strong guidance can make it unstable: on
   patches, cfg 7, 24 steps of it miss by three times what 8 steps of the best pair do. So it is
   checked against dpmpp_2m, which takes its place where it disagrees by more than dpmpp_2m changes
   between a half and all of the steps. (A third of that is usual, there it is mostly 1 to 7.)
2. A model of the denoiser that costs n calls a noise: linear about each noise's reference, with
   the slopes that one textbook run beside it shows. It tells from which curve a fit ends nearest,
   and which textbook pairs are likeliest to be hard to beat. Where modes compete, as with another
   class as negative, it ranks these hardly better than chance. So with calls to spare more of them
   are really run (`_screened`), with two of the fit's noises, whose references are there: a pair
   has no numbers that were fitted to these.
3. The fit (multistep_fit.py): greedy, then joint steps, which need as many noises as steps.
4. The race, on fresh noises, of which the calls that are left decide how many: what greedy and
   joint steps have left, beside the best pairs of textbook sampler and curve that were screened, or
   else the likeliest, one of Euler's among them. The least geometric mean of errors wins.
5. The gain that is told: for every noise of the race, winner and best pair are chosen by the other
   noises, and the ratio of their errors on this one counts. So no ratio is of a noise that has been
   used to choose. If their geometric mean tells of no gain, the pair is returned.
6. Where calls are left, the steps with which that pair comes as close (steps_needed.py).

All calls count: one for each row of each batch that the denoiser is given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .diffusion.coordinate import spread
from .diffusion.multistep import TEXTBOOK, Multistep, steps_above, textbook
from .fit.multistep_fit import (
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
from .fit.other_counts import ELEMENTS as OF_THEM
from .fit.other_counts import NOISES, FittedCount, Secants, with_counts
from .gain import Gain
from .judging.shown import MANY, Shown
from .plan import MOST_RACED, PROBED, SCREENED_ON, CalibrationPlan
from .runs.meter import NotFiniteError
from .step_counts import drawn_through
from .steps_needed import SURE, Longer, StepsNeeded, measured_steps, reserved

__all__ = ["Calibrated", "Source", "calibrate"]

FITTED_ELEMENTS = 2048  # of a latent that a fit is made on
FEWER = 256  # that the linear model is run on
START = "unipc_2"  # whose weights the fit is drawn toward
REFERENCE, ROBUST = "unipc_3", "dpmpp_2m"
RHO = 7.0  # of the robust method's levels, as of EDM's
DOUBT = 0.7  # of what half the steps change: a reference that disagrees by more is none
PLAINEST = "euler"  # which the linear model takes for worse than it is under strong guidance
ALIKE = 4  # pairs of one sampler, or of one curve, that are screened at most
SHARED = 2  # outputs that pairs on one curve have in common: their first step is Euler's


class Source(Protocol):
    """The surroundings of a calibration: all that it needs of them.

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
        """Tell whether so many more calls may be spent; asked before every stage."""

    def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Recall what a stage finds if a stage of that key is known, else measure it."""


@dataclass(frozen=True)
class Calibrated:
    """The sampler found, and what was measured on the way.

    name:      of the winner: "greedy", "joint 1", …, or a pair's
    pair_name: of the best of the raced pairs
    fitted:    "greedy", and the last joint step, by name
    pairs:     that were raced, of textbook sampler and curve, by name
    errors:    of all that were raced, by name, one for each noise of the race; infinite ones where
               a run came out as NaN or infinity
    gain:      of the best stage of the fit over the best pair; None: all of one kind failed
    needed:    steps with which the pair comes as close; None: not measured
    shown:     where the first noise of the race ends, [...] by name, with the reference's as MANY
    counts:    where a stage of the fit has won: this, and greedy samplers for other numbers of
               steps, by that number, with weights for runs that begin inside the path
    """

    name: str
    pair_name: str
    fitted: dict[str, Multistep] = field(repr=False)
    pairs: dict[str, Multistep] = field(repr=False)
    errors: dict[str, list[float]] = field(repr=False)
    gain: Gain | None
    needed: StepsNeeded | None = None
    shown: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    counts: dict[int, FittedCount] = field(default_factory=dict, repr=False)

    @property
    def sampler(self) -> Multistep:
        """The winner, in EDM units."""
        return {**self.fitted, **self.pairs}[self.name]


LENGTHS = (1.0, 0.4)  # of a joint step: the shorter where the whole one leads nowhere better


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
    longer: Longer | None = None,
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
        model_level: the level nearest to one that the model knows. It is told no others, but where
            `told` is false.
        boundary: the EDM level at and below which another model answers, in a run of its own, which
            knows no earlier outputs; 0: there is one model.
        plan: in the place of the budget's own.
        longer: gives a curve's levels at another number of steps, by its name.

    Raises ValueError for a budget that is too small, NotFiniteError for references, or the runs of
    every sampler, that are no numbers.
    """
    steps = len(next(iter(curves.values()))) - 1
    plan = plan or CalibrationPlan.of(budget, steps)
    kept = _fitted_elements(source.shape, elements)
    bench = _Bench(source, kept, lowest, plan.reference, curves, boundary)
    fit = range(plan.noises)
    path = bench.path(plan.checked, plan.noises)
    starts, pairs = bench.likely(path, plan)
    if plan.screened:
        pairs = _screened(bench, pairs, path, plan.pairs)
    fitted = _fitted(bench, fit, path, plan, starts, told, whole, model_level)

    raced = {**fitted, **pairs}
    cost = plan.reference + len(raced) * steps
    left = 0 if longer is None else reserved(source.fits, cost, steps)
    count = min(plan.race - 1, SURE) if left else plan.race - 1
    while count < MOST_RACED and source.fits((count + 1) * cost + left):
        count += 1
    race = range(plan.noises, plan.noises + count)
    errors = bench.errors(raced, race)
    found = _judged(fitted, pairs, {name: e.tolist() for name, e in errors.items()})
    needed = None
    if longer is not None and found.gain is not None and found.gain.claimed:
        ours = [found.errors[name] for name in fitted if math.isfinite(sum(found.errors[name]))]
        needed = measured_steps(bench, found.pair_name, ours, steps, race, longer)
    found = replace(found, needed=needed, shown=bench.shown.ends)
    if found.name in pairs:
        return found
    known = partial(_known, told=told, model_level=model_level, boundary=boundary)
    counts = with_counts(bench.secants(path), found.sampler, bench.drawn, known, whole)
    return replace(found, counts=counts)


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


def _fitted_elements(shape: Sequence[int], elements: Tensor | None) -> Tensor:
    """Indices of the elements that a fit is made on."""
    counted = np.arange(math.prod(shape)) if elements is None else elements.numpy()
    chosen = np.random.default_rng(0).permutation(counted)[:FITTED_ELEMENTS]
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
        self.reference = self._fine(REFERENCE, highest, reference)
        self.robust, self.coarse = (
            self._fine(ROBUST, highest, count, rho=RHO) for count in (reference, reference // 2)
        )
        steps = len(next(iter(self.curves.values()))) - 1
        self.probe = textbook(START, [*spread(highest, lowest, steps)[:steps], 0.0], boundary)
        self.ends: dict[range, Tensor] = {}
        self.shown = Shown()
        self.slopes = torch.empty(0)
        self.beside: list[tuple[Multistep, Run]] = []  # runs of the fit's noises

    def _fine(self, name: str, highest: float, count: int, **shape: float) -> Multistep:
        """A textbook sampler of many steps."""
        fine = spread(highest, self.lowest, count, **shape)
        if self.lowest < self.boundary < highest:  # one level is the boundary: no step crosses it
            fine[1 + np.abs(np.log(fine[1:-1] / self.boundary)).argmin()] = self.boundary
        return textbook(name, [*fine, 0.0], self.boundary)

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

    def path(self, checked: int, count: int) -> Path:
        """The references of so many noises, with what they visited.

        Those of the first few are checked; if they are in doubt, the robust method's are returned,
        here and from now on.
        """
        first = self._path(range(checked))
        if self._doubtful(range(checked), first.end):
            self.reference = self.robust
            path = self._path(range(count))
        else:
            path = first.joined(self._path(range(checked, count)))
        _check(path.end)
        return path

    def _path(self, noises: range) -> Path:
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
        log_levels = np.log(self.reference.told[::-1])
        return Path(log_levels, found["outputs"], found["noises"], found["end"])

    def _doubtful(self, noises: range, end: Tensor) -> bool:
        """Tell whether ends [K, E] disagree with the robust method's by more than these change."""

        def measure() -> dict[str, Tensor]:
            noise = self.source.noise(noises)
            return {
                name: self.elements(sampler(self._rows, noise))
                for name, sampler in (("fine", self.robust), ("coarse", self.coarse))
            }

        found = self.source.once(f"reference check {noises}", measure)
        apart = (end - found["fine"]).norm(dim=1).clamp_min(1e-12)
        change = (found["fine"] - found["coarse"]).norm(dim=1).clamp_min(1e-9)
        return not float((apart / change).log().mean()) < math.log(DOUBT)

    def end(self, noises: range) -> Tensor:
        """The references' end points [K, E]."""

        def measure() -> dict[str, Tensor]:
            end = self.reference(self._rows, self.source.noise(noises))
            return {"end": self.elements(end), **self.shown.part(end)}

        if noises not in self.ends:
            found = self.source.once(f"reference {noises}", measure)
            self.ends[noises] = found["end"]
            _check(self.ends[noises])
            self.shown.keep(MANY, found)
        return self.ends[noises]

    def errors(self, samplers: Mapping[str, Multistep], noises: range) -> dict[str, Tensor]:
        """RMS errors [N] of samplers by name; infinite where a run's end is no number."""
        end = self.end(noises)
        found = {}
        for name, sampler in samplers.items():

            def measure(sampler: Multistep = sampler) -> dict[str, Tensor]:
                x = sampler(self._rows, self.source.noise(noises))
                return {"x": self.elements(x), **self.shown.part(x)}

            made = self.source.once(f"{name} {noises}", measure)
            self.shown.keep(name, made)
            x = made["x"]
            error = (x - end).square().mean(1).sqrt()
            found[name] = torch.where(error.isfinite(), error, math.inf).clamp_min(1e-12)
        return found

    def _rows(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoise(x, float(sigma[0]))

    def likely(
        self, path: Path, plan: CalibrationPlan
    ) -> tuple[list[Multistep], dict[str, Multistep]]:
        """By the linear model: the best starts for the fit, and the likeliest pairs to be best.

        These are to be screened where the plan says so, else to be raced.
        """
        noises = range(min(PROBED, plan.noises))
        path = path.part(len(noises), FEWER)
        noise = self.source.noise(noises)

        def few(x: Tensor) -> Tensor:
            return self.elements(x)[:, :FEWER]

        def probed() -> dict[str, Tensor]:
            made = run(self.denoise, self.probe, noise, self.elements)
            return {"slopes": slopes(self.probe, noise, made, path, few)}

        known = self.slopes = self.source.once(f"probe {noises}", probed)["slopes"]
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
        ranked = sorted(samplers, key=lambda name: missed[name])
        if plan.screened:
            likeliest = _diverse(ranked, plan.screened)
        else:
            likeliest = ranked[: plan.pairs]
            if plan.pairs > 2 and not any(name.startswith(PLAINEST) for name in likeliest):
                likeliest[-1] = next(name for name in ranked if name.startswith(PLAINEST))
        return [starts[k] for k in best], {name: samplers[name] for name in likeliest}

    def secants(self, path: Path) -> Secants:
        """What the runs beside the references tell of the denoiser."""
        count = min(NOISES, len(path.end))

        def few(x: Tensor) -> Tensor:
            return self.elements(x[:count])[:, :OF_THEM]

        runs = [(one, [*map(few, made.outputs)]) for one, made in self.beside]
        unit, part = few(self.source.noise(range(count))), path.part(count, OF_THEM)
        return Secants(part, unit, runs, self.probe.told, self.slopes, self.boundary)

    def drawn(self, steps: int) -> list[list[float]]:
        """The curves, drawn through another number of steps."""
        curves = (np.array(levels) for levels in self.curves.values())
        return [drawn_through(levels, steps, self.lowest).tolist() for levels in curves]


def _known(
    sampler: Multistep, told: bool, model_level: Callable[[float], float], boundary: float
) -> Multistep:
    """The sampler told levels that the model knows, where it may be told others than its own."""

    def nearest(s: float) -> float:
        level = model_level(s)  # of the same model
        return level if (level > boundary) == (s > boundary) else s

    return replace(sampler, told=tuple(map(nearest, sampler.told))) if told else sampler


def _same(x: Tensor) -> Tensor:
    return x


def _diverse(ranked: Sequence[str], count: int) -> list[str]:
    """The first of PLAINEST and ROBUST, and the likeliest others, of each kind ALIKE at most."""
    chosen = [next(name for name in ranked if name.startswith(one)) for one in (PLAINEST, ROBUST)]
    alike = Counter(part for name in chosen for part in name.split(" ", 1))
    for name in ranked:
        parts = name.split(" ", 1)
        if len(chosen) < count and name not in chosen and all(alike[p] < ALIKE for p in parts):
            chosen.append(name)
            alike.update(parts)
    return chosen


def _screened(
    bench: _Bench, pairs: dict[str, Multistep], path: Path, count: int
) -> dict[str, Multistep]:
    """The pairs, so many, that end nearest to the references of the fit's first noises."""
    noises = range(SCREENED_ON)
    noise = bench.source.noise(noises)

    def measure() -> dict[str, Tensor]:
        known: dict[object, Tensor] = {}
        return {"ends": torch.stack([_end(bench, one, noise, known) for one in pairs.values()])}

    ends = bench.source.once(f"screened {noises}", measure)["ends"]
    near = path.part(len(noises), FITTED_ELEMENTS)
    missed = {name: near.log_error(end) for name, end in zip(pairs, ends, strict=True)}
    return {name: pairs[name] for name in sorted(pairs, key=lambda name: missed[name])[:count]}


def _end(bench: _Bench, sampler: Multistep, noise: Tensor, known: dict[object, Tensor]) -> Tensor:
    """The end points of a sampler, with first outputs that are known from others before it."""
    i = -1

    def denoise(x: Tensor, level: float) -> Tensor:
        nonlocal i
        i += 1
        before = (sampler.levels[: i + 1], sampler.told[: i + 1], sampler.weights[:i])
        if before in known:
            return known[before]
        D = bench.denoise(x, level)
        if i < SHARED:
            known[before] = D
        return D

    return run(denoise, sampler, noise, bench.elements).end


def _fitted(
    bench: _Bench,
    noises: range,
    path: Path,
    plan: CalibrationPlan,
    starts: Sequence[Multistep],
    told: bool,
    whole: bool,
    model_level: Callable[[float], float],
) -> dict[str, Multistep]:
    """Gather by name what the greedy fit and the last joint step leave."""
    noise, boundary = bench.source.noise(noises), bench.boundary
    known = partial(_known, told=told, model_level=model_level, boundary=boundary)
    begun = []
    for k, start in enumerate(map(known, starts)):

        def measure(start: Multistep = start) -> dict[str, Tensor]:
            found = greedy(bench.denoise, start, noise, path, bench.elements, whole, boundary)
            return _tensors(*found)

        begun.append(_sampler(bench.source.once(f"greedy {k} {noises}", measure)))
    bench.beside += begun
    greedy_one, made = min(begun, key=lambda pair: path.log_error(pair[1].end))
    found, sampler = {"greedy": greedy_one}, greedy_one
    total: Tensor | None = None
    n, count = sampler.steps, len(noises)
    race = (plan.race - 1) * (plan.reference + (plan.pairs + 2) * n)
    for k in range(1, plan.rounds + 1):
        move = Move.of(sampler, told, whole)
        move = Move(move.shape, move.total if total is None else total)
        if not bench.source.fits(count * (CalibrationPlan.tangents_cost(n) + n) + race):
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
        for length in LENGTHS:
            if length < 1.0 and not bench.source.fits(count * n + race):
                continue
            moved = known(move.moved(sampler, length * step, bench.lowest, boundary))
            if steps_above(moved.levels, boundary) != steps_above(sampler.levels, boundary):
                continue  # its rows are for another switch

            def trial(moved: Multistep = moved) -> dict[str, Tensor]:
                return _tensors(moved, run(bench.denoise, moved, noise, bench.elements))

            key = f"joint {k} by {length} {noises}"
            moved, tried = _sampler(bench.source.once(key, trial))
            bench.beside.append((moved, tried))
            if path.log_error(tried.end) < path.log_error(made.end):
                break
        else:
            break
        sampler, made, total = moved, tried, move.total + length * step
        found = {"greedy": greedy_one, f"joint {k}": sampler}
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
