"""The pack's HTTP routes, at /ays/... and /api/ays/...: JSON in and out, names and never paths.

    POST /ays/finish            {"finishing": true}: the node that measures now ends with the best
                                so far; {"finishing": false}: none measures
    GET  /ays/schedules         {"schedules": [...], "folder": where new ones go}
    POST /ays/schedules/rename  {"name", "new_name"} -> {"name": the one that it shows}
    POST /ays/schedules/delete  {"name"} -> {}
    POST /ays/schedules/import  ?filename=x.json, the file as the body -> {"name", "new": whether it
                                was not here before}
    GET  /ays/schedules/export  ?name=...&format=json|safetensors -> the file
    GET  /ays/schedules/text    ?name=...&for=comfyui|diffusers|a1111 -> {"text", "hint"}

A name is that of the list. What cannot be done is answered with {"error": one sentence} and 400,
403 (a page of another site asks), 404 (no such schedule), 408 (it took too long to arrive), 409
(the name is taken, the file cannot be changed) or 429 (too much at once).

Whoever can reach ComfyUI can reach these: neither has a password. What a request may bring is
bounded in `questions`, which also tells pages of other sites, and every answer is marked as one
that such a page may not load as its own script or picture.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from ...schedules import paste_hint, paste_text
from ...schedules.store import (
    JSON,
    MODEL,
    SAFETENSORS,
    Entry,
    NameTakenError,
    UnknownNameError,
    content_of,
    number,
    one_line,
    slug,
    without_pictures,
)
from .environment import store
from .progress import finish_running
from .questions import BusyError, SlowError, is_foreign, queried, received, texts

__all__ = ["add_routes"]

Handler = Callable[[web.Request], Awaitable[web.Response]]

LONGEST_FILE = 64 * 2**20  # bytes
LONGEST_ORIGIN = 200  # characters of what a model was loaded from
TYPES = {JSON: "application/json", SAFETENSORS: "application/octet-stream"}
FOREIGN = "This page belongs to another site; if it is ComfyUI's own, load it anew."
# No page of another site may load an answer as its own script, picture or style.
CLOSED = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


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
    return web.json_response(text=await asyncio.to_thread(_list_as_json))


async def rename(request: web.Request) -> web.Response:
    """Give a schedule another name."""
    name, new_name = await texts(request, "name", "new_name")
    return web.json_response({"name": await asyncio.to_thread(store().rename, name, new_name)})


async def delete(request: web.Request) -> web.Response:
    """Delete a schedule."""
    (name,) = await texts(request, "name")
    await asyncio.to_thread(store().delete, name)
    return web.json_response({})


async def import_file(request: web.Request) -> web.Response:
    """Keep a file that somebody sent."""
    file_name = one_line(queried(request, "filename", "schedule.json"))
    async with received(request, LONGEST_FILE) as data:
        added = await asyncio.to_thread(store().add, data, file_name)
    return web.json_response(added._asdict())


async def export_file(request: web.Request) -> web.Response:
    """A schedule as a file."""
    suffix = f".{queried(request, 'format', 'json')}"
    if suffix not in TYPES:
        raise ValueError(f"The format was '{suffix[1:]}': choose json or safetensors.")
    name = queried(request, "name", "")
    data = await asyncio.to_thread(lambda: content_of(without_pictures(_loaded(name)), suffix))
    headers = {"Content-Disposition": f'attachment; filename="{slug(name)}{suffix}"'}
    return web.Response(body=data, content_type=TYPES[suffix], headers=headers)


async def text(request: web.Request) -> web.Response:
    """A schedule's levels as text for another tool, and where it goes."""
    saved = await asyncio.to_thread(_loaded, queried(request, "name", ""))
    sigmas = saved.schedule.sigmas.tolist()
    tool = queried(request, "for", "comfyui")
    flow, sampler = bool(saved.notes.get("flow")), _text(saved.request.get("sampler"))
    pasted = paste_text(sigmas, tool, flow=flow, sampler=sampler)
    hint = paste_hint(sigmas, tool, calibrated=bool(saved.samplers))
    return web.json_response({"text": pasted, "hint": hint})


# -- answers --------------------------------------------------------------------------------


def _answering(handler: Handler) -> Handler:
    """The handler, with what it refuses as a sentence, and closed to pages of other sites."""

    async def answer(request: web.Request) -> web.Response:
        made = await refusing(request)
        made.headers.update(CLOSED)
        return made

    async def refusing(request: web.Request) -> web.Response:
        if is_foreign(request):
            return _refusal(403, FOREIGN)
        try:
            return await handler(request)
        except UnknownNameError as error:
            return _refusal(404, str(error))
        except SlowError as error:
            return _refusal(408, str(error))
        except BusyError as error:
            return _refusal(429, str(error))
        except (NameTakenError, OSError) as error:
            return _refusal(409, str(error))
        except ValueError as error:
            return _refusal(400, str(error))

    return answer


def _refusal(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": one_line(sentence)}, status=status)


# -- schedules ------------------------------------------------------------------------------


def _loaded(name: str) -> Any:
    saved = store().load(name)
    if saved is None:
        raise UnknownNameError(f"There is no schedule '{name}' here any more; refresh the list.")
    return saved


def _list_as_json() -> str:
    """The list as JSON text.

    One result at a time: Python does nothing else while it writes one piece of JSON, and other
    requests would have to wait for the whole.
    """
    saved = store()
    writable = {folder: _is_writable(folder) for folder in saved.folders}
    rows = (
        json.dumps(_described(name, entry, writable[entry.path.parent]))
        for name, entry in saved.list().items()
    )
    folder = json.dumps(next((str(folder) for folder, can in writable.items() if can), None))
    return f'{{"schedules": [{", ".join(rows)}], "folder": {folder}}}'


def _described(name: str, entry: Entry, writable: bool) -> dict[str, Any]:
    """Describe a result in the list; None for what its file does not say, or says wrongly."""
    schedule, request, notes = entry.saved.schedule, entry.saved.request, entry.saved.notes
    return {
        "name": name,
        "digest": entry.digest,
        "steps": schedule.steps,
        "other_steps": sorted({len(levels) - 1 for levels in schedule.others}),
        "calibrated": sorted(sampler.steps for sampler in entry.saved.samplers),
        "sigmas": schedule.sigmas.tolist(),
        "model": one_line(_text(notes.get(MODEL)) or "")[:LONGEST_ORIGIN] or None,
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
        "writable": writable,
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_writable(folder: Path) -> bool:
    """Tell whether files can be made in a folder, or in the one that it will be made in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)
