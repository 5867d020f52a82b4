"""safetensors files, read as the library that writes them reads them, and refused where it is."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import pytest
import torch
from align_your_steps.schedules.store.tensor_file import DTYPES, TensorFile
from safetensors import SafetensorError
from safetensors import torch as library

TENSORS = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES.values()}
TENSORS |= {"none": torch.zeros(0, 3), "one": torch.tensor(5.0), "é\n": torch.ones(1)}
GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def opened(data: bytes) -> TensorFile:
    return TensorFile(io.BytesIO(data), len(data))


def packed(header: Any, size: int = 8) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def test_every_tensor_is_what_was_written() -> None:
    content = opened(library.save(TENSORS, {"key": "text"}))
    assert content.metadata == {"key": "text"}
    assert content.places.keys() == TENSORS.keys()
    for key, tensor in TENSORS.items():
        found = content.tensor(key)
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found, tensor)


BROKEN = {
    "no object": [],
    "a text for a tensor": {"a": "F32"},
    "no type": {"a": {"shape": [2], "data_offsets": [0, 8]}},
    "an unknown type": {"a": {**GOOD["a"], "dtype": "F12"}},
    "a type that is a list": {"a": {**GOOD["a"], "dtype": []}},
    "a negative size": {"a": {**GOOD["a"], "shape": [-2]}},
    "two negative sizes": {"a": {**GOOD["a"], "shape": [-2, -1]}},
    "half a size": {"a": {**GOOD["a"], "shape": [2.0]}},
    "another size": {"a": {**GOOD["a"], "shape": [3]}},
    "beyond all sizes": {"a": {**GOOD["a"], "shape": [2**61, 2**61]}},
    "three offsets": {"a": {**GOOD["a"], "data_offsets": [0, 8, 8]}},
    "offsets turned round": {"a": {**GOOD["a"], "data_offsets": [8, 0]}},
    "a gap": {"a": {**GOOD["a"], "data_offsets": [4, 12]}},
    "an overlap": {**GOOD, "b": GOOD["a"]},
    "beyond the end": {**GOOD, "b": {**GOOD["a"], "data_offsets": [8, 16]}},
    "less than the file": {"a": {**GOOD["a"], "shape": [1], "data_offsets": [0, 4]}},
    "a number in the texts": {**GOOD, "__metadata__": {"key": 5}},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_the_library_refuses_is_refused(kind: str) -> None:
    assert torch.equal(opened(packed(GOOD)).tensor("a"), torch.zeros(2))
    with pytest.raises(SafetensorError):
        library.load(packed(BROKEN[kind]))
    with pytest.raises(ValueError, match=r"^its? "):
        opened(packed(BROKEN[kind]))


def test_a_truth_is_0_or_1() -> None:
    header = {"a": {"dtype": "BOOL", "shape": [2], "data_offsets": [0, 2]}}
    with pytest.raises(ValueError, match="tensors of truths"):
        opened(packed(header, 0) + b"\x01\x02").tensor("a")


def test_a_file_that_is_cut_short_after_it_was_opened_is_refused() -> None:
    data = packed(GOOD)
    file = io.BytesIO(data)
    content = TensorFile(file, len(data))
    file.truncate(len(data) - 4)
    with pytest.raises(ValueError, match="ends too early"):
        content.tensor("a")
