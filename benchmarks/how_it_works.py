"""The picture of docs/how_it_works.md: `python -m align_your_steps.benchmarks.how_it_works`.

The digits network at cfg 3, six steps: the paths of one noise, and the errors of many.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

from ..optimizer import Denoiser, optimize
from ..optimizer.diffusion.multistep import Multistep, textbook
from ..schedules import discrete_table, hand_made
from .digits.network import load_digits
from .edm import guided

OUTPUT = Path(__file__).parents[1] / "docs" / "img" / "how_it_works.png"
STEPS, BUDGET, LABEL, SCALE = 6, 1000, 3, 3.0
FINE = 200  # steps of what is called many
SEEDS = 256
SHAPE = (1, 8, 8)
COLOURS = {"dpmpp_2m, karras": "C3", "ays_model": "C0"}


def main() -> None:
    """Fit, run, draw."""
    denoise = guided(load_digits(), LABEL, SCALE)
    table = discrete_table()
    result = optimize(
        denoise,
        SHAPE,
        sigma_max=table.sigma_max,
        sigma_min=table.sigma_min,
        steps=STEPS,
        solver="calibrated",
        budget=BUDGET,
    )
    if result.sampler is None:
        raise SystemExit("A standard choice was better than the fit: there is nothing to draw.")
    karras = [hand_made(steps, table)["karras"].tolist() for steps in (STEPS, FINE)]
    samplers = {
        "dpmpp_2m, karras": textbook("dpmpp_2m", karras[0]),
        "ays_model": result.sampler,
        f"{FINE} steps": textbook("unipc_2", karras[1]),
    }
    noise = torch.randn(SEEDS, *SHAPE, generator=torch.Generator().manual_seed(1_000_003))
    draw({name: path(sampler, denoise, noise) for name, sampler in samplers.items()})


@torch.no_grad()
def path(sampler: Multistep, denoise: Denoiser, noise: Tensor) -> Tensor:
    """The states of a run on the way [n+1, B, elements], each over sqrt(1 + t²)."""
    x, states = sampler.levels[0] * noise, []
    outputs: list[Tensor] = []
    for i, t in enumerate(sampler.levels):
        states.append((x / (1.0 + t * t) ** 0.5).flatten(1))
        if i < sampler.steps:
            outputs = [denoise(x, noise.new_full((len(x),), sampler.told[i])), *outputs]
            x = sampler.step(i, x, outputs)
    return torch.stack(states)


def draw(paths: dict[str, Tensor]) -> None:
    """Write the picture."""
    figure = Figure(figsize=(11, 4.4), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_paths(left, paths)
    draw_errors(right, paths)
    FigureCanvasAgg(figure).print_png(str(OUTPUT))


def draw_paths(axes: Axes, paths: dict[str, Tensor]) -> None:
    """One noise, in the plane of its fine path's chord and of where the standard run strays."""
    fine = paths[f"{FINE} steps"]
    errors = (paths["dpmpp_2m, karras"][-1] - fine[-1]).norm(dim=1)
    k = int(errors.argsort()[SEEDS // 2])  # a usual one
    chord = fine[-1, k] - fine[0, k]
    along = chord / chord.norm()
    astray = paths["dpmpp_2m, karras"][-1, k] - fine[-1, k]
    astray = astray - (astray @ along) * along
    aside = astray / astray.norm()
    for name, states in paths.items():
        moved = states[:, k] - fine[0, k]
        known = name in COLOURS
        axes.plot(
            moved @ along,
            moved @ aside,
            label=name,
            linewidth=1.5 if known else 5,
            color=COLOURS.get(name, "0.6"),
            marker="o" if known else "",
        )
    axes.set(xlabel="from noise to image", ylabel="aside", title="the path of one seed")
    axes.legend()


def draw_errors(axes: Axes, paths: dict[str, Tensor]) -> None:
    """Every seed's distance from many steps, of both."""
    fine = paths[f"{FINE} steps"]
    errors = [(paths[name][-1] - fine[-1]).square().mean(1).sqrt() for name in COLOURS]
    low, high = (float(bound) for bound in torch.stack(errors).aminmax())
    axes.plot([low, high], [low, high], color="0.6")
    axes.plot(*errors, "o", color="C0", markersize=4, alpha=0.6)
    nearer = int((errors[1] < errors[0]).sum())
    axes.set(xscale="log", yscale="log", title=f"{nearer} of {SEEDS} seeds lie below the line")
    axes.set(xlabel="distance from many steps: dpmpp_2m, karras", ylabel="the same: ays_model")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0.02, 0.05, 0.1, 0.2])
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    main()
