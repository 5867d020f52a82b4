"""Conditions of a denoiser, prompts for example, with which noises take turns.

A schedule or a sampler that is fitted with one condition is up to half as bad again with another.
One fitted to noises of which each has a condition of its own costs as much and serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["Conditions"]


class Conditions:
    """The conditions of one denoiser: noise i is always run with condition i mod `count`.

    The denoiser has them as its attribute `conditions`, and reads `rows` in every call.

    count: how many there are
    rows:  the condition of every row [B] of the calls at hand; empty where none is told, as in
           calls that prepare an optimisation: then all have the first one

    >>> prompts = Conditions(3)
    >>> with prompts.of(range(2, 6)):
    ...     print(prompts.rows)
    [2, 0, 1, 2]
    >>> prompts.rows
    []
    """

    def __init__(self, count: int = 1):
        if count < 1:
            raise ValueError(f"There were {count} conditions: a denoiser has at least 1.")
        self.count = count
        self.rows: list[int] = []

    @contextmanager
    def of(self, noises: Iterable[int]) -> Iterator[None]:
        """Tell the denoiser, for the calls inside, which noise each of their rows belongs to."""
        before, self.rows = self.rows, [number % self.count for number in noises]
        try:
            yield
        finally:
            self.rows = before
