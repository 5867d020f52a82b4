"""Profiles that were saved with results, merged: one made from those of several machines.

A profile is a sum over samples, so the profiles of one model add. This is the only room that knows
both the optimizer, which measures profiles, and the files that hold them; it does not know the
host, so that it runs on any machine.

    conditions.py   Conditions: what a profile depends on, and how two of them differ
    noises.py       which noises a profile was measured from
    measured.py     MeasuredProfile: a saved result's profile, with nothing trusted
    merge.py        several of them as one, or why they are none
    result.py       what was merged, as a result that can be saved
    account.py      what was merged, as text
    command.py      the command, for machines without ComfyUI
"""

from __future__ import annotations

from .account import account, alone
from .conditions import Conditions
from .measured import NOISES, MeasuredProfile
from .merge import Merged, merge
from .noises import as_ranges
from .result import as_result

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
