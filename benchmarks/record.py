"""Files of measurements, and what is noted beside each: light, so that any script can use it.

Nothing but torch is imported here.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["RESULTS", "ROOT", "keep", "machine", "read_lines", "table"]

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return where and with what something was measured."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        except FileNotFoundError:  # a machine without git
            return ""
        return done.stdout.strip()

    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        "changed": bool(git("status", "--porcelain", "optimizer", "schedules", "benchmarks/*.py")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def keep(folder: Path, name: str, measurement: dict[str, Any], text: str) -> None:
    """Write a measurement as JSON and its report as Markdown, and print the report."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(measurement, indent=1) + "\n")
    (folder / f"{name}.md").write_text(text)
    print(f"\n{text}")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read measurements, a JSON object a line; a line cut off by an interruption is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right of the first column."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
