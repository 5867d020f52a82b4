"""`make demo`: optimise a schedule for the digits denoiser that comes with the project.

Guided sampling of one digit class, as a user would sample an image model: classifier-free guidance
and DPM-Solver++(2M), few steps, the noise levels of Stable Diffusion. Prints a table and writes a
picture: the schedules, and what each paints from the same noise.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ..optimizer import Denoiser, Known, Result, builtin_solver, edm_schedule, optimize
from ..schedules import PRESETS, at_steps, discrete_table, hand_made, preset_for_model
from ..schedules.curves import time_uniform
from .digits.network import load_digits
from .edm import guided

OUTPUT = Path(__file__).parent / "output"
PAINTED = 10  # images a schedule
HELD_OUT, HELD_OUT_NOISES = 1_000_003, 128  # seed and count for the printed held-out error
FINE = 200  # steps of the reference that it is measured against


def main() -> None:
    """Optimise, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--solver", default="dpmpp_2m")
    parser.add_argument("--cfg", type=float, default=3.0)
    parser.add_argument("--label", type=int, default=3)
    parser.add_argument("--budget", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    table = discrete_table()
    given: dict[str, object] = dict(hand_made(options.steps, table))
    for name in PRESETS:
        published = preset_for_model(name, sigma_max=table.sigma_max, sigmas=table.sigmas.tolist())
        given[f"AYS {name}"] = at_steps(published, options.steps, sigma_min=table.sigma_min)
    denoise = guided(load_digits(), options.label, options.cfg)

    began = time.perf_counter()
    result = optimize(
        denoise,
        (1, 8, 8),
        sigma_max=table.sigma_max,
        sigma_min=table.sigma_min,
        steps=options.steps,
        solver=options.solver,
        candidates=given,
        known=Known(starts={"time-uniform": time_uniform(options.steps, table)}),
        budget=options.budget,
        seed=options.seed,
    )
    seconds = time.perf_counter() - began

    print(f"digits, class {options.label}, cfg {options.cfg:g}, {options.steps} steps of ", end="")
    print(f"{options.solver}: {result.total_calls} calls in {seconds:.1f} s")
    print_table(result, denoise, options.solver)
    path = draw(result, denoise, options.solver)
    print(f"\npicture: {path}")


def fresh_noise(count: int) -> Tensor:
    """Initial noise that no schedule was chosen on."""
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(HELD_OUT))


def fine_end_points(result: Result, denoise: Denoiser, noise: Tensor) -> Tensor:
    """What DPM-Solver++(2M) makes of the noise with many steps."""
    first, last = float(result.profile.sigmas[0]), float(result.profile.sigmas[-1])
    fine = torch.from_numpy(np.append(edm_schedule(FINE, first, last)[:-1], 0.0)).float()
    return builtin_solver("dpmpp_2m", denoise)(noise, fine, 0)


def print_table(result: Result, denoise: Denoiser, solver: str) -> None:
    """Every schedule that was run: error, held-out error on fresh noise, KLUB, calls."""
    noise = fresh_noise(HELD_OUT_NOISES)
    reference = fine_end_points(result, denoise, noise)
    solve = builtin_solver(solver, denoise)
    print(f"{'schedule':<60}{'error':>9}{'± s.e.':>9}{'held out':>10}{'KLUB':>9}{'calls':>7}")
    for score in result.scores[:20]:
        x_0 = solve(noise, score.candidate.sigmas, 0)
        held_out = (x_0 - reference).flatten(1).square().mean(1).sqrt().mean()
        calls = len(score.errors) * (len(score.candidate.sigmas) - 1)
        mark = "*" if score.candidate.name == result.method else " "
        print(
            f"{mark}{score.candidate.name:<59}{score.mean:>9.4f}{score.standard_error:>9.4f}"
            f"{held_out:>10.4f}{result.klub(score.candidate.sigmas):>9.3f}{calls:>7}"
        )
    others = {name: rows for name, rows in result.calls.items() if name != "candidates"}
    print("beside these: " + ", ".join(f"{name} {rows} calls" for name, rows in others.items()))


def draw(result: Result, denoise: Denoiser, solver: str) -> Path:
    """The schedules, and what a few of them paint from the same noise."""
    given = [score.candidate for score in result.scores if score.candidate.given]
    shown = [result.error.candidate, *given[:3]]
    noise = fresh_noise(PAINTED)
    rows = {f"{FINE} steps": fine_end_points(result, denoise, noise)}
    for candidate in shown:
        rows[candidate.name] = builtin_solver(solver, denoise)(noise, candidate.sigmas, 0)

    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    for candidate in given:
        left.plot(candidate.sigmas[:-1].tolist(), color="0.75", linewidth=1)
    for candidate in shown:
        left.plot(candidate.sigmas[:-1].tolist(), marker="o", label=candidate.name)
    left.set(yscale="log", xlabel="step", ylabel="noise level (sigma)", title="schedules")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend()
    strip = torch.cat([torch.cat(list(images[:, 0]), 1) for images in rows.values()])
    right.imshow(strip, cmap="gray", vmin=-1.5, vmax=2.0)
    right.set(title=f"painted with {len(shown[0].sigmas) - 1} steps of {solver}", xticks=[])
    right.set_yticks([8 * k + 3.5 for k in range(len(rows))], list(rows))
    OUTPUT.mkdir(exist_ok=True)
    path = OUTPUT / "demo.png"
    FigureCanvasAgg(figure).print_png(path)
    return path


if __name__ == "__main__":
    main()
