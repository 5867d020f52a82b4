"""Profiles without sampling error, shared by the tests of everything that reads one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from align_your_steps.optimizer import Profile


@pytest.fixture
def gaussian_profile() -> Callable[..., Profile]:
    """The profile of data N(0, c^2) in expectation, from L(t) = t^2 c^2 / (t^2 + c^2).

    The denoiser is a martingale: for t < s, E <D_t - D_1, D_s - D_1> = L(t) - L(t_1), where t_1
    is the lowest level.
    """

    def make(levels: np.ndarray, c: float = 1.0) -> Profile:
        loss = levels**2 * c**2 / (levels**2 + c**2)
        rise = loss - loss[-1]
        gram = np.minimum(rise[:, None], rise[None, :])
        sigmas = torch.tensor(levels, dtype=torch.float64)
        return Profile(sigmas, torch.tensor(gram)[None], torch.tensor(loss)[None], 1)

    return make
