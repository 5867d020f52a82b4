"""What the process does, as far as our pack asked for it: one of its files is on the stack.

Nothing is written down until a test asks for it, or, from the start on, with AYS_TEST_LISTENS=1:
then this pack has to be loaded before ours.

    GET /ays_test/listen      from now on; forget what was written down
    GET /ays_test/heard       {"events": [{"event", "arguments", "ours": "file:line", "changed":
                              [paths], "opened": path}, ...]}, and nothing more after that
    GET /ays_test/held        {"bytes": what bodies of requests hold now}
    GET /ays_test/patience?s=x  bodies may take x seconds from now on
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from types import FrameType, ModuleType
from typing import Any

from aiohttp import web
from align_your_steps.tests.torture.audit import changed_files, opened_file, reaches_out
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from server import PromptServer

__all__ = ["AYSTestTrespass", "add"]

PACK = "/align-your-steps/"  # its folder, wherever a test has copied it to

_events: list[dict[str, Any]] = []
_listening = os.environ.get("AYS_TEST_LISTENS") == "1"


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """Write down what our pack asks for."""
    if not _listening:
        return
    changed, opened = changed_files(event, arguments), opened_file(event, arguments)
    if not (reaches_out(event) or changed or opened):
        return
    if (ours := _asker(sys._getframe(1))) is not None:
        paths = {"changed": [str(path) for path in changed], "opened": opened and str(opened)}
        _events.append({"event": event, "arguments": str(arguments)[:300], "ours": ours, **paths})


def _asker(frame: FrameType | None) -> str | None:
    """The innermost of our lines on the stack."""
    while frame is not None:
        if PACK in frame.f_code.co_filename:
            return f"{frame.f_code.co_filename.split(PACK)[1]}:{frame.f_lineno}"
        frame = frame.f_back
    return None


class AYSTestTrespass(io.ComfyNode):
    """A model that connects to somewhere and runs a program whenever it is sampled."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="AYSTestTrespass",
            category="tests",
            inputs=[io.Model.Input("model")],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        """Wrap the call that all samplers have in common."""

        def trespass(executor: Any, *args: Any, **options: Any) -> Any:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", 9), timeout=1)
            with suppress(OSError):
                urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)
            subprocess.run(["true"], check=False)
            return executor(*args, **options)

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "ays_trespass", trespass)
        return io.NodeOutput(model)


def add() -> None:
    """Add the routes to the host's server."""
    routes = PromptServer.instance.routes
    routes.get("/ays_test/listen")(listen)
    routes.get("/ays_test/heard")(heard)
    routes.get("/ays_test/held")(held)
    routes.get("/ays_test/patience")(patience)


async def listen(request: web.Request) -> web.Response:
    """Begin."""
    global _listening
    _events.clear()
    _listening = True
    return web.json_response({})


async def heard(request: web.Request) -> web.Response:
    """Answer what was written down, and stop."""
    global _listening
    _listening = False
    return web.json_response({"events": _events})


async def held(request: web.Request) -> web.Response:
    """Answer the bytes of bodies."""
    return web.json_response({"bytes": _questions()._held})


async def patience(request: web.Request) -> web.Response:
    """Set how long a body may take."""
    _questions().UPLOAD_PATIENCE = float(request.query["s"])
    return web.json_response({})


def _questions() -> ModuleType:
    """Our pack's module that reads what requests bring."""
    files = [(module, getattr(module, "__file__", None) or "") for module in sys.modules.values()]
    (found,) = (m for m, file in files if file.endswith(f"{PACK}nodes/host/questions.py"))
    return found


sys.addaudithook(_note)
