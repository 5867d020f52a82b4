"""Bounds of a request to the pack's routes: how much, how long it may take, and from where.

The host bounds neither the size of a body that is read in parts nor the time until it is complete,
and many requests arrive at once: what all of them hold together is bounded here.

Any page in the user's browser can send a request to this server. Which page it was cannot be told
from the address: proxies put their own into Host. It is told by what no page can send as it likes:
Sec-Fetch-Site, which browsers add on https and on this machine, and elsewhere a header of our own
page. A script of another site may send that only after asking the host, which says no, unless it
was started to allow foreign pages. Forms, pictures and links can add no header at all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from comfy.cli_args import args

__all__ = ["BusyError", "SlowError", "is_foreign", "queried", "received", "texts"]

LONGEST_ENTRY = 255  # characters of a name, a file's name included
LONGEST_QUESTION = 64 * 2**10  # bytes of a body of JSON
MOST_AT_ONCE = 128 * 2**20  # bytes of all bodies that are being received or worked on
UPLOAD_PATIENCE = 300.0  # seconds until a body has arrived

OUR_PAGE = "X-AYS-Page"  # the header that web/ays/routes.js sends

_held = 0  # bytes, of MOST_AT_ONCE


class BusyError(Exception):
    """Other requests hold all the memory that requests may hold."""


class SlowError(Exception):
    """A body did not arrive in time."""


@asynccontextmanager
async def received(request: web.Request, largest: int) -> AsyncIterator[bytes]:
    """The body, whose bytes count as held until the context ends.

    Raises ValueError for one of more than `largest` bytes, as soon as it is, or one that is not
    what its headers say, BusyError and SlowError.
    """
    data = bytearray()

    async def receive() -> None:
        global _held
        async for chunk in request.content.iter_any():
            data.extend(chunk)
            _held += len(chunk)
            if len(data) > largest:
                raise ValueError(f"This is too large: {largest >> 10} KiB is the most.")
            if _held > MOST_AT_ONCE:
                raise BusyError("Too much is being imported at once; try again in a minute.")

    try:
        try:
            await asyncio.wait_for(receive(), UPLOAD_PATIENCE)
        except asyncio.TimeoutError as error:
            raise SlowError("The rest of this did not arrive in time; try it again.") from error
        except web.RequestPayloadError as error:
            raise ValueError("This was damaged on its way; try it again.") from error
        yield bytes(data)
    finally:
        global _held
        _held -= len(data)


async def texts(request: web.Request, *keys: str) -> list[str]:
    """The texts under these keys of the body; ValueError for anything else."""
    async with received(request, LONGEST_QUESTION) as data:
        try:
            content = json.loads(data, object_pairs_hook=_without_repeats)
            found = [content[key] for key in keys]
            if not all(isinstance(value, str) for value in found):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            wanted = ", ".join(f'"{key}": "..."' for key in keys)
            raise ValueError(f"The request must be JSON text: {{{wanted}}}.") from error
    return [_short(value, key) for key, value in zip(keys, found, strict=True)]


def queried(request: web.Request, key: str, default: str) -> str:
    """A text of the address, behind the question mark; ValueError for a long one."""
    return _short(request.query.get(key, default), key)


def is_foreign(request: web.Request) -> bool:
    """Tell whether a browser sends this for a page of another site.

    What sends neither Origin nor Sec-Fetch-Site is no page that could change anything: browsers
    add Origin to every POST. It is a script of the user's, or an address that somebody typed.
    """
    if args.enable_cors_header is not None:
        return False
    origin, site = (request.headers.get(name) for name in ("Origin", "Sec-Fetch-Site"))
    if origin == "null":  # a page without a place: sandboxed, a file, redirected
        return True
    if site is not None:
        return site not in ("same-origin", "none")  # none: typed by the user
    return origin is not None and OUR_PAGE not in request.headers


def _short(text: str, key: str) -> str:
    if len(text) > LONGEST_ENTRY:
        raise ValueError(
            f"The text '{key}' has {len(text)} characters; {LONGEST_ENTRY} are the most."
        )
    return text


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is there twice")
    return content
