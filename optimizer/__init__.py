"""The method, for any denoiser and any solver: pure torch and numpy, no host and no files.

    optimize.py     the whole method: from a denoiser and a solver to a schedule, in four `stages`
    calibrate.py    the calibrated sampler: fitted, raced and judged
    calibrated_result.py the same as an optimisation: charged, recorded, told
    compare_steps.py with how many steps the others come as close as the best
    compare.py      which of several given schedules comes closest to many steps
    problem.py      Problem: what never changes while they work
    plan.py         Plan: how the budget is shared
    session.py      Session and Known: who listens, and what is remembered
    stages.py       references, profile, candidates, choice
    result.py       Result: what was found and measured
    gain.py         how much smaller one choice's errors are than another's
    steps_needed.py how many steps a standard choice needs to come as close
    step_counts.py  schedules for other step counts, without a call
    diffusion/      noise levels, noise, solvers, multistep samplers
    profile/        the profile, its KLUB, and the schedules it suggests
    fit/            fitting levels and weights
    judging/        errors of real runs, and the choice by them
    runs/           runs counted, recorded, interrupted, shared out
    ranks/          one optimisation on several processes of torch.distributed

The mathematics stands in the modules' docstrings; levels always descend.
"""

from .compare import Comparison, compare, most_calls
from .compare_steps import most_calls_to_match
from .diffusion import gaussian
from .diffusion.brownian import BrownianPath
from .diffusion.coordinate import FLOW, FLOW_TOP, VE, Coordinate, OwnLevel, affine, edm_level
from .diffusion.multistep import TEXTBOOK, Multistep
from .diffusion.solvers import (
    CALIBRATED,
    SOLVERS,
    Solver,
    StochasticSolver,
    builtin_solver,
    multistep_3,
)
from .fit.other_counts import FittedCount
from .fit.shared_references import SharedReferences
from .gain import Gain, error_interval
from .judging.end_points import MANY
from .judging.judged_solver import JudgedSolver
from .judging.race import SMALLER
from .judging.select import Score
from .optimize import optimize
from .profile.algorithm_1 import coordinate_search, edm_schedule, subdivide
from .profile.klub import klub, klub_standard_error
from .profile.paths import shortest_path
from .profile.profile import Denoiser, Profile, measure_profile
from .ranks.exchange import LostRankError, RankError
from .ranks.ranks import Ranks
from .result import Result
from .runs.conditions import Conditions
from .runs.finish import Deadline, Finish
from .runs.journal import Journal
from .runs.meter import DenoiserError, Meter, NotFiniteError
from .runs.runner import CONTINUED
from .session import Known, Session
from .steps_needed import FEWEST_CLOSE

__all__ = [
    "CALIBRATED",
    "CONTINUED",
    "FEWEST_CLOSE",
    "FLOW",
    "FLOW_TOP",
    "MANY",
    "SMALLER",
    "SOLVERS",
    "TEXTBOOK",
    "VE",
    "BrownianPath",
    "Comparison",
    "Conditions",
    "Coordinate",
    "Deadline",
    "Denoiser",
    "DenoiserError",
    "Finish",
    "FittedCount",
    "Gain",
    "Journal",
    "JudgedSolver",
    "Known",
    "LostRankError",
    "Meter",
    "Multistep",
    "NotFiniteError",
    "OwnLevel",
    "Profile",
    "RankError",
    "Ranks",
    "Result",
    "Score",
    "Session",
    "SharedReferences",
    "Solver",
    "StochasticSolver",
    "affine",
    "builtin_solver",
    "compare",
    "coordinate_search",
    "edm_level",
    "edm_schedule",
    "error_interval",
    "gaussian",
    "klub",
    "klub_standard_error",
    "measure_profile",
    "most_calls",
    "most_calls_to_match",
    "multistep_3",
    "optimize",
    "shortest_path",
    "subdivide",
]
