"""Conditions of a profile: the guided model, and where its samples come from.

Samples are end points of the model's own reference runs, or the user's images, noised again. So
neither the sampler nor the number of steps, the budget, the method or the seed makes another
profile: they only say how well it is known, and from which noises.

Prompts are known by digests of their numbers. Text encoders round differently on different kinds
of hardware: then the same prompt has several digests, and only its user can tell that it is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..schedules.store.saved_schedule import MERGED, number

__all__ = ["PROMPTS", "Conditions"]

PROMPTS = "prompts"  # inside what a request says of a merge: all their digests, where several

MOST_SIZES = 5  # of a latent that are told

# The keys of a result's request, in the order in which differences are told.
KEYS = ("identity", "second identity", "cfg", "shape", "denoise", "latent", "boundary")


@dataclass(frozen=True)
class Conditions:
    """Conditions on which a profile was measured.

    values:  by the keys of a request; those that a result does not have are None
    prompts: digests of guidance and second guidance, those that stand for the same ones
    """

    values: Mapping[str, Any]
    prompts: frozenset[tuple[str | None, str | None]]

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Conditions:
        """Those of a request, which may hold anything."""
        merged = request.get(MERGED)
        several = merged.get(PROMPTS) if isinstance(merged, Mapping) else None
        listed = several if isinstance(several, list) else []
        pairs = [_pair(part) for part in listed if isinstance(part, list) and len(part) == 2]
        own = _pair([request.get("guidance"), request.get("second guidance")])
        return cls({key: request.get(key) for key in KEYS}, frozenset([*pairs, own]))

    @property
    def is_identified(self) -> bool:
        """True if anything can be told of other profiles: not of a model without identity."""
        return isinstance(self.values["identity"], str)

    def difference(self, other: Conditions, *, same_prompts: bool = False) -> str | None:
        """Say what differs first, as the end of a sentence about the two; None if nothing does.

        same_prompts: whether the prompts are known to be the same, whatever their digests
        """
        for key in KEYS:
            ours, theirs = self.values[key], other.values[key]
            if ours != theirs:
                return _DIFFERENT[key](ours, theirs)
        if not (same_prompts or self.prompts & other.prompts):
            return (
                "have different prompts or another guidance: use the same ones. If they are the "
                "same, and only computed on another kind of hardware, merge with 'same_prompts', "
                "and one result of this machine among the others"
            )
        return None

    def with_prompts_of(self, other: Conditions) -> Conditions:
        """The same with the prompts of both."""
        return Conditions(self.values, self.prompts | other.prompts)

    def as_request(self) -> dict[str, Any]:
        """The keys that `of` reads, but for several prompts; none that a single model lacks."""
        guidance, second = self.listed_prompts()[0]
        request = {key: self.values[key] for key in KEYS if self.values[key] is not None}
        request |= {"cfg": self.values["cfg"], "guidance": guidance}
        return request if second is None else {**request, "second guidance": second}

    def listed_prompts(self) -> list[list[str | None]]:
        """The prompts in one order, as JSON types."""
        listed = (list(pair) for pair in self.prompts)
        return sorted(listed, key=lambda pair: [digest or "" for digest in pair])


def _pair(digests: list[Any]) -> tuple[str | None, str | None]:
    first, second = (digest if isinstance(digest, str) else None for digest in digests)
    return first, second


def _shape(value: Any) -> str:
    """A latent's size; of one with parts, theirs. A request may hold anything."""
    if not isinstance(value, list) or not 0 < len(value) <= MOST_SIZES:
        return "unknown"
    if all(isinstance(part, list) for part in value):
        nested = any(isinstance(size, list) for part in value for size in part)
        return "unknown" if nested else " with ".join(_shape(part) for part in value)
    return "x".join(_number(size) for size in value)


def _number(value: Any) -> str:
    known = number(value)
    return "unknown" if known is None else f"{known:g}"


_DIFFERENT = {
    "identity": lambda ours, theirs: (
        "are of different models: only profiles of one model, with the same LoRAs and patches, "
        "can be put together"
    ),
    "second identity": lambda ours, theirs: (
        "have different second models: only profiles of the same two models can be put together"
    ),
    "cfg": lambda ours, theirs: (
        f"have another guidance scale, cfg {_number(ours)} and cfg {_number(theirs)}: each is a "
        "model of its own, so measure at the same"
    ),
    "shape": lambda ours, theirs: (
        f"are of latents of different sizes, {_shape(ours)} and {_shape(theirs)}: measure at one "
        "size"
    ),
    "denoise": lambda ours, theirs: (
        f"are of different parts of the path, denoise {_number(ours)} and {_number(theirs)}: "
        "measure with the same denoise"
    ),
    "latent": lambda ours, theirs: (
        "have different start images, example images or masks: link the same latent_image"
    ),
    "boundary": lambda ours, theirs: (
        f"have second models that take over at different noise levels, {_number(ours)} and "
        f"{_number(theirs)}: choose steps and boundary_step so that they are the same"
    ),
}
