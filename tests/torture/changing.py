"""Changes to a folder of results that are killed in the middle, in processes of their own.

The children are forked from one warm process that has imported all and has one thread.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from io import FileIO
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import filelock  # noqa: F401  # a child's first change is as fast as any
import torch
from align_your_steps.schedules import Provenance, SavedSchedule, Schedule, Store, Unfinished
from align_your_steps.schedules.store.files import in_folder, read_whole
from align_your_steps.schedules.store.folder_lock import LOCK
from align_your_steps.schedules.store.json_file import to_json, to_json_bytes
from align_your_steps.schedules.store.saved_schedule import to_bytes

__all__ = [
    "CHANGES",
    "SOURCES",
    "WRITING",
    "Child",
    "State",
    "change",
    "change_half",
    "change_with_rest",
    "filled",
    "forked",
    "is_between",
    "leftovers",
    "levels",
    "result",
    "save_on",
    "state_of",
    "store_of",
    "unfinished_of",
]

REQUEST = {"identity": "model", "steps": 3}
LARGE = 2**19  # elements: kills land in the middle of writing them
# The functions that write. Before every line of these a process may be killed.
WRITING = {
    *("save", "add", "rename", "delete", "forget", "_path_for", "_newest", "_rename_file"),
    *("locked", "all_locked", "_remove_leftovers"),
    *("write_whole", "writing", "put", "sync", "free_path"),
}
SOURCES = ("changes.py", "folder_lock.py", "atomic_write.py", "stage_files.py")

State = list[tuple[str, ...]]  # folder, kind of file, digest, and the rest of its content

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload([__name__])


def levels(first: float) -> tuple[float, ...]:
    """Those of a result; the next number gives other ones."""
    return (10.0 + first, 3.0, 1.0 / (3.0 + first), 0.0)


def result(name: str, seed: int = 0, first: float = 20.0, elements: int = 6) -> SavedSchedule:
    """A result with levels that depend on `first`."""
    return SavedSchedule(
        Schedule(levels(first), name, Provenance("me", "a toy", "2025-01-01")),
        "model",
        {**REQUEST, "seed": seed},
        {"gram": torch.arange(float(elements))},
    )


def store_of(base: Path) -> Store:
    """Two folders, in which some results have several copies."""
    return Store([base / "one", base / "two"])


def unfinished_of(base: Path) -> Unfinished:
    """Return what an interrupted optimisation has measured."""
    return Unfinished(base / "unfinished", REQUEST)


def filled(base: Path) -> Path:
    """Folders with all that is changed."""
    for folder in ("one", "two"):
        for seed, name in enumerate(["mine", "another", "a b"]):
            Store([base / folder]).save(result(name, seed))
    (base / "two" / "sent.json").write_bytes(to_json_bytes(result("mine", 0)))
    unfinished_of(base).put("00001", {"gram": torch.arange(6.0)})
    return base


def _put(base: Path, name: str, elements: int) -> None:
    unfinished = unfinished_of(base)
    unfinished.put(name, {"gram": torch.arange(float(elements))})
    assert unfinished.writes


CHANGES: dict[str, Callable[[Path], object]] = {
    "save a new result": lambda base: store_of(base).save(result("new", 7, elements=LARGE)),
    "save over a result": lambda base: store_of(base).save(result("mine", 0, first=30.0)),
    "rename three copies": lambda base: store_of(base).rename("mine", "yours"),
    "rename in the same file": lambda base: store_of(base).rename("a b", "a:b"),
    "delete three copies": lambda base: store_of(base).delete("mine"),
    "add a file": lambda base: store_of(base).add(to_bytes(result("mine", 8)), "x"),
    "forget two copies": lambda base: store_of(base).forget(result("", 1).request, "another"),
    "keep unfinished work": lambda base: _put(base, "00002", LARGE),
    "keep the same work anew": lambda base: _put(base, "00001", 7),
}


# -- what is in the folders -----------------------------------------------------------------


def state_of(base: Path) -> State:
    """All files, each read whole; ValueError if one of them cannot be."""
    found: State = []
    for folder in (base / "one", base / "two"):
        entries = in_folder(folder)
        if len(entries) < len([path for path in folder.iterdir() if path.name[0] != "."]):
            raise ValueError(f"a file in {folder} is no result")
        for entry in entries:
            saved = read_whole(entry.path)
            if saved is None:
                raise ValueError(f"{entry.path} cannot be read")
            text = json.dumps(to_json(saved), sort_keys=True)
            kind, content = entry.path.suffix, _digest(saved.tensors)
            found.append((folder.name, kind, entry.digest, text, content))
    unfinished = unfinished_of(base)
    for path in unfinished.folder.glob("*.safetensors"):
        kept = unfinished.get(path.stem)
        if kept is None:
            raise ValueError(f"{path} cannot be read")
        found.append(("unfinished", path.suffix, path.stem, "", _digest(kept)))
    return sorted(found)


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    parts = [key.encode() + tensor.numpy().tobytes() for key, tensor in sorted(tensors.items())]
    return hashlib.blake2b(b"".join(parts)).hexdigest()


def is_between(state: State, before: State, after: State) -> bool:
    """Tell whether every file is the old one or the new one, each as often as in these."""
    now, old, new = (Counter(file[:3] for file in files) for files in (state, before, after))
    return set(state) <= {*before, *after} and all(
        min(old[key], new[key]) <= now[key] <= max(old[key], new[key])
        for key in now.keys() | old.keys() | new.keys()
    )


def leftovers(base: Path) -> list[Path]:
    """Return what lies about besides results, unfinished work and locks."""
    return [path for path in base.rglob(".*") if path.name != LOCK]


# -- in the children ------------------------------------------------------------------------


def change(end: Connection, name: str, base: Path, deadly: int = 0) -> None:
    """Make a change; be killed before the line with a number, if as many are passed."""
    sys.settrace(_before_line(deadly, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    CHANGES[name](base)
    sys.settrace(None)
    end.send("done")


def change_with_rest(end: Connection, name: str, base: Path, line: int) -> None:
    """Make a change; stop before the line with a number, until someone says to go on."""

    def rest() -> None:
        end.send("stopped")
        end.recv()

    sys.settrace(_before_line(line, rest))
    CHANGES[name](base)
    sys.settrace(None)
    end.send("done")


def change_half(end: Connection, name: str, base: Path, deadly: int) -> None:
    """Make a change; be killed when half of the file with a number is written."""
    opened, count = Path.open, 0

    def open_one(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += mode != "rb"
        if count < deadly or mode == "rb":
            return opened(path, mode, *arguments, **options)
        return _HalfWritten(path, mode)

    Path.open = open_one  # type: ignore[assignment, method-assign]
    change(end, name, base)


class _HalfWritten(FileIO):
    """A file whose writer does not live to write all of it."""

    def write(self, data: Any) -> int:
        super().write(data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


def save_on(end: Connection, base: Path, seed: int) -> None:
    """Save one result after another, and say of each that it was saved."""
    for number in range(10_000):
        store_of(base).save(result(f"{number}", seed, number, number))
        end.send(number)


def _before_line(number: int, act: Callable[[], object]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that does something before a line of those that write; never before 0."""
    passed = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal passed
        code = frame.f_code
        if code.co_name not in WRITING or not code.co_filename.endswith(SOURCES):
            return None
        passed += event == "line"
        if event == "line" and passed == number:
            act()
        return trace

    return trace


class Child:
    """A child that is about to call `target(end of a pipe, *arguments)`."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self.connection, end = forked.Pipe()
        self.process = forked.Process(target=_when_told, args=(end, target, arguments))
        self.process.start()
        end.close()
        if (said := self.connection.recv()) != "ready":
            raise RuntimeError(f"The child has {said}.")

    def go(self) -> None:
        """Let it begin."""
        self.connection.send("go")

    def kill_after(self, seconds: float) -> list[Any]:
        """Let it begin, and kill it soon; what it has said. Nothing waits as exactly as this."""
        self.go()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return self.kill()

    def kill(self) -> list[Any]:
        """Kill it; what it has said."""
        self.process.kill()
        return self.said()

    def said(self) -> list[Any]:
        """All that it says until it ends."""
        said = []
        try:
            while True:
                said.append(self.connection.recv())
        except (EOFError, ConnectionResetError):  # the latter if it had not listened
            self.process.join()
            self.connection.close()
        return said


def _when_told(end: Connection, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
    threads = len(os.listdir("/proc/self/task"))
    end.send("ready" if threads == 1 else f"{threads} threads")
    end.recv()
    target(end, *arguments)
