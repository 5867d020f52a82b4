"""`make demo`: the sampler `ays_model` beside standard choices, on the emoji, in a minute.

One class of the emoji, guided, as a user would sample an image model. The sampler is fitted with
1,000 model calls. Then all choices paint the same seeds, which nothing was fitted to. Prints a
table and writes a picture: the same seeds by every choice, one below the other.

    error    distance to the image in many steps, mean over the seeds, with its standard error
    as near  in how many steps a choice comes as near as `ays_model` does
    calls    model calls that it took to find the choice

The picture of the README's top, from a class or several:

    python -m align_your_steps.benchmarks.demo --labels 0 4 8 --count 3 --output docs/img/top.png

The best standard pair is known only in hindsight: it is the best on the very seeds that are shown.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..optimizer.diffusion.coordinate import spread
from ..optimizer.diffusion.multistep import TEXTBOOK, Multistep, textbook
from .calibrated import SCREENED, TABLE, Bench, stable_diffusion
from .edm import guided
from .emoji.data import NAMES
from .emoji.network import load_emoji
from .emoji.strip import draw, seeds

__all__ = ["Demo", "main", "table"]

OUTPUT = Path(__file__).parent / "output" / "demo.png"
USUAL, OURS = "dpmpp_2m karras", "ays_model"
MANY = 40  # steps of the images that all are compared with
NOISES = 16  # seeds of the errors
MOST_STEPS = 24  # that are tried, to come as near


class Demo(Bench):
    """The emoji of one class, fewer seeds than a measurement would take, and shorter references."""

    def __init__(self, label: int, cfg: float, noises: int = NOISES) -> None:
        denoise = guided(load_emoji(), label, cfg)
        ends = (TABLE.sigma_max, TABLE.sigma_min)
        super().__init__(
            "emoji", denoise, (3, 32, 32), stable_diffusion, ends,
            noises=noises, dtype=torch.float32, rows=16, screened=True,
        )  # fmt: skip

    @property
    def many(self) -> Multistep:
        """The sampler in many steps."""
        return textbook("exponential_3", [*spread(*self.ends, MANY), 0.0])

    @cached_property
    def reference(self) -> Tensor:
        """Return where the seeds lead with it."""
        return self.ends_of(self.many)

    def hindsight_calls(self, steps: int) -> int:
        """Model calls that finding the best standard pair takes, references included."""
        noises = len(self.noise)
        pairs = len(self.samplers(steps))
        return noises * MANY + steps * (noises // 4 * pairs + noises * min(SCREENED, pairs))

    def as_near(self, pair: str, steps: int, error: float) -> int | None:
        """The fewest steps in which a pair has no more than this error; None if there are none.

        From its error at `steps` up, or down, until it is not so any more.
        """
        if self._mean(pair, steps) > error:
            more = range(steps + 1, MOST_STEPS + 1)
            return next((n for n in more if self._mean(pair, n) <= error), None)
        while steps > 1 and self._mean(pair, steps - 1) <= error:
            steps -= 1
        return steps

    def _mean(self, pair: str, steps: int) -> float:
        name, curve = pair.split(" ", 1)
        sampler = textbook(name, self.curves(steps)[curve])
        return float(self.errors(sampler).mean())


def table(demo: Demo, steps: int, budget: int) -> Iterator[tuple[str, Multistep, str]]:
    """Every choice: its name, its sampler, and its line of the table."""
    found, calls = demo.calibrated(steps, budget)
    best, _ = demo.best(steps)
    known = demo.samplers(steps)
    ours = float(demo.errors(found.sampler).mean())
    chosen = {USUAL: (known[USUAL], 0), best: (known[best], demo.hindsight_calls(steps))}
    for pair, (sampler, spent) in chosen.items():
        near = demo.as_near(pair, steps, ours)
        title = pair if pair == USUAL else f"best standard pair: {pair}"
        yield title, sampler, line(title, demo.errors(sampler), near, spent)
    yield OURS, found.sampler, line(OURS, demo.errors(found.sampler), steps, calls)


def line(title: str, errors: Tensor, near: int | None, calls: int) -> str:
    """One row of the table."""
    error = float(errors.std()) / len(errors) ** 0.5
    steps = f"{near} steps" if near else f"over {MOST_STEPS}"
    return f"{title:<42}{errors.mean():>7.3f} ± {error:.3f}{steps:>11}{calls:>8}"


def show(demo: Demo, steps: int, budget: int) -> dict[str, Multistep]:
    """Print the table; the samplers by the names that they have in the picture."""
    print(f"{'choice':<42}{'error':>7}{'':8}{'as near in':>11}{'calls':>8}", flush=True)
    rows = {}
    for title, sampler, text in table(demo, steps, budget):
        print(text, flush=True)
        name = title.split(":")[0].replace(" karras", ", karras")
        rows[f"{steps} steps\n{name}"] = sampler
    return {**rows, f"{MANY} steps": demo.many}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6, help="4 to 16")
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--labels", type=int, nargs="+", default=(4,), help="classes, 0 ... 9")
    parser.add_argument("--count", type=int, default=8, help="images of each class")
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    began = time.perf_counter()
    painted: dict[str, list[Tensor]] = {}
    for label in given.labels:
        demo = Demo(label, given.cfg)
        print(
            f"Emoji of the class '{NAMES[label]}', cfg {given.cfg:g}, {given.steps} steps, ", end=""
        )
        print(f"{len(demo.noise)} seeds that nothing was fitted to\n")
        noise = seeds(given.count, demo.shape)
        for name, sampler in show(demo, given.steps, given.budget).items():
            painted.setdefault(name, []).append(sampler(demo.denoise, noise))
        print()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    draw(given.output, {name: torch.cat(images) for name, images in painted.items()})
    print(f"as near in: steps in which a choice comes as near as {OURS} in {given.steps}.")
    print(f"calls: model calls to find the choice; of {len(TEXTBOOK)} samplers and ", end="")
    print(f"{len(demo.curves(given.steps))} schedules the best is known only afterwards.")
    print(
        f"{time.perf_counter() - began:.0f} s; picture: {os.path.relpath(given.output.resolve())}"
    )


if __name__ == "__main__":
    main()
