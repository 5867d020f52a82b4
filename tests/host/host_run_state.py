"""A script for the host's process: identities of models with patches that remember their runs.

It prints JSON: `patches`, name -> the identity before and after a picture, after one of a clone,
of the same patch made anew, of another setting and of another model; `compiled`, the same of
compiled models; `beside`, name -> identities of two networks that differ beside their weights, and
of the first one after a picture; `told` and `told of networks`, the warnings. An argument changes
nothing: with it, another process makes everything anew.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import json
import logging
import threading
import types
from collections import deque
from collections.abc import Callable
from typing import Any

STATE_ALONE = {"a list of results", "in place", "deque"}  # that have no setting beside the state
UNCLEAR = {"settings by name", "no source"}  # where a setting cannot be told from the state


def remember(memory: dict[str, Any], x: Any) -> None:
    """Do what another function does for a patch."""
    memory["last"] = x


class Momentum:
    """As of projected guidance."""

    def __init__(self, factor: float) -> None:
        self.factor, self.average = factor, 0.0

    def update(self, x: Any) -> None:
        self.average = x.mean() + self.factor * self.average


class Cache:
    """As caches of calls are written: settings, counters and tensors by key."""

    def __init__(self, limit: float) -> None:
        self.limit, self.steps, self.kept = limit, 0, {}

    @functools.cached_property
    def scale(self) -> float:
        return 1.0 + self.limit

    def call(self, apply: Any, kw: Any) -> Any:
        self.steps += 1
        self._keep(kw)
        return call(apply, kw)

    def _keep(self, kw: Any) -> None:
        for part in ("input", "timestep"):
            self.kept[part] = self.scale * kw[part]

    __call__ = call


class LockedCache(Cache):
    """With a lock, which the host cannot copy: functions hold such a one in a closure."""

    def __init__(self, limit: float) -> None:
        super().__init__(limit)
        self.lock = threading.Lock()

    def call(self, apply: Any, kw: Any) -> Any:
        with self.lock:
            return super().call(apply, kw)


class Slotted:
    """A patch with slots."""

    __slots__ = ("limit", "steps")

    def __init__(self, limit: float) -> None:
        self.limit, self.steps = limit, 0

    def __call__(self, apply: Any, kw: Any) -> Any:
        self.steps += 1
        return call(apply, kw)


def call(apply: Any, kw: Any) -> Any:
    """The model's own answer."""
    return apply(kw["input"], kw["timestep"], **kw["c"])


def dict_in_closure(model: Any, limit: float) -> None:
    memory = {"calls": 0, "limit": limit}

    def wrap(apply: Any, kw: Any) -> Any:
        memory["calls"] += 1
        return call(apply, kw)

    model.set_model_unet_function_wrapper(wrap)


def counter_in_an_inner_function(model: Any, limit: float) -> None:
    calls = 0

    def wrap(apply: Any, kw: Any) -> Any:
        def count() -> None:
            nonlocal calls
            calls += int(limit > 0)

        count()
        return call(apply, kw)

    model.set_model_unet_function_wrapper(wrap)


def object_in_closure(model: Any, limit: float) -> None:
    cache = LockedCache(limit)
    model.set_model_unet_function_wrapper(lambda apply, kw: cache.call(apply, kw))


def default_argument(model: Any, limit: float) -> None:
    def wrap(apply: Any, kw: Any, memory: Any = {"last": None, "limit": limit}) -> Any:  # noqa: B006
        memory.update(last=kw["input"])
        return call(apply, kw)

    model.set_model_unet_function_wrapper(wrap)


def in_transformer_options(model: Any, limit: float) -> None:
    model.model_options["transformer_options"]["a pack"] = {"residual": None, "limit": limit}

    def wrap(apply: Any, kw: Any) -> Any:
        mine = kw["c"]["transformer_options"]["a pack"]
        mine["residual"] = kw["input"]
        return call(apply, kw)

    model.set_model_unet_function_wrapper(wrap)


def object_in_transformer_options(model: Any, limit: float) -> None:
    model.model_options["transformer_options"]["a pack"] = types.SimpleNamespace(limit=limit, n=0)

    def wrap(executor: Any, x: Any, *rest: Any, transformer_options: Any, **more: Any) -> Any:
        mine = transformer_options.get("a pack")
        mine.n += 1
        return executor(x, *rest, transformer_options=transformer_options, **more)

    kind = importlib.import_module("comfy.patcher_extension").WrappersMP.DIFFUSION_MODEL
    model.add_wrapper_with_key(kind, "a pack", wrap)


def momentum_after_cfg(model: Any, limit: float) -> None:
    momentum = Momentum(limit)

    def after(args: Any) -> Any:
        momentum.update(args["denoised"])
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(after)


def list_of_results(model: Any, limit: float) -> None:
    results: list[Any] = []

    def after(args: Any) -> Any:
        results.append(args["denoised"])
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(after)


def in_place(model: Any, limit: float) -> None:
    kept = importlib.import_module("torch").zeros(1, 1, 8, 8)

    def after(args: Any) -> Any:
        kept.copy_(args["denoised"][:1])
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(after)


def in_a_deque(model: Any, limit: float) -> None:
    last: Any = deque(maxlen=3)

    def after(args: Any) -> Any:
        last.append(args["denoised"].mean())
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(after)


def by_another_function(model: Any, limit: float) -> None:
    memory = {"limit": limit}

    def wrap(apply: Any, kw: Any) -> Any:
        remember(memory, kw["input"])
        return call(apply, kw)

    model.set_model_unet_function_wrapper(wrap)


def partial_with_memory(model: Any, limit: float) -> None:
    def wrap(memory: Any, apply: Any, kw: Any) -> Any:
        memory.setdefault("first", kw["input"])
        return call(apply, kw)

    model.set_model_unet_function_wrapper(functools.partial(wrap, {"limit": limit}))


def function_attribute(model: Any, limit: float) -> None:
    def wrap(apply: Any, kw: Any) -> Any:
        wrap.calls += 1  # type: ignore[attr-defined]
        return call(apply, kw)

    wrap.calls, wrap.limit = 0, limit  # type: ignore[attr-defined]
    model.set_model_unet_function_wrapper(wrap)


def on_the_network(model: Any, limit: float) -> None:
    network = model.get_model_object("diffusion_model")

    def wrap(apply: Any, kw: Any) -> Any:
        network.a_packs_residual = limit * kw["input"]
        return call(apply, kw)

    model.set_model_unet_function_wrapper(wrap)


def by_address(model: Any, limit: float) -> None:
    place, named = id(model), f"of {object()!r}"

    def wrap(apply: Any, kw: Any) -> Any:
        return (place, named, limit, call(apply, kw))[-1]

    model.set_model_unet_function_wrapper(wrap)


def settings_by_name(model: Any, limit: float) -> None:
    memory = {"limit": limit}

    def wrap(apply: Any, kw: Any) -> Any:
        for name in list(kw):
            memory[name] = 1.0
        return call(apply, kw)

    model.set_model_unet_function_wrapper(wrap)


def without_source(model: Any, limit: float) -> None:
    """As of compiled files, and of code that is made while it runs."""
    memory = {"calls": 0, "limit": limit}

    def wrap(apply: Any, kw: Any) -> Any:
        memory["calls"] += 1
        return call(apply, kw)

    wrap.__code__ = wrap.__code__.replace(co_filename="<made>", co_name="made")
    wrap.__module__ = "made"
    model.set_model_unet_function_wrapper(wrap)


PATCHES: dict[str, Callable[[Any, float], None]] = {
    "dict in closure": dict_in_closure,
    "counter in an inner function": counter_in_an_inner_function,
    "object in closure": object_in_closure,
    "bound method": lambda m, limit: m.set_model_unet_function_wrapper(Cache(limit).call),
    "callable object": lambda m, limit: m.set_model_unet_function_wrapper(Cache(limit)),
    "slots": lambda m, limit: m.set_model_unet_function_wrapper(Slotted(limit)),
    "default argument": default_argument,
    "transformer options": in_transformer_options,
    "object in transformer options": object_in_transformer_options,
    "momentum after CFG": momentum_after_cfg,
    "a list of results": list_of_results,
    "in place": in_place,
    "deque": in_a_deque,
    "by another function": by_another_function,
    "partial": partial_with_memory,
    "function attribute": function_attribute,
    "on the network": on_the_network,
    "by address": by_address,
    "settings by name": settings_by_name,
    "no source": without_source,
}


def beside_weights(torch: Any) -> dict[str, Callable[[Any, float], None]]:
    """Ways in which a network answers by something beside its weights, with a strength."""

    class Handle:
        def __init__(self, strength: float) -> None:
            self.inside = ctypes.c_double(strength)

    class SlottedEngine:
        __slots__ = ("strength",)

        def __init__(self, strength: float) -> None:
            self.strength = strength

    def set_to(name: str, make: Callable[[float], Any]) -> Callable[[Any, float], None]:
        return lambda network, strength: setattr(network, name, make(strength))

    def hook(network: Any, strength: float) -> None:
        network.register_forward_hook(lambda module, args, out: strength * out)

    def method(network: Any, strength: float) -> None:
        network.forward = functools.partial(network.forward, strength=strength)

    def on_a_layer(network: Any, strength: float) -> None:
        network.layer.lora = torch.ones(2), strength

    def class_made_for_it(network: Any, strength: float) -> None:
        class Other(type(network)):  # type: ignore[misc]
            def forward(self, x: Any, *rest: Any, **more: Any) -> Any:
                return strength * super().forward(x, *rest, **more)

        network.__class__ = Other

    return {
        "an engine": set_to("engine", lambda s: types.SimpleNamespace(strength=s)),
        "an engine with slots": set_to("engine", SlottedEngine),
        "a number": set_to("strength", float),
        "a file": set_to("path", lambda s: f"{s}.engine"),
        "a plain tensor": set_to("weights", lambda s: s * torch.ones(3)),
        "an array": set_to("array", lambda s: (s * torch.ones(3)).numpy()),
        "LoRAs by file": set_to("loras", lambda s: [("a.safetensors", s)]),
        "LoRAs as tensors": set_to("loras", lambda s: {"layer": {"down": s * torch.ones(2, 3)}}),
        "a LoRA on a layer of torch": on_a_layer,
        "a hook": hook,
        "a method in place of its own": method,
        "a class made for it": class_made_for_it,
        "a handle": set_to("engine", Handle),
        "the address of an engine": set_to("engine", lambda s: 0x7F0012345670 + int(1600 * s)),
        "a generator": set_to("engine", lambda s: torch.Generator()),
    }


def main() -> None:
    """Make the models and print their identities."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True  # before the host looks for a GPU
    importlib.import_module("utils.install_util")  # before a module of the host hides `utils`
    import comfy.model_base
    import comfy.model_patcher
    import comfy.sample
    import comfy.samplers
    import torch
    from align_your_steps.nodes import host
    from align_your_steps.tests.host.in_host import heard, prompt
    from align_your_steps.tests.host.test_pack.model import Config, build
    from comfy.model_base import ModelType
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    told = heard(logging.WARNING)

    class Net(torch.nn.Module):
        dtype = torch.float32

        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)
            self.calls, self.kept = 0, {}

        def forward(self, x: Any, t: Any, strength: float = 1.0, **more: Any) -> Any:
            self.calls += 1
            self.kept[tuple(x.shape)] = self.last = x
            return strength * x

    def around(network: Any) -> Any:
        for parameter in network.parameters():
            parameter.data.fill_(0.5)
        config: Any = Config({})
        config.sampling_settings = {}
        config.set_inference_dtype(torch.float32, None)
        inner = comfy.model_base.BaseModel(
            config, ModelType.EPS, device="cpu", unet_model=lambda **_: network
        )
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(inner, cpu, cpu)

    def picture(model: Any) -> Any:
        x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        euler = comfy.samplers.sampler_object("euler")
        sigmas = torch.tensor([10.0, 3.0, 1.0, 0.0])
        zero = torch.zeros_like(x)
        comfy.sample.sample_custom(
            model, x, 3.0, euler, sigmas, prompt(1), prompt(2), zero, seed=0, disable_pbar=True
        )
        return model

    def mixture(seed: int = 0) -> Any:
        """A model of other weights for every seed."""
        model = build("gaussian mixture", "eps", seed, 1.0)
        model.model.diffusion_model.gain.data.fill_(1.0 + 0.01 * seed)
        return model

    def patched(name: str, limit: float = 0.2, seed: int = 0) -> Any:
        model = mixture(seed)
        PATCHES[name](model, limit)
        return model

    def compiled(form: str, backend: str = "eager", seed: int = 0) -> Any:
        model = mixture(seed)
        keys = {"block": "diffusion_model.denoiser"}.get(form, "diffusion_model")
        if form == "wrapper":
            set_torch_compile_wrapper(model=model, backend=backend)
        elif form == "a pack's wrapper":
            model.set_model_unet_function_wrapper(torch.compile(call, backend=backend))
        else:
            made = torch.compile(model=model.get_model_object(keys), backend=backend)
            model.add_object_patch(keys, made)
        return model

    def holder(seed: int = 0) -> Any:
        """An object patch that uses what it replaces."""

        class Holder(torch.nn.Module):
            dtype = torch.float32

            def __init__(self, inner: Any) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, *given: Any, **named: Any) -> Any:
                return self.inner(*given, **named)

        model = mixture(seed)
        inner = model.get_model_object("diffusion_model")
        model.add_object_patch("diffusion_model", Holder(inner))
        return model

    identity = host.model_identity

    def row(make: Callable[..., Any], **other: Any) -> dict[str, Any]:
        model = make()
        found = {"before": identity(model)}
        found["after"] = identity(picture(model))
        found["of a clone"] = identity(picture(model.clone()))
        found["anew"] = identity(make())
        found["other setting"] = identity(make(**other)) if other else None
        found["other model"] = identity(make(seed=1))
        return found

    def network_with(name: str, strength: float) -> Any:
        network = Net()
        beside[name](network, strength)
        return around(network)

    beside = beside_weights(torch)
    with torch.inference_mode():
        answer: dict[str, Any] = {
            "patches": {name: row(functools.partial(patched, name), limit=0.3) for name in PATCHES},
            "compiled": {
                form: row(functools.partial(compiled, form))
                for form in ("wrapper", "object patch", "block", "a pack's wrapper")
            },
            "plain": row(mixture),
        }
        answer["compiled"]["a module around it"] = row(holder)
        answer["told"] = list(told)
        answer["beside"] = {
            name: [
                identity(network_with(name, 0.1)),
                identity(network_with(name, 0.9)),
                identity(picture(network_with(name, 0.1))) if "handle" not in name else None,
            ]
            for name in beside
        }
    answer["told of networks"] = told[len(answer["told"]) :]
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
