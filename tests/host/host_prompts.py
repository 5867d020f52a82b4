"""A script for the host's process: several prompts of one guider.

It prints JSON, for every kind of model of KINDS:

    apart      use -> largest difference between rows run together, each with its own prompt, and
               the same rows run alone by a guider that has this prompt only, over the largest value
    mixed      conditions of a call, at most; uncond is none
    asked      conditions that calls were made with, for every sampler of SAMPLERS
    rows       of a call at most, with alike starts, with several of them, and beside a ControlNet
    result     sampler -> [calls reported, rows counted]
    note       of the guided model
    advanced   inputs of Optimize AYS that newer hosts show when asked for
    carried    options of an encoded text beside a prompt that has more than its text
    ours       number of different prompts of our own
    digests    of guiders: two with the same prompts, one with others, two with one prompt
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from align_your_steps.tests.host.in_host import prompt

KINDS = ("eps", "flow")
SAMPLERS = ("dpmpp_2m", "dpmpp_2m_sde", "ays_model")
LABELS = (3, 0, 5)
STEPS, BUDGET, CFG, SIZE = 5, 700, 3.0, 8
ORDER = (0, 1, 2, 1)  # the prompts of four rows


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.nodes.inputs.prompts import OUR_PROMPTS
    from align_your_steps.nodes.optimize import AYSOptimize
    from align_your_steps.optimizer import optimize
    from align_your_steps.tests.host.test_pack.model import DigitCLIP, build
    from torch import Tensor

    host.register_sampler()
    noise = torch.randn(len(ORDER), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    calls: list[set[int]] = []

    def watched(model: Any) -> Any:
        """The MODEL, noting the labels of every call of its network."""

        def call(apply: Any, options: dict[str, Any]) -> Any:
            labels = options["c"]["c_crossattn"][:, 0]
            calls.append({int(row.argmax()) for row in labels if row.any()})
            return apply(options["input"], options["timestep"], **options["c"])

        model = model.clone()
        model.set_model_unet_function_wrapper(call)
        return model

    def guider(model: Any, *labels: int, **options: Any) -> Any:
        first, *further = map(prompt, labels)
        first[0][1].update(options)
        return host.make_guider(model, first, prompt(-1), CFG, further)

    def guided(guider: Any, sampler: str = "dpmpp_2m", images: int = 0) -> host.GuidedModel:
        model = host.model_of(guider)
        samples = torch.zeros(1, 1, SIZE, SIZE)
        if images:
            samples = torch.randn(images, 1, SIZE, SIZE)
        latent = host.latent_use(model, {"samples": samples}, 0.5 if images else 1.0)
        return host.GuidedModel(
            guider, host.noise_levels(model), latent, host.judged_sampler(sampler)
        )

    def difference(together: Tensor, alone: Tensor) -> float:
        return float((together - alone).abs().max() / alone.abs().max())

    def answer(kind: str) -> dict[str, Any]:
        model = build("gaussian mixture", kind, seed=7, shift=3.0)
        levels = host.noise_levels(model)
        sigmas = host.simple_schedule(levels, STEPS)
        euler = comfy.samplers.sampler_object("dpmpp_2m")
        at = torch.tensor([2.0, 0.5], dtype=torch.float64)
        several = guided(guider(model, *LABELS))

        def uses(one: host.GuidedModel, rows: Tensor) -> dict[str, Tensor]:
            points = ((float(t) * rows, t.expand(len(rows)).float()) for t in at)
            fit = one.calibration(float(sigmas[0])).denoise
            return {
                "sample": one.sample(rows, sigmas, euler, 0),
                "reference": one.reference()(rows, sigmas, 0),
                "walk": torch.cat(one.walk(points, at)),
                "fit": fit(rows, torch.ones(len(rows))),
            }

        with several.conditions.of(ORDER):
            together = uses(several, noise)
        apart: dict[str, float] = {}
        for row, number in enumerate(ORDER):
            alone = uses(guided(guider(model, LABELS[number])), noise[row : row + 1])
            for name, x in alone.items():
                own = together[name][row :: len(ORDER)]
                apart[name] = max(apart.get(name, 0.0), difference(own, x))

        asked, result, note = {}, {}, ""
        for sampler in SAMPLERS:
            calls.clear()
            one = guided(guider(watched(model), *LABELS), sampler)
            fits = one.sampler.is_calibrated
            found = one.fitted(
                lambda rows, made, one=one, fits=fits: optimize(
                    one,
                    one.shape,
                    sigma_max=levels.sigma_max,
                    sigma_min=levels.sigma_min,
                    steps=STEPS,
                    solver=one.calibration(levels.sigma_max) if fits else one.judged(),
                    candidates=host.host_schedules(levels, STEPS, 1.0),
                    budget=BUDGET,
                    coordinate=levels.coordinate,
                )
            )
            asked[sampler] = sorted({label for call in calls for label in call})
            result[sampler] = [found.total_calls, one.meter.rows]
            note = one.note
        return {
            "apart": apart,
            "mixed": max(map(len, calls)),
            "asked": asked,
            "rows": [
                several.batch_size,
                guided(guider(model, *LABELS), images=2).batch_size,
                guided(guider(model, *LABELS, control=None)).batch_size,
            ],
            "result": result,
            "note": note,
            "carried": carried,
            "advanced": [one.id for one in AYSOptimize.define_schema().inputs if one.advanced],
            "ours": len({*OUR_PROMPTS}),
            "digests": [
                host.guidance_digest(one)
                for one in (
                    guider(model, *LABELS),
                    guider(model, *LABELS),
                    guider(model, *LABELS[:-1], 7),
                    guider(model, LABELS[0]),
                    comfy_guider(model),
                )
            ],
        }

    like = prompt(1)
    like[0][1].update(guidance=3.5, width=1024, area=(1, 1, 0, 0), strength=0.5)
    options = host.encoded(DigitCLIP(), ["class 4"], like)[0][0][1]
    carried = {name: value for name, value in options.items() if name != "pooled_output"}
    assert int(options["pooled_output"].argmax()) == 4

    def comfy_guider(model: Any) -> Any:
        """The guider as KSampler makes it."""
        own = comfy.samplers.CFGGuider(model)
        own.set_conds(prompt(LABELS[0]), prompt(-1))
        own.set_cfg(CFG)
        return own

    print(json.dumps({kind: answer(kind) for kind in KINDS}))


if __name__ == "__main__":
    main()
