"""A script for the host's process: run its samplers and their references, print the distances.

It prints JSON. For every kind of model of PREDICTIONS, with RMS distances a latent element:

    start      the first level of all schedules
    samplers   sampler -> `calls_per_step`, the `reference_order`, and the distances of its runs of
               FEW and MANY steps to its `reference`, and of that of FEW to its `limit`, the
               end point of dpmpp_2m in FINEST steps
    reference  limit sampler -> distance of the reference to that sampler's run of FINEST steps
    masked     as for a sampler: ddim on half of a latent, whose other half is noised afresh
    rows       denoiser rows that a reference of NOISES noises takes
    end        the last level of a schedule after uni_pc was run with it
    strange    for sampler functions that are not the host's: the `reference_order`, the `note`,
               and whether the reference is `itself`, bit for bit
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from align_your_steps.tests.host.in_host import distance, fine_levels, prompt

PREDICTIONS = ("eps", "flow")
FEW, MANY, FINEST, REFERENCE = 10, 100, 400, 32
LIMITS = ("dpmpp_2m", "euler")
NOISES, SIZE, CFG = 4, 8, 3.0


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.tests.host.test_pack.model import build
    from torch import Tensor

    noise = torch.randn(NOISES, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(1, 1, SIZE, SIZE)
    mask[..., : SIZE // 2] = 0.0

    def sample_unknown(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
    ) -> Tensor:
        return model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)

    def sample_euler(*arguments: Any, **options: Any) -> Tensor:
        return sample_unknown(*arguments, **options)

    def answer(prediction: str) -> dict[str, Any]:
        model = build("gaussian mixture", prediction, seed=7, shift=3.0)
        levels = host.noise_levels(model)

        def schedule(steps: int) -> Tensor:
            return fine_levels(levels, steps)

        def guided(name: str, sampler: Any = None, **latent: Tensor) -> host.GuidedModel:
            use = host.latent_use(model, {"samples": torch.zeros(1, 1, SIZE, SIZE), **latent}, 1.0)
            guider = host.make_guider(model, prompt(3), prompt(-1), CFG)
            return host.GuidedModel(guider, levels, use, host.judged_sampler(name, sampler))

        def run(solver: Any, steps: int) -> Tensor:
            end: Tensor = solver(noise, schedule(steps), seed=0)
            return end

        def distances(name: str, limit: Tensor, **latent: Tensor) -> dict[str, float]:
            own = guided(name, **latent)
            reference = run(own.reference(), REFERENCE)
            few, many = (run(own.solver(), steps) for steps in (FEW, MANY))
            return {
                "calls_per_step": own.calls_per_step,
                "reference_order": own.reference().order,
                "few": distance(few, reference),
                "many": distance(many, reference),
                "limit": distance(few, limit),
            }

        def strange(function: Any) -> dict[str, Any]:
            own = guided("", comfy.samplers.KSAMPLER(function))
            ends = run(own.reference(), FEW), run(own.solver(), FEW)
            order = own.reference().order
            return {
                "reference_order": order,
                "note": own.sampler.note,
                "itself": torch.equal(*ends),
            }

        def judged(name: str) -> bool:
            try:
                host.judged_sampler(name)
            except ValueError:
                return False
            return not name.endswith("_cfg_pp")

        limits = {name: run(guided(name).solver(), FINEST) for name in LIMITS}
        euler = guided("euler")
        reference = run(euler.reference(), REFERENCE)
        sigmas = schedule(FEW)
        guided("uni_pc").solver()(noise, sigmas, seed=0)
        limit = limits["dpmpp_2m"]
        return {
            "start": levels.sigma_max,
            "samplers": {n: distances(n, limit) for n in host.sampler_names() if judged(n)},
            "reference": {name: distance(reference, end) for name, end in limits.items()},
            "masked": distances("ddim", limit, noise_mask=mask),
            "rows": euler.meter.rows,
            "end": float(sigmas[-1]),
            "strange": {f.__name__: strange(f) for f in (sample_unknown, sample_euler)},
        }

    with torch.inference_mode():
        print(json.dumps({prediction: answer(prediction) for prediction in PREDICTIONS}))


if __name__ == "__main__":
    main()
