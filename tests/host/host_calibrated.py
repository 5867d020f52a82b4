"""A script for the host's process: the sampler `ays_model` beside what was fitted, and dpmpp_2m.

For every kind of model of KINDS it fits a sampler with BUDGET calls for STEPS steps, attaches it,
samples NOISES latents, and prints JSON: `listed`, how often the name is in each of the host's
lists, `last`, their last names, `windows`, the steps that context windows find, and kind -> row:

    told       [what the model was told at every call, what the fit tells it], host's levels
    looked_up  whether every told level is among the sample_sigmas of its call
    end        largest difference to the fit's own run, over the largest element
    textbook   case -> the same between `ays_model` and dpmpp_2m where they should be one
    split      steps before the split -> [error with ays_model, with dpmpp_2m]
    likewise   other uses -> the same
    kept       largest change of what a noise mask keeps
    masked     [error with a fit for the mask, with dpmpp_2m]
    lines      use -> what the log says
    callback   for every step [step, shape of x, shape of the output, steps]
    asked      levels that KSampler gets for ays_model, those fitted; for dpmpp_2m, the plain ones
    part       [error with a fit for denoise 0.5, with dpmpp_2m]

An error is the geometric mean over noises of the RMS distance to a fine run of the same start.
"""

from __future__ import annotations

import importlib
import json
import sys
from inspect import signature
from typing import Any

import torch
from align_your_steps.tests.host.in_host import fine_levels, heard, prompt
from torch import Tensor

KINDS = ("eps", "v", "v to zero SNR", "edm", "flow", "flux")
STEPS, BUDGET, CFG, NOISES, SIZE, FINE = 5, 700, 3.0, 16, 8, 300
SHIFT = 3.0
SPLITS = range(1, STEPS)


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.k_diffusion.sampling
    import comfy.samplers
    from align_your_steps.nodes import host
    from align_your_steps.nodes.results.fitted_sampler import fitted_sampler
    from align_your_steps.optimizer import Result, optimize
    from align_your_steps.schedules import CalibratedSampler, Provenance, Schedule
    from align_your_steps.tests.host.test_pack import latents
    from align_your_steps.tests.host.test_pack.model import build

    lines = heard()
    for _ in range(2):  # a second time adds nothing
        host.register_scheduler()
        host.register_sampler()
    positive, negative = prompt(3), prompt(-1)
    noise = torch.randn(NOISES, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(99))
    image = 0.5 * torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(1, 8 * SIZE, 8 * SIZE)
    mask[..., : 4 * SIZE] = 0.0

    def fit(model: Any, given: dict[str, Any], denoise: float = 1.0) -> tuple[Result, Any, Any]:
        levels = host.noise_levels(model)
        first = host.start_level(levels, STEPS, denoise)
        guided = host.GuidedModel(
            host.make_guider(model, positive, negative, CFG),
            levels,
            host.latent_use(model, given, denoise),
            host.judged_sampler("ays_model"),
        )
        solver = guided.calibration(first)
        result = optimize(
            guided,
            guided.shape,
            sigma_max=first,
            sigma_min=levels.sigma_min,
            steps=STEPS,
            solver=solver,
            candidates=host.host_schedules(levels, STEPS, denoise),
            budget=BUDGET,
            coordinate=levels.coordinate,
            elements=guided.elements,
        )
        assert result.total_calls == guided.meter.rows <= BUDGET
        plain = Schedule(tuple(result.plain.sigmas.tolist()), "it", Provenance("a", "b", "c"))
        measured = host.Measured(denoise, sigma_min=levels.sigma_min, cfg=CFG)
        fitted = fitted_sampler(result, levels)
        return result, solver, host.attach(model, plain, measured, (fitted,))

    def watched(model: Any, calls: list[tuple[float, bool]]) -> Any:
        """The MODEL, noting what it is told, and whether it finds that among the run's levels."""

        def call(apply: Any, options: dict[str, Any]) -> Any:
            told = options["timestep"][0]
            known = options["c"]["transformer_options"]["sample_sigmas"]
            calls.append((float(told), bool((known == told).any())))
            return apply(options["input"], options["timestep"], **options["c"])

        model = model.clone()
        model.set_model_unet_function_wrapper(call)
        return model

    def run(
        model: Any,
        name: str,
        sigmas: Tensor,
        start: Tensor | None = None,
        masked: bool = False,
        added: Tensor | None = None,
        cfg: float = CFG,
        callback: Any = None,
    ) -> Tensor:
        """Like a sampler node of the host: latents and noise in, latents out."""
        guider = host.make_guider(model, positive, negative, cfg)
        end: Tensor = guider.sample(
            noise if added is None else added,
            torch.zeros_like(noise) if start is None else start,
            comfy.samplers.sampler_object(name),
            sigmas.clone(),
            denoise_mask=mask if masked else None,
            callback=callback,
            disable_pbar=True,
            seed=1,
        )
        return end

    def asked(model: Any, name: str, denoise: float = 1.0) -> Tensor:
        chosen = comfy.samplers.KSampler(
            model, STEPS, model.load_device, name, "ays_model", denoise
        )
        sigmas: Tensor = chosen.sigmas
        return sigmas

    def split(model: Any, name: str, at: int, masked: bool = False, start: Any = None) -> Tensor:
        sigmas = asked(model, name)
        left = run(model, name, sigmas[: at + 1], start, masked)
        return run(model, name, sigmas[at:], left, masked, torch.zeros_like(noise))

    def error(x: Tensor, fine: Tensor) -> float:
        return float((x - fine).square().flatten(1).mean(1).sqrt().log().mean().exp())

    def apart(x: Tensor, y: Tensor) -> float:
        return float((x - y).abs().max() / y.abs().max())

    def row(kind: str) -> dict[str, Any]:
        model = build("gaussian mixture", kind, seed=7, shift=SHIFT)
        levels = host.noise_levels(model)
        result, solver, attached = fit(model, {"samples": torch.zeros(1, 1, SIZE, SIZE)})
        sigmas, plain = asked(attached, "ays_model"), asked(attached, "dpmpp_2m")
        whole = fine_levels(levels, FINE)
        fine = run(model, "dpmpp_2m", whole)
        found: dict[str, Any] = {"lines": {}}
        lines.clear()

        def told(use: str) -> None:
            found["lines"][use] = [line for line in lines if "samples" in line]
            lines.clear()

        calls: list[tuple[float, bool]] = []
        back: list[Any] = []

        def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            back.append([step, list(x.shape), list(denoised.shape), total])

        end = run(watched(attached, calls), "ays_model", sigmas, callback=callback)
        told("whole")
        run(attached, "ays_model", sigmas)
        told("again")
        (fitted,) = attached.get_model_object("model_sampling").ays_schedule["samplers"]
        found |= {
            "told": [[level for level, _ in calls], fitted["told"]],
            "looked_up": all(known for _, known in calls),
            "end": apart(end, result.sampler(solver.denoise, solver.begin(noise))),
            "callback": back,
            "asked": [
                sigmas.tolist(),
                fitted["levels"],
                plain.tolist(),
                result.plain.sigmas.tolist(),
            ],
            "split": {
                str(at): [
                    error(split(attached, name, at), fine) for name in ("ays_model", "dpmpp_2m")
                ]
                for at in SPLITS
            },
        }
        told("split")
        others = {
            name: host.host_schedule(levels, name, STEPS, 1.0)
            for name in ("simple", "karras", "beta", "sgm_uniform")
        }
        others = {  # a fit may have kept the levels that it began at
            name: torch.cat([one[:1], 1.01 * one[1:]]) for name, one in others.items()
        }
        found["textbook"] = {
            name: apart(run(attached, "ays_model", one), run(attached, "dpmpp_2m", one))
            for name, one in others.items()
        }
        told("other levels")
        up = others["karras"].flip(0)[1:4]
        found["textbook"]["nothing attached"] = apart(
            run(model, "ays_model", sigmas), run(model, "dpmpp_2m", sigmas)
        )
        told("nothing attached")
        still = torch.zeros_like(noise)
        found["textbook"]["flipped"] = apart(
            run(attached, "ays_model", up, fine, added=still),
            run(attached, "dpmpp_2m", up, fine, added=still),
        )
        lines.clear()
        run(attached, "ays_model", sigmas, cfg=1.5)
        told("other cfg")
        found["textbook"]["mask without a fit"] = apart(
            run(attached, "ays_model", sigmas, image, True),
            run(attached, "dpmpp_2m", sigmas, image, True),
        )
        told("mask without a fit")

        found["likewise"] = {}
        for denoise in (0.3, 0.5):
            ends = []
            for name in ("ays_model", "dpmpp_2m"):
                part = asked(attached, name, denoise)
                below = whole[whole < part[0] * (1 - 1e-4)]
                limit = run(model, "dpmpp_2m", torch.cat([part[:1], below]), fine)
                ends.append(error(run(attached, name, part, fine), limit))
            found["likewise"][f"denoise {denoise:g}"] = ends
        patched = attached.clone()
        patched.add_patches({"diffusion_model.gain": (torch.ones(1),)}, 0.1)
        other = run(patched, "dpmpp_2m", whole)
        found["likewise"]["LoRA"] = [
            error(run(patched, name, asked(patched, name)), other)
            for name in ("ays_model", "dpmpp_2m")
        ]
        found["likewise"]["whole"] = [
            error(end, fine),
            error(run(attached, "dpmpp_2m", plain), fine),
        ]
        lines.clear()
        found |= of_masks(model, whole)
        told("masked")
        found |= of_parts(model, whole, fine)
        return found

    def of_masks(model: Any, whole: Tensor) -> dict[str, Any]:
        given = {"samples": image, "noise_mask": mask}
        _, _, attached = fit(model, given)
        sigmas, start = asked(attached, "ays_model"), image.expand_as(noise)
        limit = run(model, "dpmpp_2m", whole, start, True)
        end = run(attached, "ays_model", sigmas, start, True)
        kept = comfy.sampler_helpers.prepare_mask(mask, noise.shape, "cpu") == 0
        plain = run(attached, "dpmpp_2m", asked(attached, "dpmpp_2m"), start, True)
        free = [x[~kept].reshape(NOISES, -1) for x in (end, plain, limit)]
        ratio = [error(x, free[2]) for x in free[:2]]
        return {
            "kept": float((end - start)[kept].abs().max()),
            "masked": ratio,
        }

    def of_parts(model: Any, whole: Tensor, fine: Tensor) -> dict[str, Any]:
        """A fit for a part of the path, from an image."""
        _, _, attached = fit(model, {"samples": fine[:4]}, 0.5)
        ends = []
        for name in ("ays_model", "dpmpp_2m"):
            part = asked(attached, name, 0.5)
            below = whole[whole < part[0] * (1 - 1e-4)]
            limit = run(model, "dpmpp_2m", torch.cat([part[:1], below]), fine)
            ends.append(error(run(attached, name, part, fine), limit))
        return {"part": ends}

    def steps_of_windows() -> list[int]:
        """The steps that context windows find for themselves, told other levels than x is at."""
        model = build("gaussian mixture", "flow", 7, SHIFT, **latents.KINDS["video"])
        nodes = importlib.import_module("comfy_extras.nodes_context_windows")
        levels = host.noise_levels(model)
        sigmas = host.host_schedule(levels, "beta", STEPS, 1.0).tolist()
        told = tuple(level * (1.0 - 0.02 * i) for i, level in enumerate(sigmas[:-1]))
        rows = tuple((1.0,) if i == 0 else (1.2, -0.2) for i in range(STEPS))
        plain = Schedule(tuple(sigmas), "it", Provenance("a", "b", "c"))
        fitted = (CalibratedSampler(tuple(sigmas), told, rows),)
        attached = host.attach(model, plain, host.Measured(), fitted)
        execute = nodes.ContextWindowsManualNode.execute
        newer = {"freenoise": False} if "freenoise" in signature(execute).parameters else {}
        (attached,) = execute(
            attached, 2, 1, "standard_uniform", 1, False, "pyramid", 2, **newer
        ).result
        found: list[int] = []
        handler = attached.model_options["context_handler"]

        def noted(timestep: Tensor, options: Any) -> None:
            type(handler).set_step(handler, timestep, options)
            found.append(handler._step)

        handler.set_step = noted
        video = torch.randn(1, 3, 5, 4, 4, generator=torch.Generator().manual_seed(1))
        guider = host.make_guider(attached, positive, negative, CFG)
        sampler = comfy.samplers.sampler_object("ays_model")
        end = guider.sample(
            video, torch.zeros_like(video), sampler, asked(attached, "ays_model"), seed=1,
            disable_pbar=True,
        )  # fmt: skip
        assert bool(end.isfinite().all())
        return found

    lists = (
        comfy.samplers.KSAMPLER_NAMES,
        comfy.samplers.SAMPLER_NAMES,
        comfy.samplers.KSampler.SAMPLERS,
    )
    answer: dict[str, Any] = {"listed": [names.count("ays_model") for names in lists]}
    answer["last"] = [names[-1] for names in lists]
    with torch.inference_mode():
        answer["windows"] = steps_of_windows()
        for kind in sys.argv[1:] or KINDS:
            answer[kind] = row(kind)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
