"""Results are saved, or kept in memory until they can be: a full disk costs no second measurement.

A result that no folder takes waits here for as long as the host runs. It is taken for an equal
request as if it were saved, and saved as soon as a folder takes results again.
"""

from __future__ import annotations

import logging

from ...schedules import SavedSchedule, Store, Unfinished

__all__ = ["keep", "waiting"]

MOST_WAITING = 64  # results that wait; the oldest go first
AGAIN = (
    " Then queue the same again, before you close ComfyUI: it is saved without being measured "
    "again."
)

# By their digests, with what they were made from.
_waiting: dict[str, tuple[SavedSchedule, Unfinished | None]] = {}
log = logging.getLogger("align_your_steps")


def waiting() -> list[SavedSchedule]:
    """The results that are not saved yet."""
    return [saved for saved, _ in _waiting.values()]


def keep(
    store: Store, saved: SavedSchedule, unfinished: Unfinished | None = None
) -> tuple[str, str]:
    """Save a result, and drop what it was made from as soon as it is saved.

    Returns what the report says about it, and what the user must be told at once: why it was not
    saved, or "".
    """
    _, earlier = _waiting.pop(saved.digest, (saved, None))
    unfinished = unfinished or earlier
    try:
        path = store.save(saved)
    except (OSError, ValueError) as error:
        problem = f"NOT SAVED: {error}"
        if isinstance(error, OSError):  # it may pass
            problem += AGAIN
            _waiting[saved.digest] = saved, unfinished
            while len(_waiting) > MOST_WAITING:
                _waiting.pop(next(iter(_waiting)))
        log.error(problem)
        return problem, problem
    if unfinished is not None:
        unfinished.discard()
    text = f"Saved as '{saved.schedule.name}' in {path} (press R to see it in the lists)."
    if store.passed_over:
        text += f" It is there because it could not be saved in {', '.join(store.passed_over)}."
    if late := _saved_late(store):
        text += f"\nSaved now, too: {', '.join(late)}."
    return text, ""


def _saved_late(store: Store) -> list[str]:
    """Save what waits, as far as that is possible now; return the names."""
    names = []
    for digest, (saved, unfinished) in list(_waiting.items()):
        try:
            store.save(saved)
        except OSError:  # logged by the store; it goes on waiting
            break
        del _waiting[digest]
        if unfinished is not None:
            unfinished.discard()
        names.append(f"'{saved.schedule.name}'")
    return names
