"""How many steps the best standard choice needs to come as close as what was fitted: measured.

Errors are those on noises of the race, whose references are there already. That the pair is the
best of its kind was chosen on them too, and that is in its favour; of the fit, on every noise the
stage counts that is best on the others (gain.py). So luck makes the number too small, if anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from .diffusion.multistep import textbook
from .fit.bench import Bench
from .fit.multistep_fit import run
from .gain import unseen_logs
from .judging.select import LEAST

__all__ = [
    "FEWEST_CLOSE",
    "SURE_OF_RACE",
    "Longer",
    "StepsNeeded",
    "measured_steps",
    "most_calls",
    "reserved",
    "steps_needed",
]

Longer = Callable[[str, int], Sequence[float] | None]  # a named curve's EDM levels at other steps

FEWEST_CLOSE, MOST_NEEDED = 4, 8  # noises
TIMES = 3  # the steps of the fit, at most
SURE_OF_RACE = 12  # noises of a race, which go before


@dataclass(frozen=True)
class StepsNeeded:
    """What was measured.

    steps:   the least number with which the pair comes as close; one step fewer does not
    reached: whether it does; if not, it does not with so many either
    noises:  that errors are means over
    """

    steps: int
    reached: bool
    noises: int


def steps_needed(
    close: Callable[[int], bool | None], steps: int, noises: int
) -> StepsNeeded | None:
    """Bisect up to three times the steps of the fit; None where some number cannot be run.

    close: whether a pair comes as close with so many steps; None: it has no such schedule

    >>> steps_needed(lambda count: count >= 14, 8, 4)
    StepsNeeded(steps=14, reached=True, noises=4)
    >>> steps_needed(lambda count: False, 8, 4)
    StepsNeeded(steps=24, reached=False, noises=4)
    """
    short, enough, known = steps, TIMES * steps, False
    while enough - short > 1 or not known:
        middle = (short + enough) // 2 if enough - short > 1 else enough
        found = close(middle)
        if found is None:
            return None
        if found:
            enough, known = middle, True
        elif middle == enough:
            return StepsNeeded(enough, False, noises)
        else:
            short = middle
    return StepsNeeded(enough, True, noises)


def most_calls(steps: int) -> int:
    """Calls that this takes at most, for one noise.

    >>> most_calls(8)
    105
    """
    tried: list[int] = []

    def never(count: int) -> bool:
        tried.append(count)
        return False

    steps_needed(never, steps, 0)
    return sum(tried)


def reserved(fits: Callable[[int], bool], cost: int, steps: int) -> int:
    """Calls that a race leaves for this: none where it would be short itself.

    fits: whether so many calls may be spent
    cost: of a noise of the race
    """
    calls = FEWEST_CLOSE * most_calls(steps)
    return calls if fits(SURE_OF_RACE * cost + calls) else 0


def measured_steps(
    bench: Bench,
    pair: str,
    ours: Sequence[Sequence[float]],
    steps: int,
    noises: range,
    longer: Longer,
) -> StepsNeeded | None:
    """The steps that a pair needs; None where the calls left are too few, or it has no schedule.

    ours:   errors of the stages of the fit, one for each noise of the race
    noises: of the race
    """
    count = min(len(noises), MOST_NEEDED)
    while count >= FEWEST_CLOSE and not bench.source.fits(count * most_calls(steps)):
        count -= 1
    if count < FEWEST_CLOSE:
        return None
    some, end = noises[:count], bench.end(noises)[:count]
    target = float(unseen_logs(ours)[:count].mean())
    name, _, curve = pair.partition(" ")

    def close(count: int) -> bool | None:
        levels = longer(curve, count)
        if levels is None:
            return None
        sampler = textbook(name, levels, bench.boundary)

        def measure() -> dict[str, Tensor]:
            noise = bench.source.noise(some)
            return {"x": run(bench.denoise, sampler, noise, bench.elements).end}

        x = bench.source.once(f"{pair}, {count} steps {some}", measure)["x"]
        errors = (x - end).square().mean(1).sqrt().clamp_min(LEAST)
        return float(errors.log().mean()) <= target  # not for NaN

    return steps_needed(close, steps, count)
