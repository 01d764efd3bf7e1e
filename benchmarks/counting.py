"""Counts what a flow asks of its databases: statements, round trips, bytes.

On PostgreSQL a relay between the program and the server reads the messages of the protocol, so the counts hold for any
driver. On SQLite the library reports each statement; a hop to a worker thread is its round trip, and the bytes are those
that its logs grow by.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from polytill.storage import sqlite
from polytill.storage.sqlite import thread_hop

_SSL_REQUEST, _PROTOCOL_3 = 80_877_103, 196_608
# Messages after which the client waits for the server's answer.
_WAITS = frozenset({b"S", b"H", b"Q", b"p"})


@dataclass
class Tally:
    """What was asked so far."""

    connections: int = 0
    statements: int = 0  # executed, in practices' databases
    owner_statements: int = 0  # executed, in the owner database
    prepared: int = 0
    round_trips: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_written: int = 0
    texts: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int]:
        """The counts, without the texts."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "texts"}

    def since(self, before: Tally) -> Tally:
        """The difference to an earlier copy."""
        earlier = before.figures()
        counts = {name: count - earlier[name] for name, count in self.figures().items()}
        return Tally(**counts, texts=self.texts[len(before.texts) :])

    def copy(self) -> Tally:
        """The counts as they are now."""
        return Tally(**self.figures(), texts=[*self.texts])

    def executed(self, text: str, of_owner: bool) -> None:
        """Count one statement."""
        if of_owner:
            self.owner_statements += 1
        else:
            self.statements += 1
        self.texts.append(("owner: " if of_owner else "") + " ".join(text.split()))


class _Client:
    """Reads the messages of one client of the relay."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._buffer = b""
        self._started = self._of_owner = False
        self._texts: dict[bytes, str] = {}  # of prepared statements, by name
        self._bound = ""

    def read(self, data: bytes) -> None:
        """Count what is in these bytes."""
        self._tally.bytes_sent += len(data)
        self._buffer += data
        while True:
            head = 1 if self._started else 0
            if len(self._buffer) < head + 4:
                return
            end = head + int.from_bytes(self._buffer[head : head + 4])
            if len(self._buffer) < end:
                return
            kind, body, self._buffer = self._buffer[:head], self._buffer[head + 4 : end], self._buffer[end:]
            if self._started:
                self._message(kind, body)
            else:
                self._start(body)

    def _start(self, body: bytes) -> None:
        self._tally.round_trips += 1
        if int.from_bytes(body[:4]) == _PROTOCOL_3:
            self._started = True
            words = body[4:].split(b"\0")
            self._of_owner = dict(zip(words[::2], words[1::2], strict=False))[b"database"].startswith(b"owner_")
            self._tally.connections += 1

    def _message(self, kind: bytes, body: bytes) -> None:
        if kind in _WAITS:
            self._tally.round_trips += 1
        if kind == b"P":
            name, text = body.split(b"\0")[:2]
            self._texts[name] = text.decode()
            self._tally.prepared += 1
        elif kind == b"B":
            self._bound = self._texts.get(body.split(b"\0")[1], "?")
        elif kind == b"E":
            self._tally.executed(self._bound, self._of_owner)
        elif kind == b"Q":
            self._tally.executed(body[:-1].decode(), self._of_owner)


class PostgresRelay:
    """A port of this machine that leads to a server and counts what passes."""

    def __init__(self, host: str, port: int) -> None:
        self._server_at = host, port
        self.tally = Tally()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Start to listen. Returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server_at)
        client = _Client(self.tally)

        def received(data: bytes) -> None:
            self.tally.bytes_received += len(data)

        one = asyncio.create_task(_copy(reader, to_server, client.read))
        other = asyncio.create_task(_copy(from_server, writer, received))
        self._tasks |= {one, other}
        with suppress(asyncio.CancelledError):
            await asyncio.wait({one, other})
        self._tasks -= {one, other}

    async def close(self) -> None:
        """End everything."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Callable[[bytes], None]) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            seen(data)
            writer.write(data)
            await writer.drain()
    writer.close()


class SqliteCounter:
    """Counts the statements of every file that is opened inside ``counting``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = Tally()

    @property
    def tally(self) -> Tally:
        """The counts, with the size of all logs."""
        self._written.bytes_written = sum(path.stat().st_size for path in self._folder.rglob("*-wal"))
        return self._written

    async def hop(self, work: Callable[[], Any]) -> Any:
        """A hop to a worker thread, counted."""
        self._written.round_trips += 1
        return await thread_hop(work)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count in the block."""
        connect = sqlite.connect

        def counted(path: Path) -> sqlite3.Connection:
            connection, of_owner = connect(path), path.name == "owner.db"
            self._written.connections += 1

            def executed(text: str) -> None:
                if not text.startswith("--"):  # a step of a trigger
                    self._written.executed(text, of_owner)

            connection.set_trace_callback(executed)
            return connection

        sqlite.connect = counted
        try:
            yield
        finally:
            sqlite.connect = connect
