"""A node pack for the tests: a model with a part that nothing can tell from others of its kind."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import ComfyExtension, io


class AYSTestUnknown(io.ComfyNode):
    """The model with a function of this pack that holds a generator of random numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A model in, the same model out."""
        return io.Schema(
            node_id="AYSTestUnknown",
            category="tests",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        """Nothing changes but what the model is made of."""
        changed, generator = model.clone(), torch.Generator()
        changed.set_model_sampler_post_cfg_function(lambda args: (generator, args["denoised"])[1])
        return io.NodeOutput(changed)


class UnknownExtension(ComfyExtension):
    """The node of this pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the node class."""
        return [AYSTestUnknown]


async def comfy_entrypoint() -> UnknownExtension:
    """Hand the node to the host."""
    return UnknownExtension()
