"""Prompts for a long run: the digits model is measured, and sampled with what was found.

Ten kinds take turns. Every prompt has a seed of its own, so that the host runs all of it again.
"""

from __future__ import annotations

import random
from typing import Any

from align_your_steps.tests.host.graphs import model_graph, node
from align_your_steps.tests.host.server import ComfyServer, Graph

__all__ = ["KINDS", "PLAIN", "control_graph", "found_graph", "ran_as_expected"]

PLAIN, WHOLE_PATH, SAVED, TROUBLED = "plain", "whole path", "saved", "troubled"
# What each kind asks of Optimize AYS beside COMMON.
KINDS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "guidance": {"cfg": 3.0},
    "euler": {"sampler_name": "euler"},
    "stochastic": {"sampler_name": "dpmpp_2m_sde"},
    "two calls a step": {"sampler_name": "heun", "budget": 200},
    "ancestral, guidance": {"sampler_name": "euler_ancestral", "cfg": 3.0},
    WHOLE_PATH: {},
    "guider": {"cfg": 2.0, "guider": ["guider", 0]},
    SAVED: {},
    TROUBLED: {},
}
COMMON = {"cfg": 1.0, "sampler_name": "dpmpp_2m", "steps": 2, "denoise": 0.6, "budget": 110}
TROUBLES = ("cancelled", "out of memory", "too small a budget")
ENDS = DONE, CANCELLED, FAILED = (
    "execution_success",
    "execution_interrupted",
    "execution_error",
)
SLOWER_MS = 10  # of every call: there is time to meet a moment in the middle
MOMENTS = range(2, 20)  # network calls, of 90 at least


def ran_as_expected(server: ComfyServer, number: int) -> bool:
    """Run the prompt of a number, and tell whether it ended as it should."""
    kind = list(KINDS)[number % len(KINDS)]
    if kind == TROUBLED:
        return _in_trouble(server, number, TROUBLES[number // len(KINDS) % len(TROUBLES)])
    # At a denoise of 1 levels for other numbers of steps are derived, which takes longer than all
    # that is measured here: every third time is enough.
    whole = {"denoise": 1.0} if kind == WHOLE_PATH and number // len(KINDS) % 3 == 0 else {}
    # What the plain prompt of the same round, the first, has found is taken again.
    seed = number - number % len(KINDS) if kind == SAVED else number
    entry = server.wait(server.queue(found_graph(kind, seed, image=number, **whole)))
    if _ended(entry) != DONE:
        return False
    return bool(server.latent(entry, "save").isfinite().all())


def _in_trouble(server: ComfyServer, number: int, trouble: str) -> bool:
    """Run a prompt that is cancelled or fails, and tell whether it ended so and no other way."""
    if trouble == "too small a budget":
        entry = server.wait(server.queue(found_graph(PLAIN, number, image=number, budget=10)))
        return _ended(entry) == FAILED and "Raise the budget" in str(entry["status"])
    moment = random.Random(number).choice(MOMENTS)
    server.get("/ays_test/reset")
    server.get(f"/ays_test/delay?ms={SLOWER_MS}")
    prompt = server.queue(found_graph(PLAIN, number, image=number))
    server.until(lambda: server.get("/ays_test/calls")["calls"] >= moment)
    if trouble == "cancelled":
        server.interrupt()
    else:
        server.get("/ays_test/fits?rows=0")
    entry = server.wait(prompt)
    server.get("/ays_test/reset")
    if trouble == "cancelled":
        return _ended(entry) == CANCELLED
    return _ended(entry) == FAILED and "ran out of memory" in str(entry["status"])


def _ended(entry: dict[str, Any]) -> str:
    """Tell which of the three ends a prompt came to."""
    told = [kind for kind, _ in entry["status"]["messages"]]
    (end,) = [kind for kind in told if kind in ENDS]
    return end


def found_graph(kind: str, seed: int, image: int, **inputs: Any) -> Graph:
    """Levels found with noise of a seed, and an image of another one sampled with them."""
    graph = model_graph("eps", denoiser="digits")
    prompts = {"positive": ["positive", 0], "negative": ["negative", 0]}
    asked = {**COMMON, **KINDS[kind], **inputs}
    if kind == "guider":
        node(graph, "guider", "CFGGuider", model=["model", 0], cfg=asked["cfg"], **prompts)
    settings = {"minutes": 0.0, "method": "measured", "reuse": "saved if equal", "name": ""}
    linked = {"model": ["model", 0], "latent_image": ["latent", 0], **prompts}
    optimize = {**linked, **settings, **asked, "seed": seed}
    graph["optimize"] = {"class_type": "AYSOptimize", "inputs": optimize}
    if kind == "guider":
        node(graph, "noise", "RandomNoise", noise_seed=image)
        node(graph, "sampler", "KSamplerSelect", sampler_name=asked["sampler_name"])
        links = ("noise", "guider", "sampler")
        node(
            graph,
            "sample",
            "SamplerCustomAdvanced",
            sigmas=["optimize", 1],
            latent_image=["latent", 0],
            **{name: [name, 0] for name in links},
        )
        return _saved(graph)
    shared = {name: asked[name] for name in ("cfg", "sampler_name", "steps", "denoise")}
    return _sampled(graph, ["optimize", 0], image, scheduler="ays_model", **shared)


def control_graph(image: int) -> Graph:
    """The host alone: an image of the same model with the host's own schedule."""
    graph = model_graph("eps", denoiser="digits")
    shared = {"cfg": 3.0, "sampler_name": "dpmpp_2m", "steps": 60, "denoise": 1.0}
    return _sampled(graph, ["model", 0], image, scheduler="simple", **shared)


def _sampled(graph: Graph, model: list[Any], image: int, **settings: Any) -> Graph:
    for name in ("positive", "negative"):
        settings[name] = [name, 0]
    node(
        graph, "sample", "KSampler", model=model, latent_image=["latent", 0], seed=image, **settings
    )
    return _saved(graph)


def _saved(graph: Graph) -> Graph:
    node(graph, "save", "SaveLatent", samples=["sample", 0], filename_prefix="long")
    return graph
