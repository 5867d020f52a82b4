"""A script for the host's process: what the sampler `ays_model` gains, and what it costs.

`host_gain.py BUDGET` prints JSON: `cells`, one for every kind of model, seed, negative and number
of steps, and `cost`, a run beside one with dpmpp_2m. A cell's figures are the mean and the
geometric mean over seeds of RMS distances to a fine run: `ours` with the name chosen twice in
KSampler, `best` of the pairs in hindsight, each by its own figure; `pair` is the best by the first.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from itertools import product
from typing import Any

import torch
from align_your_steps.tests.host.in_host import fine_levels, prompt
from torch import Tensor

KINDS = ("eps", "v", "v to zero SNR", "edm", "flow", "flux")
SEEDS = (7, 8)  # of mixtures
NEGATIVES = {"no class": -1, "another class": 6}
STEPS = (5, 8)
SIZE, CFG, NOISES, FINE, SHIFT = 16, 3.0, 100, 200, 3.0
# Of one call a step, without fresh noise.
PEERS = (
    "euler", "lms", "dpmpp_2m", "ipndm", "ipndm_v", "deis", "res_multistep", "gradient_estimation",
    "uni_pc", "uni_pc_bh2",
)  # fmt: skip
RUNS, LARGE = 20, 96  # to be timed: how many, on latents of which size


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.sample
    import comfy.samplers
    from align_your_steps.nodes import host
    from align_your_steps.nodes.inputs.candidates import given_schedules
    from align_your_steps.nodes.inputs.guidance import guided_model
    from align_your_steps.nodes.inputs.request import Request
    from align_your_steps.nodes.inputs.task import Task
    from align_your_steps.nodes.results.measure import measured
    from align_your_steps.tests.host.test_pack.meter import METER
    from align_your_steps.tests.host.test_pack.model import build

    host.register_scheduler()
    host.register_sampler()
    budget = int(sys.argv[1])
    positive = prompt(3)
    noise = torch.randn(NOISES, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(12345))
    empty = torch.zeros_like(noise)

    def optimised(model: Any, negative: Any, steps: int) -> Any:
        """The MODEL as Optimize AYS hands it on, and the calls spent."""
        guided = guided_model(
            host.make_guider(model, positive, negative, CFG),
            host.judged_sampler("ays_model"),
            {"samples": torch.zeros(1, 1, SIZE, SIZE)},
            steps,
            1.0,
        )
        request = Request.of(
            guided, steps=steps, denoise=1.0, method="measured", budget=budget, seed=0
        )
        with host.Progress(None, budget) as progress:
            progress.part(0)
            saved = measured(Task(guided, request), progress, None)
        about = host.Measured(sigma_min=guided.levels.sigma_min, cfg=CFG)
        spent = sum(saved.notes["calls"].values())
        return host.attach(model, saved.schedule, about, saved.samplers), spent

    def figures(errors: Tensor) -> dict[str, float]:
        return {"mean": float(errors.mean()), "typical": float(errors.log().mean().exp())}

    def cell(kind: str, seed: int, negative: str, steps: int) -> dict[str, Any]:
        model = build("gaussian mixture", kind, seed=seed, shift=SHIFT)
        levels, without = host.noise_levels(model), prompt(NEGATIVES[negative])

        def ends(name: str, sigmas: Tensor) -> Tensor:
            sampler = comfy.samplers.sampler_object(name)
            end: Tensor = comfy.sample.sample_custom(
                model, noise, CFG, sampler, sigmas.clone(), positive, without, empty, seed=1,
                disable_pbar=True,
            )  # fmt: skip
            return end

        fine = ends("res_multistep", fine_levels(levels, FINE))

        def errors(x: Tensor) -> Tensor:
            return (x - fine).square().flatten(1).mean(1).sqrt()

        attached, spent = optimised(model, without, steps)
        ours = errors(comfy.sample.sample(
            attached, noise, steps, CFG, "ays_model", "ays_model", positive, without, empty,
            seed=1, disable_pbar=True,
        ))  # fmt: skip
        pairs = {}
        for name in PEERS:
            spare = name in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
            for curve, sigmas in given_schedules(levels, steps, 1.0, spare).items():
                starts = abs(float(sigmas[0]) / levels.sigma_max - 1.0) < 1e-3
                if len(sigmas) == steps + 1 and starts and bool((sigmas.diff() < 0).all()):
                    pairs[f"{name} {curve}"] = errors(ends(name, sigmas))
        pairs = {name: one for name, one in pairs.items() if bool(one.isfinite().all())}
        pair = min(pairs, key=lambda name: float(pairs[name].mean()))
        each = [figures(one) for one in pairs.values()]
        return {
            "kind": kind,
            "seed": seed,
            "negative": negative,
            "steps": steps,
            "calls": spent,
            "ours": figures(ours),
            "best": {figure: min(one[figure] for one in each) for figure in each[0]},
            "pair": pair,
            "pairs": len(pairs),
            "nearer": float((ours < pairs[pair]).float().mean()),
        }

    def cost() -> dict[str, Any]:
        model, steps = build("gaussian mixture", "eps", seed=7, shift=SHIFT), STEPS[-1]
        without = prompt(-1)
        attached, _ = optimised(model, without, steps)
        large = torch.randn(1, 1, LARGE, LARGE, generator=torch.Generator().manual_seed(1))
        times: dict[str, list[float]] = {"ays_model": [], "dpmpp_2m": []}
        calls = {}
        for _ in range(RUNS):
            for name, took in times.items():
                METER.reset()
                began = time.perf_counter()
                comfy.sample.sample(
                    attached, large, steps, CFG, name, "ays_model", positive, without,
                    torch.zeros_like(large), seed=1, disable_pbar=True,
                )  # fmt: skip
                took.append(time.perf_counter() - began)
                calls[name] = METER.calls
        least = [min(took) for took in times.values()]
        return {
            "steps": steps,
            "runs": RUNS,
            "calls": list(calls.values()),
            "time": least[0] / least[1],
        }

    with torch.inference_mode():
        cells = [cell(*one) for one in product(KINDS, SEEDS, NEGATIVES, STEPS)]
        about = {"cells": cells, "cost": cost(), "cfg": CFG, "noises": NOISES, "budget": budget}
    print(json.dumps(about))


if __name__ == "__main__":
    main()
