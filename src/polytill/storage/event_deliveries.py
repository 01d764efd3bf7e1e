"""Event deliveries to the host: the destination, which deliveries are due, which worker claimed them, and how each try
ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from polytill.domain.states import DeliveryState
from polytill.storage.columns import Condition, Reader, Table
from polytill.storage.databases import OwnerDb, Tx, Writes
from polytill.storage.events import COLUMNS, EVENTS, Event
from polytill.storage.reading import readable
from polytill.storage.units import json_text, moment

_OF_EVENT = ", ".join(f"f.{name}" for name in COLUMNS.split(", "))

# ── The destination ──


@dataclass(frozen=True, slots=True)
class Destination:
    """Where events are delivered. Secrets are sealed, the current one first."""

    url: str
    sealed_secrets: tuple[str, ...]
    created_at: datetime
    updated_at: datetime
    previous_until: datetime | None  # until when a previous secret signs as well


_DESTINATIONS = Reader(Destination, but="sealed_secrets previous_until")


async def destination(owner: OwnerDb, now: datetime) -> Destination | None:
    """The destination, with the secrets that sign now. None if no destination is set."""
    rows = await owner.fetch(
        "SELECT d.url, d.sealed_secret, d.created_at, d.updated_at, p.sealed_secret AS previous, p.signs_until"
        " FROM event_destinations d LEFT JOIN event_previous_secrets p ON p.signs_until > $1"
        " WHERE d.id = 1 ORDER BY p.id DESC",
        now,
    )
    if not rows:
        return None
    previous = [row for row in rows if row["previous"] is not None]
    ends = [until for row in previous if (until := moment(row["signs_until"])) is not None]
    secrets = (rows[0]["sealed_secret"], *(row["previous"] for row in previous))
    return _DESTINATIONS.read(rows[0], sealed_secrets=secrets, previous_until=max(ends, default=None))


def put_destination(unit: Writes, url: str, sealed_secret: str, now: datetime) -> None:
    """Set or replace the destination."""
    unit.add(
        "INSERT INTO event_destinations (id, url, sealed_secret, created_at, updated_at) VALUES (1, $1, $2, $3, $3)"
        " ON CONFLICT (id) DO UPDATE SET url = excluded.url, sealed_secret = excluded.sealed_secret,"
        " updated_at = excluded.updated_at",
        url,
        sealed_secret,
        now,
    )


def remove_destination(unit: Writes) -> None:
    """Delete the destination with its secrets and its pending deliveries. ``Stale`` if there is none."""
    unit.add("DELETE FROM event_destinations WHERE id = 1", expect=1)
    unit.add("DELETE FROM event_previous_secrets")
    unit.add("DELETE FROM event_deliveries WHERE state = 'pending'")


def keep_previous(unit: Writes, sealed_secret: str, until: datetime) -> None:
    """Let a replaced secret sign as well until a given time."""
    unit.add("INSERT INTO event_previous_secrets (sealed_secret, signs_until) VALUES ($1, $2)", sealed_secret, until)


def forget_previous(unit: Writes, now: datetime) -> None:
    """Delete replaced secrets that no longer sign."""
    unit.add("DELETE FROM event_previous_secrets WHERE signs_until <= $1", now)


def reseal(unit: Writes, before: str, after: str) -> None:
    """Replace the current sealed secret by the same one, sealed again. ``Stale`` if it has changed."""
    unit.add("UPDATE event_destinations SET sealed_secret = $2 WHERE sealed_secret = $1", before, after, expect=1)


def reseal_previous(unit: Writes, before: str, after: str) -> None:
    """The same for a replaced secret that still signs."""
    unit.add("UPDATE event_previous_secrets SET sealed_secret = $2 WHERE sealed_secret = $1", before, after, expect=1)


# ── Planning ──


def plan(unit: Writes, event: Event, now: datetime) -> None:
    """Plan the delivery of an event of the feed, with all its tries, whether it was delivered before or not."""
    unit.add(
        "INSERT INTO event_deliveries (feed_id, practice_id, payment_id, next_try_at) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (feed_id) DO UPDATE SET state = 'pending', tries = 0, next_try_at = excluded.next_try_at,"
        " abandoned_at = NULL, resolved_at = NULL",
        event.position,
        event.practice_id,
        event.payment_id,
        now,
    )


def plan_abandoned(unit: Writes, now: datetime) -> None:
    """Plan the delivery of every abandoned event without a resolution, with all its tries."""
    unit.add(
        "UPDATE event_deliveries SET state = 'pending', tries = 0, next_try_at = $1, abandoned_at = NULL"
        " WHERE state = 'abandoned' AND resolved_at IS NULL",
        now,
    )


def resolve(unit: Writes, position: int, now: datetime) -> None:
    """Resolve an abandoned event. ``Stale`` if it is not abandoned or is resolved already."""
    unit.add(
        "UPDATE event_deliveries SET resolved_at = $2"
        " WHERE feed_id = $1 AND state = 'abandoned' AND resolved_at IS NULL",
        position,
        now,
        expect=1,
    )


def due_now(unit: Writes, now: datetime, address_changed: bool) -> None:
    """Make everything pending due now. If the address has changed, this includes deliveries that a worker is sending to
    the old address: their claim ends, so an answer of the old address does not count, and the new address gets all
    tries."""
    sets = "next_try_at = $1" + (", tries = 0, claimed_by = NULL, claimed_until = NULL" if address_changed else "")
    unit.add(f"UPDATE event_deliveries SET {sets} WHERE state = 'pending'", now)  # noqa: S608


def set_right(
    unit: Writes, due_after: Sequence[datetime], now: datetime, claimed_after: datetime, until: datetime
) -> None:
    """Make due what a clock that ran ahead planned later than a correct clock does, and shorten the claims that it made.

    ``due_after``: the latest time of the next try, by the number of tries so far.
    """
    late = " OR ".join(f"(tries = {tries} AND next_try_at > ${tries + 4})" for tries in range(len(due_after)))
    unit.add(
        "UPDATE event_deliveries SET"  # noqa: S608
        f" next_try_at = CASE WHEN {late} THEN $1 ELSE next_try_at END,"
        " claimed_until = CASE WHEN claimed_until > $2 THEN $3 ELSE claimed_until END"
        f" WHERE state = 'pending' AND ({late} OR claimed_until > $2)",
        now,
        claimed_after,
        until,
        *due_after,
    )


# ── Claims ──


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this worker has to send, and how often it was tried before."""

    event: Event
    tries: int


_FREE = "(claimed_until IS NULL OR claimed_until <= $3)"


_EARLIER = (
    "NOT EXISTS (SELECT 1 FROM event_deliveries e"
    " WHERE e.payment_id = d.payment_id AND e.feed_id < d.feed_id AND e.state = 'pending')"
)
# $6 is a JSON object from practice to number. PostgreSQL visits one practice after the other by an index and takes a
# few of each, so that a claim costs the same however long a queue is. SQLite has no LATERAL and reads all that are due.
_DUE = {
    "postgresql": (
        "WITH RECURSIVE p(id) AS ("  # noqa: S608
        "(SELECT practice_id FROM event_deliveries WHERE state = 'pending' ORDER BY practice_id LIMIT 1) UNION ALL"
        " SELECT (SELECT practice_id FROM event_deliveries WHERE state = 'pending' AND practice_id > p.id"
        " ORDER BY practice_id LIMIT 1) FROM p WHERE p.id IS NOT NULL)"
        " SELECT due.feed_id FROM p CROSS JOIN LATERAL ("
        "SELECT d.feed_id, ROW_NUMBER() OVER (ORDER BY d.next_try_at, d.feed_id) AS place FROM event_deliveries d"
        f" WHERE d.practice_id = p.id AND d.state = 'pending' AND d.next_try_at <= $3 AND {_FREE} AND {_EARLIER}"
        " ORDER BY d.next_try_at, d.feed_id LIMIT COALESCE(CAST(CAST($6 AS json) ->> CAST(p.id AS TEXT) AS INTEGER),"
        " CAST($5 AS INTEGER))) AS due WHERE p.id IS NOT NULL ORDER BY due.place, due.feed_id LIMIT $4"
    ),
    "sqlite": (
        "SELECT feed_id FROM (SELECT d.feed_id, d.practice_id,"  # noqa: S608
        " ROW_NUMBER() OVER (PARTITION BY d.practice_id ORDER BY d.next_try_at, d.feed_id) AS place"
        f" FROM event_deliveries d WHERE d.state = 'pending' AND d.next_try_at <= $3 AND {_FREE} AND {_EARLIER}) AS due"
        " WHERE place <= COALESCE(json_extract($6, '$.\"' || practice_id || '\"'), $5)"
        " ORDER BY place, feed_id LIMIT $4"
    ),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's claim of deliveries to one address, and the time at which it ends."""

    id: str
    url: str
    until: datetime


@dataclass(frozen=True, slots=True)
class FreeSlots:
    """How many deliveries a worker can start: in all, of practices that it knows, and of each other practice."""

    total: int
    of_practice: dict[int, int]
    of_others: int


async def claim(tx: Tx, dialect: str, new: Claim, slots: FreeSlots, now: datetime) -> bool:
    """Claim deliveries that are due: the first of each practice, then the second of each, and so on, so that a practice
    with a long queue delays no other. No practice gets more than its free slots. Only the earliest of a payment is
    claimed, so that its order is kept. Nothing is claimed for an address that is no longer the destination. Returns
    whether any was claimed.

    If two workers see the same row free, the second finds it claimed and leaves it.
    """
    if dialect == "postgresql":
        # A plan made for a short queue takes minutes for a long one, and would be kept until the next ANALYZE.
        await tx.fetch("SET LOCAL plan_cache_mode = force_custom_plan")
    rows = await tx.fetch(
        "UPDATE event_deliveries SET claimed_by = $1, claimed_until = $2"  # noqa: S608
        f" WHERE state = 'pending' AND {_FREE} AND EXISTS (SELECT 1 FROM event_destinations WHERE url = $7)"
        f" AND feed_id IN ({_DUE[dialect]}) RETURNING feed_id",
        new.id,
        new.until,
        now,
        slots.total,
        slots.of_others,
        json_text({str(one): room for one, room in slots.of_practice.items()}),
        new.url,
    )
    return bool(rows)


async def claimed(owner: OwnerDb, claim_id: str) -> list[Claimed]:
    """The claimed deliveries. One that this version cannot read keeps its claim and delays no other."""
    rows = await owner.fetch(
        f"SELECT {_OF_EVENT}, d.tries FROM event_deliveries d JOIN event_feed f ON f.id = d.feed_id"  # noqa: S608
        " WHERE d.claimed_by = $1 AND d.state = 'pending' ORDER BY f.id",
        claim_id,
    )
    return readable(rows, lambda row: Claimed(EVENTS.read(row), row["tries"]))


def release(unit: Writes, claim_id: str, position: int) -> None:
    """End a claim without a try."""
    unit.add(
        "UPDATE event_deliveries SET claimed_by = NULL, claimed_until = NULL"
        " WHERE feed_id = $2 AND claimed_by = $1 AND state = 'pending'",
        claim_id,
        position,
    )


@dataclass(frozen=True, slots=True)
class Tried:
    """How one try ended. ``next_try_at`` None: there is no further try."""

    claim_id: str
    position: int
    state: DeliveryState
    status: int | None
    error: str | None
    next_try_at: datetime | None


def finish(unit: Writes, tried: Tried, now: datetime) -> None:
    """Record how a try ended. Nothing is recorded if another worker has the claim now or the address has changed."""
    unit.add(
        "UPDATE event_deliveries SET state = $3, tries = tries + 1, last_status = $4, last_error = $5,"
        " next_try_at = COALESCE($6, next_try_at), delivered_at = $7, abandoned_at = $8, claimed_by = NULL,"
        " claimed_until = NULL WHERE feed_id = $2 AND claimed_by = $1 AND state = 'pending'",
        tried.claim_id,
        tried.position,
        tried.state,
        tried.status,
        tried.error,
        tried.next_try_at,
        now if tried.state is DeliveryState.delivered else None,
        now if tried.state is DeliveryState.abandoned else None,
    )


# ── Status ──


@dataclass(frozen=True, slots=True)
class Backlog:
    """Undelivered events: pending, how many of these are retried after a failure, and abandoned without a resolution."""

    pending: int = 0
    oldest_pending_at: datetime | None = None
    retrying: int = 0
    retrying_since: datetime | None = None
    abandoned: int = 0
    has_destination: bool = False


_BACKLOG = Reader(
    Backlog,
    "SELECT COUNT(CASE WHEN d.state = 'pending' THEN 1 END) AS pending,"
    " MIN(CASE WHEN d.state = 'pending' THEN f.created_at END) AS oldest_pending_at,"
    " COUNT(CASE WHEN d.state = 'pending' AND d.tries > 0 THEN 1 END) AS retrying,"
    " MIN(CASE WHEN d.state = 'pending' AND d.tries > 0 THEN f.created_at END) AS retrying_since,"
    " COUNT(CASE WHEN d.state = 'abandoned' THEN 1 END) AS abandoned,"
    " (SELECT COUNT(*) FROM event_destinations) AS has_destination"
    " FROM event_deliveries d JOIN event_feed f ON f.id = d.feed_id",
)


async def backlog(owner: OwnerDb) -> Backlog:
    """The totals of all practices."""
    return await _BACKLOG.one(owner, "WHERE d.state IN ('pending', 'abandoned') AND d.resolved_at IS NULL") or Backlog()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event and the state of its delivery."""

    event: Event
    state: DeliveryState
    tries: int
    last_status: int | None
    last_error: str | None
    next_try_at: datetime | None
    delivered_at: datetime | None
    abandoned_at: datetime | None
    resolved_at: datetime | None


_DELIVERIES = Table("event_deliveries", Delivery, but="event")


async def listed(
    owner: OwnerDb,
    state: DeliveryState | None,
    practice_id: int | None,
    before: int | None,
    limit: int,
    unresolved: bool = False,
) -> list[Delivery]:
    """Deliveries, newest event first."""
    where = Condition()
    for comparison, value in (("d.state =", state), ("d.practice_id =", practice_id), ("d.feed_id <", before or None)):
        where.compare(comparison, value)
    if unresolved:
        where.parts.append("d.resolved_at IS NULL")
    rows = await owner.fetch(
        f"SELECT {_OF_EVENT}, {_DELIVERIES.of('d')}"  # noqa: S608
        " FROM event_deliveries d JOIN event_feed f ON f.id = d.feed_id"
        f" WHERE {where} ORDER BY d.feed_id DESC LIMIT {where.add(limit)}",
        *where.args,
    )
    return readable(rows, lambda row: _DELIVERIES.read(row, event=EVENTS.read(row)))
