"""What the user sees and does while a node works: the bar, the text under it, "Finish now"."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import comfy.model_management
import comfy.utils

from ...optimizer import CONTINUED

__all__ = ["Progress", "finish_running", "show_text"]

CALLS_BEFORE_ESTIMATE = 10
PHASES = {
    "reference": "many-step references",
    "profile": "measuring the model",
    "refinement": "refining schedules",
    "candidates": "comparing schedules",
}

_running: list[Progress] = []  # the host runs one node at a time: at most one


class Progress:
    """The progress bar of a node, with the phase and the time left as text under it.

    It is the context of the node's work: while it is entered, "Finish now" reaches this node.

        with host.Progress(node_id, total) as progress:
            progress("phase", rows)  # after every run; raises the host's interrupt
            if progress.finish_requested: ...

    Arguments:
        node_id: of the node.
        total: budgeted denoiser rows of one part.
        parts: how many there are; `part` begins one.
    """

    def __init__(self, node_id: str | None, total: int, parts: int = 1):
        self.node_id = node_id
        self.total, self.parts = total, parts
        self.finish_requested = False
        self.bar = comfy.utils.ProgressBar(parts * total, node_id=node_id)
        self.part(0)

    def __enter__(self) -> Progress:
        _running.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _running.remove(self)

    def part(self, number: int, label: str = "") -> None:
        """Begin a part, counted from 0.

        label: what it is, where there are several
        """
        self.before = number * self.total
        self.label = f"{label} ({number + 1} of {self.parts}), " if self.parts > 1 else ""
        self.continued = 0  # rows of the optimisation that this one goes on with
        self.began = time.monotonic()

    def __call__(self, phase: str, rows: int) -> None:
        """Show that `rows` of the budgeted denoiser rows are done; stop if the user has cancelled.

        The work between two model calls may take seconds, and the host looks only at calls.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._show(rows)
        if phase == CONTINUED:
            self.continued = rows
            self.began = time.monotonic()
            text = f"continued: {rows} of {self.total} calls were already made"
        else:
            text = f"{PHASES.get(phase, phase)}: {rows} of {self.total} calls"
        text = self.label + text
        made = rows - self.continued
        if made >= CALLS_BEFORE_ESTIMATE:
            left = (time.monotonic() - self.began) * (self.total - rows) / made
            text += f"\nabout {_duration(left)} left"
        show_text(self.node_id, text)

    def _show(self, rows: int) -> None:
        self.bar.update_absolute(self.before + min(rows, self.total), self.parts * self.total)

    def stopped(self, text: str) -> None:
        """Say why the work ended early."""
        show_text(self.node_id, text)

    def done(self, text: str) -> None:
        """Fill this part of the bar and leave a last line of text."""
        self._show(self.total)
        show_text(self.node_id, self.label + text)


def finish_running() -> bool:
    """Ask the node that works now to end with the best so far; False: none does."""
    for progress in _running:
        progress.finish_requested = True
    return bool(_running)


def show_text(node_id: str | None, text: str) -> None:
    """Show a line or two of text under a node."""
    from server import PromptServer

    server: Any = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
