"""A script for the host's process: print the noise levels that the host gives, as JSON.

tables      model -> its noise levels, ascending
curves      model -> scheduler -> the levels for each of STEPS
published   SD1, SDXL, SVD -> the published table for each of STEPS
truncated   that of SD1 for each (steps, denoise) of DENOISE
expanded    the same from BasicScheduler, for karras on the discrete model
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

STEPS = (*range(1, 41), 139)  # with 139, beta meets one of a thousand levels twice
DENOISE = [(5, 0.9), (10, 0.3), (10, 0.55), (20, 0.75), (7, 0.1)]


def main() -> None:
    """Ask the host and print what it says."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    import comfy.model_sampling as sampling
    import comfy.samplers
    from comfy_extras.nodes_align_your_steps import AlignYourStepsScheduler
    from comfy_extras.nodes_custom_sampler import BasicScheduler

    def config(**settings: float) -> Any:
        return SimpleNamespace(sampling_settings=settings)

    models = {
        "discrete": sampling.ModelSamplingDiscrete(config()),
        "zero-terminal-SNR": sampling.ModelSamplingDiscrete(config(), zsnr=True),
        "EDM": sampling.ModelSamplingContinuousEDM(config(sigma_min=0.002, sigma_max=80.0)),
        "EDM from 1e-6": sampling.ModelSamplingContinuousEDM(
            config(sigma_min=1e-6, sigma_max=80.0)
        ),
        "SVD": sampling.ModelSamplingContinuousEDM(config(sigma_min=0.002, sigma_max=700.0)),
        "flow": sampling.ModelSamplingDiscreteFlow(config(shift=1.0)),
        "shifted flow": sampling.ModelSamplingDiscreteFlow(config(shift=3.0)),
    }

    def curves(model: Any) -> dict[str, list[list[float]]]:
        return {
            name: [comfy.samplers.calculate_sigmas(model, name, steps).tolist() for steps in STEPS]
            for name in comfy.samplers.SCHEDULER_NAMES
        }

    def published(name: str, steps: int, denoise: float) -> list[float]:
        return levels(AlignYourStepsScheduler().get_sigmas(name, steps, denoise))

    def basic(steps: int, denoise: float) -> list[float]:
        model = SimpleNamespace(get_model_object=lambda name: models["discrete"])
        return levels(BasicScheduler().get_sigmas(model, "karras", steps, denoise))

    def levels(output: Any) -> list[float]:
        return [float(sigma) for sigma in output[0]]

    answer = {
        "tables": {name: model.sigmas.tolist() for name, model in models.items()},
        "curves": {name: curves(model) for name, model in models.items()},
        "published": {
            name: [published(name, steps, 1.0) for steps in STEPS]
            for name in ("SD1", "SDXL", "SVD")
        },
        "truncated": [published("SD1", *how) for how in DENOISE],
        "expanded": [basic(*how) for how in DENOISE],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
