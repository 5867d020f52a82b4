"""A merged profile as a saved result, so that it is listed, renamed and sent like any other.

Its levels, and its calibrated samplers, are those of one of the results that were merged: one that
has samplers, if any does; of several the one whose measurement took the most model calls. 'auto'
takes them only where nothing else is saved for the model (nearest.py).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..schedules import Provenance, SavedSchedule
from ..schedules.store.saved_schedule import MERGED, number
from .conditions import PROMPTS
from .measured import NOISES
from .merge import Merged
from .noises import as_ranges, seeds_text

__all__ = ["as_result"]

WHO = "Merge AYS Profiles"


def as_result(
    merged: Merged, results: Sequence[SavedSchedule], name: str, report: str
) -> SavedSchedule:
    """The result to save.

    results: those whose profiles were merged
    report:  what was merged, as text
    """
    whole = merged.whole
    best = max(results, key=lambda saved: (bool(saved.samplers), _calls(saved), saved.digest))
    ranges = as_ranges(whole.noises)
    inside: dict[str, Any] = {"profile": whole.profile.digest, NOISES: ranges}
    if len(whole.conditions.prompts) > 1:
        inside[PROMPTS] = whole.conditions.listed_prompts()
    count = whole.profile.count
    summary = f"A profile of {count} samples, merged from {len(merged.parts)}."
    provenance = Provenance(
        who=WHO,
        what=f"{count} samples ({seeds_text(whole.noises)}) of {len(merged.parts)} profiles; the "
        f"levels are those of a result by {best.schedule.provenance.who}: "
        f"{best.schedule.provenance.what}",
        when=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    return SavedSchedule(
        schedule=replace(best.schedule, name=name, provenance=provenance),
        identity=best.identity,
        request={**whole.conditions.as_request(), MERGED: inside},
        tensors=whole.profile.to_tensors(),
        notes={**best.notes, "report": report, "summary": summary, NOISES: ranges},
        samplers=best.samplers,
    )


def _calls(saved: SavedSchedule) -> float:
    """The model calls that a result says it took."""
    calls = saved.notes.get("calls")
    spent = calls.values() if isinstance(calls, dict) else ()
    return sum(number(part) or 0.0 for part in spent)
