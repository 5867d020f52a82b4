"""Comparison of several given schedules: which comes closest to many steps.

The error of a schedule on one initial noise is the RMS distance, per latent element, between the
solver's end point and that of a fine-step reference from the same noise. Schedules are ranked by
the mean over noises that all of them were run from. They share what makes an error large or small,
a hard noise above all, so whether one is better than another shows in the differences

    d_k = e_k - e_k of the best

noise by noise: their mean's standard error is far below that of either error.

All schedules run on one batch of noise before any runs on the next: whenever it ends, all were
run from the same noises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .compare_steps import steps_to_match
from .diffusion.coordinate import VE, Coordinate
from .diffusion.solvers import Solver
from .judging.judged_solver import JudgedSolver
from .judging.reference_steps import every_of_coarse, fine_steps
from .judging.references import PairedErrors, References
from .judging.select import Candidate, Score
from .problem import Problem
from .profile.candidates import checked_candidate
from .profile.profile import Denoiser
from .runs.failures import FURTHER, reason
from .runs.meter import NotFiniteError
from .runs.runner import Runner
from .session import Session
from .steps_needed import StepsNeeded

__all__ = ["Comparison", "compare", "most_calls"]

BATCH = 4  # noises run together at most: the more, the longer until the comparison can end
NEAR_START = 0.1  # of the first level: one so near is moved there
SAME_START = 1e-6  # of the first level: rounding
CLEAR = 2.0  # standard errors from which on a difference is taken for real
ENDED = "the comparison was ended before its turn"


@dataclass(frozen=True)
class Comparison:
    """The measurements of every schedule.

    scores:          one for every schedule that was compared, the least mean error first, all with
                     one error for each noise, in the order of the noises
    left_out:        schedules that were not, with the reason
    first_ends:      where the first noise ends, [...]: by name, those that were compared
    first_reference: and with many steps, [...]
    calls:           denoiser rows computed, by phase
    calls_per_step:  of the solver
    other_calls:     of those that have another solver, by name
    needed:          with how many steps others than the best come as close, by name; only what was
                     measured
    reference_steps: steps of the reference runs
    reference_error: their own estimated RMS error; NaN if their calls pass through no meter
    """

    scores: list[Score]
    left_out: dict[str, str]
    first_ends: dict[str, Tensor]
    first_reference: Tensor
    calls: dict[str, int]
    calls_per_step: int
    reference_steps: int
    reference_error: float
    other_calls: dict[str, int] = field(default_factory=dict)
    needed: dict[str, StepsNeeded] = field(default_factory=dict)

    @property
    def best(self) -> Score:
        """That of the least mean error."""
        return self.scores[0]

    @property
    def noises(self) -> int:
        """The number of noises that every schedule was run on."""
        return len(self.best.errors)

    @property
    def total_calls(self) -> int:
        """All denoiser rows computed."""
        return sum(self.calls.values())

    def calls_of(self, score: Score) -> int:
        """Denoiser calls of one run of a schedule."""
        each = self.other_calls.get(score.candidate.name, self.calls_per_step)
        return (len(score.candidate.sigmas) - 1) * each

    def behind(self, score: Score) -> tuple[float, float]:
        """Mean of the differences to the best, noise by noise, and its standard error.

        The standard error is NaN for a single noise.
        """
        pairs = zip(score.errors, self.best.errors, strict=True)
        differences = Score(score.candidate, [error - least for error, least in pairs], True)
        return differences.mean, differences.standard_error

    def as_good(self, score: Score) -> bool:
        """Tell whether a schedule cannot be told from the best.

        Within two standard errors of it, or within the references' own error. With a single noise
        nobody can tell.
        """
        difference, standard_error = self.behind(score)
        if math.isnan(standard_error) or difference <= CLEAR * standard_error:
            return True
        return difference <= self.reference_error


def compare(
    denoise: Denoiser,
    shape: Sequence[int],
    *,
    schedules: Mapping[str, object],
    sigma_max: float,
    sigma_min: float,
    solver: str | Solver | JudgedSolver,
    noises: int = 8,
    seed: int = 0,
    first_noise: Tensor | None = None,
    elements: Tensor | None = None,
    coordinate: Coordinate = VE,
    session: Session | None = None,
    stop: Callable[[], bool] | None = None,
    solvers: Mapping[str, Solver] | None = None,
    longer: Callable[[str, int], object] | None = None,
) -> Comparison:
    """Rank schedules by the distance between their end points and those of many steps.

    Arguments, beside those of `optimize`:
        schedules: levels in the host's units by name, ending in 0, of any number of steps each.
        sigma_max: where they start. A first level within a tenth of it is moved there.
        noises: how many initial noises to run from.
        seed: the noises are those on which `optimize` with this seed refines and compares.
        first_noise: [...] unit noise in place of the first of them.
        session: of which `progress`, `better` and `batch_size` count.
        stop: asked after every run: once it says yes, the comparison ends with what it has.
        solvers: of schedules that are run with another solver than `solver`, by name. They come to
            the same end points with more steps, and their calls pass through the same meter; they
            may say `calls_per_step` (1 if not).
        longer: gives the levels of a named schedule at another number of steps, None where nobody
            knows them. With it, those behind the best are run with more steps, until they are as
            close (compare_steps.py).

    A schedule whose run comes out as NaN or infinity is left out. Noises whose reference does end
    the comparison with those before.

    Raises ValueError for arguments out of range or if no schedule can be compared, DenoiserError
    for a model that returns another shape, NotFiniteError for one whose first reference run returns
    NaN or infinities.

    Example: the ideal denoiser of Gaussian data.

    >>> from align_your_steps.optimizer import compare, gaussian
    >>> schedules = {"even": [10.0, 5.0, 0.1, 0.0], "falling": [10.0, 1.0, 0.3, 0.0]}
    >>> found = compare(gaussian.denoise, (4,), schedules=schedules, sigma_max=10.0, sigma_min=0.1,
    ...                 solver="euler")
    >>> found.best.candidate.name, found.noises
    ('falling', 8)
    """
    if noises < 1:
        raise ValueError(f"noises was {noises}: give at least 1.")
    running, left_out = _checked(schedules, sigma_max)
    steps = max(len(score.candidate.sigmas) - 1 for score in running)
    session = session or Session()
    problem = Problem(
        JudgedSolver.of(solver, denoise),
        shape, sigma_max, sigma_min, steps, coordinate, elements, seed,
    )  # fmt: skip
    lab = replace(session, journal=None, finish=None, ranks=None).open(problem, 0)
    batch = min(BATCH, session.batch_size, noises)
    fine = problem.fine_levels(
        fine_steps(steps, problem.solver.calls_per_step, problem.solver.reference_order)
    )
    every = every_of_coarse(len(fine) - 1, steps)
    references = References(Runner(lab, batch, noises=noises, first=first_noise), fine, every)
    race = _Race(references, running, left_out, stop or (lambda: False), solvers or {})
    for number in range(-(-noises // batch)):
        race.run(number)
    if not race.running:
        raise lab.failed.error()
    found = Comparison(
        scores=sorted(race.running, key=lambda score: score.mean),
        left_out=left_out,
        first_ends=race.first_ends,
        first_reference=race.first_reference,
        calls=lab.ledger.spent,
        calls_per_step=problem.solver.calls_per_step,
        reference_steps=len(fine) - 1,
        reference_error=references.error,
        other_calls={name: getattr(one, "calls_per_step", 1) for name, one in race.solvers.items()},
    )
    if longer is None:
        return found

    def at(name: str, count: int) -> Candidate | None:
        levels = longer(name, count)
        if levels is None or len(torch.as_tensor(levels)) != count + 1:
            return None
        try:
            return _comparable(name, levels, sigma_max)
        except ValueError:
            return None

    race.running = found.scores
    needed = steps_to_match(race, batch, at, lambda score: not found.as_good(score))
    return replace(found, calls=lab.ledger.spent, needed=needed)


def most_calls(
    counts: Sequence[int],
    noises: int,
    calls_per_step: int,
    reference_order: int,
    reference_calls: int,
) -> int:
    """Denoiser rows that comparing schedules of so many steps takes at most.

    Schedules that share their first levels take fewer.
    """
    fine = fine_steps(max(counts), calls_per_step, reference_order)
    coarse = -(-fine // every_of_coarse(fine, max(counts))) * calls_per_step
    each = fine * reference_calls + sum(counts) * calls_per_step
    return noises * each + min(BATCH, noises) * coarse


class _Race:
    """Runs all schedules on one batch of noise after another.

    running:         scores of those that are still in it
    left_out:        why the others are not: those that fail are added
    first_ends:      of the first noise, by name
    first_reference: its end with many steps
    """

    def __init__(
        self,
        references: References,
        running: list[Score],
        left_out: dict[str, str],
        stop: Callable[[], bool],
        solvers: Mapping[str, Solver],
    ):
        self.references, self.running = references, running
        self.left_out, self.stop, self.solvers = left_out, stop, solvers
        self.errors, self.lab = PairedErrors(references), references.runner.lab
        self.first_ends: dict[str, Tensor] = {}

    def run(self, batch: int) -> None:
        """Add the errors of the next batch to all scores; to none if it is ended before.

        If even the first batch is, the schedules not yet run are left out.
        """
        first = batch == 0
        if not first and (self.stop() or not self.running or FURTHER in self.left_out):
            return
        try:
            self._add_reference(batch)
        except NotFiniteError as error:
            if first:
                raise
            self.left_out[FURTHER] = reason(error.levels, "the many-step picture")
            return
        measured: list[tuple[Score, list[float]]] = []
        for score in list(self.running):
            if self.stop() and (measured or not first):
                break
            errors = self._errors(score.candidate, batch)
            if errors is None:
                self.running.remove(score)
                continue
            measured.append((score, errors))
            if first:
                self.lab.leader.lead(min(measured, key=lambda pair: sum(pair[1]))[0].candidate)
        if first:
            names = [score.candidate.name for score in self.running]
            self.left_out.update({name: ENDED for name in names if name not in self.first_ends})
            self.running = [score for score, _ in measured]
        if len(measured) == len(self.running):
            for score, errors in measured:
                score.errors.extend(errors)
            if measured:
                self.lab.leader.lead(min(self.running, key=lambda score: score.mean).candidate)

    def _add_reference(self, batch: int) -> None:
        """Run the reference; the first with a coarse run beside it, to tell its own error."""
        if batch > 0:
            return self.references.add()
        self.references.add_tracked()
        self.first_reference = self.references.take_whole()[0][0].clone()

    def _errors(self, candidate: Candidate, batch: int) -> list[float] | None:
        """Errors on a batch; None for a schedule whose runs fail, which is left out."""
        try:
            solver = self.solvers.get(candidate.name)
            ends, errors = self.errors.end_points(candidate.sigmas, batch, solver)
        except NotFiniteError as error:
            self.lab.failed.add(candidate.sigmas, error.levels)
            self.left_out[candidate.name] = reason(error.levels)
            return None
        if batch == 0:
            self.first_ends[candidate.name] = ends[0].clone()
        return errors.tolist()


def _checked(
    schedules: Mapping[str, object], sigma_max: float
) -> tuple[list[Score], dict[str, str]]:
    """The schedules that can be compared, and why the others cannot.

    Raises ValueError if none can.
    """
    running, left_out = [], {}
    for name, levels in schedules.items():
        try:
            running.append(Score(_comparable(name, levels, sigma_max), additive=True))
        except (ValueError, TypeError) as error:
            left_out[name] = str(error)
    if not running:
        raise ValueError(_nothing(left_out))
    return running, left_out


def _comparable(name: str, levels: object, sigma_max: float) -> Candidate:
    """A schedule that starts at sigma_max: one that starts near it is moved there.

    Raises ValueError, naming the defect, for one that starts elsewhere or is no schedule to 0.
    """
    sigmas = torch.as_tensor(levels, dtype=torch.float64).flatten().clone()
    if len(sigmas) < 2:
        raise ValueError("it has no steps")
    if not torch.isfinite(sigmas).all():
        raise ValueError("it has levels that are not finite")
    if sigmas[-1] != 0:
        raise ValueError(f"it ends at {float(sigmas[-1]):.4g}, not at 0")
    off = abs(float(sigmas[0]) / sigma_max - 1.0)
    if off <= NEAR_START:
        sigmas[0] = sigma_max
    candidate = checked_candidate(name, sigmas, len(sigmas) - 1, sigma_max)
    if off <= SAME_START:  # what is run is what the caller would run, to the last bit
        candidate.sigmas[0] = torch.as_tensor(levels).flatten()[0]
    return candidate


def _nothing(left_out: Mapping[str, str]) -> str:
    reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
    return f"No schedule can be compared. {reasons or 'Give at least one'}."
