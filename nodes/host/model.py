"""What a MODEL's noise levels are: its range, its coordinate, the host's schedules."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import numpy as np
import torch

from ...optimizer import FLOW, VE, Coordinate
from ...schedules import NoiseTable
from .scheduler import SCHEDULER_NAME

__all__ = [
    "NoiseLevels",
    "host_schedules",
    "noise_levels",
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
    timesteps:            ascending sigma(t) of a discrete model, else None
    model_sampling:       the host's object
    """

    sigma_min: float
    sigma_max: float
    coordinate: Coordinate
    flow: bool
    timesteps: list[float] | None
    model_sampling: Any

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
        return float(_noising(self.model_sampling, np.array([level]))[0][0])


def noise_levels(model: Any) -> NoiseLevels:
    """The noise levels of a MODEL, read off the host's own noise scaling.

    Raises ValueError for a model whose noising is not a signal plus noise.
    """
    model_sampling = model.get_model_object("model_sampling")
    sigma_min, sigma_max = float(model_sampling.sigma_min), float(model_sampling.sigma_max)
    top = min(sigma_max, 1.0 - 1e-4) if sigma_max == 1.0 else sigma_max
    probe = np.geomspace(sigma_min, top, 512)
    signal, noise = _noising(model_sampling, probe)
    t = noise / signal
    if not (np.isfinite(t).all() and (signal > 0).all() and (np.diff(t) > 0).all()):
        raise ValueError(
            f"The model's noise levels ({type(model_sampling).__name__}) do not mix a signal with "
            "growing noise: schedules cannot be optimised for this kind of model."
        )
    if np.allclose(t, VE.edm(probe), rtol=1e-4):
        coordinate = VE
    elif np.allclose(t, FLOW.edm(probe), rtol=1e-3):
        coordinate = FLOW
    else:
        coordinate = Coordinate(
            edm=lambda s: np.exp(np.interp(np.log(s), np.log(probe), np.log(t))),
            level=lambda u: np.exp(np.interp(np.log(u), np.log(t), np.log(probe))),
            top=top,
        )
    table = getattr(model_sampling, "sigmas", torch.empty(0))
    return NoiseLevels(
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        coordinate=coordinate,
        flow=bool(signal[-1] < 0.99),
        timesteps=table.tolist() if hasattr(model_sampling, "num_timesteps") else None,
        model_sampling=model_sampling,
    )


def host_schedules(
    levels: NoiseLevels, steps: int, denoise: float, *, spare_level: bool = False
) -> dict[str, torch.Tensor]:
    """The host's schedules for this model, those of other packs among them, as KSampler asks.

    For a denoise below 1 each starts elsewhere; the comparison needs one start, so their first
    level is moved to `start_level`. A scheduler that fails is left out with a log line.

    spare_level: for samplers of which KSampler asks one step more and drops the last level but one
    """
    total = steps if denoise >= 1.0 else int(steps / denoise)
    start = start_level(levels, steps, denoise)
    found = {}
    for name in comfy.samplers.SCHEDULER_NAMES:
        if name == SCHEDULER_NAME:
            continue
        try:
            sampling = levels.model_sampling
            sigmas = comfy.samplers.calculate_sigmas(sampling, name, total + spare_level)
        except Exception as error:  # other packs register schedulers too, and may need anything
            log.info("The scheduler '%s' gave no schedule to compare with: %s", name, error)
            continue
        if spare_level:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        sigmas = sigmas[-(steps + 1) :].cpu().clone()
        if denoise < 1.0:
            sigmas[0] = start
        found[name] = sigmas
    return found


def start_level(levels: NoiseLevels, steps: int, denoise: float) -> float:
    """The first level that a denoise asks for: that of the host's 'simple' schedule."""
    if denoise >= 1.0:
        return levels.sigma_max
    return float(simple_schedule(levels, int(steps / denoise))[-(steps + 1)])


def simple_schedule(levels: NoiseLevels, steps: int) -> torch.Tensor:
    """The host's 'simple' schedule, steps+1 levels ending in 0."""
    return comfy.samplers.simple_scheduler(levels.model_sampling, steps)


def _noising(model_sampling: Any, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a(s) and b(s) of the host's x = a(s) x_0 + b(s) e."""

    def scaled(noise: float, latent: float) -> np.ndarray:
        sigma = torch.tensor(levels, dtype=torch.float64)
        shape = (len(levels), 1, 1, 1)
        x = model_sampling.noise_scaling(
            sigma,
            torch.full(shape, noise, dtype=torch.float64),
            torch.full(shape, latent, dtype=torch.float64),
        )
        return np.asarray(x.flatten().cpu(), dtype=np.float64)

    signal, noise = scaled(0.0, 1.0), scaled(1.0, 0.0)
    if not np.allclose(scaled(1.0, 1.0), signal + noise) or math.isclose(float(noise[-1]), 0.0):
        raise ValueError(
            f"The model's noising ({type(model_sampling).__name__}) is not a signal plus noise: "
            "schedules cannot be optimised for this kind of model."
        )
    return signal, noise
