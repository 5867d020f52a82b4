"""Where results are kept, and what the user sees and does while a node works."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths

from ...optimizer import CONTINUED
from ...schedules import Store

__all__ = [
    "Progress",
    "register_folders",
    "scheduler_category",
    "show_text",
    "store",
    "unfinished_folder",
]

FOLDER_KIND = "ays_schedules"  # the key in extra_model_paths.yaml
UNFINISHED = "ays_unfinished"  # in the user's folder: the host empties its temp folder at start
OPTIMIZED = Path(__file__).parents[2] / "schedules" / "optimized"
CALLS_BEFORE_ESTIMATE = 10
PHASES = {
    "reference": "many-step references",
    "profile": "measuring the model",
    "refinement": "refining schedules",
    "candidates": "comparing schedules",
}


def register_folders() -> None:
    """Let `extra_model_paths.yaml` name more folders of schedules."""
    folder_paths.add_model_folder_path(FOLDER_KIND, str(OPTIMIZED), is_default=True)


def store() -> Store:
    """The saved results: the pack's folder, the user's own, and those of the configuration."""
    user = Path(folder_paths.get_user_directory()) / FOLDER_KIND
    extra = [Path(path) for path in folder_paths.get_folder_paths(FOLDER_KIND)]
    return Store([OPTIMIZED, user, *(path for path in extra if path not in (OPTIMIZED, user))])


def unfinished_folder() -> Path:
    """Where interrupted optimisations leave what they had measured."""
    return Path(folder_paths.get_user_directory()) / UNFINISHED


def scheduler_category() -> str:
    """The menu category of the host's own scheduler nodes, whose name changed over time."""
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    category: str = BasicScheduler.CATEGORY  # a plain attribute on old hosts, else a property
    return category


class Progress:
    """The progress bar of a node, with the phase and the time left as text under it.

    Arguments:
        node_id: of the node.
        total: budgeted denoiser rows of one optimisation.
        part: which of several optimisations it is, counted from 0, and how many there are.
        label: what this one is, where there are several.
    """

    def __init__(
        self, node_id: str | None, total: int, part: tuple[int, int] = (0, 1), label: str = ""
    ):
        self.node_id = node_id
        self.total = total
        self.before, self.whole = part[0] * total, part[1] * total
        self.label = f"{label} ({part[0] + 1} of {part[1]}), " if part[1] > 1 else ""
        self.continued = 0  # rows of the optimisation that this one goes on with
        self.bar = comfy.utils.ProgressBar(self.whole, node_id=node_id)
        self.began = time.monotonic()

    def __call__(self, phase: str, rows: int) -> None:
        """Show that `rows` of the budgeted denoiser rows are done; stop if the user has cancelled.

        The work between two model calls may take seconds, and the host looks only at calls.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(self.before + min(rows, self.total), self.whole)
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

    def stopped(self, text: str) -> None:
        """Say why the work ended early."""
        show_text(self.node_id, text)

    def done(self, text: str) -> None:
        """Fill this part of the bar and leave a last line of text."""
        self.bar.update_absolute(self.before + self.total, self.whole)
        show_text(self.node_id, self.label + text)


def show_text(node_id: str | None, text: str) -> None:
    """Show a line or two of text under a node."""
    from server import PromptServer

    server: Any = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
