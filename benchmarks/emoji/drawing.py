"""Drawing a batch of pictures at once, each with parameters of its own.

Places go from -1 to 1, x to the right and y downward. A shape is its signed distance, negative
inside, from which edges are smooth: a pixel's share of ink is the distance in pixels plus one half,
between 0 and 1. Distances are [B, H, W]; parameters are numbers, or tensors [B, 1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Number", "Sketch", "arc", "box", "circle", "ellipse", "heart", "line", "polygon"]

Number = float | Tensor
Point = tuple[Number, Number]


class Sketch:
    """Count square pictures that are drawn together, and the random numbers of each.

    `x` and `y` are the places of the pixels, as the subject that was put down last sees them.
    """

    def __init__(self, count: int, side: int, source: torch.Generator) -> None:
        places = (torch.arange(side) + 0.5) * 2.0 / side - 1.0
        self.count, self.source = count, source
        self.y, self.x = (part[None] for part in torch.meshgrid(places, places, indexing="ij"))
        self.level = self.y
        self.pixels = torch.ones(count, 3, side, side)
        self.scale: Number = side / 2.0  # pixels of a unit

    def uniform(self, low: float, high: float) -> Tensor:
        """A number in [low, high] for each picture."""
        return low + (high - low) * torch.rand(self.count, 1, 1, generator=self.source)

    def chance(self, share: float) -> Tensor:
        """Tell whether, for each picture: true for that share of them."""
        return torch.rand(self.count, 1, 1, generator=self.source) < share

    def colour(
        self,
        hue: tuple[float, float],
        saturation: tuple[float, float] = (0.5, 0.8),
        value: tuple[float, float] = (0.85, 1.0),
    ) -> Tensor:
        """A colour [B, 3, 1, 1] for each picture; hues in degrees, the others from 0 to 1."""
        h, s, v = (self.uniform(*part)[:, None] for part in (hue, saturation, value))
        k = (torch.tensor([5.0, 3.0, 1.0])[:, None, None] + h / 60.0) % 6.0
        return v - v * s * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0)

    def fill(self, top: Tensor, bottom: Tensor) -> None:
        """Shade the whole from one colour above to another below."""
        share = (0.5 + 0.5 * self.level)[:, None]
        self.pixels = top + (bottom - top) * share

    def place(self, x: Number, y: Number, size: Number = 1.0, turn: Number = 0.0) -> None:
        """Put down a subject: what is painted from now on is turned, enlarged and moved."""
        side = self.pixels.shape[2]
        places = (torch.arange(side) + 0.5) * 2.0 / side - 1.0
        across, down = (places[None, None, :] - x) / size, (places[None, :, None] - y) / size
        cos, sin = torch.cos(torch.as_tensor(turn)), torch.sin(torch.as_tensor(turn))
        self.x, self.y = cos * across + sin * down, cos * down - sin * across
        self.scale = size * side / 2.0

    def paint(
        self, distance: Tensor, colour: Tensor, where: Tensor | None = None, ink: Number = 1.0
    ) -> None:
        """Cover the inside of a shape with a colour [B, 3, 1, 1], of so much ink, where wanted."""
        covered = (0.5 - distance * self.scale).clamp(0.0, 1.0) * ink
        if where is not None:
            covered = covered * where
        self.pixels = self.pixels + covered[:, None] * (colour - self.pixels)


def circle(x: Tensor, y: Tensor, radius: Number) -> Tensor:
    """A disc around the origin, as all shapes are."""
    return (x.square() + y.square()).sqrt() - radius


def ellipse(x: Tensor, y: Tensor, a: Number, b: Number) -> Tensor:
    """Of half axes a and b; the distance is exact at the edge only."""
    k = ((x / a).square() + (y / b).square()).sqrt()
    slope = ((x / a**2).square() + (y / b**2).square()).sqrt()
    return k * (k - 1.0) / slope.clamp(min=1e-6)


def box(x: Tensor, y: Tensor, width: Number, height: Number, round_by: Number = 0.0) -> Tensor:
    """Of half sides width and height, its corners rounded."""
    across, down = x.abs() - width + round_by, y.abs() - height + round_by
    outside = (across.clamp(min=0.0).square() + down.clamp(min=0.0).square()).sqrt()
    return outside + torch.maximum(across, down).clamp(max=0.0) - round_by


def line(x: Tensor, y: Tensor, start: Point, end: Point, width: Number) -> Tensor:
    """From start to end, of half width, with round ends."""
    a, b = end[0] - start[0], end[1] - start[1]
    from_x, from_y = x - start[0], y - start[1]
    along = ((from_x * a + from_y * b) / (a * a + b * b)).clamp(0.0, 1.0)
    return circle(from_x - along * a, from_y - along * b, width)


def arc(x: Tensor, y: Tensor, radius: Number, half: Number, width: Number) -> Tensor:
    """Of a circle's lower edge, the part within an angle of half to both sides: a smile."""
    sin, cos = torch.sin(torch.as_tensor(half)), torch.cos(torch.as_tensor(half))
    x = x.abs()
    end = circle(x - sin * radius, y - cos * radius, width)
    ring = (circle(x, y, radius)).abs() - width
    return torch.where(cos * x > sin * y, end, ring)


def polygon(x: Tensor, y: Tensor, corners: Sequence[Point]) -> Tensor:
    """Any polygon without crossings."""
    nearest, inside = torch.tensor(math.inf), torch.tensor(False)
    for (a, b), (c, d) in zip(corners, [*corners[1:], corners[0]], strict=True):
        nearest = torch.minimum(nearest, line(x, y, (a, b), (c, d), 0.0))
        # An edge is crossed by the ray to the right of a place.
        between = (y >= b) != (y >= d)
        rise = d - b + 1e-9
        inside = inside ^ (between & (x - a < (y - b) / rise * (c - a)))
    return torch.where(inside, -nearest, nearest)


def heart(x: Tensor, y: Tensor) -> Tensor:
    """A heart about as wide and high as the circle of radius 1."""
    x, y = 0.664 * x.abs(), 0.613 * (0.75 - y)
    round_part = circle(x - 0.25, y - 0.75, math.sqrt(2.0) / 4.0)
    tip = x.square() + (y - 1.0).square()
    shared = 0.5 * (x + y).clamp(min=0.0)
    straight = torch.minimum(tip, (x - shared).square() + (y - shared).square())
    pointed = straight.sqrt() * torch.sign(x - y)
    return torch.where(x + y > 1.0, round_part, pointed) * 1.5
