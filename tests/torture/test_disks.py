"""Folders that fill up, lock up or vanish while a graph measures and samples in a real server.

Whatever happens to them, the schedule reaches the sampler, the next prompt runs, the user reads in
three places where to look and what to do, and nothing is measured a second time.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.host.browser import open_page
from align_your_steps.tests.host.listener import Listener
from align_your_steps.tests.host.seen import network_rows, shown
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.torture.disks import Disk, NoDiskError
from align_your_steps.tests.torture.graphs import CALLS, STEPS, measured_and_sampled, plain

YEAR = 365 * 24 * 3600.0
SAMPLING = 2 * STEPS  # rows of the network that an image takes
REMEDY = ("make one of them writable, free some space, or add a folder", "queue the same again")


@dataclass
class House:
    """A running server, what its page is told, and its folders."""

    server: ComfyServer
    page: Listener | None
    disks: dict[str, Disk] = field(default_factory=dict)  # mounted for this trial, by their names

    @property
    def first(self) -> Path:
        """Return where results go."""
        pack = self.server.base / "custom_nodes" / "align-your-steps"
        return pack / "schedules" / "optimized"

    @property
    def user(self) -> Path:
        return self.server.base / "user"

    @property
    def temp(self) -> Path:
        return self.server.base / "temp"

    @property
    def second(self) -> Path:
        """Return where they go if that cannot be written."""
        return self.user / "ays_schedules"

    @property
    def unfinished(self) -> Path:
        return self.user / "ays_unfinished"

    def leftovers(self) -> list[Path]:
        """Return what a write that failed has left."""
        folders = self.first, self.user
        return [path for folder in folders for path in folder.rglob(".ays-*.tmp")]


Deed = Callable[[House], None]


def nothing(house: House) -> None:
    """There is nothing to do."""


def filled(house: House) -> None:
    for disk in house.disks.values():
        disk.fill()


def locked(house: House) -> None:
    for disk in house.disks.values():
        disk.lock()


def freed(house: House) -> None:
    for disk in house.disks.values():
        disk.free()


def deleted(house: House) -> None:
    for folder in (house.first, house.second, house.unfinished):
        shutil.rmtree(folder, ignore_errors=True)


def a_file_in_its_place(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.write_text("a file where the folder should be")


def a_folder_again(*folders: Path) -> None:
    for folder in folders:
        folder.unlink()


def year_passed(house: House) -> None:
    """To files, a clock that goes back by a year is no different from files of the future."""
    folders = [house.first, *house.unfinished.glob("*")]
    then = time.time() + YEAR
    for path in (*folders, *(file for folder in folders for file in folder.glob("*"))):
        os.utime(path, (then, then))


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong while a graph runs.

    repair: makes it right again
    disks:  the folders of the house that are disks of their own
    place:  the folder of the house in which the result is all the same, if it can be saved
    inputs: further ones of Optimize AYS
    short:  whether `make test` tries it, too
    """

    what: str
    strike: Deed
    repair: Deed = nothing
    disks: tuple[str, ...] = ()
    place: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    short: bool = False


FAULTS = [
    Fault("disk full: all schedule folders", filled, freed, ("first", "user")),
    Fault(
        "disk full: all but the output folder",
        filled,
        freed,
        ("first", "user", "temp"),
        short=True,
    ),
    Fault("disk full: the pack's folder", filled, freed, ("first",), "second"),
    Fault("disk full: the user folder", filled, freed, ("user",), "first", short=True),
    Fault("read-only: all schedule folders", locked, freed, ("first", "user"), short=True),
    Fault(
        "read-only: all schedule folders, measure again",
        locked,
        freed,
        ("first", "user"),
        inputs={"reuse": "measure again"},
    ),
    Fault(
        "disk full: all schedule folders, two saves",
        filled,
        freed,
        ("first", "user"),
        inputs={"more_steps": "3"},
    ),
    Fault("read-only: the pack's folder", locked, freed, ("first",), "second", short=True),
    Fault("read-only: the user folder", locked, freed, ("user",), "first"),
    Fault("folders deleted", deleted, place="first", short=True),
    Fault("folders deleted, two saves", deleted, place="first", inputs={"more_steps": "3"}),
    Fault(
        "files in place of the schedule folders",
        lambda house: a_file_in_its_place(house.first, house.second),
        lambda house: a_folder_again(house.first, house.second),
        short=True,
    ),
    Fault(
        "a file in place of the pack's folder",
        lambda house: a_file_in_its_place(house.first),
        lambda house: a_folder_again(house.first),
        place="second",
    ),
    Fault(
        "a file in place of ays_unfinished",
        lambda house: a_file_in_its_place(house.unfinished),
        lambda house: a_folder_again(house.unfinished),
        place="first",
    ),
    Fault("clock set back by a year", year_passed, place="first", short=True),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The faults to try, those of `make test` or all."""
    if "faulty" in metafunc.fixturenames:
        whole = metafunc.config.getoption("--torture")
        faults = [faulty for faulty in FAULTS if whole or faulty.short]
        metafunc.parametrize("faulty", faults, ids=lambda faulty: faulty.what)


@pytest.fixture(scope="module")
def house(server: ComfyServer) -> Iterator[House]:
    """The shared server, with empty folders; those that it had come back afterwards."""
    with Listener(server._url) as page:
        house = House(server, page)
        aside = house.first.with_name("aside")
        house.first.mkdir(exist_ok=True)
        house.first.rename(aside)
        yield house
        shutil.rmtree(house.first, ignore_errors=True)
        aside.rename(house.first)
        server.get("/ays_test/reset")


@dataclass
class Trial:
    """Outcome of one graph under a fault.

    problems: what did not hold
    calls:    rows of the network that were computed again for what had been measured
    """

    problems: list[str] = field(default_factory=list)
    calls: int = 0

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.problems.append(what)


def tried(house: House, fault: Fault, seed: int, moment: int) -> Trial:
    """Let a fault strike after some calls of a graph, look at everything, and repair it."""
    trial = Trial()
    server = house.server
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=1")
    graph = measured_and_sampled(seed, **fault.inputs)
    logged, told = len(server.log), len(house.page.texts)
    with ExitStack() as mounted:
        house.disks = {
            name: mounted.enter_context(Disk(getattr(house, name))) for name in fault.disks
        }
        prompt = server.queue(graph)
        server.until(lambda: server.get("/ays_test/calls")["calls"] >= moment)
        fault.strike(house)
        try:
            entry = server.wait(prompt)
            under = server.get("/ays_test/reset")
            trial.check(under == {} and bool(server.get("/ays/schedules")), "the list answers")
            other = server.wait(server.queue(plain(seed)))
        finally:
            fault.repair(house)
        trial.check(other["status"]["status_str"] == "success", "the next prompt runs")
        trial.check(entry["status"]["status_str"] == "success", "the graph runs to its end")
        if trial.problems:
            return trial
        levels = shown(entry)
        falls = bool((torch.tensor(levels).diff() < 0).all())
        trial.check(len(levels) == STEPS + 1 and falls, f"levels: {levels}")
        trial.check(bool(server.latent(entry, "save").isfinite().all()), "an image")
        report = entry["outputs"]["report"]["text"][0]
        log = server.log[logged:]
        line = " ".join(" ".join(house.page.texts[told:]).split())
        for where, text in (("report", report), ("log", log), ("page", line)):
            if fault.place is None:
                for part in ("NOT SAVED", str(house.first), str(house.second), *REMEDY):
                    trial.check(part in text, f"the {where} says: {part}")
            else:
                trial.check("NOT SAVED" not in text, f"the {where} alarms")
        trial.check("Traceback" not in log, "no traceback")
        if fault.place == "second":
            why = f"It is there because it could not be saved in {house.first} ("
            trial.check(why in report, "the report says why it is elsewhere")
        trial.check(not house.leftovers(), f"left over: {house.leftovers()}")

        # Repaired, the same graph saves what it had measured.
        server.get("/ays_test/reset")
        again = server.run(graph)
        trial.calls = max(0, network_rows(server) - SAMPLING)
        trial.check(shown(again) == levels, "the same levels again")
        place = getattr(house, fault.place or "first")
        kept = [read_saved(path, with_tensors=True) for path in place.glob("*.safetensors")]
        mine = [saved for saved in kept if saved.request["seed"] == seed]
        trial.check(levels in [saved.schedule.sigmas.tolist() for saved in mine], "it is saved")
        if fault.strike is not locked:  # nor can the work be deleted then
            rest = list(house.unfinished.glob("*/*.safetensors"))
            trial.check(not rest, "unfinished work is discarded")
    return trial


def test_a_fault_of_a_disk_costs_nothing(
    house: House, faulty: Fault, fault: Callable[..., None], at_length: Callable[[int, int], int]
) -> None:
    trials = at_length(1, 3)
    seed = random.SystemRandom().randrange(2**31) if trials > 1 else 0
    moments = random.Random(seed)
    survived, lost, problems = 0, 0, []
    for number in range(trials):
        calls = CALLS * (2 if "more_steps" in faulty.inputs else 1)
        moment = moments.randrange(calls)
        try:
            trial = tried(house, faulty, seed + FAULTS.index(faulty) * 100 + number, moment)
        except NoDiskError as error:
            pytest.skip(f"no disk for tests: {error}")
        survived += not trial.problems
        lost += trial.calls > 0
        problems += [f"after {moment} calls: {problem}" for problem in trial.problems]
    remark = "; ".join([f"seed {seed}", *problems])
    fault(faulty.what, trials=trials, survived=survived, lost=lost, remark=remark)


def test_a_limit_on_the_size_of_files_costs_nothing(
    new_server: Callable[..., ComfyServer],
    fault: Callable[..., None],
    at_length: Callable[[int, int], int],
) -> None:
    if not at_length(0, 1):
        pytest.skip("only in make torture: it takes a server of its own")
    server = new_server()
    healthy = server.run(measured_and_sampled(1))
    (file,) = House(server, None).first.glob("*.safetensors")
    # The server's own log must still fit.
    limit = len(server.log.encode()) + 2000
    assert limit < file.stat().st_size
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    entry = server.wait(server.queue(measured_and_sampled(2)))
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
    report = entry["outputs"]["report"]["text"][0]
    told = "(File too large)" in report and all(part in report for part in REMEDY)
    server.get("/ays_test/reset")
    again = server.run(measured_and_sampled(2))
    survived = told and "Saved as" in again["outputs"]["report"]["text"][0]
    assert shown(again) == shown(entry) != shown(healthy)
    lost = int(network_rows(server) > SAMPLING)
    fault("file size limit", trials=1, survived=int(survived), lost=lost)


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes 2.0"])
def test_the_page_says_where_to_look_and_what_to_do(
    house: House, chromium: str, at_length: Callable[[int, int], int], vue: bool
) -> None:
    if not at_length(0, 1):
        pytest.skip("only in make torture: it opens the page")
    graph = measured_and_sampled(9_000_000 + vue)
    # The page itself numbers nodes.
    ids = {name: str(number) for number, name in enumerate(graph, start=1)}
    numbered = {ids[name]: node for name, node in graph.items()}
    for node in numbered.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [ids[value[0]], value[1]]
    with open_page(house.server, chromium, timeout=90.0, vue=vue) as page:
        page.load(numbered, centre=ids["optimize"])
        a_file_in_its_place(house.first, house.second)
        try:
            assert house.server.wait(page.queue())["status"]["status_str"] == "success"
            under = " ".join(page.text("NOT SAVED").split())
            assert under.startswith("NOT SAVED")
            for part in (str(house.first), str(house.second), *REMEDY):
                assert part in under
            page.screenshot(f"not saved {type(page.nodes).__name__}")
        finally:
            a_folder_again(house.first, house.second)
        assert house.server.wait(page.queue())["status"]["status_str"] == "success"
        page.text("Not measured again")
        assert not page.our_errors
