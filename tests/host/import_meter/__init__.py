"""A pack that is loaded first and notes what the host spends on loading every pack after it.

One JSON object a line in the file imports.jsonl of the output folder: the `pack`, the time that the
host's own function takes, in `seconds` on the clock and in seconds of the processor (`busy`), and
the `modules` that were imported meanwhile.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import folder_paths

import nodes

NODE_CLASS_MAPPINGS: dict[str, Any] = {}
load = nodes.load_custom_node


async def measured(path: str, *arguments: Any, **options: Any) -> bool:
    """`load_custom_node`, with a stopwatch."""
    before = set(sys.modules)
    began, busy = time.perf_counter(), time.process_time()
    loaded: bool = await load(path, *arguments, **options)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    modules = sorted(set(sys.modules) - before)
    spent = {"seconds": seconds, "busy": busy}
    line = {"pack": Path(path).name, "loaded": loaded, **spent, "modules": modules}
    with open(Path(folder_paths.get_output_directory()) / "imports.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    return loaded


nodes.load_custom_node = measured
