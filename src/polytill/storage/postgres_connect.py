"""Connections to a PostgreSQL server, and the translation of its errors: one sentence each, never with a password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit, urlunsplit

import asyncpg

from polytill.domain.database_urls import at_host, hosts_of, place_of, primary_only, wrong_with_server
from polytill.domain.errors import (
    CheckRefused,
    DatabaseRefused,
    DatabaseUnavailable,
    DiskFull,
    Duplicate,
    NotNow,
    OperatorError,
    Stale,
)

ADMIN = "postgres"  # the database from which others are created and dropped
CONNECT_S, HOST_S = 10.0, 3.0  # for a connection to one host, and to each of several

# Of an address with several hosts: the one that could be written when it was used last.
_last_primary: dict[str, str] = {}

GONE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server closed the connection while a query was being sent
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.TooManyConnectionsError,
    asyncpg.exceptions.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
)

FAILS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class ServerFull(DatabaseUnavailable):
    """The database server accepts no more connections now."""


class DatabaseMissing(DatabaseUnavailable):
    """There is no such database on the server."""


class DatabaseRightMissing(DatabaseRefused):
    """The database user lacks a right that one statement needs."""


_NO_ROOM = (asyncpg.exceptions.DiskFullError, asyncpg.exceptions.OutOfMemoryError, asyncpg.exceptions.PostgresIOError)
_NOT_LET_IN = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)


def translated(error: BaseException) -> BaseException:
    """Return a driver's error as one of our classes. Unknown errors are returned as they are."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Duplicate(error.constraint_name or "")
    if isinstance(error, asyncpg.CheckViolationError):
        return CheckRefused(error.constraint_name or "")
    if isinstance(error, asyncpg.DivisionByZeroError):
        return Stale()
    if isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
        return Stale()
    if isinstance(error, asyncpg.exceptions.InvalidCachedStatementError | asyncpg.exceptions.OutdatedSchemaCacheError):
        return NotNow("The schema of the database has just changed; try again in a moment.")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        # The server names a table or schema, no data: "permission denied for table payments".
        return DatabaseRefused(f"The database user lacks a right that this needs ({error.message}).")
    if isinstance(error, _NO_ROOM):
        return DiskFull("The disk of the PostgreSQL server is full, or fails.")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return DatabaseMissing()
    if isinstance(error, GONE):
        return DatabaseUnavailable()
    return error


def with_database(server_url: str, database: str) -> str:
    """The address of one database on a server (which may name several hosts and options)."""
    parts = urlsplit(server_url)
    return urlunsplit((parts.scheme, parts.netloc, "/" + quote(database, safe=""), parts.query, ""))


def database_of(url: str) -> str:
    """The name of the database in an address."""
    return unquote(urlsplit(url).path.lstrip("/"))


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Translate a missing right to do ``what`` into one sentence."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseRightMissing(f"The database user lacks the right to {what}.") from error
    except FAILS as error:
        raise translated(error) from error


_POOLER_HAS_NONE = re.compile(r"database .* does not exist|no such database")


async def connect(url: str, timeout_s: float = CONNECT_S) -> Any:
    """A connection by address: of several hosts, to the one that can be written. ``?pgbouncer=true`` in it turns prepared
    statements off, which a pooler breaks. ``timeout_s`` is for an address with one host."""
    if (wrong := wrong_with_server(url)) is not None:
        raise OperatorError(wrong)
    hosts = hosts_of(url)
    if len(hosts) < 2 or any("/" in host for host in hosts):
        return await _connected(url, timeout_s)
    return await _connected_to_one(url, hosts)


async def _connected_to_one(url: str, hosts: list[str]) -> Any:
    """A connection to the first of several hosts that can be written, beginning with the one that could last. Each has a
    time limit of its own, since a host that is switched off answers nothing."""
    known = ",".join(hosts)
    failures: list[Exception] = []
    for host in sorted(hosts, key=lambda host: host != _last_primary.get(known)):
        try:
            connection = await _connected(at_host(url, host, primary_only(url)), HOST_S)
        except (NotNow, OperatorError) as error:
            failures.append(error)
            continue
        _last_primary[known] = host
        return connection
    for failure in failures:
        if type(failure) is not DatabaseUnavailable:  # a rejected password, a full server, a missing database
            raise failure
    raise DatabaseUnavailable(
        f"The database {place_of(url)} cannot be reached just now: none of its hosts can be written."
    ) from failures[0]


async def _connected(url: str, timeout_s: float) -> Any:
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    pooled = options.pop("pgbouncer", ["false"])[0] == "true"
    query = urlencode(options, doseq=True, quote_via=quote)
    address = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
    try:
        return await asyncpg.connect(
            address,
            statement_cache_size=0 if pooled else 200,
            timeout=timeout_s,
            command_timeout=30.0,
            server_settings={"application_name": "polytill"},
        )
    except (Exception, asyncpg.PostgresError) as error:
        raise _not_connected(url, error) from error


def _not_connected(url: str, error: Exception) -> Exception:
    """Why there is no connection, in a sentence with user, host and database, and without the password."""
    if isinstance(error, asyncpg.exceptions.TooManyConnectionsError):  # also if the rest is reserved for superusers
        return ServerFull()
    place = place_of(url)
    if isinstance(error, asyncpg.exceptions.ProtocolViolationError):  # PgBouncer says everything under this code
        if _POOLER_HAS_NONE.search(str(error)):
            return DatabaseMissing(f"There is no database {place}.")
        if "no more connections allowed" in str(error):
            return ServerFull()
    if isinstance(error, _NOT_LET_IN):
        return DatabaseRefused(f"The PostgreSQL server rejects the user or the password for {place}.")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return DatabaseRefused(f"The user lacks the right CONNECT on the database {place}.")
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return DatabaseMissing(f"There is no database {place}.")
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return OperatorError(f"The options of the address of {place} are not valid.")
    if type(error) is ConnectionError and "SSL" in str(error):
        return DatabaseRefused(f"The PostgreSQL server has no TLS, which the address of {place} requires.")
    if isinstance(error, GONE):
        return DatabaseUnavailable(f"The database {place} cannot be reached just now ({type(error).__name__}).")
    if isinstance(error, asyncpg.PostgresError | ValueError):
        return DatabaseRefused(f"The PostgreSQL server rejects the connection to {place} ({type(error).__name__}).")
    return error
