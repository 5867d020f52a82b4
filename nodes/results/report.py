"""The report of an optimisation, as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from ...optimizer import Result, Score
from ...profiles import MeasuredProfile
from ...schedules import PLAIN, TOOLS, SavedSchedule, paste_hint, paste_text
from .. import host
from .shown_names import schedule_of, shown_name, table_name
from .summary import best_given, seeds

__all__ = ["for_other_tools", "report_text", "snapped"]

ROWS = 20  # candidates listed
WIDEST = 48  # characters of a row: a longer one is wrapped where text is shown plainly
NAMED_FAILURES = 5  # of those that failed in the same way


def report_text(
    result: Result,
    judged: host.JudgedSampler,
    first_lines: str,
    boundary: float | None = None,
    warning: str | None = None,
    early: str = "",
    linked: MeasuredProfile | None = None,
) -> str:
    """Tell what to do, what was gained, each candidate's score, what was spent and left out.

    first_lines: the summary: what to do, and what was gained
    boundary: the level at and below which a second model answers, if there is one
    warning:  why the whole measurement may mean little
    early:    that it ended early
    linked:   the profile, if it was not measured here

    Paragraphs and a code block, because the host shows text as Markdown in some places.
    """
    paragraphs = first_lines.split("\n")
    if boundary is not None:
        paragraphs.append(_switch(result, boundary))
    if early:
        paragraphs.append(early)
    if warning:
        paragraphs.append(f"Warning: {warning}")
    paragraphs += [
        *(_compared(result) if result.noises else ()),
        *_profile(result, linked),
        f"Model calls: {host.calls_by_phase(result.calls)}.",
        *_levels(result),
    ]
    if result.coordinate.table is not None:
        paragraphs.append(f"Note: {snapped(result)}.")
    if judged.stochastic is not None and result.criterion != "law":
        paragraphs.append(
            "Note: the budget was too small for runs with the sampler's fresh noise. A larger one "
            "judges it by the distribution of its samples."
        )
    paragraphs.append(f"Note: {judged.note}.")
    for name, why in result.left_out.items():
        paragraphs.append(f"Not compared: {name}, because {why}.")
    if result.failed:
        paragraphs.append(_failed(result.failed))
    return "\n\n".join(paragraphs)


def _compared(result: Result) -> tuple[str, str]:
    """List what was compared, and tell which was best."""
    best = f"Best of the {len(result.scores)} that were compared: '{shown_name(result.method)}'. "
    table = "\n".join(["```", *_table(result), "```"])
    return table, best + _criterion(result)


def _switch(result: Result, boundary: float) -> str:
    """After which step the second of two models takes over."""
    first = host.steps_of_the_first(result.sigmas.tolist(), boundary)
    return (
        f"The second model takes over after step {first} of {len(result.sigmas) - 1}, at noise "
        f"level {boundary:.4g}: end_at_step of the first KSamplerAdvanced and start_at_step of the "
        f"second are {first}."
    )


def _levels(result: Result) -> list[str]:
    """The levels found and, beside those of a fitted sampler, what other samplers get."""
    found = f"sigmas: {_four_decimals(result.sigmas)}"
    if result.plain is None:
        return [found]
    plain = schedule_of(result.plain.name)
    return [
        found,
        *_counts(result),
        f"Other samplers with scheduler {host.SCHEDULER_NAME} get the best standard schedule, "
        f"{plain}.",
        f"sigmas of {plain}: {_four_decimals(result.plain.sigmas)}",
    ]


def _counts(result: Result) -> list[str]:
    """What is fitted to which numbers of steps, and to what else."""
    own, others = len(result.sigmas) - 1, sorted(result.counts.keys() - {len(result.sigmas) - 1})
    if result.error.candidate.given:
        return [
            f"Nothing is fitted: {own} steps are those of {shown_name(result.method)}. Any other "
            "number of steps is sampled as dpmpp_2m does."
        ]
    simpler = (
        f" For {', '.join(map(str, others))} steps a simpler fit comes with it, from the same "
        "measurement; it was not compared with anything."
    )
    return [
        f"Fitted for {own} steps.{simpler if others else ''} Any other number of steps is sampled "
        "as dpmpp_2m does.",
        "These levels and the fitted steps belong together: another cfg or denoise needs a fit of "
        "its own.",
    ]


def _four_decimals(sigmas: Tensor) -> str:
    return ", ".join(f"{level:.4f}" for level in sigmas.tolist())


def _profile(result: Result, linked: MeasuredProfile | None) -> list[str]:
    """KLUB and the number of samples of the profile; nothing where there is none."""
    if result.profile is None:
        return []
    bound = f"KLUB, the bound of the paper, is {result.klub(result.sigmas):.3g}"
    given = best_given(result)
    if given is not None and given is not result.error:
        name = shown_name(given.candidate.name)
        bound += f", of {name} {result.klub(given.candidate.sigmas):.3g}"
    count = result.profile.count
    samples = f"{count} sample{'' if count == 1 else 's'}"
    if linked is None:
        return [f"{bound}. Profile: {samples}."]
    return [f"{bound}. Profile: {samples}, those of '{linked.name}'; none was measured here."]


def _failed(failed: Mapping[str, str]) -> str:
    """One line on what came out as NaN or infinity.

    >>> _failed({"karras": "its run broke", "beta": "its run broke", "simple": "it did"})
    'Out of the comparison: karras, beta (its run broke); simple (it did).'
    """
    by_reason: dict[str, list[str]] = {}
    for name, why in failed.items():
        by_reason.setdefault(why, []).append(shown_name(name))
    parts = []
    for why, names in by_reason.items():
        more = [f"{len(names) - NAMED_FAILURES} more"] if len(names) > NAMED_FAILURES else []
        parts.append(f"{', '.join([*names[:NAMED_FAILURES], *more])} ({why})")
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
    """Say what the levels are to a model that is called at the nearest of its timesteps."""
    table = result.coordinate.table
    if table is None:
        return ""
    if set(result.sigmas[1:-1].tolist()) <= set(table.tolist()):
        return f"levels snapped to the model's {len(table)} timesteps"
    name = shown_name(result.method)
    return f"levels between the model's {len(table)} timesteps, as '{name}' gives them"


def _criterion(result: Result) -> str:
    """The error of the best, and what errors are."""
    best, count = result.error, seeds(result.noises)
    figure = f"Its error is {best.figure:.3g}{_spread(best, ' ± ')}: "
    if result.criterion == "law":
        return (
            f"{figure}RMS per latent element of the differences in mean and in spread, over "
            f"{count}, between its samples and those of {result.reference_steps} steps of the same "
            "stochastic process."
        )
    mean = ", geometric mean" if result.noises > 1 else ""
    text = (
        f"{figure}how far the image is from that of the same seed in {result.reference_steps} "
        f"steps (RMS per latent element{mean} over {count}); ± is one standard error."
    )
    if math.isnan(result.reference_error):
        return text
    return (
        f"{text} The many-step image's own error is about {result.reference_error:.2g}; smaller "
        "ones are not told apart."
    )


def _spread(score: Score, before: str = "") -> str:
    """The standard error of a figure; empty where a single seed tells of none."""
    error = score.standard_error
    return "" if math.isnan(error) else f"{before}{error:.2g}"


def _table(result: Result) -> list[str]:
    """The candidates and their scores, in rows of at most `WIDEST` characters."""
    what = "schedule" if result.sampler is None else "sampler, schedule"
    alike = len({len(score.errors) for score in result.scores}) == 1
    width = WIDEST - (17 if alike else 23)
    rows = [f"{what:<{width}}{'error':>9}{'±':>8}{'' if alike else ' seeds'}"]
    for score in result.scores[:ROWS]:
        count = "" if alike else f"{len(score.errors):>6}"
        rows.append(
            f"{table_name(score.candidate.name, width - 1):<{width}}{score.figure:>9.3g}"
            f"{_spread(score) or '?':>8}{count}"
        )
    if len(result.scores) > ROWS:
        rows.append(f"… and {len(result.scores) - ROWS} more")
    return rows
