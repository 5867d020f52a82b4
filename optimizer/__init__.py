"""The method, for any denoiser and any solver: pure torch and numpy, no host and no files.

measure (`profile`) -> cost (`klub`) -> search (`search`, `paths`) -> select (`select`), put
together by `optimize` in four stages (`stages`); `compare` ranks schedules that are given, and
`calibrate` fits a whole sampler (`multistep`). What never changes while they work is a `Problem`,
how the budget is shared a `Plan`, who listens and remembers a `Session`. The mathematics stands in
the modules' docstrings; levels always descend.
"""

from . import gaussian
from .compare import Comparison, compare
from .coordinate import FLOW, VE, Coordinate, affine
from .finish import Deadline, Finish
from .gain import Gain, error_interval
from .journal import Journal
from .judged_solver import JudgedSolver
from .klub import klub, klub_standard_error
from .meter import DenoiserError, Meter, NotFiniteError
from .optimize import optimize
from .paths import shortest_path
from .profile import Denoiser, Profile, measure_profile
from .ranks import LostRankError, RankError, Ranks
from .result import Result
from .runner import CONTINUED
from .search import coordinate_search, edm_schedule, subdivide
from .session import Known, Session
from .solvers import SOLVERS, Solver, builtin_solver

__all__ = [
    "CONTINUED",
    "FLOW",
    "SOLVERS",
    "VE",
    "Comparison",
    "Coordinate",
    "Deadline",
    "Denoiser",
    "DenoiserError",
    "Finish",
    "Gain",
    "Journal",
    "JudgedSolver",
    "Known",
    "LostRankError",
    "Meter",
    "NotFiniteError",
    "Profile",
    "RankError",
    "Ranks",
    "Result",
    "Session",
    "Solver",
    "affine",
    "builtin_solver",
    "compare",
    "coordinate_search",
    "edm_schedule",
    "error_interval",
    "gaussian",
    "klub",
    "klub_standard_error",
    "measure_profile",
    "optimize",
    "shortest_path",
    "subdivide",
]
