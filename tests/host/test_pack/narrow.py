"""Networks that take few rows at a time, as engines of a fixed shape do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

__all__ = ["AYSTestNarrow"]

Forward = Callable[..., Tensor]


def refusing(error: type[Exception], says: str) -> Callable[[Forward, int], Forward]:
    """A network that fails with an error for more rows than it takes."""

    def made(forward: Forward, most: int) -> Forward:
        def narrow(xc: Tensor, t: Tensor, *arguments: Any, **options: Any) -> Tensor:
            if len(xc) > most:
                raise error(says)
            return forward(xc, t, *arguments, **options)

        return narrow

    return made


def first_only(forward: Forward, most: int) -> Forward:
    """Answers for the first rows only, as what squeezes its batch does."""

    def narrow(xc: Tensor, t: Tensor, *arguments: Any, **options: Any) -> Tensor:
        return forward(xc, t, *arguments, **options)[:most]

    return narrow


def repeated(forward: Forward, most: int) -> Forward:
    """The answer for the first rows in all places."""

    def narrow(xc: Tensor, t: Tensor, *arguments: Any, **options: Any) -> Tensor:
        answer = forward(xc, t, *arguments, **options)
        return answer[torch.arange(len(xc)) % most]

    return narrow


# What a network does with more rows than it takes.
KINDS: dict[str, Callable[[Forward, int], Forward]] = {
    "an engine": refusing(RuntimeError, "Static dimension mismatch: expected [1, 1, 8, 8]"),
    "a check": refusing(AssertionError, "batch size must be 1"),
    "a shape": refusing(ValueError, "not enough values to unpack (expected 4, got 3)"),
    "an index": refusing(IndexError, "index 1 is out of bounds for dimension 0 with size 1"),
    "nothing yet": refusing(NotImplementedError, "batch > 1 is not supported"),
    "the first only": first_only,
    "the first again": repeated,
}


class AYSTestNarrow(io.ComfyNode):
    """A model whose network takes few rows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestNarrow",
            category="tests",
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("kind", options=list(KINDS)),
                io.Int.Input("most", default=1, min=1, max=64),
                io.Boolean.Input("wrapped", default=False),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, kind: str, most: int, wrapped: bool) -> io.NodeOutput:
        """Change the network itself, or wrap its calls as other packs do."""
        if wrapped:
            clone = model.clone()

            def wrapper(apply_model: Callable[..., Tensor], given: dict[str, Any]) -> Tensor:
                narrow = KINDS[kind](lambda xc, t, **c: apply_model(xc, t, **c), most)
                return narrow(given["input"], given["timestep"], **given["c"])

            clone.set_model_unet_function_wrapper(wrapper)
            return io.NodeOutput(clone)
        clone = model.clone()
        clone.model = copy.deepcopy(model.model)  # the host keeps the one that is linked
        network = clone.model.diffusion_model
        network.forward = KINDS[kind](network.forward, most)
        return io.NodeOutput(clone)
