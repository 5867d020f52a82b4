"""The report of an optimisation, as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..optimizer import Result
from ..optimizer.select import Score
from ..profiles import MeasuredProfile
from ..schedules import SavedSchedule
from ..schedules.text import PLAIN, TOOLS, paste_hint, paste_text
from . import host

__all__ = ["best_given", "comparison", "for_other_tools", "report_text", "snapped"]

ROWS = 20  # candidates listed
NAMED = 5  # of those that failed in the same way


def report_text(
    result: Result,
    judged: host.JudgedSampler,
    steps: int,
    boundary: float | None = None,
    warning: str | None = None,
    early: str = "",
    linked: MeasuredProfile | None = None,
) -> str:
    """What was found, what each candidate scored, what was spent, and what was left out.

    boundary: the level at and below which a second model answers, if there is one
    warning:  why the whole measurement may mean little
    early:    that it ended early
    linked:   the profile, if it was not measured here

    Paragraphs and a code block, because the host shows text as Markdown in some places.
    """
    best = result.error
    found = "schedule" if result.sampler is None else "fit"
    paragraphs = [
        f"Best {found} for {steps} steps of {judged.name}: {best.candidate.name}. "
        + comparison(result),
        f"Error {best.figure:.4g} ± {best.standard_error:.2g}: {_criterion(result)}",
        *_levels(result),
        "\n".join(["```", *_table(result), "```"]),
        f"Calls: {result.total_calls} ("
        + ", ".join(f"{phase} {rows}" for phase, rows in result.calls.items())
        + ").",
        _profile(result, linked),
    ]
    if early:
        paragraphs.insert(1, early)
    if boundary is not None:
        first = host.steps_of_the_first(result.sigmas.tolist(), boundary)
        paragraphs.insert(
            1,
            f"The second model takes over after step {first} of {steps}, at noise level "
            f"{boundary:.4g}: set end_at_step of the first KSamplerAdvanced and start_at_step of "
            f"the second to {first}.",
        )
    if warning:
        paragraphs.append(f"Warning: {warning}")
    if result.coordinate.table is not None:
        paragraphs.append(f"Note: {snapped(result)}.")
    if judged.stochastic is not None and result.criterion != "law":
        paragraphs.append(
            "Note: the budget was too small for runs with the sampler's fresh noise. A larger one "
            "judges it by the law of its samples."
        )
    paragraphs.append(f"Note: {judged.note}.")
    for name, why in result.left_out.items():
        paragraphs.append(f"Not compared: {name}, because {why}.")
    if result.failed:
        paragraphs.append(_failed(result.failed))
    return "\n\n".join(paragraphs)


def _levels(result: Result) -> list[str]:
    """The levels found and, beside those of a fitted sampler, how they are used and the others."""
    found = "sigmas: " + ", ".join(f"{level:.4f}" for level in result.sigmas.tolist())
    if result.plain is None:
        return [found]
    plain = ", ".join(f"{level:.4f}" for level in result.plain.sigmas.tolist())
    return [
        f"Choose '{host.SAMPLER_NAME}' twice in KSampler, as sampler and as scheduler, with the "
        "same number of steps, cfg and denoise: these levels and the fitted steps belong together.",
        found,
        f"For other samplers, those of {_pair(result.plain.name)}: {plain}",
    ]


def _pair(name: str) -> str:
    """A pair of textbook sampler and curve in words.

    >>> _pair("unipc_3 AYS SD1.5")
    'unipc_3 with AYS SD1.5'
    """
    return " with ".join(name.split(" ", 1))


def _profile(result: Result, linked: MeasuredProfile | None) -> str:
    """How many samples the profile has, and where it comes from."""
    if result.profile is None:
        return "Profile: none is needed."
    count = result.profile.count
    samples = f"{count} sample{'' if count == 1 else 's'}"
    if linked is None:
        return f"Profile: {samples}."
    return f"Profile: {samples}, those of '{linked.name}'; none was measured here."


def _failed(failed: Mapping[str, str]) -> str:
    """One line on what came out as NaN or infinity.

    >>> _failed({"karras": "its run broke", "beta": "its run broke", "simple": "it did"})
    'Out of the comparison: karras, beta (its run broke); simple (it did).'
    """
    by_reason: dict[str, list[str]] = {}
    for name, why in failed.items():
        by_reason.setdefault(why, []).append(name)
    parts = []
    for why, names in by_reason.items():
        more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
        parts.append(f"{', '.join([*names[:NAMED], *more])} ({why})")
    return f"Out of the comparison: {'; '.join(parts)}."


def for_other_tools(saved: SavedSchedule) -> str:
    """A result's levels as text to copy into other tools, a code block for each."""
    sigmas = saved.schedule.sigmas.tolist()
    flow, sampler = bool(saved.notes.get("flow")), saved.request.get("sampler")
    blocks = [
        f"Copy for {paste_hint(sigmas, tool)}:\n"
        f"```\n{paste_text(sigmas, tool, flow=flow, sampler=sampler)}\n```"
        for tool in TOOLS
    ]
    return "\n\n".join([f"{PLAIN}.", *blocks] if saved.samplers else blocks)


def snapped(result: Result) -> str:
    """What the levels are to a model that is called at the nearest of its timesteps."""
    table = result.coordinate.table
    if table is None:
        return ""
    if set(result.sigmas[1:-1].tolist()) <= set(table.tolist()):
        return f"levels snapped to the model's {len(table)} timesteps"
    return f"levels as {result.method} gives them, between the model's {len(table)} timesteps"


def _criterion(result: Result) -> str:
    """What the errors are."""
    if result.criterion == "law":
        return (
            "RMS per latent element of the differences in mean and in spread over "
            f"{result.noises} noises between the samples and those of {result.reference_steps} "
            "steps, of the same stochastic process."
        )
    own = (
        "is not known."
        if math.isnan(result.reference_error)
        else f"is about {result.reference_error:.2g}; smaller ones are not told apart."
    )
    return (
        f"RMS per latent element, against {result.reference_steps} steps from the same noise; "
        f"geometric mean of {result.noises} noises. The reference's own error {own}"
    )


def comparison(result: Result) -> str:
    """What was gained over the best schedule that was given, on seeds that did not choose."""
    gain, given = result.gain, best_given(result)
    paired = result.sampler is not None
    what = "sampler and schedule" if paired else "schedule"
    if result.error.candidate.given:
        method = _pair(result.method) if paired else result.method
        return f"Nothing found is better than {method}."
    if gain is None or given is None:
        return f"No standard {what} could be compared."
    had = _pair(given.candidate.name) if paired else given.candidate.name
    if not gain.sure:
        seeds = "seed" if gain.noises == 1 else "seeds"
        return f"About {_change(gain.ratio)} error than {had} (on {gain.noises} {seeds} only)."
    return (
        f"{_change(gain.ratio)} error than {had}, the best standard {what} here (between "
        f"{_change(gain.high)} and {_change(gain.low)}, on {gain.noises} seeds)."
    )


def best_given(result: Result) -> Score | None:
    """The best of what the user already had; None if none of it could be compared."""
    given = [score for score in result.scores if score.candidate.given]
    return min(given, key=lambda score: score.place, default=None)


def _change(ratio: float) -> str:
    """A ratio of errors in words.

    >>> [_change(ratio) for ratio in (0.6, 1.0, 1.1)]
    ['40% less', '0% less', '10% more']
    """
    return f"{abs(1 - ratio):.0%} {'less' if ratio <= 1.0 else 'more'}"


def _table(result: Result) -> list[str]:
    column = "law" if result.criterion == "law" else "error"
    what = "schedule" if result.sampler is None else "sampler and schedule"
    scored = result.profile is not None  # KLUB is a matter of the profile
    klub = f"{'KLUB':>10}" if scored else ""
    rows = [f"{what:<60}{column:>10}{'± s.e.':>10}{'noises':>8}{klub}"]
    for score in result.scores[:ROWS]:
        klub = f"{result.klub(score.candidate.sigmas):>10.4g}" if scored else ""
        rows.append(
            f"{score.candidate.name:<60}{score.figure:>10.4g}{score.standard_error:>10.2g}"
            f"{len(score.errors):>8}{klub}"
        )
    if len(result.scores) > ROWS:
        rows.append(f"… and {len(result.scores) - ROWS} more")
    return rows
