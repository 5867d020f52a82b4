"""Meaning of the LATENT linked to an optimisation.

    empty                    gives the shape of what is sampled, as KSampler would make it of it
    images, denoise 1        data for the profile, as in the paper; the runs start from pure noise
    images, denoise below 1  where the runs start
    images and a noise mask  where the runs start, too: the host keeps what the mask leaves out

Row k of a batch of runs starts from image k and has mask k, both counted round and round, as the
host pairs them. `batch_index` says which noises the user's images get; the optimiser has its own.

A nested latent (audio and video) is one row of numbers to the optimiser, [B, 1, N], as it is to
the host's samplers.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.sample
import comfy.utils
import torch
from torch import Tensor

from .tensors import is_readable

__all__ = ["LatentUse", "first_noise", "latent_use"]

MOST_IN_BATCH = 4096  # images, whose noises are drawn one after the other


@dataclass(frozen=True)
class LatentUse:
    """start:   [K, ...] as the host's samplers take it, zeros for pure noise; packed if nested
    samples: x_0 [N, ...] in the model's own space, or None
    mask:    the noise mask, or None
    nested:  shapes of the parts of a nested latent, without the batch; empty for any other
    """

    start: Tensor
    samples: Tensor | None
    mask: Any
    nested: tuple[tuple[int, ...], ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one latent as the host's samplers see it, without the batch."""
        return tuple(self.start.shape[1:])

    @property
    def sizes(self) -> list[Any]:
        """Shape of one latent as the user sees it: of a nested one, its parts'."""
        return [list(part) for part in self.nested] if self.nested else list(self.shape)

    @property
    def digest(self) -> str:
        """Of all that it holds, to the last element: masks may differ in a few pixels."""
        digest = hashlib.blake2b(str(self.nested).encode(), digest_size=16)
        for held in (self.start, self.samples, self.mask):
            for part in [] if held is None else _parts(held):
                digest.update(f"{tuple(part.shape)}".encode())
                digest.update(part.float().cpu().contiguous().numpy().tobytes())
            digest.update(b";")
        return digest.hexdigest()

    def starts(self, count: int) -> Tensor:
        """The starts of so many runs, [count, ...]."""
        start: Tensor = comfy.utils.repeat_to_batch_size(self.start, count)
        return start.clone()

    def with_one_mask(self) -> LatentUse:
        """The same, but of a masked batch the first image alone: rows may be run in any order."""
        if self.mask is None or getattr(self.mask, "is_nested", False):
            return self
        mask = self.mask[:1] if self.mask.ndim > 2 else self.mask
        return replace(self, start=self.start[:1], mask=mask)

    def unpacked(self, x: Tensor) -> Any:
        """A latent [B, ...] in the form in which the host's guiders take it."""
        if not self.nested:
            return x
        from comfy.nested_tensor import NestedTensor  # hosts without it have no nested latents

        parts = x.split([math.prod(shape) for shape in self.nested], dim=-1)
        pairs = zip(parts, self.nested, strict=True)
        return NestedTensor([part.reshape(len(x), *shape) for part, shape in pairs])


def latent_use(model: Any, latent: dict[str, Any], denoise: float) -> LatentUse:
    """The start, the data and the mask that a LATENT stands for.

    Raises ValueError for what is none, has no elements or holds no numbers.
    """
    _check(latent)
    latents = _as_sampled(model, latent)
    nested = bool(getattr(latents, "is_nested", False))
    parts = [part.float().cpu() for part in _parts(latents)]
    shapes = tuple(tuple(part.shape[1:]) for part in parts)
    samples, mask = _packed(parts) if nested else parts[0], latent.get("noise_mask")
    shapes = shapes if nested else ()
    if not samples.any():
        return LatentUse(samples[:1], None, mask, shapes)
    if denoise < 1.0 or mask is not None:
        return LatentUse(samples, None, mask, shapes)
    data = model.model.process_latent_in(samples)
    return LatentUse(torch.zeros_like(samples[:1]), data, None, shapes)


def first_noise(model: Any, latent: dict[str, Any], seed: int) -> Tensor:
    """The noise of the first image that KSampler makes of a LATENT and a seed, [...].

    Packed if it is nested. `latent_use` has looked at the LATENT.
    """
    own = latent.get("batch_index")
    noise = comfy.sample.prepare_noise(_as_sampled(model, latent), seed, own[:1] if own else None)
    nested = bool(getattr(noise, "is_nested", False))
    parts = _parts(noise)
    return (_packed(parts) if nested else parts[0])[0].float().cpu()


def _check(latent: Any) -> None:
    """Raises ValueError, in a sentence, for a LATENT that no sampler could use."""
    samples = latent.get("samples") if isinstance(latent, dict) else None
    parts = _parts(samples)
    if not all(is_readable(part) and part.dim() > 2 and part.is_floating_point() for part in parts):
        raise ValueError(
            "What is linked to 'latent_image' is not a latent image: link the LATENT output of "
            "Empty Latent Image, VAE Encode or a similar node."
        )
    if any(part.numel() == 0 for part in parts):
        raise ValueError(
            f"The linked latent has shape {[list(part.shape) for part in parts]} and no elements: "
            "link a latent image of at least one pixel."
        )
    if not all(bool(part.isfinite().all()) for part in parts):
        raise ValueError(
            "The linked latent holds values that are no finite numbers: the picture that it was "
            "made from was damaged on its way, so encode it again."
        )
    mask = latent.get("noise_mask")
    for part in [] if mask is None else _parts(mask):
        if not is_readable(part) or part.dim() < 1 or not part.numel() or part.isnan().any():
            raise ValueError(
                "The noise mask of the linked latent is not a mask: link one with 'Set Latent "
                "Noise Mask', or a latent without a mask."
            )
    index = latent.get("batch_index")
    known = isinstance(index, list | tuple) and len(index) > 0 and isinstance(index[0], int)
    if index is not None and not (known and 0 <= index[0] < MOST_IN_BATCH):
        raise ValueError(
            "The linked latent does not say rightly which image of its batch it is: link it "
            f"without 'Latent From Batch', or take one of the first {MOST_IN_BATCH:,} images."
        )


def _as_sampled(model: Any, latent: dict[str, Any]) -> Any:
    """The latent as KSampler corrects it for a model: channels, dimensions, and its resolution.

    Newer hosts are told the last by other entries of the LATENT, and name them as arguments.
    """
    correct = comfy.sample.fix_empty_latent_channels
    known = inspect.signature(correct).parameters
    told = {name: value for name, value in latent.items() if name in known}
    return correct(model, latent["samples"], **told)


def _parts(latents: Any) -> list[Tensor]:
    """The tensors of a latent or a mask: several if it is nested."""
    return list(latents.unbind()) if getattr(latents, "is_nested", False) else [latents]


def _packed(parts: Sequence[Tensor]) -> Tensor:
    """[B, 1, N], as the host packs a nested latent for its samplers."""
    return torch.cat([part.reshape(len(part), 1, -1) for part in parts], dim=-1)
