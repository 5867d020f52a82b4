"""`make overhead-host`: what optimising costs in a real ComfyUI beside the model's own calls.

A test server runs a model whose network waits DELAY ms in every call beside its small arithmetic.
With N network calls in an *Optimize AYS* prompt of time T, and t the time of a call in KSampler on
as many rows, the overhead is T / (N t). t is the difference of two KSampler prompts over the
difference of their calls (Euler's method), measured before and after, so what a prompt costs once
is not in it; T has all of its prompt: identity, plot, saving.

Waiting is no processor time, and the server's processor time does not depend on what else the
machine does. So with p and p' the processor time of the two prompts a call,

    overhead of an idle machine = (DELAY + p) / (DELAY + p')
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..tests.host.get_host import find_host
from ..tests.host.server import ComfyServer, Graph
from .bench import BUDGET
from .record import RESULTS, keep, machine, table

__all__ = ["CASES", "Case", "Spent", "main", "measured", "overheads", "report"]

DELAY = 20.0  # ms
STEPS, SEED = 10, 0
FEW, MANY = 20, 120  # steps of the bare prompts
POLL = 1.0  # s; answering takes the server's processor


@dataclass(frozen=True)
class Case:
    """Case to optimise: elements of a latent are side²."""

    prediction: str
    sampler: str
    cfg: float
    side: int

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.prediction}, {self.sampler}, cfg {self.cfg:g}, {self.side}x{self.side}"


CASES = (
    Case("eps", "dpmpp_2m", 1.0, 64),
    Case("eps", "dpmpp_2m", 3.0, 128),
    Case("flow", "euler", 3.0, 128),
    Case("eps", "dpmpp_2m_sde", 3.0, 128),
)


@dataclass(frozen=True)
class Spent:
    """Network calls and their rows, and seconds of a prompt: on the wall and of the processor."""

    calls: int
    rows: int
    wall: float
    cpu: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(
            self.calls - other.calls,
            self.rows - other.rows,
            self.wall - other.wall,
            self.cpu - other.cpu,
        )


def prompt_graph(case: Case, batch: int) -> Graph:
    """The model, its prompts and an empty latent."""
    model = {"denoiser": "gaussian mixture", "prediction": case.prediction, "seed": 7, "shift": 3.0}
    size = {"width": 8 * case.side, "height": 8 * case.side, "batch_size": batch}
    return {
        "model": {"class_type": "AYSTestModel", "inputs": model},
        "positive": {"class_type": "AYSTestConditioning", "inputs": {"label": 3}},
        "negative": {"class_type": "AYSTestConditioning", "inputs": {"label": -1}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": size},
    }


def optimize_graph(case: Case, budget: int) -> Graph:
    """Optimize AYS, measuring every time."""
    inputs = {
        **_links(case),
        "steps": STEPS,
        "budget": budget,
        "minutes": 0.0,
        "seed": SEED,
        "method": "measured",
        "reuse": "measure again",
        "name": "overhead",
    }
    return {
        **prompt_graph(case, batch=1),
        "optimize": {"class_type": "AYSOptimize", "inputs": inputs},
        "report": {
            "class_type": "AYSTestShowText",
            "inputs": {"text": ["optimize", 2]},
        },
    }


def ksampler_graph(case: Case, batch: int, steps: int, seed: int) -> Graph:
    """KSampler alone, on as many rows; another seed, or the host would not run it again.

    With Euler's method, which adds next to nothing: the Brownian tree of some samplers takes longer
    than a call.
    """
    inputs = {**_links(case), "steps": steps, "seed": seed, "scheduler": "simple"}
    inputs["sampler_name"] = "euler"
    save = {"samples": ["sample", 0], "filename_prefix": "overhead"}
    return {
        **prompt_graph(case, batch),
        "sample": {"class_type": "KSampler", "inputs": inputs},
        "save": {"class_type": "SaveLatent", "inputs": save},
    }


def _links(case: Case) -> dict[str, Any]:
    """The inputs that Optimize AYS and KSampler have in common."""
    return {
        "model": ["model", 0],
        "positive": ["positive", 0],
        "negative": ["negative", 0],
        "latent_image": ["latent", 0],
        "cfg": case.cfg,
        "sampler_name": case.sampler,
        "denoise": 1.0,
    }


def spent(server: ComfyServer, graph: Graph) -> Spent:
    """Run a prompt and say what it took."""
    server.get("/ays_test/reset")
    server.get(f"/ays_test/delay?ms={DELAY}")
    before = server.get("/ays_test/cpu")["seconds"]
    prompt = server.queue(graph)
    while not server.get(f"/history/{prompt}"):
        time.sleep(POLL)
    messages = dict(server.wait(prompt)["status"]["messages"])
    cpu = server.get("/ays_test/cpu")["seconds"] - before
    if "execution_success" not in messages:
        raise RuntimeError(f"The prompt failed: {messages}")
    begun, ended = (messages[f"execution_{k}"]["timestamp"] for k in ("start", "success"))
    calls = server.get("/ays_test/calls")
    return Spent(calls["calls"], calls["rows"], (ended - begun) / 1000.0, cpu)


def measured(case: Case, budget: int, run: Callable[[Graph], Spent]) -> dict[str, Any]:
    """Optimise once to warm up, and again between bare prompts of as many rows a call."""
    warm = run(optimize_graph(case, budget))
    guided = 1 if case.cfg == 1.0 else 2
    batch = max(1, round(warm.rows / warm.calls / guided))

    def bare_calls(seed: int) -> Spent:
        few, many = (run(ksampler_graph(case, batch, steps, seed)) for steps in (FEW, MANY))
        return many - few

    before = bare_calls(seed=0)
    optimised = run(optimize_graph(case, budget))
    bare = [before, bare_calls(seed=1)]
    return {
        "name": case.name,
        "optimised": vars(optimised),
        "bare": [vars(one) for one in bare],
        "batch": batch,
        **overheads(optimised, bare),
    }


def overheads(optimised: Spent, bare: list[Spent]) -> dict[str, float]:
    """Seconds of a bare call, and T / (N t): on the wall, and of an idle machine.

    >>> overheads(Spent(10, 40, 1.1, 0.2), [Spent(100, 400, 10.0, 1.0)])["wall"]
    1.1
    """
    calls = sum(one.calls for one in bare)
    t = sum(one.wall for one in bare) / calls
    p = optimised.cpu / optimised.calls
    p_bare = sum(one.cpu for one in bare) / calls
    delay = DELAY / 1000.0
    return {
        "bare_call": t,
        "bare_cpu": p_bare,
        "wall": round(optimised.wall / (optimised.calls * t), 6),
        "idle": (delay + p) / (delay + p_bare),
    }


def report(measurement: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    here = measurement["machine"]
    changed = " with uncommitted changes" if here["changed"] else ""
    head = ["case", "rows a call", "calls", "bare call, ms", "of it processor, ms"]
    head += ["total, s", "processor outside the calls, s", "overhead", "on an idle machine"]
    rows = []
    for case in measurement["cases"]:
        run = case["optimised"]
        rows.append(
            [
                case["name"],
                str(case["batch"]),
                str(run["calls"]),
                f"{1e3 * case['bare_call']:.2f}",
                f"{1e3 * case['bare_cpu']:.2f}",
                f"{run['wall']:.1f}",
                f"{run['cpu'] - run['calls'] * case['bare_cpu']:.2f}",
                f"{case['wall']:.3f}",
                f"{case['idle']:.3f}",
            ]
        )
    return "\n\n".join([
        "# Overhead of Optimize AYS in ComfyUI",
        f"`{measurement['command']}`, commit {here['commit'][:12]}{changed}, {here['cores']} cores "
        f"({here['processor']}), 1 thread, torch {here['torch']}, ComfyUI {measurement['host']}. "
        f"{STEPS} steps, budget {measurement['budget']}; every network call waits {DELAY:g} ms; "
        f"mean load of the machine's last 15 minutes {measurement['load']:.1f}.",
        "Overhead: time of the Optimize AYS prompt over (network calls × time of a call in "
        "KSampler on as many rows). On an idle machine: the same from the server's processor "
        "times, which other programs hardly change.",
        table(head, rows),
    ]) + "\n"  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    cases = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(find_host(), Path(folder)) as server,
    ):
        version = server.get("/system_stats")["system"]["comfyui_version"]
        for case in CASES:
            cases.append(measured(case, options.budget, lambda graph: spent(server, graph)))
            print(f"{case.name}: {cases[-1]['wall']:.3f}, idle {cases[-1]['idle']:.3f}", flush=True)
    measurement = {
        "machine": machine(),
        "command": f"python -m align_your_steps.benchmarks.host_overhead --budget {options.budget}",
        "host": version,
        "budget": options.budget,
        "load": os.getloadavg()[2],
        "cases": cases,
    }
    keep(options.output, "host_overhead", measurement, report(measurement))


if __name__ == "__main__":
    main()
