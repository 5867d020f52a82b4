"""The trained networks of the experiment, and what is measured of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..digits.data import digits
from ..digits.network import load_digits
from ..edm import EDMDenoiser, channels_last
from ..emoji.data import HELD_OUT, emoji
from ..emoji.network import load_emoji
from ..patches.data import crops
from ..patches.network import load_patches
from ..peers import OSS_NOISES

__all__ = ["NETWORKS", "SOLVERS", "Network"]

SOLVERS = ("euler", "dpmpp_2m", "dpmpp_2m_sde", "ddim_stochastic")


@dataclass(frozen=True)
class Network:
    """A network, and the grid of cells that it is measured on.

    load:    the trained model
    real:    pictures of a class that training has not seen, [N, C, H, W]
    noises:  held-out initial noises that schedules are compared on
    truths:  fine-step pictures that distributions are compared with
    oss_noises: on which OSS searches, one by one
    """

    shape: tuple[int, int, int]
    load: Callable[[], EDMDenoiser]
    real: Callable[[int], Tensor]
    solvers: tuple[str, ...]
    scales: tuple[float, ...]
    steps: tuple[int, ...]
    noises: int
    truths: int
    oss_noises: int


def _real_digits(label: int) -> Tensor:
    images, labels = digits(held_out=True)
    return images[labels.argmax(1) == label]


def _real_patches(label: int) -> Tensor:
    return crops(256, 12, held_out=True, photograph=label)[0]


def _real_emoji(label: int) -> Tensor:
    return emoji(256, torch.Generator().manual_seed(HELD_OUT), label=label)[0]


def _digits() -> EDMDenoiser:
    return channels_last(load_digits())


NETWORKS = {
    "digits": Network(
        (1, 8, 8),
        _digits,
        _real_digits,
        SOLVERS,
        (1.0, 3.0, 7.0),
        (5, 8, 10, 15, 20),
        128,
        384,
        OSS_NOISES,
    ),
    # 32 x 32 takes eight times as long: fewer cells.
    "patches": Network(
        (3, 32, 32), load_patches, _real_patches, SOLVERS[:2], (1.0, 3.0), (5, 8, 10), 64, 192, 4
    ),
    "emoji": Network(
        (3, 32, 32), load_emoji, _real_emoji, SOLVERS[:2], (1.0, 3.0), (5, 8, 10), 64, 192, 4
    ),
}
