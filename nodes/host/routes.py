"""The pack's HTTP routes, at /ays/... and /api/ays/...: JSON in and out, names and never paths.

    POST /ays/finish            {"finishing": true}: the node that measures now ends with the best
                                so far; {"finishing": false}: none measures
    GET  /ays/schedules         {"schedules": [...], "folder": where new ones go}
    POST /ays/schedules/rename  {"name", "new_name"} -> {"name": the one that it shows}
    POST /ays/schedules/delete  {"name"} -> {}
    POST /ays/schedules/import  ?filename=x.json, the file as the body -> {"name"}
    GET  /ays/schedules/export  ?name=...&format=json|safetensors -> the file
    GET  /ays/schedules/text    ?name=...&for=comfyui|diffusers|a1111 -> {"text", "hint"}

A name is that of the list. What cannot be done is answered with 400, 404 (no such schedule) or 409
(the name is taken, the file cannot be changed), and {"error": one sentence}.

Any page in the user's browser can send a POST to this server, but it cannot hide where it comes
from: the host refuses a foreign Origin while it is addressed as this machine, newer hosts also
whatever the browser marks as cross-site, and here a foreign Origin is refused at any address,
unless the host was started to allow it. Such pages cannot read the answers to a GET.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from comfy.cli_args import args

from ...schedules.files import JSON, SAFETENSORS, Entry, content_of, slug
from ...schedules.saved import number
from ...schedules.store import NameTakenError, UnknownNameError
from ...schedules.text import paste_hint, paste_text
from .environment import store
from .progress import finish_running

__all__ = ["add_routes"]

Handler = Callable[[web.Request], Awaitable[web.Response]]

LONGEST_QUESTION = 64 * 2**10  # bytes of a body of JSON
LONGEST_FILE = 64 * 2**20
TYPES = {JSON: "application/json", SAFETENSORS: "application/octet-stream"}


def add_routes() -> None:
    """Add the routes to the host's server, where there is one."""
    from server import PromptServer

    server: Any = getattr(PromptServer, "instance", None)
    if server is None:
        return
    routes = server.routes
    routes.post("/ays/finish")(_answering(finish))
    routes.get("/ays/schedules")(_answering(schedules))
    routes.post("/ays/schedules/rename")(_answering(rename))
    routes.post("/ays/schedules/delete")(_answering(delete))
    routes.post("/ays/schedules/import")(_answering(import_file))
    routes.get("/ays/schedules/export")(_answering(export_file))
    routes.get("/ays/schedules/text")(_answering(text))


async def finish(request: web.Request) -> web.Response:
    """Let the node that measures now end with the best so far."""
    return web.json_response({"finishing": finish_running()})


async def schedules(request: web.Request) -> web.Response:
    """List the saved schedules."""
    return web.json_response(await asyncio.to_thread(_listed))


async def rename(request: web.Request) -> web.Response:
    """Give a schedule another name."""
    name, new_name = await _texts(request, "name", "new_name")
    return web.json_response({"name": await asyncio.to_thread(store().rename, name, new_name)})


async def delete(request: web.Request) -> web.Response:
    """Delete a schedule."""
    (name,) = await _texts(request, "name")
    await asyncio.to_thread(store().delete, name)
    return web.json_response({})


async def import_file(request: web.Request) -> web.Response:
    """Keep a file that somebody sent."""
    file_name = request.query.get("filename", "schedule.json")
    data = await _body(request, LONGEST_FILE)
    return web.json_response({"name": await asyncio.to_thread(store().add, data, file_name)})


async def export_file(request: web.Request) -> web.Response:
    """A schedule as a file."""
    suffix = f".{request.query.get('format', 'json')}"
    if suffix not in TYPES:
        raise ValueError(f"The format was '{suffix[1:]}': choose json or safetensors.")
    name = request.query.get("name", "")
    data = await asyncio.to_thread(lambda: content_of(_loaded(name), suffix))
    headers = {"Content-Disposition": f'attachment; filename="{slug(name)}{suffix}"'}
    return web.Response(body=data, content_type=TYPES[suffix], headers=headers)


async def text(request: web.Request) -> web.Response:
    """A schedule's levels as text for another tool, and where it goes."""
    saved = await asyncio.to_thread(_loaded, request.query.get("name", ""))
    sigmas = saved.schedule.sigmas.tolist()
    tool = request.query.get("for", "comfyui")
    flow, sampler = bool(saved.notes.get("flow")), _text(saved.request.get("sampler"))
    pasted = paste_text(sigmas, tool, flow=flow, sampler=sampler)
    return web.json_response({"text": pasted, "hint": paste_hint(sigmas, tool)})


# -- answers --------------------------------------------------------------------------------


def _answering(handler: Handler) -> Handler:
    """The handler, with what it refuses as a sentence, and closed to pages of other sites."""

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST" and _is_foreign(request):
            return _refusal(403, "This page belongs to another site.")
        try:
            return await handler(request)
        except UnknownNameError as error:
            return _refusal(404, str(error))
        except (NameTakenError, OSError) as error:
            return _refusal(409, str(error))
        except ValueError as error:
            return _refusal(400, str(error))

    return answer


def _refusal(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def _is_foreign(request: web.Request) -> bool:
    """Whether a browser sends this for a page of another site."""
    origin = request.headers.get("Origin")
    if origin is None or args.enable_cors_header is not None:
        return False
    return urlsplit(origin).netloc.lower() != request.host.lower()


# -- questions ------------------------------------------------------------------------------


async def _body(request: web.Request, largest: int) -> bytes:
    """The body; ValueError for one that is too large, as soon as it is."""
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > largest:
            raise ValueError(f"This is too large: {largest >> 10} KiB is the most.")
    return bytes(data)


async def _texts(request: web.Request, *keys: str) -> list[str]:
    """The texts under these keys of the body; ValueError for anything else."""
    data = await _body(request, LONGEST_QUESTION)
    try:
        content = json.loads(data)
        found = [content[key] for key in keys]
        if not all(isinstance(value, str) for value in found):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        wanted = ", ".join(f'"{key}": "..."' for key in keys)
        raise ValueError(f"The request must be JSON text: {{{wanted}}}.") from error
    return found


# -- schedules ------------------------------------------------------------------------------


def _loaded(name: str) -> Any:
    saved = store().load(name)
    if saved is None:
        raise UnknownNameError(f"There is no schedule '{name}' here any more; refresh the list.")
    return saved


def _listed() -> dict[str, Any]:
    saved = store()
    writable = [folder for folder in saved.folders if _is_writable(folder)]
    return {
        "schedules": [_described(name, entry) for name, entry in saved.list().items()],
        "folder": str(writable[0]) if writable else None,
    }


def _described(name: str, entry: Entry) -> dict[str, Any]:
    """What the list says of a result; None for what its file does not say, or says wrongly."""
    schedule, request, notes = entry.saved.schedule, entry.saved.request, entry.saved.notes
    return {
        "name": name,
        "digest": entry.digest,
        "steps": schedule.steps,
        "other_steps": sorted({len(levels) - 1 for levels in schedule.others}),
        "sigmas": schedule.sigmas.tolist(),
        "sampler": _text(request.get("sampler")),
        "cfg": number(request.get("cfg")),
        "denoise": number(request.get("denoise")),
        "method": _text(notes.get("method")),
        "error": number(notes.get("error")),
        "who": schedule.provenance.who,
        "what": schedule.provenance.what,
        "when": schedule.provenance.when,
        "file": entry.path.name,
        "folder": str(entry.path.parent),
        "writable": _is_writable(entry.path.parent),
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the one that it will be made in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)
