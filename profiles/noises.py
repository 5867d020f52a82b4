"""Noises that a profile was measured from: a seed and a place in its sequence for every sample.

A seed gives the same noises on every machine, whatever its hardware makes of them afterwards. So
samples of the same seed and place are one sample that was measured twice: they must count once, or
a profile would pass for surer than it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Noise", "as_ranges", "from_ranges", "from_seed", "seeds_text"]

Noise = tuple[int, int]  # seed, place

MOST_SEEDS = 5  # that a sentence names


def from_seed(seed: Any, count: int) -> list[Noise]:
    """The noises of the samples that were measured with a seed.

    Raises ValueError, as the end of a sentence about a result, for what is no seed.
    """
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
