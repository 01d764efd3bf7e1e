"""SQLite at run time: the standard library's driver in a worker thread, one hop for one unit of work.

``synchronous=FULL`` stays: NORMAL is faster, but can lose the row that says "about to charge" at power loss.

No database waits for another one: they have their own threads, more than ever write to the disk at once, and a file
that another process has locked is tried again after a pause, in which it occupies no thread.
"""

from __future__ import annotations

import asyncio
import errno
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from polytill.domain.errors import (
    CheckRefused,
    DatabaseUnavailable,
    DiskFull,
    Duplicate,
    NotNow,
    PracticeMissing,
    PracticeUnavailable,
    Stale,
    WrongPractice,
)
from polytill.storage import anchors
from polytill.storage.anchors import Anchor
from polytill.storage.databases import Tx
from polytill.storage.units import Step, mark_open, moment_text

Hop = Callable[[Callable[[], Any]], Awaitable[Any]]

THREADS = 32
BUSY_MS = 50  # how long a thread waits for a locked file
BUSY_S, BUSY_PAUSE_S = 10.0, 0.05  # how long a caller does, and the pause between two tries
# A log is written into its file after so many pages, by the commit that reaches them. A payment writes about thirty.
WAL_PAGES = 500

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_MS}",
    "cache_size=-128",  # KiB: thousands of files may be open, and the operating system caches them as well
    f"wal_autocheckpoint={WAL_PAGES}",
)
_threads = ThreadPoolExecutor(THREADS, "sqlite")


def thread_hop(work: Callable[[], Any]) -> asyncio.Future[Any]:
    """Run blocking work in a worker thread. A simulation passes a hop that runs it in place."""
    return asyncio.get_running_loop().run_in_executor(_threads, work)


async def inline_hop(work: Callable[[], Any]) -> Any:
    """Run blocking work in place: deterministic, for simulations."""
    return work()


@lru_cache(maxsize=4096)
def numbered(sql: str) -> str:
    """A statement with its ``$1`` as SQLite's ``?1``, whose values are found without a name."""
    return _PARAMETER.sub(r"?\1", sql)


_PARAMETER = re.compile(r"\$(\d+)")


def values(args: tuple[Any, ...]) -> list[Any]:
    """The arguments of a statement as SQLite takes them."""
    return [moment_text(value) if isinstance(value, datetime) else value for value in args]


class _Locked(NotNow):
    """Another process has locked the file. Nothing was written."""


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
        return _Locked()
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


async def _pause(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(TimeoutError):  # nobody tells when another process has unlocked the file
        await asyncio.wait_for(loop.create_future(), BUSY_PAUSE_S)


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
        self.used_at_s = 0.0  # by the loop's clock, when it was last used

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
            self._anchor.is_missing = not self.path.exists()
            raise (PracticeMissing if self._anchor.is_missing else PracticeUnavailable)(error.detail) from error
        try:
            self._check(connection, self._anchor)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection, anchor: Anchor) -> None:
        try:
            asked = anchor.mark
            row = connection.execute(numbered(anchors.READ_SQLITE), values(tuple(asked))).fetchone()
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

    @property
    def visit(self) -> str:
        """The file that is open now."""
        return str(self._file)

    async def place(self) -> str | None:
        """None: nothing tells a copied file from the original that a move would not change as well."""
        return None

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """The rows of a query."""
        return list(await self._alone(partial(self._fetch_now, sql, args)))

    async def _alone(self, work: Callable[[], Any]) -> Any:
        """Run work while nobody else has the connection; again for a while, if another process has locked the file."""
        loop, until_s = asyncio.get_running_loop(), None
        while True:
            await self._turn.acquire()
            # A canceled caller returns at once, but nobody else gets the connection before the thread is done with it.
            try:
                running = asyncio.ensure_future(self._hop(work))
            except BaseException:
                self._turn.release()
                raise
            running.add_done_callback(self._end_turn)
            try:
                return await asyncio.shield(running)
            except _Locked:
                until_s = loop.time() + BUSY_S if until_s is None else until_s
                if loop.time() >= until_s:
                    raise
            await _pause(loop)

    def _end_turn(self, _: object) -> None:
        self.used_at_s = asyncio.get_running_loop().time()
        self._turn.release()

    def _fetch_now(self, sql: str, args: tuple[Any, ...]) -> list[sqlite3.Row]:
        try:
            return self._opened().execute(numbered(sql), values(args)).fetchall()
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def commit(self, steps: list[Step]) -> list[int]:
        """Run steps as one transaction. Returns the number of rows that each affected. ``Stale`` if an expectation
        fails."""
        return list(await self._alone(partial(self._commit_now, steps)))

    def _commit_now(self, steps: list[Step]) -> list[int]:
        try:
            connection = self._begin_now()
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

    def _begin_now(self) -> sqlite3.Connection:
        """Begin to write. A file that was moved away while this waited for the right to write is not written to."""
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            if _file_at(self.path) != self._file:
                connection.execute("ROLLBACK")
                raise _Locked
            return connection
        except sqlite3.Error as error:
            raise _translated(error) from error

    @staticmethod
    def _step_now(connection: sqlite3.Connection, step: Step) -> int:
        cursor = connection.execute(numbered(step.sql), values(step.args))
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
                await self._begun()
                yield tx
                await tx.flush()
                await self._to_its_end(partial(self._fetch_now, "COMMIT", ()))
            except BaseException:
                tx.take()
                await self._to_its_end(self._rollback_now)
                raise
            finally:
                mark_open(-1)

    async def _begun(self) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + BUSY_S
        while True:
            try:
                await self._to_its_end(self._begin_now)
                return
            except _Locked:
                if loop.time() >= until_s:
                    raise
            await _pause(loop)

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
