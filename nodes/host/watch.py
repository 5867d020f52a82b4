"""A GUIDER that is run as its user will run it, with an eye on every guided prediction.

Every run is one `guider.sample(...)`, with the host's own resets, noise scaling and wrappers.
Counting, checking, remembering and cancelling sit in one wrapper around the guided prediction, on a
clone of the model: the user's own objects stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...optimizer import Meter
from .guidance import is_plain, watched, without_caches, wraps_calls
from .latents import LatentUse
from .memory import Fitting, OneAtATimeError, is_out_of_memory
from .misfit import ERRORS, misfit
from .prompts import Prompts
from .walker import Walker

__all__ = ["Watch"]


class Watch:
    """Runs a GUIDER and watches its calls.

    Arguments:
        guider: a GUIDER; it is not changed.
        latent: the start image and the noise mask.
        beside: another watch, whose calls are counted, remembered and split together with these.
        stand_in: (x, level, model_options) -> x_0 in the place of the model.
    """

    def __init__(
        self,
        guider: Any,
        latent: LatentUse,
        *,
        beside: Watch | None = None,
        stand_in: Callable[[Tensor, float, Any], Tensor] | None = None,
    ):
        self.latent = latent
        self.meter: Meter = Meter() if beside is None else beside.meter
        self.fitting: Fitting = Fitting() if beside is None else beside.fitting
        self.stand_in = stand_in
        self.asked = False  # whether the last run has asked for a prediction
        self.works = False  # whether a call was made that did not fail
        self.together = False  # whether one of several rows was
        self.plain = is_plain(guider)
        self.wrapped = wraps_calls(guider)
        self.prompts: Prompts = Prompts(guider, beside.prompts.conditions if beside else None)
        self.guider = watched(guider, self._predict)
        uncached = without_caches(guider)
        self.uncached = self.guider if uncached is guider else watched(uncached, self._predict)
        self.prompts.give(self.guider)

    @property
    def splits(self) -> bool:
        """True if a call's rows may be asked for in parts: they are alike but for x."""
        latent = self.latent
        return self.plain and latent.mask is None and len(latent.start) == 1

    def run(
        self, noise: Tensor, start: Any, sigmas: Tensor, sampler: Any, seed: int, fine: bool
    ) -> Any:
        """Return what the host's sampling does, from a start image and noise of unit variance.

        fine: whether it takes so many steps that a cache of calls would skip most of them
        """
        self.asked = False
        torch.manual_seed(seed)  # some nodes draw from the common generator, which a user seeds too
        guider = self.uncached if fine else self.guider
        self.prompts.give(guider)
        before = self.meter.calls
        try:
            samples = guider.sample(
                self.latent.unpacked(noise),
                start,
                sampler,
                sigmas.clone(),  # uni_pc writes into what it gets
                denoise_mask=self.latent.mask,
                seed=seed,
                disable_pbar=True,
            )
        except ERRORS as error:
            if self.works or self.meter.calls > before or is_out_of_memory(error):
                raise
            raise misfit(error, self.latent.sizes) from error
        self.works = self.works or self.meter.calls > before
        if not self.asked and not isinstance(sampler, Walker):
            raise ValueError(
                f"The guider {type(self.guider).__name__} does not run the model that it holds as "
                "'model_patcher', so nothing can be measured: link a guider that does, for example "
                "CFGGuider."
            )
        return samples

    def _predict(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: Any, seed: Any
    ) -> Tensor:
        """Around every guided prediction: cancel, count, check, remember.

        An answer from memory leaves out the call, and with it what other nodes may keep of it.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        self.asked = True
        level = float(timestep.flatten()[0])
        if self.stand_in is not None:
            return self.stand_in(x, level, model_options)

        def asked(rows: Any) -> Tensor:
            at = timestep if timestep.numel() == 1 else timestep[rows]
            return self._asked(executor, x[rows], at, model_options, seed)

        # A sampler that hooks in after the guidance needs the call itself.
        recall = self.plain and not model_options.get("sampler_post_cfg_function")
        compute = partial(self.prompts.answered, executor.class_obj, x, asked)
        return self.meter(x, level, compute, recall=recall)

    def _asked(
        self, executor: Any, x: Tensor, timestep: Tensor, model_options: Any, seed: Any
    ) -> Tensor:
        """The answer for rows of one prompt, in as many calls as fit into memory."""

        def part(rows: slice) -> Tensor:
            level = timestep if timestep.numel() == 1 else timestep[rows]
            several = len(x[rows]) > 1
            try:
                output: Tensor = executor(x[rows], level, model_options, seed)
            except (*ERRORS, ValueError) as error:
                if not several or self.together or is_out_of_memory(error):
                    raise
                raise OneAtATimeError(f"{type(error).__name__}: {error}") from error
            self.together = self.together or several
            return output

        return self.fitting.call(part, len(x), splits=self.splits)
