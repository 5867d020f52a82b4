"""Noise levels of a MODEL: its range, its coordinate, the host's schedules."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import comfy.model_sampling
import comfy.samplers
import numpy as np
import torch

from ...optimizer import Coordinate, affine
from ...schedules import NoiseTable
from .scheduler import ATTRIBUTE, SCHEDULER_NAME, attached_schedule

__all__ = [
    "NoiseLevels",
    "host_schedule",
    "host_schedules",
    "noise_levels",
    "sampled_model",
    "scheduler_names",
    "simple_schedule",
    "start_level",
]

log = logging.getLogger("align_your_steps")


@dataclass(frozen=True)
class NoiseLevels:
    """A model's noise levels in the host's units, and how they map to EDM levels.

    sigma_min, sigma_max: the ends of the model's levels
    coordinate:           host levels <-> EDM levels
    flow:                 whether the signal is scaled down as the noise goes up
    model_sampling:       the host's object
    """

    sigma_min: float
    sigma_max: float
    coordinate: Coordinate
    flow: bool
    model_sampling: Any

    @property
    def timesteps(self) -> list[float] | None:
        """The ascending levels of a model that is called at the nearest of them; else None."""
        table = self.coordinate.table
        return None if table is None else table.tolist()

    def table(self) -> NoiseTable:
        """The model's levels and its clock, for the hand-made curves."""
        clock = self.model_sampling
        return NoiseTable(
            sigmas=clock.sigmas.cpu().double().numpy(),
            sigma=lambda t: float(clock.sigma(torch.tensor(t))),
            timestep=lambda sigma: float(clock.timestep(torch.tensor(sigma))),
        )

    def signal(self, level: float) -> float:
        """a(s) of x = a(s) x_0 + b(s) e."""
        return float(_noised(self.model_sampling, np.array([level]))[0][0])


def noise_levels(model: Any) -> NoiseLevels:
    """The noise levels of a MODEL, read off the host's own noise scaling.

    With x = (1 + k s) x_0 + c s e the host's samplers solve the right equation (coordinate.py).

    Raises ValueError for a model that is noised in another way, or not at all.
    """
    model_sampling = sampled_model(model).get_model_object("model_sampling")
    sigma_min, sigma_max = _range(model_sampling)
    probe = np.geomspace(sigma_min, sigma_max, 512)
    signal, noise, both = _noised(model_sampling, probe)
    # A model of the host's IMG_TO_IMG is given an image in place of the noise.
    if isinstance(model_sampling, comfy.model_sampling.IMG_TO_IMG) or not noise.any():
        raise ValueError(
            "This model turns one image into another and takes no noise away: there is no "
            "schedule to optimise for it. Sample it as its own workflow does."
        )
    k, c = (signal[-1] - 1.0) / sigma_max, noise[-1] / sigma_max
    expected = 1.0 + k * probe, c * probe, 1.0 + (k + c) * probe
    if not np.allclose([signal, noise, both], expected, rtol=1e-3, atol=1e-6):
        raise ValueError(
            f"This model's noising ({type(model_sampling).__name__}) is not the one that ComfyUI's "
            "samplers undo, (1 + k sigma) image + c sigma noise: no schedule can be optimised for "
            "it. Use a model of another kind."
        )
    coordinate = affine(round(k, 6), round(c, 6))
    return NoiseLevels(
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        coordinate=dataclasses.replace(coordinate, table=_timesteps(model_sampling)),
        flow=bool(k < -1e-3),
        model_sampling=model_sampling,
    )


def sampled_model(given: Any) -> Any:
    """A MODEL as it is. Raises ValueError for anything else."""
    if not all(hasattr(given, name) for name in ("get_model_object", "model_options", "clone")):
        raise ValueError(
            "What is linked as the model is not a MODEL: link the MODEL output of a loader, of a "
            "LoRA or of a ModelSampling node."
        )
    return given


def host_schedules(
    levels: NoiseLevels, steps: int, denoise: float, *, spare_level: bool = False
) -> dict[str, torch.Tensor]:
    """The host's schedules for this model, those of other packs among them, as KSampler asks.

    For a denoise below 1 each starts elsewhere; the comparison needs one start, so their first
    level is moved to `start_level`. A scheduler that fails is left out with a log line.

    spare_level: for samplers of which KSampler asks one step more and drops the last level but one
    """
    found = {}
    for name in scheduler_names():
        try:
            found[name] = host_schedule(levels, name, steps, denoise, spare_level=spare_level)
        except ValueError as error:
            log.info("The scheduler '%s' gave no schedule to compare with: %s", name, error)
    return found


def host_schedule(
    levels: NoiseLevels,
    name: str,
    steps: int,
    denoise: float,
    *,
    spare_level: bool = False,
    sampler: str | None = None,
) -> torch.Tensor:
    """One of them, or that of the schedule attached to the MODEL, for a sampler of a name.

    Raises ValueError for a scheduler that fails.
    """
    if name == SCHEDULER_NAME and not hasattr(levels.model_sampling, ATTRIBUTE):
        raise ValueError("no schedule is attached to this model")
    total = steps if denoise >= 1.0 else int(steps / denoise)
    try:
        sampling = levels.model_sampling
        if name == SCHEDULER_NAME:
            sigmas = attached_schedule(sampling, total + spare_level, sampler, spare_level)
        else:
            sigmas = comfy.samplers.calculate_sigmas(sampling, name, total + spare_level)
    except Exception as error:  # other packs register schedulers too, and may need anything
        raise ValueError(f"the scheduler failed: {error}") from error
    if spare_level:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    sigmas = sigmas.cpu().clone()
    if denoise < 1.0:
        sigmas = sigmas[-(steps + 1) :]
        sigmas[0] = start_level(levels, steps, denoise)
    return sigmas


def scheduler_names() -> list[str]:
    """The schedulers of the KSampler drop-down, but for our own."""
    return [name for name in comfy.samplers.SCHEDULER_NAMES if name != SCHEDULER_NAME]


def start_level(levels: NoiseLevels, steps: int, denoise: float) -> float:
    """The first level that a denoise asks for: that of the host's 'simple' schedule."""
    if denoise >= 1.0:
        return levels.sigma_max
    return float(simple_schedule(levels, int(steps / denoise))[-(steps + 1)])


def simple_schedule(levels: NoiseLevels, steps: int) -> torch.Tensor:
    """The host's 'simple' schedule, steps+1 levels ending in 0."""
    return comfy.samplers.simple_scheduler(levels.model_sampling, steps)


def _range(model_sampling: Any) -> tuple[float, float]:
    """The lowest and the highest level. Raises ValueError for a model without a range of them."""
    try:
        low, high = float(model_sampling.sigma_min), float(model_sampling.sigma_max)
    except (AttributeError, LookupError, RuntimeError, TypeError):
        raise ValueError(
            "This model has no noise levels, so there is no schedule for it: link a diffusion "
            "model that ComfyUI can sample."
        ) from None
    if not 0.0 < low < high < float("inf"):
        raise ValueError(
            f"This model's noise levels run from {high:.4g} to {low:.4g}: they must run from a "
            "finite level down to a smaller one above 0. Check the ModelSampling node before this "
            "one."
        )
    return low, high


def _noised(model_sampling: Any, levels: np.ndarray) -> np.ndarray:
    """[3, levels] the host's x of an image of ones, of noise of ones, and of both."""
    sigma = torch.tensor(levels, dtype=torch.float64)

    def x(image: float, noise: float) -> np.ndarray:
        shape = len(levels), 1, 1, 1
        of_noise, of_image = (sigma.new_full(shape, value) for value in (noise, image))
        scaled = model_sampling.noise_scaling(sigma, of_noise, of_image)
        return np.asarray(scaled.flatten().cpu(), dtype=np.float64)

    return np.stack([x(1.0, 0.0), x(0.0, 1.0), x(1.0, 1.0)])


def _timesteps(model_sampling: Any) -> np.ndarray | None:
    """The ascending levels of a model to which the host rounds when it calls the network.

    Around such a level the time that the network is given does not change. Other models have a
    table as well, from which schedules are made, but are called at the level itself.
    """
    table = model_sampling.sigmas.cpu().double().unique()
    above = table[:-1] * (table[1:] / table[:-1]) ** 0.25
    at, near = (model_sampling.timestep(s.to(model_sampling.sigmas)) for s in (table[:-1], above))
    return table.numpy() if torch.equal(at, near) else None
