"""An optimisation that was cancelled or killed continues when the same graph is queued again."""

from __future__ import annotations

import shutil
import signal
from typing import Any

import pytest
from align_your_steps.tests.host.graphs import optimize_graph
from align_your_steps.tests.host.seen import network_rows, saved_files, shown, unfinished
from align_your_steps.tests.host.server import ComfyServer, Graph

BUDGET = 400  # each call of ours is two rows of the network
EARLY, LATE = 200, 560  # rows after which it is broken off
SEED = 11


def graph(**inputs: Any) -> Graph:
    """An optimisation."""
    return optimize_graph("edm", budget=BUDGET, **inputs)


def begun(server: ComfyServer, rows: int, **inputs: Any) -> str:
    """Queue the graph and wait until the network has computed some rows; the prompt's id."""
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=8")
    prompt_id = server.queue(graph(**inputs))
    server.until(lambda: network_rows(server) >= rows)
    return prompt_id


def cancelled(server: ComfyServer, rows: int, **inputs: Any) -> int:
    """The rows that the network has computed when the prompt is cancelled after some."""
    prompt_id = begun(server, rows, **inputs)
    server.interrupt()
    messages = [kind for kind, _ in server.wait(prompt_id)["status"]["messages"]]
    assert "execution_interrupted" in messages
    return network_rows(server)


def finished(server: ComfyServer, **inputs: Any) -> tuple[dict[str, Any], int]:
    """The history entry of the whole optimisation and the rows that it computed."""
    server.get("/ays_test/reset")
    entry = server.run(graph(**inputs))
    return entry, network_rows(server)


@pytest.fixture(scope="module", autouse=True)
def nothing_before(server: ComfyServer) -> None:
    """Other tests of the shared server cancel optimisations, too."""
    shutil.rmtree(server.base / "user" / "ays_unfinished", ignore_errors=True)


@pytest.fixture(scope="module")
def whole(server: ComfyServer) -> tuple[dict[str, Any], int]:
    """The same of one that is not broken off and whose result is not kept."""
    before = saved_files(server)
    entry, rows = finished(server, name="whole", reuse="measure again", seed=SEED)
    (saved,) = set(saved_files(server)) - set(before)
    saved.unlink()
    return entry, rows


def text(entry: dict[str, Any]) -> str:
    """The node's report, with the lines on where it is saved and what was continued."""
    found: str = entry["outputs"]["report"]["text"][0]
    return found


def same(entry: dict[str, Any], expected: dict[str, Any]) -> None:
    assert shown(entry) == shown(expected)
    reports = [text(one).partition("\n\nSaved as")[0] for one in (entry, expected)]
    assert reports[0] == reports[1]


def test_a_cancelled_optimisation_continues_with_the_same_result(
    server: ComfyServer, whole: tuple[dict[str, Any], int]
) -> None:
    expected, rows = whole
    first = cancelled(server, EARLY, seed=SEED)
    second = cancelled(server, LATE - EARLY, seed=SEED)
    assert len(unfinished(server)) > 4
    entry, last = finished(server, seed=SEED)
    same(entry, expected)
    assert "Continued: " in text(entry)
    assert last < rows / 2
    # Nothing is computed twice but the two stages that were broken off; with so small a budget
    # one of them may be a quarter of it.
    assert rows <= first + second + last < 1.5 * rows
    assert unfinished(server) == []


def test_a_killed_server_continues_after_its_restart(
    empty_server: ComfyServer, whole: tuple[dict[str, Any], int]
) -> None:
    server = empty_server
    expected, rows = whole
    begun(server, LATE, seed=SEED)
    process = server._process
    assert process is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = unfinished(server)
    assert len(kept) > 4
    half, damaged = kept[1], kept[2]
    half.write_bytes(half.read_bytes()[:-1])
    damaged.write_text("no stage at all")
    server.restart()
    entry, last = finished(server, seed=SEED)
    same(entry, expected)
    assert last < 0.75 * rows
    for path in (half, damaged):
        assert server.log.count(f"{path} is not used") == 1


def test_unfinished_work_is_not_taken_for_something_else(server: ComfyServer) -> None:
    cancelled(server, EARLY, seed=12)
    kept = unfinished(server)
    assert kept
    entry, rows = finished(server, seed=12, cfg=2.0)
    assert "Continued" not in text(entry)
    assert rows > LATE
    assert unfinished(server) == kept
    entry, rows = finished(server, seed=12, reuse="measure again")
    assert "Continued" not in text(entry)
    assert rows > LATE
    assert unfinished(server) == []


def test_a_folder_that_cannot_be_written_does_not_stop_the_optimisation(
    server: ComfyServer,
) -> None:
    folder = server.base / "user" / "ays_unfinished"
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("a file where the folder should be")
    try:
        entry, _ = finished(server, seed=14)
    finally:
        folder.unlink()
    assert "Saved as" in text(entry)
    assert server.log.count("cannot continue from here") == 1
