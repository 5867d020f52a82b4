"""Tensors and texts in a safetensors file, read from an open file with nothing trusted.

Such a file is the length of its header in 8 bytes, the header as JSON text,

    {"__metadata__": {key: text, ...},
     name: {"dtype": "F64", "shape": [11], "data_offsets": [0, 88]}, ...}

and the tensors' bytes, without gaps. See https://github.com/huggingface/safetensors, "Format".
That library reads from a path, which it maps into memory, or from the bytes of a whole file; here
one tensor is read from a file that is open already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .json_text import parsed

__all__ = ["DTYPES", "MAX_HEADER", "TensorFile"]

MAX_HEADER = 16 * 2**20  # bytes; levels for 1000 numbers of steps are 12 MB
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_DIMENSIONS = 16
_METADATA = "__metadata__"


@dataclass(frozen=True)
class _Place:
    """Place of a tensor in the file, and its kind."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFile:
    """The header of an open safetensors file, and its tensors one by one.

    Arguments:
        file: open for reading in binary, at its beginning.
        size: of the file, in bytes.

    metadata: the header's texts, by key
    places:   the names of the tensors, with the place of each

    Raises ValueError, as the end of a sentence about the file, for what is not such a file.
    """

    def __init__(self, file: BinaryIO, size: int):
        self.file = file
        length = int.from_bytes(self._read(0, 8), "little")
        if length > size - 8:
            raise ValueError("its header is cut off or damaged, or it is no such file at all")
        if length > MAX_HEADER:
            most = MAX_HEADER >> 20
            raise ValueError(f"its header has {length} bytes, but {most} MiB is the most")
        content = parsed(self._read(8, length), what="its header")
        if not isinstance(content, dict):
            raise ValueError("its header is not a JSON object")
        self.metadata = _texts(content.pop(_METADATA, {}))
        begin = 8 + length
        self.places = {key: _read_place(key, value, begin) for key, value in content.items()}
        end = begin
        for place in sorted(self.places.values(), key=lambda place: (place.begin, place.end)):
            if place.begin != end:
                raise ValueError("its tensors overlap, or there is a gap between them")
            end = place.end
        if end != size:
            raise ValueError(f"it should have {end} bytes, but it has {size}: get it again")

    def tensor(self, name: str) -> Tensor:
        """One tensor, in memory of its own."""
        place = self.places[name]
        data = self._read(place.begin, place.end - place.begin)
        if place.dtype is torch.bool and data.translate(None, b"\x00\x01"):
            raise ValueError("one of its tensors of truths holds something else")
        if not data:  # frombuffer refuses it
            return torch.empty(place.shape, dtype=place.dtype)
        return torch.frombuffer(data, dtype=place.dtype).reshape(place.shape)

    def _read(self, begin: int, length: int) -> bytearray:
        """Bytes of the file; ValueError if it ends before them, as it does while it is copied."""
        self.file.seek(begin)
        data = bytearray()
        # In pieces: a length that is a lie must not take the memory that it names.
        while len(data) < length and (piece := self.file.read(min(length - len(data), 2**22))):
            data += piece
        if len(data) < length:
            raise ValueError("it ends too early: it is damaged, or not copied to its end")
        return data


def _texts(content: object) -> dict[str, str]:
    if not isinstance(content, dict) or not all(isinstance(x, str) for x in content.values()):
        raise ValueError("its header's texts are not texts")
    return content


def _read_place(key: str, value: Any, start: int) -> _Place:
    """Read from the header where a tensor is. Raises ValueError if that cannot be."""
    try:
        dtype, shape, (begin, end) = _fields(value)
        size = torch.empty(0, dtype=dtype).element_size() * math.prod(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its tensor {key[:40]!r} is of no kind that a result has") from error
    if end - begin != size:
        raise ValueError(f"its tensor {key[:40]!r} has not the size that its shape makes")
    return _Place(dtype, tuple(shape), start + begin, start + end)


def _fields(value: Mapping[str, Any]) -> tuple[torch.dtype, list[int], tuple[int, int]]:
    dtype, shape, (begin, end) = DTYPES[value["dtype"]], value["shape"], value["data_offsets"]
    if not isinstance(shape, list) or len(shape) > _DIMENSIONS:
        raise ValueError
    if not all(type(number) is int and 0 <= number < 2**62 for number in (*shape, begin, end)):
        raise ValueError
    return dtype, shape, (begin, end)
