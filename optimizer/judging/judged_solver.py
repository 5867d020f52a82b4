"""A solver under judgement, with all that an optimisation must know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from ..diffusion.coordinate import OwnLevel, edm_level
from ..diffusion.solvers import (
    CALIBRATED,
    DETERMINISTIC_TWIN,
    LIKE_CALIBRATED,
    Solver,
    StochasticSolver,
    builtin_solver,
    reference_solver,
    stochastic_solver,
)
from ..profile.profile import Denoiser
from ..runs.conditions import Conditions
from ..runs.meter import Meter

__all__ = ["JudgedSolver"]

FIRST_ORDER_SOLVERS = ("euler", "ddim_stochastic")

Begin = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class JudgedSolver:
    """A solver, its reference, and the denoiser that both call.

    denoise:         (x [B, ...], sigma [B]) -> E[x_0 | x], in EDM coordinates, through the meter
    run:             what is judged by paired errors; of a stochastic solver its deterministic twin
    stochastic:      the solver itself where the distribution of its samples can be judged
    name:            of a built-in solver; None: it is the caller's
    stand_in:        the built-in deterministic solver that it is most like
    order:           1 or 2
    calls_per_step:  denoiser calls
    own_level:       of an EDM level, in which it measures its steps
    reference:       runs the fine-step references
    reference_order: their order
    reference_calls: denoiser calls of a step of theirs
    meter:           counts the rows of all of them
    begin:           where runs of a calibration begin, of unit noise [B, ...]: x in units of the
                     first EDM level; None: at the noise itself
    boundary:        of a calibration: the EDM level at and below which another model answers, in a
                     run of its own; 0: there is one model
    conditions:      that noises take turns with

    Make one with `JudgedSolver.of`.
    """

    denoise: Denoiser
    run: Solver
    stochastic: StochasticSolver | None
    name: str | None
    stand_in: str
    order: int
    calls_per_step: int
    own_level: OwnLevel
    reference: Solver
    reference_order: int
    reference_calls: int
    meter: Meter
    begin: Begin | None = None
    boundary: float = 0.0
    conditions: Conditions = field(default_factory=Conditions)

    @staticmethod
    def of(
        solver: str | Solver | JudgedSolver,
        denoise: Denoiser,
        *,
        reference: Solver | None = None,
        order: int | None = None,
        meter: Meter | None = None,
        begin: Begin | None = None,
    ) -> JudgedSolver:
        """Gather what is known of a solver.

        Arguments:
            solver: name of a built-in one, "calibrated", or a Solver, which may say
                `calls_per_step` (1 if not) and `own_level` (that of EDM if not). One with an
                attribute `stochastic`, the StochasticSolver whose deterministic twin it is, is
                judged by the distribution of that one's samples, if both pass through a `meter`.
                A JudgedSolver is returned as it is.
            denoise: in EDM coordinates; its Conditions, if it has several, as an attribute
                `conditions`. A Solver of the caller's runs with the same ones.
            reference: solver of the reference runs, which may say `order` (2 if not) and
                `calls_per_step` (the solver's if not); None: of a built-in solver the third-order
                one, else `solver`.
            order: of the solver, 1 or 2; None: known for built-in ones, else 2.
            meter: the meter that `denoise` and `solver` pass through already; None: one is made
                for `denoise`, and a run of a Solver is charged its calls_per_step a step.
            begin: as of the JudgedSolver, for images to start from.

        Raises ValueError for another order, or a name that is not built in.
        """
        if isinstance(solver, JudgedSolver):
            return solver
        if order not in (None, 1, 2):
            raise ValueError(f"order was {order}: a solver's order is 1 or 2 here.")
        own = meter or Meter()
        metered = denoise if meter else _metered(denoise, own)
        calls = getattr(solver, "calls_per_step", 2 if solver == "heun" else 1)
        order = order or (1 if solver in FIRST_ORDER_SOLVERS else 2)
        stochastic: StochasticSolver | None
        if isinstance(solver, str):
            twin = {CALIBRATED: LIKE_CALIBRATED, **DETERMINISTIC_TWIN}.get(solver, solver)
            run = builtin_solver(twin, metered)
            noisy = solver in DETERMINISTIC_TWIN
            stochastic = stochastic_solver(solver, metered) if noisy else None
        else:
            twin = "euler" if order == 1 else "heun" if calls > 1 else "dpmpp_2m"
            run = solver if meter else _charged(solver, calls, own)
            # Without a common meter nobody would know what its runs cost.
            stochastic = getattr(solver, "stochastic", None) if meter else None
        if isinstance(solver, str) and reference is None:
            fine, fine_order, fine_calls = reference_solver(metered), 3, 1
        else:
            fine = reference or run
            fine_order = getattr(fine, "order", 2)
            fine_calls = getattr(fine, "calls_per_step", calls)
            if reference and not meter:
                fine = _charged(reference, fine_calls, own)
        return JudgedSolver(
            denoise=metered,
            run=run,
            stochastic=stochastic,
            name=solver if isinstance(solver, str) else None,
            stand_in=twin,
            order=order,
            calls_per_step=calls,
            own_level=getattr(solver, "own_level", edm_level),
            reference=fine,
            reference_order=fine_order,
            reference_calls=fine_calls,
            meter=own,
            begin=begin,
            conditions=getattr(denoise, "conditions", None) or Conditions(),
        )


def _metered(denoise: Denoiser, meter: Meter) -> Denoiser:
    """The denoiser behind a meter."""

    def metered(x: Tensor, sigma: Tensor) -> Tensor:
        return meter(x, float(sigma[0]), lambda: denoise(x, sigma))

    return metered


def _charged(solver: Solver, calls_per_step: int, meter: Meter) -> Solver:
    """A solver that passes through no meter, whose runs cost what they are said to."""

    def run(noise: Tensor, sigmas: Tensor, seed: int) -> Tensor:
        meter.charge((len(sigmas) - 1) * calls_per_step * len(noise))
        return solver(noise, sigmas, seed)

    return run
