"""Rows as values, and rows that this version cannot read because a newer version running beside it wrote them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import structlog

from polytill.domain.errors import UnreadableRow
from polytill.storage.columns import Table
from polytill.storage.databases import PracticeDb

Made = TypeVar("Made")

log = structlog.get_logger("polytill")


def readable(rows: Iterable[Any], make: Callable[[Any], Made]) -> list[Made]:
    """Rows as values, for work on each row alone: an unreadable row does not stop the others.

    Not for rows that are judged together, such as the refunds of a payment, because a missing one would mislead.
    """
    found = []
    for row in rows:
        try:
            found.append(make(row))
        except UnreadableRow as error:
            report_unreadable(error)
    return found


async def read_past(
    fetch: Callable[[int], Awaitable[list[Any]]], take: Callable[[list[Any]], list[Made]], limit: int
) -> list[Made]:
    """Up to ``limit`` rows (of each provider, if ``fetch`` counts by provider) as values. Rows that ``take`` leaves out
    do not count: more rows are read instead. The result may have a few more than ``limit``."""
    places = limit
    while True:
        rows = await fetch(places)
        found = take(rows)
        left_out = len(rows) - len(found)
        if len(rows) < places or limit + left_out <= places:
            return found
        places = limit + 2 * left_out


def known_or(state: str, states: type[StrEnum]) -> str:
    """SQL: a row's ``state`` is this one, or unknown to this version. Reading such a row raises ``UnreadableRow``."""
    others = ", ".join(f"'{other}'" for other in states if other != state)
    return f"state NOT IN ({others})"


def report_unreadable(error: UnreadableRow) -> None:
    """Log which row was left out, without its contents."""
    log.error("row_not_readable", practice=error.practice_id, row=error.row_id)


async def overdue(
    db: PracticeDb, table: Table[Made], source: str, now: datetime, beyond: datetime | None, limit: int
) -> list[Made]:
    """The rows whose next lookup is due: a number of each provider, whatever waits at another. A lookup that was put off
    to after ``beyond`` is due, too. ``source``: SQL, the rows with their ``provider_code``."""
    sql = (
        f"SELECT {table.columns} FROM (SELECT one.*, ROW_NUMBER() OVER"  # noqa: S608
        f" (PARTITION BY provider_code ORDER BY one.next_lookup_at, one.id) AS place FROM {source}"
        " WHERE one.next_lookup_at <= $1 OR one.next_lookup_at > $3) AS overdue WHERE place <= $2 ORDER BY next_lookup_at, id"
    )
    return await read_past(
        lambda places: db.fetch(sql, now, places, beyond), lambda rows: readable(rows, table.read), limit
    )
