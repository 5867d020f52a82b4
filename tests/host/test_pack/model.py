"""Host models around a known denoiser, for every kind of prediction.

`Network` is what the host calls in place of a UNet. It is given the scaled input `xc` and the
time `t`, works out x and its level, asks the denoiser for D = E[x_0 | x], and returns the output
from which the host's own `calculate_denoised` recovers D. It does so for whatever `model_sampling`
is in force, so that behind a ModelSampling node it is the network that was trained for that one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
import torch
from align_your_steps.benchmarks.mixture import Mixture
from comfy.model_base import ModelType
from comfy_api.latest import io
from torch import Tensor

from .meter import METER

__all__ = [
    "PREDICTIONS",
    "AYSTestCLIP",
    "AYSTestConditioning",
    "AYSTestModel",
    "AYSTestPatch",
    "Config",
    "Network",
    "build",
]


@dataclass(frozen=True)
class Kind:
    """Construction of a kind of model.

    model_type: the name of the host's ModelType
    settings:   of the host's model configuration
    shifted:    whether `shift` is one of them
    sampling:   a class in place of the host's own `model_sampling`
    """

    model_type: str
    settings: dict[str, Any] = field(default_factory=dict)
    shifted: bool = False
    sampling: type | None = None


class Louder(comfy.model_sampling.CONST):
    """A flow to noise of standard deviation 2, x = (1 - s) x_0 + 2 s e."""

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        """The host's own, with more noise."""
        scaled: Tensor = super().noise_scaling(sigma, 2.0 * noise, latent_image, max_denoise)
        return scaled


class LouderFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, Louder):
    """The levels of a flow model."""


class Preserving(comfy.model_sampling.EPS):
    """x = (x_0 + s e) / sqrt(1 + s²): no sampler of the host undoes this noising."""

    def noise_scaling(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False
    ) -> Tensor:
        """Signal and noise scaled to unit variance together."""
        sigma = sigma.view(-1, *[1] * (noise.ndim - 1)) if sigma.numel() > 1 else sigma.view(())
        return (latent_image + sigma * noise) / (1.0 + sigma**2) ** 0.5


class PreservingDiscrete(comfy.model_sampling.ModelSamplingDiscrete, Preserving):
    """The levels of a discrete model."""


KINDS = {
    "eps": Kind("EPS"),
    "v": Kind("V_PREDICTION"),
    "edm": Kind("EDM", {"sigma_max": 80.0}),
    "flow": Kind("FLOW", shifted=True),
    "v to zero SNR": Kind("V_PREDICTION", {"zsnr": True}),
    "v edm": Kind("V_PREDICTION_EDM", {"sigma_max": 120.0, "sigma_min": 0.002}),
    "v continuous": Kind("V_PREDICTION_CONTINUOUS", {"sigma_max": 500.0, "sigma_min": 0.03}),
    "v ddpm": Kind("V_PREDICTION_DDPM"),
    "cascade": Kind("STABLE_CASCADE", shifted=True),
    "flux": Kind("FLUX", shifted=True),
    "auraflow": Kind("FLOW", {"multiplier": 1.0}, shifted=True),
    "flow av": Kind("FLOW_AV", shifted=True),
    "louder flow": Kind("FLOW", shifted=True, sampling=LouderFlow),
    "cosmos": Kind("FLOW_COSMOS", {"sigma_data": 1.0, "sigma_max": 80.0, "sigma_min": 0.002}),
    "img to img": Kind("IMG_TO_IMG"),
    "img to img flow": Kind("IMG_TO_IMG_FLOW"),
    "variance preserving": Kind("EPS", sampling=PreservingDiscrete),
}
# Older hosts lack some.
PREDICTIONS = {
    name: kind for name, kind in KINDS.items() if kind.model_type in ModelType.__members__
}
# The highest EDM level at which the denoiser is asked: exact, or trained no further. A flow model
# starts at an infinite one.
HIGHEST = {"gaussian mixture": 1e4, "digits": 80.0, "emoji": 80.0}
CLASSES = 10
COMPONENTS = 8


class MixtureDenoiser(torch.nn.Module):
    """The ideal denoiser of an exact mixture, for latents of any size.

    Class c is the two components c and c + 1 (modulo their number); no class is all of them.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.register_buffer("seed", torch.tensor(float(seed)))  # part of the model's identity
        component = torch.arange(CLASSES)[:, None] + torch.arange(2)  # [classes, 2]
        self.weights = torch.zeros(CLASSES, COMPONENTS).scatter_(1, component % COMPONENTS, 0.5)
        self.mixtures: dict[int, Mixture] = {}

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        """E[x_0 | x], [B, 1, H, W], for a one-hot label [B, 10] or zeros."""
        rows = x.flatten(1)
        dim = rows.shape[1]
        if dim not in self.mixtures:
            self.mixtures[dim] = Mixture.random(dim, COMPONENTS, seed=int(self.seed))
        weights = label @ self.weights.to(label)
        weights = torch.where(label.any(1, keepdim=True), weights, 1 / COMPONENTS)  # [B, K]
        return self.mixtures[dim].denoise(rows, sigma, weights).reshape(x.shape)


class Network(torch.nn.Module):
    """A denoiser in the clothes of a network of the host.

    `gain` is a weight to be patched: the model of data g·x_0 has the ideal denoiser g·D(x/g, σ/g).
    """

    def __init__(self, denoiser: torch.nn.Module, highest: float) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.highest = highest
        self.sampling = lambda: None  # the model_sampling in force
        self.gain = torch.nn.Parameter(torch.ones(1), requires_grad=False)
        self.dtype = torch.float32

    def forward(
        self,
        xc: Tensor,
        t: Tensor,
        context: Tensor | None = None,
        control: Any = None,
        transformer_options: Any = None,
        **_: Any,
    ) -> Tensor:
        """The model's own kind of prediction, [B, 1, H, W], at the times t [B]."""
        METER.note(rows=len(xc))
        label = xc.new_zeros(len(xc), CLASSES) if context is None else context[:, 0]
        sampling: Any = self.sampling()
        level = level_at(sampling, t)
        one, zero = torch.ones_like(xc), torch.zeros_like(xc)
        x = xc / sampling.calculate_input(level, one)
        # x = a x_0 + b e is a times x_0 + σ e, σ = b / a, infinite at the top of a flow.
        a, b = sampling.noise_scaling(level, zero, one), sampling.noise_scaling(level, one, zero)
        a = a.maximum(b / self.highest)
        sigma = (b / a).flatten(1)[:, 0]
        clean = METER.answered(
            float(sigma[0]),
            lambda: self.gain * self.denoiser(x / a / self.gain, sigma / self.gain, label),
        )
        # calculate_denoised is linear in (output, x).
        rest = sampling.calculate_denoised(level, zero, x)
        output: Tensor = (clean - rest) / sampling.calculate_denoised(level, one, zero)
        return output


def level_at(sampling: Any, t: Tensor) -> Tensor:
    """The level s whose time is t: the inverse of the host's `timestep(s)`.

    Its own `sigma(t)` is that only without a shift, and for Cosmos only for a single t.
    """
    if isinstance(sampling, comfy.model_sampling.ModelSamplingFlux):
        return t
    if isinstance(sampling, comfy.model_sampling.ModelSamplingDiscreteFlow):
        return t / float(sampling.multiplier)
    if isinstance(sampling, comfy.model_sampling.ModelSamplingCosmosRFlow):
        return t / (1.0 - t)
    if isinstance(sampling, comfy.model_sampling.StableCascadeSampling):
        offset = float(sampling.cosine_s)
        signal = torch.cos((t.double() + offset) / (1.0 + offset) * math.pi / 2.0) ** 2
        signal = signal / float(sampling._init_alpha_cumprod)
        return ((1.0 - signal) / signal).sqrt().to(t)
    level: Tensor = sampling.sigma(t)
    return level


class OneChannel(comfy.latent_formats.LatentFormat):
    """Latents [B, 1, H, W], unscaled."""

    latent_channels = 1


class ThreeChannels(comfy.latent_formats.LatentFormat):
    """Latents [B, 3, H, W], unscaled: the pictures themselves, in colour."""

    latent_channels = 3


class Config(comfy.supported_models_base.BASE):
    """The least that the host wants to know about a model."""

    unet_config: dict[str, Any] = {}  # noqa: RUF012 - as the host's own class has it
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
    latent_format = OneChannel
    memory_usage_factor = 0.01


class ColourConfig(Config):
    """The same for latents of three channels."""

    latent_format = ThreeChannels


def load(name: str, seed: int) -> torch.nn.Module:
    """The denoiser of that name."""
    if name == "gaussian mixture":
        return MixtureDenoiser(seed)
    from align_your_steps.benchmarks.digits.network import load_digits
    from align_your_steps.benchmarks.emoji.network import load_emoji

    return load_digits() if name == "digits" else load_emoji()


def build(
    name: str,
    prediction: str,
    seed: int,
    shift: float,
    config_class: Any = None,
    network_class: Any = Network,
    model_class: Any = comfy.model_base.BaseModel,
) -> Any:
    """A MODEL of the host around the denoiser of that name."""
    kind = PREDICTIONS[prediction]
    config = (config_class or (ColourConfig if name == "emoji" else Config))({})
    config.sampling_settings = {**kind.settings, **({"shift": shift} if kind.shifted else {})}
    config.set_inference_dtype(torch.float32, None)
    network = network_class(load(name, seed), HIGHEST[name])
    offload = comfy.model_management.unet_offload_device()
    model = model_class(
        config,
        ModelType[kind.model_type],
        device=offload,
        unet_model=lambda **_: network.to(offload),
    )
    if kind.sampling is not None:
        model.model_sampling = kind.sampling(config)
    network.sampling = lambda: model.model_sampling
    return comfy.model_patcher.ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


class AYSTestModel(io.ComfyNode):
    """A model that needs no download."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestModel",
            category="tests",
            inputs=[
                io.Combo.Input("denoiser", options=list(HIGHEST)),
                io.Combo.Input("prediction", options=list(PREDICTIONS)),
                io.Int.Input("seed", default=0, min=0, max=65535, control_after_generate=False),
                io.Float.Input("shift", default=1.0, min=0.01, max=100.0),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, denoiser: str, prediction: str, seed: int, shift: float) -> io.NodeOutput:
        """Build the model; `shift` is for flow models only, `seed` for mixtures only."""
        return io.NodeOutput(build(denoiser, prediction, seed, shift))


class AYSTestPatch(io.ComfyNode):
    """A patched weight, as a LoRA would leave it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestPatch",
            category="tests",
            inputs=[io.Model.Input("model"), io.Float.Input("strength", default=0.5)],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, strength: float) -> io.NodeOutput:
        """Make the data that the model knows 1 + strength times larger."""
        model = model.clone()
        model.add_patches({"diffusion_model.gain": (torch.ones(1),)}, strength)
        return io.NodeOutput(model)


class AYSTestConditioning(io.ComfyNode):
    """A class label as conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestConditioning",
            category="tests",
            inputs=[io.Int.Input("label", default=-1, min=-1, max=CLASSES - 1)],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, label: int) -> io.NodeOutput:
        """One-hot for a label, zeros for -1, which is no class."""
        one_hot = torch.zeros(1, 1, CLASSES)
        if label >= 0:
            one_hot[..., label] = 1.0
        return io.NodeOutput([[one_hot, {"pooled_output": one_hot[:, 0]}]])


class DigitCLIP:
    """What CLIPTextEncode asks of a CLIP: a text is the class of its last digit, or of its length.

    It gives what only some text encoders give, too.
    """

    def tokenize(self, text: str) -> int:
        """The class."""
        digits = [int(letter) for letter in text if letter.isdecimal()]
        return digits[-1] if digits else len(text) % CLASSES

    def encode_from_tokens_scheduled(self, tokens: int) -> Any:
        """A CONDITIONING."""
        one_hot = torch.eye(CLASSES)[tokens].reshape(1, 1, -1)
        return [[one_hot, {"pooled_output": one_hot[:, 0], "of_the_text": tokens}]]


class AYSTestCLIP(io.ComfyNode):
    """A CLIP for the models whose prompts are classes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(node_id="AYSTestCLIP", category="tests", outputs=[io.Clip.Output()])

    @classmethod
    def execute(cls, **_: Any) -> io.NodeOutput:
        """Hand out the CLIP."""
        return io.NodeOutput(DigitCLIP())
