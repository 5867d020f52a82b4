"""One optimised schedule as a file: safetensors, read with nothing trusted.

A file holds the levels as float64 tensor "levels", the result's other tensors, and in the header
(JSON text, so that listing is cheap) the name, the provenance, levels for other numbers of steps,
the request and the notes.

Files may come from anywhere. Nothing is unpickled or evaluated, sizes are checked before anything
is read, and levels go through the same checks as any schedule.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

from .schedule import Schedule

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "MAX_LEVELS",
    "SavedSchedule",
    "digest_of",
    "number",
    "read_saved",
    "size_of_file",
    "to_bytes",
]

FORMAT = "align_your_steps.schedule"
FORMAT_VERSION = 1
MAX_LEVELS = 10_001  # the host's nodes ask for 10,000 steps at most

_MAX_HEADER = 16 * 2**20  # bytes
_MAX_FILE = 512 * 2**20  # bytes


@dataclass(frozen=True, eq=False)
class SavedSchedule:
    """An optimised schedule with what it answers and what was measured on the way.

    Arguments:
        schedule: levels, name, provenance.
        identity: digest of the model; None if it could not be identified. Such a result is never
            picked up automatically: `Store.find` and `Store.nearest` pass over it.
        request: everything that makes a result *the same* (JSON types): identity, guidance,
            sampler, steps, shape, denoise, method, budget, seed. 7 and 7.0 are not the same.
        tensors: the profile and the like, under any names but "levels".
        notes: figures for the report (JSON types).

    Raises ValueError if request["identity"] is not the identity.
    """

    schedule: Schedule
    identity: str | None
    request: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.request.get("identity") != self.identity:
            raise ValueError(
                f"The request names the model {self.request.get('identity')!r}, but the identity "
                f"is {self.identity!r}; put the same identity in both."
            )

    @property
    def digest(self) -> str:
        """That of the request, as 32 hexadecimal digits; it names the file.

        Without an identity the levels go in too: two models that cannot be told apart must not
        overwrite each other's results.
        """
        if self.identity is None:
            return digest_of({"request": self.request, "levels": self.schedule.levels})
        return digest_of(self.request)


def digest_of(request: Mapping[str, Any]) -> str:
    """BLAKE2b-128 of a request as canonical JSON, as 32 hexadecimal digits."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def number(value: object) -> float | None:
    """A number from a request or from notes, which may hold anything; None for anything else.

    >>> number(7), number(True), number("7"), number(float("nan")), number(10**400)
    (7.0, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


def to_bytes(saved: SavedSchedule) -> bytes:
    """The content of a result's file.

    Raises ValueError for a tensor called "levels", and for what is too large to be read again.
    """
    if "levels" in saved.tensors:
        raise ValueError("A saved result's tensor cannot be called 'levels'; rename it.")
    levels = torch.tensor(saved.schedule.levels, dtype=torch.float64)
    header = {
        "name": saved.schedule.name,
        "provenance": asdict(saved.schedule.provenance),
        "others": saved.schedule.others,
        "request": saved.request,
        "notes": saved.notes,
    }
    metadata = {"format": FORMAT, "version": str(FORMAT_VERSION), "result": json.dumps(header)}
    # Copies: safetensors refuses views and tensors that share memory.
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
               for key, value in saved.tensors.items()}  # fmt: skip
    data = safetensors_torch.save({**tensors, "levels": levels}, metadata)
    _check_size(len(data), data[:8])
    return data


def read_saved(path: Path, *, with_tensors: bool) -> SavedSchedule:
    """Read a file and check everything in it; without tensors only its header and its levels.

    Raises ValueError or whatever the parsers raise, saying what is wrong with the file.
    """
    size = size_of_file(path)
    with path.open("rb") as file:
        _check_size(size, file.read(8))
    with safe_open(path, framework="pt") as content:
        metadata = content.metadata() or {}
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, str(FORMAT_VERSION)):
            raise ValueError(f"it is not a saved schedule of format version {FORMAT_VERSION}")
        header = json.loads(metadata.get("result", "null"))
        view = content.get_slice("levels")
        shape = view.get_shape()
        if view.get_dtype() != "F64" or len(shape) != 1 or shape[0] > MAX_LEVELS:
            raise ValueError(f"its levels are {view.get_dtype()} {shape}, not a float64 list")
        levels = content.get_tensor("levels").tolist()
        # Clones: the tensors themselves would keep the file mapped and, on Windows, locked.
        keys = set(content.keys()) - {"levels"} if with_tensors else set()
        tensors = {key: content.get_tensor(key).clone() for key in sorted(keys)}
    request, notes = _objects(header, "request", "notes")
    identity = request.get("identity")
    if not isinstance(identity, str | None):
        raise ValueError("its model identity is not text")
    schedule = Schedule.from_dict({**header, "levels": levels})
    return SavedSchedule(schedule, identity, request, tensors, notes)


def size_of_file(path: Path) -> int:
    """The bytes of a file of a folder; ValueError for what is no file, or not of that folder."""
    if not path.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError("it is a link that leads out of its folder")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise ValueError("it is not a file")
    return status.st_size


def _objects(header: object, *keys: str) -> list[dict[str, Any]]:
    """The JSON objects under these keys of the header."""
    found = [header.get(key) for key in keys] if isinstance(header, dict) else []
    objects = [value for value in found if isinstance(value, dict)]
    if len(objects) < len(keys):
        raise ValueError(f"its header does not hold the JSON objects {' and '.join(keys)}")
    return objects


def _check_size(size: int, first: bytes) -> None:
    """Refuse what is too large to be read; the `first` 8 bytes are the header's length."""
    header = int.from_bytes(first, "little")
    if size > _MAX_FILE or header > _MAX_HEADER:
        raise ValueError(
            f"a saved schedule may have {_MAX_FILE >> 20} MiB, of them {_MAX_HEADER >> 20} MiB for "
            f"the header, but this one has {size} bytes and a header of {header}"
        )
