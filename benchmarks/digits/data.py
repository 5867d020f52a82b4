"""The digits bundled with scikit-learn, scaled for a denoiser and split once and for all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..edm import CLASSES

__all__ = ["CLASSES", "PIXEL_MEAN", "PIXEL_STD", "digits", "to_pixels"]

PIXEL_MEAN, PIXEL_STD = 4.8842, 6.0168  # of all 1,797 images, whose pixels are 0 ... 16
HELD_OUT = 360  # images, a fifth, that training never sees


def digits(*, held_out: bool) -> tuple[Tensor, Tensor]:
    """The 360 held-out or the 1,437 training images.

    Returns images [N, 1, 8, 8] of mean about 0 and standard deviation about 1, and labels [N, 10],
    one-hot. Needs scikit-learn.
    """
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    images = (torch.tensor(pixels, dtype=torch.float32) - PIXEL_MEAN) / PIXEL_STD
    labels = functional.one_hot(torch.tensor(classes).long(), CLASSES).float()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    rows = order[:HELD_OUT] if held_out else order[HELD_OUT:]
    return images[rows].reshape(-1, 1, 8, 8), labels[rows]


def to_pixels(x: Tensor) -> Tensor:
    """Scaled images of any shape as brightness in [0, 1], for pictures."""
    return ((x * PIXEL_STD + PIXEL_MEAN) / 16.0).clamp(0.0, 1.0)
