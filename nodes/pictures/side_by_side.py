"""Decoded images side by side, each under its name; pictures below each other."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from .schedules import ROW
from .sheet import BACKGROUND, FAINT, WIDTH, Sheet, drawn, shortened

__all__ = ["BLANK", "below", "picture_row"]

MOST_COLUMNS = 3  # more would leave no room for the names
BETWEEN_IMAGES = 4  # points between images
WIDEST_PAGE = 1800  # pixels of pictures below each other
BLANK = torch.zeros(1, 64, 64, 3)  # in place of a plot, where nothing can draw one
LEAST_DOTS = 2  # pixels a point, for names that can be read


def picture_row(images: Mapping[str, Tensor]) -> Tensor:
    """An image [1, H, W, 3] of images [h, w, 3] in rows of at most three, each under its name.

    Names may have several lines. Pixels are kept as they are; small images are enlarged by a whole
    number, pixel by pixel.
    Where nothing can draw names there are none.
    """
    columns = min(len(images), MOST_COLUMNS)
    width = max(image.shape[1] for image in images.values())
    inner = WIDTH - BETWEEN_IMAGES * (columns + 1)  # points of the page that are images
    scale = math.ceil(LEAST_DOTS * inner / (columns * width))
    tiles = [_enlarged(image, scale) for image in images.values()]
    width *= scale
    gap = math.ceil(BETWEEN_IMAGES * columns * width / inner)
    page_width = columns * width + (columns + 1) * gap
    dots = page_width / WIDTH
    name_height = math.ceil(ROW * max(name.count("\n") + 1 for name in images) * dots)

    places, bottom = [], 0
    for start in range(0, len(tiles), columns):
        row = tiles[start : start + columns]
        top = bottom + name_height
        places += [(gap + column * (width + gap), top, tile) for column, tile in enumerate(row)]
        bottom = top + max(tile.shape[0] for tile in row) + gap
    page = _names(list(images), places, bottom, dots, name_height / dots, width / dots)
    for left, top, tile in places:
        page[0, top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return page


def below(*images: Tensor) -> Tensor:
    """Images [1, H, W, 3] below each other, [1, H, W, 3], as wide as the widest, up to a limit."""
    width = min(max(image.shape[2] for image in images), WIDEST_PAGE)
    scaled = []
    for image in images:
        height = round(image.shape[1] * width / image.shape[2])
        columns = image.detach().to("cpu", torch.float32).movedim(-1, 1)
        if columns.shape[-1] != width:
            columns = functional.interpolate(columns, (height, width), mode="bicubic")
        scaled.append(columns.clamp(0.0, 1.0).movedim(1, -1))
    return torch.cat(scaled, dim=1)


def _names(
    names: list[str],
    places: list[tuple[int, int, Tensor]],
    height: int,
    dots: float,
    above: float,
    room: float,
) -> Tensor:
    """The page, without the images yet; names begin so many points above an image."""

    def draw() -> Tensor:
        sheet = Sheet(height / dots, dots)
        for name, (left, top, _) in zip(_lines(names, room), places, strict=True):
            for row, line in enumerate(name):
                style = {"color": FAINT} if len(name) > 1 and row == 0 else {}
                sheet.text(left / dots, top / dots - above + ROW * (row + 0.5), line, **style)
        return sheet.image()

    page = drawn(draw)
    if page is None:
        colour = [int(BACKGROUND[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        page = torch.tensor(colour).expand(1, height, round(WIDTH * dots), 3).clone()
    return page


def _lines(names: list[str], room: float) -> list[list[str]]:
    """The lines of names, each at most so many points wide; names of one line are told apart."""
    if not any("\n" in name for name in names):
        return [[name] for name in shortened(names, room)]
    return [[shortened([line], room)[0] for line in name.split("\n")] for name in names]


def _enlarged(image: Tensor, scale: int) -> Tensor:
    """An image on the CPU, every pixel `scale` times as wide and as high."""
    image = image.detach().to("cpu", torch.float32).nan_to_num().clamp(0.0, 1.0)
    return image.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
