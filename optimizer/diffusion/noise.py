"""Unit noise that depends on (seed, stream, index) alone.

Every sample draws from its own generator, on the CPU: the same seed gives the same noise for any
batch size and on any device, and two streams (say, selection and profile) are independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["PATHS", "SELECTION", "generators", "unit_noise"]

SELECTION = 0  # the stream of initial noises on which schedules are compared
PATHS = 1  # the stream of forward paths along which the profile is measured


def generators(seed: int, stream: int, indices: Iterable[int]) -> list[torch.Generator]:
    """One generator for each sample index of a stream."""

    def one(index: int) -> torch.Generator:
        state = np.random.SeedSequence([seed, stream, index]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state >> np.uint64(1)))

    return [one(index) for index in indices]


def unit_noise(sources: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """The next draw of every source: standard normal noise of shape [len(sources), *shape]."""
    return torch.stack([torch.randn(tuple(shape), generator=source) for source in sources])
