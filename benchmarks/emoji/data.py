"""Emoji that are drawn here, 32 x 32 pixels, in ten classes: as many as one likes.

Every picture has its own sizes, places, colours and details, so that a network cannot learn them by
heart.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..edm import CLASSES
from .drawing import Sketch
from .subjects import DRAWN

__all__ = ["HELD_OUT", "NAMES", "PIXEL_MEAN", "PIXEL_STD", "SIDE", "emoji", "to_pixels"]

SIDE = 32
HELD_OUT = 1_000_003  # the seed of pictures that training never sees
# Of the pictures, brightness 0 ... 1.
PIXEL_MEAN, PIXEL_STD = 0.7434, 0.2206

NAMES = tuple(DRAWN)


def emoji(
    count: int, source: torch.Generator, *, label: int | None = None, side: int = SIDE
) -> tuple[Tensor, Tensor]:
    """So many emoji of every class, or of one; half of them mirrored.

    Returns images [N, 3, H, W] of mean about 0 and standard deviation about 1, class by class, and
    labels [N, 10], one-hot.
    """
    images = []
    labels = range(CLASSES) if label is None else [label]
    for k in labels:
        sketch = Sketch(count, side, source)
        DRAWN[NAMES[k]](sketch)
        pixels = sketch.pixels.clamp(0.0, 1.0)
        images.append(torch.where(sketch.chance(0.5)[:, None], pixels.flip(3), pixels))
    classes = torch.tensor(labels).repeat_interleave(count)
    scaled = (torch.cat(images) - PIXEL_MEAN) / PIXEL_STD
    return scaled, functional.one_hot(classes, CLASSES).float()


def to_pixels(x: Tensor) -> Tensor:
    """Scaled images of any shape as brightness in [0, 1], for pictures."""
    return (x * PIXEL_STD + PIXEL_MEAN).clamp(0.0, 1.0)
