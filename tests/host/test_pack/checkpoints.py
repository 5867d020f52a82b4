"""Tiny random-weight checkpoints that the host's own loaders recognise, and prompts for them.

A checkpoint begins as the few weights by whose names and shapes the host tells families apart. The
host itself says which network these stand for, and the network which weights it has: so the files
follow each version of the host. The sizes are the least that it takes for the family's own. Two
families are there in full size too, with every weight of the published checkpoints.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import comfy.model_base
import comfy.model_detection
import folder_paths
import torch
from align_your_steps.benchmarks.unet import LAST_GAIN, SD15, SDXL, UNet
from comfy_api.latest import io
from safetensors.torch import save_file
from torch import Tensor

from .meter import METER
from .model import Network

__all__ = ["AYSTestCheckpoint", "AYSTestEmbedding", "prepare_host"]

Shapes = dict[str, tuple[int, ...]]
LARGEST_DRAW = 1 << 20  # random numbers for one weight; a larger one repeats them


def unet(
    context: int,
    depths: tuple[int, ...],
    channels: int = 320,
    inputs: int = 4,
    linear: bool = True,
    label: int | None = None,
    temporal: bool = False,
) -> Shapes:
    """A U-Net of one resolution whose residual blocks have so many transformer blocks each."""
    shapes: Shapes = {
        "input_blocks.0.0.weight": (channels, inputs, 3, 3),
        "out.2.weight": (4, channels, 3, 3),
    }
    if label is not None:
        shapes["label_emb.0.0.weight"] = (4 * channels, label)
    projection = (channels, channels) if linear else (channels, channels, 1, 1)
    for number, depth in enumerate(depths, start=1):
        block = f"input_blocks.{number}."
        shapes[f"{block}0.in_layers.0.weight"] = (channels,)
        shapes[f"{block}0.out_layers.3.weight"] = (channels, channels, 3, 3)
        if depth:
            shapes[f"{block}1.proj_in.weight"] = projection
            if temporal:
                shapes[f"{block}1.time_stack.0.attn1.to_q.weight"] = (channels, channels)
                shapes[f"{block}1.time_stack.0.attn2.to_q.weight"] = (channels, channels)
        for layer in range(depth):
            keys = f"{block}1.transformer_blocks.{layer}.attn2.to_k.weight"
            shapes[keys] = (channels, context)
    for number in range(len(depths) + 1):
        shapes[f"output_blocks.{number}.0.in_layers.0.weight"] = (channels,)
    return shapes


# By what the host recognises each family.
FAMILIES: dict[str, Shapes] = {
    "SD1.5": unet(768, (1,), linear=False),
    "SD2": unet(1024, (1,)),
    # A bias of 768-pixel models by which the host knows that they predict v: see `random_weight`.
    "SD2 v": unet(1024, (1,)) | {"output_blocks.11.1.transformer_blocks.0.norm1.bias": (320,)},
    "SDXL": unet(2048, (0, 0, 2, 2, 10, 10), label=2816),
    "SDXL v": unet(2048, (0, 2, 5), label=2816) | {"v_pred": (1,), "ztsnr": (1,)},
    "SDXL 700M": unet(2048, (0, 2, 5), label=2816),
    "SDXL refiner": unet(1280, (0, 0, 4, 4, 4, 4, 0, 0), channels=384, label=2560),
    "SVD": unet(1024, (1, 1, 1, 1, 1, 1, 0, 0), inputs=8, label=768, temporal=True),
    "SD3": {
        "joint_blocks.0.context_block.attn.qkv.weight": (192, 64),
        "x_embedder.proj.weight": (64, 16, 2, 2),
        "final_layer.linear.weight": (64, 64),
        "y_embedder.mlp.0.weight": (64, 32),
        "context_embedder.weight": (64, 64),
        "pos_embed": (1, 64, 64),
    },
    "Flux": {
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "single_blocks.0.linear1.weight": (896, 128),
        "img_in.weight": (128, 64),
        "txt_in.weight": (128, 64),
        "vector_in.in_layer.weight": (128, 32),
        "guidance_in.in_layer.weight": (128, 256),
    },
    "Wan 2.1": {
        "head.modulation": (1, 2, 128),
        "head.head.weight": (64, 128),
        "blocks.0.ffn.0.weight": (256, 128),
        "patch_embedding.weight": (128, 16, 1, 2, 2),
    },
    "HunyuanVideo": {
        "txt_in.individual_token_refiner.blocks.0.norm1.weight": (128,),
        "txt_in.input_embedder.weight": (128, 64),
        "img_in.proj.weight": (128, 16, 1, 2, 2),
        "final_layer.linear.weight": (64, 128),
        "vector_in.in_layer.weight": (128, 768),
        "guidance_in.mlp.0.weight": (128, 256),
        "double_blocks.0.img_mod.lin.weight": (768, 128),
        "single_blocks.0.linear1.weight": (896, 128),
    },
    "LTXV": {
        "adaln_single.emb.timestep_embedder.linear_1.bias": (256,),
        "transformer_blocks.0.attn2.to_k.weight": (256, 256),
    },
}

FULL = {"SD1.5 full": SD15, "SDXL full": SDXL}
LAST = "out.2.weight"
DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16")}


@functools.cache
def full_shapes(family: str) -> Shapes:
    """Every weight of a family in full size."""
    with torch.device("meta"):
        network = UNet(FULL[family])
    return {name: tuple(weight.shape) for name, weight in network.state_dict().items()}


def network_shapes(shapes: Shapes) -> Shapes:
    """The weights of the network that the host sees in these shapes."""
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    config = comfy.model_detection.model_config_from_unet(weights, "")
    config.set_inference_dtype(torch.float32, None)
    network = config.get_model({}, "").diffusion_model
    return {name: tuple(weight.shape) for name, weight in network.state_dict().items()}


def random_weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """A weight that keeps the size of what it is multiplied with."""
    count = math.prod(shape)
    noise = torch.randn(min(count, LARGEST_DRAW), generator=generator)
    noise = noise.repeat(-(-count // LARGEST_DRAW))[:count].reshape(shape)
    if len(shape) > 1:
        return noise / math.sqrt(math.prod(shape[1:]))
    # Gains of norms are 1, and biases small. The host takes a spread above 0.09 for v-prediction.
    return 0.2 * noise if name.endswith("bias") else torch.ones(shape)


def prepare_host() -> None:
    """Once in a process: count the calls of loaded models too, and read Flux's widths."""
    apply_model = comfy.model_base.BaseModel.apply_model
    detect = comfy.model_detection.detect_unet_config

    def counted(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(self.diffusion_model, Network):  # which counts by itself
            METER.note(rows=len(x))
        output: Tensor = apply_model(self, x, *args, **kwargs)
        return output

    def detect_with_widths(weights: Any, prefix: str, *args: Any, **kwargs: Any) -> Any:
        # Older hosts take the widths of Flux for granted: the smallest such network has 1.5 GB.
        # Newer ones read them off the weights, as here.
        config = detect(weights, prefix, *args, **kwargs)
        if config is not None and config.get("image_model") == "flux":
            hidden, _ = weights[f"{prefix}img_in.weight"].shape
            config["hidden_size"] = hidden
            config["num_heads"] = hidden // sum(config["axes_dim"])
            config["context_in_dim"] = weights[f"{prefix}txt_in.weight"].shape[1]
            config["vec_in_dim"] = weights[f"{prefix}vector_in.in_layer.weight"].shape[1]
        return config

    comfy.model_base.BaseModel.apply_model = counted
    comfy.model_detection.detect_unet_config = detect_with_widths


class AYSTestCheckpoint(io.ComfyNode):
    """A file for the host's loader of diffusion models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestCheckpoint",
            category="tests",
            inputs=[
                io.Combo.Input("family", options=[*FAMILIES, *FULL]),
                io.String.Input("file", default="tiny"),
                io.Boolean.Input("runs", default=True),
                io.Combo.Input("dtype", options=list(DTYPES), default="float16", optional=True),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, family: str, file: str, runs: bool, dtype: str = "float16") -> io.NodeOutput:
        """Write it. One that does not run holds only what the family is recognised by."""
        if family in FULL:
            shapes = full_shapes(family)
        else:
            known_by = FAMILIES[family]
            shapes = {**known_by, **network_shapes(known_by)}
            if not runs:
                shapes = {name: shapes[name] for name in known_by}
        generator = torch.Generator().manual_seed(0)
        # Half precision, as most files have: the host chooses what it computes in.
        weights = {
            name: random_weight(name, shape, generator).to(DTYPES[dtype])
            for name, shape in shapes.items()
        }
        if family in FULL:
            weights[LAST] *= LAST_GAIN  # or runs of a deep random network would be rough
        folder = Path(folder_paths.get_folder_paths("diffusion_models")[-1])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{file}.safetensors"
        save_file(weights, path)
        return io.NodeOutput(ui={"path": [str(path)]})


class AYSTestEmbedding(io.ComfyNode):
    """Conditioning as a text encoder would give it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestEmbedding",
            category="tests",
            inputs=[
                io.Int.Input("tokens", default=4, min=1, max=4096),
                io.Int.Input("width", default=768, min=1, max=65536),
                io.Int.Input("pooled", default=0, min=0, max=65536),
                io.Int.Input("seed", default=0, min=0, max=65535, control_after_generate=False),
                io.Boolean.Input("masked", default=False),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(
        cls, tokens: int, width: int, pooled: int, seed: int, masked: bool
    ) -> io.NodeOutput:
        """Random tokens [1, tokens, width], and with `pooled` a random vector [1, pooled]."""
        generator = torch.Generator().manual_seed(seed)
        options = {}
        prompt = torch.randn(1, tokens, width, generator=generator)
        if pooled:
            options["pooled_output"] = torch.randn(1, pooled, generator=generator)
        if masked:
            options["attention_mask"] = torch.ones(1, tokens, dtype=torch.long)
        return io.NodeOutput([[prompt, options]])
