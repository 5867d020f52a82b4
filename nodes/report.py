"""The report of an optimisation, as plain text."""

from __future__ import annotations

from ..optimizer import Result
from . import host

__all__ = ["report_text"]

ROWS = 20  # candidates listed


def report_text(result: Result, judged: host.JudgedSampler, steps: int) -> str:
    """What was found, what each candidate scored, what was spent, and what was left out."""
    best = result.error
    lines = [
        f"Best schedule for {steps} steps of {judged.name}: {best.candidate.name}",
        f"error {best.mean:.4g} ± {best.standard_error:.2g} (RMS per latent element, against "
        f"{result.reference_steps} steps, {result.noises} noises)",
        _comparison(result),
        "",
        "sigmas: " + ", ".join(f"{level:.4f}" for level in result.sigmas.tolist()),
        "",
        *_table(result),
        "",
        f"calls: {result.total_calls} ("
        + ", ".join(f"{phase} {rows}" for phase, rows in result.calls.items())
        + ")",
    ]
    if result.reference_error == result.reference_error:  # not NaN: it was measured
        lines.append(f"the reference's own error is about {result.reference_error:.2g}")
    if judged.note:
        lines.append(f"note: {judged.note}")
    lines += [f"not compared: {name}, because {why}" for name, why in result.left_out.items()]
    return "\n".join(lines)


def _comparison(result: Result) -> str:
    """The winner against the best of what the user already had, on equal noises."""
    given = [score for score in result.scores if score.candidate.given]
    if result.error.candidate.given:
        return "None of the schedules that were searched is better than this one that you had."
    if not given:
        return "No schedule of the host could be compared."
    had = min(given, key=lambda score: (-len(score.errors), score.mean))
    shared = min(len(had.errors), result.noises)
    ratio = sum(result.error.errors[:shared]) / sum(had.errors[:shared])
    change = f"{abs(1 - ratio):.0%} {'lower' if ratio < 1 else 'higher'}"
    return f"That is {change} than the best that you had, {had.candidate.name} ({had.mean:.4g})."


def _table(result: Result) -> list[str]:
    rows = [f"{'schedule':<44}{'error':>10}{'± s.e.':>10}{'noises':>8}{'KLUB':>10}"]
    for score in result.scores[:ROWS]:
        rows.append(
            f"{score.candidate.name:<44}{score.mean:>10.4g}{score.standard_error:>10.2g}"
            f"{len(score.errors):>8}{result.klub(score.candidate.sigmas):>10.4g}"
        )
    if len(result.scores) > ROWS:
        rows.append(f"… and {len(result.scores) - ROWS} more")
    return rows
