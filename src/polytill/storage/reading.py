"""Rows as values, and rows that this version cannot read because a newer version running beside it wrote them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar

import structlog

from polytill.domain.errors import UnreadableRow

Made = TypeVar("Made")

log = structlog.get_logger("polytill")


def reads_row(make: Callable[[Any], Made]) -> Callable[[Any], Made]:
    """Marks a function from a row to a value, which raises ``UnreadableRow`` if it cannot read the row."""

    @wraps(make)
    def read(row: Any) -> Made:
        try:
            return make(row)
        except Exception as error:  # an unknown state, another shape of JSON: a newer version may write anything
            raise UnreadableRow(row["practice_id"], row["id"]) from error

    return read


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


def overdue_sql(table: str, columns: str) -> str:
    """SQL: rows whose lookup is due, a number of each provider."""
    return (
        f"SELECT {columns} FROM (SELECT one.*, ROW_NUMBER() OVER"  # noqa: S608
        " (PARTITION BY attempt.provider_code ORDER BY one.next_lookup_at, one.id) AS place"
        f" FROM {table} AS one JOIN payment_attempts AS attempt ON attempt.id = one.attempt_id"
        " WHERE one.next_lookup_at <= $1 OR one.next_lookup_at > $3) AS overdue WHERE place <= $2 ORDER BY next_lookup_at, id"
    )
