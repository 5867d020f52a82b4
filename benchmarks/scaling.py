"""`make scaling`: how much sooner an optimisation ends on two processes than on one, on this CPU.

Each optimisation runs in processes of its own, started by torchrun, with one thread each, after a
small one that warms up: one process alone, then two ranks that split every batch of noise. Of each
process are measured the wall time of the optimisation, the time inside the denoiser, the time in
exchanges with the others (waiting for the slower one included), and the bytes received from them.

Two denoisers: a network of random weights on a latent of Stable Diffusion's size, which two cores
can compute side by side if they have nothing else to do; and a stand-in that sleeps a fixed time a
row, as a device does that is busy with each of them in turn, whatever else this machine has to do.

On a machine that has other work the wall time says little. So there is a second figure, of the
time that a process would take undisturbed: its processor time and the time that it means to sleep,
without waiting for the other; of two processes the larger one. Other work changes it little, but
what shares a cache with the network slows its calls too.

On paper follows what more ranks would take. With t seconds a row, N rows in batches of B, and W
ranks, the rank with the most rows has ceil(B/W) of each batch (B >= W), so that (Amdahl 1967)

    T(W) = S + C + N t ceil(B/W) / B

where S is the processor time outside the denoiser and exchanges, which every rank spends alike,
and C that in exchanges.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from ..optimizer import Denoiser, Known, Ranks, Session, optimize
from ..optimizer.fit.surrogate import ELEMENTS
from ..optimizer.plan import FEWEST, PROFILE_LEVELS
from ..optimizer.problem import COMPARED
from ..schedules.curves import time_uniform
from .bench import BUDGET
from .overhead import SEED, SOLVER, STEPS, Network, Timed, near_two_values
from .peers import fixed
from .problems import TABLE
from .record import RESULTS, keep, machine, table

__all__ = ["CASES", "Case", "Sleeping", "bytes_a_noise", "expected", "main", "report"]

PROCESSES = (1, 2)
ROW = 0.005  # seconds that a row of the sleeping stand-in takes
WARM = 600  # calls of the optimisation before the one that is measured
ON_PAPER = (1, 2, 4, 8)
SLOW = 0.1  # seconds a guided row of a large model
LATENT = (4, 128, 128)  # of SDXL, on paper
BATCHES = (5, 8)  # noises in one, on paper


class Sleeping:
    """The ideal denoiser of elements near two values, which takes so many seconds a row."""

    def __init__(self, row: float):
        self.row = row

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        time.sleep(self.row * len(x))
        return near_two_values(x, sigma)


@dataclass(frozen=True)
class Case:
    """A denoiser to optimise for; `make` gives it, and the shape is of one sample.

    row: seconds that it sleeps for every row
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], Denoiser]
    row: float = 0.0


CASES = (
    Case("random network, 4x64x64", (4, 64, 64), lambda: Network(4)),
    Case(f"sleeps {1e3 * ROW:g} ms a row, 4x64x64", (4, 64, 64), lambda: Sleeping(ROW), ROW),
)


# -- measurement ----------------------------------------------------------------------------


def optimised(case: Case, denoise: Denoiser, budget: int, ranks: Ranks | None) -> dict[str, Any]:
    """Return what one process sees of an optimisation: seconds, rows, bytes, and the schedule."""
    timed = Timed(denoise, time.perf_counter)
    busy = Timed(timed, time.process_time)
    exchanged, received = (ranks.seconds, ranks.bytes) if ranks else (0.0, 0)
    began, worked = time.perf_counter(), time.process_time()
    result = optimize(
        busy,
        case.shape,
        sigma_max=TABLE.sigma_max,
        sigma_min=TABLE.sigma_min,
        steps=STEPS,
        solver=SOLVER,
        candidates=dict(fixed(STEPS, TABLE)),
        known=Known(starts={"time-uniform": time_uniform(STEPS, TABLE)}),
        budget=budget,
        seed=SEED,
        # One process plans as two do, however small the budget.
        session=Session(ranks=ranks, least_batch=max(PROCESSES)),
    )
    total, worked = time.perf_counter() - began, time.process_time() - worked
    exchanging = ranks.seconds - exchanged if ranks else 0.0
    return {
        "total": total,
        "inside": timed.seconds,
        "exchanging": exchanging,
        "outside": total - timed.seconds - exchanging,
        "undisturbed": worked + case.row * timed.rows,
        "serial": worked - busy.seconds,
        "rows": timed.rows,
        "calls": timed.calls,
        "bytes": ranks.bytes - received if ranks else 0,
        "reference_steps": result.reference_steps,
        "method": result.method,
        "sigmas": result.sigmas.tolist(),
    }


def work(number: int, budget: int, folder: Path) -> None:
    """Be one of the processes that torchrun has started for a case."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    ranks = Ranks() if size > 1 else None
    case = CASES[number]
    denoise = case.make()
    if budget > WARM:
        optimised(case, denoise, WARM, ranks)
    found = optimised(case, denoise, budget, ranks)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


def launched(number: int, processes: int, budget: int) -> list[dict[str, Any]]:
    """Return what the processes of a case have measured, by rank."""
    with tempfile.TemporaryDirectory() as folder:
        start = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        what = ["--case", str(number), "--budget", str(budget), "--output", folder]
        subprocess.run(
            [sys.executable, "-m", *start, "-m", __spec__.name, *what],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        paths = [Path(folder) / f"{rank}.json" for rank in range(processes)]
        return [json.loads(path.read_text()) for path in paths]


# -- on paper -------------------------------------------------------------------------------


def expected(rows: int, batch: int, ranks: int, row: float, serial: float) -> float:
    """T(W) in seconds, as the module has it, exchanges included in what is serial.

    >>> expected(rows=4000, batch=8, ranks=8, row=0.1, serial=10.0)
    60.0
    >>> expected(rows=4000, batch=8, ranks=3, row=0.1, serial=10.0)
    160.0
    """
    batch = max(batch, ranks)  # as the plan has it
    return serial + rows * row * math.ceil(batch / ranks) / batch


def bytes_a_noise(elements: int, fine: int, coarse: int) -> int:
    """Bytes that a rank gives for one noise of a tracked reference.

    The end point in single precision; and of the fine and the coarse run, in double precision on
    some elements, every state, every output and the end.
    """
    return 4 * elements + 8 * min(elements, ELEMENTS) * (2 * (fine + coarse) + 2)


# -- report ---------------------------------------------------------------------------------


def report(measurement: dict[str, Any]) -> str:
    """The measurement as Markdown, and what follows from it on paper."""
    here = measurement["machine"]
    changed = " with uncommitted changes" if here["changed"] else ""
    return "\n\n".join([
        "# An optimisation on several processes",
        f"`{measurement['command']}`, commit {here['commit'][:12]}{changed}, {here['cores']} cores "
        f"({here['processor']}), one thread a process, torch {here['torch']}, Python "
        f"{here['python']}, gloo. {STEPS} steps of {SOLVER}, budget {measurement['budget']}, "
        "everything on the CPU; mean load of the machine's last 15 minutes "
        f"{measurement['load']:.1f}.",
        "## Measured",
        "Of the slowest process. Rows: by each process. Outside: neither inside the denoiser nor "
        "in exchanges. Exchanges: waiting for the other process included. Undisturbed: processor "
        "time and what is slept, which other work on the machine changes little. Levels: the "
        "largest relative difference to those of one process.",
        _measured_table(measurement["cases"]),
        "## On paper",
        *_on_paper(measurement["cases"][-1]),
    ]) + "\n"  # fmt: skip


def slowest(processes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The process that took longest."""
    return max(processes, key=lambda one: one["total"])


def _measured_table(cases: Sequence[dict[str, Any]]) -> str:
    head = ["denoiser, latent", "processes", "rows", "total, s", "inside, s", "outside, s"]
    head += ["exchanges, s", "MB received", "times as fast", "undisturbed, s", "times as fast"]
    lines = []
    for case in cases:
        one = slowest(case["processes"]["1"])
        (alone,) = (process["undisturbed"] for process in case["processes"]["1"])
        for processes, found in case["processes"].items():
            last = slowest(found)
            undisturbed = max(process["undisturbed"] for process in found)
            lines.append([
                case["name"],
                processes,
                " + ".join(str(process["rows"]) for process in found),
                f"{last['total']:.2f}",
                f"{last['inside']:.2f}",
                f"{last['outside']:.2f}",
                f"{last['exchanging']:.2f}",
                f"{max(process['bytes'] for process in found) / 1e6:.1f}",
                f"{one['total'] / last['total']:.2f}",
                f"{undisturbed:.2f}",
                f"{alone / undisturbed:.2f}",
                f"{_apart(one['sigmas'], last['sigmas']):.1e}",
            ])  # fmt: skip
    return table([*head, "levels"], lines)


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest relative difference between positive levels."""
    return max(abs(b / a - 1.0) for a, b in zip(one[:-1], other[:-1], strict=True))


def _on_paper(case: dict[str, Any]) -> list[str]:
    """Return what 8 devices and a farm of hosts would take, by the figures of a case."""
    one, two = slowest(case["processes"]["1"]), case["processes"]["2"]
    serial = one["serial"]
    # The one that waits less has waited too, so this is rather too much for the exchange itself.
    exchanging = min(process["exchanging"] for process in two)
    fine = one["reference_steps"]
    coarse = -(-fine // max(1, fine // STEPS))
    least = fine + coarse + PROFILE_LEVELS + fine + FEWEST * STEPS
    elements = math.prod(LATENT)
    noise = bytes_a_noise(elements, fine, coarse)
    ends = 4 * min(elements, COMPARED) * 10
    head = ["ranks", *(f"{batch} noises in a batch" for batch in BATCHES)]

    def gains(ranks: int) -> list[str]:
        return [_gain(one["rows"], batch, ranks, serial, exchanging) for batch in BATCHES]

    lines = [[str(ranks), *gains(ranks)] for ranks in ON_PAPER]
    share = serial / (serial + one["rows"] * SLOW)
    return [
        f"**8 GPUs in one machine.** A guided row is taken to be {SLOW:g} s, as of a large "
        f"model, so that {one['rows']} rows on one of them are {one['rows'] * SLOW:.0f} s. What "
        f"every rank computes alike, above all refining schedules on the surrogate, took "
        f"{serial:.1f} s of the processor: {100 * share:.1f} % of the whole. Exchanges took "
        f"{exchanging:.1f} s on two ranks, most of it waiting for the other. With both, "
        "T(W) = S + C + N t ceil(B/W) / B gives times as fast, and seconds:",
        table(head, lines),
        "A batch of 8 noises has one row for each of 8 ranks; with more ranks than noises the "
        "plan takes larger batches, so fewer of them: 4 noises, which one process takes here, "
        "become 8. Every schedule that is run costs a row on each rank then, so that more ranks "
        "try fewer schedules with the same budget; and the smallest comparison takes "
        f"{least} calls a noise, so that {BUDGET} are enough for {BUDGET // least} ranks at the "
        "most. That is the limit: many more devices need a larger budget. Batches that the ranks "
        "do not divide leave some of them idle, as 5 noises do: choose a batch size that they "
        "divide. And t is taken to be the same for a row alone: a device that computes four rows "
        "in little more time than one gains less than this from having one.",
        f"For each noise of a reference a rank gives its end point and what its runs visited: "
        f"{noise / 1e6:.2f} MB on a latent of {'x'.join(map(str, LATENT))}. So from a batch of 8 "
        f"every rank receives {7 * noise / 1e6:.1f} MB; of the profile 8 kB a sample and 32 "
        "levels, of a run in the comparison 8 bytes a noise, of a stochastic solver judged by its "
        f"distribution {ends / 1e6:.1f} MB a noise. Against seconds that a batch takes this is "
        "nothing, within a machine or between two.",
        "**A farm of hosts.** Nothing has to pass between hosts while they work. Each measures a "
        "profile on samples and noise of its own (`measure_profile` with another seed) and keeps "
        "it as a file (`Profile.to_tensors`); profiles add (`Profile.__add__`), with the samples "
        "of all of them, and `optimize(known=Known(profile=...))` takes the sum and spends no call "
        "on its own. That scales as the number of hosts, but divides only the profile's 8 % of a "
        "budget; it is for profiles of many more samples than one budget pays for. Whole "
        "optimisations, of other models, prompts, solvers or step counts, are independent of one "
        "another, so a farm "
        "of H hosts makes H of them in the time of one, and their results are files too. One "
        "schedule sooner is what ranks are for; hosts of different kinds should not be ranks of "
        "one optimisation, because all ranks must come to the same numbers to the last bit.",
    ]


def _gain(rows: int, batch: int, ranks: int, serial: float, exchanging: float) -> str:
    one = expected(rows, batch, 1, SLOW, serial)
    several = expected(rows, batch, ranks, SLOW, serial + (exchanging if ranks > 1 else 0.0))
    return f"{one / several:.2f} ({several:.0f} s)"


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--case", type=int, help="be a process of this case, under torchrun")
    options = parser.parse_args(arguments)
    if options.case is not None:
        return work(options.case, options.budget, options.output)
    cases = []
    for number, case in enumerate(CASES):
        found = {str(n): launched(number, n, options.budget) for n in PROCESSES}
        cases.append({"name": case.name, "processes": found})
        seconds = [f"{slowest(processes)['total']:.1f} s" for processes in found.values()]
        print(f"{case.name}: {' and '.join(seconds)}", flush=True)
    measurement = {
        "machine": machine(),
        "command": f"python -m align_your_steps.benchmarks.scaling --budget {options.budget}",
        "budget": options.budget,
        "load": os.getloadavg()[2],
        "cases": cases,
    }
    keep(options.output, "scaling", measurement, report(measurement))


if __name__ == "__main__":
    main()
