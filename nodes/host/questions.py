"""What a request to the pack's routes may bring: how much, how long it may take, and from where.

The host bounds neither the size of a body that is read in parts nor the time until it is complete,
and many requests arrive at once: what all of them hold together is bounded here.

Any page in the user's browser can send a request to this server, but it cannot hide where it comes
from: the host refuses a foreign Origin while it is addressed as this machine, newer hosts also
whatever the browser marks as cross-site, and here both are refused at any address and for every
method, unless the host was started to allow foreign pages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from comfy.cli_args import args

__all__ = ["BusyError", "SlowError", "is_foreign", "queried", "received", "texts"]

LONGEST_TEXT = 255  # characters of a name, a file's name included
LONGEST_QUESTION = 64 * 2**10  # bytes of a body of JSON
MOST_AT_ONCE = 128 * 2**20  # bytes of all bodies that are being received or worked on
PATIENCE = 300.0  # seconds until a body has arrived

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
            await asyncio.wait_for(receive(), PATIENCE)
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
    """Whether a browser sends this for a page of another site."""
    if args.enable_cors_header is not None:
        return False
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return True
    origin = request.headers.get("Origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
    except ValueError:  # not an address at all
        return True


def _short(text: str, key: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise ValueError(
            f"The text '{key}' has {len(text)} characters; {LONGEST_TEXT} are the most."
        )
    return text


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key is there twice")
    return content
