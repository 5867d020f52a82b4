"""A script for the host's process: what it takes the weights of our full-size networks for.

It prints JSON: for every family in full size, the `kind` of model that the host sees in the names
and shapes of the weights, how many `parameters` its network of that kind has, and the weights that
only one of the two networks has or that differ in shape, `ours` and `its`.
"""

from __future__ import annotations

import importlib
import json
from typing import Any


def main() -> None:
    """Ask about every family and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.model_detection
    import torch
    from align_your_steps.tests.host.test_pack.checkpoints import FULL, full_shapes

    def answer(family: str) -> dict[str, Any]:
        ours = full_shapes(family)
        with torch.device("meta"):
            weights = {name: torch.empty(shape) for name, shape in ours.items()}
        config = comfy.model_detection.model_config_from_unet(weights, "")
        config.set_inference_dtype(torch.bfloat16, None)
        model = config.get_model({}, "", device=torch.device("meta"))
        parts = model.diffusion_model.state_dict()
        its = {name: tuple(weight.shape) for name, weight in parts.items()}
        return {
            "kind": [type(config).__name__, model.model_type.name],
            "parameters": sum(weight.numel() for weight in parts.values()),
            "ours": sorted(dict(ours.items() - its.items())),
            "its": sorted(dict(its.items() - ours.items())),
        }

    print(json.dumps({family: answer(family) for family in FULL}))


if __name__ == "__main__":
    main()
