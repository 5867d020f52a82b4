"""`make import-time`: how long a ComfyUI takes to import the pack, beside an empty pack.

Real hosts are started one after the other, in turn with this pack and with one that has nothing in
it. A third pack, loaded before them, takes the time of the host's own `load_custom_node`: import,
entry point and schemas, when torch and the host's modules are already there. As on a user's machine
Python may keep its bytecode: each host is started once beforehand, and not counted.

The clock counts what other programs take meanwhile; the processor time of the process hardly does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..tests.host.get_host import find_host
from ..tests.host.server import EMPTY_PACK, IMPORT_METER, OUR_PACK, ComfyServer
from .record import RESULTS, keep, machine, table

__all__ = ["GOAL", "main", "over_empty", "report"]

GOAL = 50.0  # ms over the empty pack
STARTS = 7
PACKS = {"this pack": OUR_PACK, "empty pack": EMPTY_PACK}
CLOCKS = {"seconds": "clock", "busy": "processor"}

Times = Mapping[str, Sequence[Mapping[str, float]]]


def measured(folder: Path, starts: int) -> tuple[dict[str, list[dict[str, float]]], str]:
    """Seconds of every counted start by pack, and the version of the host."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    servers = {
        name: ComfyServer(find_host(), folder / name, packs=(IMPORT_METER, pack))
        for name, pack in PACKS.items()
    }
    version = ""
    for start in range(starts + 1):
        for name, server in servers.items():
            with server:
                version = server.get("/system_stats")["system"]["comfyui_version"]
            print(f"start {start} of {starts}, {name}", flush=True)
    times = {}
    for name, server in servers.items():
        lines = [json.loads(line) for line in server.output("imports.jsonl").open()]
        if not all(line["loaded"] for line in lines):
            raise RuntimeError(f"The host could not load {name}: see its log in {server.base}.")
        times[name] = [{clock: line[clock] for clock in CLOCKS} for line in lines[1:]]
    return times, version


def over_empty(times: Times, clock: str) -> float:
    """Milliseconds between the medians of this pack and of the empty one."""
    ours, empty = (statistics.median(start[clock] for start in times[name]) for name in PACKS)
    return 1e3 * (ours - empty)


def report(measurement: Mapping[str, Any]) -> str:
    """The measurement in Markdown."""
    times, where = measurement["times"], measurement["machine"]
    rows = []
    for name, starts in times.items():
        for clock, title in CLOCKS.items():
            spent = sorted(1e3 * start[clock] for start in starts)
            cells = (statistics.median(spent), spent[0], spent[-1])
            rows.append([f"{name}, {title}", *(f"{cell:.1f}" for cell in cells)])
    over = {title: over_empty(times, clock) for clock, title in CLOCKS.items()}
    return "\n\n".join([
        "# Import time of the pack",
        f"`{measurement['command']}`, commit {where['commit'][:12]}, {where['cores']} cores "
        f"({where['processor']}), Python {where['python']}, torch {where['torch']}, ComfyUI "
        f"{measurement['host']}; {len(times['this pack'])} starts of each, in turn; mean load of "
        f"the machine's last 5 minutes {measurement['load']:.1f}.",
        f"Over the empty pack: **{over['processor']:.0f} ms** of the processor, "
        f"{over['clock']:.0f} ms on the clock (goal: at most {GOAL:g} ms).",
        table(["ms that the host takes to load", "median", "least", "most"], rows),
    ]) + "\n"  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=STARTS, help="counted starts of each pack")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        times, version = measured(Path(folder), options.starts)
    measurement = {
        "machine": machine(),
        "command": f"python -m align_your_steps.benchmarks.import_time --starts {options.starts}",
        "host": version,
        "load": os.getloadavg()[1],
        "times": times,
    }
    keep(options.output, "import_time", measurement, report(measurement))


if __name__ == "__main__":
    main()
