"""Schedules: what one is, where it comes from, how it is resampled and where results are kept.

A schedule of n steps is n + 1 falling noise levels in the host's units. Nothing here knows the
host or the optimizer.

    schedule.py     Schedule and Provenance: the levels, their name, and who measured them
    presets.py      the published schedules (published.json), and how they fit a given model
    curves.py       the host's hand-made curves, as formulas over a NoiseTable
    resample.py     other step counts, and a denoise below 1
    calibrated_sampler.py CalibratedSampler: levels, told levels and weights of a fitted sampler
    calibrated_steps.py which of its steps a run at given levels makes
    on_model.py     a schedule from elsewhere in the levels of a given model
    from_text.py    levels as people and other tools write them down
    to_text.py      levels as text for other tools
    names.py        texts from anywhere, to show
    store/          results as files, and in workflows
    optimized/      where the store puts them (not under version control)
"""

from __future__ import annotations

from . import calibrated_steps
from .calibrated_sampler import CalibratedSampler
from .curves import (
    CURVES,
    NoiseTable,
    discrete_table,
    edm_table,
    flow_table,
    hand_made,
    time_uniform,
)
from .names import printable, reason, visible
from .on_model import are_timesteps, on_model
from .presets import PRESETS, preset, preset_for_model
from .resample import at_steps, extend_up, levels_at, log_linear, starting_at, with_denoise
from .schedule import Provenance, Schedule
from .store import SavedSchedule, Store, Unfinished
from .to_text import PLAIN, TOOLS, paste_hint, paste_text

__all__ = [
    "CURVES",
    "PLAIN",
    "PRESETS",
    "TOOLS",
    "CalibratedSampler",
    "NoiseTable",
    "Provenance",
    "SavedSchedule",
    "Schedule",
    "Store",
    "Unfinished",
    "are_timesteps",
    "at_steps",
    "calibrated_steps",
    "discrete_table",
    "edm_table",
    "extend_up",
    "flow_table",
    "hand_made",
    "levels_at",
    "log_linear",
    "on_model",
    "paste_hint",
    "paste_text",
    "preset",
    "preset_for_model",
    "printable",
    "reason",
    "starting_at",
    "time_uniform",
    "visible",
    "with_denoise",
]
