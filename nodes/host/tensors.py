"""Objects that may stand in the place of a tensor, and what of them can be read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["is_readable"]


def is_readable(given: Any) -> bool:
    """Tell if something is a tensor of real numbers: neither sparse nor without its data."""
    return (
        isinstance(given, Tensor)
        and given.layout is torch.strided
        and not (given.is_meta or given.is_complex())
    )
