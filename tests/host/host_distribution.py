"""A script for the host's process: run its stochastic samplers along Brownian paths.

It prints JSON. For every kind of model of PREDICTIONS:

    samplers   sampler, by name or made by a node of the host with other options than the defaults,
               that can be run along a path -> whether two runs of FEW steps along one path
               are the `same`, bit for bit, and RMS distances a latent element of such a run: to its
               `twin`, and to runs of MANY steps `along` the same path and along `another`
    without    the samplers that cannot, though they can be judged
    result     the `criterion`, `calls` and `rows` really computed of an optimisation
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from align_your_steps.tests.host.in_host import distance, fine_levels, prompt
from align_your_steps.tests.host.sampler_nodes import node_samplers

PREDICTIONS = ("eps", "flow")
FEW, MANY = 20, 120
NOISES, SIZE, CFG = 4, 8, 2.0
NODES = ("SamplerDPMPP_2M_SDE", "SamplerER_SDE", "reverse: SamplerER_SDE", "ODE: SamplerER_SDE")
SAMPLER, STEPS, BUDGET = "dpmpp_2m_sde", 4, 3000


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.optimizer import optimize
    from align_your_steps.optimizer.diffusion.brownian import BrownianPath
    from align_your_steps.tests.host.test_pack.model import build
    from torch import Tensor

    shape = 1, SIZE, SIZE
    noise = torch.randn(NOISES, *shape, generator=torch.Generator().manual_seed(1))

    def brownian(seed: int) -> BrownianPath:
        source = torch.Generator().manual_seed(seed)
        return BrownianPath(lambda: torch.randn(NOISES, *shape, generator=source))

    def judged(name: str, sampler: Any = None) -> bool:
        try:
            host.judged_sampler(name, sampler)
        except ValueError:
            return False
        return True

    def answer(prediction: str) -> dict[str, Any]:
        model = build("gaussian mixture", prediction, seed=7, shift=3.0)
        levels = host.noise_levels(model)

        def schedule(steps: int) -> Tensor:
            return fine_levels(levels, steps)

        def guided(name: str, sampler: Any = None) -> host.GuidedModel:
            use = host.latent_use(model, {"samples": torch.zeros(1, *shape)}, 1.0)
            guider = host.make_guider(model, prompt(3), prompt(-1), CFG)
            return host.GuidedModel(guider, levels, use, host.judged_sampler(name, sampler))

        def runs(solver: Any) -> dict[str, Any]:
            path = brownian(seed=1)
            few = solver.stochastic(noise, schedule(FEW), path)
            along = solver.stochastic(noise, schedule(MANY), path)
            another = solver.stochastic(noise, schedule(MANY), brownian(seed=2))
            return {
                "same": torch.equal(few, solver.stochastic(noise, schedule(FEW), path)),
                "twin": distance(few, solver(noise, schedule(FEW), seed=0)),
                "along": distance(few, along),
                "another": distance(few, another),
            }

        solvers = {name: guided(name).solver() for name in host.sampler_names() if judged(name)}
        for label, sampler in node_samplers(model).items():
            if label in NODES and judged("", sampler):
                solvers[label] = guided("", sampler).solver()
        own = guided(SAMPLER)
        result = optimize(
            own,
            own.shape,
            sigma_max=levels.sigma_max,
            sigma_min=levels.sigma_min,
            steps=STEPS,
            solver=own.judged(),
            candidates={"spread": schedule(STEPS)},
            budget=BUDGET,
            coordinate=levels.coordinate,
        )
        return {
            "samplers": {n: runs(one) for n, one in solvers.items() if one.stochastic},
            "without": [name for name, one in solvers.items() if one.stochastic is None],
            "result": {
                "criterion": result.criterion,
                "calls": result.total_calls,
                "rows": own.meter.rows,
            },
        }

    with torch.inference_mode():
        print(json.dumps({prediction: answer(prediction) for prediction in PREDICTIONS}))


if __name__ == "__main__":
    main()
