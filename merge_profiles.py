"""Merge the profiles of results that several machines saved; ComfyUI need not be installed.

    python ComfyUI/custom_nodes/align-your-steps/merge_profiles.py A.safetensors B.safetensors \\
        -o merged.safetensors

The pack's folder may have any name and lie anywhere.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKAGE = "align_your_steps"


def _load_pack() -> None:
    """Make the folder around this file a package, as ComfyUI does: its name may be no word."""
    # Python looks for modules beside a script first, and would take our folders for others'.
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != FOLDER]
    if PACKAGE in sys.modules:
        return
    place = str(FOLDER / "__init__.py")
    spec = importlib.util.spec_from_file_location(
        PACKAGE, place, submodule_search_locations=[str(FOLDER)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    _load_pack()
    sys.exit(importlib.import_module(f"{PACKAGE}.profiles.command").main())
