"""A script for the host's process: draw while matplotlib is set up, missing or broken in any way.

It prints JSON, case -> `plot`, `errors`, `names`: the shapes of the pictures, None for none;
`said`, the log; `backend`, what MPLBACKEND is afterwards, and `set`, what matplotlib was told.
Each case is drawn in a process of its own, which begins before matplotlib is imported.
"""

from __future__ import annotations

import comfy.cli_args

comfy.cli_args.args.cpu = True

# ruff: noqa: E402
import importlib.abc
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from align_your_steps.nodes import pictures as plot

LEVELS = torch.tensor([14.6, 3.0, 1.0, 0.0])


class Broken(importlib.abc.MetaPathFinder):
    """An installation of matplotlib whose import raises an error."""

    def __init__(self, error: Exception, module: str = "matplotlib"):
        self.error, self.module = error, module

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """No module but one is broken."""
        if name == self.module:
            raise self.error


def broken(error: Exception, module: str = "matplotlib") -> Callable[[], None]:
    """Break a module of matplotlib."""
    return lambda: sys.meta_path.insert(0, Broken(error, module))


def another_pack_failed() -> None:
    """Another pack has tried to import it, with the backend that is not installed."""
    with suppress(ValueError):
        import matplotlib.pyplot  # noqa: F401


def another_pack_has_chosen() -> None:
    """Another pack has set the backend of a notebook."""
    import matplotlib

    matplotlib.rcParams["backend"] = "module://not_installed.backend"


def no_canvas() -> None:
    """Drawing fails when everything is there."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def draw(self: Any) -> None:
        raise MemoryError("no room for a picture")

    FigureCanvasAgg.draw = draw


def no_fonts() -> None:
    """Its fonts are gone."""
    from matplotlib import font_manager

    def findfont(*_: Any, **__: Any) -> str:
        raise ValueError("Failed to find font")

    font_manager.findfont = findfont


INLINE = "module://matplotlib_inline.backend_inline"
# name: (MPLBACKEND, what happens before)
CASES: dict[str, tuple[str | None, Callable[[], None] | None]] = {
    "nothing": (None, None),
    "empty": ("", None),
    "Colab": (INLINE, None),
    "Kaggle": ("module://ipykernel.pylab.backend_inline", None),
    "Jupyter": ("inline", None),
    "a widget": ("module://ipympl.backend_nbagg", None),
    "an editor": ("module://backend_interagg", None),
    "no backend at all": ("nonsense", None),
    "not installed": ("qtagg", None),
    "a window": ("TkAgg", None),
    "as we draw": ("agg", None),
    "another pack failed": (INLINE, another_pack_failed),
    "another pack has chosen": (None, another_pack_has_chosen),
    "missing": (
        None,
        broken(ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")),
    ),
    "of another numpy": (None, broken(ImportError("numpy.core.multiarray failed to import"))),
    "of another numpy 2": (None, broken(AttributeError("_ARRAY_API not found"))),
    "no folder": (None, broken(OSError("Matplotlib requires access to a writable cache"))),
    "half of it": (None, broken(ImportError("DLL load failed"), "matplotlib.ft2font")),
    "a broken setting": (INLINE, broken(ValueError("Key backend: not valid"))),
    "no canvas": (None, no_canvas),
    "no fonts": (None, no_fonts),
}


def drawn(backend: str | None, prepare: Callable[[], None] | None) -> dict[str, Any]:
    """Return what comes of drawing."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("align_your_steps").addHandler(handler)
    os.environ.pop("MPLBACKEND", None)
    if backend is not None:
        os.environ["MPLBACKEND"] = backend
    if prepare is not None:
        prepare()
    images = {"one": torch.full((8, 8, 3), 0.5), "two": torch.zeros(8, 8, 3)}
    pictures = {
        "plot": plot.plot_schedules({"one": LEVELS}),
        "errors": plot.plot_errors({"one": LEVELS}, {"one": (0.5, 0.1)}),
        "names": plot.picture_row(images),
    }
    loaded = sys.modules.get("matplotlib")
    return {
        **{name: None if image is None else list(image.shape) for name, image in pictures.items()},
        "said": said,
        "backend": os.environ.get("MPLBACKEND"),
        "set": None if loaded is None else dict.__getitem__(loaded.rcParams, "backend"),
    }


def apart(*case: Any) -> Any:
    """Return what `drawn` finds in another process."""
    with tempfile.TemporaryFile("w+") as file:
        child = os.fork()
        if child == 0:
            try:
                json.dump(drawn(*case), file, default=str)
                file.flush()
            except BaseException as error:
                json.dump(f"{type(error).__name__}: {error}", file)
                file.flush()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        file.seek(0)
        return json.load(file)


assert "matplotlib" not in sys.modules, "drawing begins with the import"
print(json.dumps({name: apart(*case) for name, case in CASES.items()}))
