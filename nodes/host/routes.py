"""The pack's HTTP routes, at /ays/... and /api/ays/...

    POST /ays/finish   {"finishing": true}: the node that measures now ends with the best so far;
                       {"finishing": false}: none measures
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .progress import finish_running

__all__ = ["add_routes"]


def add_routes() -> None:
    """Add the routes to the host's server, where there is one."""
    from server import PromptServer

    server: Any = getattr(PromptServer, "instance", None)
    if server is None:
        return
    server.routes.post("/ays/finish")(finish)


async def finish(request: web.Request) -> web.Response:
    """Let the node that measures now end with the best so far."""
    return web.json_response({"finishing": finish_running()})
