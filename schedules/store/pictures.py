"""End points of one seed in a result's file, from which its pictures are decoded.

They show what the owner had painted, so what is exported for others leaves them out.
"""

from __future__ import annotations

import dataclasses

from .saved_schedule import SavedSchedule

__all__ = ["PICTURE", "TITLES", "without_pictures"]

PICTURE = "picture "  # and a place in the row: the name of an end point's tensor
TITLES = "pictures"  # in the notes: what stands over each


def without_pictures(saved: SavedSchedule) -> SavedSchedule:
    """The same result for others to have."""
    tensors = {name: x for name, x in saved.tensors.items() if not name.startswith(PICTURE)}
    notes = {name: note for name, note in saved.notes.items() if name != TITLES}
    return dataclasses.replace(saved, tensors=tensors, notes=notes)
