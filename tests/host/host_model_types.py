"""A script for the host's process: what every type of model is to the optimiser.

It prints JSON. Without arguments, for every kind of PREDICTIONS and every one of NODES behind the
model that it is made for:

    refused    the message with which it is refused; "" if it is not
    exact      RMS difference, relative to the data, of the guided model's D at LEVELS and the
               ideal denoiser's, at the levels that the model knows
    timesteps  the number of levels that it knows; None: all
    start      whether a reference starts with the same call as the run that is judged, bit for bit
    ends       sigma_min and sigma_max

With arguments KIND SAMPLER ..., for every pair the held-out errors of schedules with STEPS steps:

    ours, simple, karras, beta  the mean over noises of the RMS end-point error
    excess     theirs over ours -> mean and standard error of (ours - theirs) over noises
    sigmas     ours
    known      whether they are levels that the model knows
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from align_your_steps.tests.host.in_host import distance, prompt

# node -> the kind of model that it is put behind, and its inputs
NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "ModelSamplingDiscrete eps": ("v", {"sampling": "eps", "zsnr": False}),
    "ModelSamplingDiscrete v, zsnr": ("eps", {"sampling": "v_prediction", "zsnr": True}),
    "ModelSamplingDiscrete lcm": ("eps", {"sampling": "lcm", "zsnr": False}),
    "ModelSamplingDiscrete x0": ("eps", {"sampling": "x0", "zsnr": False}),
    "ModelSamplingDiscrete img": ("eps", {"sampling": "img_to_img", "zsnr": False}),
    "ModelSamplingContinuousEDM v": (
        "v",
        {"sampling": "v_prediction", "sigma_max": 120.0, "sigma_min": 0.002},
    ),
    "ModelSamplingContinuousEDM edm": (
        "edm",
        {"sampling": "edm", "sigma_max": 80.0, "sigma_min": 0.002},
    ),
    "ModelSamplingContinuousEDM eps": (
        "eps",
        {"sampling": "eps", "sigma_max": 14.6, "sigma_min": 0.03},
    ),
    "ModelSamplingContinuousEDM cosmos": (
        "cosmos",
        {"sampling": "cosmos_rflow", "sigma_max": 80.0, "sigma_min": 0.002},
    ),
    "ModelSamplingContinuousV": (
        "v",
        {"sampling": "v_prediction", "sigma_max": 500.0, "sigma_min": 0.03},
    ),
    "ModelSamplingSD3": ("flow", {"shift": 6.0}),
    "ModelSamplingAuraFlow": ("auraflow", {"shift": 1.73}),
    "ModelSamplingFlux": (
        "flux",
        {"max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 768},
    ),
    "ModelSamplingStableCascade": ("cascade", {"shift": 2.0}),
}
LEVELS = (0.05, 0.3, 1.0, 4.0, 12.0)  # EDM
THEIRS = ("simple", "karras", "beta")
SIZE, SEED, SHIFT = 4, 3, 3.0
STEPS, BUDGET, HELD_OUT, FINE = 8, 2000, 48, 300


def main(cells: list[tuple[str, str]]) -> None:
    """Run what is asked for and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import numpy as np
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.optimizer import optimize
    from align_your_steps.tests.host.test_pack.model import PREDICTIONS, build, load
    from comfy_extras.nodes_model_advanced import NODE_CLASS_MAPPINGS
    from torch import Tensor

    shape = 1, SIZE, SIZE

    def model_of(kind: str) -> Any:
        return build("gaussian mixture", kind, seed=SEED, shift=SHIFT)

    def behind(node: str) -> Any:
        kind, inputs = NODES[node]
        own = NODE_CLASS_MAPPINGS[node.split()[0]]
        (model,) = getattr(own(), own.FUNCTION)(model_of(kind), **inputs)
        return model

    def guided(model: Any, sampler: str) -> host.GuidedModel:
        use = host.latent_use(model, {"samples": torch.zeros(1, *shape)}, 1.0)
        guider = host.make_guider(model, prompt(3), prompt(3), 1.0)
        return host.GuidedModel(
            guider, host.noise_levels(model), use, host.judged_sampler(sampler)
        )

    def noise(count: int, seed: int) -> Tensor:
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))

    def known(levels: host.NoiseLevels, t: float) -> float:
        table = levels.coordinate.table
        return t if table is None else float(table[np.abs(np.log(table / t)).argmin()])

    def exactness(own: host.GuidedModel) -> float:
        ideal, data = load("gaussian mixture", SEED), noise(16, seed=1)
        label = prompt(3)[0][0][:, 0].expand(16, -1)
        misses = []
        for t in (known(own.levels, t) for t in LEVELS):
            x, sigma = data + t * noise(16, seed=2), torch.full((16,), t)
            misses.append(distance(own(x, sigma), ideal(x, sigma, label)))
        return max(misses)

    def first_call(own: host.GuidedModel, solver: Any, sigmas: Tensor) -> tuple[float, Tensor]:
        seen: list[tuple[float, Tensor]] = []
        own.meter.observe = lambda level, x, _: seen.append((level, x))
        solver(noise(4, seed=3), sigmas, seed=0)
        own.meter.observe = None
        return seen[0]

    def described(model: Any) -> dict[str, Any]:
        try:
            levels = host.noise_levels(model)
        except ValueError as error:
            return {"refused": str(error)}
        own = guided(model, "dpmpp_2m")
        coarse, fine = (host.simple_schedule(levels, steps) for steps in (4, 20))
        judged = first_call(own, own.solver(), coarse)
        reference = first_call(own, own.reference(), fine)
        return {
            "refused": "",
            "exact": exactness(own),
            "timesteps": None if levels.timesteps is None else len(levels.timesteps),
            "start": judged[0] == reference[0] and torch.equal(judged[1], reference[1]),
            "ends": [levels.sigma_min, levels.sigma_max],
        }

    def cell(kind: str, sampler: str) -> dict[str, Any]:
        model = behind(kind) if kind in NODES else model_of(kind)
        levels = host.noise_levels(model)
        own = guided(model, sampler)
        result = optimize(
            own,
            own.shape,
            sigma_max=levels.sigma_max,
            sigma_min=levels.sigma_min,
            steps=STEPS,
            solver=own.solver(),
            candidates=host.host_schedules(levels, STEPS, 1.0),
            budget=BUDGET,
            coordinate=levels.coordinate,
            reference=own.reference(),
            order=own.sampler.order,
            meter=own.meter,
        )
        theirs = {name: host.host_schedules(levels, STEPS, 1.0)[name] for name in THEIRS}
        schedules = {"ours": result.sigmas, **theirs}
        test = noise(HELD_OUT, seed=99)
        limit = guided(model, "dpmpp_2m")
        t = [float(levels.coordinate.finite_edm(np.array(s))) for s in (levels.sigma_max, levels.sigma_min)]
        fine = levels.coordinate.level(np.geomspace(*t, FINE))
        fine = levels.coordinate.thinned(np.append(levels.sigma_max, fine[1:]))
        end = limit.solver()(test, torch.from_numpy(np.append(fine, 0.0)).float(), seed=0)

        def errors(sigmas: Tensor) -> Tensor:
            miss = own.solver()(test, sigmas, seed=0) - end
            return miss.square().flatten(1).mean(1).sqrt()

        found = {name: errors(sigmas) for name, sigmas in schedules.items()}
        excess = {name: found["ours"] - found[name] for name in THEIRS}
        positive = result.sigmas[1:-1].tolist()
        return {
            **{name: float(error.mean()) for name, error in found.items()},
            "excess": {
                name: [float(e.mean()), float(e.std()) / len(e) ** 0.5]
                for name, e in excess.items()
            },
            "sigmas": result.sigmas.tolist(),
            "known": levels.timesteps is None or set(positive) <= set(levels.timesteps),
            "method": result.method,
        }

    with torch.inference_mode():
        if cells:
            answer = {f"{kind}, {sampler}": cell(kind, sampler) for kind, sampler in cells}
        else:
            answer = {kind: described(model_of(kind)) for kind in PREDICTIONS}
            answer |= {node: described(behind(node)) for node in NODES}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(list(zip(sys.argv[1::2], sys.argv[2::2], strict=True)))
