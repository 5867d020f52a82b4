"""The report of a comparison, as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...optimizer import Comparison
from ...optimizer.judging.select import Score
from .. import host

__all__ = ["comparison_report", "verdict"]

WIDEST_NAME = 40  # characters of a name in the table
FEWEST_TO_TELL = 4  # noises on which a standard error says something


def verdict(found: Comparison) -> str:
    """Tell which schedule is closest, by how much, and whether that may be luck."""
    best, others = found.best, found.scores[1:]
    text = f"Closest to the many-step picture: '{best.candidate.name}'."
    if not others:
        return f"{text} It is the only one that was compared."
    if found.noises < FEWEST_TO_TELL:
        few = "one noise" if found.noises == 1 else f"{found.noises} noises"
        return f"{text} On {few} this may be luck: give {FEWEST_TO_TELL} or more to be surer."
    equal = [score for score in others if found.as_good(score)]
    behind = [score for score in others if score not in equal]
    if behind:
        shown = [behind[0], behind[-1]] if len(behind) > 1 else behind
        text += " It has " + " and ".join(_less(best, score) for score in shown) + "."
    if equal:
        names = _in_words([f"'{score.candidate.name}'" for score in equal])
        text += f" As good, as far as {found.noises} noises can tell: {names}."
    return text


def comparison_report(
    found: Comparison,
    judged: host.JudgedSampler,
    noises: int,
    notes: Sequence[str],
    left_out: Mapping[str, str],
    warning: str | None = None,
) -> str:
    """The verdict, the ranked table, what was measured, and what was left out.

    noises:   how many were asked for
    left_out: schedules that have no levels, with the reason
    warning:  why the whole measurement may mean little

    Paragraphs and a code block, because the host shows text as Markdown in some places.
    """
    paragraphs = [
        verdict(found),
        "\n".join(["```", *_table(found), "```"]),
        f"Error: how far the picture of {judged.name} is from the picture in "
        f"{found.reference_steps} steps of the same noise (RMS per latent element), averaged over "
        f"{found.noises} {'noise' if found.noises == 1 else 'noises'}; ± is one standard error. "
        "Behind the best: the mean difference on the same noises; 'as good' if it is within two "
        f"of its standard errors. The many-step picture's own error {_own(found)}",
        "sigmas of the best: "
        + ", ".join(f"{level:.4f}" for level in found.best.candidate.sigmas.tolist()),
        f"Calls: {found.total_calls} ("
        + ", ".join(f"{phase} {rows}" for phase, rows in found.calls.items())
        + ").",
    ]
    if found.noises < noises:
        paragraphs.insert(1, f"Ended early, after {found.noises} of {noises} noises.")
    if warning:
        paragraphs.append(f"Warning: {warning}")
    paragraphs += [f"Note: {note.rstrip('.')}." for note in [judged.note, *notes] if note]
    for name, why in {**left_out, **found.left_out}.items():
        paragraphs.append(f"Not compared: {name}, because {why}.")
    return "\n\n".join(paragraphs)


def _table(found: Comparison) -> list[str]:
    width = max(len("schedule"), *(len(_short(score)) for score in found.scores)) + 2
    rows = [
        f"{'#':>2}  {'schedule':<{width}}{'steps':>5}{'calls':>7}{'error':>10}{'±':>9}"
        "   behind the best"
    ]
    for rank, score in enumerate(found.scores, start=1):
        steps = len(score.candidate.sigmas) - 1
        rows.append(
            f"{rank:>2}  {_short(score):<{width}}{steps:>5}{steps * found.calls_per_step:>7}"
            f"{score.mean:>10.4g}{_number(score.standard_error):>9}   {_behind(found, score)}"
        )
    return rows


def _behind(found: Comparison, score: Score) -> str:
    if score is found.best:
        return "the best"
    difference, standard_error = found.behind(score)
    text = f"{difference:.3g} ± {_number(standard_error)}"
    if found.noises > 1 and found.as_good(score):
        text += ", as good"
    return text


def _own(found: Comparison) -> str:
    if math.isnan(found.reference_error):
        return "is not known."
    return f"is about {found.reference_error:.2g}; smaller differences are not told apart."


def _less(best: Score, other: Score) -> str:
    share = 1.0 - best.mean / other.mean if other.mean > 0.0 else 0.0
    return f"{share:.0%} less error than '{other.candidate.name}'"


def _short(score: Score) -> str:
    name = score.candidate.name
    return name if len(name) <= WIDEST_NAME else f"{name[: WIDEST_NAME - 1]}…"


def _number(value: float) -> str:
    return "?" if math.isnan(value) else f"{value:.2g}"


def _in_words(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
