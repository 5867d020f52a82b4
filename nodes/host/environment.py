"""Where results are kept, and what the user sees and does while a node works."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths

from ...schedules import Store

__all__ = ["Progress", "register_folders", "scheduler_category", "show_text", "store"]

FOLDER_KIND = "ays_schedules"  # the key in extra_model_paths.yaml
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


def scheduler_category() -> str:
    """The menu category of the host's own scheduler nodes, whose name changed over time."""
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    category: str = BasicScheduler.CATEGORY  # 0.3.64 has this node in the old form, without schema
    return category


class Progress:
    """The progress bar of a node, with the phase and the time left as text under it."""

    def __init__(self, node_id: str | None, total: int):
        self.node_id = node_id
        self.total = total
        self.bar = comfy.utils.ProgressBar(total, node_id=node_id)
        self.began = time.monotonic()

    def __call__(self, phase: str, rows: int) -> None:
        """Show that `rows` of the budgeted denoiser rows are done; stop if the user has cancelled.

        The work between two model calls may take seconds, and the host looks only at calls.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.bar.update_absolute(min(rows, self.total), self.total)
        text = f"{PHASES.get(phase, phase)}: {rows} of {self.total} calls"
        if rows >= CALLS_BEFORE_ESTIMATE:
            left = (time.monotonic() - self.began) * (self.total - rows) / rows
            text += f"\nabout {_duration(left)} left"
        show_text(self.node_id, text)

    def stopped(self, text: str) -> None:
        """Say why the work ended early."""
        show_text(self.node_id, text)

    def done(self, text: str) -> None:
        """Fill the bar and leave a last line of text."""
        self.bar.update_absolute(self.total, self.total)
        show_text(self.node_id, text)


def show_text(node_id: str | None, text: str) -> None:
    """Show a line or two of text under a node."""
    from server import PromptServer

    server: Any = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
