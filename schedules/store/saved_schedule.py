"""One optimised schedule as a file: safetensors, read with nothing trusted.

A file holds the levels as float64 tensor "levels", the result's other tensors, and in the header
(JSON text, so that listing is cheap) the name, the provenance, levels for other numbers of steps,
the request, the notes and the calibrated samplers: some hundred numbers each.

The format version covers all of it, the layout of the tensors too. Version 2 has samplers; what has
none is written as version 1, which older packs read. Every file of either version that was ever
written must be read for ever: tests/schedules/kept/ has some.

Files may come from anywhere. Nothing is unpickled or evaluated, sizes are checked before anything
is read, and levels go through the same checks as any schedule.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import torch as safetensors_torch
from torch import Tensor

from ..calibrated_sampler import CalibratedSampler
from ..schedule import Schedule
from .json_text import parsed, writable
from .safe_open import opened
from .tensor_file import DTYPES, MAX_HEADER, TensorFile
from .version import check_version

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "MAX_LEVELS",
    "MAX_OTHERS",
    "MAX_SAMPLERS",
    "MERGED",
    "MODEL",
    "OLDEST_VERSION",
    "SavedSchedule",
    "check_counts",
    "digest_of",
    "number",
    "read_saved",
    "samplers_from",
    "saved_from",
    "to_bytes",
    "version_of",
]

FORMAT = "align_your_steps.schedule"
FORMAT_VERSION = 2  # the newest that is read
OLDEST_VERSION = 1  # without samplers
MAX_LEVELS = 10_001  # the host's nodes ask for 10,000 steps at most
MAX_OTHERS = 1000  # lists of levels for other numbers of steps, one for each that is offered
MAX_SAMPLERS = 64  # twice what one run of Optimize AYS makes
MODEL = "model"  # in the notes: what the model was loaded from, for a reader, where it is known
MERGED = "merged"  # in a request: its profile was merged, its levels are another result's

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
        samplers: calibrated ones, each for its own number of steps, that of the schedule first.
            The schedule is then the best plain one, for other samplers.

    Raises ValueError if request["identity"] is not the identity, and for samplers that are not each
    for its own number of steps, that of the schedule first.
    """

    schedule: Schedule
    identity: str | None
    request: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    samplers: tuple[CalibratedSampler, ...] = ()

    def __post_init__(self) -> None:
        if self.request.get("identity") != self.identity:
            raise ValueError(
                f"The request names the model {self.request.get('identity')!r}, but the identity "
                f"is {self.identity!r}; put the same identity in both."
            )
        steps = [sampler.steps for sampler in self.samplers]
        if steps and (steps[0] != self.schedule.steps or len(set(steps)) < len(steps)):
            raise ValueError(
                f"A result for {self.schedule.steps} steps has one calibrated sampler for these, "
                "then at most one for each other number of steps, but these are for "
                f"{', '.join(map(str, steps))}."
            )
        if len(steps) > MAX_SAMPLERS:
            raise ValueError(f"a result has at most {MAX_SAMPLERS} samplers, not {len(steps)}")

    def sampler_for(self, steps: int) -> CalibratedSampler | None:
        """The calibrated sampler that was fitted to a number of steps, if there is one."""
        return next((sampler for sampler in self.samplers if sampler.steps == steps), None)

    @property
    def digest(self) -> str:
        """That of the request, as 32 hexadecimal digits; it names the file.

        Without an identity the levels and samplers go in too: two models that cannot be told apart
        must not overwrite each other's results.
        """
        if self.identity is not None:
            return digest_of(self.request)
        content: dict[str, Any] = {"request": self.request, "levels": self.schedule.levels}
        if self.samplers:
            content["samplers"] = [sampler.to_dict() for sampler in self.samplers]
        return digest_of(content)

    @property
    def numbers(self) -> tuple[object, ...]:
        """Numbers that are sampled with: two results of one request may differ in these."""
        return self.schedule.levels, self.samplers


def digest_of(request: Mapping[str, Any]) -> str:
    """BLAKE2b-128 of a request as canonical JSON, as 32 hexadecimal digits."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def version_of(saved: SavedSchedule) -> int:
    """The format version in which a result is written: the oldest that holds all of it."""
    return FORMAT_VERSION if saved.samplers else OLDEST_VERSION


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

    Raises ValueError for a tensor called "levels", and for what could not be read again.
    """
    if "levels" in saved.tensors:
        raise ValueError("A saved result's tensor cannot be called 'levels'; rename it.")
    if odd := {str(x.dtype) for x in saved.tensors.values()} - {str(x) for x in DTYPES.values()}:
        raise ValueError(f"A saved result's tensors cannot be {', '.join(odd)}; convert them.")
    check_counts(saved.schedule.levels, saved.schedule.others)
    levels = torch.tensor(saved.schedule.levels, dtype=torch.float64)
    header: dict[str, Any] = {
        "name": saved.schedule.name,
        "provenance": asdict(saved.schedule.provenance),
        "others": saved.schedule.others,
        "request": saved.request,
        "notes": saved.notes,
    }
    if saved.samplers:
        header["samplers"] = [sampler.to_dict() for sampler in saved.samplers]
    result = json.dumps(writable(header))
    metadata = {"format": FORMAT, "version": str(version_of(saved)), "result": result}
    # Copies: safetensors refuses views and tensors that share memory.
    tensors = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
               for key, value in saved.tensors.items()}  # fmt: skip
    data = safetensors_torch.save({**tensors, "levels": levels}, metadata)
    _check_size(len(data), int.from_bytes(data[:8], "little"))
    return data


def read_saved(path: Path, *, with_tensors: bool) -> SavedSchedule:
    """Read a file and check everything in it; without tensors only its header and its levels.

    Raises ValueError, saying what is wrong with the file, and OSError if it cannot be opened.
    """
    with opened(path, links=True) as (file, size):
        return _read(file, size, with_tensors)


def saved_from(data: bytes) -> SavedSchedule:
    """The result in the content of a file, checked as in `read_saved`."""
    return _read(io.BytesIO(data), len(data), True)


def check_counts(levels: object, others: object) -> None:
    """Raise ValueError for more levels, or more lists of them, than a file may hold."""
    lists = [levels, *others] if isinstance(others, list | tuple) else [levels]
    if len(lists) > MAX_OTHERS + 1:
        raise ValueError(f"a schedule has levels for at most {MAX_OTHERS} other numbers of steps")
    if any(isinstance(part, list | tuple) and len(part) > MAX_LEVELS for part in lists):
        raise ValueError(f"a schedule has at most {MAX_LEVELS} levels")


def samplers_from(content: object) -> tuple[CalibratedSampler, ...]:
    """The calibrated samplers in a file, from a list of what `to_dict` has made.

    Raises ValueError, as the end of a sentence about the file, for anything else.
    """
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise ValueError("its samplers are not a list of JSON objects")
    if len(content) > MAX_SAMPLERS:
        raise ValueError(f"a result has at most {MAX_SAMPLERS} samplers, not {len(content)}")
    for part in content:
        check_counts(part.get("levels"), [part.get("told"), part.get("weights")])
        check_counts(part.get("levels"), part.get("restarts", []))
    return tuple(map(CalibratedSampler.from_dict, content))


def _read(file: BinaryIO, size: int, with_tensors: bool) -> SavedSchedule:
    if size > _MAX_FILE:
        raise ValueError(f"it has {size} bytes, but {_MAX_FILE >> 20} MiB is the most")
    content = TensorFile(file, size)
    if content.metadata.get("format") != FORMAT:
        raise ValueError("it is not a schedule of this pack")
    check_version(content.metadata.get("version"), FORMAT_VERSION, OLDEST_VERSION)
    # NaN and Infinity: notes are figures, and those of a measurement may be no numbers.
    text = content.metadata.get("result", "null").encode()
    header = parsed(text, what="its header", constants=True)
    place = content.places.get("levels")
    if place is None or place.dtype is not torch.float64 or len(place.shape) != 1:
        raise ValueError("its levels are not a list of float64 numbers")
    if place.shape[0] > MAX_LEVELS:
        raise ValueError(f"a schedule has at most {MAX_LEVELS} levels, but it has {place.shape[0]}")
    levels = content.tensor("levels").tolist()
    request, notes = _objects(header, "request", "notes")
    identity = request.get("identity")
    if not isinstance(identity, str | None):
        raise ValueError("its model identity is not text")
    _check_finite(request)
    check_counts(levels, header.get("others"))
    schedule = Schedule.from_dict({**header, "levels": levels})
    keys = sorted(content.places.keys() - {"levels"}) if with_tensors else []
    tensors = {key: content.tensor(key) for key in keys}
    samplers = samplers_from(header.get("samplers", []))
    return SavedSchedule(schedule, identity, request, tensors, notes, samplers)


def _objects(header: object, *keys: str) -> list[dict[str, Any]]:
    """The JSON objects under these keys of the header."""
    found = [header.get(key) for key in keys] if isinstance(header, dict) else []
    objects = [value for value in found if isinstance(value, dict)]
    if len(objects) < len(keys):
        raise ValueError(f"its header does not hold the JSON objects {' and '.join(keys)}")
    return objects


def _check_finite(request: dict[str, Any]) -> None:
    """Refuse a request that has no digest."""
    try:
        digest_of(request)
    except ValueError as error:
        raise ValueError("its request holds a number that is not finite") from error


def _check_size(size: int, header: int) -> None:
    """Refuse to write what is too large to be read; `header` is the length of the header."""
    if size > _MAX_FILE or header > MAX_HEADER:
        raise ValueError(
            f"a saved schedule may have {_MAX_FILE >> 20} MiB, of them {MAX_HEADER >> 20} MiB for "
            f"the header, but this one has {size} bytes and a header of {header}"
        )
