"""Journal of what an optimisation had measured when it was interrupted.

An optimisation is a fixed sequence of runs: given its inputs, the next one depends on what was
found before, and on nothing else. So what is found is recorded, and an optimisation that begins
again with equal inputs asks for the same runs in the same order and is answered from the record.
Stages of a calibration have names that tell all they depend on: they are found in any order, and by
a calibration with another budget.

Runs come in stages, each on one batch of noise. Those of one stage share calls (meter.py) and
Brownian paths. So a stage is recorded as a whole when the next one begins: one that was broken off
is run again from its start, and results and counted rows are those of an optimisation that was
never interrupted. A run that the record does not fit is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Journal", "Stages", "digest_of_runs"]


class Journal(Protocol):
    """Named tensors that outlive an interruption, kept under the names of stages.

    It belongs to one optimisation: equal inputs find the journal again, others never do.
    """

    def get(self, name: str) -> Mapping[str, Tensor] | None:
        """Return what was put under a name, bit for bit; None if there is nothing to be trusted."""

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name. May fail, silently: then `get` gives None."""


class Stages:
    """The stages of one optimisation, recorded in a journal and answered from it.

    >>> from torch import ones
    >>> kept = {}
    >>> class InMemory:
    ...     get = kept.get
    ...     put = kept.__setitem__
    >>> stages = Stages(InMemory())
    >>> stages.begin(); stages.note("a run", {"end": ones(2)}); stages.begin()
    >>> again = Stages(InMemory())
    >>> again.begin(); again.recall("another run"), again.recall("a run")
    (None, None)
    >>> again = Stages(InMemory())
    >>> again.begin(); again.recall("a run")
    {'end': tensor([1., 1.])}
    """

    def __init__(self, journal: Journal | None):
        self.journal = journal
        self.number = 0
        self._name = ""
        self.asked = 0
        self.known: Mapping[str, Tensor] = {}
        self.fresh: dict[str, Tensor] = {}

    def begin(self, name: str = "") -> None:
        """End the current stage, which records it, and begin the next.

        name: of letters and digits, of a stage that depends on no other; empty: its number
        """
        if self.journal is None:
            return
        if self.fresh:
            self.journal.put(self._name, self.fresh)
        self.number += 1
        self._name = name or f"{self.number:05d}"
        self.asked = 0
        self.fresh = {}
        self.known = self.journal.get(self._name) or {}

    def recall(self, run: str) -> dict[str, Tensor] | None:
        """Recall what the next run of this stage had found; None if it is not known.

        From a run that is not known to the end of its stage, none is: the later ones may share
        calls with it.
        """
        prefix = f"{self.asked} {run}: "
        found = {k.removeprefix(prefix): v for k, v in self.known.items() if k.startswith(prefix)}
        if not found:
            self.known = {}
            return None
        self.asked += 1
        return found

    def note(self, run: str, tensors: Mapping[str, Tensor]) -> None:
        """Record what a run has found that was not known."""
        if self.journal is not None:
            self.fresh |= {f"{self.asked} {run}: {name}": x for name, x in tensors.items()}
            self.asked += 1

    def drop(self) -> None:
        """Record nothing of the current stage: it was cut short."""
        self.fresh = {}


def digest_of_runs(shape: Sequence[int], schedules: Sequence[Tensor]) -> str:
    """Of what runs depend on, beside the inputs of the optimisation and what was found before.

    shape: [B, ...] of the noises that the schedules are run from
    """
    digest = hashlib.blake2b(repr(tuple(shape)).encode(), digest_size=16)
    for levels in schedules:
        digest.update(levels.numpy().tobytes())
    return digest.hexdigest()
