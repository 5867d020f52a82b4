"""The preview: an optimised schedule beside the others, on the host's dark background."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch

__all__ = ["picture_row", "plot_errors", "plot_schedules"]

BACKGROUND, TEXT, MUTED, ACCENT = "#1f1f1f", "#e6e6e6", "#7d8590", "#4cc9f0"
PUBLISHED = "#f4a261"
SIZE, DOTS = (3.7, 2.8), 220  # inches, dots an inch: legible at the width of a node

log = logging.getLogger("align_your_steps")


def plot_schedules(schedules: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    """An image [1, H, W, 3] of noise levels over steps; the first schedule stands out.

    The final 0 has no place on a logarithmic axis and is left out. None, with a log line, where
    matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        log.warning("matplotlib is not installed: Optimize AYS shows no plot (pip install it).")
        return None

    figure = Figure(figsize=SIZE, dpi=DOTS, facecolor=BACKGROUND, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=BACKGROUND)
    (name, best), *others = schedules.items()
    labelled = set()
    for other, sigmas in others:
        published = other.startswith("AYS ")
        label = "published tables" if published else "ComfyUI's schedulers"
        axes.plot(
            sigmas[:-1].tolist(),
            color=PUBLISHED if published else MUTED,
            linewidth=1.0,
            linestyle="--" if published else "-",
            label=None if label in labelled else label,
        )
        labelled.add(label)
    axes.plot(best[:-1].tolist(), color=ACCENT, linewidth=1.8, marker="o", markersize=4, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("step", color=TEXT)
    axes.set_ylabel("noise level (sigma)", color=TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(colors=TEXT, which="both", labelsize=8)
    axes.grid(color=MUTED, alpha=0.25)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
    axes.legend(facecolor=BACKGROUND, edgecolor=MUTED, labelcolor=TEXT, fontsize=7)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    return torch.from_numpy(pixels.astype(np.float32) / 255.0)[None]


def plot_errors(
    schedules: Mapping[str, torch.Tensor], errors: Mapping[str, tuple[float, float]]
) -> torch.Tensor | None:
    """The curves alone, for now."""
    return plot_schedules(schedules)


def picture_row(images: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Pictures [H, W, 3] side by side, [1, H, W, 3], without labels, for now."""
    return torch.cat(list(images.values()), 1)[None]
