"""The location of DBOS's own tables: in the owner database, outside of our migrations.

On PostgreSQL they have their own schema (``dbos``); on SQLite they are in the owner's file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from polytill.domain.database_urls import hosts_of, primary_only
from polytill.domain.errors import OperatorError
from polytill.storage.opening import is_postgres
from polytill.storage.postgres_connect import HOST_S


def system_database(owner_url: str) -> dict[str, Any]:
    """The part of DBOS's configuration with the location of its tables."""
    if not is_postgres(owner_url):
        return {"system_database_url": owner_url}
    import psycopg
    import sqlalchemy as sa
    from psycopg.conninfo import make_conninfo

    # Only libpq reads an address with several hosts: SQLAlchemy's addresses have one.
    address, _, options = owner_url.partition("?")
    kept = "&".join(option for option in options.split("&") if option and not option.startswith("pgbouncer="))
    target = f"{address}?{kept}" if kept else address
    if len(hosts_of(owner_url)) > 1:
        target = make_conninfo(target, target_session_attrs=primary_only(owner_url))
        if "connect_timeout" not in parse_qs(options):
            target = make_conninfo(target, connect_timeout=int(HOST_S))  # of each host
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(target),
        pool_size=2,
        max_overflow=2,
        pool_pre_ping=True,
    )
    return {"system_database_url": None, "system_database_engine": engine}


@contextmanager
def reached() -> Iterator[None]:
    """Translate an unreachable database into one sentence. The process supervisor restarts the worker."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        raise OperatorError(
            "The jobs by the clock cannot start: the owner database cannot be reached, or its user lacks a right"
            " (CREATE on the database, for the schema dbos)."
        ) from error
