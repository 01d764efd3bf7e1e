"""SQLite at run time: the standard library's driver in a worker thread, one hop for one unit of work.

``synchronous=FULL`` stays: NORMAL is faster, but can lose the row that says "about to charge" at power loss.
"""

from __future__ import annotations

import asyncio
import errno
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from polytill.domain.errors import (
    CheckRefused,
    DatabaseUnavailable,
    DiskFull,
    Duplicate,
    NotNow,
    PracticeUnavailable,
    Stale,
    WrongPractice,
)
from polytill.storage import anchors
from polytill.storage.anchors import Anchor
from polytill.storage.databases import Tx
from polytill.storage.units import Step, mark_open, moment_text

Hop = Callable[[Callable[[], Any]], Awaitable[Any]]

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=10000",
    "cache_size=-128",  # KiB: hundreds of files may be open, and the operating system caches them as well
)
_NUMBERS = tuple(str(number) for number in range(1, 1000))


async def thread_hop(work: Callable[[], Any]) -> Any:
    """Run blocking work in the loop's worker threads. A simulation passes a hop that runs it in place."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def inline_hop(work: Callable[[], Any]) -> Any:
    """Run blocking work in place: deterministic, for simulations."""
    return work()


def bind(args: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments of a statement as SQLite takes them."""
    # ``$1`` is a named parameter called "1" to SQLite.
    return {
        name: moment_text(value) if isinstance(value, datetime) else value
        for name, value in zip(_NUMBERS, args, strict=False)
    }


def _translated(error: sqlite3.Error) -> Exception:
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        if text.startswith("UNIQUE"):
            return Duplicate(text)
        if text.startswith("CHECK"):
            return CheckRefused(re.sub(r"^CHECK constraint failed: ", "", text))
    # The low byte is the kind of fault; the rest gives details.
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or "locked" in text or "busy" in text:
        return NotNow()
    if kind == sqlite3.SQLITE_FULL:
        return DiskFull("The disk of the SQLite files is full.")
    if kind == sqlite3.SQLITE_IOERR:
        return DiskFull("The disk of the SQLite files is full, or fails.")
    if kind in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM):
        return DatabaseUnavailable(f"A database file cannot be opened or written just now ({text}).")
    if kind in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return DatabaseUnavailable("A database file is damaged, or is no SQLite file; restore it.")
    return error


def file_fault(error: OSError) -> Exception:
    """The error for a fault of the file system."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return DiskFull("The disk of the SQLite files is full, or fails.")
    return DatabaseUnavailable(f"A database file cannot be made or opened just now ({error.strerror}).")


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing file, with our settings."""
    if not path.exists():
        raise DatabaseUnavailable(f"The database file {path} does not exist.")
    connection = sqlite3.connect(
        f"file:{path}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10.0,
        cached_statements=32,
    )
    connection.row_factory = sqlite3.Row
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


class SqliteEngine:
    """One database file with one connection, used by one task at a time."""

    dialect = "sqlite"

    def __init__(self, path: Path, hop: Hop = thread_hop, anchor: Anchor | None = None) -> None:
        self.path = path
        self._hop = hop
        self._anchor = anchor
        self._file: tuple[int, int] | None = None  # which file the connection leads to
        self._connection: sqlite3.Connection | None = None
        self._turn = asyncio.Lock()

    def adopt(self, connection: sqlite3.Connection) -> None:
        """Use a connection that is already open to the file at this path."""
        self._file, self._connection = _file_at(self.path), connection

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and not self._connection.in_transaction and _file_at(self.path) != self._file:
            # The path now leads to another file or to none: nobody else can reach the file that we have open.
            connection, self._connection = self._connection, None
            connection.close()
        if self._connection is None:
            self._file = _file_at(self.path)
            self._connection = self._connected()
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        if self._anchor is None:
            return connect(self.path)
        try:
            connection = connect(self.path)
        except DatabaseUnavailable as error:
            raise PracticeUnavailable(error.detail) from error
        try:
            self._check(connection, self._anchor)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection, anchor: Anchor) -> None:
        try:
            asked = anchor.mark
            row = connection.execute(anchors.READ_SQLITE, bind(tuple(asked))).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                raise WrongPractice from None
            raise
        if row is None:
            raise WrongPractice
        anchor.check(anchors.of_sqlite(row, self._file), asked)

    async def verify(self, anchor: Anchor) -> None:
        """Compare the database with what is known of it."""
        await self._alone(partial(self._verify_now, anchor))

    def _verify_now(self, anchor: Anchor) -> None:
        checks = anchor.checks
        try:
            connection = self._opened()
            if anchor.checks == checks:  # else it was checked as it was opened
                self._check(connection, anchor)
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def place(self) -> str | None:
        """None: nothing tells a copied file from the original that a move would not change as well."""
        return None

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a query."""
        return list(await self._alone(partial(self._fetch_now, sql, args)))

    async def _alone(self, work: Callable[[], Any]) -> Any:
        # The turn belongs to the shielded inner task: a canceled caller returns at once, but nobody else gets the
        # connection before the thread is done with it.
        async def turn() -> Any:
            async with self._turn:
                return await self._hop(work)

        return await asyncio.shield(turn())

    def _fetch_now(self, sql: str, args: tuple[Any, ...]) -> list[sqlite3.Row]:
        try:
            return self._opened().execute(sql, bind(args)).fetchall()
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def commit(self, steps: list[Step]) -> list[int]:
        """Run steps as one transaction. Returns the number of rows that each affected. ``Stale`` if an expectation
        fails."""
        return list(await self._alone(partial(self._commit_now, steps)))

    def _commit_now(self, steps: list[Step]) -> list[int]:
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                counts = [self._step_now(connection, step) for step in steps]
                connection.execute("COMMIT")
                return counts
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _translated(error) from error

    @staticmethod
    def _step_now(connection: sqlite3.Connection, step: Step) -> int:
        cursor = connection.execute(step.sql, bind(step.args))
        count = len(cursor.fetchall()) if step.sql.startswith("SELECT") else cursor.rowcount
        if step.expect is not None and count != step.expect:
            raise Stale
        return count

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqliteTx]:
        """An interactive transaction, for the rare writes that depend on a read inside of it."""
        async with self._turn:
            mark_open(+1)
            tx = SqliteTx(self)
            try:
                await self._to_its_end(partial(self._fetch_now, "BEGIN IMMEDIATE", ()))
                yield tx
                await tx.flush()
                await self._to_its_end(partial(self._fetch_now, "COMMIT", ()))
            except BaseException:
                tx.take()
                await self._to_its_end(self._rollback_now)
                raise
            finally:
                mark_open(-1)

    async def _to_its_end(self, work: Callable[[], Any]) -> Any:
        # A caller that is canceled half-way still waits for the thread: otherwise its BEGIN would stay open.
        running = asyncio.ensure_future(self._hop(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({running})
            raise

    def _rollback_now(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def close(self) -> None:
        """Close the file. A later use opens it again."""
        async with self._turn:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                await self._hop(connection.close)


class SqliteTx(Tx):
    """An open transaction: ``add`` queues a statement; ``fetch`` and ``one`` run the queued statements and then the
    query."""

    __slots__ = ("_engine",)

    def __init__(self, engine: SqliteEngine) -> None:
        super().__init__()
        self._engine = engine

    async def flush(self) -> None:
        """Run the queued statements."""
        steps = self.take()
        if steps:
            await self._engine._to_its_end(partial(self._run_now, steps))

    def _run_now(self, steps: list[Step]) -> None:
        try:
            for step in steps:
                self._engine._step_now(self._engine._opened(), step)
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a statement inside this transaction."""
        await self.flush()
        return list(await self._engine._to_its_end(partial(self._engine._fetch_now, sql, args)))
