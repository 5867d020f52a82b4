"""Guiders as other packs write them."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io
from torch import Tensor

__all__ = ["AYSTestGuider", "build_guider"]


class TurnsGuider(comfy.samplers.CFGGuider):
    """A CFGGuider with a prediction of its own, which counts its calls."""

    turns = 0

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: Any = None
    ) -> Tensor:
        """The mean of two scales of guidance."""
        self.turns += 1
        conds = [self.conds["positive"], self.conds["negative"]]
        model_options = model_options or {}
        positive, negative = comfy.samplers.calc_cond_batch(
            self.inner_model, conds, x, timestep, model_options
        )
        result: Tensor = negative + (1 + self.cfg) / 2 * (positive - negative)
        return result


class PlainClassGuider:
    """No CFGGuider, but it can sample, and says with which model."""

    def __init__(self, model: Any, positive: Any, negative: Any, cfg: float) -> None:
        self.model_patcher = model
        self.positive, self.negative, self.cfg = positive, negative, cfg

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, **options: Any
    ) -> Tensor:
        """As the host's own function does it."""
        model = self.model_patcher
        device = model.load_device
        settings = (self.positive, self.negative, self.cfg, device, sampler, sigmas)
        result: Tensor = comfy.samplers.sample(
            model, noise, *settings, latent_image=latent_image, **options
        )
        return result


class DelegatingGuider:
    """It samples with another guider, made beforehand, whose model nobody can watch."""

    def __init__(self, model: Any, positive: Any, negative: Any, cfg: float) -> None:
        self.model_patcher = model
        self.inner = comfy.samplers.CFGGuider(model)
        self.inner.set_conds(positive, negative)
        self.inner.set_cfg(cfg)

    def sample(self, *arguments: Any, **options: Any) -> Tensor:
        """As the other guider does."""
        result: Tensor = self.inner.sample(*arguments, **options)
        return result


class NamelessGuider(DelegatingGuider):
    """It does not say either with which model it samples."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        del self.model_patcher


KINDS = {
    "plain class": PlainClassGuider,
    "delegating": DelegatingGuider,
    "nameless": NamelessGuider,
}


def build_guider(kind: str, model: Any, positive: Any, negative: Any, cfg: float) -> Any:
    """A guider of that kind."""
    if kind != "turns":
        return KINDS[kind](model, positive, negative, cfg)
    guider = TurnsGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return guider


class AYSTestGuider(io.ComfyNode):
    """A guider of another pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestGuider",
            category="tests",
            inputs=[
                io.Model.Input("model"),
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Float.Input("cfg", default=3.0),
                io.Combo.Input("kind", options=["turns", *KINDS]),
            ],
            outputs=[io.Guider.Output()],
        )

    @classmethod
    def execute(
        cls, model: Any, positive: Any, negative: Any, cfg: float, kind: str
    ) -> io.NodeOutput:
        """Build it."""
        return io.NodeOutput(build_guider(kind, model, positive, negative, cfg))
