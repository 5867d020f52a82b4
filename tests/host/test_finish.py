"""A measurement ends early, by "Finish now" or at its limit of minutes, and can go on later."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from align_your_steps.schedules.store.saved_schedule import SavedSchedule, read_saved
from align_your_steps.tests.host.graphs import optimize_graph, sampled
from align_your_steps.tests.host.listener import Listener
from align_your_steps.tests.host.seen import network_rows, saved_files, shown, unfinished
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.test_resume import text
from PIL import Image

BUDGET = 1500  # each call is two rows of the network
ENDED = re.compile(r"Ended early after ([\d,]+) of ([\d,]+) calls, ([^:]*): (\d+) schedules")


def graph(name: str, **inputs: Any) -> Graph:
    """An optimisation and an image from its schedule."""
    return sampled(optimize_graph("edm", **{"budget": BUDGET, "name": name, **inputs}))


def finish(server: ComfyServer) -> bool:
    """Return what "Finish now" answers."""
    answer: bool = server.post("/ays/finish", {})["finishing"]
    return answer


def begun(server: ComfyServer, prompt: Graph, rows: int, delay: float = 4.0) -> str:
    """Queue a graph with slow calls and wait until the network has computed some rows."""
    server.get("/ays_test/reset")
    server.get(f"/ays_test/delay?ms={delay}")
    prompt_id = server.queue(prompt)
    server.until(lambda: network_rows(server) >= rows)
    return prompt_id


def run(server: ComfyServer, prompt: Graph) -> tuple[dict[str, Any], int]:
    """The history entry of a graph, and the rows that it computed without KSampler's."""
    server.get("/ays_test/reset")
    entry = server.run(prompt)
    return entry, network_rows(server) - 2 * len(server.get("/ays_test/sigmas")) * 5


def named(server: ComfyServer, name: str) -> dict[Path, SavedSchedule]:
    """The saved results of a name."""
    files = [path for path in saved_files(server) if path.suffix == ".safetensors"]
    results = {path: read_saved(path, with_tensors=False) for path in files}
    return {path: result for path, result in results.items() if result.schedule.name == name}


def ending(entry: dict[str, Any]) -> tuple[int, int, str]:
    """Calls made, calls of the budget, and why it ended early."""
    found = ENDED.search(text(entry))
    assert found is not None, text(entry)
    made, budget = (int(number.replace(",", "")) for number in found.groups()[:2])
    return made, budget, found[3]


def test_finish_now_ends_with_the_best_so_far_which_a_later_run_betters(
    server: ComfyServer,
) -> None:
    others = unfinished(server)  # of other tests
    prompt = graph("by-hand")
    with Listener(server._url) as page:
        prompt_id = begun(server, prompt, rows=2000)
        assert finish(server)
        asked = network_rows(server)
        entry = server.wait(prompt_id)
        rows = network_rows(server)
    assert rows < asked + 2 * 350, "a run that goes on, and the smallest comparison"
    made, budget, why = ending(entry)
    assert (2 * made + 2 * 5, budget, why) == (rows, BUDGET, "as you asked")
    (line,) = server.get("/ays_test/sigmas")
    assert line["sigmas"] == shown(entry)
    ((early, result),) = named(server, "by-hand").items()
    assert result.request["ended early"] is True
    assert list(result.schedule.levels) == shown(entry)
    assert "what was measured up to here is not measured again" in text(entry)
    assert set(unfinished(server)) > set(others), "what was measured is kept"
    assert not finish(server), "nothing runs any more"

    # What the page has shown: how far it is, how long it takes, and the best schedule so far.
    assert any(re.search(r"refining schedules: \d+ of 1500 calls", t) for t in page.texts)
    assert any(re.search(r"about \d+ (s|min) left", t) for t in page.texts)
    assert any(t.startswith("finishing with the best so far\n") for t in page.texts)
    assert page.previews
    for preview in page.previews:
        with Image.open(io.BytesIO(preview)) as picture:
            assert picture.format == "PNG"
            assert len(picture.convert("L").getcolors(10_000) or []) > 10, "there is a curve"

    # The same again: from the host's memory, then from the saved result, then it goes on.
    _, rows = run(server, prompt)
    assert rows <= 0
    again, rows = run(server, graph("by-hand", more_steps="5"))
    assert (rows, shown(again)) == (0, shown(entry))
    assert "Ended early" in text(again)
    later, rows = run(server, graph("by-hand", minutes=100.0))
    assert "Continued: " in text(later)
    assert "Ended early" not in text(later)
    whole, every = run(server, graph("by-hand", reuse="measure again"))
    assert shown(later) == shown(whole)
    assert rows < 0.7 * every
    (path,) = named(server, "by-hand")
    assert path != early, "the whole result takes the place of the early one"
    assert set(unfinished(server)) <= set(others)


def test_a_limit_of_minutes_is_for_the_whole_node(server: ComfyServer) -> None:
    inputs = {"seed": 1, "budget": 4000, "minutes": 0.1, "more_steps": "4", "denoise": 0.6}
    server.get("/ays_test/reset")
    server.get("/ays_test/delay?ms=20")
    before = unfinished(server)
    entry = server.run(graph("limited", **inputs))
    calls = server.get("/ays_test/calls")["calls"]
    assert calls < 6.0 / 0.020 + 80, "what 6 seconds take, and the smallest comparisons"
    endings = ENDED.findall(text(entry))
    assert [(budget, why) for _, budget, why, _ in endings] == [
        ("4,000", "at the limit of 0.1 min")
    ] * 2
    assert len(unfinished(server)) > len(before)
    assert len(named(server, "limited")) == 1
    assert len(named(server, "limited, 4 steps")) == 1

    again, rows = run(server, graph("limited", **{**inputs, "minutes": 0.05}))
    assert (rows, shown(again)) == (0, shown(entry))
    more, rows = run(server, graph("limited", **{**inputs, "minutes": 5.0}))
    assert rows > 0
    assert "Ended early" not in text(more)


def test_finish_now_leaves_out_what_was_not_begun(server: ComfyServer) -> None:
    prompt_id = begun(server, graph("first-only", seed=2, more_steps="4, 6", budget=500), rows=300)
    assert finish(server)
    entry = server.wait(prompt_id)
    assert "Not optimised for 4, 6 steps, because you asked to finish." in text(entry)
    ending(entry)
    assert len(named(server, "first-only")) == 1
    assert not named(server, "first-only, 4 steps")


def test_cancel_works_while_it_finishes(server: ComfyServer) -> None:
    before = saved_files(server)
    prompt_id = begun(server, graph("cancelled-too", seed=3), rows=1000, delay=20.0)
    assert finish(server)
    server.interrupt()
    messages = [kind for kind, _ in server.wait(prompt_id)["status"]["messages"]]
    assert "execution_interrupted" in messages
    assert saved_files(server) == before
    assert not finish(server)


def test_finish_now_has_nothing_to_end_while_other_nodes_run(server: ComfyServer) -> None:
    server.get("/ays_test/reset")
    assert server.post("/api/ays/finish", {}) == {"finishing": False}
