"""Processes at work on the same folders, each with a record of what it did.

There are three kinds of results:
- a worker's own, which nobody else changes: it must find them as it left them
- shared ones, which everybody saves and deletes, under one name each
- lasting ones, which everybody renames and nobody deletes: they must be there all the time

The record is a line of JSON before each change and one after it: the worker may be killed.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import random
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from align_your_steps.schedules import SavedSchedule, Store
from align_your_steps.schedules.locked import BusyError
from align_your_steps.schedules.saved import to_bytes
from align_your_steps.schedules.store import UnknownNameError
from align_your_steps.tests.torture.changing import levels, result

__all__ = ["LASTING", "OWN", "SHARED", "lasting", "number_of", "own", "shared", "work"]

OWN, SHARED, LASTING = range(4), range(2), range(3)
HANGS = 100.0  # seconds after which a worker says where it hangs, and ends


def own(worker: int, key: int, number: int = 0) -> SavedSchedule:
    return result(f"worker {worker}, {key}", 10_000 * (worker + 1) + key, number)


def shared(key: int, number: int = 0) -> SavedSchedule:
    return result(f"shared {key}", 100 + key, number)


def lasting(key: int) -> SavedSchedule:
    return result(f"lasting {key}", 200 + key, key)


def number_of(saved: SavedSchedule | None) -> int | None:
    """The number that a result was made with, which tells its levels; None for no result."""
    if saved is None:
        return None
    number = round(saved.schedule.levels[0] - levels(0)[0])
    if saved.schedule.levels != levels(number):
        raise ValueError(f"these levels were never saved: {saved.schedule.levels}")
    return number


def work(
    end: Connection, folders: Sequence[Path], worker: int, seed: int, records: Path, stop: Event
) -> None:
    """Save, list, load, find, rename, delete and add until told to stop."""
    with (
        (records / f"{worker}.jsonl").open("w", buffering=1) as record,
        (records / f"{worker}.stacks").open("w") as stacks,
    ):
        one = Worker(
            Store(folders), worker, random.Random(seed), lambda line: record.write(f"{line}\n")
        )
        logging.getLogger("align_your_steps").addHandler(one)
        while not stop.is_set():
            faulthandler.dump_traceback_later(HANGS, file=stacks, exit=True)
            one.step()
        faulthandler.cancel_dump_traceback_later()
    end.send("stopped")


class Worker(logging.Handler):
    """One that changes results and looks at once whether they are as they must be.

    Its records: [what, key, number, began], and after it [ended, number found], or instead of
    that ["problem", text], or ["busy"] if the lock was not to be had and nothing was changed.
    """

    def __init__(
        self, store: Store, worker: int, chance: random.Random, write: Callable[[str], object]
    ) -> None:
        super().__init__(logging.WARNING)
        self.store, self.worker, self.chance, self.write = store, worker, chance, write
        self.count = 1_000_000 * worker
        self.mine: dict[int, tuple[str, int]] = {}  # name and number

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing here is worth a line in the log."""
        self.record("problem", record.getMessage())

    def record(self, *line: Any) -> None:
        self.write(json.dumps(line))

    def step(self) -> None:
        """Do one thing, and look whether what was there all the time is there."""
        own = self.save, self.save, self.rename, self.delete, self.add
        those_of_all = self.save_shared, self.find_shared, self.delete_shared, self.rename_lasting
        step = self.chance.choice([*own, *those_of_all])
        try:
            step(self.chance.choice(OWN))
            self.look()
        except Exception:
            self.record("problem", traceback.format_exc())

    def did(self, what: str, key: str, number: int | None, change: Callable[[], Any]) -> bool:
        """Make a change, with a record; whether it was made."""
        self.record(what, key, number, time.monotonic())
        try:
            found = change()
        except BusyError:
            self.record("busy")
            return False
        self.record(time.monotonic(), found)
        return True

    # -- its own results ----------------------------------------------------------------------

    def save(self, key: int) -> None:
        self.count += 1
        saved = own(self.worker, key, self.count)
        name = self.mine.get(key, (saved.schedule.name, 0))[0]
        saved = result(name, saved.request["seed"], self.count)
        if self.did("save", self.key(key), self.count, lambda: str(self.store.save(saved))):
            self.mine[key] = name, self.count

    def add(self, key: int) -> None:
        if key not in self.mine:
            self.count += 1
            data, names = to_bytes(own(self.worker, key, self.count)), []
            add = lambda: names.append(self.store.add(data, "sent"))  # noqa: E731
            if self.did("save", self.key(key), self.count, add):
                self.mine[key] = names[0], self.count

    def rename(self, key: int) -> None:
        if key in self.mine:
            name, number = self.mine[key]
            self.count += 1
            new = f"worker {self.worker}, {key}, {self.count}"
            if self.did("rename", self.key(key), number, lambda: self.store.rename(name, new)):
                self.mine[key] = new, number

    def delete(self, key: int) -> None:
        if key in self.mine:
            name, _ = self.mine[key]
            if self.did("delete", self.key(key), None, lambda: self.store.delete(name)):
                del self.mine[key]

    def key(self, key: int) -> str:
        return f"{self.worker} {key}"

    # -- those of all -------------------------------------------------------------------------

    def save_shared(self, key: int) -> None:
        key %= len(SHARED)
        self.count += 1
        saved = shared(key, self.count)
        self.did("save", f"shared {key}", self.count, lambda: str(self.store.save(saved)))

    def delete_shared(self, key: int) -> None:
        key %= len(SHARED)
        self.did("delete", f"shared {key}", None, lambda: self.gone(f"shared {key}"))

    def gone(self, name: str) -> str:
        """Delete what may be deleted already."""
        try:
            self.store.delete(name)
        except UnknownNameError:
            return "nothing"
        return "deleted"

    def find_shared(self, key: int) -> None:
        key %= len(SHARED)
        request = shared(key).request
        self.did("find", f"shared {key}", None, lambda: number_of(self.store.find(request)))

    def rename_lasting(self, key: int) -> None:
        key %= len(LASTING)
        digest = lasting(key).digest
        names = [name for name, entry in self.store.list().items() if entry.digest == digest]
        self.count += 1
        for name in names[:1]:
            try:
                self.store.rename(name, f"lasting {key}, {self.count}")
            except UnknownNameError:  # another was faster
                pass
            except BusyError:
                self.record("busy")

    # -- looking ------------------------------------------------------------------------------

    def look(self) -> None:
        """Whether all that nobody else deletes is there."""
        listed = self.store.list()
        digests = {entry.digest for entry in listed.values()}
        for key in LASTING:
            one = lasting(key)
            if one.digest not in digests:
                self.record("problem", f"lasting {key} is not listed")
            if number_of(self.store.find(one.request)) != key:
                self.record("problem", f"lasting {key} is not found")
        for key in OWN:
            name, number = self.mine.get(key, (None, None))
            one = own(self.worker, key)
            if number_of(self.store.find(one.request)) != number:
                self.record("problem", f"its own {key} is not found as it was saved")
            names = [shows for shows, entry in listed.items() if entry.digest == one.digest]
            if names != [name] * (name is not None):
                self.record("problem", f"its own {key} is listed as {names}, not as {name}")
            if name is not None and number_of(self.store.load(name)) != number:
                self.record("problem", f"its own {key} is not loaded as it was saved")
