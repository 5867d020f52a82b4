"""The two sentences that matter of an optimisation: what to do now, and what was gained."""

from __future__ import annotations

from ...optimizer import Result, Score
from .. import host
from .shown_names import shown_name

__all__ = ["best_given", "gained", "seeds", "step_count", "summary", "to_do"]


def summary(
    result: Result,
    judged: host.JudgedSampler,
    *,
    cfg: float | None = None,
    denoise: float = 1.0,
    boundary: float | None = None,
) -> str:
    """Say what to do now and what was gained, a line each; arguments as for `to_do`."""
    first = to_do(result, judged, cfg=cfg, denoise=denoise, boundary=boundary)
    return f"{first}\n{gained(result)}"


def to_do(
    result: Result,
    judged: host.JudgedSampler,
    *,
    cfg: float | None = None,
    denoise: float = 1.0,
    boundary: float | None = None,
) -> str:
    """Settings that the user makes to sample with the result.

    cfg:      None: there is no single one
    boundary: the level at and below which a second model answers, if there is one
    """
    count = len(result.sigmas) - 1
    settings = [step_count(count)]
    if cfg is not None and boundary is None:
        settings.append(f"cfg {cfg:g}")
    if denoise < 1.0:
        settings.append(f"denoise {denoise:g}")
    if boundary is not None:
        first = host.steps_of_the_first(result.sigmas.tolist(), boundary)
        settings[-1] += f"; the first ends and the second starts at step {first}"
    node = "KSampler" if boundary is None else "both KSamplerAdvanced"
    scheduler = f"scheduler {host.SCHEDULER_NAME}"
    if result.sampler is None:
        where = "" if boundary is None else f" in {node}"
        head = f"Keep sampler {judged.name}, choose {scheduler}{where}"
    else:
        head = f"Set {node} to sampler {judged.name} and {scheduler}"
    return f"{', '.join([head, *settings])}."


def gained(result: Result) -> str:
    """Say how much less error than the best standard choice, on seeds that did not choose.

    No number is told where the interval of the gain leaves it open.
    """
    gain, given, winner = result.gain, best_given(result), result.error
    more = "more time" if result.ended_early else "a larger budget"
    if not winner.errors:
        return (
            f"Ended before anything could be compared, so {host.SCHEDULER_NAME} gives you a "
            f"standard choice, {shown_name(winner.candidate.name)}; more time may find better."
        )
    if winner.candidate.given:
        name = shown_name(winner.candidate.name)
        return (
            f"On {these_seeds(len(winner.errors))} nothing is better than the best standard "
            f"choice, {name}, so {host.SCHEDULER_NAME} gives you that; {more} may find better."
        )
    if gain is None or given is None:
        return "No standard choice could be compared, so nobody knows what is gained."
    best = f"the best standard choice, {shown_name(given.candidate.name)}"
    if not gain.claimed:
        on = these_seeds(gain.noises)
        return f"On {on} nothing is certainly better than {best}; {more} may tell."
    about = "" if gain.sure else "About "
    shares = [round(100.0 * (1.0 - ratio)) for ratio in (gain.ratio, gain.high, gain.low)]
    if shares[0] < 1:
        return f"Hardly less error than {best} (measured on {seeds(gain.noises)})."
    return (
        f"{about}{shares[0]} % less error than {best} (measured on {seeds(gain.noises)}; between "
        f"{shares[1]} and {shares[2]} %).{_steps_needed(result, given)}"
    )


def _steps_needed(result: Result, given: Score) -> str:
    """With how many steps the best standard choice comes as close; empty if nobody knows."""
    needed = result.needed
    if needed is None:
        return ""
    on = f"measured on {seeds(needed.noises)}"
    name = shown_name(given.candidate.name)
    if not needed.reached:
        return f" Even {needed.steps} steps of {name} do not come as close ({on})."
    return f" As close as {needed.steps} steps of {name} ({on})."


def best_given(result: Result) -> Score | None:
    """The best of what the user already had; None if none of it could be compared."""
    given = [score for score in result.scores if score.candidate.given]
    return min(given, key=lambda score: score.place, default=None)


def seeds(count: int) -> str:
    """A number of seeds in words.

    >>> seeds(1), seeds(4)
    ('1 seed', '4 seeds')
    """
    return f"{count} seed{'' if count == 1 else 's'}"


def step_count(count: int) -> str:
    """A number of steps in words.

    >>> step_count(1), step_count(8)
    ('1 step', '8 steps')
    """
    return f"{count} step{'' if count == 1 else 's'}"


def these_seeds(count: int) -> str:
    """The seeds that a sentence is about.

    >>> these_seeds(1), these_seeds(3)
    ('one seed', 'these 3 seeds')
    """
    return "one seed" if count == 1 else f"these {seeds(count)}"
