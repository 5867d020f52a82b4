"""Two prompts, two servers, two pages: the same measurement and the same schedules at once."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from align_your_steps.schedules.store.json_file import to_json_bytes
from align_your_steps.schedules.store.saved_schedule import SavedSchedule, read_saved
from align_your_steps.tests.host.graphs import scheduler_graph
from align_your_steps.tests.host.seen import network_rows, saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.test_sharing import Answer
from align_your_steps.tests.torture.beside import Beside
from align_your_steps.tests.torture.graphs import CALLS, STEPS, measured_and_sampled

SAMPLING = 2 * STEPS  # rows of the network that an image takes
ALARMS = ("Traceback", "cannot continue from here", "is not used", "Cannot load")

Fault = Callable[..., None]
AtLength = Callable[[int, int], int]


@pytest.fixture(scope="module")
def beside(server: ComfyServer) -> Iterator[Beside]:
    """A second server with the folders of the first, in which no other test has left work."""
    shutil.rmtree(server.base / "user" / "ays_unfinished", ignore_errors=True)
    with Beside(server) as second:
        yield second


@pytest.fixture(scope="module")
def seeds() -> Callable[[], int]:
    """Seeds of measurements that no other test makes."""
    numbers = iter(range(5_000_000, 6_000_000))
    return lambda: next(numbers)


@pytest.fixture(scope="module")
def moments(pytestconfig: pytest.Config) -> random.Random:
    """Calls after which something happens; the seed is in the table."""
    whole = pytestconfig.getoption("--torture")
    seed = random.SystemRandom().randrange(2**31) if whole else 0
    source = random.Random(seed)
    source.name = f"seed {seed}"  # type: ignore[attr-defined]
    return source


def slow(*servers: ComfyServer) -> None:
    """No calls yet, and the next ones take a little longer."""
    for server in servers:
        server.get("/ays_test/reset")
        server.get("/ays_test/delay?ms=2")


def after(server: ComfyServer, calls: int) -> None:
    """Wait until so many calls were made since the last reset."""
    server.until(lambda: server.get("/ays_test/calls")["calls"] >= calls)


def ended(server: ComfyServer, prompt: str) -> tuple[str, dict[str, Any]]:
    """Return how a prompt has ended, and its entry."""
    entry = server.wait(prompt)
    messages = [kind for kind, _ in entry["status"]["messages"]]
    how = "interrupted" if "execution_interrupted" in messages else entry["status"]["status_str"]
    return how, entry


def of_seed(server: ComfyServer, seed: int) -> list[SavedSchedule]:
    """The saved results of the measurement with a seed; each is whole."""
    files = [path for path in saved_files(server) if path.suffix == ".safetensors"]
    results = [read_saved(path, with_tensors=True) for path in files]
    return [saved for saved in results if saved.request.get("seed") == seed]


def remains(server: ComfyServer) -> list[Path]:
    """Unfinished work, and what broken writes have left."""
    user = server.base / "user"
    leftovers = [path for path in saved_files(server) if path.name.endswith(".tmp")]
    return [*(user / "ays_unfinished").glob("*/*.safetensors"), *leftovers]


def report(entry: dict[str, Any]) -> str:
    text: str = entry["outputs"]["report"]["text"][0]
    return text


def test_of_two_equal_prompts_the_second_takes_the_result_of_the_first(
    server: ComfyServer, seeds: Callable[[], int], fault: Fault, at_length: AtLength
) -> None:
    trials, survived, lost = at_length(1, 3), 0, 0
    for _ in range(trials):
        seed = seeds()
        server.get("/ays_test/reset")
        first = server.queue(measured_and_sampled(seed))
        # Another name, or the host would not run the node a second time.
        second = server.queue(measured_and_sampled(seed, name=f"second {seed}"))
        one, made = ended(server, first)
        server.get("/ays_test/reset")  # the host runs one prompt at a time
        two, taken = ended(server, second)
        lost += network_rows(server) > SAMPLING
        survived += one == two == "success" and shown(made) == shown(taken)
        assert "Saved result taken" in report(taken)
    fault("two equal prompts in one queue", trials=trials, survived=survived, lost=lost)


def test_of_two_equal_prompts_the_second_goes_on_when_the_first_is_cancelled(
    server: ComfyServer,
    seeds: Callable[[], int],
    moments: Any,
    fault: Fault,
    at_length: AtLength,
) -> None:
    trials, survived, lost = at_length(1, 3), 0, 0
    for _ in range(trials):
        seed, graph = (number := seeds()), measured_and_sampled(number)
        slow(server)
        first = server.queue(graph)
        second = server.queue(graph)
        after(server, moments.randrange(110, CALLS))  # past the first stages
        server.interrupt()
        one, _ = ended(server, first)
        two, entry = ended(server, second)
        results = of_seed(server, seed)
        survived += (one, two, len(results)) == ("interrupted", "success", 1)
        lost += "Continued: " not in report(entry)
    remark = moments.name
    fault("the first of two cancelled", trials=trials, survived=survived, lost=lost, remark=remark)


def together(server: ComfyServer, beside: Beside, graph: Graph, apart: int) -> tuple[str, str]:
    """Queue a graph in both servers, in the second when the first has made some calls."""
    slow(server, beside)
    first = server.queue(graph)
    after(server, apart)
    return first, beside.queue(graph)


def test_two_servers_make_the_same_measurement(
    server: ComfyServer,
    beside: Beside,
    seeds: Callable[[], int],
    moments: Any,
    fault: Fault,
    at_length: AtLength,
) -> None:
    trials, survived, lost, problems = at_length(2, 8), 0, 0, []
    for _ in range(trials):
        seed, logged = seeds(), (len(server.log), len(beside.log))
        prompts = together(server, beside, measured_and_sampled(seed), moments.randrange(CALLS))
        (one, first), (two, second) = ended(server, prompts[0]), ended(beside, prompts[1])
        said = server.log[logged[0] :] + beside.log[logged[1] :]
        alarms = [alarm for alarm in ALARMS if alarm in said]
        results = of_seed(server, seed)
        right = one == two == "success" and shown(first) == shown(second)
        survived += right and not alarms and not remains(server)
        problems += [*alarms, *map(str, remains(server))]
        lost += [saved.schedule.sigmas.tolist() for saved in results] != [shown(first)]
    remark = "; ".join([moments.name, *problems])
    what = "two servers, one measurement"
    fault(what, trials=trials, survived=survived, lost=lost, remark=remark)


def test_one_server_finishes_when_the_other_is_cancelled(
    server: ComfyServer,
    beside: Beside,
    seeds: Callable[[], int],
    moments: Any,
    fault: Fault,
    at_length: AtLength,
) -> None:
    trials, survived, lost = at_length(1, 5), 0, 0
    for _ in range(trials):
        seed = seeds()
        prompts = together(server, beside, measured_and_sampled(seed), moments.randrange(60))
        after(beside, moments.randrange(1, 60))
        beside.interrupt()
        (one, first), (two, _) = ended(server, prompts[0]), ended(beside, prompts[1])
        survived += (one, two) == ("success", "interrupted") and not remains(server)
        lost += [saved.schedule.sigmas.tolist() for saved in of_seed(server, seed)] != [
            shown(first)
        ]
    what, remark = "one of two servers cancelled", moments.name
    fault(what, trials=trials, survived=survived, lost=lost, remark=remark)


def test_a_new_server_goes_on_where_two_were_broken_off(
    server: ComfyServer,
    beside: Beside,
    seeds: Callable[[], int],
    moments: Any,
    fault: Fault,
    at_length: AtLength,
) -> None:
    trials, survived, lost = at_length(1, 2), 0, 0
    for _ in range(trials):
        graph = measured_and_sampled(seeds())
        first, _ = together(server, beside, graph, moments.randrange(60))
        after(server, 110)  # past the first stages
        kill(beside)
        server.interrupt()
        one, _ = ended(server, first)
        # A start takes as long as all else: the short version goes on in the server that is there.
        new = server if trials == 1 else beside
        if new is beside:
            beside.start()
        entry = new.run(graph)
        survived += one == "interrupted"
        lost += "Continued: " not in report(entry)
    what, remark = "two servers, one killed, one cancelled", moments.name
    fault(what, trials=trials, survived=survived, lost=lost, remark=remark)


def test_one_server_finishes_when_the_other_is_killed(
    server: ComfyServer,
    beside: Beside,
    seeds: Callable[[], int],
    moments: Any,
    fault: Fault,
    at_length: AtLength,
) -> None:
    trials, survived, lost = at_length(0, 2), 0, 0
    if not trials:
        pytest.skip("only in make torture: it starts servers anew")
    for _ in range(trials):
        graph = measured_and_sampled(seed := seeds())
        first, _ = together(server, beside, graph, moments.randrange(60))
        after(beside, moments.randrange(1, 60))
        kill(beside)
        one, whole = ended(server, first)
        beside.start()
        entry = beside.run(graph)
        survived += one == "success" and shown(entry) == shown(whole) and not remains(server)
        lost += network_rows(beside) > SAMPLING or len(of_seed(server, seed)) != 1
    remark = moments.name
    fault("one of two servers killed", trials=trials, survived=survived, lost=lost, remark=remark)


def kill(server: ComfyServer) -> None:
    """End a server as lack of memory would."""
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait()


@contextmanager
def meanwhile(deed: Callable[[int], None]) -> Iterator[None]:
    """Do something over and over, counted from 0, in another thread; its failures are raised."""
    over, failures = threading.Event(), []

    def work() -> None:
        number = 0
        while not over.is_set():
            try:
                deed(number)
            except Exception as error:
                failures.append(error)
                return
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]


def test_a_schedule_renamed_while_it_is_used_stays_in_use(
    server: ComfyServer, seeds: Callable[[], int], fault: Fault, at_length: AtLength
) -> None:
    seed = seeds()
    names = f"renamed {seed}", f"renamed back {seed}"
    graph = measured_and_sampled(seed, name=names[0])
    levels = shown(server.run(graph))

    def rename(number: int) -> None:
        old, new = names if number % 2 == 0 else names[::-1]
        answer = Answer(server, "/ays/schedules/rename", {"name": old, "new_name": new})
        assert answer.status == 200, answer.data

    trials, survived, lost = at_length(5, 50), 0, 0
    with meanwhile(rename):
        for number in range(trials):
            server.get("/ays_test/reset")
            # Another limit, or the host would not run the node again.
            graph["optimize"]["inputs"] |= {"name": "", "minutes": 1000.0 + number}
            entry = server.run(graph)
            survived += shown(entry) == levels
            lost += network_rows(server) > SAMPLING
    fault("renamed by another page while in use", trials=trials, survived=survived, lost=lost)


def test_a_schedule_deleted_while_it_is_used_costs_only_itself(
    server: ComfyServer, seeds: Callable[[], int], fault: Fault, at_length: AtLength
) -> None:
    seed = seeds()
    name = f"deleted {seed}"
    server.run(measured_and_sampled(seed, name=name))
    (saved,) = of_seed(server, seed)
    sent = to_json_bytes(saved)
    assert Answer(server, "/ays/schedules/delete", {"name": name}).status == 200
    without = shown(server.run(scheduler_graph("edm", schedule=name, steps=STEPS)))

    def deal(number: int) -> None:
        if number % 2 == 0:
            answer = Answer(server, "/ays/schedules/import", sent, filename="sent.json")
        else:
            answer = Answer(server, "/ays/schedules/delete", {"name": name})
        assert answer.status == 200, answer.data

    trials, survived = at_length(10, 100), 0
    either = saved.schedule.sigmas.tolist(), without
    with meanwhile(deal):
        for number in range(trials):
            graph = scheduler_graph("edm", schedule=name, steps=STEPS)
            # Of no use to this model, but the host runs the node again.
            graph["model"]["inputs"]["shift"] = 2.0 + number / 1000
            survived += shown(server.run(graph)) in either
    fault("deleted by another page while in use", trials=trials, survived=survived)
