"""Sights and traces of a run: what it has shown, and left on the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align_your_steps.schedules import SavedSchedule
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.folders import files_in
from align_your_steps.tests.host.server import ComfyServer


def shown(entry: dict[str, Any]) -> list[float]:
    """The levels that a run has shown."""
    levels: list[float] = entry["outputs"]["sigmas"]["sigmas"]
    return levels


def saved_files(server: ComfyServer) -> list[Path]:
    """Everything in the pack's folder of results, unfinished files included."""
    folder = server.base / "custom_nodes" / "align-your-steps" / "schedules" / "optimized"
    return files_in(folder) if folder.exists() else []


def network_rows(server: ComfyServer) -> int:
    """Rows that the network has computed since the last reset."""
    rows: int = server.get("/ays_test/calls")["rows"]
    return rows


def report(entry: dict[str, Any]) -> str:
    """The report of a run."""
    (text,) = entry["outputs"]["report"]["text"]
    return str(text)


def recorded(server: ComfyServer) -> dict[str, list[float]]:
    """The levels that samplers were given since the last reset, by label."""
    return {line["label"]: line["sigmas"] for line in server.get("/ays_test/sigmas")}


def saved(server: ComfyServer, name: str) -> SavedSchedule:
    """The result of a name."""
    found = (read_saved(file, with_tensors=True) for file in saved_files(server)
             if file.suffix == ".safetensors")  # fmt: skip
    return next(one for one in found if one.schedule.name == name)


def unfinished(server: ComfyServer) -> list[Path]:
    """The stages that are kept."""
    return sorted((server.base / "user" / "ays_unfinished").glob("*/*.safetensors"))
