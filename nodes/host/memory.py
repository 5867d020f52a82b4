"""Rows that a call may have: how many fit into a device's memory, and what a network takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import comfy.model_management
import comfy.sampler_helpers
import torch
from torch import Tensor

__all__ = ["Fitting", "OneAtATimeError", "is_out_of_memory", "largest_batch"]

LARGEST_BATCH = 16

T = TypeVar("T")

log = logging.getLogger("align_your_steps")


class OneAtATimeError(Exception):
    """A network failed with several rows and may take one, as engines of a fixed shape do."""


class Fitting:
    """Work in as many rows at once as fit into a device's memory.

    rows:  of the last call that was tried
    most:  rows that a part of a call may have
    alone: whether the network was found to take one only
    """

    def __init__(self) -> None:
        self.rows = 0
        self.most = LARGEST_BATCH
        self.alone = False

    def run(
        self, run: Callable[[int], T], batch: int, forget: Callable[[], None], sizes: object
    ) -> T:
        """run(batch size), which begins again with half the rows whenever memory runs out.

        With one at a time if the network takes no more.

        forget: drops what a run has left, before it begins again
        sizes:  of one latent, for the error

        Calls that may be split are, so that they do not come here. Raises ValueError when memory is
        not enough for one row.
        """
        while True:
            self.rows = batch
            try:
                return run(batch)
            except OneAtATimeError as error:
                self._run_alone(error)
                forget()
                return run(1)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            # Out of the handler: the exception holds on to what the failed call had computed.
            forget()
            comfy.model_management.soft_empty_cache()
            if self.rows == 1:
                comfy.model_management.unload_all_models()
                raise ValueError(
                    f"The device ran out of memory with a single latent of {sizes}: "
                    "link a smaller latent, close what else uses the device, or start ComfyUI "
                    "with --lowvram."
                )
            batch = self.rows // 2
            log.warning(
                "The device ran out of memory with %d latents at a time: the measurement starts "
                "again with %d.",
                self.rows,
                batch,
            )

    def call(self, part: Callable[[slice], Tensor], rows: int, *, splits: bool) -> Tensor:
        """Return what `part` gives for all rows [B, ...].

        splits: whether it may be asked for so many of them at a time as fit. A call's rows are
            answered one by one then, so the parts are what the whole call would have been, but for
            rounding: nothing that was measured before is lost.

        Raises the host's error when memory runs out for a call that does not split, or a single
        row, and OneAtATimeError for a call that does not split.
        """
        if not splits:
            self.rows = rows
            return part(slice(None))
        try:
            return self._split(part, rows)
        except OneAtATimeError as error:
            self._run_alone(error)
            self.most = 1
            return self._split(part, rows)

    def _run_alone(self, error: OneAtATimeError) -> None:
        """Say that rows are run alone from now on."""
        self.alone = True
        log.warning("The model takes one latent at a time, so each is run alone. (%s)", error)

    def _split(self, part: Callable[[slice], Tensor], rows: int) -> Tensor:
        """The answers for all rows, for as many at a time as fit."""
        while (answers := self._parts(part, rows)) is None:
            # Out of the handler: the exception holds on to what the failed call had computed.
            comfy.model_management.soft_empty_cache()
            self.most = self.rows // 2
            log.warning(
                "The device ran out of memory with %d latents at a time: calls go on with %d.",
                self.rows,
                self.most,
            )
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _parts(self, part: Callable[[slice], Tensor], rows: int) -> list[Tensor] | None:
        """The answers for all rows; None if they do not fit into memory, but fewer may."""
        answers = []
        for start in range(0, rows, self.most):
            stop = min(start + self.most, rows)
            self.rows = stop - start
            try:
                answers.append(part(slice(start, stop)))
            except Exception as error:
                if not is_out_of_memory(error) or self.rows == 1:
                    raise
                return None
        return answers


def largest_batch(guider: Any, shape: tuple[int, ...]) -> int:
    """Rows of a call that fit beside the model's weights, a power of two from 1 to 16.

    As the host counts: both prompts in one call, and half as much again to be sure.
    """
    patcher = guider.model_patcher
    conds = getattr(guider, "original_conds", {})
    helpers = comfy.sampler_helpers
    others, more = helpers.get_additional_models(conds, patcher.model_dtype())
    room = _room([patcher, *others]) - more
    batch = LARGEST_BATCH
    while batch > 1:
        needed, _ = helpers.estimate_memory(patcher, [batch, *shape], conds)
        if 1.5 * needed <= room:
            break
        batch //= 2
    return batch


def is_out_of_memory(error: Exception) -> bool:
    """Tell if the device's memory was exhausted; newer hosts know more ways to tell."""
    management = comfy.model_management
    known = getattr(management, "is_oom", lambda e: isinstance(e, management.OOM_EXCEPTION))
    return bool(known(error))


def _room(models: list[Any]) -> float:
    """Bytes that a model's calls can take on its device beside the weights of these models.

    For a run the host unloads whatever else is there.
    """
    management = comfy.model_management
    device = models[0].load_device
    # Newer hosts' models know what can be had back from weights that are paged in and out.
    available = getattr(models[0], "get_free_memory", management.get_free_memory)
    free: float = available(device) - management.extra_reserved_memory()
    if device == models[0].offload_device:  # the weights are where they are used
        return free
    there = [loaded for loaded in management.current_loaded_models if loaded.device == device]
    free += sum(loaded.model_loaded_memory() for loaded in there if loaded.model is not None)
    return free - 1.1 * sum(model.model_size() for model in models)
