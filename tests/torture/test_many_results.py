"""Thousands of saved results: the panel, the drop-down, 'auto' and a search among all of them."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from align_your_steps.schedules.store.saved_schedule import SavedSchedule, read_saved, to_bytes
from align_your_steps.tests.host.graphs import model_graph, node
from align_your_steps.tests.host.seen import saved_files
from align_your_steps.tests.host.server import ComfyServer
from align_your_steps.tests.torture.prompts import PLAIN, found_graph

COUNTS = (1, 100, 1000, 5000)  # saved results
TIMES = 5  # that each is asked
AUTO = "Schedule chosen: auto: saved for this model"
STEEPER = 3.0  # times, at most, than in proportion to their number

Question = Callable[[int], bool]


def fill(folder: Path, one: SavedSchedule, numbers: range) -> None:
    """More results of the same model, each for a seed of its own."""
    for number in numbers:
        schedule = dataclasses.replace(one.schedule, name=f"result {number}")
        request = {**one.request, "seed": 1000 + number}
        more = dataclasses.replace(one, schedule=schedule, request=request)
        (folder / f"result-{number}.safetensors").write_bytes(to_bytes(more))


def questions(server: ComfyServer, results: int) -> dict[str, Question]:
    """Questions, as functions that tell whether the answer is right; they take a number."""

    def panel(number: int) -> bool:
        return len(server.get("/ays/schedules")["schedules"]) == results

    def drop_down(number: int) -> bool:
        return len(server.choices("AYSScheduler", "schedule")) == results + 5  # 'auto', 4 published

    def auto(number: int) -> bool:
        graph = model_graph("eps", denoiser="digits")
        before, steps = server.log.count(AUTO), number  # another: the host would not run it again
        scheduler = {"schedule": "auto", "denoise": 1.0, "denoise_mode": "keep steps"}
        node(graph, "scheduler", "AYSScheduler", model=["model", 0], steps=steps, **scheduler)
        node(graph, "sigmas", "AYSTestShowSigmas", sigmas=["scheduler", 0])
        shown = server.run(graph)["outputs"]["sigmas"]["sigmas"]
        return len(shown) == steps + 1 and server.log.count(AUTO) == before + 1

    def found_again(number: int) -> bool:
        server.get("/ays_test/reset")
        # Another limit, or the host would not run the node again.
        server.run(found_graph(PLAIN, seed=0, image=number, minutes=float(number)))
        rows: int = server.get("/ays_test/calls")["rows"]
        return rows == 2  # those of the image

    return {"panel": panel, "drop-down": drop_down, "auto": auto, "found again": found_again}


def asked(question: Question, times: int) -> Iterator[tuple[bool, float]]:
    """Tell whether each answer was right, and the milliseconds that it took."""
    for number in range(1, times + 1):
        began = time.monotonic()
        right = question(number)
        yield right, 1000.0 * (time.monotonic() - began)


def test_lists_hold_every_one_of_thousands_of_results(
    new_server: Callable[..., ComfyServer],
    at_length: Callable[[int, int], int],
    fault: Callable[..., None],
) -> None:
    if at_length(0, 1) == 0:
        pytest.skip("only in make torture: thousands of files")
    server = new_server()
    server.run(found_graph(PLAIN, seed=0, image=0))
    (file,) = [file for file in saved_files(server) if file.suffix == ".safetensors"]
    one = read_saved(file, with_tensors=True)
    trials, survived, before, took = 0, 0, 1, {}
    for results in COUNTS:
        fill(file.parent, one, range(before, results))
        before = results
        for name, question in questions(server, results).items():
            answers = list(asked(question, TIMES))
            trials += len(answers)
            survived += sum(right for right, _ in answers)
            # The first of all reads the new files, once.
            took[name, results] = statistics.median(milliseconds for _, milliseconds in answers)
    fault(
        f"{' / '.join(f'{count:,}' for count in COUNTS)} saved results",
        trials=trials,
        survived=survived,
        remark="ms: " + "; ".join(written(took)),
    )
    for name in {name for name, _ in took}:
        assert took[name, 5000] < STEEPER * 5 * took[name, 1000], name


def written(took: dict[tuple[str, int], float]) -> list[str]:
    """Return what each question took, for the table."""
    names = dict.fromkeys(name for name, _ in took)
    return [
        f"{name} {' / '.join(f'{ms:.0f}' for (asked, _), ms in took.items() if asked == name)}"
        for name in names
    ]
