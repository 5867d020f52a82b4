"""Start a script of a host: `python launch.py HOST_FOLDER SCRIPT [ARGUMENT…]`.

SCRIPT is the host's `main.py`, or any file that wants to import the host's modules. A CPU build of
torch cannot load the compiled libraries of the usual torchvision and torchaudio packages, and the
host imports both. Nothing in the tests calls into these libraries, so it is enough to let the two
packages be imported without them. Where the libraries load, nothing is changed.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class AfterImport(MetaPathFinder):
    """Call `action(module)` as soon as the module called `name` has been imported."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self.name = name
        self.action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as usual and append the action to its execution."""
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self.action(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def declare_missing_operators(extension: ModuleType) -> None:
    """Declare the operators that torchvision describes at import, if its library did not load."""
    import torch

    if not extension._has_ops():
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", signature)


def tolerate_unloadable_library(utils: ModuleType) -> None:
    """Make torchaudio treat a library that cannot be loaded like one that is not there."""
    load = getattr(utils, "_load_lib", None)
    if load is None:
        return

    def load_or_leave(library: str) -> bool:
        try:
            return bool(load(library))
        except OSError:
            return False

    utils._load_lib = load_or_leave  # type: ignore[attr-defined]


def main() -> None:
    """Run the script as `__main__`, with the host's folder first on the module path."""
    host, script, *arguments = sys.argv[1:]
    sys.meta_path.insert(0, AfterImport("torchvision.extension", declare_missing_operators))
    sys.meta_path.insert(0, AfterImport("torchaudio._extension.utils", tolerate_unloadable_library))
    sys.path[0] = host  # in place of this file's folder
    script = os.path.join(host, script)
    sys.argv = [script, *arguments]
    os.chdir(host)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
