"""Events for the host: written in a practice's own transaction, forwarded to one feed, delivered from there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from polytill.domain.review_cases import CaseKind
from polytill.domain.states import Environment
from polytill.storage.anchors import Mark
from polytill.storage.columns import Table, insert_into, places
from polytill.storage.databases import OwnerDb, PracticeDb, Tx, Writes
from polytill.storage.reading import read_past, readable
from polytill.storage.units import moment


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``position`` is its place in the table that it was read from."""

    event_id: str
    practice_id: int
    environment: Environment
    type: str  # an ``EventType``, or one of a newer version, which is forwarded and delivered all the same
    payment_id: str | None
    data: dict[str, Any]
    created_at: datetime
    position: int = 0


EVENTS = Table("events", Event)
_NEW = "event_id, practice_id, environment, type, payment_id, data, created_at"
COLUMNS = f"id, id AS position, {_NEW}"


def append(unit: Writes, event: Event, unless_case: tuple[CaseKind, str] | None = None) -> None:
    """Add to the practice's own outbox, in the transaction that the event reports. Nothing is added if its case exists
    already."""
    unit.add(
        f"INSERT INTO events ({_NEW}) SELECT {places(7)}"  # noqa: S608
        " WHERE NOT EXISTS (SELECT 1 FROM operator_cases WHERE kind = $8 AND subject = $9)",
        *EVENTS.values(event, _NEW),
        *(unless_case or (None, None)),
    )


async def unforwarded(db: PracticeDb, limit: int = 200) -> list[Event]:
    """Events that are not in the owner's feed yet, in order: none of a payment before an earlier one that cannot be
    read."""
    sql = f"SELECT {COLUMNS} FROM events WHERE forwarded_at IS NULL ORDER BY id LIMIT $1"  # noqa: S608
    return (await read_past(lambda places: db.fetch(sql, places), _in_order, limit))[:limit]


def _in_order(rows: list[Any]) -> list[Event]:
    found = readable(rows, EVENTS.read)
    read = {event.position for event in found}
    stuck: dict[str | None, int] = {}
    for row in rows:
        if row["id"] not in read:
            stuck.setdefault(row["payment_id"], row["id"])
    return [
        one for one in found if one.payment_id is None or one.position < stuck.get(one.payment_id, one.position + 1)
    ]


def mark_forwarded(unit: Writes, event: Event, now: datetime) -> None:
    """Record that an event is in the owner's feed."""
    unit.add("UPDATE events SET forwarded_at = $2 WHERE id = $1", event.position, now)


async def last_forwarded(db: PracticeDb) -> int:
    """The position of the newest event that is marked as forwarded. 0 if none is."""
    return int(await db.value(f"SELECT {LAST_FORWARDED}") or 0)


# Most of the newest events are forwarded, so that this reads a few rows from the end of the table.
LAST_FORWARDED = "(SELECT id FROM events WHERE forwarded_at IS NOT NULL ORDER BY id DESC LIMIT 1)"


async def forwarded_after(db: PracticeDb, position: int) -> int:
    """The number of events after a position that are marked as forwarded."""
    return int(await db.value("SELECT count(*) FROM events WHERE id > $1 AND forwarded_at IS NOT NULL", position))


def forward_again(unit: Writes, after: int) -> None:
    """Mark the events after a position as not forwarded: the owner's feed has lost them."""
    unit.add("UPDATE events SET forwarded_at = NULL WHERE id > $1 AND forwarded_at IS NOT NULL", after)


async def newest(db: PracticeDb) -> tuple[Mark, datetime | None]:
    """The newest event and payment of a practice's database, and when the event was recorded."""
    payment_id = await db.value("SELECT max(id) FROM payments")
    row = await db.one("SELECT id, event_id, created_at FROM events ORDER BY id DESC LIMIT 1")
    if row is None:
        return Mark(payment_id=payment_id), None
    return Mark(row["id"], row["event_id"], payment_id), moment(row["created_at"])


# ── The owner's feed ──


@dataclass(slots=True)
class FeedSeen:
    """What one process knows of the feed.

    Args:
        process: Names the process.
        position: The newest position that it has seen there.
    """

    process: str
    position: int = 0


# No installation has forwarded so many events a second for long.
POSITIONS_A_SECOND = 100_000
_COUNTED_FROM = datetime(2026, 1, 1, tzinfo=UTC)
# Changes when a dump is restored, also into the same database, and when the server starts, also from a restored copy.
_VISIT = (
    "(SELECT concat_ws(' ', d.oid, EXTRACT(EPOCH FROM pg_postmaster_start_time()), pg_relation_filenode('event_feed'))"
    " FROM pg_database d WHERE d.datname = current_database())"
)
_OPEN_FEED = (
    "UPDATE feed_state SET visit = {visit}, position ="
    " CASE WHEN position < $2 AND (visit <> {visit} OR position < $1) THEN $2 ELSE position END WHERE id = 1 RETURNING position"
)
_TAKE = (
    "UPDATE feed_state SET position = position + 1"
    " WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM event_feed WHERE event_id = $1) RETURNING position"
)


async def open_feed(tx: Tx, owner: OwnerDb, seen: FeedSeen, now: datetime) -> int:
    """Lock the feed until the transaction ends, and return its newest position.

    Nobody else adds an event meanwhile, so that a reader never sees a later one before an earlier one. Where the owner
    database may have been replaced by an older copy since the last event, positions continue at a number that depends on
    the time, and that no lost event had: a reader's cursor from before never hides a new event. It is not known here
    whether it was replaced. On PostgreSQL the server's start counts, on SQLite the process's.
    """
    first = int((now - _COUNTED_FROM).total_seconds() * POSITIONS_A_SECOND)
    if owner.engine.dialect == "postgresql":
        position = await tx.value(_OPEN_FEED.format(visit=_VISIT), seen.position, first)
    else:
        visit = f"{seen.process} {owner.engine.visit}"
        position = await tx.value(_OPEN_FEED.format(visit="$3"), seen.position, first, visit)
    return int(position)


async def feed(tx: Tx, event: Event) -> int | None:
    """Add an event to the feed after ``open_feed``, and return its position. None if it is in the feed already."""
    position: int | None = await tx.value(_TAKE, event.event_id)
    if position is not None:
        tx.add(insert_into("event_feed", f"id, {_NEW}"), position, *EVENTS.values(event, _NEW))
    return position


async def read(owner: OwnerDb, after: int, limit: int) -> list[Event]:
    """The events of the feed after a position, in order."""
    rows = await owner.fetch(
        f"SELECT {COLUMNS} FROM event_feed WHERE id > $1 ORDER BY id LIMIT $2",  # noqa: S608
        after,
        limit,
    )
    return [EVENTS.read(row) for row in rows]
