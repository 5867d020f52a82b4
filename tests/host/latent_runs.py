"""Runs of the optimiser on latents, beside the host's own, for host_latents.py, which says more.

To be imported in the host's process once it is on the CPU.
"""

from __future__ import annotations

import importlib
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from align_your_steps.nodes import host
from align_your_steps.tests.host.host_latents import FREE_ROWS, SMALL_DEVICES
from align_your_steps.tests.host.in_host import prompt
from align_your_steps.tests.host.test_pack.latents import KINDS, latent
from align_your_steps.tests.host.test_pack.model import build
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

__all__ = ["answer"]

LEVELS, ROWS, SIZE, CFG = (14.6, 4.0, 1.0, 0.3, 0.0), 3, 8, 2.0
PART = LEVELS[1:]
SAMPLER = comfy.samplers.sampler_object("dpmpp_2m")
LEFT = torch.zeros(1, 8 * SIZE, 8 * SIZE)
LEFT[..., : 4 * SIZE] = 1.0
OF_ROWS = torch.rand(ROWS, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3)).round()
RAMP = torch.linspace(0, 1, 8 * SIZE).expand(1, 8 * SIZE, 8 * SIZE)
IMAGE, VIDEO = [[1, 4, SIZE, SIZE]], [[1, 3, 2, SIZE, SIZE]]
NESTED = [[1, 2, 2, 4, 4], [1, 5, 6]]
IMAGES = [[2, 4, SIZE, SIZE]]


def answer() -> dict[str, Any]:
    """Run everything."""
    masks = {"no mask": None, "half": LEFT, "of rows": OF_ROWS}
    return {
        "runs": {name: same(*case) for name, case in cases().items()},
        "walked": walked(),
        "free": {name: free(mask) for name, mask in masks.items()},
        "digests": {
            "one": digest(LEFT),
            "again": digest(LEFT.clone()),
            "other": digest(torch.cat([LEFT[:, :-1], LEFT[:, -1:] + 0.1], 1)),
            "none": digest(None),
            "start": digest(LEFT, seed=2),
        },
        "batches": batches(0.0),
        "beside": batches(0.4),
        "tried": {str(fits): tried(fits) for fits in SMALL_DEVICES},
        "interrupted": interrupted(),
    }


def cases() -> dict[str, tuple[Any, ...]]:
    """Arguments of `same` by what they are."""
    found: dict[str, tuple[Any, ...]] = {
        "empty": ("four channels", IMAGE, 0, LEVELS),
        "empty of another model": ("four channels", [[1, 16, SIZE, SIZE]], 0, LEVELS),
        "empty, part of the path": ("four channels", IMAGE, 0, PART),
        "image": ("four channels", IMAGE, 1, PART),
        "two images": ("four channels", IMAGES, 1, PART),
        "empty, mask": ("four channels", IMAGE, 0, LEVELS, LEFT),
        "image, mask": ("four channels", IMAGE, 1, LEVELS, LEFT),
        "image, mask, part of the path": ("four channels", IMAGE, 1, PART, LEFT),
        "two images, masks": ("four channels", IMAGES, 1, PART, OF_ROWS),
        "image, gradual mask": ("four channels", IMAGE, 1, LEVELS, RAMP, True),
        "video": ("video", VIDEO, 0, LEVELS),
        "video from an image": ("video", [[1, 3, SIZE, SIZE]], 0, LEVELS),
        "start video, mask": ("video", VIDEO, 1, PART, LEFT),
    }
    if importlib.util.find_spec("comfy.nested_tensor") is not None:
        found["nested"] = ("audio and video", NESTED, 0, LEVELS)
        found["nested start"] = ("audio and video", NESTED, 1, PART)
    return found


def model_of(kind: str, gradual: bool = False) -> Any:
    model = build("gaussian mixture", "eps", 7, 1.0, **KINDS[kind])
    if not gradual:
        return model
    if hasattr(DifferentialDiffusion, "execute"):
        return DifferentialDiffusion.execute(model, 1.0)[0]
    return DifferentialDiffusion().apply(model)[0]


def guided(model: Any, given: dict[str, Any], denoise: float) -> host.GuidedModel:
    use = host.latent_use(model, given, denoise)
    guider = host.make_guider(model, prompt(3), prompt(-1), CFG)
    judged = host.judged_sampler("dpmpp_2m")
    return host.GuidedModel(guider, host.noise_levels(model), use, judged)


def same(
    kind: str,
    shapes: Any,
    seed: int,
    levels: Any,
    mask: Any = None,
    gradual: bool = False,
) -> bool:
    """Tell whether a run is that of a batch of ROWS as the user would sample it."""
    model = model_of(kind, gradual)
    given = latent(shapes, seed)
    if mask is not None:
        given["noise_mask"] = mask
    own = guided(model, given, 1.0 if levels == LEVELS else 0.5)
    start = comfy.sample.fix_empty_latent_channels(model, given["samples"])
    parts = start.unbind() if start.is_nested else [start]
    rows = [
        torch.cat([part] * ROWS)[:ROWS] if len(part) == 1 else part[[0, 1, 0]] for part in parts
    ]
    batch = type(start)(rows) if start.is_nested else rows[0]
    noise = comfy.sample.prepare_noise(batch, 5)
    sigmas = torch.tensor(levels)
    ends = comfy.sample.sample_custom(
        model, noise, CFG, SAMPLER, sigmas, prompt(3), prompt(-1), batch, mask, seed=0,
        disable_pbar=True,
    )  # fmt: skip
    flat = noise
    if start.is_nested:
        flat = torch.cat([n.reshape(ROWS, 1, -1) for n in noise.unbind()], -1)
        ends = torch.cat([end.reshape(ROWS, 1, -1) for end in ends.unbind()], -1)
    expected = model.model.process_latent_in(ends)
    return torch.equal(own.sample(flat, sigmas, SAMPLER, 0), expected)


def walked() -> bool:
    """Tell whether a point of a path is answered as a sampler's last step from there."""
    model = model_of("four channels")
    given = {**latent(IMAGE, 1), "noise_mask": LEFT}
    own = guided(model, given, 1.0)
    noise = torch.randn(ROWS, *own.shape, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([2.0])
    clean = model.model.process_latent_in(given["samples"])
    (seen,) = own.walk(iter([(clean + level * noise, level.expand(ROWS))]), level.double())
    euler = comfy.samplers.sampler_object("euler")
    step = own.sample(noise, torch.tensor([2.0, 0.0]), euler, 0)
    known = LEFT[:, ::8, ::8].expand(ROWS, 4, -1, -1) == 0
    kept = clean.expand_as(seen)[known]
    return torch.allclose(seen, step, atol=1e-5) and torch.equal(seen[known], kept)


def free(mask: Any) -> list[int]:
    given = latent(IMAGE, 1)
    if mask is not None:
        given["noise_mask"] = mask
    own = guided(model_of("four channels"), given, 1.0)
    found = own.elements
    whole = own.latent.start[0].numel()
    return [whole if found is None else len(found), whole]


def digest(mask: Any, seed: int = 1) -> str:
    given = {**latent(IMAGE, seed), **({} if mask is None else {"noise_mask": mask})}
    return host.latent_use(model_of("four channels"), given, 1.0).digest


def batches(other: float) -> list[int]:
    """With another model, of so many rows, on a device that is not the CPU."""
    model = model_of("four channels")
    own = guided(model, latent(IMAGE, 0), 1.0)
    patcher = own.guider.model_patcher
    patcher.load_device = torch.device("meta")
    weights = 2**30
    patcher.model_size = lambda: weights
    row = 1.5 * patcher.memory_required([2, *own.shape])

    class Loaded:
        device = patcher.load_device
        model = patcher

        def model_loaded_memory(self) -> float:
            return other * row

    kept = comfy.model_management.get_free_memory, comfy.model_management.current_loaded_models
    comfy.model_management.current_loaded_models = [Loaded()]
    chosen = []
    for rows in FREE_ROWS:
        total = 1.1 * weights + comfy.model_management.extra_reserved_memory() + (rows + 1e-3) * row
        comfy.model_management.get_free_memory = lambda _, b=total - other * row: b
        chosen.append(own.batch_size)
    comfy.model_management.get_free_memory, comfy.model_management.current_loaded_models = kept
    return chosen


def tried(fits: int) -> list[int | None]:
    """Batch sizes that were tried."""
    own = guided(model_of("four channels"), latent(IMAGE, 0), 1.0)
    sizes: list[int | None] = []

    def run(batch: int, made: int) -> int:
        sizes.append(batch)
        own.sample(torch.zeros(batch, *own.shape), torch.tensor([2.0, 0.0]), SAMPLER, 0)
        if batch > fits:
            raise comfy.model_management.OOM_EXCEPTION("Allocation on device")
        return batch

    try:
        assert own.fitted(run) == sizes[-1]
    except ValueError as error:
        sizes.append(None)
        assert "ran out of memory" in str(error)
    return sizes


def interrupted() -> int:
    """Count how often an interrupted run was begun."""
    own = guided(model_of("four channels"), latent(IMAGE, 0), 1.0)
    count = 0

    def run(batch: int, made: int) -> None:
        nonlocal count
        count += 1
        raise comfy.model_management.InterruptProcessingException

    try:
        own.fitted(run)
    except comfy.model_management.InterruptProcessingException:
        return count
    return -1
