"""A script for the host's process: its one-call samplers beside the textbook points of the family.

It takes JSON, levels by name, and prints name of sampler -> name of levels -> the largest
difference of an element, over the largest of the end points.
"""

from __future__ import annotations

import importlib
import json
import sys
from types import SimpleNamespace

import torch
from align_your_steps.benchmarks.mixture import Mixture
from align_your_steps.optimizer.diffusion.multistep import Multistep, exponential, textbook
from torch import Tensor

SHAPE = (1, 4, 4)


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    host = importlib.import_module("comfy.k_diffusion.sampling")
    uni_pc = importlib.import_module("comfy.extra_samplers.uni_pc")

    denoise = Mixture.random(16, 5, seed=3).denoiser()
    noise = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    samplers = {
        "euler": host.sample_euler,
        "dpmpp_2m": host.sample_dpmpp_2m,
        "ipndm": host.sample_ipndm,
        "unipc_3": uni_pc.sample_unipc_bh2,
        "exponential_2": host.sample_res_multistep,
    }

    def ours(name: str, levels: list[float]) -> Multistep:
        if name != "exponential_2":
            return textbook(name, levels)
        rows = tuple(map(tuple, exponential(levels, 2)))
        return Multistep(tuple(levels), tuple(levels[:-1]), rows)

    def model(x: Tensor, sigma: Tensor, **options: object) -> Tensor:
        return denoise(x, sigma)

    # Newer hosts ask the model for its sampling's noise scale: one without says nothing.
    patcher = SimpleNamespace(get_model_object=lambda name: None)
    model.inner_model = SimpleNamespace(model_patcher=patcher)  # type: ignore[attr-defined]

    def difference(name: str, levels: list[float]) -> float:
        sigmas = torch.tensor(levels)
        theirs = samplers[name](model, levels[0] * noise, sigmas, extra_args={}, disable=True)
        end = ours(name, levels)(denoise, noise)
        return float((end - theirs).abs().max() / theirs.abs().max())

    answer = {
        name: {case: difference(name, levels) for case, levels in json.loads(sys.argv[1]).items()}
        for name in samplers
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
