"""Costs of optimising beyond the denoiser's own calls: time and memory, on this CPU.

An optimisation of wall time T makes N denoiser calls of B rows each. T includes the levels for
other numbers of steps, which take no call. With t the time of a call

    inside      summed over the calls made in the optimisation itself, or
    bare        of the same call repeated by itself, before and after it

the overhead is T / (N t), and the time outside the denoiser is T minus that inside. A denoiser
that takes t' a call has about the overhead 1 + (time outside) / (N t'), whatever it computes. Two
of the denoisers are stand-ins for that reason: a network of random weights with a latent's shape,
and the ideal denoiser of elements that are independent and near -m or m,

    x_0 = ± m + c e:    D(x, t) = (c² x + t² m tanh(m x / (c² + t²))) / (c² + t²),

which is not linear, so that there is something to refine. Every optimisation runs twice, the first
to warm up. Everything is one thread on the CPU, so on a machine that has other work `--clock cpu`,
the processor time, says what the wall time would be on an idle one.

Memory is the process' largest resident set (Linux's VmHWM; denoiser and all are on the CPU) after
a plain run of as many steps on as many rows, and after an optimisation. On the optimiser's side
are the calls remembered for one batch of noise, and the tracks of its K refinement noises: states
and outputs of F reference steps, on 512 elements of each latent at most, in double precision.
"""

from __future__ import annotations

import argparse
import math
import os
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..optimizer import Denoiser, Known, Result, Session, builtin_solver, optimize
from ..optimizer.diffusion.coordinate import spread
from ..optimizer.fit.surrogate import ELEMENTS
from ..schedules.curves import time_uniform
from .bench import BUDGET
from .digits.network import load_digits
from .edm import guided
from .peers import fixed
from .problems import TABLE
from .record import RESULTS, keep, machine, table

__all__ = ["CASES", "Case", "Network", "Timed", "main", "measured", "near_two_values", "peak"]

STEPS, SOLVER, SEED = 10, "dpmpp_2m", 0
OTHER_STEPS = (4, 5, 6, 8, 12, 15, 20, 25, 30)
SLOW = 0.02  # seconds a call of a model that an overhead is reported for
BARE_CALLS = 100
MEAN, STD = 1.0, 0.3  # m and c
WIDTH, BLOCKS = 48, 3
MEGABYTE = 2**20

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


# -- denoisers ------------------------------------------------------------------------------


class Network(nn.Module):
    """A convolutional denoiser of random weights, EDM preconditioned; the same ones every time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            self.first = nn.Conv2d(channels + 1, WIDTH, 3, padding=1)  # + 1: the noise level
            self.blocks = nn.ModuleList(
                nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(BLOCKS)
            )
            self.last = nn.Conv2d(WIDTH, channels, 3, padding=1)
        self.requires_grad_(False)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x of shape [B, C, H, W], sigma [B]."""
        t = sigma[:, None, None, None]
        scale = (1.0 + t.square()).sqrt()
        level = (t.log() / 4.0).expand_as(x[:, :1])
        h = self.first(torch.cat([x / scale, level], 1))
        for block in self.blocks:
            h = h + block(functional.silu(h))
        return x / scale.square() + t / scale * self.last(functional.silu(h))


def near_two_values(x: Tensor, sigma: Tensor) -> Tensor:
    """The ideal denoiser of independent elements near -m or m; x [B, ...], sigma [B]."""
    t2 = sigma.square().reshape(-1, *[1] * (x.ndim - 1))
    total = STD**2 + t2
    return (STD**2 * x + t2 * MEAN * torch.tanh(MEAN * x / total)) / total


@dataclass(frozen=True)
class Case:
    """A denoiser to optimise for; `make` gives it, and the shape is of one sample."""

    denoiser: str
    shape: tuple[int, ...]
    make: Callable[[], Denoiser]

    @property
    def name(self) -> str:
        """Denoiser and shape."""
        return f"{self.denoiser}, {'x'.join(map(str, self.shape))}"


CASES = (
    Case("random network", (4, 64, 64), lambda: Network(4)),
    Case("ideal", (4, 128, 128), lambda: near_two_values),
    Case("ideal", (16, 128, 128), lambda: near_two_values),
    Case("digits network, guided", (1, 8, 8), lambda: guided(load_digits(), 3, 3.0)),
)


# -- time -----------------------------------------------------------------------------------


class Timed:
    """A denoiser that counts its calls and rows, and adds up the time they take."""

    def __init__(self, denoise: Denoiser, clock: Clock):
        self.denoise, self.clock = denoise, clock
        self.calls = self.rows = 0
        self.seconds = 0.0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        began = self.clock()
        output = self.denoise(x, sigma)
        self.seconds += self.clock() - began
        self.calls += 1
        self.rows += len(x)
        return output


def optimised(
    denoise: Denoiser,
    shape: tuple[int, ...],
    budget: int,
    progress: Callable[[str, int], None] | None = None,
) -> Result:
    """The optimisation that is measured: with the candidates that a user's would have, and with
    the levels for other numbers of steps that are saved beside its result."""
    result = optimize(
        denoise,
        shape,
        sigma_max=TABLE.sigma_max,
        sigma_min=TABLE.sigma_min,
        steps=STEPS,
        solver=SOLVER,
        candidates=dict(fixed(STEPS, TABLE)),
        known=Known(starts={"time-uniform": time_uniform(STEPS, TABLE)}),
        budget=budget,
        seed=SEED,
        session=Session(progress=progress),
    )
    result.at_step_counts(OTHER_STEPS)
    return result


def bare(denoise: Denoiser, shape: tuple[int, ...], rows: int, clock: Clock) -> float:
    """Mean time of a call on so many rows, one after the other at descending levels."""
    e, timed = noise(shape, rows), Timed(denoise, clock)
    for t in spread(TABLE.sigma_max, TABLE.sigma_min, BARE_CALLS - 1):
        timed(float(t) * e, torch.full((rows,), float(t)))
    return timed.seconds / timed.calls


def measured(case: Case, budget: int, clock: Clock) -> dict[str, Any]:
    """Time of an optimisation, and of the calls in it: seconds.

    Returns rows a call, calls, total, inside and outside the calls, a bare call before and after,
    and the overheads T / (N t) with t bare (the mean of both) and inside.
    """
    denoise = case.make()
    first = Timed(denoise, clock)
    optimised(first, case.shape, budget)
    rows = first.rows // first.calls
    before = bare(denoise, case.shape, rows, clock)
    timed = Timed(denoise, clock)
    began = clock()
    optimised(timed, case.shape, budget)
    total = clock() - began
    after = bare(denoise, case.shape, rows, clock)
    return {
        "rows_a_call": rows,
        "rows": timed.rows,
        "calls": timed.calls,
        "total": total,
        "inside": timed.seconds,
        "outside": total - timed.seconds,
        "bare_before": before,
        "bare_after": after,
        "over_bare": total / (timed.calls * (before + after) / 2.0),
        "over_inside": total / timed.seconds,
    }


# -- memory ---------------------------------------------------------------------------------


def noise(shape: tuple[int, ...], rows: int) -> Tensor:
    """Unit noise [rows, ...]."""
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(SEED))


def high_water() -> int:
    """The largest resident set of this process so far, in bytes.

    Not getrusage's, which a new process takes over from the one that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def peak(case: int, budget: int, rows: int) -> dict[str, int]:
    """Bytes at the peak of a plain run, of an optimisation, and of that one's NumPy arrays.

    case: which of the CASES; run it in a process of its own, whose largest size it reads
    """
    torch.set_num_threads(1)
    denoise, shape = CASES[case].make(), CASES[case].shape
    solve = builtin_solver(SOLVER, denoise)
    solve(noise(shape, rows), fixed(STEPS, TABLE)["karras"], SEED)
    plain = high_water()
    phases: list[str] = []
    tracemalloc.start()  # traces NumPy's arrays, but not torch's tensors
    result = optimised(denoise, shape, budget, lambda phase, _: phases.append(phase))
    _, arrays = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "plain": plain,
        "optimised": high_water(),
        "arrays": arrays,
        "reference_steps": result.reference_steps,
        "noises": refinement_noises(phases, rows),
    }


def refinement_noises(phases: list[str], rows: int) -> int:
    """K: each batch of them has a fine and a coarse run before the profile is measured."""
    return phases[: phases.index("profile")].count("reference") // 2 * rows


def in_own_process(case: int, budget: int, rows: int) -> dict[str, int]:
    """`peak` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(peak, case, budget, rows).result()


# -- report ---------------------------------------------------------------------------------


def report(measurement: dict[str, Any]) -> str:
    """The measurement as Markdown tables."""
    here = measurement["machine"]
    changed = " with uncommitted changes" if here["changed"] else ""
    return "\n\n".join([
        "# Overhead of an optimisation",
        f"`{measurement['command']}`, commit {here['commit'][:12]}{changed}, {here['cores']} cores "
        f"({here['processor']}), {here['threads']} thread, torch {here['torch']}, Python "
        f"{here['python']}. {STEPS} steps of {SOLVER}, budget {measurement['budget']}, everything "
        f"on the CPU; mean load of the machine's last 15 minutes {measurement['load']:.1f}.",
        "## Time",
        "A bare call: the same call repeated by itself, before / after the optimisation. "
        "Overhead: time of the optimisation over (calls × time of a call). "
        f"Clock: {measurement['clock']}.",
        _time_table(measurement["cases"]),
        "## Memory",
        "The largest resident set of the process in MB, after a plain run of as many steps on as "
        "many rows and after an optimisation; NumPy arrays at their peak; and of these the tracks "
        "of the K noises that schedules are refined on, F levels of states and outputs each.",
        _memory_table(measurement["cases"]),
    ]) + "\n"  # fmt: skip


def _time_table(cases: list[dict[str, Any]]) -> str:
    head = ["denoiser, latent", "rows a call", "calls", "bare call, ms", "call inside, ms"]
    head += ["total, s", "outside, s", "outside a call, µs", "overhead over bare", "over inside"]
    head += [f"with calls of {1e3 * SLOW:.0f} ms"]
    rows = []
    for case in cases:
        run = case["time"]
        rows.append(
            [
                case["name"],
                str(run["rows_a_call"]),
                str(run["calls"]),
                f"{1e3 * run['bare_before']:.2f} / {1e3 * run['bare_after']:.2f}",
                f"{1e3 * run['inside'] / run['calls']:.2f}",
                f"{run['total']:.2f}",
                f"{run['outside']:.2f}",
                f"{1e6 * run['outside'] / run['calls']:.0f}",
                f"{run['over_bare']:.3f}",
                f"{run['over_inside']:.3f}",
                f"{1.0 + run['outside'] / (run['calls'] * SLOW):.3f}",
            ]
        )
    return table(head, rows)


def _memory_table(cases: list[dict[str, Any]]) -> str:
    head = ["denoiser, latent", "plain run", "optimisation", "more", "NumPy arrays", "tracks"]
    rows = []
    for case in cases:
        used = case["memory"]
        rows.append(
            [
                case["name"],
                f"{used['plain'] / MEGABYTE:.0f}",
                f"{used['optimised'] / MEGABYTE:.0f}",
                f"{(used['optimised'] - used['plain']) / MEGABYTE:.0f}",
                f"{used['arrays'] / MEGABYTE:.0f}",
                f"{_tracks(used, case['elements']) / MEGABYTE:.1f}",
                str(used["reference_steps"]),
                str(used["noises"]),
            ]
        )
    return table([*head, "F", "K"], rows)


def _tracks(used: dict[str, int], elements: int) -> int:
    """Bytes of the reference tracks: F x K x E doubles, states and outputs."""
    return 2 * 8 * used["reference_steps"] * used["noises"] * min(elements, ELEMENTS)


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    command = (
        "python -m align_your_steps.benchmarks.overhead "
        f"--budget {options.budget} --clock {options.clock}"
    )
    cases = []
    for number, case in enumerate(CASES):
        spent = measured(case, options.budget, CLOCKS[options.clock])
        used = in_own_process(number, options.budget, spent["rows_a_call"])
        cases.append({"name": case.name, "elements": math.prod(case.shape)})
        cases[-1] |= {"time": spent, "memory": used}
        print(f"{case.name}: {spent['over_bare']:.3f} of the bare calls' time", flush=True)
    measurement = {"machine": machine(), "command": command, "budget": options.budget}
    measurement |= {"clock": options.clock, "load": os.getloadavg()[2], "cases": cases}
    keep(options.output, "overhead", measurement, report(measurement))


if __name__ == "__main__":
    main()
