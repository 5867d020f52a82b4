"""End points of one noise that are kept to be looked at: small, and of noise that chose nothing.

They cost no call. In half precision the largest error of an element is a two-thousandth of it, far
below what an image of 8 bits shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["MANY", "Shown"]

MANY = "many steps"  # the name of the reference's
LARGEST_SHOWN = 2**21  # elements of a latent: 81 frames of 832 x 480 have as many


class Shown:
    """The first noise's end points [...] by name, each kept once.

    Arguments:
        largest: elements; of larger latents nothing is kept.
    """

    def __init__(self, largest: int = LARGEST_SHOWN):
        self.ends: dict[str, Tensor] = {}
        self._largest = largest

    def part(self, end: Tensor) -> dict[str, Tensor]:
        """Of end points [B, ...] what a record holds beside their errors."""
        if end[0].numel() > self._largest:
            return {}
        return {"shown.end": end[:1].to("cpu", torch.float16)}

    def keep(self, name: str, found: Mapping[str, Tensor]) -> None:
        """Keep what such a record holds, unless one of that name was kept before."""
        if "shown.end" in found:
            self.ends.setdefault(name, found["shown.end"][0])
