"""Align Your Steps for ComfyUI: sampling schedules optimised for the model you have loaded.

Importing this package has no side effect and needs no ComfyUI; the host calls `comfy_entrypoint`.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """Register the scheduler name and hand the nodes to ComfyUI."""
    from .nodes import extension

    return extension()
