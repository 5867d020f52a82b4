"""Model families as the host loads them, and the graphs in which each is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from align_your_steps.tests.host.server import Graph

__all__ = ["FAMILIES", "GUIDERS", "SAMPLERS", "Family", "family_graph", "optimized", "sampled"]

STEPS = 4
CFG = 3.0
# One or two samplers of each group.
SAMPLERS = {
    "euler": "first order",
    "dpmpp_2m": "multistep",
    "heun": "two calls a step",
    "euler_ancestral": "ancestral",
    "dpmpp_2m_sde": "SDE",
    "dpm_2": "two calls, drops a level",
    "uni_pc": "drops a level",
    "euler_cfg_pp": "cfg++",
}


@dataclass(frozen=True)
class Family:
    """What a family's graph needs beside its checkpoint.

    latent: the node that makes an empty latent, and its inputs
    width:  of a prompt's tokens
    pooled: width of the vector beside them; 0 for none
    masked: whether the prompt carries a mask of its tokens
    preset: what 'auto' takes when nothing is saved
    kind:   the host's names of the network's class and of its prediction
    """

    latent: tuple[str, dict[str, int]]
    width: int
    pooled: int = 0
    masked: bool = False
    preset: str = "simple"
    kind: tuple[str, str] = ("BaseModel", "EPS")


def image(size: int, node: str = "EmptyLatentImage") -> tuple[str, dict[str, int]]:
    """An empty latent image, `size` in pixels."""
    return node, {"width": size, "height": size, "batch_size": 1}


def video(size: int, length: int, node: str) -> tuple[str, dict[str, int]]:
    """An empty latent video, `size` in pixels and `length` in frames."""
    return node, {"width": size, "height": size, "length": length, "batch_size": 1}


FAMILIES = {
    "SD1.5": Family(image(64), 768, preset="SD1.5"),
    "SD2": Family(image(64), 1024),
    "SD2 v": Family(image(64), 1024, kind=("BaseModel", "V_PREDICTION")),
    "SDXL 700M": Family(image(32), 2048, 1280, preset="SDXL", kind=("SDXL", "EPS")),
    "SDXL v": Family(image(32), 2048, 1280, preset="SDXL", kind=("SDXL", "V_PREDICTION")),
    "SD3": Family(image(64, "EmptySD3LatentImage"), 64, 32, kind=("SD3", "FLOW")),
    # Its 16 channels come from the host's correction of an empty latent.
    "Flux": Family(image(64), 64, 32, kind=("Flux", "FLUX")),
    "Wan 2.1": Family(video(64, 5, "EmptyHunyuanLatentVideo"), 4096, kind=("WAN21", "FLOW")),
    "HunyuanVideo": Family(
        video(64, 5, "EmptyHunyuanLatentVideo"), 64, 768, kind=("HunyuanVideo", "FLOW")
    ),
    "LTXV": Family(
        video(128, 9, "EmptyLTXVLatentVideo"), 4096, masked=True, kind=("LTXV", "FLUX")
    ),
}
GUIDERS: dict[str, dict[str, Any]] = {
    "CFGGuider": {"positive": ["positive", 0], "negative": ["negative", 0], "cfg": CFG},
    "BasicGuider": {"conditioning": ["positive", 0]},
    "DualCFGGuider": {
        "cond1": ["positive", 0],
        "cond2": ["second", 0],
        "negative": ["negative", 0],
        "cfg_conds": CFG,
        "cfg_cond2_negative": 1.5,
        "style": "regular",
    },
    "PerpNegGuider": {
        "positive": ["positive", 0],
        "negative": ["second", 0],
        "empty_conditioning": ["negative", 0],
        "cfg": CFG,
        "neg_scale": 0.5,
    },
}
ROWS_A_CALL = {"CFGGuider": 2, "BasicGuider": 1, "DualCFGGuider": 3, "PerpNegGuider": 3}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of an API graph."""
    return {"class_type": class_type, "inputs": inputs}


def family_graph(name: str) -> Graph:
    """The loaded model, three prompts and an empty latent."""
    family = FAMILIES[name]
    latent, size = family.latent
    tokens = {"tokens": 4, "width": family.width, "pooled": family.pooled, "masked": family.masked}
    return {
        "model": node("UNETLoader", unet_name=f"{name}.safetensors", weight_dtype="default"),
        "positive": node("AYSTestEmbedding", seed=1, **tokens),
        "negative": node("AYSTestEmbedding", seed=2, **tokens),
        "second": node("AYSTestEmbedding", seed=3, **tokens),
        "latent": node(latent, **size),
    }


def optimized(name: str, guider: str, sampler: str, budget: int) -> Graph:
    """Optimize AYS with a guider around the loaded model; its levels and its report shown."""
    return {
        **family_graph(name),
        "guider": node(guider, model=["model", 0], **GUIDERS[guider]),
        "optimize": node(
            "AYSOptimize",
            model=["model", 0],
            guider=["guider", 0],
            cfg=CFG,
            sampler_name=sampler,
            steps=STEPS,
            denoise=1.0,
            latent_image=["latent", 0],
            budget=budget,
            seed=0,
            method="measured",
            reuse="saved if equal",
            name="",
        ),
        "sigmas": node("AYSTestShowSigmas", sigmas=["optimize", 1]),
        "report": node("AYSTestShowText", text=["optimize", 2]),
    }


def sampled(graph: Graph, guider: str, sampler: str) -> Graph:
    """The same graph, sampled by KSampler and by SamplerCustomAdvanced; both recorded and saved."""
    return {
        **graph,
        "attached": node("AYSTestRecord", model=["optimize", 0], label="KSampler"),
        "ksampler": node(
            "KSampler",
            model=["attached", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=5,
            steps=STEPS,
            cfg=1.0 if guider == "BasicGuider" else CFG,
            sampler_name=sampler,
            scheduler="ays_model",
            denoise=1.0,
        ),
        "recorded": node("AYSTestRecord", model=["model", 0], label="SamplerCustomAdvanced"),
        "its guider": node(guider, model=["recorded", 0], **GUIDERS[guider]),
        "noise": node("RandomNoise", noise_seed=5),
        "sampler": node("KSamplerSelect", sampler_name=sampler),
        "custom": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["its guider", 0],
            sampler=["sampler", 0],
            sigmas=["optimize", 1],
            latent_image=["latent", 0],
        ),
        "save KSampler": node("SaveLatent", samples=["ksampler", 0], filename_prefix="families"),
        "save custom": node("SaveLatent", samples=["custom", 0], filename_prefix="families"),
    }
