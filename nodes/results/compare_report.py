"""The report of a comparison, as plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...optimizer import Comparison, Score
from .. import host
from .shown_names import short_name
from .summary import seeds, step_count, these_seeds

__all__ = ["comparison_report", "verdict"]

NAME_WIDTH = 21  # characters of a name in the table, whose rows have 48: longer ones would wrap
FEWEST_TO_TELL = 4  # seeds on which a standard error says something


def verdict(comparison: Comparison) -> str:
    """Tell which schedule is closest, by how much, and whether that may be luck."""
    best, others = comparison.best, comparison.scores[1:]
    text = f"Closest to the image in many steps: '{best.candidate.name}'."
    if not others:
        return f"{text} It is the only one that was compared."
    if comparison.noises < FEWEST_TO_TELL:
        on = these_seeds(comparison.noises)
        return f"{text} On {on} this may be luck: give {FEWEST_TO_TELL} or more to be surer."
    equal = [score for score in others if comparison.as_good(score)]
    behind = [score for score in others if score not in equal]
    if behind:
        shown = [behind[0], behind[-1]] if len(behind) > 1 else behind
        text += " It has " + " and ".join(_less(best, score) for score in shown) + "."
    if equal:
        names = _in_words([f"'{score.candidate.name}'" for score in equal])
        text += f" As good, as far as {seeds(comparison.noises)} can tell: {names}."
    return text


def comparison_report(
    comparison: Comparison,
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
        verdict(comparison),
        *_needed(comparison),
        "\n".join(["```", *_table(comparison), "```"]),
        _steps(comparison),
        "Error: how far the image is from that of the same seed in "
        f"{comparison.reference_steps} steps (RMS per latent element), averaged over "
        f"{seeds(comparison.noises)}. Behind: by how much more than the best, on the same seeds; "
        "± is one standard error of that; '=' if it is as good, within two of them.",
        f"The many-step image's own error {_own(comparison)}",
        f"Model calls: {host.calls_by_phase(comparison.calls)}.",
        "sigmas of the best: "
        + ", ".join(f"{level:.4f}" for level in comparison.best.candidate.sigmas.tolist()),
    ]
    if comparison.noises < noises:
        paragraphs.insert(1, f"Ended early, after {comparison.noises} of {seeds(noises)}.")
    if warning:
        paragraphs.append(f"Warning: {warning}")
    paragraphs += [f"Note: {note.rstrip('.')}." for note in [judged.note, *notes] if note]
    for name, why in {**left_out, **comparison.left_out}.items():
        paragraphs.append(f"Not compared: {name}, because {why}.")
    return "\n\n".join(paragraphs)


def _needed(comparison: Comparison) -> list[str]:
    """With how many steps the others come as close as the best; nothing where nobody knows."""
    if not comparison.needed:
        return []
    noises = next(iter(comparison.needed.values())).noises
    steps = len(comparison.best.candidate.sigmas) - 1
    rows = []
    for name, needed in comparison.needed.items():
        count = step_count(needed.steps)
        rows.append(f"- {name}: {count if needed.reached else f'more than {count}'}")
    return [
        f"As close as '{comparison.best.candidate.name}' with {step_count(steps)} are (measured on "
        f"{seeds(noises)}):\n\n" + "\n".join(rows)
    ]


def _steps(comparison: Comparison) -> str:
    """The steps and the model calls of each; once where they are those of all."""
    alike: dict[tuple[int, int], list[str]] = {}
    for score in comparison.scores:
        each = len(score.candidate.sigmas) - 1, comparison.calls_of(score)
        alike.setdefault(each, []).append(score.candidate.name)
    told = {
        f"{step_count(steps)}, {calls} model call{'' if calls == 1 else 's'} an image": names
        for (steps, calls), names in alike.items()
    }
    if len(told) == 1:
        return f"Each has {next(iter(told))}."
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in told.items()) + "."


def _table(comparison: Comparison) -> list[str]:
    """Ranks, names, errors, and how far each is behind."""
    rows = [f"{'#':>2} {'schedule':<{NAME_WIDTH}}{'error':>8}{'behind':>8}{'±':>8}"]
    for rank, score in enumerate(comparison.scores, start=1):
        name = short_name(score.candidate.name, NAME_WIDTH - 1)
        rows.append(f"{rank:>2} {name:<{NAME_WIDTH}}{score.mean:>8.3g}{_behind(comparison, score)}")
    return rows


def _behind(comparison: Comparison, score: Score) -> str:
    """The difference to the best and its standard error, for the table."""
    if score is comparison.best:
        return ""
    difference, standard_error = comparison.behind(score)
    equal = "=" if comparison.noises > 1 and comparison.as_good(score) else ""
    return f"{equal + f'{difference:.2g}':>8}{_number(standard_error):>8}"


def _own(comparison: Comparison) -> str:
    if math.isnan(comparison.reference_error):
        return "is not known."
    return f"is about {comparison.reference_error:.2g}; smaller differences are not told apart."


def _less(best: Score, other: Score) -> str:
    share = 1.0 - best.mean / other.mean if other.mean > 0.0 else 0.0
    return f"{share:.0%} less error than '{other.candidate.name}'"


def _number(value: float) -> str:
    return "?" if math.isnan(value) else f"{value:.2g}"


def _in_words(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
