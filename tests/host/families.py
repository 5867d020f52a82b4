"""Model families as the host loads them, and the graphs in which each is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from align_your_steps.tests.host.server import Graph

__all__ = [
    "AGAIN",
    "FAMILIES",
    "GUIDERS",
    "ROWS_A_CALL",
    "SAMPLERS",
    "STEPS",
    "Family",
    "auto",
    "auto_with_nothing_saved",
    "family_graph",
    "node",
    "optimized",
    "sampled",
]

STEPS = 4
CFG = 3.0
AGAIN = " again"  # in the name of a file with the same weights, which the host loads anew
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
    "ays_model": "fitted",
}


@dataclass(frozen=True)
class Family:
    """Needs of a family's graph beside its checkpoint.

    kind:   the host's names of its configuration and of its prediction
    latent: the node that makes an empty latent, and its inputs
    width:  of a prompt's tokens
    pooled: width of the vector beside them; 0 for none
    masked: whether the prompt carries a mask of its tokens
    preset: the published table that 'auto' takes when nothing is saved; None for the host's simple
    runs:   whether the checkpoint has weights, or only what the family is recognised by
    """

    kind: tuple[str, str]
    latent: tuple[str, dict[str, int]]
    width: int
    pooled: int = 0
    masked: bool = False
    preset: str | None = None
    runs: bool = True


def image(size: int, node: str = "EmptyLatentImage") -> tuple[str, dict[str, int]]:
    """An empty latent image, `size` in pixels."""
    return node, {"width": size, "height": size, "batch_size": 1}


def video(size: int, length: int, node: str) -> tuple[str, dict[str, int]]:
    """An empty latent video, `size` in pixels and `length` in frames."""
    return node, {"width": size, "height": size, "length": length, "batch_size": 1}


HUNYUAN, LIGHTRICKS = "EmptyHunyuanLatentVideo", "EmptyLTXVLatentVideo"
FAMILIES = {
    "SD1.5": Family(("SD15", "EPS"), image(32), 768, preset="SD1.5"),
    "SD2": Family(("SD20", "EPS"), image(32), 1024),
    "SD2 v": Family(("SD20", "V_PREDICTION"), image(32), 1024),
    # The smallest of SDXL's kin; SDXL itself, of 500 MB, is only recognised.
    "SDXL 700M": Family(("KOALA_700M", "EPS"), image(32), 2048, 1280, preset="SDXL"),
    "SDXL v": Family(("KOALA_700M", "V_PREDICTION"), image(32), 2048, 1280, preset="SDXL"),
    "SDXL": Family(("SDXL", "EPS"), image(32), 2048, 1280, preset="SDXL", runs=False),
    "SDXL refiner": Family(
        ("SDXLRefiner", "EPS"), image(32), 1280, 1280, preset="SDXL", runs=False
    ),
    "SVD": Family(("SVD_img2vid", "V_PREDICTION_EDM"), image(32), 1024, preset="SVD", runs=False),
    "SD3": Family(("SD3", "FLOW"), image(64, "EmptySD3LatentImage"), 64, 32),
    # Its 16 channels come from the host's correction of an empty latent.
    "Flux": Family(("Flux", "FLUX"), image(64), 64, 32),
    "Wan 2.1": Family(("WAN21_T2V", "FLOW"), video(64, 5, HUNYUAN), 4096),
    "HunyuanVideo": Family(("HunyuanVideo", "FLOW"), video(64, 5, HUNYUAN), 64, 768),
    "LTXV": Family(("LTXV", "FLUX"), video(128, 9, LIGHTRICKS), 4096, masked=True),
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
    """Optimize AYS with a guider around the loaded model; its levels shown."""
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
            minutes=0.0,
            seed=0,
            method="measured",
            reuse="saved if equal",
            name="",
        ),
        "sigmas": node("AYSTestShowSigmas", sigmas=["optimize", 1]),
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


def chosen(schedule: str, steps: int, model: str = "model") -> dict[str, Any]:
    """AYS Scheduler for a model of the graph."""
    return node(
        "AYSScheduler",
        model=[model, 0],
        schedule=schedule,
        steps=steps,
        denoise=1.0,
        denoise_mode="keep steps",
    )


def auto(name: str) -> Graph:
    """Return what 'auto' means for another load of a model, at the steps of `optimized`."""
    return {
        "model": node("UNETLoader", unet_name=f"{name}{AGAIN}.safetensors", weight_dtype="default"),
        "scheduler": chosen("auto", STEPS),
        "sigmas": node("AYSTestShowSigmas", sigmas=["scheduler", 0]),
    }


def auto_with_nothing_saved(name: str) -> Graph:
    """'auto' for another model of the family, beside what it should stand for; both shown.

    A published table is compared with the host's own copy of it, which is for the levels of the
    family's first models.
    """
    family = FAMILIES[name]
    if family.preset is None:
        expected = node(
            "BasicScheduler", model=["other", 0], scheduler="simple", steps=10, denoise=1.0
        )
    elif family.kind[1] == "V_PREDICTION":
        expected = chosen(family.preset, 10, model="other")
    else:
        core = family.preset.removesuffix(".5")
        expected = node("AlignYourStepsScheduler", model_type=core, steps=10, denoise=1.0)
    return {
        "model": family_graph(name)["model"],
        "kind": node("AYSTestShowModel", model=["model", 0]),
        "other": node("RescaleCFG", model=["model", 0], multiplier=0.375),
        "scheduler": chosen("auto", 10, model="other"),
        "expected": expected,
        "show auto": node("AYSTestShowSigmas", sigmas=["scheduler", 0]),
        "show expected": node("AYSTestShowSigmas", sigmas=["expected", 0]),
    }
