"""Linked objects that are wrong inside, by name: what a faulty node of another pack may hand on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

__all__ = ["AYSTestAnything", "AYSTestBroken"]

EMPTY = torch.zeros(1, 1, 8, 8)


class FailingVAE:
    """A VAE of another model."""

    def decode(self, latent: Tensor) -> Tensor:
        """It cannot."""
        raise RuntimeError("a size of tensor a (3) must match the size of tensor b (4)")


class FlatVAE:
    """A VAE that gives no picture."""

    def decode(self, latent: Tensor) -> Tensor:
        """A number."""
        return torch.zeros(())


class WrongSampler:
    """It has the method of a SAMPLER, and gives something else."""

    def sample(self, *_: Any, **__: Any) -> str:
        """No latent."""
        return "a picture"


class NoModelGuider:
    """A guider whose model was never set."""

    model_patcher = None

    def sample(self, *_: Any, **__: Any) -> None:
        """Nothing."""


def sampling(change: Callable[[Any], None]) -> Callable[[Any, Any], Any]:
    """A MODEL whose model_sampling is changed."""

    def changed(model: Any, positive: Any) -> Any:
        clone = model.clone()
        own = copy.deepcopy(model.get_model_object("model_sampling"))
        change(own)
        clone.add_object_patch("model_sampling", own)
        return clone

    return changed


def table(change: Callable[[Tensor], Tensor]) -> Callable[[Any, Any], Any]:
    """A MODEL whose table of noise levels is changed."""

    def changed(own: Any) -> None:
        own.sigmas = change(own.sigmas)

    return sampling(changed)


def with_sampling(value: Any) -> Callable[[Any, Any], Any]:
    """A MODEL with this in the place of its model_sampling."""

    def made(model: Any, positive: Any) -> Any:
        clone = model.clone()
        clone.add_object_patch("model_sampling", value)
        return clone

    return made


def guider(model: Any, positive: Any, negative: Any, cfg: Any = 3.0) -> Any:
    """The host's own, unchecked."""
    made = comfy.samplers.CFGGuider(model)
    made.original_conds = {"positive": positive, "negative": negative}
    made.cfg = cfg
    return made


def conds(positive: Any) -> list[dict[str, Any]]:
    """A conditioning as guiders hold it."""
    return [{**options, "cross_attn": cond, "model_conds": {}} for cond, options in positive]


def wide(positive: Any) -> Any:
    """Another width than the model's."""
    return [[torch.zeros(1, 1, 77), {"pooled_output": torch.zeros(1, 77)}]]


def filled(value: float) -> Any:
    """The right width, one value everywhere."""
    return [[torch.full((1, 1, 10), value), {"pooled_output": torch.full((1, 10), value)}]]


def nested() -> Any:
    """A nested latent for a model that takes none; nothing where the host has none."""
    try:
        from comfy.nested_tensor import NestedTensor
    except ImportError:
        return {"samples": [EMPTY, EMPTY]}
    return {"samples": NestedTensor([EMPTY, torch.zeros(1, 3, 2)])}


def of(**entries: Any) -> Callable[[Any, Any], Any]:
    """A LATENT with these entries."""
    return lambda model, positive: {"samples": EMPTY, **entries}


def shaped(*shape: int, value: float = 0.0, **options: Any) -> Callable[[Any, Any], Any]:
    """A LATENT of one value."""
    return lambda model, positive: {"samples": torch.full(shape, value, **options)}


def levels(*values: float, **options: Any) -> Callable[[Any, Any], Any]:
    """SIGMAS."""
    return lambda model, positive: torch.tensor(values, **options)


def just(value: Any) -> Callable[[Any, Any], Any]:
    """A value that has nothing to do with the type."""
    return lambda model, positive: value


ANYTHING = {
    "nothing": just(None),
    "a number": just(7),
    "a text": just("model"),
    "an empty list": just([]),
    "an empty dict": just({}),
    "a list of nothing": just([None]),
    "a bare object": just(SimpleNamespace()),
}

# By the type of the output, by what is wrong: (a MODEL, its CONDITIONING) -> the object.
BROKEN: dict[str, dict[str, Callable[[Any, Any], Any]]] = {
    "MODEL": {
        "no sampling": with_sampling(None),
        "a sampling without levels": with_sampling(SimpleNamespace()),
        "no levels in the table": table(lambda sigmas: sigmas[:0]),
        "one level in the table": table(lambda sigmas: sigmas[-1:]),
        "two levels in the table": table(lambda sigmas: sigmas[[0, -1]]),
        "a table of zeros": table(torch.zeros_like),
        "a table of NaN": table(lambda sigmas: sigmas * torch.nan),
        "a table that falls": table(lambda sigmas: sigmas.flip(0)),
        "a table below 0": table(lambda sigmas: -sigmas),
        "an infinite table": table(lambda sigmas: sigmas * torch.inf),
    },
    "SIGMAS": {
        "no levels": levels(),
        "one level": levels(1.0),
        "only 0": levels(0.0),
        "rising": levels(1.0, 2.0, 3.0, 0.0),
        "equal": levels(14.0, 1.0, 1.0, 0.0),
        "NaN": levels(14.0, torch.nan, 0.0),
        "NaN alone": levels(torch.nan, torch.nan),
        "infinite": levels(torch.inf, 1.0, 0.0),
        "negative": levels(14.0, -1.0, 0.0),
        "ends above 0": levels(14.0, 1.0),
        "whole numbers": levels(14, 3, 0, dtype=torch.int64),
        "true and false": levels(True, False),
        "half precision": levels(14.6, 1.0, 0.0, dtype=torch.float16),
        "8 bits": lambda model, positive: torch.tensor([14.0, 1.0, 0.0]).to(torch.float8_e4m3fn),
        "complex": levels(14.0, 1.0, 0.0, dtype=torch.complex64),
        "on no device": lambda model, positive: torch.tensor([14.0, 1.0, 0.0]).to("meta"),
        "sparse": lambda model, positive: torch.tensor([14.0, 1.0, 0.0]).to_sparse(),
        "in two rows": lambda model, positive: torch.tensor([[14.0, 1.0, 0.0]] * 2),
        "a scalar": lambda model, positive: torch.tensor(14.0),
        "a million": lambda model, positive: torch.linspace(14.6, 0.0, 1_000_001),
        "huge": levels(1e38, 1e30, 0.0),
        "tiny": levels(1e-38, 1e-45, 0.0),
        "a list": just([14.0, 1.0, 0.0]),
    },
    "LATENT": {
        "no samples": just({"noise_mask": EMPTY}),
        "samples of nothing": just({"samples": None}),
        "samples in a list": just({"samples": [[0.0]]}),
        "a bare tensor": just(EMPTY),
        "no batch": shaped(0, 1, 8, 8),
        "no width": shaped(1, 1, 8, 0),
        "no channels": shaped(1, 0, 8, 8),
        "a scalar": shaped(),
        "one dimension": shaped(8),
        "two dimensions": shaped(8, 8),
        "three dimensions": shaped(1, 8, 8),
        "three dimensions, an image": shaped(1, 8, 8, value=0.5),
        "seven dimensions": shaped(1, 1, 1, 1, 1, 8, 8),
        "more channels, empty": shaped(1, 16, 8, 8),
        "more channels, an image": shaped(1, 16, 8, 8, value=0.5),
        "NaN": shaped(1, 1, 8, 8, value=torch.nan),
        "infinite": shaped(1, 1, 8, 8, value=torch.inf),
        "huge": shaped(1, 1, 8, 8, value=1e38),
        "half precision": shaped(1, 1, 8, 8, value=0.5, dtype=torch.float16),
        "whole numbers": shaped(1, 1, 8, 8, value=1, dtype=torch.int64),
        "whole numbers, empty": shaped(1, 1, 8, 8, dtype=torch.int64),
        "complex": shaped(1, 1, 8, 8, dtype=torch.complex64),
        "on no device": shaped(1, 1, 8, 8, device="meta"),
        "sparse": lambda model, positive: {"samples": EMPTY.to_sparse()},
        "nested": lambda model, positive: nested(),
        "a mask of nothing": of(noise_mask=None),
        "a mask of text": of(noise_mask="mask"),
        "a mask of a number": of(noise_mask=0.5),
        "a mask without elements": of(noise_mask=torch.zeros(0, 1, 8, 8)),
        "a scalar mask": of(noise_mask=torch.ones(())),
        "a mask of one dimension": of(noise_mask=torch.ones(8)),
        "a mask of seven dimensions": of(noise_mask=torch.ones(1, 1, 1, 1, 1, 8, 8)),
        "a mask of another size": of(noise_mask=torch.ones(3, 1, 13, 5)),
        "a mask of NaN": of(noise_mask=EMPTY * torch.nan),
        "a mask in part NaN": of(
            noise_mask=torch.ones(1, 1, 8, 8).index_fill(3, torch.tensor([2]), torch.nan)
        ),
        "a mask of whole numbers": of(noise_mask=torch.ones(1, 1, 8, 8, dtype=torch.int64)),
        "a mask of true and false": of(noise_mask=torch.ones(1, 1, 8, 8, dtype=torch.bool)),
        "a negative mask": of(noise_mask=-torch.ones(1, 1, 8, 8)),
        "an empty batch index": of(batch_index=[]),
        "a batch index of text": of(batch_index=["first"]),
        "a batch index of a number": of(batch_index=3),
        "a negative batch index": of(batch_index=[-1]),
        "a huge batch index": of(batch_index=[10**12]),
        "a batch index of NaN": of(batch_index=[float("nan")]),
        "a batch index that is too long": of(batch_index=[0, 1, 2]),
    },
    "CONDITIONING": {
        "a bare tensor": just(torch.zeros(1, 1, 10)),
        "without options": just([[torch.zeros(1, 1, 10)]]),
        "options of nothing": just([[torch.zeros(1, 1, 10), None]]),
        "no tensor": just([[None, {}]]),
        "text in place of the tensor": just([["a cat", {}]]),
        "another width": lambda model, positive: wide(positive),
        "no tokens": just([[torch.zeros(1, 0, 10), {}]]),
        "no batch": just([[torch.zeros(0, 1, 10), {}]]),
        "a scalar": just([[torch.zeros(()), {}]]),
        "NaN": just(filled(torch.nan)),
        "infinite": just(filled(torch.inf)),
        "on no device": just([[torch.zeros(1, 1, 10, device="meta"), {}]]),
        "an area of text": lambda model, positive: [[positive[0][0], {"area": "all"}]],
        "a strength of text": lambda model, positive: [[positive[0][0], {"strength": "strong"}]],
        "a control of text": lambda model, positive: [[positive[0][0], {"control": "net"}]],
        "a thousand": lambda model, positive: positive * 1000,
    },
    "GUIDER": {
        "no model": lambda model, positive: NoModelGuider(),
        "a model of text": lambda model, positive: SimpleNamespace(
            model_patcher="model", sample=print
        ),
        "no way to sample": lambda model, positive: SimpleNamespace(model_patcher=model),
        "no prompts": lambda model, positive: comfy.samplers.CFGGuider(model),
        "prompts of nothing": lambda model, positive: guider(model, None, None),
        "a cfg of text": lambda model, positive: guider(
            model, conds(positive), conds(positive), "strong"
        ),
        "a cfg of NaN": lambda model, positive: guider(
            model, conds(positive), conds(positive), torch.nan
        ),
    },
    "SAMPLER": {
        "no function": lambda model, positive: comfy.samplers.KSAMPLER(None),
        "a function of text": lambda model, positive: comfy.samplers.KSAMPLER("euler"),
        "options of nothing": lambda model, positive: comfy.samplers.KSAMPLER(
            comfy.samplers.ksampler("euler").sampler_function, None
        ),
        "options that are not known": lambda model, positive: comfy.samplers.KSAMPLER(
            comfy.samplers.ksampler("euler").sampler_function, {"no such option": 1}
        ),
        "a text for a result": lambda model, positive: WrongSampler(),
    },
    "VAE": {
        "it fails": lambda model, positive: FailingVAE(),
        "no picture": lambda model, positive: FlatVAE(),
        "no pixels": lambda model, positive: SimpleNamespace(
            decode=lambda latent: torch.zeros(1, 0, 0, 3)
        ),
        "pixels of NaN": lambda model, positive: SimpleNamespace(
            decode=lambda latent: torch.full((1, 16, 16, 3), torch.nan)
        ),
        "one channel": lambda model, positive: SimpleNamespace(
            decode=lambda latent: torch.zeros(1, 16, 16, 1)
        ),
        "text": lambda model, positive: SimpleNamespace(decode=lambda latent: "a cat"),
    },
}
BROKEN["AYS_PROFILE"] = {}
BROKEN = {kind: {**ANYTHING, **named} for kind, named in BROKEN.items()}
OUTPUTS = {
    "MODEL": io.Model,
    "SIGMAS": io.Sigmas,
    "LATENT": io.Latent,
    "CONDITIONING": io.Conditioning,
    "GUIDER": io.Guider,
    "SAMPLER": io.Sampler,
    "VAE": io.Vae,
    "AYS_PROFILE": io.Custom("AYS_PROFILE"),
}


class AYSTestBroken(io.ComfyNode):
    """One of these objects, at the output of its type; nothing at the others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestBroken",
            category="tests",
            inputs=[
                io.Combo.Input(
                    "what",
                    options=[f"{kind}: {name}" for kind in BROKEN for name in BROKEN[kind]],
                ),
                io.Model.Input("model"),
                io.Conditioning.Input("positive"),
            ],
            outputs=[output.Output(kind) for kind, output in OUTPUTS.items()],
        )

    @classmethod
    def execute(cls, what: str, model: Any, positive: Any) -> io.NodeOutput:
        """Make it."""
        wanted, name = what.split(": ", 1)
        made = BROKEN[wanted][name](model, positive)
        return io.NodeOutput(*(made if kind == wanted else None for kind in OUTPUTS))


class AYSTestAnything(io.ComfyNode):
    """Any value at outputs of every type that a widget has: the host does not look at it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        kinds = {"INT": io.Int, "FLOAT": io.Float, "STRING": io.String, "COMBO": io.Combo}
        return io.Schema(
            node_id="AYSTestAnything",
            category="tests",
            inputs=[io.String.Input("value")],
            outputs=[output.Output(kind) for kind, output in kinds.items()],
        )

    @classmethod
    def execute(cls, value: str) -> io.NodeOutput:
        """Return what the JSON says."""
        made = json.loads(value)
        return io.NodeOutput(*[made] * 4)
