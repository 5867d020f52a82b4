"""Models that differ in something, for host_identity.py: what the host's loaders and nodes make.

To be imported once the host is on the CPU.
"""

from __future__ import annotations

import atexit
import importlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import comfy.model_detection
import comfy.model_management
import comfy.patcher_extension
import folder_paths
import torch
from align_your_steps.nodes import host
from align_your_steps.schedules import Provenance, Schedule
from align_your_steps.tests.host.identity_guiders import guider, node, sample
from comfy_extras import nodes_freelunch, nodes_model_advanced, nodes_pag
from comfy_extras import nodes_model_merging as merging
from safetensors.torch import save_file

import nodes

__all__ = ["ONE", "OTHER", "beside_a_lora", "files", "load", "models", "write_files"]

Make = Callable[[], Any]

ONE, OTHER = "one.safetensors", "other.safetensors"
FAMILY = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "out.2.weight": (4, 320, 3, 3),
    "input_blocks.1.0.in_layers.0.weight": (320,),
    "input_blocks.1.0.out_layers.3.weight": (320, 320, 3, 3),
    "input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "output_blocks.0.0.in_layers.0.weight": (320,),
    "output_blocks.1.0.in_layers.0.weight": (320,),
}  # by which the host knows the least U-Net of SD1.5
PATCHED = "input_blocks_1_1_transformer_blocks_0_attn1_to_q", (320, 320)


def models() -> dict[str, Make]:
    """Models by what was done to them; those without a word in common differ."""
    return {
        **the_same(),
        **other_weights(),
        **other_patches(),
        **of_newer_hosts(),
        "unidentified": unidentified,
    }


def the_same() -> dict[str, Make]:
    """Models in which nothing differs."""
    return {
        "loaded": load,
        "loaded again": load,
        "cloned": lambda: load().clone(),
        "after sampling": lambda: sampled(load()),
        "while a LoRA is loaded": lambda: beside_a_lora(load()),
        "after sampling with a LoRA": lambda: sampled(lora(load(), 0.5)).parent,
        "with our schedule": attached,
        "with our wrapper": measured,
        "in another memory format": reordered,
    }


def other_weights() -> dict[str, Make]:
    """Models with other weights, or in other numbers."""
    discrete = nodes_model_advanced.ModelSamplingDiscrete
    return {
        "another file": lambda: load(OTHER),
        "a slice of it": slice_changed,
        "LoRA 0.5": lambda: lora(load(), 0.5),
        "LoRA 0.5 again": lambda: lora(load(), 0.5),
        "LoRA 0.5 after sampling": lambda: sampled(lora(load(), 0.5)),
        "LoRA 0.6": lambda: lora(load(), 0.6),
        "another LoRA": lambda: lora(load(), 0.5, 4),
        "two LoRAs": lambda: lora(lora(load(), 0.5), 0.5, 4),
        "v": lambda: node(discrete, load(), "v_prediction", False),
        "v, zsnr": lambda: node(discrete, load(), "v_prediction", True),
        "merged 0.3": lambda: merged(0.3),
        "merged 0.3 again": lambda: sampled(merged(0.3)),
        "merged 0.4": lambda: merged(0.4),
        "merged with itself": lambda: merged(0.3, ONE),
        "fp8": lambda: load(dtype="fp8_e4m3fn"),
        "fp8 again": lambda: sampled(load(dtype="fp8_e4m3fn")),
        "the other fp8": lambda: load(dtype="fp8_e5m2"),
    }


def other_patches() -> dict[str, Make]:
    """Models with patches."""
    return {
        "RescaleCFG 0.7": lambda: node(nodes_model_advanced.RescaleCFG, load(), 0.7),
        "RescaleCFG 0.5": lambda: node(nodes_model_advanced.RescaleCFG, load(), 0.5),
        "FreeU 1.1": lambda: freeu(1.1),
        "FreeU 1.1 again": lambda: sampled(freeu(1.1)),
        "FreeU 1.3": lambda: freeu(1.3),
        "PAG 2": lambda: node(nodes_pag.PerturbedAttentionGuidance, load(), 2.0),
        "PAG 2 again": lambda: sampled(node(nodes_pag.PerturbedAttentionGuidance, load(), 2.0)),
        "PAG 3": lambda: node(nodes_pag.PerturbedAttentionGuidance, load(), 3.0),
        "wrapper 1": lambda: wrapper(1.0),
        "wrapper 1 again": lambda: sampled(wrapper(1.0)),
        "wrapper 2": lambda: wrapper(2.0),
        "injection 1": lambda: injection(1.0),
        "injection 1 again": lambda: sampled(injection(1.0)),
        "injection 2": lambda: injection(2.0),
        "callback 1": lambda: callback(1.0),
        "callback 2": lambda: callback(2.0),
        "one code": lambda: one_of_two_codes(True),
        "another code": lambda: one_of_two_codes(False),
        "a second model": lambda: second_model(ONE),
        "another second model": lambda: second_model(OTHER),
        "a patch that holds the model": refers_to_itself,
        "a patch that holds the model again": lambda: sampled(refers_to_itself()),
    }


def of_newer_hosts() -> dict[str, Make]:
    """Models that not every host can make."""
    found: dict[str, Make] = {}
    if importlib.util.find_spec("comfy_extras.nodes_easycache"):
        easycache = importlib.import_module("comfy_extras.nodes_easycache").EasyCacheNode
        found |= {
            "EasyCache 0.2": lambda: node(easycache, load(), 0.2, 0.15, 0.95, False),
            "EasyCache 0.2 again": lambda: sampled(node(easycache, load(), 0.2, 0.15, 0.95, False)),
            "EasyCache 0.3": lambda: node(easycache, load(), 0.3, 0.15, 0.95, False),
        }
    if importlib.util.find_spec("comfy.quant_ops"):
        found |= {
            "quantised 1": lambda: quantised(1e-3),
            "quantised 1 again": lambda: beside_a_lora(quantised(1e-3)),
            "quantised 2": lambda: quantised(2e-3),
        }
    return found


@cache
def files() -> Path:
    """Folder of the models' files, known to the host; it goes with the process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for kind in ("diffusion_models", "loras"):
        folder_paths.add_model_folder_path(kind, str(folder), is_default=True)
    return folder


@cache
def shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the network's weights."""
    config = comfy.model_detection.model_config_from_unet(random(0, FAMILY), "")
    config.set_inference_dtype(torch.float32, None)
    network = config.get_model({}, "").diffusion_model.state_dict()
    return {key: tuple(weight.shape) for key, weight in network.items()}


def write_files() -> None:
    """Write two models and two LoRAs."""
    write(ONE, random(1, shapes()))
    write(OTHER, random(2, shapes()))
    rank = 4
    factors = {"lora_up": (PATCHED[1][0], rank), "lora_down": (rank, PATCHED[1][1])}
    for seed in (3, 4):
        named = {f"lora_unet_{PATCHED[0]}.{key}.weight": shape for key, shape in factors.items()}
        write(f"lora {seed}.safetensors", random(seed, named))


def write(name: str, tensors: dict[str, torch.Tensor]) -> str:
    save_file({key: tensor.half() for key, tensor in tensors.items()}, files() / name)
    return name


def random(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: 0.02 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def load(name: str = ONE, dtype: str = "default") -> Any:
    return nodes.UNETLoader().load_unet(name, dtype)[0]


def lora(model: Any, strength: float, seed: int = 3) -> Any:
    loader = nodes.LoraLoaderModelOnly()
    return loader.load_lora_model_only(model, f"lora {seed}.safetensors", strength)[0]


def merged(ratio: float, second: str = OTHER) -> Any:
    return node(merging.ModelMergeSimple, load(), load(second), ratio)


def freeu(b1: float) -> Any:
    return node(nodes_freelunch.FreeU, load(), b1=b1, b2=1.2, s1=0.9, s2=0.2)


def wrapper(setting: float) -> Any:
    def wrap(executor: Any, *arguments: Any, **options: Any) -> Any:
        return setting * executor(*arguments, **options)

    model = load()
    kind = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    model.add_wrapper_with_key(kind, "a pack", wrap)
    return model


def injection(setting: float) -> Any:
    def inject(model: Any) -> None:
        model.setting = setting

    model = load()
    made = comfy.patcher_extension.PatcherInjection(inject=inject, eject=lambda model: None)
    model.set_injections("a pack", [made])
    return model


def callback(setting: float) -> Any:
    model = load()
    kind = comfy.patcher_extension.CallbacksMP.ON_PRE_RUN
    model.add_callback_with_key(kind, "a pack", partial(print, setting))
    return model


def one_of_two_codes(first: bool) -> Any:
    if first:

        def patch(args: Any) -> Any:
            return args["denoised"] + 1
    else:

        def patch(args: Any) -> Any:
            return args["denoised"] - 1

    model = load()
    model.set_model_sampler_post_cfg_function(patch)
    return model


def second_model(name: str) -> Any:
    model = load()
    model.set_additional_models("a pack", [load(name)])
    return model


def refers_to_itself() -> Any:
    """As packs do: a patch that holds the model and one of its modules."""
    model = load()
    inner = model.get_model_object("diffusion_model")
    model.set_model_sampler_post_cfg_function(lambda args: (model, inner, args)[2]["denoised"])
    return lora(model, 0.5)


def quantised(scale: float) -> Any:
    """From a file with one weight stored in 8 bits and a scale, as its header says."""
    layer = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    weights = {key: weight.half() for key, weight in random(1, shapes()).items()}
    weights[f"{layer}.weight"] = (weights[f"{layer}.weight"] / scale).to(torch.float8_e4m3fn)
    weights[f"{layer}.weight_scale"] = torch.tensor(scale)
    header = {"layers": {layer: {"format": "float8_e4m3fn"}}}
    name = f"quantised {scale}.safetensors"
    save_file(weights, files() / name, {"_quantization_metadata": json.dumps(header)})
    model = load(name)
    stored = model.get_model_object(f"diffusion_model.{layer}.weight")
    assert hasattr(stored, "__tensor_flatten__"), type(stored)
    return model


def slice_changed() -> Any:
    """A merge of attention values only, in a file."""
    weights = random(1, shapes())
    key = next(key for key in weights if key.endswith("attn1.to_v.weight"))
    weights[key] = 1.01 * weights[key]
    return load(write("slice.safetensors", weights))


def unidentified() -> Any:
    model = load()
    generator = torch.Generator()
    model.set_model_sampler_post_cfg_function(lambda args: (generator, args["denoised"])[1])
    return model


def sampled(model: Any) -> Any:
    sample(guider(model))
    return model


def attached() -> Any:
    schedule = Schedule((14.6, 3.0, 0.0), "ours", Provenance("a", "b", "c"))
    return host.attach(load(), schedule)


def measured() -> Any:
    model = load()
    levels = host.noise_levels(model)
    latent = host.latent_use(model, {"samples": torch.zeros(1, 4, 8, 8)}, 1.0)
    own = host.GuidedModel(guider(model), levels, latent, host.judged_sampler("euler"))
    return own.guider.model_patcher


def beside_a_lora(model: Any) -> Any:
    comfy.model_management.load_models_gpu([lora(model, 0.5)])
    return model


def reordered() -> Any:
    """The same weights in another order of bytes."""
    model = load()
    model.model.to(memory_format=torch.channels_last)
    return model
