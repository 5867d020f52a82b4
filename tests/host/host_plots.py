"""A script for the host's process: draw the cases of plots, and look at every text in them.

It prints JSON:

    plots     case -> `shape` of the image; `texts`, and those that are `outside`; `overlaps`, pairs
              of texts or of a text and the axes that touch; `misjudged`, texts that are not as wide
              as the layout assumes; `smallest` size of a text in pixels at the width of a node;
              `spoken`, what matplotlib warned of or logged
    preview   case -> `size`, `bytes` as the host sends it, `blue`, pixels of the best curve
    pictures  case -> `shape`, and `kept`, whether every image's pixels are there unchanged
    texts     what names become in room for 20 points
    styles    of twelve curves, and the page's colour
    linked    what becomes of linked SIGMAS: name -> the error, or the levels
    sent      what the page receives for a text with angle brackets
    doctests  how many examples of the nodes' modules were tried, and how many failed
"""

from __future__ import annotations

import comfy.cli_args

comfy.cli_args.args.cpu = True

# ruff: noqa: E402
import doctest
import importlib
import io
import itertools
import json
import logging
import math
import pkgutil
import sys
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from align_your_steps import nodes
from align_your_steps.nodes import pictures as plot
from align_your_steps.nodes.inputs.sigmas_inputs import linked_sigmas
from align_your_steps.nodes.pictures import panel, sheet
from torch import Tensor

NODE_WIDTH = 300  # pixels on the screen
PREVIEW_QUALITY = 95  # with which the host sends JPEG
NAN = float("nan")


def karras(steps: int, rho: float = 7.0, low: float = 0.03, high: float = 14.6) -> Tensor:
    """Levels of Karras et al., for examples."""
    ends = high ** (1 / rho), low ** (1 / rho)
    return torch.cat([torch.linspace(*ends, steps).double() ** rho, torch.zeros(1)])


def flow(steps: int, shift: float) -> Tensor:
    """Levels of a flow model."""
    times = torch.linspace(1.0, 0.0, steps + 1).double()
    return shift * times / (1.0 + (shift - 1.0) * times)


HOST_NAMES = ("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal")
HOST_NAMES += ("linear_quadratic", "kl_optimal", "AYS SD1.5", "AYS SDXL", "auto")
LONG = "juggernautXL_v9-RunDiffusion, dpmpp_2m_sde_gpu, steps"
STRANGE = ("我的采样计划 好看的图片", "日本語のとても長い名前がここにあります、とても長い")
STRANGE += ("😀👍🏽 $x_1^2$", "_x $", "two\nlines \\frac{", "_x $ ")
MUTED = {f"curve {rho}": karras(10, rho) for rho in range(1, 6)} | {"AYS SDXL": karras(10, 6)}
SCHEDULES: dict[str, tuple[dict[str, Tensor], dict[str, Tensor]]] = {
    **{
        f"{count} curves": ({name: karras(8 + i, 1 + i) for i, name in enumerate(names)}, {})
        for count in (1, 2, 3, 5, 8, 12)
        for names in [HOST_NAMES[:count]]
    },
    "beside the host's": ({"dpmpp_2m, 10 steps, cfg 7": karras(10)}, MUTED),
    "one long name": ({LONG: karras(10)}, MUTED),
    "twelve long names": ({f"{LONG} {i}": karras(10 + i) for i in range(12)}, MUTED),
    "strange names": ({name: karras(10 + i) for i, name in enumerate(STRANGE)}, {}),
    "flow": ({"shift 3": flow(20, 3.0), "shift 1": flow(8, 1.0)}, {}),
    "part of a flow": ({"refiner": flow(20, 3.0)[12:]}, {}),
    "1 step": ({"one": torch.tensor([14.6, 0.0])}, {}),
    "1 step of a flow": ({"one": torch.tensor([1.0, 0.0])}, {}),
    "1 level": ({"one": torch.tensor([0.5])}, {}),
    "1000 steps": ({"many": karras(1000), "few": karras(5)}, {}),
    "extreme levels": ({"x": torch.tensor([1e6, 1.0, 1e-8, 0.0])}, {}),
    "tiny levels": ({"x": torch.tensor([1e-8, 9e-9])}, {}),
    "tiny steps": ({"x": torch.linspace(14.6, 14.5, 100)}, {}),
    "nearly equal levels": ({"x": torch.tensor([14.6, 14.5999, 14.5998])}, {}),
    "equal levels": ({"x": torch.tensor([3.0, 3.0, 3.0])}, {}),
    "broken levels": ({"x": torch.tensor([9.0, NAN, 3.0, 5.0, 0.0, 0.0, math.inf, 1.0, -1.0])}, {}),
}
FEW = dict(list(SCHEDULES["12 curves"][0].items())[:3])
ERRORS: dict[str, tuple[dict[str, Tensor], dict[str, tuple[float, float]]]] = {
    **{
        f"errors of {kind}": (
            SCHEDULES[kind][0],
            {name: (0.01 * 2**i, 0.001 * i) for i, name in enumerate(SCHEDULES[kind][0])},
        )
        for kind in ("1 curves", "5 curves", "12 curves", "twelve long names", "strange names")
    },
    "diverged": (FEW, dict(zip(FEW, [(NAN, NAN), (0.3, 0.1), (math.inf, 1.0)], strict=True))),
    "all diverged": (FEW, dict.fromkeys(FEW, (math.inf, NAN))),
    "tiny errors": (FEW, {name: (1e-7 * i, 3e-9) for i, name in enumerate(FEW)}),
    "huge errors": (FEW, {name: (1.23456e9, 7e5) for name in FEW}),
}


def drawn(draw: Callable[[], Tensor | None]) -> dict[str, Any]:
    """Return what one picture looks like."""
    pages: list[sheet.Sheet] = []
    spoken: list[str] = []
    image = sheet.Sheet.image

    def remembered(page: sheet.Sheet) -> Tensor:
        pages.append(page)
        return image(page)

    handler = logging.Handler()
    handler.emit = lambda record: spoken.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("matplotlib").addHandler(handler)
    sheet.Sheet.image = remembered  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            picture = draw()
    finally:
        sheet.Sheet.image = image  # type: ignore[method-assign]
        logging.getLogger("matplotlib").removeHandler(handler)
    assert picture is not None
    (page,) = pages
    spoken += [str(warning.message) for warning in warned]
    return {"shape": list(picture.shape), "spoken": spoken, **looked_at(page)}


def looked_at(page: sheet.Sheet) -> dict[str, Any]:
    """Return where the texts of a page are."""
    figure = page.figure
    renderer = page.canvas.get_renderer()
    texts = [*figure.texts]
    for axes in figure.axes:
        # Labels of ticks beyond the limits exist, but are not drawn.
        texts += [tick.label1 for tick in axes.xaxis._update_ticks() + axes.yaxis._update_ticks()]
    texts = [text for text in texts if text.get_visible() and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    inside = [axes.get_window_extent(renderer).padded(-2) for axes in figure.axes]
    beside = [(f"axes {i}", box) for i, box in enumerate(inside)]
    # A remark in the middle of empty axes is meant to be there.
    remarks = {"the step to 0 has no size in log"}
    return {
        "texts": [name for name, _ in boxes],
        "outside": [
            name
            for name, box in boxes
            if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1
        ],
        "overlaps": [
            [a, b]
            for (a, one), (b, other) in itertools.combinations([*boxes, *beside], 2)
            if one.overlaps(other) and not remarks & {a, b}
        ],
        "misjudged": [
            text.get_text()
            for text in figure.texts
            if abs(width_of(text) - text.get_window_extent(renderer).width) > 0.02 * figure.bbox.x1
        ],
        "smallest": min(text.get_fontsize() for text in texts)
        / 72
        * figure.dpi
        * NODE_WIDTH
        / figure.bbox.width,
    }


def width_of(text: Any) -> float:
    """Pixels that the layout has counted with: it takes no name for a formula."""
    return sheet.text_width(text.get_text(), text.get_fontsize()) / 72 * text.figure.dpi


def pictured(images: Mapping[str, Tensor]) -> dict[str, Any]:
    """Images of one colour each: the row of them has all of their pixels, enlarged."""
    found = drawn(lambda: plot.picture_row(images))
    (row,) = plot.picture_row(images)
    kept = [
        int((row == image[0, 0]).all(-1).sum()) / image[..., 0].numel() for image in images.values()
    ]
    return {**found, "kept": kept}


def previewed(sigmas: Tensor) -> dict[str, Any] | None:
    """Return how large the preview of a curve is."""
    image = plot.preview_curve(sigmas, MUTED)
    if image is None:
        return None
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=PREVIEW_QUALITY)
    pixels = np.asarray(image)
    blue = (pixels[..., 2] > 180) & (pixels[..., 0] < 140)
    return {"size": image.size, "bytes": len(file.getvalue()), "blue": int(blue.sum())}


def linked(inputs: Mapping[str, Any]) -> Any:
    """Return what becomes of linked SIGMAS."""
    try:
        found = linked_sigmas(inputs)
    except ValueError as error:
        return str(error)
    return {name: levels.tolist() for name, levels in found.items()}


def linked_table() -> dict[str, Any]:
    """Return what becomes of all kinds of linked SIGMAS."""
    fine = torch.tensor([3.0, 1.0, 0.0])
    given = {
        "fine": fine,
        "half precision": fine.half(),
        "rises": torch.tensor([3.0, 4.0, 0.0]),
        "zeros": torch.tensor([3.0, 0.0, 0.0]),
        "nan": torch.tensor([3.0, NAN, 0.0]),
        "negative": torch.tensor([3.0, -1.0]),
        "stops early": torch.tensor([3.0, 1.0]),
        "no level": torch.tensor([0.0]),
        "empty": torch.tensor([]),
        "two dimensions": torch.ones(2, 2),
        "a number": 3.0,
    }
    return {
        **{name: linked({"sigmas": {"sigmas_2": levels}}) for name, levels in given.items()},
        "older host": linked({"sigmas.sigmas_1": fine, "sigmas.sigmas_3": fine}),
        "nothing": linked({"sigmas": {}}),
        "nothing on an older host": linked({}),
    }


def sent_for(text: str) -> str:
    """Return what the page receives for a text under a node."""
    sent: list[str] = []
    instance = SimpleNamespace(
        client_id="page", send_sync=lambda event, said, client: sent.append(said["text"])
    )
    sys.modules["server"] = SimpleNamespace(PromptServer=SimpleNamespace(instance=instance))
    nodes.host.show_text("1", text)
    del sys.modules["server"]
    return sent[0]


def doctests() -> dict[str, int]:
    """The examples of all modules of the nodes."""
    attempted = failed = 0
    for info in pkgutil.walk_packages(nodes.__path__, f"{nodes.__name__}."):
        result = doctest.testmod(importlib.import_module(info.name))
        attempted, failed = attempted + result.attempted, failed + result.failed
    return {"attempted": attempted, "failed": failed}


def colours(height: int, width: int, count: int) -> dict[str, Tensor]:
    """Images of one colour each."""
    return {f"{LONG} {i}": torch.full((height, width, 3), 0.3 + i / 32) for i in range(count)}


print(
    json.dumps(
        {
            "plots": {
                **{
                    name: drawn(lambda case=case: plot.plot_schedules(*case))
                    for name, case in SCHEDULES.items()
                },
                **{
                    name: drawn(lambda case=case: plot.plot_errors(*case))
                    for name, case in ERRORS.items()
                },
            },
            "preview": {
                "diffusion": previewed(karras(10)),
                "1000 steps": previewed(karras(1000)),
                "flow": previewed(flow(20, 3.0)),
                "broken": previewed(SCHEDULES["broken levels"][0]["x"]),
                "1 step": previewed(torch.tensor([1.0, 0.0])),
                "no level": previewed(torch.zeros(3)),
            },
            "pictures": {
                "1": pictured(colours(100, 100, 1)),
                "2": pictured(colours(8, 8, 2)),
                "12": pictured(colours(384, 512, 12)),
            },
            "texts": sheet.shortened(["a", LONG, LONG, "Ω" * 100], 80.0),
            "styles": [[one.colour, str(one.dash), one.marker] for one in panel.styles(12)],
            "page": [sheet.BACKGROUND, sheet.TEXT, sheet.FAINT],
            "linked": linked_table(),
            "sent": sent_for("<img src=x onerror=alert(1)> & 1 < 2\n2 > 1"),
            "doctests": doctests(),
        }
    )
)
