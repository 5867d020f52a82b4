"""A script for the host's process: what the optimiser runs, beside what the user's guider gives.

It prints JSON, for every case of CASES:

    equal     for each of the optimiser's RUNS whether it ends, bit for bit, where the user's own guider
              does from the same noise along the same levels
    calls     guided calls that the optimiser counted in these runs
    asked     the same without its memory
    batch     rows that it would put into one call
    changed   what was not as before in the user's objects afterwards; empty if nothing was
    digest    whether the guidance and the model have the same digests afterwards
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import traceback
from typing import Any

import torch
from align_your_steps.tests.host.in_host import prompt
from torch import Tensor

SIZE, CHANNELS, ROWS, CFG = 8, 4, 2, 4.0
LEVELS = {"one": [14.6, 6.0, 2.5, 1.0, 0.3, 0.0], "two": [14.6, 6.0, 2.5, 0.7, 0.2, 0.0]}
RUNS = ("one", "two", "one", "walk", "two", "one")


class Studio:
    """The host's nodes, a small random UNet and what it is prompted with."""

    def __init__(self) -> None:
        import nodes

        asyncio.run(nodes.init_builtin_extra_nodes())
        self.classes = nodes.NODE_CLASS_MAPPINGS
        self.model = unet()
        self.positive, self.negative = prompt(3), prompt(-1)

    def node(self, name: str, *arguments: Any, **inputs: Any) -> Any:
        """The first output of a node of the host."""
        cls = self.classes[name]
        out = getattr(cls(), cls.FUNCTION)(*arguments, **inputs)
        return getattr(out, "result", out)[0]

    def cfg(self, model: Any = None, positive: Any = None, negative: Any = None, cfg: float = CFG):
        return self.node(
            "CFGGuider",
            model=model or self.model,
            positive=positive or self.positive,
            negative=negative or self.negative,
            cfg=cfg,
        )


def unet() -> Any:
    """A MODEL around a random UNet of two resolutions, made as Stable Diffusion's."""
    import comfy.latent_formats
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models_base

    class Config(comfy.supported_models_base.BASE):
        unet_config = dict(
            image_size=32,
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            model_channels=32,
            num_res_blocks=[1, 1],
            channel_mult=[1, 2],
            num_heads=2,
            use_spatial_transformer=True,
            transformer_depth=[1, 1],
            transformer_depth_output=[1, 1, 1, 1],
            transformer_depth_middle=1,
            context_dim=10,
            dtype=torch.float32,
        )
        unet_extra_config = {}
        latent_format = comfy.latent_formats.SD15
        memory_usage_factor = 0.01

    config = Config(Config.unet_config)
    config.set_inference_dtype(torch.float32, None)
    offload = comfy.model_management.unet_offload_device()
    model = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.EPS, device=offload)
    randomise(model.diffusion_model, 1)
    return comfy.model_patcher.ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


def randomise(network: torch.nn.Module, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        scale = 1.0 if parameter.ndim > 1 else 0.1
        parameter.requires_grad = False
        parameter.copy_(scale * torch.randn(parameter.shape, generator=random) / fan_in**0.5)
        if parameter.ndim == 1:
            parameter.add_(0.5)


def rescaled(s: Studio, name: str, **inputs: Any) -> Any:
    """A CFGGuider for a model with a patch of the host."""
    return s.cfg(model=s.node(name, model=s.model, **inputs))


def lora_hooks(s: Studio, strength: float = 1.0, keyframes: Any = ()) -> Any:
    """HOOKS of a LoRA, with keyframes (start_percent, strength)."""
    import comfy.hooks

    weight = torch.randn(32, 32, 3, 3, generator=torch.Generator().manual_seed(5)) / 17
    lora = {"diffusion_model.input_blocks.1.0.in_layers.2.diff": weight}
    hooks = comfy.hooks.create_hook_lora(lora=lora, strength_model=strength, strength_clip=0.0)
    group = None
    for start, factor in keyframes:
        group = s.node(
            "CreateHookKeyframe", strength_mult=factor, start_percent=start, prev_hook_kf=group
        )
    return hooks if group is None else s.node("SetHookKeyframes", hooks=hooks, hook_kf=group)


def hooked(s: Studio, keyframes: Any = ()) -> Any:
    hooks = lora_hooks(s, keyframes=keyframes)
    return s.cfg(positive=s.node("ConditioningSetProperties", s.positive, 1.0, "default", hooks=hooks))


def controlled(s: Studio, start: float = 0.0, end: float = 1.0, hint: int = 1, times: int = 1) -> Any:
    """A CFGGuider whose prompts carry a random ControlNet."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.model_management

    settings = {k: v for k, v in s.model.model.model_config.unet_config.items()}
    settings.pop("out_channels")
    settings.pop("transformer_depth_output")
    network = comfy.cldm.cldm.ControlNet(**settings, hint_channels=3)
    randomise(network, 2)
    control = comfy.controlnet.ControlNet(
        network, load_device=comfy.model_management.get_torch_device()
    )
    image = torch.rand(1, 8 * SIZE, 8 * SIZE, 3, generator=torch.Generator().manual_seed(hint))
    cls = s.classes["ControlNetApplyAdvanced"]
    pair = s.positive, s.negative
    for _ in range(times):
        pair = cls().apply_controlnet(*pair, control, image, 0.7, start, end)
    return s.cfg(positive=pair[0], negative=pair[1])


def mask(s: Studio) -> Tensor:
    area = torch.zeros(1, 8 * SIZE, 8 * SIZE)
    area[:, : 3 * SIZE] = 1.0
    return area


def foreign(s: Studio) -> Any:
    """A guider of another pack: positive and negative in turn."""
    import comfy.samplers

    class Turns(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options={}, seed=None):
            self.turn = getattr(self, "turn", 0) + 1
            conds = [self.conds["positive"], self.conds["negative"]]
            out = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
            return 0.7 * out[0] + 0.3 * out[1]

    guider = Turns(s.model)
    guider.set_conds(s.positive, s.negative)
    return guider


def strange(s: Studio) -> Any:
    """A guider of another pack that is no CFGGuider."""
    import comfy.samplers

    class Strange:
        def __init__(self, model_patcher, positive, negative):
            self.model_patcher, self.positive, self.negative = model_patcher, positive, negative
            self.cfg = 2.0

        def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, callback=None, disable_pbar=False, seed=None):
            return comfy.samplers.sample(
                self.model_patcher, noise, self.positive, self.negative, self.cfg,
                self.model_patcher.load_device, sampler, sigmas, latent_image=latent_image,
                denoise_mask=denoise_mask, callback=callback, disable_pbar=disable_pbar, seed=seed)

    return Strange(s.model, s.positive, s.negative)


def functions(s: Studio, **kinds: Any) -> Any:
    model = s.model.clone()
    for kind, function in kinds.items():
        getattr(model, f"set_model_{kind}")(function)
    return s.cfg(model=model)


CASES = {
    "CFGGuider": lambda s: s.cfg(),
    "cfg 1": lambda s: s.cfg(cfg=1.0),
    "cfg 0": lambda s: s.cfg(cfg=0.0),
    "cfg 100": lambda s: s.cfg(cfg=100.0),
    "BasicGuider": lambda s: s.node("BasicGuider", model=s.model, conditioning=s.positive),
    "DualCFGGuider": lambda s: s.node("DualCFGGuider", model=s.model, cond1=s.positive, cond2=prompt(5), negative=s.negative, cfg_conds=3.0, cfg_cond2_negative=2.0, style="regular"),
    "DualCFGGuider nested": lambda s: s.node("DualCFGGuider", model=s.model, cond1=s.positive, cond2=prompt(5), negative=s.negative, cfg_conds=3.0, cfg_cond2_negative=2.0, style="nested"),
    "PerpNegGuider": lambda s: s.node("PerpNegGuider", model=s.model, positive=s.positive, negative=prompt(5), empty_conditioning=s.negative, cfg=5.0, neg_scale=1.0),
    "PerpNeg": lambda s: rescaled(s, "PerpNeg", empty_conditioning=s.negative, neg_scale=1.0),
    "foreign": foreign,
    "strange": strange,
    "area": lambda s: s.cfg(positive=s.node("ConditioningCombine", s.positive, s.node("ConditioningSetArea", prompt(5), 32, 32, 16, 8, 0.8))),
    "area percent": lambda s: s.cfg(positive=s.node("ConditioningSetAreaPercentage", prompt(5), 0.5, 0.75, 0.25, 0.0, 1.0)),
    "mask": lambda s: s.cfg(positive=s.node("ConditioningCombine", s.positive, s.node("ConditioningSetMask", prompt(5), mask(s), "default", 0.9))),
    "mask bounds": lambda s: s.cfg(positive=s.node("ConditioningCombine", s.positive, s.node("ConditioningSetMask", prompt(5), mask(s), "mask bounds", 0.9))),
    "timestep range": lambda s: s.cfg(positive=s.node("ConditioningCombine", s.node("ConditioningSetTimestepRange", s.positive, 0.0, 0.3), s.node("ConditioningSetTimestepRange", prompt(5), 0.3, 1.0))),
    "default": lambda s: s.cfg(positive=s.node("ConditioningSetDefaultCombine", s.node("ConditioningSetMask", prompt(5), mask(s), "default", 1.0), s.positive)),
    "hook": hooked,
    "hook keyframes": lambda s: hooked(s, keyframes=((0.0, 0.2), (0.3, 1.5), (0.7, 0.0))),
    "control": controlled,
    "control range": lambda s: controlled(s, 0.2, 0.6),
    "control twice": lambda s: controlled(s, 0.2, 1.0, times=2),
    "FreeU": lambda s: rescaled(s, "FreeU", b1=1.1, b2=1.2, s1=0.9, s2=0.2),
    "FreeU_V2": lambda s: rescaled(s, "FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2),
    "PAG": lambda s: rescaled(s, "PerturbedAttentionGuidance", scale=3.0),
    "SAG": lambda s: rescaled(s, "SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
    "RescaleCFG": lambda s: rescaled(s, "RescaleCFG", multiplier=0.7),
    "TomePatchModel": lambda s: rescaled(s, "TomePatchModel", ratio=0.3),
    "HyperTile": lambda s: rescaled(s, "HyperTile", tile_size=32, swap_size=1, max_depth=0, scale_depth=False),
    "EasyCache": lambda s: rescaled(s, "EasyCache", reuse_threshold=0.2, start_percent=0.1, end_percent=0.95, verbose=False),
    "LazyCache": lambda s: rescaled(s, "LazyCache", reuse_threshold=0.2, start_percent=0.1, end_percent=0.95, verbose=False),
    "CFGZeroStar": lambda s: rescaled(s, "CFGZeroStar"),
    "CFGNorm": lambda s: rescaled(s, "CFGNorm", strength=0.8),
    "RenormCFG": lambda s: rescaled(s, "RenormCFG", cfg_trunc=100.0, renorm_cfg=1.0),
    "Mahiro": lambda s: rescaled(s, "Mahiro"),
    "TCFG": lambda s: rescaled(s, "TCFG"),
    "FreSca": lambda s: rescaled(s, "FreSca", scale_low=1.0, scale_high=1.25, freq_cutoff=2),
    "EpsilonScaling": lambda s: rescaled(s, "Epsilon Scaling", scaling_factor=1.01),
    "TSR": lambda s: rescaled(s, "TemporalScoreRescaling", tsr_k=0.95, tsr_sigma=1.0),
    "APG": lambda s: rescaled(s, "APG", eta=0.5, norm_threshold=5.0, momentum=0.0),
    "APG momentum": lambda s: rescaled(s, "APG", eta=0.5, norm_threshold=5.0, momentum=-0.5),
    "ContextWindows": lambda s: rescaled(s, "ContextWindowsManual", context_length=4, context_overlap=1, context_schedule="standard_uniform", context_stride=1, closed_loop=False, fuse_method="pyramid", dim=3),
    "ContextWindows static": lambda s: rescaled(s, "ContextWindowsManual", context_length=4, context_overlap=1, context_schedule="standard_static", context_stride=1, closed_loop=False, fuse_method="pyramid", dim=3),
    "sampler_cfg_function": lambda s: functions(s, sampler_cfg_function=lambda args: args["uncond"] + 2.0 * (args["cond"] - args["uncond"])),
    "sampler_pre_cfg_function": lambda s: functions(s, sampler_pre_cfg_function=lambda args: [args["conds_out"][0], 0.9 * args["conds_out"][1]]),
    "sampler_post_cfg_function": lambda s: functions(s, sampler_post_cfg_function=lambda args: 0.9 * args["denoised"]),
    "unet_function_wrapper": lambda s: functions(s, unet_function_wrapper=lambda apply, args: 0.9 * apply(args["input"], args["timestep"], **args["c"])),
}


def frozen(value: Any) -> Any:
    """What a container holds, by identity, to be compared later."""
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(item) for item in value]
    return repr(value) if isinstance(value, int | float | str | None) else (type(value).__name__, id(value))


def state(guider: Any) -> dict[str, Any]:
    """Everything of the user's that the optimiser could have changed."""
    patcher = guider.model_patcher
    return {
        **{f"guider.{name}": frozen(value) for name, value in vars(guider).items()},
        **{f"model.{name}": frozen(value) for name, value in vars(patcher).items()},
        "options": id(patcher.model_options),
        "weights": [float(p.double().sum()) for p in patcher.model.diffusion_model.parameters()],
    }


def measured(studio: Studio, build: Any) -> dict[str, Any]:
    import comfy.samplers
    from align_your_steps.nodes import host

    guider = build(studio)
    model = guider.model_patcher
    latent = torch.zeros(1, CHANNELS, SIZE, SIZE)
    noise = torch.randn(ROWS, *latent.shape[1:], generator=torch.Generator().manual_seed(1))
    sampler = comfy.samplers.sampler_object("dpmpp_2m")

    def alone(levels: list[float]) -> Tensor:
        torch.manual_seed(0)
        end = guider.sample(noise, latent.expand_as(noise).clone(), sampler, torch.tensor(levels), disable_pbar=True, seed=0)
        return model.model.process_latent_in(end.cpu()).float()

    want = {name: alone(levels) for name, levels in LEVELS.items()}
    before = state(guider)
    digests = host.guidance_digest(guider), host.model_identity(model)
    use = host.latent_use(model, {"samples": latent}, 1.0)
    guided = host.GuidedModel(guider, host.noise_levels(model), use, host.judged_sampler("dpmpp_2m"))
    equal = []
    for run in RUNS:
        torch.manual_seed(0)
        if run == "walk":
            levels = torch.tensor([10.0, 3.0, 1.0, 0.2])
            guided.walk(iter([(s * noise, s.expand(ROWS)) for s in levels]), levels.double())
        else:
            end = guided.solver()(noise, torch.tensor(LEVELS[run]), 0)
            equal.append(float((end - want[run]).abs().max() / want[run].abs().max()))
    after = state(guider)
    return {
        "equal": equal,
        "calls": guided.meter.calls,
        "rows": guided.meter.rows,
        "batch": guided.batch_size,
        "changed": [k for k in before if before[k] != after.get(k)] + [k for k in after if k not in before],
        "digest": digests == (host.guidance_digest(guider), host.model_identity(model)),
    }


def main() -> None:
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    importlib.import_module("utils.install_util")
    studio = Studio()
    answer = {}
    with torch.inference_mode():
        for name in sys.argv[1:] or CASES:
            try:
                answer[name] = measured(studio, CASES[name])
            except Exception as error:
                answer[name] = {"error": repr(error)[:400], "trace": traceback.format_exc()[-600:]}
            print(name, answer[name], flush=True)


if __name__ == "__main__":
    main()
