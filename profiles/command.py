"""The command that merges profiles, for machines without ComfyUI."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..schedules import SavedSchedule, printable, reason, visible
from ..schedules.store import (
    LONGEST_NAME,
    SAFETENSORS,
    atomic_write,
    one_line,
    read_saved,
    to_bytes,
)
from .measured_profile import MeasuredProfile
from .merge import account, as_result, merge

__all__ = ["main"]

DESCRIPTION = """\
Merge the profiles of results that Optimize AYS saved on several machines, with the same model,
prompts, cfg and latent but another seed on each. Needs torch, numpy, scipy and safetensors, as
ComfyUI does, but no ComfyUI.
"""
EPILOG = """\
To use the merged file, drop it on the panel "AYS schedules" of ComfyUI, or put it into a folder of
schedules (schedules/optimized of the pack, or ays_schedules in ComfyUI's user folder). Then write
its name into the node Merge AYS Profiles, and link that node's profile to Optimize AYS.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 if the merged file was written.

    What cannot be merged ends it with code 2 and one sentence, as wrong arguments do.
    """
    parser = argparse.ArgumentParser(
        prog=_program(),
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a saved result (.safetensors)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the file to write"
    )
    parser.add_argument("--name", help="the name that it shows in ComfyUI; else the file's")
    parser.add_argument(
        "--same-prompts",
        action="store_true",
        help="the prompts are the same, though a text encoder has rounded them differently on "
        "other hardware",
    )
    given = parser.parse_args(arguments)
    try:
        said = _merged(given.files, given.output, given.name, given.same_prompts)
    except (ValueError, OSError) as error:
        _refuse(parser, error)
    print(printable(said, sys.stdout.encoding))
    return 0


def _merged(files: Sequence[Path], output: Path, name: str | None, same_prompts: bool) -> str:
    """Merge files into another; return what there is to say."""
    to = f"'{visible(str(output))}'"
    if output.suffix.lower() != SAFETENSORS:
        raise ValueError(f"The output {to} would not be listed: end its name in {SAFETENSORS}.")
    if os.path.lexists(output):
        raise ValueError(f"The output {to} is there already: give another name, or delete it.")
    if not output.parent.is_dir():
        raise ValueError(f"The folder of the output {to} does not exist: make it first.")
    name = (one_line(name or output.stem))[:LONGEST_NAME].strip() or "merged profile"
    results = [_read(path) for path in files]
    shown = [visible(str(path)) for path in files]
    parts = [MeasuredProfile.of(saved, file) for saved, file in zip(results, shown, strict=True)]
    merged = merge(parts, name, same_prompts=same_prompts)
    report = account(merged)
    atomic_write.put(output, to_bytes(as_result(merged, results, name, report)))
    return f"{report}\nWritten as '{name}' to {to}."


def _read(path: Path) -> SavedSchedule:
    """A result. Raises ValueError, in a sentence, for what is none."""
    try:
        return read_saved(path, with_tensors=True)
    except Exception as error:  # a hostile file fails in ways that cannot be listed
        raise ValueError(f"'{visible(str(path))}' cannot be merged: {reason(error)}.") from error


def _refuse(parser: argparse.ArgumentParser, error: Exception) -> NoReturn:
    said = f"cannot write: {reason(error)}." if isinstance(error, OSError) else str(error)
    parser.exit(2, f"{parser.prog}: {said}\n")


def _program() -> str:
    """Name of the command as it was started, for the lines that explain it."""
    return Path(sys.argv[0]).name or "merge_profiles.py"
