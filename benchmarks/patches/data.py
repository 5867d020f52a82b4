"""Crops of ten photographs that scikit-image and scikit-learn bundle.

Every photograph is a class. It is scaled so that its shorter side has SIDE pixels (means over
areas), so that a crop of 32 x 32 shows parts of things. The right fifth of each is held out.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from ..edm import CLASSES

__all__ = ["CROP", "PHOTOGRAPHS", "PIXEL_MEAN", "PIXEL_STD", "crops", "photographs", "to_pixels"]

PHOTOGRAPHS = (
    "astronaut", "cat", "coffee", "rocket", "galaxies", "tissue", "retina", "motorcycle",
    "china", "flower",
)  # fmt: skip
SIDE, CROP = 192, 32
TRAINED_ON = 0.8  # of a photograph's width
PIXEL_MEAN, PIXEL_STD = 0.3829, 0.2867  # of the scaled photographs, each counted once; 0 ... 1


@lru_cache(maxsize=1)
def photographs() -> tuple[Tensor, ...]:
    """The ten photographs [3, H, W] of mean about 0 and standard deviation about 1.

    Needs scikit-image and scikit-learn.
    """
    import skimage.data
    from skimage.transform import resize_local_mean
    from sklearn.datasets import load_sample_image

    pictures = (
        skimage.data.astronaut(),
        skimage.data.chelsea(),
        skimage.data.coffee(),
        skimage.data.rocket(),
        skimage.data.hubble_deep_field(),
        skimage.data.immunohistochemistry(),
        skimage.data.retina(),
        skimage.data.stereo_motorcycle()[0],
        load_sample_image("china.jpg"),
        load_sample_image("flower.jpg"),
    )
    found = []
    for picture in pictures:
        height, width, _ = picture.shape
        scale = SIDE / min(height, width)
        shape = round(height * scale), round(width * scale)
        small = resize_local_mean(picture / 255.0, shape, channel_axis=-1)
        found.append((torch.tensor(small).float().permute(2, 0, 1) - PIXEL_MEAN) / PIXEL_STD)
    return tuple(found)


def crops(
    count: int, seed: int, *, held_out: bool = False, photograph: int | None = None
) -> tuple[Tensor, Tensor]:
    """Crops at random places, and mirrored at random.

    Arguments:
        held_out: whether from the fifths that training never sees.
        photograph: the class; None: all in turn.

    Returns images [N, 3, 32, 32] and labels [N, 10], one-hot.
    """
    source = torch.Generator().manual_seed(seed)
    images, classes = [], []
    for k in range(count):
        label = k % CLASSES if photograph is None else photograph
        picture = photographs()[label]
        border = int(TRAINED_ON * picture.shape[2])
        part = picture[:, :, border:] if held_out else picture[:, :, :border]
        top, left = (
            int(torch.randint(size - CROP + 1, (), generator=source)) for size in part.shape[1:]
        )
        image = part[:, top : top + CROP, left : left + CROP]
        images.append(image.flip(2) if torch.rand((), generator=source) < 0.5 else image)
        classes.append(label)
    return torch.stack(images), functional.one_hot(torch.tensor(classes), CLASSES).float()


def to_pixels(x: Tensor) -> Tensor:
    """Scaled images of any shape as brightness in [0, 1], for pictures."""
    return (x * PIXEL_STD + PIXEL_MEAN).clamp(0.0, 1.0)
