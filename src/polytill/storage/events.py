"""What the platform is told: written in a practice's own transaction, forwarded to one feed, delivered from there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import Environment
from polytill.storage.databases import OwnerDb, PracticeDb, Tx, Writes
from polytill.storage.reading import read_past, readable, reads_row
from polytill.storage.units import json_text, json_value, moment


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. ``position`` is its place in the table that it was read from."""

    event_id: str
    practice_id: int
    environment: Environment
    type: str
    payment_id: str | None
    data: dict[str, Any]
    created_at: datetime
    position: int = 0


def append(unit: Writes, event: Event, unless_case: tuple[str, str] | None = None) -> None:
    """Into the practice's own outbox, in the transaction that makes it true; not where the case is there already."""
    unit.add(
        "INSERT INTO events (event_id, practice_id, environment, type, payment_id, data, created_at)"
        " SELECT $1, $2, $3, $4, $5, $6, $7"
        " WHERE NOT EXISTS (SELECT 1 FROM operator_cases WHERE kind = $8 AND subject = $9)",
        event.event_id, event.practice_id, event.environment.value, event.type, event.payment_id,
        json_text(event.data), event.created_at, *(unless_case or (None, None)),
    )  # fmt: skip


@reads_row
def _event(row: Any) -> Event:
    created = moment(row["created_at"])
    assert created is not None
    return Event(
        row["event_id"], row["practice_id"], Environment(row["environment"]), row["type"], row["payment_id"],
        json_value(row["data"]), created, row["id"],
    )  # fmt: skip


_COLUMNS = "id, event_id, practice_id, environment, type, payment_id, data, created_at"


async def unforwarded(db: PracticeDb, limit: int = 200) -> list[Event]:
    """What is not in the owner's feed yet, in order: none of a payment before an earlier one that cannot be read."""
    sql = f"SELECT {_COLUMNS} FROM events WHERE forwarded_at IS NULL ORDER BY id LIMIT $1"  # noqa: S608
    return (await read_past(lambda places: db.fetch(sql, places), _in_order, limit))[:limit]


def _in_order(rows: list[Any]) -> list[Event]:
    found = readable(rows, _event)
    read = {event.position for event in found}
    stuck: dict[str | None, int] = {}
    for row in rows:
        if row["id"] not in read:
            stuck.setdefault(row["payment_id"], row["id"])
    return [
        one for one in found if one.payment_id is None or one.position < stuck.get(one.payment_id, one.position + 1)
    ]


def mark_forwarded(unit: Writes, event: Event, now: datetime) -> None:
    """It stands in the owner's feed."""
    unit.add("UPDATE events SET forwarded_at = $2 WHERE id = $1", event.position, now)


# ── The owner's feed ──


async def feed(tx: Tx, event: Event, dialect: str) -> int | None:
    """Put an event into the feed; its position, or None where it stands there already.

    Positions are given out under a lock, so that a reader never sees a later one before an earlier one.
    """
    if dialect == "postgresql":
        await tx.fetch("SELECT pg_advisory_xact_lock(7041777)")
    row = await tx.one(
        "INSERT INTO event_feed (event_id, practice_id, environment, type, payment_id, data, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (event_id) DO NOTHING RETURNING id",
        event.event_id, event.practice_id, event.environment.value, event.type, event.payment_id,
        json_text(event.data), event.created_at,
    )  # fmt: skip
    return int(row["id"]) if row else None


async def read(owner: OwnerDb, after: int, limit: int) -> list[Event]:
    """The feed in order, from after a position on."""
    rows = await owner.fetch(
        f"SELECT {_COLUMNS} FROM event_feed WHERE id > $1 ORDER BY id LIMIT $2",  # noqa: S608
        after, limit,
    )  # fmt: skip
    return [_event(row) for row in rows]


# ── Deliveries to the platform ──


async def destination(owner: OwnerDb) -> tuple[str, str] | None:
    """Where events are delivered: the address and the sealed secret."""
    row = await owner.one("SELECT url, sealed_secret FROM event_destinations WHERE id = 1")
    return (row["url"], row["sealed_secret"]) if row else None


def put_destination(unit: Writes, url: str, sealed_secret: str, now: datetime) -> None:
    """Set or replace where events are delivered."""
    unit.add(
        "INSERT INTO event_destinations (id, url, sealed_secret, created_at, updated_at) VALUES (1, $1, $2, $3, $3)"
        " ON CONFLICT (id) DO UPDATE SET url = excluded.url, sealed_secret = excluded.sealed_secret,"
        " updated_at = excluded.updated_at",
        url, sealed_secret, now,
    )  # fmt: skip


def reseal_destination(unit: Writes, url: str, before: str, sealed_secret: str, now: datetime) -> None:
    """Replace the sealed secret by the same one sealed anew."""
    unit.add(
        "UPDATE event_destinations SET sealed_secret = $3, updated_at = $4 WHERE url = $1 AND sealed_secret = $2",
        url, before, sealed_secret, now, expect=1,
    )  # fmt: skip


def plan_delivery(unit: Writes, position: int, payment_id: str | None, now: datetime) -> None:
    """Have an event of the feed delivered."""
    unit.add(
        "INSERT INTO event_deliveries (feed_id, payment_id, next_try_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (feed_id) DO UPDATE SET state = 'pending', tries = 0, next_try_at = excluded.next_try_at",
        position, payment_id, now,
    )  # fmt: skip


async def due_deliveries(owner: OwnerDb, now: datetime, limit: int = 50) -> list[tuple[Event, int]]:
    """Events to deliver now, with how often each was tried. Of one payment only the earliest: order is kept."""
    sql = (
        "SELECT f.id, f.event_id, f.practice_id, f.environment, f.type, f.payment_id, f.data, f.created_at, d.tries"
        " FROM event_deliveries d JOIN event_feed f ON f.id = d.feed_id"
        " WHERE d.state = 'pending' AND d.next_try_at <= $1 AND NOT EXISTS (SELECT 1 FROM event_deliveries e"
        " WHERE e.state = 'pending' AND e.payment_id = d.payment_id AND e.feed_id < d.feed_id)"
        " ORDER BY f.id LIMIT $2"
    )

    def taken(rows: list[Any]) -> list[tuple[Event, int]]:
        return readable(rows, lambda row: (_event(row), row["tries"]))

    return (await read_past(lambda places: owner.fetch(sql, now, places), taken, limit))[:limit]


def set_right(unit: Writes, after: datetime, now: datetime) -> None:
    """Make due what was planned as due, and never tried, by a time that was ahead."""
    unit.add(
        "UPDATE event_deliveries SET next_try_at = $2 WHERE state = 'pending' AND tries = 0 AND next_try_at > $1",
        after, now,
    )  # fmt: skip


def claim_delivery(unit: Writes, position: int, tries: int, until: datetime) -> None:
    """Take a delivery in hand, so that no other worker sends it meanwhile. ``Stale`` where another has it."""
    unit.add(
        "UPDATE event_deliveries SET tries = tries + 1, next_try_at = $3"
        " WHERE feed_id = $1 AND tries = $2 AND state = 'pending'",
        position, tries, until, expect=1,
    )  # fmt: skip


def finish_delivery(
    unit: Writes, position: int, state: str, status: int | None, error: str | None, next_try_at: datetime | None,
    now: datetime,
) -> None:  # fmt: skip
    """What came of a try."""
    unit.add(
        "UPDATE event_deliveries SET state = $2, last_status = $3, last_error = $4,"
        " next_try_at = COALESCE($5, next_try_at), delivered_at = $6 WHERE feed_id = $1 AND state = 'pending'",
        position, state, status, error, next_try_at, now if state == "delivered" else None,
    )  # fmt: skip
