"""An owner database that is really away for a while: its SQLite file is moved, or its server's connections are cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from polytill.settings import Settings
from polytill.storage.opening import is_postgres, sqlite_path


class Outage:
    """Takes the owner database away from a process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def begin(self) -> None:
        """The owner database is unavailable."""
        raise NotImplementedError

    async def end(self) -> None:
        """It is back."""
        raise NotImplementedError


class MovedFile(Outage):
    """SQLite: for every process at once."""

    def _files(self) -> list[Path]:
        path = sqlite_path(self.settings.owner_database_url.get_secret_value())
        return [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm")]

    async def begin(self) -> None:
        """Move its files to another place."""
        for path in self._files():
            if path.exists():
                path.rename(path.with_name(f"away-{path.name}"))

    async def end(self) -> None:
        """Move them back."""
        for path in self._files():
            if (away := path.with_name(f"away-{path.name}")).exists():
                away.rename(path)


class CutConnections(Outage):
    """PostgreSQL: a relay on loopback for the processes that use its settings; others still reach the server."""

    def __init__(self, settings: Settings) -> None:
        url = settings.owner_database_url.get_secret_value()
        found = urlsplit(url)
        self._to = (str(found.hostname), int(found.port or 5432))
        self._url, self._netloc = url, found.netloc
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        super().__init__(settings)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        self._writers |= {writer, there_writer}

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65_536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

    async def begin(self) -> None:
        """Cut the open connections and stop listening."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def end(self) -> None:
        """Listen again, on the same port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        there = self._netloc.rpartition("@")[0] + f"@127.0.0.1:{self._port}"
        moved = self._url.replace(self._netloc, there, 1)
        self.settings = self.settings.model_copy(update={"owner_database_url": type_of(self.settings)(moved)})


def type_of(settings: Settings) -> type:
    """The type of a secret setting."""
    return type(settings.owner_database_url)


@contextlib.asynccontextmanager
async def outage_of(settings: Settings) -> AsyncIterator[Outage]:
    """An outage that has not begun; ``settings`` are those of the affected process."""
    made: Outage = (
        CutConnections(settings) if is_postgres(settings.owner_database_url.get_secret_value()) else MovedFile(settings)
    )
    await made.end()
    try:
        yield made
    finally:
        await made.begin()
        if isinstance(made, MovedFile):
            await made.end()
