"""Profiles that were saved with results, merged: one made from those of several machines.

A profile is a sum over samples, so the profiles of one model add. This is the only room that knows
both the optimizer, which measures profiles, and the files that hold them; it does not know the
host, so that it runs on any machine.

    measured_profile.py MeasuredProfile: a saved result's profile, on what it was measured, and how
                    two of them differ
    merge.py        several of them as one, or why they are none; as a result, and as text
    command.py      the command, for machines without ComfyUI
"""

from __future__ import annotations

from .measured_profile import NOISES, Conditions, MeasuredProfile, as_ranges
from .merge import Merged, account, alone, as_result, merge

__all__ = [
    "NOISES",
    "Conditions",
    "MeasuredProfile",
    "Merged",
    "account",
    "alone",
    "as_ranges",
    "as_result",
    "merge",
]
