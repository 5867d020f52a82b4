"""Messages that the page would get over its web socket while a prompt runs."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from types import TracebackType
from typing import Any

import aiohttp

__all__ = ["Listener"]

PREVIEW = 1  # the host's number of such binary messages
SAID = "ays.said"  # our JSON message of a text


class Listener:
    """Listens to everything that a server broadcasts, in a thread, while it is entered.

    messages: [(type, data)] of the JSON messages
    texts:    [text] shown under nodes
    previews: the encoded pictures
    """

    def __init__(self, url: str) -> None:
        self.url = url.replace("http", "ws") + "/ws"
        self.messages: list[tuple[str, Any]] = []
        self.texts: list[str] = []
        self.previews: list[bytes] = []
        self.listening, self.ended = threading.Event(), asyncio.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._listen()))

    def __enter__(self) -> Listener:
        self.thread.start()
        assert self.listening.wait(30), "the server answers"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join()

    async def _listen(self) -> None:
        self.loop = asyncio.get_running_loop()
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.url, max_msg_size=0) as socket,
        ):
            reading = asyncio.create_task(self._read(socket))
            await self.ended.wait()
            reading.cancel()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            self.listening.set()  # the host greets
            if message.type is aiohttp.WSMsgType.TEXT:
                told = json.loads(message.data)
                self.messages.append((told["type"], told["data"]))
                if told["type"] == SAID:
                    self.texts.append(told["data"]["text"])
                continue
            (kind,) = struct.unpack(">I", message.data[:4])
            if kind == PREVIEW:
                self.previews.append(message.data[8:])
