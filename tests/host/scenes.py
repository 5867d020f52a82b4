"""Scenes of the pictures: workflows of the digits test model, which needs no download.

Titles say what a node is: a test model is called so.
"""

from __future__ import annotations

from align_your_steps.tests.host.examples import (
    FIT_ROOM,
    PICTURE_ROOM,
    RESULT_ROOM,
    TEXT_ROOM,
    Column,
    Example,
    Node,
    ksampler,
)

__all__ = ["COMPARE", "LOOK", "MACHINES", "MERGE", "USE"]

STEPS, SCALE = 6, 3.0
NAME = "my schedule"
MACHINES = ("machine 1", "machine 2")  # results that are merged
PROMPTS = {
    "positive": Node("AYSTestConditioning", {"label": 3}, "Prompt: a three"),
    "negative": Node("AYSTestConditioning", {"label": -1}, "Negative: any digit"),
}
MODEL = {
    "checkpoint": Node(
        "AYSTestModel", {"denoiser": "digits", "prediction": "eps"}, "digits test model"
    ),
    **PROMPTS,
    "latent": Node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
}
VAE = {"vae": Node("AYSTestDigitsVAE", {}, "digits test VAE")}
GUIDED = {
    "model": ("checkpoint", 0),
    "positive": ("positive", 0),
    "negative": ("negative", 0),
    "latent_image": ("latent", 0),
    "cfg": SCALE,
    "sampler_name": "dpmpp_2m",
    "steps": STEPS,
}

FITTED = {"sampler_name": "ays_model", "budget": 1000, "name": NAME}


def digits_sampler(model: str) -> Node:
    """A KSampler for the digits."""
    node = ksampler((model, 0), "latent")
    return Node(node.kind, {**node.inputs, "steps": STEPS, "cfg": SCALE})


USE = Example(
    "use",
    "",
    (
        Column("Your model and prompts", {**MODEL, **VAE}),
        Column(
            "Optimise",
            {
                "optimize": Node(
                    "AYSOptimize", {**GUIDED, **FITTED, "vae": ("vae", 0)}, room=FIT_ROOM
                )
            },
        ),
        Column(
            "Use",
            {
                "sample": digits_sampler("optimize"),
                "decode": Node("VAEDecode", {"samples": ("sample", 0), "vae": ("vae", 0)}),
            },
        ),
        Column(
            "Picture",
            {
                "picture": Node("PreviewImage", {"images": ("decode", 0)}, room=PICTURE_ROOM),
            },
        ),
    ),
)

COMPARE = Example(
    "compare",
    "",
    (
        Column("Your model and prompts", {**MODEL, **VAE}),
        Column(
            "Compare",
            {
                "compare": Node(
                    "AYSCompare",
                    {
                        **GUIDED,
                        "sampler_name": "ays_model",
                        "vae": ("vae", 0),
                        "schedules": f"{NAME}, dpmpp_2m karras, dpmpp_2m SDXL, euler SD1.5",
                        "noises": 32,
                        "seed": 7,  # noises that Optimize AYS, at seed 0, has not seen
                    },
                    room=RESULT_ROOM,
                ),
            },
            width=460,
        ),
    ),
)

LOOK = Example(
    "look",
    "",
    (
        Column(
            "Your model",
            {
                "checkpoint": MODEL["checkpoint"],
                "latent": MODEL["latent"],
                **PROMPTS,
            },
        ),
        Column(
            "Schedules",
            {
                "scheduler": Node(
                    "AYSScheduler", {"model": ("checkpoint", 0), "steps": STEPS}, room=TEXT_ROOM
                ),
                "karras": Node(
                    "BasicScheduler",
                    {
                        "model": ("checkpoint", 0),
                        "scheduler": "karras",
                        "steps": STEPS,
                        "denoise": 1.0,
                    },
                    "Karras",
                ),
            },
        ),
        Column(
            "Look",
            {
                "plot": Node(
                    "AYSPlot",
                    {
                        "sigmas.sigmas_1": ("scheduler", 0),
                        "sigmas.sigmas_2": ("karras", 0),
                        "labels": "optimised, karras",
                    },
                    room=RESULT_ROOM,
                ),
            },
        ),
        Column(
            "Attach and sample",
            {
                "apply": Node(
                    "AYSApply", {"model": ("checkpoint", 0), "schedule": NAME}, room=TEXT_ROOM
                ),
                "sample": digits_sampler("apply"),
            },
        ),
        Column(
            "Picture",
            {
                **VAE,
                "decode": Node("VAEDecode", {"samples": ("sample", 0), "vae": ("vae", 0)}),
                "picture": Node("PreviewImage", {"images": ("decode", 0)}, room=PICTURE_ROOM),
            },
        ),
    ),
)

MERGE = Example(
    "merge",
    "",
    (
        Column(
            "Merge",
            {
                "merge": Node(
                    "AYSMergeProfiles",
                    {"results": ", ".join(MACHINES), "name": "both machines"},
                    room=RESULT_ROOM + TEXT_ROOM,
                ),
            },
            width=500,
        ),
        Column("Your model and prompts", MODEL),
        Column(
            "Optimise with both",
            {
                "optimize": Node("AYSOptimize", {**GUIDED, "seed": 3, "profile": ("merge", 0)}),
            },
        ),
    ),
)
