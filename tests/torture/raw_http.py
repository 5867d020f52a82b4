"""HTTP by hand: requests that no library would send, and what comes back."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from align_your_steps.tests.host.server import ComfyServer

__all__ = ["Answer", "Line", "ask"]

WAIT = 60.0  # seconds


class Answer:
    """Answer that came back."""

    def __init__(self, received: HTTPResponse) -> None:
        self.status = received.status
        self.headers = received.headers
        self.data = received.read()

    @property
    def error(self) -> str | None:
        """The sentence of a refusal of ours; None for anything else."""
        try:
            content = json.loads(self.data)
            (sentence,) = content.values() if list(content) == ["error"] else (None,)
        except (ValueError, TypeError, AttributeError):
            return None
        return sentence if isinstance(sentence, str) else None


class Line:
    """One connection to the server, and the head of a request on it."""

    def __init__(
        self,
        server: ComfyServer,
        method: str,
        target: str | bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        address = urlsplit(server._url)
        self.socket = socket.create_connection((address.hostname, address.port or 80), WAIT)
        self.method = method
        said = {"Host": address.netloc, "Connection": "close", **(headers or {})}
        lines = [f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")
                 for name, value in said.items()]  # fmt: skip
        raw = target if isinstance(target, bytes) else target.encode("utf-8", "surrogateescape")
        self.send(b"%s %s HTTP/1.1\r\n" % (method.encode(), raw) + b"".join(lines) + b"\r\n")

    def send(self, data: bytes) -> bool:
        """Send; False if the server hears no more."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def send_chunks(self, chunks: Iterable[bytes], *, rude: bool = False) -> int:
        """Send a body in chunks, as long as the server hears them; how many bytes were sent.

        rude: go on when the answer is there already
        """
        sent = 0
        for chunk in chunks:
            answered = bool(select.select([self.socket], [], [], 0)[0])
            if (answered and not rude) or not self.send(b"%x\r\n%s\r\n" % (len(chunk), chunk)):
                return sent
            sent += len(chunk)
        self.send(b"0\r\n\r\n")
        return sent

    def end(self) -> None:
        """Say that nothing more is sent."""
        with suppress(OSError):  # the server may have hung up
            self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> Answer | None:
        """The answer, and the end of the connection; None if there was none."""
        try:
            received = HTTPResponse(self.socket, method=self.method)
            received.begin()
            return Answer(received)
        except (HTTPException, OSError):
            return None
        finally:
            self.close()

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self.socket.close()


def ask(
    server: ComfyServer,
    method: str,
    target: str | bytes,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer | None:
    """One request and its answer; None if the server hung up."""
    length = {} if body is None else {"Content-Length": str(len(body))}
    line = Line(server, method, target, {**length, **(headers or {})})
    if body:
        line.send(body)
    return line.answer()
