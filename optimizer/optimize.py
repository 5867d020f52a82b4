"""The whole method: from a denoiser and a solver to the schedule with the least measured error.

1. Opening: fine-step references of a first batch of noises make the likeliest of the schedules
   that the caller has known. These are run from a batch of fresh noises, and with them one that is
   refined on the first references alone. From here on something is measured.
2. References: of more noises, for a quarter of the budget in all.
3. Profile: squared differences of the denoiser along forward paths, some 8 %.
4. Candidates: what the caller already has, shortest paths, the sweeps of the paper's Algorithm 1;
   the best of them refined, with real runs for up to 30 %.
5. Choice: the candidates are run from the same fresh noises, and more; the least end-point error
   wins.

For a stochastic solver the search is done with its deterministic twin, for a part of the budget;
with the rest the solver itself is run with a shortlist, and the distribution of its samples chooses
(distribution.py). It has no opening. Where the budget is too small for all that, the twin's errors
choose.

The budget counts denoiser rows (one sample at one level) and is never exceeded; plan.py shares it
out. A limit (finish.py) may end it early. After the opening it ends with what was measured, within
the run and the path of the profile at hand. Before, and where there is no opening, two references,
one path and three runs are made whatever it leaves, so that what is found is still compared, from
fresh noise, with the best of what the caller has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from .calibrated_result import calibrated
from .diffusion.coordinate import VE, Coordinate
from .diffusion.solvers import CALIBRATED, Solver
from .judging.fresh import Fresh
from .judging.judged_solver import JudgedSolver
from .plan import Plan
from .problem import Problem
from .profile.profile import Denoiser
from .result import Result
from .session import Known, Session
from .stages import (
    Verdict,
    add_references,
    first_references,
    given_candidates,
    judge,
    measured_profile,
    opened,
    refined,
    suggested,
)

__all__ = ["optimize"]

KNOWN_METHODS = ("measured", "paper")


def optimize(
    denoise: Denoiser,
    shape: Sequence[int],
    *,
    sigma_max: float,
    sigma_min: float,
    steps: int,
    solver: str | Solver | JudgedSolver,
    candidates: Mapping[str, object] | Sequence[object] = (),
    budget: int = 4000,
    seed: int = 0,
    method: str = "measured",
    coordinate: Coordinate = VE,
    elements: Tensor | None = None,
    known: Known | None = None,
    session: Session | None = None,
) -> Result:
    """Find the schedule with which a solver comes closest to its own fine-step limit.

    Arguments:
        denoise: (x [B, ...], sigma [B]) -> E[x_0 | x], in EDM coordinates. One for several prompts
            has an attribute `conditions`, which tells it the prompt of every row, see Conditions.
        shape: of one sample, without the batch.
        sigma_max, sigma_min: ends of the model's noise levels, in the host's units.
        steps: number of steps n >= 1.
        solver: name of a built-in solver, a Solver, or a JudgedSolver, whose denoiser counts then;
            "calibrated" fits a whole sampler, levels and weights, see calibrate.py; with `elements`
            one that leaves the others as they are.
            A stochastic one is judged by the distribution of its samples or, if the budget is too
            small for that, by its deterministic twin's errors.
        candidates: schedules in the host's units that must not be beaten, by name or in order.
        budget: denoiser rows to spend at most.
        seed: the same seed gives the same result.
        method: "measured", the whole method; "paper", the paper's procedure alone with its early
            stop by the measured error.
        coordinate: the map between host and EDM levels. With a table, all levels of the result
            are in it, but for the first and for schedules of `candidates`; of a fitted sampler
            all levels that the model is told are.
        elements: those of one flattened sample that a run can change, as indices; errors are of
            these. None: all.
        known: what is known before: a profile, samples, starts of the search.
        session: who listens, what is remembered, which limit and which processes there are.

    A schedule whose own run comes out as NaN or infinity is out of the comparison. Noises whose
    reference does end the comparison with those before.

    Raises ValueError for arguments out of range, DenoiserError for a model that returns another
    shape, NotFiniteError for one that returns NaN or infinities in the first reference runs, along
    the paths of the profile, or in the runs of every schedule. On several ranks RankError where
    another one has failed, LostRankError where one is gone; the profile measured so far is theirs.

    Example: the ideal denoiser of Gaussian data.

    >>> from align_your_steps.optimizer import gaussian, optimize
    >>> result = optimize(gaussian.denoise, (4,), sigma_max=10.0, sigma_min=0.1, steps=4,
    ...                   solver="euler", budget=1500)
    >>> len(result.sigmas), float(result.sigmas[-1]), result.total_calls <= 1500
    (5, 0.0, True)
    """
    known, session = known or Known(), session or Session()
    alike = sigma_max, sigma_min, steps, solver, budget, seed, method
    with session.agreed(*(x for x in alike if isinstance(x, (int, float, str)))):
        if method not in KNOWN_METHODS:
            raise ValueError(f"method was '{method}': choose one of {list(KNOWN_METHODS)}.")
        problem = Problem(
            JudgedSolver.of(solver, denoise),
            shape, sigma_max, sigma_min, steps, coordinate, elements, seed,
        )  # fmt: skip
        coordinate.check_steps(steps, sigma_max)
        known.check(problem)
        lab = session.open(problem, budget, known)
        if problem.solver.name == CALIBRATED:
            check_calibration(method, session.processes.size)
            return calibrated(lab, *given_candidates(candidates, problem), session, known)
        given, left_out = given_candidates(candidates, problem)
        whole_plan = Plan.of(
            problem,
            lab.ledger.granted,
            method=method,
            profile_given=known.profile is not None,
            batch_size=session.batch_size,
            least_batch=max(session.least_batch, session.processes.size),
        ).checked(budget, session.spent)

        plan, references, tracked = first_references(whole_plan, lab)
        fresh = Fresh(references)
        if given and method == "measured" and not plan.by_distribution:
            opened(given, tracked, references, plan, fresh)
        add_references(tracked, references, plan)
        profile = measured_profile(plan, references, known)
        pool = suggested(problem, profile, given, known, method)
        surrogate = None
        if method == "measured":
            pool, surrogate = refined(pool, tracked, references, plan, fresh)
        verdict = judge(pool, surrogate, references, plan, fresh)
        if method == "paper":
            verdict = _of_the_paper(verdict)
        return Result.of(
            verdict,
            profile=profile,
            left_out=left_out,
            plan=plan,
            references=references,
            whole_plan=whole_plan,
        )


def check_calibration(method: str, processes: int) -> None:
    """Raise ValueError for what a calibration cannot be asked for."""
    if method != "measured":
        raise ValueError(f"method was '{method}': a calibrated sampler takes 'measured'.")
    if processes > 1:
        raise ValueError(
            f"There were {processes} processes: a sampler is calibrated by one, without `ranks`."
        )


def _of_the_paper(verdict: Verdict) -> Verdict:
    """The verdict on the schedules of the paper's procedure: the others are for comparison."""
    ours = [s for s in verdict.scores if not s.candidate.given and s.errors]
    return replace(verdict, winner=min(ours, key=lambda score: score.place))
