"""The meter every denoiser call passes through: it counts, checks and remembers.

All runs from one batch of noise share calls: the first call is the same for every schedule, and
two schedules that agree down to level k share all calls above it. So a call with a level and an x
already seen is answered from memory, bit for bit, and costs nothing. What is remembered lies in
main memory: a device's own belongs to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["DenoiserError", "Meter", "NotFiniteError"]

MEMORY = 256 * 2**20  # bytes of remembered calls
NAMED = 2  # noise levels in a message, if there are more than one above it


REMEDY = (
    "run the model in another precision (start ComfyUI with --bf16-unet or --fp32-unet), lower the "
    "guidance scale, or choose another sampler."
)


class DenoiserError(ValueError):
    """The model's output cannot be used."""


class NotFiniteError(DenoiserError):
    """NaN or infinity where there should be a number.

    Arguments:
        what: came out so, as a whole sentence begins.
        levels: noise levels at which it did, in the host's units; none: nobody knows.

    >>> print(NotFiniteError("The end is NaN or infinite", [2.0, 14.6, 2.0]))  # doctest: +ELLIPSIS
    The end is NaN or infinite at noise levels 14.6 and 2: run the model in another precision ...
    """

    def __init__(self, what: str, levels: Iterable[float] = ()):
        self.what = what
        self.levels = sorted(set(levels), reverse=True)
        super().__init__(f"{what}{at_levels(self.levels)}: {REMEDY}")


def at_levels(levels: Sequence[float]) -> str:
    """Say where something happened, for the middle of a sentence; empty if nobody knows.

    >>> at_levels([14.6, 3.0, 2.0, 1.0])
    ' at noise levels 14.6, 3 and 2 more'
    """
    told = [f"{level:.4g}" for level in levels]
    if len(told) > NAMED + 1:
        told = [*told[:NAMED], f"{len(told) - NAMED} more"]
    if not told:
        return ""
    *first, last = told
    return f" at noise levels {', '.join(first)} and {last}" if first else f" at noise level {last}"


class Meter:
    """Counts denoiser rows (one sample at one level), refuses bad output, remembers calls.

    rows:     rows really computed so far
    calls:    calls really computed so far
    remember: whether calls are kept, and equal ones answered from memory
    """

    def __init__(self, *, remember: bool = True, memory: int = MEMORY):
        self.rows = 0
        self.calls = 0
        self.remember = remember
        self._note: Callable[[float, Tensor, Tensor], None] | None = None
        self._memory = memory
        self._used = 0
        self._seen: dict[float, list[tuple[Tensor, Tensor]]] = {}

    def __call__(
        self, x: Tensor, sigma: float, compute: Callable[[], Tensor], *, recall: bool = True
    ) -> Tensor:
        """The output for x [B, ...] at one level, computed or remembered.

        recall: whether this call may be kept or answered from memory

        Raises DenoiserError for an output of another shape, NotFiniteError for NaN or infinity.
        """
        recall = recall and self.remember
        output = self._recall(x, sigma) if recall else None
        if output is None:
            output = self._compute(x, sigma, compute)
            if recall:
                self._keep(x, sigma, output)
        if self._note is not None:
            self._note(sigma, x, output)
        return output

    def charge(self, rows: int) -> None:
        """Count rows that did not pass through here."""
        self.rows += rows

    @contextmanager
    def observed(self, note: Callable[[float, Tensor, Tensor], None]) -> Iterator[None]:
        """Call `note` with (level, x, output) of every call inside, remembered or not."""
        self._note = note
        try:
            yield
        finally:
            self._note = None

    @contextmanager
    def forgetful(self) -> Iterator[None]:
        """Remember no call inside: none of them is made twice."""
        remember, self.remember = self.remember, False
        try:
            yield
        finally:
            self.remember = remember

    def forget(self) -> None:
        """Drop what is remembered, because the next runs start from other noise."""
        self._seen.clear()
        self._used = 0

    def _compute(self, x: Tensor, sigma: float, compute: Callable[[], Tensor]) -> Tensor:
        output = compute()
        self.rows += len(x)
        self.calls += 1
        if output.shape != x.shape:
            raise DenoiserError(
                f"The model returned shape {list(output.shape)} for an input of shape "
                f"{list(x.shape)}: it must predict x_0 in the shape of its input."
            )
        # The ends say it for all between them, and are found without a copy as large as the output.
        if not torch.isfinite(torch.stack(output.aminmax())).all():
            raise NotFiniteError("The model returned NaN or infinite values", [sigma])
        return output

    def _recall(self, x: Tensor, sigma: float) -> Tensor | None:
        known = self._seen.get(sigma, [])
        here = x.cpu() if known else x
        for seen, output in known:
            if seen.shape == x.shape and torch.equal(seen, here):
                return output.to(x.device, copy=True)
        return None

    def _keep(self, x: Tensor, sigma: float, output: Tensor) -> None:
        size = x.nbytes + output.nbytes
        if self._used + size <= self._memory:
            kept = x.to("cpu", copy=True), output.to("cpu", copy=True)
            self._seen.setdefault(sigma, []).append(kept)
            self._used += size
