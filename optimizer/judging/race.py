"""The race of fitted samplers and textbook pairs on noises that no fit has seen.

It goes on from round to round: what enters is run on all noises raced so far, and every new noise
is run with all that are in. Who is in, no raced noise decides: what the last two rounds of the fit
left, samplers of earlier results, and the pairs that the fit's own noises make likely.

The least geometric mean of errors wins. The gain that is told: for every noise of the race, winner
and best pair are chosen by the other noises, and the ratio of their errors on this one counts. So
no ratio is of a noise that has been used to choose. If their geometric mean tells of no gain, the
pair is returned.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..diffusion.multistep import Multistep
from ..fit.bench import Bench, blocks, marked
from ..fit.other_counts import FittedCount
from ..gain import Gain
from ..runs.meter import NotFiniteError
from ..steps_needed import StepsNeeded
from .end_points import MANY

__all__ = ["SMALLER", "Calibrated", "Race", "first_raced"]

FIRST_RACED = 2**20  # numbers of raced noises begin at a multiple of it, those of a fit at 0
SMALLER = "smaller"  # the name of what the round before has fitted


@dataclass(frozen=True)
class Calibrated:
    """The sampler found, and what was measured on the way.

    name:      of the winner: "greedy", "joint 1", "smaller", …, or a pair's
    pair_name: of the best of the raced pairs
    fitted:    "greedy", and the last joint step; "smaller", which the round before has left; those
               of earlier results; by name
    pairs:     that were raced, of textbook sampler and curve, by name
    errors:    of all that were raced, by name, one for each noise of the race; infinite ones where
               a run came out as NaN or infinity; empty: nothing was compared yet
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

    @staticmethod
    def of(
        fitted: dict[str, Multistep], pairs: dict[str, Multistep], errors: dict[str, list[float]]
    ) -> Calibrated:
        """The winner of a race: a stage of the fit where a gain is seen, else the best pair.

        Raises NotFiniteError where every run has failed.
        """
        scores = {name: sum(map(math.log, e)) / len(e) for name, e in errors.items()}
        sound = [name for name, score in scores.items() if math.isfinite(score)]
        if not sound:
            raise NotFiniteError(
                "No sampler can be compared, because every run came out as NaN", []
            )
        ours, theirs = ([name for name in sound if name in some] for some in (fitted, pairs))
        pair = min(theirs or pairs, key=lambda name: scores[name])
        winner, gain = min(ours or theirs, key=lambda name: scores[name]), None
        if ours and theirs:
            gain = Gain.of([errors[name] for name in ours], [errors[name] for name in theirs])
            if gain.ratio >= 1.0:
                winner = pair
        return Calibrated(winner, pair, fitted, pairs, errors, gain)


def first_raced(earlier: Mapping[str, Multistep]) -> int:
    """The number of the first noise: others than those that have chosen earlier samplers."""
    marks = "".join(sorted(map(marked, earlier.values())))
    return (
        FIRST_RACED
        + int(hashlib.blake2b(marks.encode(), digest_size=4).hexdigest(), 16) * FIRST_RACED
    )


class Race:
    """The race, and the best so far.

    count: noises that all who are in were run on
    best:  None: nothing was compared yet

    Arguments:
        earlier: samplers that are in from the start.
        better: called with the best so far whenever more was compared.
    """

    def __init__(
        self,
        bench: Bench,
        earlier: Mapping[str, Multistep],
        better: Callable[[Calibrated], None],
    ):
        self.bench, self.better = bench, better
        self.first, self.count = first_raced(earlier), 0
        self.best: Calibrated | None = None
        self.pairs: dict[str, Multistep] = {}
        self.earlier = dict(earlier)
        self.fitted = dict(earlier)
        self._ends: dict[range, Tensor] = {}  # of the references
        self._errors: dict[tuple[str, range], Tensor] = {}

    @property
    def noises(self) -> range:
        """Those that all who are in were run on."""
        return range(self.first, self.first + self.count)

    def take_pairs(self, pairs: dict[str, Multistep]) -> None:
        """Let these pairs run, and no others."""
        for one in pairs.values():
            self._run(one)
        self.pairs = pairs

    def take(self, name: str, sampler: Multistep) -> None:
        """Let a sampler run under a name; who had it drops out."""
        self._run(sampler)
        self.fitted = {**self.fitted, name: sampler}
        self._compare()

    def take_instead(self, name: str, sampler: Multistep) -> None:
        """Let a sampler run in the place of all that a fit has left before."""
        kept = {one: self.fitted[one] for one in self.fitted if one in self.earlier}
        self.fitted = {**kept, name: sampler}

    def go_on(self, count: int) -> None:
        """Run all who are in on new noises, until so many have been run."""
        for part in blocks(range(self.first + self.count, self.first + count)):
            self._ends[part] = self.bench.reference_ends(part)
            for one in {**self.pairs, **self.fitted}.values():
                self._error(one, part)
            self.count += len(part)
            self._compare()

    def _run(self, sampler: Multistep) -> None:
        for part in self._ends:
            self._error(sampler, part)

    def _error(self, sampler: Multistep, part: range) -> Tensor:
        key = marked(sampler), part
        if key not in self._errors:
            self._errors[key] = self.bench.errors(sampler, part, self._ends[part])
        return self._errors[key]

    def _compare(self) -> None:
        """Find who is best on the noises that all were run on."""
        if not self.count:
            return
        raced = {**self.fitted, **self.pairs}
        errors = {
            name: torch.cat([self._error(one, part) for part in self._ends]).tolist()
            for name, one in raced.items()
        }
        ends = self.bench.shown.ends
        shown = {name: marked(one) for name, one in raced.items()}
        shown = {MANY: MANY, **shown}
        best = Calibrated.of(dict(self.fitted), dict(self.pairs), errors)
        self.best = replace(
            best, shown={name: ends[mark] for name, mark in shown.items() if mark in ends}
        )
        self.better(self.best)
