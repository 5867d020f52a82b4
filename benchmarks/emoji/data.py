"""Emoji of the font Noto Color Emoji, 32 x 32 pixels on white, in ten classes.

Font and list are those of Debian 12: the packages fonts-noto-color-emoji 2.042-0+deb12u1 (SIL Open
Font License 1.1) and unicode-data 15.0.0-1. Neither is needed to load the network.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from ..edm import CLASSES

__all__ = ["NAMES", "PIXEL_MEAN", "PIXEL_STD", "SIDE", "augmented", "emoji", "to_pixels"]

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SHA256 = "e5899ed38b8ed83e08bd3ac5de09791e9d19d288333a796de1d35ad17396f1ec"
NAMED = Path("/usr/share/unicode/emoji/emoji-test.txt")
DRAWN = 109  # the only size that the font has, in pixels
SIDE, MARGIN = 32, 1
HELD_OUT = 10  # one in so many
HUE = 0.15  # radians: standard deviation of the turn of colours

CLASS_GROUPS = {
    "face": (
        "face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical",
        "face-sleepy", "face-unwell", "face-hat", "face-glasses", "face-concerned",
        "face-negative",
    ),
    "heart": ("heart",),
    "mammal": ("cat-face", "monkey-face", "animal-mammal"),
    "bird or fish": (
        "animal-bird", "animal-amphibian", "animal-reptile", "animal-marine", "animal-bug",
    ),
    "plant": ("plant-flower", "plant-other"),
    "fruit": ("food-fruit", "food-vegetable"),
    "dish": ("food-prepared", "food-asian", "food-sweet", "drink"),
    "vehicle": ("transport-ground", "transport-water", "transport-air"),
    "building": ("place-geographic", "place-building", "place-religious", "place-other"),
    "person": ("person", "person-role", "person-fantasy"),
}  # fmt: skip
NAMES = tuple(CLASS_GROUPS)
# The plainest of the classes whose pictures differ most.
PLAIN = {
    "mammal": "😺😸😹😻😼😽🙀😿😾🐵🐶🐺🦊🦝🐱🦁🐯🐴🫎🦄🐮🐷🐗🐭🐹🐰🐻🐨🐼",
    "bird or fish": "🐔🐣🐤🐥🐦🐧🦆🦉🐸🐢🐲🐳🐬🐟🐠🐡🐙🦋🐛🐝🐞",
    "dish": "🍞🥐🥯🧇🧀🍔🍟🍕🌭🥚🍳🍿🍙🍚🍦🍧🍨🍩🍪🎂🍰🧁🍫🍬🍭🍮🍯🍵🍺🍷",
    "vehicle": "🚂🚆🚌🚍🚎🚐🚑🚒🚓🚔🚕🚖🚗🚘🚙🛻🚚🚛🚜⛵🚁🚀🛸",
    "building": "🛖🏠🏡🏢🏣🏤🏥🏦🏨🏩🏪🏫🏬🏭🏯🏰💒🗼⛪🕌🕍⛺🎪",
}
# Of all the emoji's pixels, every class weighing the same; brightness 0 ... 1.
PIXEL_MEAN, PIXEL_STD = 0.8296, 0.2727


@lru_cache(maxsize=1)
def _drawn() -> tuple[tuple[tuple[str, Tensor], ...], ...]:
    """Every class's emoji, as text and [3, 32, 32] in [0, 1], in the order of Unicode's list."""
    for file, package in ((FONT, "fonts-noto-color-emoji"), (NAMED, "unicode-data")):
        if not file.exists():
            raise FileNotFoundError(f"{file} is not there: install Debian's package {package}.")
    found = hashlib.sha256(FONT.read_bytes()).hexdigest()
    if found != FONT_SHA256:
        raise ValueError(
            f"{FONT} is another version (SHA-256 {found}) than the network was trained on "
            f"({FONT_SHA256}): install fonts-noto-color-emoji 2.042-0+deb12u1."
        )
    font = ImageFont.truetype(str(FONT), DRAWN)
    classes = {group: name for name, groups in CLASS_GROUPS.items() for group in groups}
    pictures: dict[str, list[tuple[str, Tensor]]] = {name: [] for name in NAMES}
    group = ""
    for line in NAMED.read_text(encoding="utf-8").splitlines():
        if line.startswith("# subgroup: "):
            group = line.removeprefix("# subgroup: ")
        elif group in classes and "; fully-qualified" in line:
            text = "".join(chr(int(code, 16)) for code in line.split(";")[0].split())
            if not any("\U0001f3fb" <= c <= "\U0001f3ff" for c in text):  # tones of skin
                pictures[classes[group]].append((text, _picture(text, font)))
    return tuple(tuple(some) for some in pictures.values())


def _picture(text: str, font: ImageFont.FreeTypeFont) -> Tensor:
    """One emoji [3, 32, 32] in the middle of a white square."""
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    side = max(right - left, bottom - top)
    square = Image.new("RGBA", (side, side), (255, 255, 255, 0))
    corner = (side - right - left) // 2, (side - bottom - top) // 2
    ImageDraw.Draw(square).text(corner, text, font=font, embedded_color=True)
    whole = Image.new("RGBA", square.size, "white")
    whole.alpha_composite(square)
    inside = SIDE - 2 * MARGIN
    small = whole.convert("RGB").resize((inside, inside), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1) / 255.0
    return functional.pad(pixels, (MARGIN,) * 4, value=1.0)


def emoji(*, held_out: bool = False, plain: bool = False) -> tuple[Tensor, Tensor]:
    """All emoji, or the tenth of each class that training never sees.

    Arguments:
        plain: whether only those in PLAIN, of the classes that it names.

    Returns images [N, 3, 32, 32] of mean about 0 and standard deviation about 1, and labels
    [N, 10], one-hot.
    """
    images, classes = [], []
    for label, (name, pictures) in enumerate(zip(NAMES, _drawn(), strict=True)):
        for k, (text, picture) in enumerate(pictures):
            wanted = not plain or name not in PLAIN or text in PLAIN[name]
            if wanted and (k % HELD_OUT == HELD_OUT - 1) == held_out:
                images.append((picture - PIXEL_MEAN) / PIXEL_STD)
                classes.append(label)
    return torch.stack(images), functional.one_hot(torch.tensor(classes), CLASSES).float()


def augmented(
    images: Tensor, labels: Tensor, count: int, source: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random emoji, all classes equally often, mirrored at random, their colours a little turned.

    Colours are turned around the axis of greys, so white stays white.
    """
    weights = 1.0 / labels.sum(0)[labels.argmax(1)]
    chosen = torch.multinomial(weights, count, replacement=True, generator=source)
    x = images[chosen]
    mirrored = torch.rand(count, 1, 1, 1, generator=source) < 0.5
    x = torch.where(mirrored, x.flip(3), x)
    turned = torch.einsum("bij,bjhw->bihw", _turns(HUE * torch.randn(count, generator=source)), x)
    low, high = (0.0 - PIXEL_MEAN) / PIXEL_STD, (1.0 - PIXEL_MEAN) / PIXEL_STD
    return turned.clamp(low, high), labels[chosen]


def _turns(angles: Tensor) -> Tensor:
    """Rotations [B, 3, 3] of colours around the axis of greys by angles [B] (Rodrigues)."""
    grey = torch.full((3, 3), 1.0 / 3.0)
    cross = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
    cos, sin = (f(angles)[:, None, None] for f in (torch.cos, torch.sin))
    return cos * torch.eye(3) + sin * cross + (1.0 - cos) * grey


def to_pixels(x: Tensor) -> Tensor:
    """Scaled images of any shape as brightness in [0, 1], for pictures."""
    return (x * PIXEL_STD + PIXEL_MEAN).clamp(0.0, 1.0)
