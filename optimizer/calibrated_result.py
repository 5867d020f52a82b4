"""The calibrated sampler as an optimisation: its calls charged and recorded, its result told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .calibrate import Calibrated, calibrate
from .diffusion.multistep import Multistep
from .diffusion.noise import SELECTION, generators, unit_noise
from .judging.select import Candidate, Score
from .plan import CalibrationPlan
from .problem import Problem
from .profile.algorithm_1 import edm_schedule
from .profile.candidates import checked_candidate
from .result import Result
from .runs.failures import reason
from .runs.finish import Ended
from .runs.runner import CONTINUED
from .session import Known, Lab, Session
from .steps_needed import Longer

__all__ = ["calibrated"]

T = TypeVar("T")

# By the first word of a measurement; others compare.
PHASES = {"path": "reference", "check": "reference", "reference": "reference"}
PHASES |= dict.fromkeys(("probe", "greedy", "tangents", "run"), "fit")
NEARLY = 1e-3  # relative, between the highest levels of two samplers of one model


def calibrated(
    lab: Lab,
    given: list[Candidate],
    left_out: dict[str, str],
    session: Session,
    known: Known | None = None,
) -> Result:
    """Fit a whole sampler to the problem's denoiser, see calibrate.py.

    Arguments:
        given: curves to start from and to race against, with every textbook sampler.
        left_out: those of the caller's that cannot be used, with the reason.
        session: with the size of a batch, and what was spent to find it.
        known: of which the curves at other numbers of steps count, and samplers of before, which
            are raced too.

    Raises ValueError for a budget that is too small.
    """
    problem = lab.problem
    curves = {candidate.name: problem.edm(candidate) for candidate in given}
    curves = curves or {"EDM": _edm_curve(problem)}
    budget = lab.ledger.granted + session.spent
    shared = None if known is None else known.references
    beside = () if shared is None else shared.counts
    plan = CalibrationPlan.of(budget, problem.steps, session.spent, beside)
    kept = problem.elements is not None  # what a run cannot change must stay as it is
    found = calibrate(
        _LabSource(lab, session.batch_size),
        {name: levels.tolist() for name, levels in curves.items()},
        budget=lab.ledger.granted,
        lowest=problem.t_min,
        told=not kept,
        whole=kept,
        elements=problem.elements,
        model_level=_model_level(problem),
        boundary=problem.solver.boundary,
        plan=plan,
        earlier=dict(_usable(() if known is None else known.samplers, problem)),
        shared=shared,
        better=lambda best: lab.leader.lead(_winner(problem, best)),
        longer=_longer(problem, known),
    )
    return _result(lab, found, plan, left_out)


def _usable(samplers: Sequence[Multistep], problem: Problem) -> Iterator[tuple[str, Multistep]]:
    """Those of earlier samplers that can be run, by name."""
    kept = problem.elements is not None
    for number, one in enumerate(samplers, 1):
        same = one.steps == problem.steps and one.levels[-1] == 0.0
        near = abs(one.levels[0] / problem.t_max - 1.0) < NEARLY
        keeps = one.told == one.levels[:-1] and abs(sum(one.weights[-1]) - 1.0) < NEARLY
        if same and near and (keeps or not kept):
            yield f"earlier {number}", replace(one, levels=(problem.t_max, *one.levels[1:]))


def _winner(problem: Problem, found: Calibrated) -> Candidate:
    return _candidate(problem, found.name, found.sampler, found.name in found.pairs)


def _edm_curve(problem: Problem) -> np.ndarray:
    """The curve to start from where none is given, [n+1] EDM levels that end in 0."""
    if problem.steps == 1:
        return np.array([problem.t_max, 0.0])
    return np.append(edm_schedule(problem.steps - 1, problem.t_max, problem.t_min), 0.0)


def _model_level(problem: Problem) -> Callable[[float], float]:
    """The EDM level nearest to one that the model knows, as the host rounds it."""
    table = problem.coordinate.table
    if table is None:
        return float
    known = problem.coordinate.edm(table)

    def nearest(t: float) -> float:
        return float(known[np.abs(np.log(known) - np.log(t)).argmin()])

    return nearest


def _longer(problem: Problem, known: Known | None) -> Longer | None:
    """EDM levels of a given curve at another number of steps; None where nobody knows them."""
    given = None if known is None else known.longer
    if given is None:
        return None

    def levels(name: str, steps: int) -> list[float] | None:
        sigmas = given(name, steps)
        if sigmas is None:
            return None
        try:
            candidate = checked_candidate(name, sigmas, steps, problem.sigma_max)
        except ValueError:
            return None
        return [float(t) for t in problem.edm(candidate)]

    return levels


def _result(lab: Lab, found: Calibrated, plan: CalibrationPlan, left_out: dict[str, str]) -> Result:
    problem = lab.problem
    raced = {**found.fitted, **found.pairs}
    scores = [
        Score(_candidate(problem, name, raced[name], name in found.pairs), errors)
        for name, errors in found.errors.items()
    ] or [Score(_winner(problem, found))]  # it ended before anything was compared
    winner = next(score for score in scores if score.candidate.name == found.name)
    lab.leader.lead(winner.candidate)
    return Result(
        sigmas=winner.candidate.sigmas,
        method=found.name,
        scores=sorted((score for score in scores if score.finite), key=lambda one: one.place),
        left_out=left_out,
        failed={s.candidate.name: reason([]) for s in scores if not s.finite},
        profile=None,
        calls=lab.ledger.spent,
        noises=len(winner.errors),
        criterion="paired error",
        gain=found.gain,
        reference_steps=plan.reference,
        reference_error=float("nan"),
        coordinate=problem.coordinate,
        surrogate=None,
        ended_early=lab.ledger.ended_early,
        resumable=True,
        solver_name=problem.solver.name,
        sampler=found.sampler,
        counts=found.counts,
        plain=_candidate(problem, found.pair_name, found.pairs[found.pair_name], True),
        needed=found.needed,
        shown=found.shown,
    )


def _candidate(problem: Problem, name: str, sampler: Multistep, given: bool) -> Candidate:
    """A sampler's levels in the host's units."""
    levels = problem.coordinate.level(np.array(sampler.levels[:-1]))
    levels = np.append(problem.sigma_max, levels[1:])
    return Candidate(name, torch.from_numpy(np.append(levels, 0.0)).float(), given)


class _LabSource:
    """A calibration's source of noise and outputs: a laboratory, which charges and records.

    Rows of calls are the noises last asked for, in their order, again and again.
    """

    def __init__(self, lab: Lab, batch_size: int):
        self._lab, self.batch_size = lab, batch_size
        self.shape = tuple(lab.problem.shape)
        self._phase = "reference"
        self._stage = 0
        self._rows = cycle(range(1))

    def noise(self, indices: range) -> Tensor:
        """Unit noises [K, ...] by their numbers, with what runs start from beside them."""
        self._rows = cycle(indices)
        noise = unit_noise(generators(self._lab.problem.seed, SELECTION, indices), self.shape)
        begin = self._lab.problem.solver.begin
        if begin is None:
            return noise
        return torch.cat([begin(rows) for rows in noise.split(self.batch_size)])

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D [B, ...] at one EDM level, charged to the phase at hand."""
        self._lab.ask()
        if self._lab.ledger.left < len(x):
            self._lab.ledger.cut_short()
            raise Ended
        solver, own = self._lab.problem.solver, islice(self._rows, len(x))
        with self._lab.ledger.charging(self._phase), solver.conditions.of(own):
            D = solver.denoise(x, sigma)
        self._lab.tell(self._phase)
        return D

    @property
    def spent(self) -> int:
        """Calls so far, those of an interrupted calibration included."""
        return self._lab.ledger.made

    def fits(self, rows: int) -> bool:
        """Tell whether so many more calls may be made."""
        return self._lab.ledger.fits(rows)

    def decide(self, choose: Callable[[int], T]) -> T:
        """What is chosen by the calls that may be made in all."""
        return self._lab.ledger.decide(choose)

    def once(self, key: str, measure: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return what `measure` finds, or had found once before."""
        self._phase = PHASES.get(key.split()[0], "candidates")
        self._stage += 1
        record, run = self._lab.record, f"{key}, batch {self.batch_size}"
        stage = hashlib.blake2b(run.encode(), digest_size=16).hexdigest()
        known = record.recall(self._stage, run, stage)
        if known is None:
            with self._lab.problem.solver.meter.forgetful():
                return dict(record.make(self._phase, run, measure))
        self._lab.tell(CONTINUED)
        return dict(known)
