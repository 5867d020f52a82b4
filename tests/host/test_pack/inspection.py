"""Nodes that make, show and record what passes between nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io

__all__ = [
    "AYSTestRecord",
    "AYSTestShowModel",
    "AYSTestShowSigmas",
    "AYSTestShowText",
    "AYSTestSigmas",
    "record_file",
]


def record_file() -> Path:
    """The file to which AYSTestRecord appends, one JSON object a line."""
    return Path(folder_paths.get_temp_directory()) / "sigmas.jsonl"


class AYSTestSigmas(io.ComfyNode):
    """Levels typed in as text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestSigmas",
            category="tests",
            inputs=[io.String.Input("levels", default="1, 0")],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, levels: str) -> io.NodeOutput:
        """Turn "14.6, 1, 0" into a tensor."""
        return io.NodeOutput(torch.tensor([float(level) for level in levels.split(",")]))


class AYSTestShowSigmas(io.ComfyNode):
    """Levels, in the prompt's history."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestShowSigmas",
            category="tests",
            inputs=[io.Sigmas.Input("sigmas")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, sigmas: torch.Tensor) -> io.NodeOutput:
        """Show the values."""
        return io.NodeOutput(ui={"sigmas": sigmas.tolist()})


class AYSTestShowText(io.ComfyNode):
    """A text, in the prompt's history."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestShowText",
            category="tests",
            inputs=[io.String.Input("text", force_input=True)],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        """Show the text."""
        return io.NodeOutput(ui={"text": [text]})


class AYSTestShowModel(io.ComfyNode):
    """Show in the prompt's history what the host has recognised a model as."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestShowModel",
            category="tests",
            inputs=[io.Model.Input("model")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        """Show the class of its configuration, the type of its prediction, what it computes in."""
        inner = model.model
        kind = [type(inner.model_config).__name__, inner.model_type.name]
        dtype = inner.manual_cast_dtype or inner.get_dtype()
        return io.NodeOutput(ui={"kind": kind, "dtype": [str(dtype).removeprefix("torch.")]})


class AYSTestRecord(io.ComfyNode):
    """A model that records the levels of every sampler run made with it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestRecord",
            category="tests",
            inputs=[io.Model.Input("model"), io.String.Input("label", default="")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any, label: str) -> io.NodeOutput:
        """Wrap the innermost call that all samplers have in common."""

        def record(executor: Any, wrapped: Any, sigmas: torch.Tensor, *args: Any) -> Any:
            line = {"label": label, "sigmas": sigmas.tolist()}
            path = record_file()
            path.parent.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            return executor(wrapped, sigmas, *args)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "ays_test", record)
        return io.NodeOutput(model)
