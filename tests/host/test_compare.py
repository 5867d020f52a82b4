"""Schedules ranked in a real server, as a script that knows nothing of our nodes ranks them."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from align_your_steps.tests.host.server import ComfyServer, Graph, PromptError
from align_your_steps.tests.host.test_host import model_graph
from align_your_steps.tests.host.test_nodes import network_rows, optimize_graph

STEPS = 6
NAMES = "simple, normal, karras, beta"
ROW = re.compile(r"^ *(\d+)  (.+?)  +(\d+) +(\d+) +(\S+) +(\S+)   (.+)$")


def compare_graph(model: Graph | None = None, **inputs: Any) -> Graph:
    """Compare Schedules for a model; what it gives is shown or saved."""
    settings = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "cfg": 2.0,
        "sampler_name": "dpmpp_2m",
        "steps": STEPS,
        "denoise": 1.0,
        "latent_image": ["latent", 0],
        "schedules": NAMES,
        "noises": 4,
        "seed": 5,
        **inputs,
    }
    compare = {name: value for name, value in settings.items() if value is not None}
    return {
        **(model or model_graph("eps", denoiser="digits")),
        "compare": {"class_type": "AYSCompare", "inputs": compare},
        "sigmas": {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["compare", 0]}},
        "report": {"class_type": "AYSTestShowText", "inputs": {"text": ["compare", 1]}},
    }


def report(entry: dict[str, Any]) -> str:
    """The report of a run."""
    (text,) = entry["outputs"]["report"]["text"]
    return str(text)


def table(entry: dict[str, Any]) -> dict[str, float]:
    """The ranked errors by name."""
    found = [ROW.match(line) for line in report(entry).splitlines()]
    rows = [row.groups() for row in found if row]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    return {row[1].strip(): float(row[4]) for row in rows}


def scheduled(name: str, steps: int = STEPS, denoise: float = 1.0) -> dict[str, Any]:
    """The host's own node for a scheduler's levels."""
    inputs = {"model": ["model", 0], "scheduler": name, "steps": steps, "denoise": denoise}
    return {"class_type": "BasicScheduler", "inputs": inputs}


def image_graph(scheduler: str, seed: int) -> Graph:
    """KSampler with one of the schedulers."""
    settings = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": ["latent", 0],
        "seed": seed,
        "steps": STEPS,
        "cfg": 2.0,
        "sampler_name": "dpmpp_2m",
        "scheduler": scheduler,
        "denoise": 1.0,
    }
    save = {"samples": ["sample", 0], "filename_prefix": "compared"}
    return {
        **model_graph("eps", denoiser="digits"),
        "sample": {"class_type": "KSampler", "inputs": settings},
        "save": {"class_type": "SaveLatent", "inputs": save},
    }


def test_default(server: ComfyServer) -> None:
    print(report(server.run(compare_graph(schedules="auto, simple, normal, karras, beta, kl_optimal, ddim_uniform, sd1.5, ays_model"))))
    print(server.log[-3000:])
    assert 0
