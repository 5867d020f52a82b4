"""The calibrated sampler: fitted to the loaded model, chosen and judged on noise it has not seen.

1. References of some noises, by fine steps of UniPC of order 3, which has a third of the error of
   the exponential method of order 3 at equal calls. Strong guidance can make it unstable: on
   patches, cfg 7, 24 steps of it miss by three times what 8 steps of the best pair do. So it is
   checked against dpmpp_2m, which takes its place where it disagrees by more than dpmpp_2m changes
   between a half and all of the steps. (A third of that is usual, there it is mostly 1 to 7.)
2. What is likely (fit/likely.py): from which curves a fit ends nearest, and which pairs of textbook
   sampler and curve are likeliest to be hard to beat.
3. The fit (fit/growing_fit.py): greedy, then joint steps, which need as many noises as steps.
4. The race (judging/race.py) of what the fit has left and the likeliest pairs, one of Euler's among
   them, on fresh noises.
5. Where calls are left, the steps with which the best pair comes as close (steps_needed.py).

All of it in rounds that grow: the first fits to three noises and races on three, each further one
ends at three times the calls spent before, and the last takes all that are left. Nothing of a
smaller round is done twice in a larger one but the greedy fit. So there is soon something that was
measured, and whenever the work ends, the best measured so far is what was found. Before anything
was, it is the pair that the linear model of the first references names, else the one that would be
best for Gaussian data.

All calls count: one for each row of each batch that the denoiser is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from .diffusion.multistep import Multistep
from .fit.bench import Bench, Source, kept_elements
from .fit.growing_fit import GrowingFit
from .fit.likely import Likely, likeliest
from .fit.other_counts import with_counts
from .fit.shared_references import SharedReferences
from .judging.race import SMALLER, Calibrated, Race
from .plan import FEWEST_RACED, MOST_RACED, PROBED, SCREENED_ON, CalibrationPlan, Grown, Round
from .runs.finish import Ended
from .runs.meter import NotFiniteError
from .steps_needed import Longer, StepsNeeded, measured_steps, reserved

__all__ = ["Calibrated", "Source", "calibrate"]


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
    earlier: Mapping[str, Multistep] | None = None,
    shared: SharedReferences | None = None,
    better: Callable[[Calibrated], None] = lambda _: None,
) -> Calibrated:
    """Fit, choose and judge a sampler; where a limit ends it, the best so far is returned.

    Arguments:
        source: the denoiser, noise, and who counts.
        curves: EDM levels [n+1] by name, descending and ending in 0, all from the same first level.
        budget: calls to plan with; `source.decide` may allow less.
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
        earlier: samplers of earlier results, which are raced too.
        shared: references that calibrations for other numbers of steps have made, or will take.
        better: called with the best so far, whenever more was compared.

    Raises ValueError for a budget that is too small; where nothing was compared before,
    NotFiniteError for references, or the runs of every sampler, that are no numbers.
    """
    steps = len(next(iter(curves.values()))) - 1
    plan = plan or CalibrationPlan.of(budget, steps, beside=shared.counts if shared else ())
    kept = kept_elements(source.shape, elements)
    bench = Bench(source, kept, lowest, plan.reference, curves, boundary, shared)
    fit = GrowingFit(bench, told, whole, model_level)
    likely = Likely(bench)
    work = _Work(bench, likely, plan, fit, Race(bench, earlier or {}, better), longer)
    needed = None
    try:
        work.do()
        needed = work.needed()
    except (Ended, NotFiniteError) as error:
        if isinstance(error, NotFiniteError) and work.race.best is None:
            raise
    found = replace(work.best, needed=needed)
    if found.name in found.pairs or not fit.beside or boundary:  # two models: which step switches?
        return found
    secants = likely.secants(fit.beside, fit.noises)
    return replace(found, counts=with_counts(secants, found.sampler, bench.drawn, fit.known, whole))


class _Work:
    """The rounds of a calibration."""

    def __init__(
        self,
        bench: Bench,
        likely: Likely,
        plan: CalibrationPlan,
        fit: GrowingFit,
        race: Race,
        longer: Longer | None,
    ):
        self.bench, self.likely, self.plan = bench, likely, plan
        self.fit, self.race, self.longer = fit, race, longer
        self.starts: list[Multistep] = []
        self.ranked: list[str] = []  # pairs, the likeliest first
        self.probed = 0
        self.screened = False

    @property
    def best(self) -> Calibrated:
        """The best measured so far, else the likeliest pair."""
        if self.race.best is not None:
            return self.race.best
        pairs = self.likely.pairs
        name = self.ranked[0] if self.ranked else self.likely.guessed()
        return Calibrated(name, name, {}, {name: pairs[name]}, {}, None)

    def do(self) -> None:
        """Round after round, as long as there are calls for another."""
        self._rank(self.plan.checked)
        self.bench.check(self.plan.checked)
        source, before = self.bench.source, -1
        while source.spent > before and (now := source.decide(self._next)) is not None:
            before = source.spent
            self._round(now)

    def _next(self, calls: int) -> Round | None:
        """The next round, where so many calls may be made in all."""
        fit = self.fit
        done = Grown(self.bench.source.spent, fit.noises, fit.joint, self.race.count, self.screened)
        return self.plan.next_round(calls, self.bench.steps, done)

    def _rank(self, probed: int) -> None:
        """Find what is likely with so many noises probed."""
        self.starts, self.ranked = self.likely.starts_and_pairs(probed, self.plan.starts)
        self.probed = probed

    def _round(self, now: Round) -> None:
        """Fit to more noises, and race what comes out."""
        fit, race = self.fit, self.race
        few = min(PROBED, now.noises)
        self.bench.path_of(few)
        if few > self.probed:
            self._rank(few)
        race.take_pairs(self._pairs(now))
        if not race.count:
            # Where references were in doubt, there may be calls for one fewer.
            race.go_on(min(FEWEST_RACED, now.race) - now.is_last)
        now = replace(now, noises=self._affordable(now))
        if now.noises > fit.noises or now.joint:
            if fit.last is not None and fit.joint:
                race.take_instead(SMALLER, fit.last.sampler)
            starts = self.starts if self._is_full(now) else self.starts[:1]
            for name, sampler in fit.grown(starts, now, lambda rows: self._room(rows, now)):
                race.take(name, sampler)
        most = MOST_RACED if now.is_last else now.race
        race.go_on(race.count + self.bench.source.decide(lambda calls: self._more(calls, most)))

    def _pairs(self, now: Round) -> dict[str, Multistep]:
        """The pairs to race."""
        names, pairs = self.ranked, self.likely.pairs
        if now.screens:
            self.ranked = self.likely.screened(names, self.plan.screened, SCREENED_ON)
            self.screened = True
        chosen = likeliest(self.ranked, self.plan.pairs, plainest=not self.screened)
        return {name: pairs[name] for name in chosen}

    def _is_full(self, now: Round) -> bool:
        """Whether no later round fits to more noises: then all starts are tried."""
        return now.is_last or now.noises >= self.plan.noises

    def _affordable(self, now: Round) -> int:
        """Noises of a round's greedy fit that there are calls for, whichever pairs were let in."""
        fit, steps, plan, source = self.fit, self.bench.steps, self.plan, self.bench.source
        starts = len(self.starts) if self._is_full(now) else 1
        known = len(self.bench.path_of(1).end)

        def cost(noises: int) -> int:
            again = (noises - fit.noises) * steps if fit.joint else 0
            new = max(0, noises - known) * plan.reference
            return new + noises * starts * steps + again + self.race.count * steps

        def most(calls: int) -> int:
            left = calls - source.spent
            fitting = (n for n in range(now.noises, fit.noises, -1) if cost(n) <= left)
            return next(fitting, fit.noises)

        return source.decide(most)

    def _room(self, rows: int, now: Round) -> bool:
        """Whether so many calls may be spent on a fit, beside those of the race."""
        race = (now.race - self.race.count) * self._raced(1) + self.race.count * self.bench.steps
        spent = self.bench.source.spent
        return self.bench.source.decide(lambda calls: rows + race <= min(calls, now.calls) - spent)

    def _raced(self, more: int = 0) -> int:
        """Calls of a noise of the race."""
        count = len(self.race.pairs) + len(self.race.fitted) + more
        return self.plan.reference + count * self.bench.steps

    def _more(self, calls: int, most: int) -> int:
        """Noises of the race that all calls allow, beside those that were raced."""
        cost, count, source = self._raced(), self.race.count, self.bench.source
        kept = 0
        if self.longer is not None:
            kept = reserved(lambda rows: source.fits(rows - count * cost), cost, self.bench.steps)
        affordable = (calls - source.spent - kept) // cost
        return max(0, min(affordable, most - self.race.count))

    def needed(self) -> StepsNeeded | None:
        """The steps with which the best pair comes as close, where calls are left."""
        best = self.race.best
        if self.longer is None or best is None or best.gain is None or not best.gain.claimed:
            return None
        ours = [best.errors[name] for name in best.fitted if math.isfinite(sum(best.errors[name]))]
        steps, noises = self.bench.steps, self.race.noises
        return measured_steps(self.bench, best.pair_name, ours, steps, noises, self.longer)
