"""A script for the host's process: judge every sampler, by name and as a SAMPLER with options.

`host_judged.py PREDICTION WHICH` prints JSON with a row for each sampler. WHICH is `names` for
those of the drop-down; `objects` for SAMPLERs, those of the host's nodes and some that are not the
host's; or `all` for both, without the optimisation, and `warnings`: what the user is told of
(guider, steps), and `again`: the digests of the options of SAMPLERs made once more. A row is

    refused    why the sampler is refused, in one sentence; nothing else is given then
    name       what the sampler is called
    note       what the report says about it
    options    the digest of its options
    by_distribution   whether it can be judged by the distribution of its samples
    order, reference_order, calls_per_step, spare_level
    asked      network calls that finding these out took
    calls      of a run of STEPS steps, counted by the meter
    errors     distances of runs of STEPS_OF_ORDER steps to the end of the finest
    sigmas     that an optimisation of STEPS steps has found, with its `report` and the `rows` that
               were computed
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from align_your_steps.tests.host.in_host import distance, fine_levels, prompt
from align_your_steps.tests.host.sampler_nodes import node_samplers

STEPS, BUDGET = 4, 300
STEPS_OF_ORDER, FINEST = (16, 32), 256
NOISES, SIZE, CFG = 2, 8, 1.5


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.k_diffusion.sampling
    import comfy.model_patcher
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.nodes.results.report import report_text
    from align_your_steps.nodes.results.summary import summary
    from align_your_steps.optimizer import optimize
    from align_your_steps.tests.host.test_pack.meter import METER
    from align_your_steps.tests.host.test_pack.model import build
    from torch import Tensor

    host.register_sampler()
    noise = torch.randn(NOISES, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    prediction, which = sys.argv[1:]
    model = build("gaussian mixture", prediction, seed=7, shift=3.0)
    levels = host.noise_levels(model)

    def midpoint(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
    ) -> Tensor:
        """Two calls a step, and not the host's."""
        for s, t in itertools.pairwise(sigmas):
            between = (s * t.clamp(min=1e-3)).sqrt()
            D = model(x, s * x.new_ones(len(x)), **extra_args)
            inner = x + (x - D) / s * (between - s)
            D = model(inner, between * x.new_ones(len(x)), **extra_args)
            x = D if t == 0 else x + (inner - D) / between * (t - s)
        return x

    def restless(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
    ) -> Tensor:
        """Fresh noise that no option switches off."""
        for s, t in itertools.pairwise(sigmas):
            D = model(x, s * x.new_ones(len(x)), **extra_args)
            x = D + t * torch.randn_like(x)
        return x

    def sample_other_cfg_pp(*arguments: Any, **options: Any) -> Tensor:
        return midpoint(*arguments, **options)

    def with_hook(extra_args: Any, hook: Any) -> Any:
        options = extra_args.get("model_options", {}).copy()
        after = comfy.model_patcher.set_model_options_post_cfg_function
        return {**extra_args, "model_options": after(options, hook)}

    def sample_with_history(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
    ) -> Tensor:
        """CFG++ with a history, as newer hosts have it under a name that does not say so."""
        seen: dict[str, Any] = {}

        def hook(args: Any) -> Any:
            seen["U"] = args["uncond_denoised"]
            return args["denoised"]

        extra_args = with_hook(extra_args, hook)
        before = None
        for s, t in itertools.pairwise(sigmas):
            D = model(x, s * x.new_ones(len(x)), **extra_args)
            d = (x - seen["U"]) / s
            x = D + t * (d if before is None else 1.1 * d - 0.1 * before)
            before = d
        return x

    def sample_of_guidance(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
    ) -> Tensor:
        """Guidance of its own in place of the host's."""

        def guidance(args: Any) -> Any:
            return args["uncond"] + 0.5 * args["cond_scale"] * (args["cond"] - args["uncond"])

        options = {**extra_args.get("model_options", {}), "sampler_cfg_function": guidance}
        return midpoint(
            model, x, sigmas, {**extra_args, "model_options": options}, callback, disable
        )

    def sample_watching(
        model: Any, x: Tensor, sigmas: Tensor, extra_args: Any, callback: Any, disable: Any
    ) -> Tensor:
        """With a hook that only looks."""
        extra_args = with_hook(extra_args, lambda args: args["denoised"])
        return midpoint(model, x, sigmas, extra_args, callback, disable)

    def around(
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Any,
        callback: Any,
        disable: Any,
        inner: Any,
    ) -> Tensor:
        """As packs wrap another sampler, and change something of its calls."""

        def called(x: Tensor, sigma: Tensor, **given: Any) -> Tensor:
            found: Tensor = model(x, sigma, **given)
            return found

        called.inner_model = model.inner_model  # type: ignore[attr-defined]
        options = inner.extra_options
        end: Tensor = inner.sampler_function(
            called, x, sigmas, extra_args=extra_args, callback=callback, disable=disable, **options
        )
        return end

    def in_the_name_of(name: str, replaced: Any) -> Any:
        """What a pack puts in the place of a sampler of the host, under its name and module."""
        own = getattr(comfy.k_diffusion.sampling, f"sample_{name}")

        @functools.wraps(own)
        def sample(*arguments: Any, **options: Any) -> Tensor:
            end: Tensor = replaced(*arguments, **options)
            return end

        return comfy.samplers.KSAMPLER(sample)

    def wrapped(name: str) -> Any:
        inner = comfy.samplers.sampler_object(name)
        return comfy.samplers.KSAMPLER(around, {"inner": inner})

    class OtherClass(comfy.samplers.Sampler):
        """A SAMPLER that holds another one."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def sample(self, *arguments: Any, **options: Any) -> Tensor:
            end: Tensor = self.inner.sample(*arguments, **options)
            return end

    class OwnClass(comfy.samplers.Sampler):
        """A SAMPLER that is no KSAMPLER: Euler's method."""

        def sample(
            self,
            model_wrap: Any,
            sigmas: Tensor,
            extra_args: Any,
            callback: Any,
            noise: Tensor,
            latent_image: Any = None,
            denoise_mask: Any = None,
            disable_pbar: bool = False,
        ) -> Tensor:
            sampling = model_wrap.inner_model.model_sampling
            x = sampling.noise_scaling(sigmas[0], noise.clone(), latent_image, False)
            for s, t in itertools.pairwise(sigmas):
                D = model_wrap(x, s * x.new_ones(len(x)), **extra_args)
                x = x + (x - D) / s * (t - s)
            return x

    ksampler = comfy.samplers.ksampler
    names = {name: None for name in host.sampler_names()}
    objects = {
        **node_samplers(model),
        "cfg_pp": ksampler("gradient_estimation", {"cfg_pp": True, "ge_gamma": 1.5}),
        "churn": ksampler("heun", {"s_churn": 8.0, "s_noise": 1.003}),
        "midpoint": comfy.samplers.KSAMPLER(midpoint),
        "restless": comfy.samplers.KSAMPLER(restless),
        "other cfg_pp": comfy.samplers.KSAMPLER(sample_other_cfg_pp),
        "class": OwnClass(),
        "history": comfy.samplers.KSAMPLER(sample_with_history),
        "history by class": OtherClass(comfy.samplers.KSAMPLER(sample_with_history)),
        "guidance": comfy.samplers.KSAMPLER(sample_of_guidance),
        "watching": comfy.samplers.KSAMPLER(sample_watching),
        "around dpmpp_2m": wrapped("dpmpp_2m"),
        "around euler_cfg_pp": wrapped("euler_cfg_pp"),
        "around res_multistep_cfg_pp": wrapped("res_multistep_cfg_pp"),
        "around lcm": wrapped("lcm"),
        "around dpm_adaptive": OtherClass(comfy.samplers.sampler_object("dpm_adaptive")),
        "around dpm_fast": OtherClass(comfy.samplers.sampler_object("dpm_fast")),
        "in place of heun": in_the_name_of("heun", midpoint),
        "in place of dpmpp_2m": in_the_name_of("dpmpp_2m", sample_with_history),
    }

    finest: dict[str, Tensor] = {}  # end points: one for all samplers with one limit

    def row(name: str, sampler: Any) -> dict[str, Any]:
        use = host.latent_use(model, {"samples": torch.zeros(1, 1, SIZE, SIZE)}, 1.0)
        guider = host.make_guider(model, prompt(3), prompt(-1), CFG)
        METER.reset()
        try:
            judged = host.judged_sampler(name, sampler)
            own = host.GuidedModel(guider, levels, use, judged)
            solver, reference = own.solver(), own.reference()
        except ValueError as error:
            return {"refused": str(error)}
        asked = METER.calls
        row = {
            "name": judged.name,
            "note": judged.note,
            "options": judged.options,
            "by_distribution": judged.stochastic is not None,
            "order": judged.order,
            "reference_order": judged.reference_order,
            "calls_per_step": solver.calls_per_step,
            "spare_level": judged.spare_level,
            "asked": asked,
        }

        def run(solver: Any, steps: int) -> Tensor:
            own.meter.forget()
            end: Tensor = solver(noise, fine_levels(levels, steps), seed=0)
            return end

        if which == "all":
            run(solver, STEPS)
            row["calls"] = own.meter.calls
            limit = "of all" if judged.reference_order == 3 else name
            if limit not in finest:
                finest[limit] = run(reference, FINEST)
            ends = [run(solver, steps) for steps in STEPS_OF_ORDER]
            row["errors"] = [distance(end, finest[limit]) for end in ends]
            return row
        result = optimize(
            own,
            own.shape,
            sigma_max=levels.sigma_max,
            sigma_min=levels.sigma_min,
            steps=STEPS,
            solver=own.calibration(levels.sigma_max) if judged.is_calibrated else own.judged(),
            candidates=host.host_schedules(levels, STEPS, 1.0, spare_level=judged.spare_level),
            budget=BUDGET,
            coordinate=levels.coordinate,
        )
        return {
            **row,
            "sigmas": result.sigmas.tolist(),
            "report": report_text(result, judged, summary(result, judged)),
            "rows": own.meter.rows,
        }

    def warnings() -> dict[str, str | None]:
        advanced = import_module("comfy_extras.nodes_model_advanced")
        (as_lcm,) = advanced.ModelSamplingDiscrete().patch(model, "lcm", zsnr=False)
        two = import_module("comfy_extras.nodes_custom_sampler").Guider_DualCFG(model)
        two.set_cfg(5.0, 1.0)
        guiders = {
            "cfg 1": host.make_guider(model, prompt(3), prompt(-1), 1.0),
            "cfg 3": host.make_guider(model, prompt(3), prompt(-1), 3.0),
            "two scales": two,
            "unknown": SimpleNamespace(model_patcher=model),
            "LCM": host.make_guider(as_lcm, prompt(3), prompt(-1), 3.0),
        }
        return {
            f"{name}, {steps} steps": host.distilled_warning(guider, steps)
            for name, guider in guiders.items()
            for steps in (8, 9)
        }

    chosen = {"names": names, "objects": objects, "all": names | objects}[which]
    with torch.inference_mode():
        answer = {name: row(name, sampler) for name, sampler in chosen.items()}
        if which == "all":
            answer["warnings"] = warnings()
            answer["again"] = {
                label: host.judged_sampler("", sampler).options
                for label, sampler in node_samplers(model).items()
                if "refused" not in answer[label]
            }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
