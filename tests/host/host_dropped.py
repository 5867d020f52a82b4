"""A script for the host's process: what is sampled of an attached schedule, whoever asks for it.

It prints JSON, for every number of steps and every way to ask: the levels that the sampler gets,
and `right`, those of the schedule for that number. The schedule has levels for 8 and for 10 steps.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

STEPS = (1, 2, 5, 7, 8, 9, 10, 16)
WAYS = (
    "KSampler euler",
    "KSampler dpmpp_2m",
    "KSampler uni_pc",
    "KSampler uni_pc_bh2",
    "KSampler dpm_2",
    "KSampler dpm_2_ancestral",
    "BasicScheduler",
    "a pack's copy, uni_pc",
    "a pack's copy, euler",
    "a pack's KSampler, dpm_2",
)
HALF = ("KSampler euler", "KSampler uni_pc", "KSampler dpm_2")


def main() -> None:
    """Ask in every way and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.schedules import Provenance, Schedule, at_steps
    from align_your_steps.tests.host.test_pack.model import build
    from comfy_extras import nodes_custom_sampler

    host.register_scheduler()
    model = build("gaussian mixture", "eps", seed=7, shift=1.0)
    levels = host.noise_levels(model)

    def bent(steps: int) -> tuple[float, ...]:
        points = torch.linspace(0, 1, steps + 1).double() ** 1.2
        sigmas = levels.sigma_max * (levels.sigma_min / levels.sigma_max) ** points
        return (*sigmas[:-1].tolist(), 0.0)

    schedule = Schedule(bent(8), "u8", Provenance("me", "it", "now"), (bent(10),))
    attached = host.attach(model, schedule, host.Measured())
    sampling = attached.get_model_object("model_sampling")
    scheduler = host.SCHEDULER_NAME

    class PacksOwn(comfy.samplers.KSampler):
        """As packs extend it."""

    def copied(sampler: str, steps: int) -> torch.Tensor:
        """As packs write the host's lines again."""
        discard_penultimate_sigma = sampler in ("dpm_2", "uni_pc")
        sigmas = comfy.samplers.calculate_sigmas(
            sampling, scheduler, steps + discard_penultimate_sigma
        )
        return torch.cat([sigmas[:-2], sigmas[-1:]]) if discard_penultimate_sigma else sigmas

    def ask(way: str, steps: int, denoise: float = 1.0) -> list[float]:
        kind, _, sampler = way.rpartition(" ")
        if way == "BasicScheduler":
            node: Any = nodes_custom_sampler.BasicScheduler
            call = getattr(node, "execute", None) or getattr(node(), node.FUNCTION)
            output = call(attached, scheduler, steps, denoise)
            sigmas = output[0] if isinstance(output, tuple) else output.result[0]
        elif "copy" in kind:
            sigmas = copied(sampler, steps)
        else:
            cls = PacksOwn if "pack" in kind else comfy.samplers.KSampler
            sigmas = cls(attached, steps, attached.load_device, sampler, scheduler, denoise).sigmas
        found: list[float] = sigmas.tolist()
        return found

    def right(steps: int) -> list[float]:
        sigmas = at_steps(schedule, steps, sigma_min=levels.sigma_min, quiet=True)
        return torch.tensor(sigmas).tolist()

    answer = {
        str(steps): {"right": right(steps), **{way: ask(way, steps) for way in WAYS}}
        for steps in STEPS
    }
    half = {
        str(steps): {
            "right": right(2 * steps)[-(steps + 1) :],
            **{way: ask(way, steps, 0.5) for way in (*HALF, "BasicScheduler")},
        }
        for steps in STEPS
    }
    print(json.dumps({"whole": answer, "half": half}))


if __name__ == "__main__":
    main()
