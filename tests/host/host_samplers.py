"""A script for the host's process: run its samplers and print every call of the denoiser.

`host_samplers.py PROBLEM` takes and prints JSON. PROBLEM has the `seed` of a `Mixture.random` of
16 elements and 5 components; unit `noise` [N, B, 16], whose first draw starts every run and whose
others are the fresh noise; and `runs`, name -> {"sampler", "options", "levels"}. The answer has
for every run its `calls`, a pair of sigma [B] and x [B, 16] each, and what it returns, `x_0`.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import torch
from align_your_steps.benchmarks.mixture import Mixture
from torch import Tensor


class Model:
    """Model as samplers expect it: a denoiser, and the model's noise levels deep inside."""

    def __init__(self, mixture: Mixture, model_sampling: Any) -> None:
        self.mixture = mixture
        self.calls: list[tuple[list[float], list[list[float]]]] = []
        self.inner_model = SimpleNamespace(
            inner_model=SimpleNamespace(model_sampling=model_sampling),
            model_patcher=SimpleNamespace(get_model_object=lambda name: model_sampling),
        )

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The ideal denoiser; the call is remembered."""
        self.calls.append((sigma.tolist(), x.tolist()))
        return self.mixture.denoise(x, sigma)


def main() -> None:
    """Read the problem, run it, print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    import comfy.k_diffusion.sampling
    import comfy.model_sampling

    class Levels(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.EPS):
        """Stable Diffusion's, put together as the host does."""

    problem = json.loads(sys.argv[1])
    mixture = Mixture.random(16, 5, problem["seed"])
    start, *fresh = torch.tensor(problem["noise"], dtype=torch.float64)

    def run(sampler: str, options: dict[str, Any], levels: list[float]) -> dict[str, Any]:
        model = Model(mixture, Levels())
        draws = iter(fresh)
        if sampler in ("euler_ancestral", "dpmpp_2m_sde"):
            options = {**options, "noise_sampler": lambda sigma, sigma_next: next(draws)}
        sample = getattr(comfy.k_diffusion.sampling, f"sample_{sampler}")
        sigmas = torch.tensor(levels, dtype=torch.float64)
        x_0 = sample(model, levels[0] * start, sigmas, disable=True, **options)
        return {"calls": model.calls, "x_0": x_0.tolist()}

    print(json.dumps({name: run(**one) for name, one in problem["runs"].items()}))


if __name__ == "__main__":
    main()
