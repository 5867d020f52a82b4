"""A sampler fitted to more and more noises.

Every round fits the greedy sampler anew (multistep_fit.py), which takes n calls a noise. Joint
steps go on from where those of the round before have led, unless the new greedy sampler is nearer:
the first ones need few noises, the last ones many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..diffusion.multistep import Multistep, steps_above
from ..plan import CalibrationPlan, Round
from .bench import Bench
from .multistep_fit import Move, Run, joint_step

__all__ = ["GrowingFit"]

STEP_LENGTHS = (1.0, 0.4)  # of a joint step: the shorter where the whole one leads nowhere better


@dataclass(frozen=True)
class _Fitted:
    """A sampler, its run on the noises, and how far it is from the greedy one [V]."""

    sampler: Multistep
    made: Run
    total: Tensor | None = None


class GrowingFit:
    """What the rounds of a fit leave.

    noises: that it has been fitted to
    joint:  joint steps that were made
    beside: samplers and their runs on all of these noises

    Arguments:
        told, whole, model_level: as for `calibrate`.
    """

    def __init__(
        self, bench: Bench, told: bool, whole: bool, model_level: Callable[[float], float]
    ):
        self.bench, self.told, self.whole = bench, told, whole
        self.model_level = model_level
        self.noises = self.joint = 0
        self.last: _Fitted | None = None
        self.beside: list[tuple[Multistep, Run]] = []
        self._stuck = 0  # noises with which a joint step has led nowhere

    def grown(
        self, starts: Sequence[Multistep], plan: Round, room: Callable[[int], bool]
    ) -> Iterator[tuple[str, Multistep]]:
        """Fit to as many noises as planned: the greedy sampler, then the last joint step's.

        starts: whose levels the greedy sampler may have
        room:   whether so many more calls may be spent on the fit
        """
        if plan.noises > self.noises or self.last is None:
            best = self._greedy(starts, range(plan.noises))
            yield "greedy", best.sampler
            self.last, self.noises = self._nearer(best, plan.noises), plan.noises
        made = 0
        while made < plan.joint and self._stuck < self.noises:
            step = self._stepped(self.last, room)
            if step is None:
                break
            self.last, made = step, made + 1
            self.joint += 1
        if self.joint and self.last.total is not None:
            yield f"joint {self.joint}", self.last.sampler

    def _greedy(self, starts: Sequence[Multistep], noises: range) -> _Fitted:
        """The greedy sampler of the best start."""
        path = self.bench.path_of(len(noises))
        begun = [
            _Fitted(*self.bench.greedy(self.known(start), noises, self.whole)) for start in starts
        ]
        self.beside = [(one.sampler, one.made) for one in begun]
        return min(begun, key=lambda one: path.log_error(one.made.end))

    def _nearer(self, greedy: _Fitted, count: int) -> _Fitted:
        """The greedy sampler, or what joint steps had led to, whichever ends nearer."""
        if self.last is None or self.last.total is None:
            return greedy
        more = self.bench.run(self.last.sampler, range(self.noises, count))
        last = replace(self.last, made=Run.joined([self.last.made, more]))
        self.beside.append((last.sampler, last.made))
        path = self.bench.path_of(count)
        return min(last, greedy, key=lambda one: path.log_error(one.made.end))

    def _stepped(self, fitted: _Fitted, room: Callable[[int], bool]) -> _Fitted | None:
        """The sampler after a joint step; None if it leads nowhere better, or costs too much."""
        bench, count, n = self.bench, self.noises, fitted.sampler.steps
        path = bench.path_of(count)
        if not room(count * (CalibrationPlan.tangents_cost(n) + n)):
            return None
        move = Move.of(fitted.sampler, self.told, self.whole)
        move = move if fitted.total is None else replace(move, total=fitted.total)
        natural = bench.tangents(fitted.sampler, fitted.made, count, self.model_level)
        step = joint_step(move.shape @ natural, fitted.made.end - path.end, move)
        for length in STEP_LENGTHS:
            if length < 1.0 and not room(count * n):
                continue
            moved = move.moved(fitted.sampler, length * step, bench.lowest, bench.boundary)
            moved = self.known(moved)
            above = (steps_above(one.levels, bench.boundary) for one in (moved, fitted.sampler))
            if len({*above}) > 1:
                continue  # its rows are for another switch
            made = bench.run(moved, range(count))
            self.beside.append((moved, made))
            if path.log_error(made.end) < path.log_error(fitted.made.end):
                return _Fitted(moved, made, move.total + length * step)
        self._stuck = count
        return None

    def known(self, sampler: Multistep) -> Multistep:
        """The sampler told levels that the model knows."""
        if not self.told:
            return sampler
        boundary = self.bench.boundary

        def nearest(s: float) -> float:
            level = self.model_level(s)  # of the same model
            return level if (level > boundary) == (s > boundary) else s

        return replace(sampler, told=tuple(map(nearest, sampler.told)))
