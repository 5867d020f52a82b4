"""A thousand prompts in one server: memory, handles, threads and latency stay what they are.

Measured from outside, by Linux's /proc and the clock; only what is alive in Python is counted
inside, once the host's history is cleared: it grows by all that a prompt was and showed, up to
10,000 prompts. A page listens, as if the browser were open.

The host alone is the control: prompts of KSampler in the same server, many at the beginning, to
see its memory, and one in every round, to see how fast the machine is at the time.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest
from align_your_steps.tests.host.listener import Listener
from align_your_steps.tests.host.server import ComfyServer, HostError
from align_your_steps.tests.torture.process import Process
from align_your_steps.tests.torture.prompts import (
    KINDS,
    PLAIN,
    control_graph,
    found_graph,
    ran_as_expected,
)
from scipy.stats import theilslopes

SHORT, LONG = 20, 1000  # prompts
CONTROL = 200  # prompts of KSampler alone
# Where glibc begins. It would raise them as it goes, and then keep more or less at any prompt.
STEADY = {"MALLOC_TRIM_THRESHOLD_": str(128 * 1024), "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
ROUND = len(KINDS)
WARM_UP = ROUND  # of them, before anything is compared
HUNDRED = 100  # prompts whose latencies are compared
TENSORS = 5  # more or less, as the host caches them; a leak of one a prompt makes many more
OBJECTS_OF_A_RESULT = 150  # of Python, at most, that the lists keep of each; a leaked run has more
LARGEST_SLOPE = 64.0  # KiB of memory a prompt
ROUGHLY = 100 * 1024  # KiB: so much the allocator may keep, or give back, at any prompt
SLOWER = 1.5  # times, at most


T = TypeVar("T")


@dataclass
class State:
    """Holdings of the server between two prompts."""

    alive: dict[str, int]
    handles: int
    threads: int
    results: int


@dataclass
class Run:
    """Observations: seconds and KiB of memory of each prompt, and what was there at the ends."""

    before: State
    after: State
    as_expected: int
    seconds: list[float]
    memory: list[float]
    control: list[float]  # memory
    control_seconds: list[float]  # of one prompt in each round


@pytest.fixture(scope="module")
def run(
    host_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    at_length: Callable[[int, int], int],
) -> Run:
    """All the prompts, one after the other, in a server of their own."""
    prompts = at_length(SHORT, LONG)
    seconds, memory, paces, as_expected = [], [], [], 0
    server = ComfyServer(host_path, tmp_path_factory.mktemp("comfy"))
    with patch.dict(os.environ, STEADY), server, Listener(server._url):
        process = Process(server.pid)
        for number in range(prompts):
            if number == WARM_UP:
                control = controlled(server, process, at_length(0, CONTROL))
                before = state(server, process)
            if number % ROUND == 0:
                paces.append(timed(partial(server.run, control_graph(LONG + number)))[1])
            expected, took = timed(partial(ran_as_expected, server, number))
            as_expected += expected
            seconds.append(took)
            memory.append(process.memory)
        after = state(server, process, before)
    return Run(before, after, as_expected, seconds, memory, control, paces)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what it returns, and the seconds that it took."""
    began = time.monotonic()
    result = work()
    return result, time.monotonic() - began


def controlled(server: ComfyServer, process: Process, prompts: int) -> list[float]:
    """The memory after each prompt of KSampler alone."""
    memory = []
    for number in range(prompts):
        server.run(control_graph(number))
        memory.append(process.memory)
    return memory


def state(server: ComfyServer, process: Process, before: State | None = None) -> State:
    """After a prompt that is always of one kind, and without the history.

    before: what there was; more handles and threads are waited for, as if they were about to end
    """
    server.run(found_graph(PLAIN, seed=0, image=LONG + (before is None)))
    server.post("/history", {"clear": True})
    results = len(server.get("/ays/schedules")["schedules"])
    alive = server.get("/ays_test/objects")
    if before is not None:
        with suppress(HostError):
            server.until(lambda: len(process.handles()) <= before.handles, 10.0)
            server.until(lambda: process.threads <= before.threads, 10.0)
    return State(alive, len(process.handles()), process.threads, results)


def test_every_prompt_ends_as_it_should(run: Run, fault: Callable[..., None]) -> None:
    new = run.after.results - run.before.results
    fault(
        "prompts in one server: found, sampled, cancelled, failed",
        trials=len(run.seconds),
        survived=run.as_expected,
        lost=measured_since(run) - new,
        remark=remark(run),
    )


def test_nothing_of_a_prompt_stays_open_or_alive(run: Run) -> None:
    before, after = run.before, run.after
    # A connection of the test itself may have been open still when it began.
    assert after.handles <= before.handles
    assert after.threads <= before.threads
    for kind in ("patchers", "models", "wrapped"):
        assert after.alive[kind] == before.alive[kind], kind
    assert after.alive["tensors"] < before.alive["tensors"] + TENSORS
    assert objects_of_a_result(run) < OBJECTS_OF_A_RESULT
    assert run.memory[-1] < run.memory[WARM_UP] + ROUGHLY


def test_memory_is_flat(run: Run, at_length: Callable[[int, int], int]) -> None:
    if at_length(0, 1) == 0:
        pytest.skip("a slope needs many prompts: make torture")
    assert slope(run.memory)[1] < LARGEST_SLOPE


def test_the_last_prompts_take_no_longer_than_the_first(
    run: Run, at_length: Callable[[int, int], int]
) -> None:
    if at_length(0, 1) == 0:
        pytest.skip("it needs hundreds of prompts: make torture")
    assert later_over_earlier(run.seconds) < SLOWER * pace(run.control_seconds)


def measured_since(run: Run) -> int:
    """The prompts after the warm-up that leave a result of their own: all kinds but two."""
    return sum(number % ROUND < ROUND - 2 for number in range(WARM_UP, len(run.seconds)))


def objects_of_a_result(run: Run) -> float:
    """Count objects alive in Python that were not before, for each result saved meanwhile."""
    more = run.after.alive["all"] - run.before.alive["all"]
    return more / (run.after.results - run.before.results)


def slope(memory: Sequence[float]) -> tuple[float, float, float]:
    """KiB a prompt over the last four fifths, robust against steps, with its 95 % interval."""
    start = len(memory) // 5
    found = theilslopes(memory[start:], range(start, len(memory)))
    return float(found[0]), float(found[2]), float(found[3])


def later_over_earlier(seconds: Sequence[float]) -> float:
    """The latency of the last hundred prompts over the first: of each kind the median, summed."""
    first, last = seconds[:HUNDRED], seconds[-HUNDRED:]
    medians = [
        [statistics.median(part[kind::ROUND]) for kind in range(ROUND)] for part in (first, last)
    ]
    return sum(medians[1]) / sum(medians[0])


def pace(control_seconds: Sequence[float]) -> float:
    """The same of KSampler alone."""
    rounds = HUNDRED // ROUND
    first, last = control_seconds[:rounds], control_seconds[-rounds:]
    return statistics.median(last) / statistics.median(first)


def remark(run: Run) -> str:
    """The figures, for the table."""
    before, after = run.before, run.after
    parts = [
        f"handles {before.handles} -> {after.handles}, threads {before.threads} -> {after.threads}",
        f"memory {run.memory[WARM_UP] / 1024:.0f} -> {run.memory[-1] / 1024:.0f} MiB",
        f"{objects_of_a_result(run):.0f} objects alive for each result saved",
    ]
    if len(run.seconds) >= 2 * HUNDRED:
        per, low, high = slope(run.memory)
        alone, *_ = slope(run.control)
        parts += [
            f"{per:.1f} KiB a prompt ({low:.1f} to {high:.1f}), KSampler alone {alone:.1f}",
            f"latency of the last hundred {later_over_earlier(run.seconds):.2f} of the first, "
            f"of KSampler alone {pace(run.control_seconds):.2f}",
            f"{statistics.mean(run.seconds):.2f} s a prompt",
        ]
    return "; ".join(parts)
