"""SAMPLERs that sample nothing: the guided prediction along given points, the start of a run."""

from __future__ import annotations

from collections.abc import Iterator

import comfy.model_patcher
import comfy.samplers
from torch import Tensor

from .model import NoiseLevels

__all__ = ["Start", "Walker"]


class Walker(comfy.samplers.Sampler):
    """The outputs at points (x, level) from high to low noise, and the mask as the host made it."""

    def __init__(
        self, levels: NoiseLevels, sigmas: Tensor, points: Iterator[tuple[Tensor, Tensor]]
    ):
        self.levels = levels
        self.sigmas = sigmas
        self.points = points
        self.outputs: list[Tensor] = []
        self.mask: Tensor | None = None

    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        """Called by the host in place of a sampler."""
        # Its samplers see a masked model: what the mask leaves out is the start image, noised.
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        self.mask = None if denoise_mask is None else denoise_mask.cpu()
        for (x, _), level in zip(self.points, self.sigmas, strict=True):
            options = comfy.model_patcher.create_model_options_clone(extra_args["model_options"])
            output = model(
                (self.levels.signal(float(level)) * x).to(noise),
                level.to(noise).expand(len(x)),
                denoise_mask,
                model_options=options,
                seed=extra_args.get("seed"),
            )
            self.outputs.append(output.float().cpu())
        return noise


class Start(Walker):
    """Returns the x that a run begins with, as the host makes it of the start image and noise."""

    def __init__(self, levels: NoiseLevels):
        super().__init__(levels, Tensor(), iter(()))

    def sample(
        self,
        model_wrap,
        sigmas,
        extra_args,
        callback,
        noise,
        latent_image=None,
        denoise_mask=None,
        disable_pbar=False,
    ):
        """Called by the host in place of a sampler."""
        sampling = model_wrap.inner_model.model_sampling
        full = self.max_denoise(model_wrap, sigmas)
        return sampling.noise_scaling(sigmas[0], noise.clone(), latent_image, full)
