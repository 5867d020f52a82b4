"""A script: everything that the pack does without a host, in a Python that may neither reach
another machine or program nor write outside a folder.

Prints JSON:

    refused  what was tried and refused: [event, arguments]
    made     the names that were listed on the way
    sockets  how many of the process's open files are sockets
    caught   the same of code that connects, runs a program and writes elsewhere
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

# The host has imported these before it comes to the pack.
import numpy
import safetensors.torch
import scipy.optimize
import torch
from align_your_steps.tests.optimizer.laboratory import optimize_flat
from align_your_steps.tests.torture.audit import changed_files, reaches_out

FOLDER = Path(sys.argv[1]).resolve()
HIGH, LOW = 14.6, 0.03

refused: list[list[Any]] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what is forbidden, and write it down: somebody might catch the refusal."""
    outside = [path for path in changed_files(event, arguments) if FOLDER not in path.parents]
    if reaches_out(event) or any(path != Path(os.devnull) for path in outside):
        refused.append([event, str(arguments)[:200]])
        raise PermissionError(f"forbidden: {event} {arguments}")


def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The ideal denoiser of data at -1 and 1."""
    return torch.tanh(x / sigma.view(-1, 1) ** 2)


def trespass() -> None:
    """Do all that is forbidden."""
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    with suppress(OSError):
        subprocess.run(["true"], check=False)
    with suppress(OSError):
        (FOLDER.parent / "outside").write_text("x")


def work() -> list[str]:
    """Import, optimise, save, list, find, share, rename and delete."""
    from align_your_steps.schedules import Provenance, SavedSchedule, Schedule, Store
    from align_your_steps.schedules.store.json_file import to_json_bytes
    from align_your_steps.schedules.store.saved_schedule import to_bytes
    from align_your_steps.schedules.store.stage_files import Unfinished
    from align_your_steps.schedules.store.store import Asked
    from align_your_steps.schedules.to_text import paste_text

    request = {"identity": "a model", "sampler": "euler"}
    journal = Unfinished(FOLDER / "unfinished", request)
    ends = {"sigma_max": HIGH, "sigma_min": LOW}
    solver: dict[str, Any] = {"solver": "euler", "steps": 5, "budget": 300}
    found = optimize_flat(denoise, (4,), **ends, **solver, journal=journal)
    levels = tuple(found.sigmas.tolist())
    schedule = Schedule(levels, "mine", Provenance("me", "a toy", "2026-08-01"))
    saved = SavedSchedule(schedule, "a model", request)

    store = Store([FOLDER / "schedules"])
    store.save(saved)
    assert store.find(request) is not None
    assert store.nearest("a model", Asked(5)) is not None
    names = list(store.list())
    names.append(store.rename("mine", "renamed"))
    names.append(store.add(to_json_bytes(saved), "sent.json").name)
    names.append(store.add(to_bytes(saved), "sent.safetensors").name)
    names.append(store.add(json.dumps({"sigmas": [9.0, 1.0]}).encode(), "by hand.json").name)
    assert store.load("renamed") is not None
    assert all(paste_text(levels, tool, flow=False) for tool in ("comfyui", "diffusers", "a1111"))
    store.delete("renamed")
    return names


def main() -> None:
    """Forbid, work, tell."""
    assert all((numpy, safetensors.torch, scipy.optimize))
    sys.addaudithook(watch)
    made = work()
    files = Path("/proc/self/fd")
    opened = [os.readlink(file) for file in files.iterdir() if file.is_symlink()]
    sockets = sum(name.startswith("socket:") for name in opened)
    told = {"refused": list(refused), "made": made, "sockets": sockets}
    refused.clear()
    trespass()
    print(json.dumps({**told, "caught": refused}))


if __name__ == "__main__":
    main()
