"""The nodes, thin: each binds inputs to `optimizer` and `schedules` through the adapter `host`.

scheduler.py    AYS Scheduler
apply.py        Apply AYS Schedule
optimize.py     Optimize AYS
compare.py      Compare Schedules
merge.py        Merge AYS Profiles
plot_sigmas.py  Plot Sigmas
inputs/         what their inputs may be and mean
results/        what they find, measure, keep and tell
pictures/       what they draw
host/           all that is asked of ComfyUI beyond `comfy_api`
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import host
from .apply import AYSApply
from .compare import AYSCompare
from .merge import AYSMergeProfiles
from .optimize import AYSOptimize
from .plot_sigmas import AYSPlot
from .results.workflow_levels import carry_ahead
from .scheduler import AYSScheduler

__all__ = ["extension"]


class AlignYourSteps(ComfyExtension):
    """The extension that ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes of the pack."""
        return [AYSScheduler, AYSApply, AYSOptimize, AYSCompare, AYSMergeProfiles, AYSPlot]


def extension() -> AlignYourSteps:
    """Register both names, the folders and the routes: all host versions need it here."""
    host.make_logs_printable()
    host.register_names()
    host.accept_copies()
    host.register_folders()
    host.add_routes()
    host.call_with_prompts(carry_ahead)
    return AlignYourSteps()
