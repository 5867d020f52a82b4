"""`make gpu`: an optimisation's speed and memory on a GPU, on networks of SD 1.5's and SDXL's size.

A call of a latent, a *row*, is guided: two rows of the network. Both networks are in bf16 and have
random weights, which takes as long as with those that a model has learnt. In a real ComfyUI an
*Optimize AYS* prompt makes N rows in a time of T; t is the time of a row in bare calls on as many
latents at a time, measured before and after. Then

    rows a second inside = N / T        bare = 1 / t        inside over bare = N t / T

t is from the difference of two KSampler prompts over the difference of their rows, so what a prompt
costs once is not in it; T has all of its prompt. Peak memory is torch's count on the GPU, in
tensors and reserved for them, weights included, from prompt to prompt: of a plain run (KSampler, as
many steps) on one latent and on as many as the optimisation calls at a time, and of the
optimisation.

Without a ComfyUI, or with `--bare`, the optimiser runs on plain torch networks: N / T is that of
`optimize` and of the levels for other numbers of steps, bare calls are calls one after the other,
and a plain run is the built-in solver's. That needs torch, numpy and safetensors, and no
installation. On a machine with nothing but these, in this repository's folder, of whatever name:

    mkdir -p /tmp/pack && ln -sfn "$PWD" /tmp/pack/align_your_steps
    PYTHONPATH=/tmp/pack python3 -m align_your_steps.benchmarks.gpu --bare

At the default budget SD 1.5 makes 6 and SDXL 54 PFLOP (1.6 and 13.5 TFLOP a row): four minutes
for both at 300 TFLOP/s. `--budget` makes them fewer, and `--cases` takes one of the two.

Without a GPU nothing is measured and nothing written, and the exit status is 2. A rehearsal
(`--tiny`, with `--device cpu` on a machine without a GPU) runs the same code on tiny networks; its
figures say nothing of a GPU's, and are only printed unless `--output` names a folder.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..tests.host.get_host import NoHostError, find_host
from .gpu_cases import CASES, CFG, SAMPLER, STEPS, TINY, Case, Stand, Taken
from .record import RESULTS, keep, machine, table

__all__ = ["BUDGET", "figures", "main", "measured", "report"]

BUDGET = 4000  # the node's default
GIB = 2**30
NO_GPU = (
    "Nothing was measured: torch {torch} finds no CUDA device here, and GPU figures need one and a "
    "build of torch for it."
)


# -- measuring ------------------------------------------------------------------------------


def measured(case: Case, stand: Stand) -> dict[str, Any]:
    """Run a case: the optimisation between bare calls, and plain runs around them."""

    def told(what: str, taken: Taken) -> Taken:
        print(f"{case.name}, {what}: {taken.rows} rows in {taken.seconds:.1f} s", flush=True)
        return taken

    told("first run", stand.plain(1))  # loads the weights and warms up
    rows = stand.rows_a_call()
    plain = told("plain run", stand.plain(1))
    before = told("bare calls", stand.bare(rows))
    optimised = told("optimisation", stand.optimise())
    bare = [before, told("bare calls", stand.bare(rows))]
    as_many = told("plain run of as many", stand.plain(rows))
    return {
        "name": case.name,
        "rows_a_call": rows,
        "plain": asdict(plain),
        "plain_as_many": asdict(as_many),
        "optimised": asdict(optimised),
        "bare": [asdict(one) for one in bare],
        **figures(optimised, bare),
    }


def figures(optimised: Taken, bare: list[Taken]) -> dict[str, float]:
    """Rows a second in bare calls and inside the optimisation, and the second over the first.

    >>> figures(Taken(10, 40, 5.0), [Taken(20, 80, 7.0), Taken(20, 80, 9.0)])
    {'bare_rate': 10.0, 'inside_rate': 8.0, 'inside_over_bare': 0.8}
    """
    bare_rate = sum(one.rows for one in bare) / sum(one.seconds for one in bare)
    rate = optimised.rows / optimised.seconds
    return {"bare_rate": bare_rate, "inside_rate": rate, "inside_over_bare": rate / bare_rate}


# -- report ---------------------------------------------------------------------------------


def report(measurement: dict[str, Any]) -> str:
    """The measurement as Markdown; of a rehearsal under another title, and without memory."""
    here, host = measurement["machine"], measurement["host"]
    changed = " with uncommitted changes" if here["changed"] else ""
    device = measurement["device"] or f"no GPU, {here['cores']} cores ({here['processor']})"
    where = f"ComfyUI {host}" if host else "without ComfyUI"
    title = "An optimisation on a GPU"
    if measurement["rehearsal"]:
        title = "A rehearsal with tiny networks: no figures of a GPU"
    bare = "Bare: the difference of two KSampler prompts over the difference of their rows."
    if not host:
        bare = "Bare: calls of the denoiser one after the other."
    cases = measurement["cases"]
    parts = [
        f"# {title}",
        f"`{measurement['command']}`, commit {here['commit'][:12]}{changed}, {device}, torch "
        f"{here['torch']}, {where}. Random weights, {measurement['dtype']}; {STEPS} steps of "
        f"{SAMPLER}, cfg {CFG:g}, budget {measurement['budget']}.",
        "## Speed",
        f"A row is a guided call of one latent, two rows of the network. {bare} Time: of the "
        "whole optimisation.",
        _speed_table(cases),
    ]
    if measurement["device"]:
        parts += [
            "## Memory",
            "GiB at the peak, weights included: in tensors (reserved for them). A plain run makes "
            f"the same {STEPS} steps on one latent, or on as many as the optimisation calls at a "
            "time. More: of tensors.",
            _memory_table(cases),
        ]
    return "\n\n".join(parts) + "\n"


def _speed_table(cases: list[dict[str, Any]]) -> str:
    head = ["network, latent", "latents a call", "bare rows/s, before / after", "inside, rows/s"]
    head += ["inside over bare", "rows", "time, s"]
    rows = []
    for case in cases:
        before, after = (one["rows"] / one["seconds"] for one in case["bare"])
        run = case["optimised"]
        rows.append([
            case["name"],
            str(case["rows_a_call"]),
            f"{before:.2f} / {after:.2f}",
            f"{case['inside_rate']:.2f}",
            f"{case['inside_over_bare']:.3f}",
            str(run["rows"]),
            f"{run['seconds']:.1f}",
        ])  # fmt: skip
    return table(head, rows)


def _memory_table(cases: list[dict[str, Any]]) -> str:
    head = ["network, latent", "plain, 1 latent", "plain, as many", "optimisation"]
    head += ["more than 1 latent's", "more than as many's"]
    rows = []
    for case in cases:
        runs = [case[name] for name in ("plain", "plain_as_many", "optimised")]
        one, many, optimised = (run["allocated"] / GIB for run in runs)
        peaks = [f"{run['allocated'] / GIB:.2f} ({run['reserved'] / GIB:.2f})" for run in runs]
        more = [f"{optimised - one:+.2f}", f"{optimised - many:+.2f}"]
        rows.append([case["name"], *peaks, *more])
    return table(head, rows)


# -- places ---------------------------------------------------------------------------------

Place = Callable[[Case, int], Stand]  # (case, budget)


@contextmanager
def in_host(host: Path, options: argparse.Namespace) -> Iterator[tuple[Place, dict[str, Any]]]:
    """A server of the host, and what is to be reported of it."""
    from ..tests.host.server import ComfyServer
    from .gpu_host import BF16, Host, device_of

    arguments = [BF16, "--cpu"] if options.device == "cpu" else [BF16]
    with (
        tempfile.TemporaryDirectory() as folder,
        ComfyServer(host, Path(folder), arguments=arguments) as server,
    ):
        about = {
            "host": server.get("/system_stats")["system"]["comfyui_version"],
            "device": device_of(server),
        }

        def place(case: Case, budget: int) -> Stand:
            stand = Host(case, server, budget, poll=0.1 if options.tiny else 1.0)
            about["dtype"] = stand.dtype
            return stand

        yield place, about


@contextmanager
def without_host(options: argparse.Namespace) -> Iterator[tuple[Place, dict[str, Any]]]:
    """This process, and what is to be reported of it."""
    from .gpu_bare import Bare, do_without_scipy

    do_without_scipy()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else None
    about = {"host": None, "device": name, "dtype": "bfloat16"}
    yield lambda case, budget: Bare(case, device, budget), about


def place_of(options: argparse.Namespace) -> Any:
    """A ComfyUI if there is one, else this process; a context manager."""
    if options.bare:
        return without_host(options)
    try:
        return in_host(find_host(), options)
    except NoHostError as error:
        print(f"{error} Until then: without ComfyUI.", flush=True)
        return without_host(options)


def main(arguments: list[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bare", action="store_true", help="without ComfyUI")
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on tiny networks")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and not options.tiny:
        parser.error("networks of full size take hours on a CPU: add --tiny for a rehearsal")
    if options.device == "cuda" and not torch.cuda.is_available():
        print(NO_GPU.format(torch=torch.__version__), file=sys.stderr)
        sys.exit(2)
    given = sys.argv[1:] if arguments is None else arguments
    measurement = {
        "machine": machine(),
        "command": " ".join(["python -m align_your_steps.benchmarks.gpu", *given]),
        "rehearsal": options.tiny,
        "budget": options.budget,
        "cases": [],
    }
    output = options.output or (None if options.tiny else RESULTS)
    with place_of(options) as (place, about):
        for name in options.cases:
            case = (TINY if options.tiny else CASES)[name]
            found = measured(case, place(case, options.budget))
            gc.collect()  # of this network, before the next is made
            print(f"{case.name}: {found['inside_over_bare']:.3f} of the bare speed", flush=True)
            measurement["cases"].append(found)
            measurement |= about
            if output is not None:  # after every case: what is measured is not lost
                keep(output, _file(measurement), measurement, report(measurement))
    if output is None:
        print(f"\n{report(measurement)}")


def _file(measurement: dict[str, Any]) -> str:
    """The name of the results' files: a rehearsal's is not that of figures."""
    if measurement["rehearsal"]:
        return "gpu_rehearsal"
    return "gpu" if measurement["host"] else "gpu_bare"


if __name__ == "__main__":
    main()
