"""The schedule that an optimisation has found, and what was measured on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from .diffusion.coordinate import Coordinate
from .diffusion.multistep import Multistep
from .diffusion.solvers import Solver, builtin_solver
from .fit.other_counts import FittedCount
from .fit.refine import settled
from .fit.surrogate import Surrogate
from .gain import Gain
from .judging.references import References
from .judging.select import Candidate, Score
from .plan import Plan
from .profile.candidates import edm_levels, from_edm, path_schedules
from .profile.klub import klub
from .profile.profile import Denoiser, Profile
from .stages import Verdict
from .step_counts import at_steps, drawn_through
from .steps_needed import StepsNeeded

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """The schedule found, and what was measured on the way.

    sigmas:          [n+1] levels in the host's units, ending in 0
    method:          name of the candidate that won
    scores:          every candidate that was run, with its errors, those run most and best first
    left_out:        given candidates that could not be used, with the reason
    failed:          candidates whose runs came out as NaN or infinity, with the noise levels; and
                     noises whose references did, before which the comparison ended
    profile:         the denoiser's profile, in EDM units, measured or given; None: the sampler was
                     calibrated, which takes none
    calls:           denoiser rows computed, by phase; on several ranks, by all of them
    noises:          number of initial noises the winner was run on
    criterion:       what the scores' errors are: "paired error", end points against a reference
                     from the same noise, of a stochastic solver's deterministic twin; or "law",
                     a stochastic solver's own, of the distribution of its samples (distribution.py)
    gain:            of the best that was found over the best of `candidates`, on noise that had no
                     part in choosing either; None: nothing given was run on as many noises
    reference_steps: steps of the reference runs that the scores compare with
    reference_error: estimated RMS error of the deterministic references; where trajectories part,
                     it may be a few times too low
    surrogate:       what is known about schedules of other lengths; None: nothing
    ended_early:     whether a limit has changed what was done; if not, the result is the one that
                     would have been found without it
    solver_name:     of the built-in solver, or "calibrated"; None: it was the caller's
    sampler:         the calibrated one, in EDM units; None: the solver is a given one
    plain:           beside a calibrated sampler the best of the given curves, for other samplers
    counts:          where it is a fitted one: it, and samplers whose weights alone were fitted to
                     other numbers of steps, by that number, the nearest first
    resumable:       whether one that ended early can go on from its journal: not if there was so
                     little time that it was planned in another way, with smaller batches
    needed:          the steps with which the best given pair of textbook sampler and curve comes as
                     close as a fitted sampler; None: not measured
    shown:           where the first of the noises that chose the winner ends, [...] in the model's
                     own space and half precision: by name, of the reference as MANY. None of very
                     large samples, and where a distribution of samples has judged
    """

    sigmas: Tensor
    method: str
    scores: list[Score]
    left_out: dict[str, str]
    failed: dict[str, str]
    profile: Profile | None
    calls: dict[str, int]
    noises: int
    criterion: str
    gain: Gain | None
    reference_steps: int
    reference_error: float
    coordinate: Coordinate
    surrogate: Surrogate | None
    ended_early: bool
    resumable: bool
    solver_name: str | None = None
    sampler: Multistep | None = None
    plain: Candidate | None = None
    needed: StepsNeeded | None = None
    shown: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    counts: dict[int, FittedCount] = field(default_factory=dict)

    def solver(self, denoise: Denoiser) -> Solver:
        """The Solver to run with `sigmas`, closed over a denoiser in EDM coordinates.

        Raises ValueError where the solver was the caller's own.
        """
        if self.sampler is not None:
            return self.sampler.solver(denoise, self.sigmas)
        if self.solver_name is None:
            raise ValueError("This schedule was made for a solver of your own: run that one.")
        return builtin_solver(self.solver_name, denoise)

    @staticmethod
    def of(
        verdict: Verdict,
        *,
        profile: Profile,
        left_out: dict[str, str],
        plan: Plan,
        references: References,
        whole_plan: Plan,
    ) -> Result:
        """Put together what the stages have found.

        plan, whole_plan: by which they went in the end, and were to go

        Raises NotFiniteError where every schedule has failed.
        """
        lab, winner = references.runner.lab, verdict.winner
        if not winner.finite:
            raise lab.failed.error()
        told = [score for score in verdict.scores if score.errors and score.finite]
        return Result(
            sigmas=winner.candidate.sigmas,
            method=winner.candidate.name,
            scores=sorted(told, key=lambda score: score.place),
            left_out=left_out,
            failed=lab.failed.of(score.candidate for score in verdict.scores),
            profile=profile,
            calls=lab.ledger.spent,
            noises=len(winner.errors),
            criterion=verdict.criterion,
            gain=verdict.gain,
            reference_steps=verdict.reference_steps,
            reference_error=references.error,
            coordinate=plan.problem.coordinate,
            surrogate=verdict.surrogate,
            ended_early=lab.ledger.ended_early,
            resumable=plan.budget == whole_plan.budget,
            solver_name=plan.problem.solver.name,
            shown=references.shown.ends if verdict.criterion == "paired error" else {},
        )

    def at_steps(self, steps: int) -> Tensor:
        """The levels [steps+1] for a number of steps, its own or one of `at_step_counts`."""
        return self.sigmas if steps == len(self.sigmas) - 1 else self.at_step_counts([steps])[0]

    def at_step_counts(self, counts: Sequence[int]) -> list[Tensor]:
        """The levels for other numbers of steps, [n+1] each, without a denoiser call.

        Together they take less time than one by one.

        Raises ValueError where nothing is known about other step counts: after the paper's method,
        for solvers judged by the distribution of their samples, and for those that pass through no
        meter; and where the model knows fewer levels.
        """
        if self.surrogate is None or self.profile is None:
            raise ValueError(
                "This result knows its own number of steps only: use the method 'measured', a "
                "deterministic solver, and a built-in one or a meter."
            )
        lowest = self.surrogate.lowest
        for steps in counts:
            self.coordinate.check_steps(steps, float(self.sigmas[0]))
        tried = [edm_levels(score.candidate, self.coordinate) for score in self.scores]
        pools = path_schedules(self.profile, counts, self.surrogate.own_level)
        answers = []
        for steps, paths in zip(counts, pools, strict=True):
            drawn = [drawn_through(levels, steps, lowest) for levels in tried]
            levels = at_steps(self.surrogate, [*drawn, *paths])
            levels = settled(self.surrogate.residuals, levels, self.coordinate)
            answers.append(from_edm("", levels, self.coordinate, float(self.sigmas[0])).sigmas)
        return answers

    @property
    def total_calls(self) -> int:
        """All denoiser rows computed."""
        return sum(self.calls.values())

    @property
    def error(self) -> Score:
        """The winner's score."""
        return next(s for s in self.scores if s.candidate.sigmas is self.sigmas)

    def klub(self, sigmas: Tensor) -> float:
        """The KLUB of a schedule that ends in 0, scored to the lowest measured level instead.

        NaN without a profile.
        """
        if self.profile is None:
            return math.nan
        highest, lowest = float(self.profile.sigmas[0]), float(self.profile.sigmas[-1])
        levels = self.coordinate.finite_edm(sigmas[:-1].double().numpy())
        levels = np.minimum(levels, highest)
        above = levels[levels > lowest * (1.0 + 1e-6)]
        return klub(self.profile, np.append(above, lowest))
