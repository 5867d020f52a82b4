"""Emoji of the same seeds by four samplers, one below the other, for a person to look at.

    python -m align_your_steps.benchmarks.emoji.strip --labels 2 4 8 --count 3 --steps 6 8 5

Rows: a usual choice (dpmpp_2m, karras); the textbook pair of least mean error in hindsight, on
noise that nothing was fitted on; the calibrated sampler, fitted to the class with --budget calls;
and many steps. The seeds are 0, 1, 2, …, for every class of --labels. Prints the errors of the
same on the held-out noise, and keeps them beside the picture: of every class, number of steps and
fit, whose seeds --fits are. The picture is of the first --steps and the first fit.

    python -m align_your_steps.benchmarks.emoji.strip --drawn

draws held-out emoji of every class instead, as training sees them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...optimizer.diffusion.multistep import Multistep
from ..calibrated import Bench, network
from ..record import RESULTS
from .data import HELD_OUT, NAMES, emoji, to_pixels

__all__ = ["CFG", "draw", "main", "measure"]

CFG, USUAL, MANY = 3.0, "dpmpp_2m karras", 40
DRAWN = Path(__file__).with_name("drawn.png")
SCALE, GAP, BORDER, TEXT = 4, 12, 240, 24  # pixels of the picture
INK, COLOURS = (40, 40, 40), 256


def seeds(count: int, shape: Sequence[int]) -> Tensor:
    """The noise of the seeds 0, 1, …, [count, C, H, W]."""
    sources = (torch.Generator().manual_seed(seed) for seed in range(count))
    return torch.stack([torch.randn(*shape, generator=source) for source in sources])


def measure(
    bench: Bench, steps: int, budget: int, fit: int
) -> tuple[dict[str, Multistep], dict[str, Any]]:
    """The samplers of the four rows, and what is known of their errors on held-out noise."""
    found, calls = bench.calibrated(steps, budget, fit)
    pair, best = bench.best(steps)
    textbooks = bench.samplers(steps)
    rows = {
        f"{steps} steps\n{USUAL.replace(' ', ', ')}": textbooks[USUAL],
        f"{steps} steps\nbest standard pair": textbooks[pair],
        f"{steps} steps\nays_model": found.sampler,
        f"{MANY} steps\n{USUAL.replace(' ', ', ')}": bench.samplers(MANY)[USUAL],
    }
    errors = {name.replace("\n", " "): bench.errors(one) for name, one in rows.items()}
    ours = bench.errors(found.sampler)
    return rows, {
        "steps": steps, "fit": fit, "calls": calls, "pair": pair,
        "errors": {name: float(some.mean()) for name, some in errors.items()},
        "ratio": float(ours.mean() / best.mean()),
        "typical": float((ours.log() - best.log()).mean().exp()),
        "improved": float((ours < best).double().mean()),
        "noises": len(ours),
        **bench.told(found, ours),
    }  # fmt: skip


def draw(path: Path, rows: Mapping[str, Tensor]) -> None:
    """Images [N, 3, H, W] a row, enlarged, with the rows' names at the left."""
    font = ImageFont.load_default(TEXT)
    height, width = (SCALE * side for side in next(iter(rows.values())).shape[2:])
    columns = max(map(len, rows.values()))
    size = BORDER + columns * (width + GAP), len(rows) * (height + GAP) + GAP
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for k, (name, images) in enumerate(rows.items()):
        top = GAP + k * (height + GAP)
        pen.text((GAP, top + height // 2), name, INK, font, anchor="lm", spacing=8)
        for column, image in enumerate(to_pixels(images)):
            pixels = (255.0 * image).round().byte().permute(1, 2, 0).numpy()
            large = Image.fromarray(np.ascontiguousarray(pixels)).resize(
                (width, height), Image.Resampling.LANCZOS
            )
            sheet.paste(large, (BORDER + column * (width + GAP), top))
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, nargs="+", default=(4,), help="classes, 0 ... 9")
    parser.add_argument("--steps", type=int, nargs="+", default=(6, 8))
    parser.add_argument("--fits", type=int, nargs="+", default=(0,), help="seeds of calibrations")
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--count", type=int, default=8, help="seeds of each class")
    parser.add_argument("--output", type=Path, default=RESULTS / "emoji.png")
    parser.add_argument("--noises", type=int, default=64, help="held out, at most")
    parser.add_argument("--drawn", action="store_true", help="draw what training sees")
    given = parser.parse_args(arguments)
    if given.drawn:
        source = torch.Generator().manual_seed(HELD_OUT)
        images = emoji(given.count, source)[0].split(given.count)
        draw(DRAWN, dict(zip(NAMES, images, strict=True)))
        return
    torch.set_num_threads(1)
    benches = {label: network("emoji", CFG, label) for label in given.labels}
    pictures: dict[str, list[Tensor]] = {}
    told = []
    for steps, fit, label in itertools.product(given.steps, given.fits, given.labels):
        bench = benches[label]
        bench.noise = bench.noise[: given.noises]
        rows, figures = measure(bench, steps, given.budget, fit)
        told.append({"class": NAMES[label], **figures})
        print(json.dumps(told[-1]), flush=True)
        given.output.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")
        if (steps, fit) == (given.steps[0], given.fits[0]):
            for name, sampler in rows.items():
                images = sampler(bench.denoise, seeds(given.count, bench.shape))
                pictures.setdefault(name, []).append(images)
            draw(given.output, {name: torch.cat(some) for name, some in pictures.items()})


if __name__ == "__main__":
    main()
