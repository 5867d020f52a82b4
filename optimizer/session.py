"""An optimisation's surroundings: who listens, what it remembers, what is known before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .diffusion.multistep import Multistep
from .fit.shared_references import SharedReferences
from .judging.select import Candidate
from .problem import Problem
from .profile.klub import Levels
from .profile.profile import Profile
from .runs.failures import Failures
from .runs.finish import Finish
from .runs.journal import Journal
from .runs.ledger import Ledger
from .runs.processes import OneProcess, Processes
from .runs.record import Record

__all__ = ["Better", "Known", "Lab", "Progress", "Session"]

PROFILE_ROUNDING = 1e-3  # relative, between a given profile's end levels and those of the model

Progress = Callable[[str, int], None]  # (phase, denoiser rows spent so far)
Better = Callable[[Tensor], None]  # (levels [n+1] of the best schedule so far)


@dataclass(frozen=True)
class Known:
    """Knowledge of a problem from before it is measured.

    profile: of this very denoiser (the same model, guidance and prompt), measured before at levels
        from sigma_max to sigma_min, perhaps on several machines and added up. None is measured
        then, and the comparison has its share of the budget.
    samples: x_0 [N, ...] to measure the profile on; None: the end points of the reference runs.
    starts: EDM levels [n+1] by name from which Algorithm 1 starts beside EDM's; for the paper's
        method the first of them, of 10 steps, replaces EDM's.
    samplers: of earlier calibrations, in EDM units: another one races them too.
    references: of calibrations of this denoiser from this seed for other numbers of steps.
    longer: gives the levels of a candidate, by its name, at another number of steps, in the host's
        units; None, or None from it: nobody knows them.
    """

    profile: Profile | None = None
    samples: Tensor | None = None
    starts: Mapping[str, Levels] = field(default_factory=dict)
    samplers: Sequence[Multistep] = ()
    longer: Callable[[str, int], object] | None = None
    references: SharedReferences | None = None

    def check(self, problem: Problem) -> None:
        """Raise ValueError for a profile that is not of this latent and these levels."""
        profile = self.profile
        if profile is None:
            return
        if profile.dim != problem.dim:
            raise ValueError(
                f"The profile is of {profile.dim} latent elements, but the latent has "
                f"{problem.dim}: give one measured on this latent size, or none."
            )
        highest, lowest = float(profile.sigmas[0]), float(profile.sigmas[-1])
        off = abs(highest / problem.t_max - 1.0), abs(lowest / problem.t_min - 1.0)
        if max(off) > PROFILE_ROUNDING:
            raise ValueError(
                f"The profile's levels go from {highest:.4g} to {lowest:.4g} in EDM units, those "
                f"of this optimisation from {problem.t_max:.4g} to {problem.t_min:.4g}: give a "
                "profile measured from sigma_max to sigma_min, or none."
            )

    def checked_starts(self, steps: int) -> dict[str, np.ndarray]:
        """The starts as arrays; raise ValueError for one that has not steps+1 levels."""
        for name, levels in self.starts.items():
            if len(levels) != steps + 1:
                raise ValueError(
                    f"The start '{name}' has {len(levels)} levels: give {steps + 1} for {steps} "
                    "steps."
                )
        return {name: np.asarray(x, dtype=np.float64) for name, x in self.starts.items()}


@dataclass(frozen=True)
class Session:
    """An optimisation's surroundings: who listens, what it remembers, who shares the work.

    progress: called as progress(phase, rows so far).
    better: called with the levels of the best schedule so far, whenever it is another one: first
        the best by prediction, then by what was measured.
    journal: of an optimisation with these very arguments that was interrupted: it goes on where the
        last finished stage of runs ended, with the same result. Stages that end are recorded in it.
    finish: a limit beside the budget, asked as the work goes on: it may end early, with the best
        schedule so far. The journal of such an optimisation serves a later one with the same
        arguments and a larger limit.
    ranks: processes that share the work, see Ranks; all of them call with the same arguments, each
        with its own denoiser, and all return the same result. A batch of noise is split among them,
        so that it has one row a rank at least. Of `journal` and `finish` those of rank 0 count, and
        a limit is asked after every batch of runs. `progress` and `better` are each rank's own:
        called on all ranks that give them, `progress` with the rows of all up to the last batch and
        its own since. What any of them raises ends the optimisation on all ranks. A solver of the
        caller's that draws by its seed draws the same on every rank. None: this process runs
        everything, whether or not others exist.
    spent: rows of the budget that the caller has spent already, to prepare.
    batch_size: rows of a call at most; on several ranks, of their calls together.
    least_batch: noises in a batch at least, whatever batch_size is. With as many as there were
        ranks, one process finds what they would have found, and goes on from their journal.
    """

    progress: Progress | None = None
    better: Better | None = None
    journal: Journal | None = None
    finish: Finish | None = None
    ranks: Processes | None = None
    spent: int = 0
    batch_size: int = 16
    least_batch: int = 1

    @property
    def processes(self) -> Processes:
        """Those that share the work: perhaps this one alone."""
        return self.ranks or OneProcess()

    def agreed(self, *arguments: object) -> AbstractContextManager[None]:
        """Around one optimisation by all processes.

        arguments: what has to be the same in all of them, as numbers and words
        """
        told = [self.spent, self.batch_size, self.least_batch]
        return self.processes.agreed(repr([*arguments, *told]))

    def open(self, problem: Problem, budget: int, known: Known | None = None) -> Lab:
        """Open the laboratory in which one problem is measured."""
        profile = None if known is None else known.profile
        processes = self.processes
        journal, finish = processes.shared(self.journal, self.finish)
        ledger = Ledger(budget - self.spent, problem.solver.meter, finish)
        about = ""
        if profile is not None:
            about = f"with profile {profile.digest}, "
            ledger.charge({"profile": 0})
            processes.keep(profile)
        record = Record(journal, ledger, processes, about)
        leader = Leader(self.better)
        return Lab(problem, ledger, record, Failures(), leader, processes, self.progress)


class Leader:
    """The best schedule so far, and who is told of it."""

    def __init__(self, better: Better | None):
        self._better, self._best = better, torch.empty(0)

    def lead(self, candidate: Candidate) -> None:
        """Tell of the best schedule so far, if it is another than before."""
        if self._better is not None and not torch.equal(self._best, candidate.sigmas):
            self._best = candidate.sigmas
            self._better(candidate.sigmas)


@dataclass(frozen=True)
class Lab:
    """The laboratory in which one problem is measured.

    ledger:    rows spent and left
    record:    what was measured
    failed:    schedules whose runs came out as NaN or infinity
    leader:    the best schedule so far
    processes: that share the work
    progress:  who is told of it
    """

    problem: Problem
    ledger: Ledger
    record: Record
    failed: Failures
    leader: Leader
    processes: Processes
    progress: Progress | None

    def ask(self) -> None:
        """Ask a limit what it leaves."""
        self.ledger.ask()

    def tell(self, phase: str) -> None:
        """Report progress, and ask a limit."""
        if self.progress is not None:
            self.progress(phase, self.ledger.made)
        self.ask()

    def goes_on(self, phase: str) -> bool:
        """Report progress of work without a call: the caller may cancel, a limit end it."""
        self.tell(phase)
        if self.ledger.finishing:
            self.ledger.cut_short()
        return not self.ledger.finishing
