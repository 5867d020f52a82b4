"""Leaves of a digest: plain values, names of classes, and what is read of tensors."""

from __future__ import annotations

import functools
import hashlib
import re
import types
from typing import Any

import numpy as np
import torch

__all__ = [
    "PLAIN_TYPES",
    "NotDescribedError",
    "class_names",
    "hashed",
    "plain_bytes",
    "qualified",
    "tensor_bytes",
]

PLAIN_TYPES = bool, int, float, complex, str, bytes, slice, range, types.EllipsisType
WHOLE = 4096  # elements up to which a weight is read whole
RUNS, RUN = 16, 16  # of elements read of a larger one
GOLDEN = (5**0.5 - 1) / 2
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an element
# An int that is an object's place in memory: of this size, at a multiple of 16, but of no high
# power of two, as sizes of memory are.
ADDRESSES, ALIGNED, ROUND = range(2**32, 2**48), 16, 2**20
WRITTEN_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class NotDescribedError(ValueError):
    """A value that has no stable description."""


def hashed(*parts: bytes) -> bytes:
    """One digest of several byte strings."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def class_names(value: Any) -> list[str]:
    """The full names of an object's class and of its bases."""
    return [qualified(cls) for cls in type(value).__mro__[:-1]]


def qualified(value: Any) -> str:
    """The full name of a class or function; the host names a pack's modules by their whole path."""
    module = str(value.__module__).rpartition("custom_nodes")[2]
    return f"{module}.{value.__qualname__}"


def plain_bytes(value: Any, handles: bool = False) -> bytes:
    """A plain value without places in memory: they are others after every start.

    handles: whether an int may be the handle of an engine

    Raises NotDescribedError for one that is.
    """
    lasting = value
    if isinstance(value, str) and " at 0x" in value:
        lasting = WRITTEN_ADDRESS.sub("", value)
    if type(value) is int and value in ADDRESSES and not value % ALIGNED and value % ROUND:
        if handles:
            raise NotDescribedError("a network holds the address of what it answers by")
        lasting = "address"
    return f"{type(value).__name__}={lasting!r}".encode()


def tensor_bytes(tensor: torch.Tensor, sampled: bool) -> bytes:
    """The bytes of a tensor; of a large one, if sampled, those of some of its elements."""
    plain = tensor.detach().as_subclass(torch.Tensor)  # some packs' tensors hide their true shape
    if plain.is_complex():
        plain = torch.view_as_real(plain)
    bits = plain.view(BITS[plain.element_size()])
    count = bits.numel()
    if sampled and count > WHOLE:
        positions = _positions(count)
        if bits.is_contiguous():
            bits = bits.view(-1)[torch.from_numpy(positions)]
        else:  # one index for each dimension: flattening would copy all of it
            index = np.unravel_index(positions, tuple(bits.shape))
            bits = bits[tuple(torch.from_numpy(i) for i in index)]
    return bits.contiguous().cpu().numpy().tobytes()


@functools.lru_cache(maxsize=1024)
def _positions(count: int) -> np.ndarray:
    """The elements read of a large tensor: runs, because each costs a page of a mapped file.

    They begin at multiples of the golden ratio: evenly spaced ones would meet few columns only.
    """
    starts = (np.arange(1, RUNS + 1) * GOLDEN % 1.0 * (count - RUN)).astype(np.int64)
    return (starts[:, None] + np.arange(RUN)).reshape(-1)
