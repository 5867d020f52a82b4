"""A saved result's profile, with what it was measured on, and from which noises.

Its samples are end points of the model's own reference runs, or the user's images, noised again. So
neither the sampler nor the number of steps, the budget, the method or the seed makes another
profile: they only say how well it is known, and from which noises.

A seed gives the same noises on every machine, whatever its hardware makes of them afterwards. So
samples of the same seed and place are one sample that was measured twice: they must count once, or
a profile would pass for surer than it is.

Prompts are known by digests of their numbers. Text encoders round differently on different kinds
of hardware: then the same prompt has several digests, and only its user can tell that it is one.

Results are files from anywhere: their tensors are looked at before anything is computed with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..optimizer import Profile
from ..schedules import SavedSchedule
from ..schedules.store import MERGED, number

__all__ = [
    "NOISES",
    "PROMPTS",
    "Conditions",
    "MeasuredProfile",
    "Noise",
    "as_ranges",
    "from_ranges",
    "seeds_text",
]

NOISES = "noises"  # in the notes of a result whose profile is not of its own seed alone
PROMPTS = "prompts"  # inside what a request says of a merge: all their digests, where several

MOST_LEVELS = 128  # four times what is measured: landscapes grow with their square
MOST_SEEDS = 5  # that a sentence names
MOST_SIZES = 5  # of a latent that are told
TENSORS = ("profile.sigmas", "profile.grams", "profile.losses", "profile.dim")

Noise = tuple[int, int]  # seed, place in its sequence

# The keys of a result's request, in the order in which differences are told, and how.
DIFFERENT = {
    "identity": "are of different models: only profiles of one model, with the same LoRAs and "
    "patches, can be put together",
    "second identity": "have different second models: only profiles of the same two models can be "
    "put together",
    "cfg": "have another guidance scale, cfg {} and cfg {}: each is a model of its own, so measure "
    "at the same",
    "shape": "are of latents of different sizes, {} and {}: measure at one size",
    "denoise": "are of different parts of the path, denoise {} and {}: measure with the same "
    "denoise",
    "latent": "have different start images, example images or masks: link the same latent_image",
    "boundary": "have second models that take over at different noise levels, {} and {}: choose "
    "steps and boundary_step so that they are the same",
}
OTHER_PROMPTS = (
    "have different prompts or another guidance: use the same ones. If they are the same, and only "
    "computed on another kind of hardware, merge with 'same_prompts', and one result of this "
    "machine among the others"
)


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
        several = several if isinstance(several, list) else []
        pairs = [_pair(part) for part in several if isinstance(part, list) and len(part) == 2]
        own = _pair([request.get("guidance"), request.get("second guidance")])
        return cls({key: request.get(key) for key in DIFFERENT}, frozenset([*pairs, own]))

    @property
    def is_identified(self) -> bool:
        """True if anything can be told of other profiles: not of a model without identity."""
        return isinstance(self.values["identity"], str)

    def difference(self, other: Conditions, *, same_prompts: bool = False) -> str | None:
        """Say what differs first, as the end of a sentence about the two; None if nothing does.

        same_prompts: whether the prompts are known to be the same, whatever their digests
        """
        for key, said in DIFFERENT.items():
            ours, theirs = self.values[key], other.values[key]
            if ours != theirs:
                shown = _shape if key == "shape" else _number
                return said.format(shown(ours), shown(theirs))
        return None if same_prompts or self.prompts & other.prompts else OTHER_PROMPTS

    def with_prompts_of(self, other: Conditions) -> Conditions:
        """The same with the prompts of both."""
        return Conditions(self.values, self.prompts | other.prompts)

    def as_request(self) -> dict[str, Any]:
        """The keys that `of` reads, but for several prompts; none that a single model lacks."""
        guidance, second = self.listed_prompts()[0]
        request = {key: self.values[key] for key in DIFFERENT if self.values[key] is not None}
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


@dataclass(frozen=True, eq=False)
class MeasuredProfile:
    """A profile and where it comes from.

    name:   what messages call it
    noises: of each sample
    """

    name: str
    profile: Profile
    conditions: Conditions
    noises: tuple[Noise, ...]

    @classmethod
    def of(cls, saved: SavedSchedule, name: str) -> MeasuredProfile:
        """That of a result. Raises ValueError, in a sentence, for one that cannot be used."""
        try:
            profile = _profile(saved)
            noises = _noises(saved, profile.count)
        except ValueError as error:
            raise ValueError(f"'{name}' {error}.") from error
        return cls(name, profile, Conditions.of(saved.request), tuple(noises))

    def called(self, name: str) -> MeasuredProfile:
        """The same under another name."""
        return replace(self, name=name)


def _profile(saved: SavedSchedule) -> Profile:
    """Raises ValueError, as the end of a sentence about a result."""
    tensors = saved.tensors
    if not any(key in tensors for key in TENSORS):
        if saved.samplers:
            raise ValueError(
                "holds no profile, because calibrating a sampler takes none: merge results of "
                "other samplers, and calibrate on one machine"
            )
        raise ValueError(
            "holds no profile, as no schedule does that came as JSON or with a workflow: take the "
            ".safetensors file that Optimize AYS saved"
        )
    if not _is_profile(tensors):
        raise ValueError("holds a profile that is damaged: get its file again, or measure it again")
    return Profile.from_tensors(tensors)


def _is_profile(tensors: Mapping[str, Tensor]) -> bool:
    if not all(key in tensors for key in TENSORS):
        return False
    sigmas, grams, losses, dim = (tensors[key] for key in TENSORS)
    levels = len(sigmas) if sigmas.dim() == 1 else 0
    count = len(grams) if grams.dim() == 3 else 0
    if not 2 <= levels <= MOST_LEVELS or count < 1:
        return False
    if dim.numel() != 1 or dim.is_floating_point() or dim.item() < 1:
        return False
    if grams.shape != (count, levels, levels) or losses.shape != (count, levels):
        return False
    held = sigmas, grams, losses
    # In single precision, as it is saved.
    if not all(x.is_floating_point() and bool(x.float().isfinite().all()) for x in held):
        return False
    descend = bool((sigmas.diff() < 0.0).all()) and bool(sigmas[-1].float() > 0.0)
    return descend and bool((grams.diagonal(dim1=1, dim2=2) >= 0.0).all())


def _noises(saved: SavedSchedule, count: int) -> list[Noise]:
    """Raises ValueError, as the end of a sentence about a result."""
    if NOISES in saved.notes:
        return from_ranges(saved.notes[NOISES], count)
    seed: Any = saved.request.get("seed")
    if not _is_count(seed):
        raise ValueError("does not say with which seed it was measured: measure it again")
    return [(seed, place) for place in range(count)]


def from_ranges(ranges: Any, count: int) -> list[Noise]:
    """Read what `as_ranges` has written for so many samples.

    Raises ValueError, as the end of a sentence about a result, for anything else.
    """
    damaged = ValueError("does not say rightly from which seeds it was measured: merge it again")
    if not isinstance(ranges, list) or not all(
        isinstance(part, list) and len(part) == 3 and all(map(_is_count, part)) for part in ranges
    ):
        raise damaged
    # Before anything is made: a file may say that it has any number.
    if sum(number for _, _, number in ranges) != count:
        raise damaged
    noises = [(seed, first + k) for seed, first, number in ranges for k in range(number)]
    if len(set(noises)) < count:
        raise damaged
    return noises


def as_ranges(noises: Sequence[Noise]) -> list[list[int]]:
    """Noises as JSON types: [seed, first place, number] for each run of neighbours.

    >>> as_ranges([(7, 0), (7, 1), (7, 4), (9, 0)])
    [[7, 0, 2], [7, 4, 1], [9, 0, 1]]
    """
    ranges: list[list[int]] = []
    for seed, place in noises:
        if ranges and ranges[-1][0] == seed and sum(ranges[-1][1:]) == place:
            ranges[-1][2] += 1
        else:
            ranges.append([seed, place, 1])
    return ranges


def seeds_text(noises: Iterable[Noise]) -> str:
    """The seeds of noises, for a sentence.

    >>> seeds_text([(7, 0), (7, 1)]), seeds_text([(7, 0), (9, 0)])
    ('seed 7', 'seeds 7, 9')
    >>> seeds_text((seed, 0) for seed in range(9))
    '9 seeds: 0, 1, 2, 3, 4, …'
    """
    seeds = sorted({seed for seed, _ in noises})
    listed = ", ".join(map(str, seeds[:MOST_SEEDS]))
    if len(seeds) > MOST_SEEDS:
        return f"{len(seeds)} seeds: {listed}, …"
    return f"seed{'' if len(seeds) == 1 else 's'} {listed}"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**64
