"""Number and levels of a reference run's steps.

A second-order reference of 6 times the steps has about 1/36 of the error that is measured. A
third-order one of 4 times the calls has 1 to 8 % of it on mixtures, of 3 times the calls 3 to 15 %,
which is what a small budget can afford: there, more noises gain more.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..diffusion.coordinate import Coordinate, spread

__all__ = ["every_of_coarse", "fine_levels", "fine_steps"]

COARSE_STEPS = 8  # of the coarse run beside a reference, at least


def fine_levels(count: int, coordinate: Coordinate, sigma_max: float, sigma_min: float) -> Tensor:
    """Levels [F+1] in the host's units, from sigma_max through sigma_min to 0, for F <= count.

    Fewer than count where the model does not know so many.
    """
    t_max = float(coordinate.finite_edm(np.asarray(sigma_max)))
    t_min = float(coordinate.edm(np.asarray(sigma_min)))
    fine = coordinate.level(spread(t_max, t_min, count))
    fine = coordinate.thinned(np.append(sigma_max, fine[1:]))
    return torch.from_numpy(np.append(fine, 0.0)).float()


def every_of_coarse(fine: int, steps: int) -> int:
    """Levels of a reference of so many steps that make one of the coarse run beside it.

    steps: those of the runs that are judged
    """
    return max(1, fine // max(COARSE_STEPS, steps))


def fine_steps(steps: int, calls_per_step: int, order: int, *, ample: bool = True) -> int:
    """Steps of a reference of an order, for runs of so many steps.

    ample: whether the budget allows the longer reference
    """
    calls = steps * calls_per_step
    if order < 3:
        return max(48, 6 * steps)
    return max(32, 4 * calls + 4) if ample else max(24, 3 * calls + 2)
