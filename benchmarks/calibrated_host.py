"""`… -m align_your_steps.benchmarks.calibrated_host`: the sampler `ays_model` in a real ComfyUI.

For every kind of model, *Optimize AYS* with BUDGET calls, then KSampler with `ays_model` twice on
fresh seeds, beside all of the host's deterministic samplers of one call a step with all schedules
that a user has. What is told is its error over that of the best of these pairs in hindsight, and
the time of a run over that of one with dpmpp_2m. The host's process runs tests/host/host_gain.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..tests.host.get_host import find_host
from .record import RESULTS, keep, machine, table

__all__ = ["geometric_mean", "main", "report"]

SCRIPT = Path(__file__).resolve().parents[1] / "tests" / "host" / "host_gain.py"
TARGET = 0.65
MEANS = {"mean": "mean over seeds", "typical": "geometric mean over seeds"}


def geometric_mean(values: list[float]) -> float:
    """Of positive numbers.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def report(measurement: dict[str, Any]) -> str:
    """The measurement as Markdown."""
    here, cells = measurement["machine"], measurement["cells"]
    changed = " with uncommitted changes" if here["changed"] else ""
    groups = sorted({(cell["negative"], cell["steps"]) for cell in cells}, reverse=True)
    overall = []
    for negative, steps in groups:
        own = [cell for cell in cells if (cell["negative"], cell["steps"]) == (negative, steps)]
        row = [negative, str(steps), str(len(own))]
        for kind in MEANS:
            ratios = [cell["ours"][kind] / cell["best"][kind] for cell in own]
            row.append(f"{geometric_mean(ratios):.3f} ({max(ratios):.2f})")
        row.append(f"{sum(cell['nearer'] for cell in own) / len(own):.0%}")
        overall.append(row)
    rows = [
        [
            cell["kind"],
            str(cell["seed"]),
            cell["negative"],
            str(cell["steps"]),
            cell["pair"],
            *(f"{cell['ours'][kind] / cell['best'][kind]:.3f}" for kind in MEANS),
            f"{cell['nearer']:.0%}",
            str(cell["calls"]),
        ]
        for cell in cells
    ]
    cost = measurement["cost"]
    head = ["negative", "steps"]
    columns = ["model", "seed", *head, "best pair", *MEANS.values(), "seeds nearer", "calls"]
    return "\n\n".join([
        "# The sampler `ays_model` in ComfyUI",
        f"`{measurement['command']}`, commit {here['commit'][:12]}{changed}, {here['cores']} cores "
        f"({here['processor']}), 1 thread, torch {here['torch']}. Exact mixtures, "
        f"cfg {measurement['cfg']:g}, {measurement['noises']} fresh seeds, {measurement['budget']} "
        f"calls to optimise. Target over the best pair in hindsight: {TARGET} with no class as "
        "negative.",
        "Error over that of the best pair in hindsight (worst cell), and the share of seeds that "
        "are nearer than with it:",
        table([*head, "models", *MEANS.values(), "seeds nearer"], overall),
        f"A run of {cost['steps']} steps makes {cost['calls'][0]} model calls, and with dpmpp_2m "
        f"{cost['calls'][1]}; it takes {cost['time']:.3f} of the time (least of {cost['runs']} "
        "each, in turns).",
        table(columns, rows),
    ]) + "\n"  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    launch = SCRIPT.with_name("launch.py")
    command = [sys.executable, str(launch), str(find_host()), str(SCRIPT), str(options.budget)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True
    )
    measurement = {
        "machine": machine(),
        "command": "python -m align_your_steps.benchmarks.calibrated_host "
        f"--budget {options.budget}",
        **json.loads(done.stdout.splitlines()[-1]),
    }
    keep(options.output, "calibrated_host", measurement, report(measurement))


if __name__ == "__main__":
    main()
