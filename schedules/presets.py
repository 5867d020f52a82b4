"""The schedules published with the paper, and how they fit a given model.

Sabour, Fidler, Kreis, "Align Your Steps: Optimizing Sampling Schedules in Diffusion Models"
(2024), arXiv 2404.14507, Table 3. The numbers are in published.json, with their source.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from .names import reason
from .schedule import Provenance, Schedule

__all__ = ["PRESETS", "preset", "preset_for_model"]

PRESETS = ("SD1.5", "SDXL", "DeepFloyd IF", "SVD")

_KEYS = dict(zip(PRESETS, ("sd15", "sdxl", "deepfloyd_if_stage1", "svd"), strict=True))
_READ_OFF_THE_MODEL = ("SD1.5", "SDXL")  # latent models with 1000 discrete timesteps
_PAPER = "Table 3 of 'Align Your Steps' (arXiv 2404.14507)"
_log = logging.getLogger("align_your_steps")


def preset(name: str) -> Schedule:
    """The ten-step schedule as the paper prints it.

    Raises ValueError for a name that is not in `PRESETS`.

    >>> preset("SVD").levels[:3]
    (700.0, 54.5, 15.886)
    """
    return _schedule(name, _published(name)["paper"], "as printed")


def preset_for_model(
    name: str,
    *,
    sigma_max: float,
    sigmas: Sequence[float] | None = None,
    flow: bool = False,
    quiet: bool = False,
) -> Schedule:
    """The published schedule in the noise levels of a given model.

    SD1.5 and SDXL are read off the model's own table at the published timesteps, so that
    v-prediction and zero-terminal-SNR models start at their own sigma_max; without such a table
    the levels are those of Stable Diffusion's table. The others are as printed. Levels above
    sigma_max become one level at sigma_max, so the schedule may lose steps.

    Arguments:
        name: one of `PRESETS`.
        sigma_max: the model's highest noise level.
        sigmas: the ascending table sigma(t), t = 0..999, of a model with 1000 discrete timesteps;
            None for any other model (a table of another length counts as None).
        flow: whether it is a flow model, whose levels run from 1 to 0.
        quiet: do not log where its levels and the model's do not meet.

    Raises ValueError for an unknown name, a flow model, or a sigma_max below all levels.

    >>> preset_for_model("SVD", sigma_max=20.0).levels[:3]
    (20.0, 15.886, 7.977)
    """
    published = _published(name)
    if flow:
        raise ValueError(
            f"The preset {name!r} is for Stable Diffusion-like models (eps- or v-prediction), but "
            f"this is a flow model, whose levels run from 1 to 0; choose 'auto' or optimise a "
            f"schedule for this model."
        )
    if name not in _READ_OFF_THE_MODEL:
        levels, origin = published["paper"], "as printed"
    elif sigmas is not None and len(sigmas) == 1000:
        levels = [float(sigmas[t]) for t in published["timesteps"]]
        origin = "at the published timesteps of this model"
    else:
        levels = published["sigmas_at_timesteps"]
        origin = "at the published timesteps of Stable Diffusion"
    return _schedule(name, _clipped(name, levels, sigma_max, quiet), origin)


def _schedule(name: str, levels: Sequence[float], origin: str) -> Schedule:
    measured = Provenance(
        who="NVIDIA (Sabour, Fidler, Kreis)",
        what=f"{name}, 10 steps: {_PAPER}, {origin}",
        when="2024-04",
    )
    return Schedule(tuple(levels), name, measured)


def _published(name: str) -> dict[str, Any]:
    if name not in _KEYS:
        raise ValueError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return _published_tables()[_KEYS[name]]


@lru_cache(maxsize=1)
def _published_tables() -> dict[str, dict[str, Any]]:
    path = Path(__file__).with_name("published.json")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["schedules"]
        tables: dict[str, dict[str, Any]] = {key: found[key] for key in _KEYS.values()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The published schedules in {path} cannot be read: {reason(error)}; install this "
            "pack again."
        ) from error
    return tables


def _clipped(name: str, levels: Sequence[float], sigma_max: float, quiet: bool) -> list[float]:
    """The levels below sigma_max, after one at sigma_max if any was at or above it."""
    if not (math.isfinite(sigma_max) and sigma_max > levels[-1]):
        raise ValueError(
            f"The preset {name!r} ends at noise level {levels[-1]:g}, but this model's sigma_max "
            f"is {sigma_max:g}; choose 'auto' or optimise a schedule for this model."
        )
    below = [level for level in levels if level < sigma_max]
    clipped = len(levels) - len(below)
    if quiet:
        pass
    elif clipped and levels[0] > sigma_max * 1.001:  # less is a difference of rounding
        _log.info(
            "Preset %s starts at noise level %g; clipped to this model's sigma_max %g, which "
            "leaves %d steps.",
            name, levels[0], sigma_max, len(below),
        )  # fmt: skip
    elif not clipped and levels[0] < sigma_max * 0.999:
        _log.warning(
            "Preset %s starts at noise level %g, below this model's sigma_max %g.",
            name, levels[0], sigma_max,
        )  # fmt: skip
    return [sigma_max, *below] if clipped else below
