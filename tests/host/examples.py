"""The example workflows: what is in them, and where it stands.

An example is written here as columns of nodes, left to right; `make_examples.py` turns it into a
workflow on the host's page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_your_steps.tests.host.server import REPOSITORY, Graph
from PIL import Image

__all__ = ["EXAMPLES", "FOLDER", "Column", "Example", "Node", "place_files"]

FOLDER = REPOSITORY / "example_workflows"

SD15 = "v1-5-pruned-emaonly-fp16.safetensors"
SDXL = "sd_xl_base_1.0.safetensors"
PROMPT = "a lighthouse on a cliff at dawn, soft light, detailed"
NEGATIVE = "blurry, low quality"
PAINTED = (
    "portrait of an old sailor, soft window light",
    "a mountain valley in autumn, mist over a river",
    "a red teapot on a wooden table, studio photo",
    "a busy street at night in the rain, neon signs",
)
SEED = 42
# Room in the page's units: for a prompt of several lines, a line that a node says, and a picture.
PROMPT_ROOM, TEXT_ROOM, PICTURE_ROOM = 70, 70, 260
RESULT_ROOM = TEXT_ROOM + PICTURE_ROOM
FIT_ROOM = RESULT_ROOM + 160  # Optimize AYS says more, and shows more


# Where the page can download the files that are named here, from those who publish them.
HUB = "https://huggingface.co/"
FLUX_TEXT = f"{HUB}comfyanonymous/flux_text_encoders/resolve/main/"
ADDRESSES = {
    SD15: f"{HUB}Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{SD15}",
    SDXL: f"{HUB}stabilityai/stable-diffusion-xl-base-1.0/resolve/main/{SDXL}",
    "flux1-dev.safetensors": f"{HUB}Comfy-Org/flux1-dev/resolve/main/flux1-dev.safetensors",
    "clip_l.safetensors": f"{FLUX_TEXT}clip_l.safetensors",
    "t5xxl_fp16.safetensors": f"{FLUX_TEXT}t5xxl_fp16.safetensors",
    "ae.safetensors": f"{HUB}Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/"
    "ae.safetensors",
}
# Input of a loader: the folder in which the host looks for its files.
FOLDERS = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "vae_name": "vae",
}


@dataclass(frozen=True)
class Node:
    """A node; a link is written as (name of a node, number of its output).

    room: height beside what its inputs take, in the page's units
    """

    kind: str
    inputs: dict[str, Any]
    title: str = ""
    room: int = 0

    def models(self) -> list[dict[str, str]]:
        """Files that it loads, as the host's page wants to know them: name, url, directory."""
        named = {
            self.inputs[name]: folder for name, folder in FOLDERS.items() if name in self.inputs
        }
        return [
            {"name": file, "url": ADDRESSES[file], "directory": folder}
            for file, folder in named.items()
        ]


@dataclass(frozen=True)
class Column:
    """Nodes that stand above each other in a frame with a title.

    width: of the nodes, in the page's units
    """

    title: str
    nodes: dict[str, Node]
    width: int = 310


@dataclass(frozen=True)
class Example:
    """A workflow.

    name: of its file, and its title in the host's browser of templates
    note: two or three sentences that say what to do, in Markdown
    """

    name: str
    note: str
    columns: tuple[Column, ...]

    def ids(self) -> dict[str, str]:
        """A number for each node, as the page would give it."""
        names = [name for column in self.columns for name in column.nodes]
        return {name: str(number) for number, name in enumerate(names, start=1)}

    def graph(self) -> Graph:
        """The nodes as an API graph, with their titles."""
        ids = self.ids()
        graph: Graph = {}
        for column in self.columns:
            for name, node in column.nodes.items():
                inputs = {
                    key: [ids[value[0]], value[1]] if isinstance(value, tuple) else value
                    for key, value in node.inputs.items()
                }
                graph[ids[name]] = {"class_type": node.kind, "inputs": inputs}
                if node.title:
                    graph[ids[name]]["_meta"] = {"title": node.title}
        return graph


def checkpoint(name: str) -> Node:
    """The loader of a checkpoint: MODEL, CLIP, VAE."""
    return Node("CheckpointLoaderSimple", {"ckpt_name": name})


def prompts(loader: tuple[str, int]) -> dict[str, Node]:
    """Both prompts."""
    encode = "CLIPTextEncode"
    return {
        "positive": Node(encode, {"clip": loader, "text": PROMPT}, "Prompt", PROMPT_ROOM),
        "negative": Node(encode, {"clip": loader, "text": NEGATIVE}, "Negative", PROMPT_ROOM),
    }


def empty(size: int, kind: str = "EmptyLatentImage") -> Node:
    """An empty latent of a square picture."""
    return Node(kind, {"width": size, "height": size, "batch_size": 1})


def ksampler(
    model: tuple[str, int],
    latent: str,
    *,
    sampler: str = "ays_model",
    steps: int = 8,
    cfg: float = 7.0,
    denoise: float = 1.0,
) -> Node:
    """A KSampler with the attached schedule."""
    inputs = {
        "model": model,
        "positive": ("positive", 0),
        "negative": ("negative", 0),
        "latent_image": (latent, 0),
        "seed": SEED,
        "control_after_generate": "fixed",
        "steps": steps,
        "cfg": cfg,
        "sampler_name": sampler,
        "scheduler": "ays_model",
        "denoise": denoise,
    }
    return Node("KSampler", inputs)


def picture(vae: tuple[str, int]) -> dict[str, Node]:
    """From the sampled latent to the picture."""
    saved = {"images": ("decode", 0), "filename_prefix": "AYS"}
    return {
        "decode": Node("VAEDecode", {"samples": ("sample", 0), "vae": vae}),
        "save": Node("SaveImage", saved, room=PICTURE_ROOM),
    }


def custom_sampler(sigmas: tuple[str, int], sampler: str) -> dict[str, Node]:
    """SamplerCustomAdvanced with what it needs beside the guider and the latent."""
    noise = {"noise_seed": SEED, "control_after_generate": "fixed"}
    advanced = {
        "noise": ("noise", 0),
        "guider": ("guider", 0),
        "sampler": ("sampler", 0),
        "sigmas": sigmas,
        "latent_image": ("latent", 0),
    }
    return {
        "noise": Node("RandomNoise", noise),
        "sampler": Node("KSamplerSelect", {"sampler_name": sampler}),
        "sample": Node("SamplerCustomAdvanced", advanced),
    }


def optimize(**inputs: Any) -> Node:
    """Optimize AYS: the sampler ays_model in 8 steps, if nothing else is given."""
    settings = {
        "model": ("checkpoint", 0),
        "positive": ("positive", 0),
        "negative": ("negative", 0),
        "latent_image": ("latent", 0),
        "cfg": 7.0,
        "sampler_name": "ays_model",
        "steps": 8,
        "budget": 1000,
        **inputs,
    }
    return Node("AYSOptimize", settings, room=FIT_ROOM)


def fitted(model: Node, optimizer: Node) -> tuple[Column, ...]:
    """From a checkpoint to a picture, by way of Optimize AYS."""
    report = Node("PreviewAny", {"source": ("optimize", 2)}, "Report", PICTURE_ROOM)
    return (
        Column(
            "Model and prompts",
            {"checkpoint": model, **prompts(("checkpoint", 1)), "latent": empty(512)},
        ),
        Column("Fit", {"optimize": optimizer}),
        Column("Use", {"sample": ksampler(("optimize", 0), "latent"), "report": report}),
        Column("Picture", picture(("checkpoint", 2))),
    )


PRESET = Example(
    "1 Start with a published schedule",
    "## Start with a published schedule\n\n"
    "Choose your SDXL checkpoint and press Run. **Apply AYS Schedule** attaches the schedule to "
    "the model; **KSampler** uses it because its scheduler is `ays_model`. For SD 1.5 choose the "
    "schedule `SD1.5`, or `auto` for whatever fits the model.",
    (
        Column(
            "Model and prompts",
            {
                "checkpoint": checkpoint(SDXL),
                **prompts(("checkpoint", 1)),
            },
        ),
        Column(
            "Schedule and sampling",
            {
                "apply": Node(
                    "AYSApply", {"model": ("checkpoint", 0), "schedule": "SDXL"}, room=TEXT_ROOM
                ),
                "latent": empty(1024),
                "sample": ksampler(("apply", 0), "latent", sampler="dpmpp_2m", steps=10),
            },
        ),
        Column("Picture", picture(("checkpoint", 2))),
    ),
)

CUSTOM_SAMPLER = Example(
    "7 Noise levels as SIGMAS",
    "## Noise levels as SIGMAS\n\n"
    "Choose your SD 1.5 checkpoint and press Run. **AYS Scheduler** gives the noise levels "
    "(SIGMAS) to **SamplerCustomAdvanced**, in the place of *BasicScheduler*. For SDXL choose the "
    "schedule `SDXL` and a size of 1024.",
    (
        Column(
            "Model and prompts",
            {
                "checkpoint": checkpoint(SD15),
                **prompts(("checkpoint", 1)),
            },
        ),
        Column(
            "Schedule, size and guidance",
            {
                "scheduler": Node(
                    "AYSScheduler",
                    {
                        "model": ("checkpoint", 0),
                        "schedule": "SD1.5",
                        "steps": 10,
                    },
                    room=TEXT_ROOM,
                ),
                "latent": empty(512),
                "guider": Node(
                    "CFGGuider",
                    {
                        "model": ("checkpoint", 0),
                        "positive": ("positive", 0),
                        "negative": ("negative", 0),
                        "cfg": 7.0,
                    },
                ),
            },
        ),
        Column("Sample", custom_sampler(("scheduler", 0), "dpmpp_2m")),
        Column("Picture", picture(("checkpoint", 2))),
    ),
)

FIT = Example(
    "2 Fit a sampler to your model",
    "## A sampler of your own\n\n"
    "Choose your checkpoint, set steps and cfg to what you use, and press Run. **Optimize AYS** "
    "fits a sampler to your model once, which takes as long as 50 pictures of 20 steps; "
    "*minutes* makes it shorter. **KSampler** uses it as sampler and as scheduler. Next time the "
    "saved result is there at once.",
    fitted(checkpoint(SD15), optimize()),
)

SEVERAL = Example(
    "3 Fit it for several prompts",
    "## One fit for many prompts\n\n"
    "Link your CLIP to **Optimize AYS** too, and write into *prompts* what you usually paint, one "
    "prompt a line. Every seed is measured with one of them in turn, so the result serves other "
    "prompts too, and takes no more calls. With *prompts* empty it takes sixteen of its own.",
    fitted(checkpoint(SD15), optimize(clip=("checkpoint", 1), prompts="\n".join(PAINTED))),
)

COMPARE = Example(
    "4 Compare what is best",
    "## Which schedule is best for my model?\n\n"
    "Choose your checkpoint and press Run. **Compare Schedules** samples the same seeds with "
    "every schedule in its list and ranks them by how close they come to a picture of many steps. "
    "**Plot Sigmas** draws the noise levels of whatever is linked to it: here the winner beside "
    "`karras`.",
    (
        Column(
            "Model and prompts",
            {
                "checkpoint": checkpoint(SD15),
                **prompts(("checkpoint", 1)),
                "latent": empty(512),
            },
        ),
        Column(
            "Compare",
            {
                "compare": Node(
                    "AYSCompare",
                    {
                        "model": ("checkpoint", 0),
                        "positive": ("positive", 0),
                        "negative": ("negative", 0),
                        "latent_image": ("latent", 0),
                        "vae": ("checkpoint", 2),
                        "cfg": 7.0,
                        "sampler_name": "dpmpp_2m",
                        "steps": 10,
                    },
                    room=150,
                ),
            },
            width=460,
        ),
        Column(
            "Look",
            {
                "karras": Node(
                    "BasicScheduler",
                    {
                        "model": ("checkpoint", 0),
                        "scheduler": "karras",
                        "steps": 10,
                        "denoise": 1.0,
                    },
                    "Karras",
                ),
                "plot": Node(
                    "AYSPlot",
                    {
                        "sigmas.sigmas_1": ("compare", 0),
                        "sigmas.sigmas_2": ("karras", 0),
                        "labels": "best, karras",
                    },
                    room=RESULT_ROOM,
                ),
            },
        ),
    ),
)

IMAGE = Example(
    "5 Image to image",
    "## From an image\n\n"
    "Choose your checkpoint and your image, and press Run. With *denoise* 0.6 **KSampler** runs "
    "the last part of the schedule, exactly as it does with its own schedulers: lower keeps more "
    "of your image. The schedule `auto` takes what is saved for the model, else what is published.",
    (
        Column(
            "Image",
            {
                "image": Node("LoadImage", {"image": "example.png"}, room=PICTURE_ROOM),
                "latent": Node("VAEEncode", {"pixels": ("image", 0), "vae": ("checkpoint", 2)}),
            },
        ),
        Column(
            "Model and prompts",
            {
                "checkpoint": checkpoint(SD15),
                **prompts(("checkpoint", 1)),
            },
        ),
        Column(
            "Schedule and sampling",
            {
                "apply": Node(
                    "AYSApply", {"model": ("checkpoint", 0), "schedule": "auto"}, room=TEXT_ROOM
                ),
                "sample": ksampler(
                    ("apply", 0), "latent", sampler="dpmpp_2m", steps=10, denoise=0.6
                ),
            },
        ),
        Column("Picture", picture(("checkpoint", 2))),
    ),
)

FLUX = Example(
    "6 Flux and other flow models",
    "## Flux, SD3 and other flow models\n\n"
    "Choose your files and press Run. Nobody has published a schedule for these models, so "
    "**Optimize AYS** fits a sampler to yours. Flux is slow, and this takes as long as 50 pictures "
    "of 20 steps: *minutes* ends it earlier with the best so far.",
    (
        Column(
            "Model",
            {
                "unet": Node(
                    "UNETLoader", {"unet_name": "flux1-dev.safetensors", "weight_dtype": "default"}
                ),
                "clip": Node(
                    "DualCLIPLoader",
                    {
                        "clip_name1": "clip_l.safetensors",
                        "clip_name2": "t5xxl_fp16.safetensors",
                        "type": "flux",
                    },
                ),
                "vae": Node("VAELoader", {"vae_name": "ae.safetensors"}),
                "shifted": Node(
                    "ModelSamplingFlux",
                    {
                        "model": ("unet", 0),
                        "max_shift": 1.15,
                        "base_shift": 0.5,
                        "width": 1024,
                        "height": 1024,
                    },
                ),
            },
        ),
        Column(
            "Prompt and size",
            {
                "prompt": Node(
                    "CLIPTextEncode", {"clip": ("clip", 0), "text": PROMPT}, "Prompt", PROMPT_ROOM
                ),
                "positive": Node("FluxGuidance", {"conditioning": ("prompt", 0), "guidance": 3.5}),
                "negative": Node("ConditioningZeroOut", {"conditioning": ("prompt", 0)}),
                "latent": empty(1024, "EmptySD3LatentImage"),
            },
        ),
        Column("Fit", {"optimize": optimize(model=("shifted", 0), cfg=1.0)}),
        Column("Use", {"sample": ksampler(("optimize", 0), "latent", cfg=1.0)}),
        Column("Picture", picture(("vae", 0))),
    ),
)

EXAMPLES = {
    example.name: example
    for example in (PRESET, FIT, SEVERAL, COMPARE, IMAGE, FLUX, CUSTOM_SAMPLER)
}


def place_files(base: Path) -> None:
    """Put an empty file of every name that an example chooses, and an image, where a host looks.

    base: base directory of the host
    """
    for example in EXAMPLES.values():
        for node in example.graph().values():
            for name, folder in FOLDERS.items():
                if name in node["inputs"]:
                    path = base / "models" / folder / node["inputs"][name]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
    Image.new("RGB", (256, 256), "grey").save(base / "input" / "example.png")
