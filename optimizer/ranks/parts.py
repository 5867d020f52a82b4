"""Findings of several processes on one batch of noise: as bytes, and joined again.

Each has run its own rows of the batch. Joined in the order of the processes, their tensors are
those of one process that has run all rows. Bytes are a JSON header and the raw numbers: nothing is
unpickled or evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..runs.failures import FAILED

__all__ = ["joined_parts", "packed", "unpacked"]

# The dimension that counts the rows of a batch, by the last part of a tensor's name.
ROW_AXES = {
    "end": 0, "ends": 1, "errors": 0,  # of runs
    "x": 1, "denoised": 1,  # of tracks
    "grams": 0, "losses": 0,  # of profiles
}  # fmt: skip
SAME_IN_ALL = ("log_levels", "sigmas", "dim")  # the same in every part


def joined_parts(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of all rows, from those of every part.

    What a part could not find, nobody has found. A schedule that failed in one has failed, at the
    noise levels of all.

    >>> parts = {"errors": torch.ones(2)}, {"errors": torch.zeros(1)}
    >>> joined_parts(parts)
    {'errors': tensor([1., 1., 0.])}
    """
    names = dict.fromkeys(name for part in parts for name in part)
    joined = {}
    for name in names:
        found = [part[name] for part in parts if name in part]
        if name.startswith(FAILED):
            joined[name] = torch.cat(found).unique().flip(0)
        elif len(found) == len(parts):
            joined[name] = _joined(name.rsplit(".", 1)[-1], found)
    return joined


def _joined(kind: str, found: Sequence[Tensor]) -> Tensor:
    return found[0] if kind in SAME_IN_ALL else torch.cat(list(found), ROW_AXES[kind])


def packed(tensors: Mapping[str, Tensor], said: Any = None) -> Tensor:
    """Named tensors, and what else is said that JSON can hold, as bytes [N] in main memory."""
    layout = [[name, str(x.dtype).split(".")[-1], list(x.shape)] for name, x in tensors.items()]
    head = json.dumps([said, layout]).encode()
    pieces = [len(head).to_bytes(8, "little"), head]
    first = torch.frombuffer(bytearray(b"".join(pieces)), dtype=torch.uint8)
    return torch.cat([first, *(_bytes(x) for x in tensors.values())])


def unpacked(data: Tensor) -> tuple[dict[str, Tensor], Any]:
    """The tensors, bit for bit, and what else was said: the inverse of `packed`.

    >>> unpacked(packed({"x": torch.ones(1, 2)}, "a word"))
    ({'x': tensor([[1., 1.]])}, 'a word')
    """
    start = 8 + int.from_bytes(bytes(data[:8].tolist()), "little")
    said, layout = json.loads(bytes(data[8:start].tolist()))
    tensors = {}
    for name, kind, shape in layout:
        x = torch.empty(shape, dtype=getattr(torch, kind))
        _bytes(x).copy_(data[start : start + x.nbytes])
        tensors[name] = x
        start += x.nbytes
    return tensors, said


def _bytes(x: Tensor) -> Tensor:
    """The numbers of a tensor as bytes [N]; a contiguous one in main memory shares them."""
    return x.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
