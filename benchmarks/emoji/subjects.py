"""The ten kinds of emoji, each drawn with sizes, places, colours and details of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .drawing import Sketch, arc, box, circle, ellipse, heart, line, polygon

__all__ = ["DRAWN"]

BLUE = (195.0, 215.0)
PASTEL = (0.08, 0.3), (0.93, 1.0)


def _dark(s: Sketch) -> Tensor:
    return s.colour((0.0, 40.0), (0.3, 0.5), (0.18, 0.28))


def _white(s: Sketch) -> Tensor:
    return s.colour((0.0, 60.0), (0.0, 0.02), (0.97, 1.0))


def _plain(s: Sketch) -> None:
    """One pale colour, a little deeper below."""
    hue = s.colour((20.0, 340.0), *PASTEL)
    s.fill(1.0 - 0.55 * (1.0 - hue), hue)


def _outdoors(s: Sketch, horizon: tuple[float, float] = (0.45, 0.65)) -> None:
    """A sky, at times with a sun or clouds, over a meadow."""
    _sky(s)
    s.place(0.0, 0.0)
    at, bend = s.uniform(*horizon), s.uniform(-0.12, 0.12)
    meadow = s.colour((75.0, 125.0), (0.4, 0.6), (0.65, 0.85))
    s.paint((at + bend * s.x - s.y) / 1.0, meadow)


def _sky(s: Sketch) -> None:
    evening = s.chance(0.25)[:, None]
    day = s.colour(BLUE, (0.3, 0.5), (0.92, 1.0)), s.colour(BLUE, (0.05, 0.15), (0.97, 1.0))
    dusk = s.colour((225.0, 280.0), (0.25, 0.4), (0.8, 0.95)), s.colour((15.0, 45.0), (0.3, 0.5))
    s.fill(*(torch.where(evening, late, early) for late, early in zip(dusk, day, strict=True)))
    s.place(s.uniform(-0.8, 0.8), s.uniform(-0.8, -0.55))
    sun = s.colour((44.0, 54.0), (0.55, 0.75), (0.98, 1.0))
    s.paint(circle(s.x, s.y, s.uniform(0.14, 0.24)), sun, s.chance(0.4))
    s.place(s.uniform(-0.8, 0.8), s.uniform(-0.8, -0.4), s.uniform(0.7, 1.1))
    puffs = [
        circle(s.x + 0.2, s.y + 0.02, 0.12),
        circle(s.x, s.y, 0.17),
        circle(s.x - 0.2, s.y, 0.11),
    ]
    s.paint(torch.stack(puffs).amin(0), _white(s), s.chance(0.5), 0.85)


def _eyes(s: Sketch, apart: Tensor, y: Tensor, size: Tensor) -> None:
    """Two eyes: round and dark with a light, or shut for joy."""
    dark, shut = _dark(s), s.chance(0.25)
    across = s.x.abs() - apart
    s.paint(ellipse(across, s.y - y, size, 1.25 * size), dark, ~shut)
    side = s.x - torch.sign(s.x) * apart
    s.paint(circle(side + 0.3 * size, s.y - y + 0.45 * size, 0.45 * size), _white(s), ~shut)
    s.paint(arc(across, y - s.y + 0.5 * size, 1.15 * size, 1.2, 0.045), dark, shut)


def _face(s: Sketch) -> None:
    _plain(s)
    s.place(
        s.uniform(-0.08, 0.08), s.uniform(-0.08, 0.08), s.uniform(0.8, 0.98), s.uniform(-0.25, 0.25)
    )
    skin = s.colour((44.0, 52.0), (0.6, 0.75), (0.98, 1.0))
    s.paint(circle(s.x, s.y, 0.9), 0.86 * skin)
    s.paint(circle(s.x + 0.02, s.y + 0.05, 0.84), skin)
    glance = s.uniform(-0.08, 0.08)
    s.x = s.x - glance
    cheeks = ellipse(s.x.abs() - s.uniform(0.5, 0.6), s.y - 0.15, 0.17, 0.12)
    s.paint(cheeks, s.colour((0.0, 15.0), (0.5, 0.6)), s.chance(0.5), 0.8)
    _eyes(s, s.uniform(0.3, 0.38), s.uniform(-0.22, -0.1), s.uniform(0.1, 0.16))
    mouth, dark = s.uniform(0.0, 1.0), _dark(s)
    radius = s.uniform(0.35, 0.5)
    s.paint(arc(s.x, s.y, radius, s.uniform(0.7, 1.2), 0.05), dark, mouth < 0.45)
    laughing = (mouth >= 0.45) & (mouth < 0.85)
    wide = ellipse(s.x, s.y - 0.16, radius, s.uniform(0.35, 0.52))
    laugh = torch.maximum(wide, 0.16 - s.y)
    s.paint(laugh, dark, laughing)
    tongue = torch.maximum(laugh + 0.04, circle(s.x, s.y - 0.62, 0.27))
    s.paint(tongue, s.colour((350.0, 365.0), (0.6, 0.7)), laughing)
    s.paint(ellipse(s.x, s.y - 0.42, 0.13, s.uniform(0.12, 0.2)), dark, mouth >= 0.85)


def _heart(s: Sketch) -> None:
    _plain(s)
    big = s.uniform(0.62, 0.88)
    turn = s.uniform(-0.3, 0.3)
    x, y = s.uniform(-0.1, 0.1), s.uniform(-0.08, 0.08)
    red = s.chance(0.5)[:, None]
    hue = torch.where(red, s.colour((348.0, 362.0), (0.75, 0.9), (0.85, 0.98)),
                      s.colour((20.0, 340.0), (0.55, 0.8), (0.85, 1.0)))  # fmt: skip
    s.place(x, y + 0.06, big, turn)
    s.paint(heart(s.x, s.y), 0.85 * hue)
    s.paint(heart(s.x / 0.93, (s.y + 0.02) / 0.93), hue)
    s.paint(ellipse(s.x + 0.5, s.y + 0.4, 0.16, 0.11), _white(s), s.chance(0.7), 0.75)
    inner = s.chance(0.3)
    s.paint(heart(s.x / 0.5, (s.y + 0.02) / 0.5), 0.5 + 0.5 * hue, inner)
    s.place(s.uniform(0.7, 0.8), s.uniform(-0.8, -0.7), s.uniform(0.16, 0.2), s.uniform(-0.4, 0.4))
    s.paint(heart(s.x, s.y), hue, s.chance(0.4))


def _cat(s: Sketch) -> None:
    _plain(s)
    s.place(
        s.uniform(-0.08, 0.08), s.uniform(0.0, 0.15), s.uniform(0.8, 0.98), s.uniform(-0.2, 0.2)
    )
    orange, dark = s.chance(0.5)[:, None], _dark(s)
    fur = torch.where(orange, s.colour((25.0, 38.0), (0.5, 0.75), (0.9, 1.0)),
                      s.colour((20.0, 40.0), (0.0, 0.25), (0.5, 0.95)))  # fmt: skip
    side, out, top = s.x.abs(), s.uniform(0.68, 0.82), s.uniform(-1.0, -0.82)
    s.paint(polygon(side, s.y, [(0.12, -0.5), (out, top), (0.86, -0.05)]) - 0.04, 0.9 * fur)
    s.paint(polygon(side, s.y, [(0.35, -0.52), (out - 0.04, top + 0.18), (0.74, -0.25)]),
            s.colour((345.0, 365.0), (0.25, 0.4)))  # fmt: skip
    wide = s.uniform(0.8, 0.92)
    s.paint(ellipse(s.x, s.y - 0.1, wide, 0.7), 0.9 * fur)
    s.paint(ellipse(s.x, s.y - 0.07, wide - 0.05, 0.64), fur)
    striped = s.chance(0.45)
    s.paint(line(side, s.y, (0.0, -0.55), (0.0, -0.3), 0.05), 0.62 * fur, striped)
    s.paint(line(side, s.y, (0.22, -0.5), (0.18, -0.32), 0.045), 0.62 * fur, striped)
    s.paint(ellipse(side - 0.15, s.y - 0.42, 0.24, 0.2), 0.35 + 0.65 * fur, s.chance(0.6))
    _eyes(s, s.uniform(0.34, 0.42), s.uniform(-0.05, 0.05), s.uniform(0.1, 0.15))
    s.paint(polygon(s.x, s.y, [(-0.1, 0.22), (0.1, 0.22), (0.0, 0.34)]) - 0.02,
            s.colour((345.0, 365.0), (0.4, 0.6), (0.8, 0.95)))  # fmt: skip
    s.paint(arc(side - 0.13, s.y - 0.36, 0.13, 1.3, 0.035), dark)
    whiskers = s.chance(0.6)
    for y in (0.25, 0.42):
        s.paint(line(side, s.y, (0.55, y + 0.02), (1.0, y * 1.3 - 0.1), 0.02), dark, whiskers, 0.7)


def _fish(s: Sketch) -> None:
    s.fill(s.colour((185.0, 205.0), (0.25, 0.4), (0.92, 1.0)),
           s.colour((195.0, 220.0), (0.5, 0.75), (0.75, 0.92)))  # fmt: skip
    s.place(0.0, 0.0)
    s.paint(s.uniform(0.75, 0.9) + 0.08 * torch.sin(5.0 * s.x + s.uniform(0.0, 6.0)) - s.y,
            s.colour((40.0, 48.0), (0.25, 0.4), (0.85, 0.95)), s.chance(0.5))  # fmt: skip
    for _ in range(3):
        s.place(s.uniform(-0.9, 0.9), s.uniform(-0.9, 0.3))
        s.paint(circle(s.x, s.y, s.uniform(0.06, 0.1)), _white(s), s.chance(0.5), 0.6)
    s.place(
        s.uniform(0.0, 0.14), s.uniform(-0.12, 0.14), s.uniform(0.95, 1.18), s.uniform(-0.3, 0.3)
    )
    hue = s.colour((-15.0, 60.0), (0.6, 0.9), (0.9, 1.0))
    other = s.colour((0.0, 360.0), (0.3, 0.7), (0.9, 1.0))
    long, high, spread = s.uniform(0.55, 0.7), s.uniform(0.36, 0.52), s.uniform(0.3, 0.45)
    fins = torch.where(s.chance(0.5)[:, None], 0.85 * hue, other)
    s.paint(
        polygon(s.x, s.y, [(-0.4, 0.0), (-0.95, -spread), (-0.82, 0.0), (-0.95, spread)]) - 0.04,
        fins,
    )
    s.paint(polygon(s.x, s.y, [(0.25, -0.2), (-0.25, -high - 0.25), (-0.3, -0.2)]) - 0.05, fins)
    body = ellipse(s.x - 0.08, s.y, long, high)
    s.paint(body, hue)
    s.paint(torch.maximum(body, 0.12 - s.y), 0.4 + 0.6 * hue, ink=0.7)
    stripes = s.chance(0.5)
    for x in (-0.25, 0.05):
        s.paint(torch.maximum(body, (s.x - x).abs() - 0.07), other, stripes)
    s.paint(ellipse(s.x + 0.05, s.y - 0.1, 0.16, 0.1), fins)
    s.paint(circle(s.x - 0.4, s.y + 0.1, 0.15), _white(s))
    s.paint(circle(s.x - 0.42, s.y + 0.1, 0.085), _dark(s))


def _flower(s: Sketch) -> None:
    _outdoors(s, (0.55, 0.8))
    x, y, size = s.uniform(-0.15, 0.15), s.uniform(-0.35, -0.1), s.uniform(0.8, 1.0)
    s.place(x, y, size)
    lean, stalk = s.uniform(-0.15, 0.15), s.colour((95.0, 130.0), (0.55, 0.75), (0.5, 0.7))
    s.paint(line(s.x, s.y, (0.0, 0.0), (lean, 1.15), 0.06), stalk)
    for side in (-1.0, 1.0):
        s.place(
            x + size * (0.6 * lean + 0.2 * side),
            y + size * s.uniform(0.65, 0.85),
            size,
            -0.6 * side,
        )
        s.paint(ellipse(s.x, s.y, 0.22, 0.1), stalk, s.chance(0.7))
    s.place(x, y, size, s.uniform(0.0, 1.3))
    petal = s.colour((270.0, 420.0), (0.35, 0.8), (0.92, 1.0))
    petal = torch.where(s.chance(0.2)[:, None], _white(s), petal)
    count = s.uniform(5.0, 8.999).floor()
    angle = torch.atan2(s.y, s.x)
    folded = angle - (angle * count / (2.0 * math.pi)).round() * 2.0 * math.pi / count
    far = circle(s.x, s.y, 0.0)
    along, across = far * torch.cos(folded), far * torch.sin(folded)
    reach = s.uniform(0.26, 0.34)
    petals = ellipse(along - 0.36, across, reach, 1.6 / count)
    s.paint(petals, 0.88 * petal)
    s.paint(petals + 0.06, petal)
    middle = s.colour((35.0, 52.0), (0.7, 0.9), (0.85, 1.0))
    s.paint(circle(s.x, s.y, s.uniform(0.18, 0.25)), 0.85 * middle)
    s.paint(circle(s.x, s.y, 0.15), middle)


def _ice_cream(s: Sketch) -> None:
    _plain(s)
    s.place(s.uniform(-0.1, 0.1), s.uniform(0.0, 0.12), s.uniform(0.82, 1.0), s.uniform(-0.3, 0.3))
    wide, cone = s.uniform(0.36, 0.46), s.colour((28.0, 38.0), (0.5, 0.65), (0.82, 0.95))
    waffle = polygon(s.x, s.y, [(-wide, 0.0), (wide, 0.0), (0.0, 0.95)]) - 0.03
    s.paint(waffle, cone)
    for way in (-1.0, 1.0):
        across = (s.x + way * 0.5 * s.y) / 0.26
        stripes = ((across - across.round()).abs() - 0.14) * 0.23
        s.paint(torch.maximum(waffle + 0.03, stripes), 0.8 * cone)
    scoops, hue = (
        s.uniform(0.0, 1.0),
        [s.colour((0.0, 360.0), (0.2, 0.5), (0.88, 1.0)) for _ in range(3)],
    )
    chocolate = s.colour((18.0, 26.0), (0.5, 0.65), (0.42, 0.55))
    hue[0] = torch.where(s.chance(0.25)[:, None], chocolate, hue[0])
    radius = wide + 0.02
    sides = torch.where(scoops > 0.66, 0.24, 0.0)
    for k, (x, y) in enumerate(((-0.24, -0.15), (0.24, -0.15))):
        where = scoops > 0.66
        s.paint(circle(s.x - x, s.y - y, 0.32), hue[k + 1], where)
    top = torch.where(scoops < 0.33, -0.15, -0.52)
    single, tall = scoops < 0.33, (scoops >= 0.33) & (scoops <= 0.66)
    s.paint(circle(s.x, s.y + 0.14, radius), hue[1], tall)
    s.paint(circle(s.x, s.y - top, torch.where(single, radius + 0.04, 0.36)), hue[0])
    s.paint(ellipse(s.x + 0.14, s.y - top + 0.12, 0.1, 0.07), _white(s), ink=0.55)
    cherry = s.colour((350.0, 362.0), (0.75, 0.9), (0.8, 0.95))
    s.paint(circle(s.x - 0.05, s.y - top + 0.4, 0.11), cherry, s.chance(0.5))
    sprinkled = s.chance(0.35) & ~sides.bool()
    for x, y in ((-0.2, 0.05), (0.18, 0.1), (0.02, -0.02), (0.2, -0.15)):
        s.paint(circle(s.x - x, s.y - top - y, 0.05), hue[2] * 0.85, sprinkled)


def _tree(s: Sketch) -> None:
    _outdoors(s)
    x, size = s.uniform(-0.15, 0.15), s.uniform(0.82, 1.0)
    s.place(x, 0.05, size)
    bark = s.colour((20.0, 32.0), (0.45, 0.6), (0.42, 0.6))
    fir, wide = s.chance(0.35), s.uniform(0.07, 0.11)
    s.paint(box(s.x, s.y - 0.55, wide, 0.3, 0.04), bark)
    autumn = s.chance(0.3)[:, None]
    leaves = torch.where(autumn, s.colour((-5.0, 48.0), (0.65, 0.85), (0.8, 0.95)),
                         s.colour((85.0, 145.0), (0.5, 0.7), (0.5, 0.75)))  # fmt: skip
    needles = s.colour((125.0, 165.0), (0.45, 0.65), (0.4, 0.6))
    for y, half in ((0.35, 0.58), (-0.05, 0.47), (-0.42, 0.35)):
        part = polygon(s.x, s.y, [(-half, y), (half, y), (0.0, y - 0.55)]) - 0.03
        s.paint(part, needles * (1.0 - 0.2 * (y + 0.42)), fir)
    puffs = [circle(s.x, s.y + s.uniform(0.35, 0.5), s.uniform(0.38, 0.46))]
    for side in (-1.0, 1.0):
        apart, high = s.uniform(0.26, 0.4), s.uniform(0.0, 0.2)
        puffs.append(circle(s.x - side * apart, s.y + high, s.uniform(0.28, 0.36)))
    crown = torch.stack(puffs).amin(0)
    s.paint(crown, 0.85 * leaves, ~fir)
    s.paint(torch.stack([puff + 0.07 for puff in puffs]).amin(0), leaves, ~fir)
    fruit, ripe = s.colour((345.0, 385.0), (0.75, 0.9), (0.85, 0.98)), s.chance(0.35) & ~fir
    for right, down in ((-0.3, -0.1), (0.25, -0.2), (-0.05, -0.5), (0.05, 0.0)):
        s.paint(circle(s.x - right, s.y - down, 0.075), fruit, ripe)


def _boat(s: Sketch) -> None:
    _sky(s)
    turn = s.uniform(-0.1, 0.1)
    s.place(s.uniform(-0.12, 0.12), s.uniform(0.0, 0.1), s.uniform(0.82, 1.0), turn)
    hull = s.colour((0.0, 360.0), (0.55, 0.8), (0.6, 0.9))
    sail = torch.where(
        s.chance(0.5)[:, None], _white(s), s.colour((0.0, 360.0), (0.3, 0.7), (0.92, 1.0))
    )
    s.paint(
        line(s.x, s.y, (0.0, -0.9), (0.0, 0.4), 0.04),
        s.colour((20.0, 32.0), (0.45, 0.6), (0.42, 0.6)),
    )
    out, low = s.uniform(0.5, 0.68), s.uniform(0.12, 0.22)
    s.paint(polygon(s.x, s.y, [(0.08, -0.8), (out, low), (0.08, low)]) - 0.03, sail)
    jib = s.chance(0.75)
    s.paint(
        polygon(s.x, s.y, [(-0.08, -0.6), (-0.08, low), (-0.8 * out, low)]) - 0.03, 0.9 * sail, jib
    )
    s.paint(polygon(s.x, s.y, [(0.0, -0.95), (-0.28, -0.86), (0.0, -0.77)]), hull, s.chance(0.6))
    wide = s.uniform(0.66, 0.8)
    below = [(-wide, 0.33), (wide, 0.33), (0.68 * wide, 0.72), (-0.62 * wide, 0.72)]
    s.paint(polygon(s.x, s.y, below) - 0.03, hull)
    s.paint(box(s.x, s.y - 0.42, wide - 0.04, 0.045), _white(s), s.chance(0.5))
    s.place(0.0, 0.0)
    sea = s.colour((195.0, 218.0), (0.55, 0.75), (0.7, 0.9))
    for k in range(2):
        at, wave, phase = 0.58 + 0.2 * k, s.uniform(0.03, 0.07), s.uniform(0.0, 6.3)
        s.paint(at + wave * torch.sin(6.0 * s.x + phase) - s.y, sea * (1.0 - 0.12 * k))


def _house(s: Sketch) -> None:
    _outdoors(s)
    s.place(s.uniform(-0.12, 0.12), s.uniform(0.05, 0.15), s.uniform(0.82, 1.0))
    wall = s.colour((10.0, 60.0), (0.08, 0.35), (0.9, 1.0))
    wall = torch.where(
        s.chance(0.3)[:, None], s.colour((0.0, 360.0), (0.2, 0.4), (0.88, 1.0)), wall
    )
    roof = torch.where(s.chance(0.7)[:, None], s.colour((-8.0, 22.0), (0.6, 0.8), (0.6, 0.85)),
                       s.colour((200.0, 260.0), (0.3, 0.5), (0.45, 0.65)))  # fmt: skip
    wide, eaves, top = s.uniform(0.5, 0.66), s.uniform(-0.2, -0.05), s.uniform(-0.85, -0.65)
    chimney, way = s.chance(0.55), torch.where(s.chance(0.5), 1.0, -1.0)
    s.paint(box(s.x - 0.36 * way, s.y - eaves + 0.45, 0.09, 0.32), 0.75 * roof, chimney)
    for k in range(2):
        puff = circle(s.x - way * (0.4 + 0.12 * k), s.y - eaves + 0.92 + 0.13 * k, 0.08 + 0.03 * k)
        s.paint(puff, _white(s), chimney & s.chance(0.6), 0.8)
    s.paint(box(s.x, s.y - 0.3, wide, 0.5), wall)
    s.paint(
        polygon(s.x, s.y, [(-wide - 0.16, eaves), (wide + 0.16, eaves), (0.0, top)]) - 0.03, roof
    )
    door_x = torch.where(s.chance(0.5), 0.0, way * 0.25)
    door = s.colour((0.0, 360.0), (0.4, 0.7), (0.45, 0.75))
    s.paint(box(s.x - door_x, s.y - 0.54, 0.13, 0.27, 0.03), door)
    pane = torch.where(s.chance(0.3)[:, None], s.colour((45.0, 55.0), (0.5, 0.7), (0.97, 1.0)),
                       s.colour((195.0, 210.0), (0.3, 0.5), (0.8, 0.95)))  # fmt: skip
    for side in (-1.0, 1.0):
        at = side * 0.6 * wide
        free = ((at - door_x).abs() > 0.26) if isinstance(at, Tensor) else None
        s.paint(box(s.x - at, s.y - 0.25, 0.15, 0.15), _white(s), free)
        s.paint(box(s.x - at, s.y - 0.25, 0.105, 0.105), pane, free)
    s.paint(circle(s.x, s.y - 0.5 * (eaves + top) - 0.1, 0.11), pane, s.chance(0.4))


def _bird(s: Sketch) -> None:
    _sky(s)
    s.place(0.0, 0.0)
    bough = s.colour((20.0, 32.0), (0.45, 0.6), (0.45, 0.6))
    at, rise = s.uniform(0.68, 0.78), s.uniform(-0.1, 0.1)
    s.paint(line(s.x, s.y, (-1.2, at - rise), (1.2, at + rise), 0.07), bough)
    x = s.uniform(-0.1, 0.1)
    s.place(x, at - 0.63 * 0.95, s.uniform(0.82, 0.98), s.uniform(-0.12, 0.12))
    hue = s.colour((0.0, 360.0), (0.45, 0.75), (0.75, 1.0))
    wing = torch.where(
        s.chance(0.5)[:, None], 0.75 * hue, s.colour((0.0, 360.0), (0.4, 0.6), (0.6, 0.9))
    )
    legs = s.colour((25.0, 40.0), (0.6, 0.8), (0.75, 0.9))
    for foot in (-0.12, 0.12):
        s.paint(line(s.x, s.y, (foot, 0.4), (foot, 0.66), 0.035), legs)
    tip = s.uniform(-0.15, 0.3)
    tail = polygon(s.x, s.y, [(-0.3, 0.0), (-0.95, tip), (-0.8, 0.45), (-0.2, 0.35)])
    s.paint(tail - 0.02, wing)
    body = ellipse(s.x + 0.02, s.y - 0.12, s.uniform(0.5, 0.58), s.uniform(0.4, 0.47))
    head_x, head_y, head_r = s.uniform(0.24, 0.34), s.uniform(-0.42, -0.3), s.uniform(0.32, 0.38)
    head = circle(s.x - head_x, s.y - head_y, head_r)
    beak = s.colour((30.0, 48.0), (0.75, 0.9), (0.9, 1.0))
    s.paint(polygon(s.x, s.y, [(head_x + 0.25, head_y - 0.1), (head_x + 0.62, head_y + 0.06),
                               (head_x + 0.25, head_y + 0.18)]), beak)  # fmt: skip
    s.paint(torch.minimum(body, head), hue)
    belly = ellipse(s.x - 0.2, s.y - 0.2, 0.3, 0.26)
    s.paint(torch.maximum(belly, body + 0.03), 0.45 + 0.55 * hue, s.chance(0.7))
    s.paint(ellipse(s.x + 0.18, s.y - 0.1, 0.32, 0.2), wing)
    s.paint(circle(s.x - head_x - 0.1, s.y - head_y + 0.04, 0.12), _white(s))
    s.paint(circle(s.x - head_x - 0.12, s.y - head_y + 0.04, 0.075), _dark(s))


DRAWN: dict[str, Callable[[Sketch], None]] = {
    "face": _face,
    "heart": _heart,
    "cat": _cat,
    "fish": _fish,
    "flower": _flower,
    "ice cream": _ice_cream,
    "tree": _tree,
    "boat": _boat,
    "house": _house,
    "bird": _bird,
}
