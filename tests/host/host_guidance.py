"""A script for the host's process: what the optimiser runs, beside what the user's guider gives.

It prints JSON; CASES are guiders for a small random UNet.

    runs     case -> `differences`: of the end points of the optimiser's RUNS from those of the
             user's own guider, relative, for the same noise and levels; `calls` counted in RUNS;
             `changed`: what of the user's is not as it was before them; `effect`: distance of
             the user's end points from those of the usual guider
    rows     case of COUPLED -> the `batch` of the optimiser, and whether the user's own guider can
             run two noises `together` with the same result as alone
    digests  variant of VARIANTS -> digest of its guidance
    after    the same after it was sampled
    rebuilt  the same for new objects
    cached   cache of CACHED -> distance of its reference to that without the cache

With the argument `digests` only those, with `rare` only `runs`, of RARE instead of the others.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from align_your_steps.tests.host.in_host import distance, fine_levels, prompt
from torch import Tensor

SIZE, CHANNELS, ROWS, CFG = 8, 4, 2, 4.0
# The two have their first three levels in common.
LEVELS = {"one": [14.6, 6.0, 2.5, 1.0, 0.3, 0.0], "two": [14.6, 6.0, 2.5, 0.7, 0.2, 0.0]}
WALK = [10.0, 3.0, 1.0, 0.2]
RUNS = ("one", "two", "walk", "one")
REFERENCE = 16


class Studio:
    """The host's nodes, models and prompts to use them with."""

    def __init__(self) -> None:
        import nodes

        if "CFGGuider" not in nodes.NODE_CLASS_MAPPINGS:
            asyncio.run(nodes.init_builtin_extra_nodes())
        self.nodes = nodes.NODE_CLASS_MAPPINGS
        self.positive, self.negative, self.other = prompt(3), prompt(-1), prompt(5)
        self.model = unet()

    def node(self, node: str, *arguments: Any, **inputs: Any) -> Any:
        """The outputs of a node of the host, or its only one.

        What is not given stands at its default: newer hosts' nodes have more inputs.
        """
        cls = self.nodes[node]
        widgets = {} if arguments else cls.INPUT_TYPES()["required"]
        usual = {name: w[1]["default"] for name, w in widgets.items() if "default" in dict(*w[1:])}
        out = getattr(cls(), cls.FUNCTION)(*arguments, **{**usual, **inputs})
        outputs = getattr(out, "result", out)
        return outputs[0] if len(outputs) == 1 else outputs

    def guider(self, **inputs: Any) -> Any:
        """A CFGGuider."""
        usual = {"model": self.model, "positive": self.positive, "negative": self.negative}
        return self.node("CFGGuider", **{**usual, "cfg": CFG, **inputs})

    def patched(self, node: str, **inputs: Any) -> Any:
        """A CFGGuider of the model with a node that patches it."""
        return self.guider(model=self.node(node, model=self.model, **inputs))

    def function(self, kind: str, function: Callable[..., Any]) -> Any:
        """A CFGGuider of the model with a function given by `set_model_{kind}`."""
        model = self.model.clone()
        getattr(model, f"set_model_{kind}")(function)
        return self.guider(model=model)

    def dual(self, style: str) -> Any:
        """A DualCFGGuider."""
        conds = {"cond1": self.positive, "cond2": self.other, "negative": self.negative}
        scales = {"cfg_conds": 3.0, "cfg_cond2_negative": 2.0}
        return self.node("DualCFGGuider", model=self.model, **conds, **scales, style=style)

    def perp_neg(self) -> Any:
        """A PerpNegGuider."""
        conds = {"positive": self.positive, "negative": self.other}
        scales = {"cfg": CFG, "neg_scale": 1.0}
        conds["empty_conditioning"] = self.negative
        return self.node("PerpNegGuider", model=self.model, **conds, **scales)

    def foreign(self, kind: str) -> Any:
        """A guider of another pack."""
        from align_your_steps.tests.host.test_pack.guidance import build_guider

        return build_guider(kind, self.model, self.positive, self.negative, CFG)

    def beside(self, node: str, *arguments: Any) -> Any:
        """A CFGGuider of a prompt combined with another one that went through a node."""
        limited = self.node(node, self.other, *arguments)
        return self.guider(positive=self.node("ConditioningCombine", self.positive, limited))

    def ranges(self, boundary: float = 0.3) -> Any:
        """A CFGGuider of two prompts, one after the other."""
        early = self.node("ConditioningSetTimestepRange", self.positive, 0.0, boundary)
        late = self.node("ConditioningSetTimestepRange", self.other, boundary, 1.0)
        return self.guider(positive=self.node("ConditioningCombine", early, late))

    def default(self) -> Any:
        """A CFGGuider of a prompt for the upper part, and a default for what is left."""
        upper = self.node("ConditioningSetMask", self.other, self.upper, "default", 1.0)
        combined = self.node("ConditioningSetDefaultCombine", upper, self.positive)
        return self.guider(positive=combined)

    @cached_property
    def upper(self) -> Tensor:
        """A mask in pixels."""
        rows = torch.arange(8 * SIZE)[:, None] < 3 * SIZE
        return rows.expand(1, 8 * SIZE, 8 * SIZE).float()

    def hooked(self, *keyframes: tuple[float, float], strength: float = 1.0) -> Any:
        """A CFGGuider of a prompt with a LoRA as hook; keyframes are (start_percent, strength)."""
        import comfy.hooks

        weight = torch.randn(32, 32, 3, 3, generator=torch.Generator().manual_seed(5)) / 17
        lora = {"diffusion_model.input_blocks.1.0.in_layers.2.diff": weight}
        hooks = comfy.hooks.create_hook_lora(lora, strength_model=strength, strength_clip=0.0)
        frames = None
        for start, factor in keyframes:
            frames = self.node("CreateHookKeyframe", factor, start, prev_hook_kf=frames)
        if frames is not None:
            hooks = self.node("SetHookKeyframes", hooks=hooks, hook_kf=frames)
        positive = self.node(
            "ConditioningSetProperties", self.positive, 1.0, "default", hooks=hooks
        )
        return self.guider(positive=positive)

    def controlled(
        self, start: float = 0.0, end: float = 1.0, strength: float = 0.7, hint: int = 1
    ) -> Any:
        """A CFGGuider of prompts with two ControlNets, one behind the other."""
        import comfy.cldm.cldm
        import comfy.controlnet
        import comfy.model_management

        settings = dict(self.model.model.model_config.unet_config)
        for name in ("out_channels", "transformer_depth_output"):
            del settings[name]
        network = comfy.cldm.cldm.ControlNet(**settings, hint_channels=3)
        randomise(network, seed=2)
        device = comfy.model_management.get_torch_device()
        control = comfy.controlnet.ControlNet(network, load_device=device)
        random = torch.Generator().manual_seed(hint)
        image = torch.rand(1, 8 * SIZE, 8 * SIZE, 3, generator=random)
        pair = self.positive, self.negative
        for weight in (strength, 0.5):
            pair = self.node("ControlNetApplyAdvanced", *pair, control, image, weight, start, end)
        return self.guider(positive=pair[0], negative=pair[1])


def unet() -> Any:
    """A MODEL around a random UNet of two resolutions, built like Stable Diffusion's."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        unet_config: dict[str, Any] = {}  # noqa: RUF012 - as the host's own class has it
        unet_extra_config: dict[str, Any] = {}  # noqa: RUF012
        latent_format = comfy.latent_formats.SD15
        memory_usage_factor = 0.01

    config = Config(
        {
            "image_size": 32,
            "in_channels": CHANNELS,
            "out_channels": CHANNELS,
            "model_channels": 32,
            "num_res_blocks": [1, 1],
            "channel_mult": [1, 2],
            "num_heads": 2,
            "use_spatial_transformer": True,
            "transformer_depth": [1, 0],
            "transformer_depth_output": [1, 1, 0, 0],
            "transformer_depth_middle": 1,
            "context_dim": 10,
            "dtype": torch.float32,
        }
    )
    config.set_inference_dtype(torch.float32, None)
    offload = comfy.model_management.unet_offload_device()
    model = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.EPS, device=offload)
    randomise(model.diffusion_model, seed=1)
    return comfy.model_patcher.ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


def randomise(network: torch.nn.Module, seed: int) -> None:
    """Weights such that every part of a network has its say; the host leaves them undefined."""
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.requires_grad = False
        noise = torch.randn(parameter.shape, generator=random)
        if parameter.ndim > 1:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)
        else:
            parameter.copy_(0.5 + 0.1 * noise)


CACHE = {"reuse_threshold": 0.6, "start_percent": 0.1, "end_percent": 0.95, "verbose": False}
WINDOWS = {
    "context_length": 4,
    "context_overlap": 1,
    "context_stride": 1,
    "closed_loop": False,
    "fuse_method": "pyramid",
    "dim": 3,
}
TILES = {"tile_size": 32, "swap_size": 1, "max_depth": 0, "scale_depth": False}
APG = {"eta": 0.5, "norm_threshold": 5.0}
KEYFRAMES = ((0.0, 0.2), (0.3, 1.5), (0.7, 0.0))

# Nothing but the host's own guidance takes part in their calls.
PLAIN: dict[str, Callable[[Studio], Any]] = {
    "CFGGuider": lambda s: s.guider(),
    "cfg 1": lambda s: s.guider(cfg=1.0),
    "cfg 0": lambda s: s.guider(cfg=0.0),
    "cfg 100": lambda s: s.guider(cfg=100.0),
    "BasicGuider": lambda s: s.node("BasicGuider", model=s.model, conditioning=s.positive),
    "area": lambda s: s.beside("ConditioningSetArea", 32, 32, 16, 8, 0.8),
    "area percentage": lambda s: s.beside(
        "ConditioningSetAreaPercentage", 0.5, 0.75, 0.25, 0.0, 1.0
    ),
    "mask": lambda s: s.beside("ConditioningSetMask", s.upper, "default", 0.9),
    "mask bounds": lambda s: s.beside("ConditioningSetMask", s.upper, "mask bounds", 0.9),
    "timestep ranges": lambda s: s.ranges(),
    "default": lambda s: s.default(),
}
OTHERS: dict[str, Callable[[Studio], Any]] = {
    "DualCFGGuider": lambda s: s.dual("regular"),
    "PerpNegGuider": lambda s: s.perp_neg(),
    "subclass of another pack": lambda s: s.foreign("turns"),
    "class of another pack": lambda s: s.foreign("plain class"),
    "hook": lambda s: s.hooked(),
    "hook keyframes": lambda s: s.hooked(*KEYFRAMES),
    "ControlNet range": lambda s: s.controlled(0.2, 0.6),
    "FreeU_V2": lambda s: s.patched("FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2),
    "PAG": lambda s: s.patched("PerturbedAttentionGuidance", scale=3.0),
    "SAG": lambda s: s.patched("SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
    "RescaleCFG": lambda s: s.patched("RescaleCFG", multiplier=0.7),
    "TomePatchModel": lambda s: s.patched("TomePatchModel", ratio=0.3),
    "APG momentum": lambda s: s.patched("APG", **APG, momentum=-0.5),
    "EasyCache": lambda s: s.patched("EasyCache", **CACHE),
    "LazyCache": lambda s: s.patched("LazyCache", **CACHE),
    "context windows": lambda s: s.patched(
        "ContextWindowsManual", context_schedule="standard_uniform", **WINDOWS
    ),
    "cfg function": lambda s: s.function(
        "sampler_cfg_function", lambda a: a["uncond"] + 2 * (a["cond"] - a["uncond"])
    ),
    "post-cfg function": lambda s: s.function(
        "sampler_post_cfg_function", lambda a: 0.9 * a["denoised"]
    ),
}
# The same for nodes that differ little from some of these.
RARE: dict[str, Callable[[Studio], Any]] = {
    "DualCFGGuider nested": lambda s: s.dual("nested"),
    "PerpNeg": lambda s: s.patched("PerpNeg", empty_conditioning=s.other, neg_scale=1.0),
    "ControlNet": lambda s: s.controlled(),
    "FreeU": lambda s: s.patched("FreeU", b1=1.1, b2=1.2, s1=0.9, s2=0.2),
    "HyperTile": lambda s: s.patched("HyperTile", **TILES),
    "CFGZeroStar": lambda s: s.patched("CFGZeroStar"),
    "CFGNorm": lambda s: s.patched("CFGNorm", strength=0.8),
    "RenormCFG": lambda s: s.patched("RenormCFG", cfg_trunc=100.0, renorm_cfg=1.0),
    "Mahiro": lambda s: s.patched("Mahiro"),
    "FreSca": lambda s: s.patched("FreSca", scale_low=1.0, scale_high=1.25, freq_cutoff=2),
    "APG": lambda s: s.patched("APG", **APG, momentum=0.0),
    "pre-cfg function": lambda s: s.function(
        "sampler_pre_cfg_function", lambda a: [a["conds_out"][0], 0.9 * a["conds_out"][1]]
    ),
    "UNet function": lambda s: s.function(
        "unet_function_wrapper", lambda f, a: 0.9 * f(a["input"], a["timestep"], **a["c"])
    ),
}
CASES = PLAIN | OTHERS | RARE
COUPLED = ("CFGGuider", "RescaleCFG", "RenormCFG", "context windows", "PerpNegGuider of a mixture")
CACHED = ("EasyCache", "LazyCache")
VARIANTS: dict[str, Callable[[Studio], Any]] = {
    "plain": lambda s: s.guider(),
    "another scale": lambda s: s.guider(cfg=CFG + 0.5),
    "another prompt": lambda s: s.guider(positive=s.other),
    "another negative prompt": lambda s: s.guider(negative=s.other),
    "another class": lambda s: s.perp_neg(),
    "area": CASES["area"],
    "another area": lambda s: s.beside("ConditioningSetArea", 32, 32, 8, 16, 0.8),
    "another area's strength": lambda s: s.beside("ConditioningSetArea", 32, 32, 16, 8, 0.9),
    "mask": CASES["mask"],
    "another mask": lambda s: s.beside("ConditioningSetMask", 1 - s.upper, "default", 0.9),
    "range": CASES["timestep ranges"],
    "another range": lambda s: s.ranges(0.4),
    "hook": CASES["hook"],
    "another hook's strength": lambda s: s.hooked(strength=0.9),
    "keyframes": CASES["hook keyframes"],
    "other keyframes": lambda s: s.hooked((0.0, 0.2), (0.4, 1.5), (0.7, 0.0)),
    "ControlNet": CASES["ControlNet"],
    "another hint": lambda s: s.controlled(hint=2),
    "another ControlNet's strength": lambda s: s.controlled(strength=0.6),
    "another ControlNet's range": CASES["ControlNet range"],
}


def held(value: Any) -> Any:
    """Return what containers hold, by identity: to be compared later."""
    if isinstance(value, dict):
        return {key: held(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [held(item) for item in value]
    return value if isinstance(value, int | float | str | None) else id(value)


def state(guider: Any) -> dict[str, Any]:
    """All of the user's that could have been changed."""
    patcher = guider.model_patcher
    weights = patcher.model.diffusion_model.parameters()
    return {
        **{f"guider.{name}": held(value) for name, value in vars(guider).items()},
        **{f"model.{name}": held(value) for name, value in vars(patcher).items()},
        "options": (id(patcher.model_options), id(getattr(guider, "model_options", None))),
        "weights": [weight.double().sum().item() for weight in weights],
    }


def main() -> None:
    """Run everything and print the answer."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.samplers
    from align_your_steps.nodes import host
    from align_your_steps.tests.host.test_pack.model import build

    studio = Studio()
    sampler = comfy.samplers.sampler_object("dpmpp_2m")

    def guided(guider: Any, channels: int = CHANNELS) -> host.GuidedModel:
        model = guider.model_patcher
        use = host.latent_use(model, {"samples": torch.zeros(1, channels, SIZE, SIZE)}, 1.0)
        judged = host.judged_sampler("dpmpp_2m")
        return host.GuidedModel(guider, host.noise_levels(model), use, judged)

    def noises(rows: int, channels: int = CHANNELS) -> Tensor:
        return torch.randn(rows, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1))

    def sampled(guider: Any, noise: Tensor, levels: list[float]) -> Tensor:
        """Return what the user gets, in the model's own latent space."""
        torch.manual_seed(0)  # TomePatchModel draws
        end = guider.sample(
            noise, torch.zeros_like(noise), sampler, torch.tensor(levels), disable_pbar=True, seed=0
        )
        return guider.model_patcher.model.process_latent_in(end.cpu()).float()

    def runs(guider: Any) -> dict[str, Any]:
        rows = min(ROWS, guided(guider).batch_size)
        noise = noises(rows)
        want = {name: sampled(guider, noise, levels) for name, levels in LEVELS.items()}
        before = state(guider)
        own = guided(guider)
        differences = []
        for run in RUNS:
            torch.manual_seed(0)
            if run == "walk":
                levels = torch.tensor(WALK)
                points = ((level * noise, level.expand(rows)) for level in levels)
                own.walk(points, levels.double())
            else:
                end = own.solver()(noise, torch.tensor(LEVELS[run]), seed=0)
                differences.append(((end - want[run]).norm() / want[run].norm()).item())
        after = state(guider)
        changed = [n for n in before | after if before.get(n) != after.get(n)]
        usual = sampled(studio.guider(), noise, LEVELS["one"])
        return {
            "differences": differences,
            "calls": own.meter.calls,
            "changed": changed,
            "effect": distance(want["one"], usual),
        }

    def together(name: str) -> dict[str, Any]:
        if name in CASES:
            guider, channels = CASES[name](studio), CHANNELS
        else:
            model, studio.model = studio.model, build("gaussian mixture", "eps", seed=7, shift=1.0)
            guider, channels = studio.perp_neg(), 1
            studio.model = model
        noise = noises(2, channels)
        levels = LEVELS["one"]
        alone = torch.cat([sampled(guider, row[None], levels) for row in noise])
        try:
            same = distance(sampled(guider, noise, levels), alone) < 1e-2 * distance(*alone)
        except (RuntimeError, LookupError):
            same = False
        return {"batch": guided(guider, channels).batch_size, "together": same}

    def digests(guiders: dict[str, Any]) -> dict[str, str]:
        return {name: host.guidance_digest(guider) for name, guider in guiders.items()}

    def variants(studio: Studio) -> dict[str, Any]:
        return {name: variant(studio) for name, variant in VARIANTS.items()}

    def cached(name: str) -> float:
        noise = noises(1)
        ends = []
        for case in (name, "CFGGuider"):
            own = guided(CASES[case](studio))
            ends.append(own.reference()(noise, fine_levels(own.levels, REFERENCE), seed=0))
        return distance(*ends)

    def answer(kind: str) -> dict[str, Any]:
        if kind == "rare":
            return {"runs": {name: runs(case(studio)) for name, case in RARE.items()}}
        guiders = variants(studio)
        found = digests(guiders)
        if kind == "digests":
            return {"digests": found}
        for guider in guiders.values():
            sampled(guider, noises(1), WALK)
        return {
            "digests": found,
            "after": digests(guiders),
            "rebuilt": digests(variants(Studio())),
            "runs": {name: runs(case(studio)) for name, case in (PLAIN | OTHERS).items()},
            "rows": {name: together(name) for name in COUPLED},
            "cached": {name: cached(name) for name in CACHED},
        }

    with torch.inference_mode():
        print(json.dumps(answer(*sys.argv[1:] or [""])))


if __name__ == "__main__":
    main()
