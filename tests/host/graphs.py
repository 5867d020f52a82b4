"""Graphs of our nodes as a test queues them: optimised, sampled, compared, plotted, merged."""

from __future__ import annotations

import json
from typing import Any

from align_your_steps.tests.host.server import Graph

AYS = "ays_model"  # the name of sampler and scheduler
PREDICTIONS = ["eps", "v", "edm", "flow"]
STEPS = 5
COMPARED_STEPS = 6
NAMES = "simple, normal, karras, beta"
BUDGET = 400
FITTED_BUDGET, LATENT_BUDGET = 500, 200


def model_graph(prediction: str, shift: float = 1.0, denoiser: str = "gaussian mixture") -> Graph:
    """A model, a class label, no label, and an empty latent of 8 × 8."""
    settings = {"denoiser": denoiser, "prediction": prediction, "seed": 7, "shift": shift}
    return {
        "model": {"class_type": "AYSTestModel", "inputs": settings},
        "positive": {"class_type": "AYSTestConditioning", "inputs": {"label": 3}},
        "negative": {"class_type": "AYSTestConditioning", "inputs": {"label": -1}},
        "latent": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1},
        },
    }


def ksampler_graph(prediction: str, **settings: Any) -> Graph:
    """The usual way to sample."""
    graph = model_graph(prediction, **settings)
    inputs = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": ["latent", 0],
        "seed": 5,
        "steps": 20,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
    }
    graph["sample"] = {"class_type": "KSampler", "inputs": inputs}
    graph["save"] = {
        "class_type": "SaveLatent",
        "inputs": {"samples": ["sample", 0], "filename_prefix": "harness"},
    }
    return graph


def optimize_graph(prediction: str = "eps", model: Graph | None = None, **inputs: Any) -> Graph:
    """Optimize AYS for a model, its levels and its report shown."""
    graph = model or model_graph(prediction, denoiser="gaussian mixture")
    settings = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "cfg": 3.0,
        "sampler_name": "dpmpp_2m",
        "steps": STEPS,
        "denoise": 1.0,
        "latent_image": ["latent", 0],
        "budget": BUDGET,
        "minutes": 0.0,
        "seed": 0,
        "method": "measured",
        "reuse": "saved if equal",
        "name": "",
        **inputs,
    }
    optimize = {name: value for name, value in settings.items() if value is not None}
    return {
        **graph,
        "optimize": {"class_type": "AYSOptimize", "inputs": optimize},
        "sigmas": {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["optimize", 1]}},
        "report": {"class_type": "AYSTestShowText", "inputs": {"text": ["optimize", 2]}},
    }


def sampled(graph: Graph, model: tuple[str, int] = ("optimize", 0), **inputs: Any) -> Graph:
    """The same graph with a KSampler that uses the attached schedule, recorded and saved."""
    settings = {
        "model": ["recorded", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": ["latent", 0],
        "seed": 5,
        "steps": STEPS,
        "cfg": 3.0,
        "sampler_name": "dpmpp_2m",
        "scheduler": "ays_model",
        "denoise": 1.0,
        **inputs,
    }
    recorded = {"model": list(model), "label": "ksampler"}
    save = {"samples": ["sample", 0], "filename_prefix": "nodes"}
    return {
        **graph,
        "recorded": {"class_type": "AYSTestRecord", "inputs": recorded},
        "sample": {"class_type": "KSampler", "inputs": settings},
        "save": {"class_type": "SaveLatent", "inputs": save},
    }


def scheduler_graph(prediction: str = "eps", **inputs: Any) -> Graph:
    """AYS Scheduler for a model, its levels shown."""
    settings = {
        "model": ["model", 0],
        "schedule": "auto",
        "steps": 10,
        "denoise": 1.0,
        "denoise_mode": "keep steps",
        **inputs,
    }
    return {
        **model_graph(prediction),
        "scheduler": {"class_type": "AYSScheduler", "inputs": settings},
        "sigmas": {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["scheduler", 0]}},
    }


def compare_graph(base: Graph | None = None, **inputs: Any) -> Graph:
    """Compare Schedules for a model; what it gives is shown."""
    settings = {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "cfg": 2.0,
        "sampler_name": "dpmpp_2m",
        "steps": COMPARED_STEPS,
        "denoise": 1.0,
        "latent_image": ["latent", 0],
        "schedules": NAMES,
        "noises": 4,
        "seed": 5,
        **inputs,
    }
    compare = {name: value for name, value in settings.items() if value is not None}
    return {
        **(base or model_graph("eps", denoiser="digits")),
        "compare": {"class_type": "AYSCompare", "inputs": compare},
        "sigmas": {"class_type": "AYSTestShowSigmas", "inputs": {"sigmas": ["compare", 0]}},
        "report": {"class_type": "AYSTestShowText", "inputs": {"text": ["compare", 1]}},
    }


def node(graph: Graph, name: str, class_type: str, **inputs: Any) -> list[Any]:
    """Add a node; return its first output."""
    graph[name] = {"class_type": class_type, "inputs": inputs}
    return [name, 0]


def two_samplers(
    graph: Graph, first: list[Any], second: list[Any], switch: int, **inputs: Any
) -> Graph:
    """The graph with two KSamplerAdvanced: the second model goes on where the first one stops."""
    settings = {
        "noise_seed": 5,
        "steps": STEPS,
        "cfg": 3.0,
        "sampler_name": "dpmpp_2m",
        "scheduler": "ays_model",
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        **inputs,
    }
    graph = dict(graph)
    halves = {
        "high": (first, ["latent", 0], 0, switch),
        "low": (second, ["sample high", 0], switch, 10000),
    }
    for label, (model, latent, start, end) in halves.items():
        noisy = label == "high"
        node(
            graph,
            f"sample {label}",
            "KSamplerAdvanced",
            model=node(graph, f"record {label}", "AYSTestRecord", model=model, label=label),
            latent_image=latent,
            start_at_step=start,
            end_at_step=end,
            add_noise="enable" if noisy else "disable",
            return_with_leftover_noise="enable" if noisy else "disable",
            **settings,
        )
    node(graph, "save", "SaveLatent", samples=["sample low", 0], filename_prefix="graphs")
    return graph


def pair_graph(prediction: str = "eps", **inputs: Any) -> Graph:
    """Optimize AYS for a model and for another of larger data that goes on after it.

    By the paper's method, the quicker one: host_pair.py tests the other.
    """
    graph = optimize_graph(prediction, **{"method": "paper (KLUB)", "budget": 600, **inputs})
    node(graph, "second", "AYSTestPatch", model=["model", 0], strength=0.3)
    return graph


def merge_graph(results: str, base: Graph | None = None, **inputs: Any) -> Graph:
    """Merge AYS Profiles, its report shown."""
    merge = {"results": results, "name": "", "same_prompts": False, **inputs}
    return {
        **(base or {}),
        "merge": {"class_type": "AYSMergeProfiles", "inputs": merge},
        "merged": {"class_type": "AYSTestShowText", "inputs": {"text": ["merge", 1]}},
    }


def plot_graph(*levels: str, **inputs: Any) -> Graph:
    """Plot Sigmas of levels typed in; an empty text leaves its input unlinked."""
    sources = {
        f"levels {number}": {"class_type": "AYSTestSigmas", "inputs": {"levels": text}}
        for number, text in enumerate(levels, start=1)
        if text
    }
    links = {f"sigmas.sigmas_{name.split()[1]}": [name, 0] for name in sources}
    return {**sources, "plot": {"class_type": "AYSPlot", "inputs": {**links, **inputs}}}


def latent_graph(latents: str, prediction: str, shapes: Any, seed: int = 0, **inputs: Any) -> Graph:
    """Optimize AYS and KSampler on a latent, whose shape is shown."""
    graph = sampled(optimize_graph(prediction, **inputs), denoise=inputs.get("denoise", 1.0))
    graph["optimize"]["inputs"]["budget"] = LATENT_BUDGET
    settings = {"latents": latents, "prediction": prediction}
    graph["model"] = {"class_type": "AYSTestLatentModel", "inputs": settings}
    given = {"shapes": json.dumps(shapes), "seed": seed}
    graph["latent"] = {"class_type": "AYSTestLatent", "inputs": given}
    graph["save"] = {"class_type": "AYSTestShowLatent", "inputs": {"samples": ["sample", 0]}}
    return graph


def fitted_graph(prediction: str = "eps", **inputs: Any) -> Graph:
    """Optimize AYS with the sampler that is fitted."""
    return optimize_graph(prediction, **{"sampler_name": AYS, "budget": FITTED_BUDGET, **inputs})


def twice(graph: Graph, **inputs: Any) -> Graph:
    """The same with a KSampler in which the name is chosen twice."""
    return sampled(graph, **{"sampler_name": AYS, **inputs})
