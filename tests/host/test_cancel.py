"""Cancelling an optimisation at any moment leaves the host as it was."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from align_your_steps.schedules.saved import read_saved
from align_your_steps.tests.host.server import ComfyServer, Graph
from align_your_steps.tests.host.test_nodes import (
    optimize_graph,
    sampled,
    saved_files,
    shown,
)

MOMENTS = 20
DELAY_MS = 2  # of every call: a moment is met as it is meant
STEPS, BUDGET = 2, 200


def graph(name: str) -> Graph:
    """A measurement, made again each time, and an image from its schedule."""
    measured = optimize_graph(steps=STEPS, budget=BUDGET, reuse="measure again", name=name)
    return sampled(measured, steps=STEPS)


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
    for _ in range(MOMENTS):
        server.get("/ays_test/reset")
        server.get(f"/ays_test/delay?ms={DELAY_MS}")
        moment = moments.randrange(calls)
        prompt_id = server.queue(graph("cancelled"))
        server.until(lambda after=moment: server.get("/ays_test/calls")["calls"] > after)
        server.interrupt()
        messages = [kind for kind, _ in server.wait(prompt_id)["status"]["messages"]]
        assert "execution_error" not in messages, moment
        interrupted += "execution_interrupted" in messages
    assert interrupted >= 0.9 * MOMENTS, "only behind the last calls it may be too late"

    after = server.get("/ays_test/objects")
    assert after["models"] <= before["models"] + 1
    assert after["wrapped"] == before["wrapped"] == 0
    assert after["patchers"] <= before["patchers"] + 2
    assert after["bytes"] < before["bytes"] + 100 * 2**20
    for file in saved_files(server):
        assert file.suffix == ".safetensors"
        read_saved(file, with_tensors=True)
    assert {file: file.read_bytes() for file in files} == files

    server.get("/ays_test/reset")
    last = server.run(graph("after"))
    assert shown(last) == shown(first)
    assert torch.equal(server.latent(last, "save"), server.latent(first, "save"))
