"""Importing the pack without a host works, and does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

# Audit hooks see every file that Python opens, makes, moves or removes.
SCRIPT = """
import json, sys
sys.dont_write_bytecode = True
modules, events = set(sys.modules), []

def note(event, arguments):
    if event.startswith(("open", "os.", "shutil.", "socket.", "subprocess.")):
        events.append([event, [str(argument) for argument in arguments]])

sys.addaudithook(note)
import align_your_steps
print(json.dumps({
    "modules": sorted(set(sys.modules) - modules),
    "events": events,
    "entry": callable(align_your_steps.comfy_entrypoint),
}))
"""

READING_ITSELF = (".py", ".pyc")


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    """Return what a fresh Python does while it imports the pack."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_import_offers_the_entry_point(imported: dict[str, Any]) -> None:
    assert "align_your_steps" in imported["modules"]
    assert imported["entry"]


def test_import_loads_nothing_heavy_and_no_host(imported: dict[str, Any]) -> None:
    heavy = {"comfy", "comfy_api", "matplotlib", "numpy", "safetensors", "scipy", "torch"}
    assert heavy.isdisjoint(name.split(".")[0] for name in imported["modules"])


def test_import_opens_no_file_but_its_own_source(imported: dict[str, Any]) -> None:
    opened = [arguments[0] for event, arguments in imported["events"] if event == "open"]
    assert any(path.endswith("__init__.py") for path in opened)  # the hook sees what it should
    assert [path for path in opened if not path.endswith(READING_ITSELF)] == []


def test_import_changes_nothing_on_the_machine(imported: dict[str, Any]) -> None:
    looking = {"open", "os.listdir", "os.scandir"}
    assert [event for event in imported["events"] if event[0] not in looking] == []
    modes = [arguments[1] for event, arguments in imported["events"] if event == "open"]
    assert [mode for mode in modes if set(mode) & set("wax+")] == []
