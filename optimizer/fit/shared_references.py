"""References that the calibrations of one denoiser for several numbers of steps share.

A reference depends on its noise and on its fine levels, not on what is fitted to it. So what one
calibration has run takes no calls of the next one, which has them for more noises instead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

__all__ = ["SharedReferences"]

AXES = {"outputs": 1, "noises": 1}  # of the noises, where it is not the first


class SharedReferences:
    """Fine-step runs by their noises, all from one seed.

    counts: numbers of steps that are calibrated with them
    """

    def __init__(self, counts: Collection[int]):
        self.counts = tuple(counts)
        self._known: dict[tuple[str, int], Mapping[str, Tensor]] = {}

    def completed(
        self, key: str, noises: range, measure: Callable[[range], dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """What runs of some noises have found, measured for those that nobody has run.

        Arguments:
            key: all that it depends on beside the noise.
            measure: gives tensors by name, with an axis of the noises, or of the first alone.
        """
        missing = [number for number in noises if (key, number) not in self._known]
        if missing:
            self._keep(key, range(missing[0], missing[-1] + 1), measure)
        each = [self._known[key, number] for number in noises]
        return {
            name: torch.cat([one[name] for one in each if name in one], AXES.get(name, 0))
            for name in each[0]
        }

    def _keep(self, key: str, noises: range, measure: Callable[[range], dict[str, Tensor]]) -> None:
        found = measure(noises)
        for place, number in enumerate(noises):
            self._known[key, number] = {
                name: x.narrow(axis, place, 1)
                for name, x in found.items()
                if place < x.shape[axis := AXES.get(name, 0)]
            }
