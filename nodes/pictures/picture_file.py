"""The picture under a node, which the host keeps as a file: one that it cannot write costs nothing.

A node shows it after all of its work is done.
"""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

__all__ = ["ASPECT", "preview"]

ASPECT = "ays_aspect"  # height by width: our page extension makes room for the picture

log = logging.getLogger("align_your_steps")


def preview(image: Tensor, cls: type[io.ComfyNode]) -> dict[str, Any]:
    """An image [B, H, W, 3] for a node's `ui`; nothing, and a log line, if it cannot be written."""
    try:
        shown: dict[str, Any] = ui.PreviewImage(image, cls=cls).as_dict()
        return {**shown, ASPECT: [image.shape[1] / image.shape[2]]}
    except Exception as error:  # by whatever fails: the work is done
        log.warning(
            "There is no picture under the node, because ComfyUI cannot write it: %s. Free some "
            "space in its temp folder, or make it writable.",
            error,
        )
        return {}
