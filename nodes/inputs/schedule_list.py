"""The schedules that a list of names stands for, to compare them.

Names are those of KSampler's schedulers, of the published tables, of saved schedules, and 'auto'.
They stand between commas or on lines of their own. A saved name may hold commas itself: the longest
name counts. Lists of saved results, to merge their profiles, are written in the same way.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ...schedules import PRESETS, CalibratedSampler
from ...schedules.store.files import LONGEST_NAME
from .. import host
from .choose import choose, published
from .limits import checked_text, shortened
from .schema import AUTO

__all__ = ["Named", "named_schedules", "parsed_names", "parsed_results"]

MOST_NAMES = 24  # names: more would make neither a table nor a plot that can be read
MOST_RESULTS = 200  # to merge at a time
LISTED_NAMES = 90  # characters of saved names that an error shows


@dataclass
class Named:
    """Schedules that names stand for.

    schedules: levels [n+1] by name
    left_out:  names without levels, with the reason
    notes:     which schedules 'auto' and saved names stand for
    fitted:    the samplers that were fitted to some of the levels
    """

    schedules: dict[str, torch.Tensor] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fitted: list[CalibratedSampler] = field(default_factory=list)


def parsed_names(text: str) -> list[str]:
    """The names in a text, each once.

    Raises ValueError, in a sentence, for a name that nothing has, and for too many.
    """
    checked_text("schedules", text)
    saved = list(host.store().list())
    # The first spelling wins where two names differ in their case alone.
    known = [*host.scheduler_names(), host.SCHEDULER_NAME, *PRESETS, AUTO, *saved]
    names = _names_in(text, known, lambda name: _unknown(name, known, saved))
    if len(names) > MOST_NAMES:
        raise ValueError(
            f"{len(names)} schedules were named: compare at most {MOST_NAMES} at a time."
        )
    return names


def parsed_results(text: str) -> list[str]:
    """The names of saved results in a text, each once.

    Raises ValueError, in a sentence, for a name that none has, and for too many.
    """
    checked_text("results", text)
    saved = list(host.store().list())
    names = _names_in(text, saved, lambda name: _no_result(name, saved))
    if len(names) > MOST_RESULTS:
        raise ValueError(
            f"{len(names)} results were named: merge at most {MOST_RESULTS} at a time, and what "
            "was merged with the others."
        )
    return names


def _names_in(text: str, known: Sequence[str], unknown: Callable[[str], str]) -> list[str]:
    """The known names in a text, each once. unknown: what to say of another one."""
    folded = {name.casefold(): name for name in reversed(known)}
    exact = {name: name for name in known}
    most = 1 + max((name.count(",") for name in known), default=0)
    found = []
    for line in text.splitlines():
        parts = [part for part in line.split(",") if part.strip()]
        while parts:
            count, name = _longest(parts[:most], exact, folded)
            if name is None:
                raise ValueError(unknown(parts[0].strip()))
            found.append(name)
            parts = parts[count:]
    return list(dict.fromkeys(found))


def named_schedules(
    names: list[str],
    model: Any,
    levels: host.NoiseLevels,
    steps: int,
    denoise: float,
    judged: host.JudgedSampler,
    cfg: float | None = None,
) -> Named:
    """Schedule of each name on a model, at a number of steps, for a sampler and a cfg.

    For a denoise below 1 each begins where the host's 'simple' does.
    """
    found = Named()
    for name in names:
        try:
            sigmas = _levels(name, model, levels, steps, denoise, judged, cfg, found)
        except ValueError as error:
            found.left_out[name] = str(error).rstrip(".")
            continue
        if len(sigmas) != steps + 1:
            found.left_out[name] = f"it gives {len(sigmas) - 1} steps where {steps} were asked for"
            continue
        if denoise < 1.0:
            start = host.start_level(levels, steps, denoise)
            if steps > 1 and float(sigmas[1]) >= start:
                found.left_out[name] = f"at denoise {denoise:g} it begins far above the others"
                continue
            sigmas[0] = start
        found.schedules[name] = sigmas
    return found


def _levels(
    name: str,
    model: Any,
    levels: host.NoiseLevels,
    steps: int,
    denoise: float,
    judged: host.JudgedSampler,
    cfg: float | None,
    found: Named,
) -> torch.Tensor:
    """Raises ValueError where a name has no levels for this model."""
    if name == host.SCHEDULER_NAME or name in host.scheduler_names():
        return host.host_schedule(
            levels, name, steps, denoise, spare_level=judged.spare_level, sampler=judged.name
        )
    if name in PRESETS:
        if levels.flow:
            raise ValueError("the published tables are not for flow models")
        total = steps if denoise >= 1.0 else int(steps / denoise)
        return torch.tensor(published(levels, total)[name][-(steps + 1) :])
    choice = choose(model, name, steps=steps, sampler=judged.name, cfg=cfg)
    found.notes.append(choice.why)
    own = choice.fitted(steps) if judged.is_calibrated else None
    if own is not None and choice.measured.denoise == denoise:
        found.fitted.append(own)
        return torch.tensor(own.levels)
    return torch.tensor(choice.sampled(steps, denoise, "keep steps"))


def _longest(
    parts: list[str], exact: dict[str, str], folded: dict[str, str]
) -> tuple[int, str | None]:
    """The longest known name at the start of parts, and how many of them it takes."""
    for count in range(len(parts), 0, -1):
        text = ",".join(parts[:count]).strip()
        name = exact.get(text) or folded.get(text.casefold())
        if name is not None:
            return count, name
    return 0, None


def _unknown(name: str, known: Sequence[str], saved: Sequence[str]) -> str:
    have = f"; saved on this machine: {_joined_names(saved)}" if saved else ""
    return (
        f"There is no schedule {shortened(name)}.{_meant(name, known)} Give '{AUTO}', a scheduler "
        f"of KSampler ({', '.join(host.scheduler_names())}, {host.SCHEDULER_NAME}), a published "
        f"table ({', '.join(PRESETS)}) or the name of a saved schedule{have}."
    )


def _no_result(name: str, saved: Sequence[str]) -> str:
    if not saved:
        return (
            f"There is no saved result {shortened(name)}: nothing is saved on this machine. Run "
            "Optimize AYS, or drop another machine's .safetensors file on the panel AYS schedules."
        )
    return (
        f"There is no saved result {shortened(name)}.{_meant(name, saved)} Give names as the "
        f"schedule lists show them; saved on this machine: {_joined_names(saved)}."
    )


def _meant(name: str, known: Sequence[str]) -> str:
    spelled = name[:LONGEST_NAME].casefold()
    near = difflib.get_close_matches(spelled, [k.casefold() for k in known], n=1)
    return f" Did you mean '{next(k for k in known if k.casefold() == near[0])}'?" if near else ""


def _joined_names(saved: Sequence[str]) -> str:
    more = f" … ({len(saved)} in all)"
    return textwrap.shorten(", ".join(saved), LISTED_NAMES, placeholder=more)
