"""Rows as values, and rows that this version cannot read: a newer one has written them while both are at work."""

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
    """A function from a row to a value, that raises ``UnreadableRow`` where it cannot read the row."""

    @wraps(make)
    def read(row: Any) -> Made:
        try:
            return make(row)
        except Exception as error:  # an unknown state, another shape of JSON: a newer version may write anything
            raise UnreadableRow(row["practice_id"], row["id"]) from error

    return read


def readable(rows: Iterable[Any], make: Callable[[Any], Made]) -> list[Made]:
    """Rows as values, for work on each of them: what cannot be read keeps the others from nothing.

    Not for rows that are weighed together, such as the refunds of a payment: there a missing one would mislead.
    """
    found = []
    for row in rows:
        try:
            found.append(make(row))
        except UnreadableRow as error:
            tell_unreadable(error)
    return found


async def read_past(
    fetch: Callable[[int], Awaitable[list[Any]]], take: Callable[[list[Any]], list[Made]], limit: int
) -> list[Made]:
    """Up to ``limit`` rows (of each provider, where ``fetch`` counts so) as values. What ``take`` leaves out takes no place
    from those behind it: then more rows are read. Here and there it is more than ``limit``."""
    places = limit
    while True:
        rows = await fetch(places)
        found = take(rows)
        left_out = len(rows) - len(found)
        if len(rows) < places or limit + left_out <= places:
            return found
        places = limit + 2 * left_out


def known_or(state: str, states: type[StrEnum]) -> str:
    """SQL: a row's ``state`` is this one, or none that this version knows. Who reads such a row hears that it cannot."""
    others = ", ".join(f"'{other}'" for other in states if other != state)
    return f"state NOT IN ({others})"


def tell_unreadable(error: UnreadableRow) -> None:
    """Say which row was left out, and nothing of what stands in it."""
    log.error("row_not_readable", practice=error.practice_id, row=error.row_id)
