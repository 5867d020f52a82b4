"""A script for the host's process: what every type of model is to the optimiser.

It prints JSON. Without arguments, for every kind of PREDICTIONS and every one of NODES behind the
model that it is made for:

    refused    the message with which it is refused; "" if it is not
    exact      RMS difference, relative to the data, of the guided model's D at LEVELS and the
               ideal denoiser's, at the levels that the model knows
    timesteps  the number of levels that it knows; None: all
    start      whether a reference starts with the same call as the run that is judged, bit for bit
    ends       sigma_min and sigma_max

With arguments NAME SAMPLER ..., for every pair the errors of schedules with STEPS steps, our own
optimised for each of the MIXTURES, on noise not used for it:

    ours, simple, karras, beta  mean RMS end-point error, over noises and mixtures
    excess     schedule -> the standard error of (ours - its error), over noises and mixtures
    sigmas     ours for each mixture
    known      whether they are levels that the model knows, or a schedule of the host's
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
SIZE, SEED, SHIFT, LABEL = 4, 3, 3.0, 3
MIXTURES, STEPS, BUDGET, HELD_OUT, FINE = (0, 1, 2), 8, 4000, 128, 300


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

    def model_of(name: str, seed: int = SEED) -> Any:
        if name in PREDICTIONS:
            return build("gaussian mixture", name, seed=seed, shift=SHIFT)
        kind, inputs = NODES[name]
        node = NODE_CLASS_MAPPINGS[name.split()[0]]
        (model,) = getattr(node(), node.FUNCTION)(model_of(kind, seed), **inputs)
        return model

    def guided(model: Any, sampler: str, label: int = -1) -> host.GuidedModel:
        use = host.latent_use(model, {"samples": torch.zeros(1, *shape)}, 1.0)
        guider = host.make_guider(model, prompt(label), prompt(label), 1.0)
        return host.GuidedModel(guider, host.noise_levels(model), use, host.judged_sampler(sampler))

    def noise(count: int, seed: int) -> Tensor:
        return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))

    def known(levels: host.NoiseLevels, t: float) -> float:
        table = levels.coordinate.table
        return t if table is None else float(table[np.abs(np.log(table / t)).argmin()])

    def exactness(own: host.GuidedModel) -> float:
        ideal, data = load("gaussian mixture", SEED), noise(16, seed=1)
        label = prompt(LABEL)[0][0][:, 0].expand(16, -1)
        misses = []
        for t in (known(own.levels, t) for t in LEVELS):
            x, sigma = data + t * noise(16, seed=2), torch.full((16,), t)
            misses.append(distance(own(x, sigma), ideal(x, sigma, label)))
        return max(misses)

    def first_call(own: host.GuidedModel, solver: Any, sigmas: Tensor) -> tuple[float, Tensor]:
        seen: list[tuple[float, Tensor]] = []
        with own.meter.observed(lambda level, x, _: seen.append((level, x))):
            solver(noise(4, seed=3), sigmas, seed=0)
        return seen[0]

    def described(model: Any) -> dict[str, Any]:
        try:
            levels = host.noise_levels(model)
        except ValueError as error:
            return {"refused": str(error)}
        own = guided(model, "dpmpp_2m", LABEL)
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

    def optimised(own: host.GuidedModel, others: dict[str, Tensor]) -> Any:
        return optimize(
            own,
            own.shape,
            sigma_max=own.levels.sigma_max,
            sigma_min=own.levels.sigma_min,
            steps=STEPS,
            solver=own.judged(),
            candidates=others,
            budget=BUDGET,
            coordinate=own.levels.coordinate,
        )

    def limit(model: Any, test: Tensor) -> Tensor:
        """The end points of many steps of the host's dpmpp_2m, at levels that the model knows."""
        own = guided(model, "dpmpp_2m")
        coordinate, top = own.levels.coordinate, own.levels.sigma_max
        ends = coordinate.finite_edm(np.array([top, own.levels.sigma_min]))
        fine = coordinate.thinned(np.append(top, coordinate.level(np.geomspace(*ends, FINE))[1:]))
        end: Tensor = own.solver()(test, torch.from_numpy(np.append(fine, 0.0)).float(), seed=0)
        return end

    def errors(name: str, sampler: str, seed: int) -> tuple[dict[str, Tensor], list[float], bool]:
        model = model_of(name, seed)
        own = guided(model, sampler)
        others = host.host_schedules(own.levels, STEPS, 1.0)
        result = optimised(own, others)
        test = noise(HELD_OUT, seed=99)
        end = limit(model, test)

        def error(sigmas: Tensor) -> Tensor:
            miss = own.solver()(test, sigmas, seed=0) - end
            return miss.square().flatten(1).mean(1).sqrt()

        found = {name: error(others[name]) for name in THEIRS}
        table = own.levels.timesteps
        inside = table is None or set(result.sigmas[1:-1].tolist()) <= set(table)
        sigmas: list[float] = result.sigmas.tolist()
        return {"ours": error(result.sigmas), **found}, sigmas, inside or result.method in others

    def cell(name: str, sampler: str) -> dict[str, Any]:
        runs = [errors(name, sampler, seed) for seed in MIXTURES]
        found = {key: torch.cat([one[key] for one, _, _ in runs]) for key in ("ours", *THEIRS)}
        excess = {key: found["ours"] - found[key] for key in THEIRS}
        return {
            **{key: float(error.mean()) for key, error in found.items()},
            "excess": {key: float(e.std()) / len(e) ** 0.5 for key, e in excess.items()},
            "sigmas": [sigmas for _, sigmas, _ in runs],
            "known": all(known for _, _, known in runs),
        }

    with torch.inference_mode():
        if cells:
            answer = {f"{name}, {sampler}": cell(name, sampler) for name, sampler in cells}
        else:
            answer = {name: described(model_of(name)) for name in (*PREDICTIONS, *NODES)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(list(zip(sys.argv[1::2], sys.argv[2::2], strict=True)))
