"""Minimal HTTP: a server and a keep-alive connection, for the programs that must cost next to nothing.

It understands only what both ends here send: a length header, no chunks, one request at a time per connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Answering = Callable[["Served", bytes, bytes], None]
_END = b"\r\n\r\n"


def _whole(buffer: bytes) -> tuple[bytes, bytes] | None:
    """Head and body, once both have arrived."""
    end = buffer.find(_END)
    if end < 0:
        return None
    head = buffer[:end]
    at = head.lower().find(b"\r\ncontent-length:")
    length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    if len(buffer) < end + 4 + length:
        return None
    return head, buffer[end + 4 : end + 4 + length]


class Served(asyncio.Protocol):
    """The server's end: each whole request goes to ``answering``, which calls ``answer`` now or later."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        found = _whole(self._buffer)
        if found is not None:
            self._buffer = b""
            self._answering(self, *found)

    def answer(self, status: bytes, body: bytes, headers: bytes = b"") -> None:
        """Send ``201 Created`` and the like with a JSON body."""
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 %b\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (status, headers, len(body), body)
            )


class Line(asyncio.Protocol):
    """The caller's end: one keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.is_closed = False  # by the server, after some seconds without a request

    @classmethod
    async def to(cls, port: int) -> Line:
        """A connection to a port of this machine."""
        _, line = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        found = _whole(self._buffer)
        if found is not None and self._answer is not None and not self._answer.done():
            self._buffer = b""
            self._answer.set_result((int(found[0][9:12]), found[1]))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the other side closed the connection"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to these bytes."""
        assert self._transport is not None
        self._answer = self._loop.create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
