"""A script for the host's process: two models that share a sampling run.

It prints JSON. For every kind of model of PREDICTIONS, for a first model and a second one whose
data is larger, with the boundary at a step of 'simple':

    ksampler    sampler -> steps on the first model -> whether a run of the pair is, bit for bit,
                that of KSampler with the steps before and after on a model each
    answers     RMS distance of the pair's D from that of the model that should answer, at levels
                above the boundary, at it and below
    otherwise   the same from the other model
    reference   RMS distance of the reference of FINE steps to one of many more, and of a run of
                STEPS steps of a judged sampler
    result      of an optimisation: `sigmas`, `rows` computed by both models, `calls` reported, and
                `errors` of the result and of the host's schedules on fresh noise; `fitted`, the
                error of a fitted sampler in two KSamplerAdvanced, and `fit apart`, how far that is
                from the fit's own run
    untouched   whether the models carry no wrapper and their weights are as before
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from align_your_steps.tests.host.in_host import distance, fine_levels, prompt

PREDICTIONS = ("eps", "flow")
SAMPLERS = ("euler", "dpmpp_2m", "heun", "dpm_2", "uni_pc")
STEPS, BOUNDARY_STEP, FINE, BUDGET = 6, 3, 32, 1500
NOISES, SIZE, CFG = 4, 8, 2.0


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.nodes.results.fitted_sampler import fitted_sampler
    from align_your_steps.optimizer import optimize
    from align_your_steps.schedules import Provenance, Schedule
    from align_your_steps.tests.host.test_pack.meter import METER
    from align_your_steps.tests.host.test_pack.model import build
    from torch import Tensor

    host.register_sampler()
    shape = 1, SIZE, SIZE
    noise = torch.randn(NOISES, *shape, generator=torch.Generator().manual_seed(1))
    positive, negative = prompt(3), prompt(-1)

    def answer(prediction: str) -> dict[str, Any]:
        first = build("gaussian mixture", prediction, seed=7, shift=3.0)
        second = build("gaussian mixture", prediction, seed=7, shift=3.0).clone()
        second.add_patches({"diffusion_model.gain": (torch.ones(1),)}, 0.3)
        own = host.noise_levels(first)
        boundary = host.boundary_level(own, STEPS, 1.0, BOUNDARY_STEP)
        levels = host.pair_levels(own, second, boundary)
        use = host.latent_use(first, {"samples": torch.zeros(1, *shape)}, 1.0)

        def guider(model: Any) -> Any:
            return host.make_guider(model, positive, negative, CFG)

        def pair(name: str) -> host.GuidedPair:
            judged = host.judged_sampler(name)
            return host.GuidedPair(guider(first), guider(second), boundary, levels, use, judged)

        def part(model: Any, name: str, latent: Tensor, sigmas: Tensor, **settings: Any) -> Tensor:
            """What KSamplerAdvanced does on a part of the steps; with noise at step 0 only."""
            sampler = comfy.samplers.KSampler(
                model, len(sigmas) - 1, model.load_device, name, "simple", 1.0, model.model_options
            )
            fresh = noise if settings["start_step"] == 0 else torch.zeros_like(noise)
            samples: Tensor = sampler.sample(
                fresh.clone(), positive, negative, CFG, latent, sigmas=sigmas.clone(),
                force_full_denoise=False, disable_pbar=True, seed=0, **settings,
            )  # fmt: skip
            return samples

        def as_ksampler(name: str) -> dict[int, bool]:
            sigmas = host.simple_schedule(own, STEPS)
            same = {}
            for shift in range(-2, 3):  # the boundary comes after another step
                moved = sigmas.clone()
                moved[1:-1] *= (sigmas[BOUNDARY_STEP] / sigmas[BOUNDARY_STEP + shift]).clamp(
                    max=0.99 * sigmas[0] / sigmas[1]
                )
                count = host.steps_of_the_first(moved.tolist(), boundary)
                left = part(
                    first, name, torch.zeros_like(noise), moved, start_step=0, last_step=count
                )
                end = part(second, name, left, moved, start_step=count, last_step=10000)
                same[count] = torch.equal(pair(name).solver()(noise, moved, seed=0), end)
            return same

        def fit(two: host.GuidedPair, levels: host.NoiseLevels, boundary: float) -> Any:
            """The end of two KSamplerAdvanced, and how far it is from the fit's own run."""
            solver = two.calibration(levels.sigma_max)
            result = optimize(
                two,
                two.shape,
                sigma_max=levels.sigma_max,
                sigma_min=levels.sigma_min,
                steps=STEPS,
                solver=solver,
                candidates=host.host_schedules(levels, STEPS, 1.0),
                budget=BUDGET,
                coordinate=levels.coordinate,
            )
            plain = Schedule(tuple(result.plain.sigmas.tolist()), "it", Provenance("a", "b", "c"))
            samplers = (fitted_sampler(result, levels),)
            models = (host.attach(m, plain, None, samplers) for m in (first, second))
            sigmas, (high, low) = result.sigmas, models
            count = host.steps_of_the_first(sigmas.tolist(), boundary)
            start = torch.zeros_like(noise)
            left = part(high, "ays_model", start, sigmas, start_step=0, last_step=count)
            end = part(low, "ays_model", left, sigmas, start_step=count, last_step=10000)
            own_run = result.sampler(solver.denoise, solver.begin(noise))
            return end, distance(end, own_run)

        def single(model: Any) -> host.GuidedModel:
            return host.GuidedModel(guider(model), own, use, host.judged_sampler("euler"))

        both = pair("dpmpp_2m")
        around = [2.0 * boundary if prediction == "eps" else (1 + boundary) / 2, boundary]
        around.append(boundary / 2)
        answers, otherwise = [], []
        for k, level in enumerate(around):
            t = torch.from_numpy(own.coordinate.edm(torch.tensor([level]).double().numpy()))
            x = t.float() * noise
            D = both(x, t.expand(NOISES))
            mine, other = (first, second) if k == 0 else (second, first)
            answers.append(distance(D, single(mine)(x, t.expand(NOISES))))
            otherwise.append(distance(D, single(other)(x, t.expand(NOISES))))

        reference = both.reference()
        limit = reference(noise, fine_levels(levels, 16 * FINE), seed=0)
        few = both.solver()(noise, fine_levels(levels, STEPS), seed=0)
        METER.reset()
        optimised = pair("dpmpp_2m")
        result = optimize(
            optimised,
            optimised.shape,
            sigma_max=levels.sigma_max,
            sigma_min=levels.sigma_min,
            steps=STEPS,
            solver=optimised.judged(),
            candidates=host.host_schedules(levels, STEPS, 1.0),
            budget=BUDGET,
            coordinate=levels.coordinate,
        )
        rows = METER.rows
        fitted, apart = fit(pair("ays_model"), levels, boundary)
        solver, models = both.solver(), (first, second)
        schedules = {"optimised": result.sigmas, **host.host_schedules(levels, STEPS, 1.0)}
        return {
            "ksampler": {name: as_ksampler(name) for name in SAMPLERS},
            "answers": answers,
            "otherwise": otherwise,
            "reference": [
                distance(reference(noise, fine_levels(levels, FINE), seed=0), limit),
                distance(few, limit),
            ],
            "result": {
                "sigmas": result.sigmas.tolist(),
                "rows": rows,
                "calls": result.total_calls,
                "errors": {
                    name: distance(solver(noise, schedules[name], seed=0), limit)
                    for name in ("optimised", "simple", "karras", "beta")
                },
                "fitted": distance(fitted, limit),
                "fit apart": apart,
            },
            "untouched": [
                not any(model.wrappers.get("predict_noise", {}) for model in models),
                [len(model.patches) for model in models] == [0, 1],
            ],
        }

    with torch.inference_mode():
        print(json.dumps({prediction: answer(prediction) for prediction in PREDICTIONS}))


if __name__ == "__main__":
    main()
