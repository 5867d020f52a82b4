"""Eight processes on one folder, or on two: no update is lost, nobody hangs, no lock is left."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf
from multiprocessing.connection import wait
from pathlib import Path

import pytest
from align_your_steps.schedules import Store
from align_your_steps.schedules.store import folder_lock as locked
from align_your_steps.tests.torture.changing import Child, forked, leftovers, result
from align_your_steps.tests.torture.working import (
    COMMON,
    LASTING,
    common,
    lasting,
    number_of,
    own,
    work,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

WORKERS = 8


@dataclass(frozen=True)
class Did:
    """Deed on a result, and with which levels (None: with none), between two times.

    Without a second time its worker was killed in the middle.
    """

    what: str
    key: str
    number: int | None
    began: float
    ended: float = inf


@pytest.mark.parametrize("count", [1, 2], ids=["one folder", "two folders in either order"])
def test_eight_processes(
    count: int,
    tmp_path: Path,
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"][:count]
    for folder in folders:
        for key in LASTING:
            Store([folder]).save(lasting(key))
    kills = at_length(2, 12)
    seed = random.randrange(2**32)
    workers, problems = run(folders, tmp_path, seed, kills, at_length(3, 60 // count))

    done: list[Did] = []
    busy = 0
    for worker in range(workers):
        did, said, waited = read(tmp_path / f"{worker}.jsonl")
        done += did
        busy += waited
        problems += [f"worker {worker}: {text}" for text in said]
    monkeypatch.setattr(locked, "PATIENCE", 0.0)  # no lock is left
    store = Store(folders)
    store.save(result("next", 1))
    store.delete("next")
    problems += [f"left over: {path}" for folder in folders for path in leftovers(folder)]
    lost = [
        *(key for key in COMMON if not explained(done, key, store)),
        *(f"{key}" for key in keys(done) if not as_left(done, key, store)),
        *(f"lasting {k}" for k in LASTING if number_of(store.find(lasting(k).request)) != k),
    ]
    if count == 1:  # with two, a reader may see one folder before a change and one after it
        finds = [did for did in done if did.what == "find"]
        problems += [f"was never there then: {did}" for did in finds if not possible(did, done)]
    fault(
        f"{WORKERS} processes on {count} folder{'s' * (count > 1)}, {kills} of them killed",
        trials=len(done),
        survived=len(done) - len(problems),
        lost=len(lost),
        remark="; ".join([f"seed {seed}, {busy} times a lock took too long", *problems[:5], *lost]),
    )


def run(
    folders: list[Path], records: Path, seed: int, kills: int, seconds: float
) -> tuple[int, list[str]]:
    """Let them work for some time, and kill some; how many there were, and who died otherwise."""
    stop, chance, started = forked.Event(), random.Random(seed), 0
    running: list[Child] = []

    def start() -> None:
        nonlocal started
        order = folders if started % 2 else folders[::-1]
        child = Child(work, order, started, chance.randrange(2**32), records, stop)
        child.go()
        running.append(child)
        started += 1

    for _ in range(WORKERS):
        start()
    for _ in range(kills):
        if wait([child.process.sentinel for child in running], seconds / (kills + 1)):
            break  # one has ended by itself, which is a fault
        running.pop(chance.randrange(WORKERS)).kill()
        start()
    else:
        wait([child.process.sentinel for child in running], seconds / (kills + 1))
    stop.set()
    hung = [child.process.pid for child in running if "stopped" not in child.said()]
    stacks = [path.read_text() for path in records.glob("*.stacks")]
    return started, [f"processes {hung} have not stopped: {stacks}"] if hung else []


def read(path: Path) -> tuple[list[Did], list[str], int]:
    """Return what a worker has recorded: changes, problems, and how often a lock took too long."""
    done: list[Did] = []
    problems: list[str] = []
    busy, begun = 0, None
    for line in path.read_text().splitlines():
        match json.loads(line):
            case "problem", text:
                problems.append(text)
            case ["busy"]:
                busy, begun = busy + 1, None
            case str(what), key, number, began:
                done += [begun] if begun else []
                begun = Did(what, key, number, began)
            case ended, "nothing":  # was there to delete
                done.append(Did("find", begun.key, None, begun.began, ended))
                begun = None
            case ended, found:
                number = found if begun.what == "find" else begun.number
                done.append(replace(begun, number=number, ended=ended))
                begun = None
    return done + ([begun] if begun else []), problems, busy


def possible(find: Did, done: Iterable[Did]) -> bool:
    """Tell whether someone left the result like that, and nobody has changed it since for sure."""
    writes = [did for did in done if did.key == find.key and did.what in ("save", "delete")]
    writes.append(Did("delete", find.key, None, -inf, -inf))  # there is nothing at first
    return any(
        one.number == find.number
        and one.began <= find.ended
        and not any(one.ended < other.began and other.ended < find.began for other in writes)
        for one in writes
    )


def explained(done: list[Did], key: str, store: Store) -> bool:
    """Tell whether a result of all is one that somebody wrote last."""
    number = number_of(store.find(common(key).request))
    now = max(did.began for did in done) + 1e9
    return possible(Did("find", key, number, now, now), done)


def keys(done: Iterable[Did]) -> set[str]:
    """The results that belong to one worker."""
    return {did.key for did in done if did.key[0].isdigit()}


def as_left(done: Iterable[Did], key: str, store: Store) -> bool:
    """Tell whether a result is as its worker has left it, who may have been killed at it."""
    allowed: set[int | None] = {None}
    for did in done:
        if did.key == key and did.what in ("save", "delete"):
            allowed = {did.number} | (allowed if did.ended == inf else set())
    worker, number = key.split()
    return number_of(store.find(own(int(worker), int(number)).request)) in allowed
