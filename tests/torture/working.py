"""Processes at work on the same folders, each with a record of what it did.

There are four kinds of results:
- a worker's own, which nobody else changes: it must find them as it left them
- shared ones, which everybody saves and deletes, under one name each
- a moving one, which everybody saves and renames
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
from align_your_steps.schedules.store.folder_lock import BusyError
from align_your_steps.schedules.store.saved_schedule import to_bytes
from align_your_steps.schedules.store.store import NameTakenError, UnknownNameError
from align_your_steps.tests.torture.changing import levels, result

__all__ = ["COMMON", "LASTING", "common", "lasting", "number_of", "own", "work"]

OWN, LASTING = range(4), range(3)
COMMON = {"shared 0": 100, "shared 1": 101, "moving": 102}  # with the seeds of their requests
HANGS = 100.0  # seconds after which a worker says where it hangs, and ends


def own(worker: int, key: int, number: int = 0) -> SavedSchedule:
    return result(f"worker {worker}, {key}", 10_000 * (worker + 1) + key, number)


def common(key: str, number: int = 0, name: str | None = None) -> SavedSchedule:
    return result(name or key, COMMON[key], number)


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
        """Do one thing, or look whether what was there all the time is there."""
        own = self.change_own, self.rename_lasting, self.look
        # Where all change the same, two of them are most often at it at once.
        those_of_all = self.change_shared, *[self.change_moving] * 3, *[self.find] * 2
        try:
            self.chance.choice([*own, *those_of_all])()
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

    def change_own(self) -> None:
        change = self.chance.choice([self.save, self.save, self.rename, self.delete, self.add])
        change(self.chance.choice(OWN))

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
            add = lambda: names.append(self.store.add(data, "sent").name)  # noqa: E731
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

    def find(self) -> None:
        key = self.chance.choice(list(COMMON))
        request = common(key).request
        self.did("find", key, None, lambda: number_of(self.store.find(request)))

    def change_shared(self) -> None:
        key = self.chance.choice(["shared 0", "shared 1"])
        if self.chance.random() < 0.5:
            self.did("delete", key, None, lambda: self.gone(key))
        else:
            self.save_common(key, key)

    def gone(self, name: str) -> str:
        """Delete what may be deleted already."""
        try:
            self.store.delete(name)
        except UnknownNameError:
            return "nothing"
        return "deleted"

    def change_moving(self) -> None:
        """Save under the name that it has now, or give it another."""
        names = self.names_of(common("moving"))
        if not names or self.chance.random() < 0.5:
            self.save_common("moving", next(iter(names), "moving"))
        else:
            self.count += 1
            self.renamed(names[0], f"moving {self.count}")

    def save_common(self, key: str, name: str) -> None:
        self.count += 1
        saved = common(key, self.count, name)
        self.did("save", key, self.count, lambda: str(self.store.save(saved)))

    def rename_lasting(self) -> None:
        key = self.chance.choice(LASTING)
        self.count += 1
        for name in self.names_of(lasting(key))[:1]:
            self.renamed(name, f"lasting {key}, {self.count}")

    def renamed(self, name: str, new: str) -> None:
        """Rename what anyone may have renamed meanwhile."""
        try:
            self.store.rename(name, new)
        except (UnknownNameError, NameTakenError):
            pass
        except BusyError:
            self.record("busy")

    def names_of(self, one: SavedSchedule) -> list[str]:
        """Those under which the answers to a request show, the newest first."""
        found = {n: e.modified for n, e in self.store.list().items() if e.digest == one.digest}
        return sorted(found, key=lambda name: -found[name])

    # -- looking ------------------------------------------------------------------------------

    def look(self) -> None:
        """Tell whether all that nobody else deletes is there."""
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
