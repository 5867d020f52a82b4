"""Progress that the user sees while a node works: bar, text under it, "Finish now"."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_execution.utils import get_executing_context
from PIL.Image import Image
from torch import Tensor

from ...optimizer import CONTINUED, Deadline

__all__ = ["Progress", "calls_by_phase", "finish_running", "show_text"]

CALLS_BEFORE_ESTIMATE = 10
BETWEEN_PREVIEWS = 1.0  # seconds, at least
PREVIEW_SIZE = 512  # pixels: the host makes it so large
SAID = "ays.said"  # the page's event of a text under a node
PHASE_TEXTS = {
    "reference": "images in many steps",
    "law reference": "images in many steps",
    "profile": "measuring the model",
    "fit": "fitting the sampler",
    "refinement": "refining schedules",
    "candidates": "comparing",
}

DrawPreview = Callable[[Tensor], Image | None]

_running: list[Progress] = []  # the host runs one node at a time: at most one

log = logging.getLogger("align_your_steps")


class Progress:
    """The progress bar of a node, with the phase and the time left as text under it.

    It is the context of the node's work: while it is entered, "Finish now" reaches this node. It
    decides when an optimisation ends early (as its `finish`), and shows the best schedule so far.

        with host.Progress(node_id, total) as progress:
            progress("phase", rows)  # after every run; raises the host's interrupt
            if progress.finish_requested: ...

    Arguments:
        node_id: of the node.
        total: budgeted denoiser rows of one part.
        parts: how many there are; `part` begins one.
        minutes: to take for all of them, from now on; 0: no limit.
    """

    def __init__(self, node_id: str | None, total: int, parts: int = 1, minutes: float = 0.0):
        self.node_id = node_id
        self.total, self.parts, self.minutes = total, parts, minutes
        self.finish_requested = False
        self.bar = comfy.utils.ProgressBar(parts * total, node_id=node_id)
        self.started = time.monotonic()
        self.whole = Deadline(60.0 * minutes if minutes > 0.0 else math.inf)
        self.drawn = -math.inf  # when the last preview was
        self.part(0)

    def __enter__(self) -> Progress:
        _running.append(self)
        show_text(self.node_id, "starting", "working")  # the page drops what the last run has shown
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _running.remove(self)

    def part(self, number: int, label: str = "", draw: DrawPreview | None = None) -> None:
        """Begin a part, counted from 0; of the time left it has an equal share.

        label: what it is, where there are several
        draw:  the picture of a schedule's levels [n+1]; None: none is shown
        """
        self.before = number * self.total
        self.label = f"{label} ({number + 1} of {self.parts}), " if self.parts > 1 else ""
        self.continued = 0  # rows of the optimisation that this one goes on with
        self.began = time.monotonic()
        self.allowed = self.whole.seconds / (self.parts - number)
        self.deadline = Deadline(self.allowed)
        self.draw = draw
        self.best: Tensor | None = None

    @property
    def took(self) -> float:
        """Minutes since it was made."""
        return (time.monotonic() - self.started) / 60.0

    def left(self, rows: int) -> float:
        """Denoiser rows that may still be computed, as the optimiser's `Finish`."""
        left = self.deadline.left(rows)
        return 0.0 if self.finish_requested else left

    def better(self, sigmas: Tensor) -> None:
        """Show the levels [n+1] of the best schedule so far with the next progress."""
        self.best = sigmas

    def __call__(self, phase: str, rows: int) -> None:
        """Show that `rows` of the budgeted denoiser rows are done; stop if the user has cancelled.

        The work between two model calls may take seconds, and the host looks only at calls.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        if phase == CONTINUED:
            self.continued = rows
            self.began = time.monotonic()
        self._show(rows)
        if phase == CONTINUED:
            text = f"continued: {rows} of {self.total} calls were already made"
        else:
            text = f"{PHASE_TEXTS.get(phase, phase)}: {rows} of {self.total} calls"
        if self.finish_requested:
            text = f"finishing with the best so far\n{text}"
        elif math.isfinite(left := self._seconds_left(rows)):
            text += f"\nabout {_duration(left)} left"
        show_text(self.node_id, self.label + text, "working")

    def _seconds_left(self, rows: int) -> float:
        """Until the budget or the time of this part is spent; infinite if nobody knows."""
        made = rows - self.continued
        if made < CALLS_BEFORE_ESTIMATE:
            return self.deadline.seconds
        each = (time.monotonic() - self.began) / made
        return min(each * (self.total - rows), self.deadline.seconds)

    def _show(self, rows: int) -> None:
        """The bar: as far as the budget, or the time, of this part is spent."""
        spent = 1.0 - self.deadline.seconds / self.allowed if 0.0 < self.allowed < math.inf else 0.0
        done = min(self.total, max(rows, round(spent * self.total)))
        self.bar.update_absolute(self.before + done, self.parts * self.total, self._preview())

    def _preview(self) -> tuple[str, Image, int] | None:
        """The picture of the best schedule so far, if it is new and the last one is old enough."""
        now = time.monotonic()
        if self.draw is None or self.best is None or now - self.drawn < BETWEEN_PREVIEWS:
            return None
        best, self.best, self.drawn = self.best, None, now
        try:
            image = self.draw(best)
        except Exception as error:  # whatever it is, the work goes on without pictures
            log.warning("The best schedule so far cannot be drawn: %s", error)
            self.draw = None
            return None
        if image is None:
            return None
        return "PNG", image, PREVIEW_SIZE

    def finish(self) -> None:
        """Ask the node to end with the best so far."""
        self.finish_requested = True

    def stopped(self, text: str) -> None:
        """Say why the work ended early."""
        show_text(self.node_id, text)

    def done(self, text: str) -> None:
        """Fill this part of the bar and leave a last line of text."""
        self.best = None
        self._show(self.total)
        show_text(self.node_id, self.label + text)


def finish_running() -> bool:
    """Ask the node that works now to end with the best so far; False: none does."""
    for progress in _running:
        progress.finish()
    return bool(_running)


def show_text(node_id: str | None, text: str, kind: str = "done") -> None:
    """Show a few lines of text under a node, on the page that has queued it.

    The page takes it as it is, and for no markup.

    kind: "working" for what is true only until the next text, "done" for what the page keeps
    """
    from server import PromptServer

    server: Any = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        context = get_executing_context()
        prompt_id = None if context is None else context.prompt_id
        client = server.client_id  # None for a prompt of nobody's: told to all, shown by no page
        said = {"node": node_id, "prompt": prompt_id, "text": text, "kind": kind, "client": client}
        server.send_sync(SAID, said, client)


def calls_by_phase(calls: Mapping[str, int]) -> str:
    """Model calls by what they were made for, as people say it.

    >>> calls_by_phase({"reference": 1650, "candidates": 80, "law reference": 50})
    '1,780: images in many steps 1,700, comparing 80'
    """
    made: Counter[str] = Counter()
    for phase, count in calls.items():
        made[PHASE_TEXTS.get(phase, phase)] += count
    parts = ", ".join(f"{phase} {count:,}" for phase, count in made.items() if count)
    return f"{made.total():,}: {parts}" if parts else "0"


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> [_duration(seconds) for seconds in (3.0, 62.0, 100.0, 1800.0, 9300.0)]
    ['5 s', '60 s', '2 min', '30 min', '2 h 35 min']
    """
    if seconds < 90.0:
        return f"{max(5, 5 * round(seconds / 5.0))} s"
    hours, minutes = divmod(round(seconds / 60.0), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
