"""Helpers of the scripts for the host's process: prompts, levels, distances, and what is logged."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from align_your_steps.optimizer.diffusion.coordinate import spread
from torch import Tensor

__all__ = ["distance", "fine_levels", "heard", "prompt"]


def prompt(label: int) -> Any:
    """A CONDITIONING for the test model: a class, or none for a negative label."""
    one_hot = torch.zeros(1, 1, 10)
    if label >= 0:
        one_hot[..., label] = 1.0
    return [[one_hot, {"pooled_output": one_hot[:, 0]}]]


def fine_levels(levels: Any, steps: int) -> Tensor:
    """A schedule [steps+1] over all of a model's NoiseLevels, even in log t, ending in 0."""
    coordinate = levels.coordinate
    highest = float(coordinate.finite_edm(np.asarray(levels.sigma_max)))
    lowest = float(coordinate.edm(np.asarray(levels.sigma_min)))
    sigmas = coordinate.level(spread(highest, lowest, steps))
    sigmas[0] = levels.sigma_max
    return torch.from_numpy(np.append(sigmas, 0.0)).float()


def distance(x: Tensor, y: Tensor) -> float:
    """Mean over samples of the RMS distance per element."""
    return float((x - y).square().flatten(1).mean(1).sqrt().mean())


def heard(level: int = logging.INFO) -> list[str]:
    """What our pack logs from now on, in a list that grows with every line."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    log = logging.getLogger("align_your_steps")
    log.addHandler(Listener())
    log.setLevel(level)
    return lines
