"""The host's work at the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_execution.utils import get_executing_context

__all__ = ["call_with_prompts", "running_node"]


def running_node() -> tuple[str | None, Any]:
    """The id of the node that is asked now, and what came with its prompt for saved pictures.

    For `fingerprint_inputs`, to which the host gives no hidden inputs. What is returned is the
    queue's own copy: writing into it changes no picture.
    """
    from server import PromptServer

    context = get_executing_context()
    queue = getattr(getattr(PromptServer, "instance", None), "prompt_queue", None)
    if context is None or queue is None:
        return None, None
    for _, prompt_id, _, extra_data, *_ in list(queue.currently_running.values()):
        if prompt_id == context.prompt_id:
            return context.node_id, extra_data.get("extra_pnginfo")
    return context.node_id, None


def call_with_prompts(change: Callable[[Any], None]) -> None:
    """Let a function change what is queued: {"prompt": graph, "extra_data": {...}}."""
    from server import PromptServer

    def changed(queued: Any) -> Any:
        change(queued)
        return queued

    server: Any = getattr(PromptServer, "instance", None)
    if server is not None:
        server.add_on_prompt_handler(changed)
