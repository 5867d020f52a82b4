"""Host models around a known denoiser, for every kind of prediction.

`Network` is what the host calls in place of a UNet. It is given the scaled input `xc` and the
time `t`, works out x and its level, asks the denoiser for D = E[x_0 | x], and returns the output
from which the host's own `calculate_denoised` recovers D.
"""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from align_your_steps.benchmarks.mixture import Mixture
from comfy.model_base import ModelType
from comfy_api.latest import io
from torch import Tensor

from .meter import METER

__all__ = ["AYSTestConditioning", "AYSTestModel", "AYSTestPatch", "Config", "Network", "build"]

PREDICTIONS = {
    "eps": ModelType.EPS,
    "v": ModelType.V_PREDICTION,
    "edm": ModelType.EDM,
    "flow": ModelType.FLOW,
}
# The highest EDM level at which the denoiser is asked: exact, or trained no further. A flow model
# starts at an infinite one.
HIGHEST = {"gaussian mixture": 1e4, "digits": 80.0}
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

    def __init__(
        self, denoiser: torch.nn.Module, sampling: Any, flow: bool, highest: float
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.sampling = sampling
        self.flow = flow
        self.highest = highest
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
        # A shifted flow model still is given its level times 1000: `sigma` would shift it again.
        level = t / self.sampling.multiplier if self.flow else self.sampling.sigma(t)
        one, zero = torch.ones_like(xc), torch.zeros_like(xc)
        x = xc / self.sampling.calculate_input(level, one)
        clean = self._denoise(x, level, label)
        # calculate_denoised is linear in (output, x).
        rest = self.sampling.calculate_denoised(level, zero, x)
        return (clean - rest) / self.sampling.calculate_denoised(level, one, zero)

    def _denoise(self, x: Tensor, level: Tensor, label: Tensor) -> Tensor:
        if self.flow:
            # x = (1 - s) x_0 + s e is (1 - s) times x_0 + σ e, σ = s / (1 - s).
            s = level.clamp(max=self.highest / (1 + self.highest))
            x = x / (1 - s).reshape(-1, *(1 for _ in x.shape[1:]))
            level = s / (1 - s)
        result: Tensor = self.gain * self.denoiser(x / self.gain, level / self.gain, label)
        return result


class OneChannel(comfy.latent_formats.LatentFormat):
    """Latents [B, 1, H, W], unscaled."""

    latent_channels = 1


class Config(comfy.supported_models_base.BASE):
    """The least that the host wants to know about a model."""

    unet_config: dict[str, Any] = {}  # noqa: RUF012 - as the host's own class has it
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
    latent_format = OneChannel
    memory_usage_factor = 0.01


def load(name: str, seed: int) -> torch.nn.Module:
    """The denoiser of that name."""
    if name == "gaussian mixture":
        return MixtureDenoiser(seed)
    from align_your_steps.benchmarks.digits.network import load_digits

    return load_digits()


def build(
    name: str,
    prediction: str,
    seed: int,
    shift: float,
    config_class: Any = Config,
    network_class: Any = Network,
    model_class: Any = comfy.model_base.BaseModel,
) -> Any:
    """A MODEL of the host around the denoiser of that name."""
    kind = PREDICTIONS[prediction]
    config = config_class({})
    settings = {"edm": {"sigma_max": 80.0}, "flow": {"shift": shift}}
    config.sampling_settings = settings.get(prediction, {})
    config.set_inference_dtype(torch.float32, None)
    sampling = comfy.model_base.model_sampling(config, kind)
    network = network_class(load(name, seed), sampling, prediction == "flow", HIGHEST[name])
    offload = comfy.model_management.unet_offload_device()
    model = model_class(
        config, kind, device=offload, unet_model=lambda **_: network.to(offload)
    )
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
                io.Combo.Input("denoiser", options=["gaussian mixture", "digits"]),
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
