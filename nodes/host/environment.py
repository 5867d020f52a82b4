"""Places: the folders where results are kept, and where in the menu the nodes stand."""

from __future__ import annotations

from pathlib import Path

import comfy.samplers
import folder_paths

from ...schedules import Store

__all__ = [
    "register_folders",
    "scheduler_category",
    "store",
    "unfinished_folder",
]

FOLDER_KIND = "ays_schedules"  # the key in extra_model_paths.yaml
UNFINISHED = "ays_unfinished"  # in the user's folder: the host empties its temp folder at start
OPTIMIZED = Path(__file__).parents[2] / "schedules" / "optimized"


def register_folders() -> None:
    """Let `extra_model_paths.yaml` name more folders of schedules."""
    folder_paths.add_model_folder_path(FOLDER_KIND, str(OPTIMIZED), is_default=True)


def store() -> Store:
    """The saved results: the pack's folder, the user's own, and those of the configuration.

    The names of the host's schedulers stay theirs.
    """
    user = Path(folder_paths.get_user_directory()) / FOLDER_KIND
    extra = [Path(path) for path in folder_paths.get_folder_paths(FOLDER_KIND)]
    folders = [OPTIMIZED, user, *(path for path in extra if path not in (OPTIMIZED, user))]
    return Store(folders, taken=comfy.samplers.SCHEDULER_NAMES)


def unfinished_folder() -> Path:
    """Folder in which interrupted optimisations leave what they had measured."""
    return Path(folder_paths.get_user_directory()) / UNFINISHED


def scheduler_category() -> str:
    """The menu category of the host's own scheduler nodes, whose name changed over time."""
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    category: str = BasicScheduler.CATEGORY  # a plain attribute on old hosts, else a property
    return category
