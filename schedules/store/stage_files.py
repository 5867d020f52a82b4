"""Unfinished work on disk: what an interrupted optimisation had measured, for the next time.

One folder for each request, named by its digest; one safetensors file in it for each stage. A file
is whole or absent, and carries the digest of its request and of its own content: what was damaged
or belongs elsewhere is absent too, with a log line. Nothing is unpickled or evaluated.

Work that nobody comes back to is deleted: folders untouched for a week, and the oldest ones as
soon as there are more than 100, or all of them together take more than 512 MB. What would not fit
into that is not kept, and nothing that goes wrong here stops an optimisation.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors_torch
from torch import Tensor

from ..names import reason
from .atomic_write import write_whole
from .safe_open import opened
from .saved_schedule import digest_of
from .tensor_file import TensorFile
from .version import NewerVersionError, check_version

__all__ = ["Unfinished"]

UNFINISHED_FORMAT = "align_your_steps.unfinished"
UNFINISHED_VERSION = 1
WEEK = 7 * 24 * 3600.0  # seconds
LARGEST_UNFINISHED = 512 * 2**20  # bytes, of all unfinished work
MOST_FOLDERS = 100  # folders beside one's own: all are looked through at every start

log = logging.getLogger("align_your_steps")


class Unfinished:
    """The finished stages of one unfinished optimisation, as the optimiser's Journal.

    Arguments:
        folder: of all unfinished work; it is made when there is something to keep.
        request: all that decides what the optimisation finds (JSON types).
    """

    def __init__(self, folder: Path, request: Mapping[str, Any]):
        self.digest = digest_of(request)
        self.folder = folder / self.digest
        self.writes = True
        others = _tidied(folder, keep=self.digest)
        self.used = others + sum(_size(file) for file in _files(self.folder))

    def get(self, name: str) -> dict[str, Tensor] | None:
        """The tensors put under a name; None, and a log line, if they cannot be trusted."""
        path = self._path(name)
        try:
            return self._read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # a hostile file fails in ways that cannot be listed
            if isinstance(error, NewerVersionError):
                self.writes = False  # nor is it written over
            log.warning("Unfinished work in %s is not used: %s.", path, reason(error))
            return None

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a name; the first failure is logged, and nothing is kept after it."""
        if not self.writes:
            return
        try:
            # Copies: safetensors refuses views and tensors that share memory.
            whole = {key: x.detach().cpu().clone(memory_format=torch.contiguous_format)
                     for key, x in tensors.items()}  # fmt: skip
            format_ = f"{UNFINISHED_FORMAT} {UNFINISHED_VERSION}"
            metadata = {"format": format_, "request": self.digest, "content": _content(whole)}
            data = safetensors_torch.save(whole, metadata)
            if self.used + len(data) > LARGEST_UNFINISHED:
                raise OSError(f"unfinished work may take {LARGEST_UNFINISHED >> 20} MiB")
            self._write(self._path(name), data)
            self.used += len(data)
        except Exception as error:  # whatever it is, the optimisation goes on
            self.writes = False
            log.warning(
                "If this optimisation is interrupted, it cannot continue from here: %s", error
            )

    def discard(self) -> None:
        """Delete all of it."""
        _remove(self.folder)

    def _path(self, name: str) -> Path:
        """Raises ValueError for a name that is not a plain word: names are never paths."""
        if not re.fullmatch(r"\w+", name):
            raise ValueError(f"The stage {name!r} is not a plain word: use letters and digits.")
        return self.folder / f"{name}.safetensors"

    def _write(self, path: Path, data: bytes) -> None:
        """A whole file, also while another process that has finished the same deletes the folder.

        Raises OSError.
        """
        for again in (True, True, False):
            try:
                write_whole(path.parent, path.name, data)
                return
            except FileNotFoundError:
                if not again:
                    raise

    def _read(self, path: Path) -> dict[str, Tensor]:
        with opened(path, links=False) as (file, size):
            if size > LARGEST_UNFINISHED:
                raise ValueError(
                    f"it has {size} bytes, but {LARGEST_UNFINISHED >> 20} MiB is the most"
                )
            content = TensorFile(file, size)
            metadata = content.metadata
            format_, _, version = metadata.get("format", "").partition(" ")
            if format_ != UNFINISHED_FORMAT:
                raise ValueError("it is not unfinished work of this pack")
            check_version(version, UNFINISHED_VERSION)
            if metadata.get("request") != self.digest:
                raise ValueError("it belongs to another request")
            tensors = {key: content.tensor(key) for key in content.places}
        if metadata.get("content") != _content(tensors):
            raise ValueError("it is damaged")
        return tensors


def _content(tensors: Mapping[str, Tensor]) -> str:
    """A digest of named tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for key, tensor in sorted(tensors.items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tidied(folder: Path, keep: str) -> int:
    """Delete old folders of work and, oldest first, what is too much; return the bytes left.

    keep: the name of the folder that is not counted and never deleted
    """
    others = [path for path in _files(folder) if path.name != keep and path.is_dir()]
    used = 0
    for number, path in enumerate(sorted(others, key=_modified, reverse=True)):
        size = sum(_size(file) for file in _files(path))
        old = number >= MOST_FOLDERS or time.time() - _modified(path) > WEEK
        if old or used + size > LARGEST_UNFINISHED // 2:
            _remove(path)
        else:
            used += size
    return used


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # no such folder, or not a readable one
        return []


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _modified(path: Path) -> float:
    """Time at which something was last put into a folder; now if that cannot be told."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _remove(folder: Path) -> None:
    """Delete a folder of work, and nothing else that stands under its name."""
    if not folder.is_symlink() and re.fullmatch(r"[0-9a-f]{32}", folder.name):
        shutil.rmtree(folder, ignore_errors=True)
