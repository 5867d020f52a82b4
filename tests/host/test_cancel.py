"""Cancelling an optimisation at any moment leaves the host as it was."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from align_your_steps.schedules.store.saved_schedule import read_saved
from align_your_steps.tests.host.graphs import optimize_graph, pair_graph, sampled
from align_your_steps.tests.host.seen import saved_files, shown
from align_your_steps.tests.host.server import ComfyServer, Graph

MOMENTS = 20
DELAY_MS = 2  # of every call: a moment is met as it is meant
STEPS, BUDGET = 2, 200
DENOISE = 0.6  # below 1 no levels are derived for other numbers of steps: seconds less


def graph(name: str, pair: bool = False, **inputs: object) -> Graph:
    """A measurement, made again each time, and an image from its schedule."""
    run = {"steps": STEPS, "denoise": DENOISE}
    settings = {"budget": BUDGET, "reuse": "measure again", "name": name, **run, **inputs}
    if not pair:
        return sampled(optimize_graph(**settings), **run)
    two = {"method": "measured", "second_model": ["second", 0], "boundary_step": 1}
    return sampled(pair_graph(**two, **settings), **run)


def test_cancelling_at_random_moments_leaves_the_host_as_it_was(
    new_server: Callable[..., ComfyServer],
) -> None:
    server = new_server()
    first = server.run(graph("before"))
    calls = server.get("/ays_test/calls")["calls"] - STEPS  # those of the image aside
    files = {file: file.read_bytes() for file in saved_files(server)}
    before = server.get("/ays_test/objects")
    assert before["models"] >= 1, "the model of the prompt is alive"

    moments = random.Random(0)
    interrupted = 0
    for number in range(MOMENTS):
        server.get("/ays_test/reset")
        server.get(f"/ays_test/delay?ms={DELAY_MS}")
        moment = moments.randrange(int(0.9 * calls))  # another seed makes a few calls less
        # Each is another request, and every other one has two models.
        prompt = server.queue(graph("cancelled", pair=number % 2 == 1, seed=number + 1))
        server.until(lambda last=moment: server.get("/ays_test/calls")["calls"] > last)
        server.interrupt()
        messages = [kind for kind, _ in server.wait(prompt)["status"]["messages"]]
        assert "execution_error" not in messages, moment
        interrupted += "execution_interrupted" in messages
    assert interrupted == MOMENTS

    after = server.get("/ays_test/objects")
    assert after["models"] <= before["models"] + 1
    assert after["wrapped"] == before["wrapped"] == 0
    assert after["patchers"] <= before["patchers"] + 2
    assert after["bytes"] < before["bytes"] + 100 * 2**20
    assert not [file for file in saved_files(server) if file.name.endswith(".tmp")]
    for file in saved_files(server):
        if file.suffix == ".safetensors":
            read_saved(file, with_tensors=True)
    assert {file: file.read_bytes() for file in files} == files

    server.get("/ays_test/reset")
    last = server.run(graph("after"))
    assert shown(last) == shown(first)
    assert torch.equal(server.latent(last, "save"), server.latent(first, "save"))
