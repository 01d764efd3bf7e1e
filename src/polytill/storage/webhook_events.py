"""Webhooks from providers: verified, stored once, then applied, ignored or parked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import Environment, EventState
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import read_past, readable, reads_row
from polytill.storage.units import json_text, json_value, moment


@dataclass(slots=True)
class WebhookEvent:
    """One webhook. ``body`` is what was received, without its secret fields. ``has_more``: the current fact is not its
    last."""

    id: str
    practice_id: int
    environment: Environment
    config_id: int
    provider_code: str
    dedupe_key: str
    event_type: str
    state: EventState
    body: Any
    must_fetch: bool
    received_at: datetime
    reason: str | None = None
    payment_id: str | None = None
    tries: int = 0  # how many of the ages at which it is applied again were used
    applied_at: datetime | None = None
    has_more: bool = False


# A webhook of several facts, between two of them. If the process crashes there, the whole webhook is processed again.
HAS_MORE = "has_more"
# The start of the keys of unsigned webhooks that name something of a payment besides the payment itself.
NAMED = "named:"

_COLUMNS = (
    "id, practice_id, environment, config_id, provider_code, dedupe_key, event_type, state, reason, body, must_fetch,"
    " payment_id, tries, received_at, applied_at"
)


@reads_row
def _event(row: Any) -> WebhookEvent:
    values = dict(row)
    values["environment"] = Environment(values["environment"])
    values["state"] = EventState(values["state"])
    values["body"] = json_value(values["body"])
    values["must_fetch"] = bool(values["must_fetch"])
    values["received_at"], values["applied_at"] = moment(values["received_at"]), moment(values["applied_at"])
    return WebhookEvent(**values)


def insert_once(unit: Writes, event: WebhookEvent) -> None:
    """Store a webhook. Affects no row if the same fact was received before."""
    unit.add(
        "INSERT INTO webhook_events (id, practice_id, environment, config_id, provider_code, dedupe_key, event_type,"
        " state, reason, body, must_fetch, payment_id, tries, received_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
        " ON CONFLICT (config_id, environment, dedupe_key) DO NOTHING",
        event.id,
        event.practice_id,
        event.environment.value,
        event.config_id,
        event.provider_code,
        event.dedupe_key,
        event.event_type,
        event.state.value,
        event.reason,
        json_text(event.body),
        event.must_fetch,
        event.payment_id,
        event.tries,
        event.received_at,
    )


def finish(
    unit: Writes, event: WebhookEvent, state: EventState, reason: str | None, payment_id: str | None, now: datetime
) -> None:
    """Record what happened to it. ``event`` gets the state that the unit writes."""
    if event.has_more and state is EventState.applied:
        state, reason = EventState.received, HAS_MORE
    event.state, event.reason = state, reason
    unit.add(
        "UPDATE webhook_events SET state = $2, reason = $3, payment_id = COALESCE($4, payment_id), applied_at = $5,"
        " tries = $6 WHERE id = $1",
        event.id,
        state.value,
        reason,
        payment_id,
        now,
        event.tries,
    )


async def by_id(db: PracticeDb, event_id: str) -> WebhookEvent | None:
    """One delivery."""
    row = await db.one(f"SELECT {_COLUMNS} FROM webhook_events WHERE id = $1", event_id)  # noqa: S608
    return _event(row) if row else None


async def by_dedupe_key(
    db: PracticeDb, config_id: int, environment: Environment, dedupe_key: str
) -> WebhookEvent | None:
    """The webhook with this key."""
    row = await db.one(
        f"SELECT {_COLUMNS} FROM webhook_events"  # noqa: S608
        " WHERE config_id = $1 AND environment = $2 AND dedupe_key = $3",
        config_id,
        environment.value,
        dedupe_key,
    )
    return _event(row) if row else None


async def unsigned_since(
    db: PracticeDb, config_id: int, environment: Environment, payment_id: str | None, since: datetime
) -> int:
    """How many unsigned webhooks arrived since a given time: about a reference in one payment's webhooks, or about no
    known payment."""
    named = f"payment_id = $4 AND dedupe_key LIKE '{NAMED}%'"
    about, args = ("payment_id IS NULL", []) if payment_id is None else (named, [payment_id])
    row = await db.one(
        "SELECT COUNT(*) AS n FROM webhook_events WHERE must_fetch AND config_id = $1 AND environment = $2"  # noqa: S608
        f" AND received_at > $3 AND {about}",
        config_id,
        environment.value,
        since,
        *args,
    )
    assert row is not None
    return int(row["n"])


def delete_unsigned(unit: Writes, payment_id: str, kept: int, counted_since: datetime) -> None:
    """Delete the finished unsigned webhooks about a payment, except the newest and those that count."""
    unit.add(
        "DELETE FROM webhook_events WHERE payment_id = $1 AND must_fetch AND state = 'applied'"  # noqa: S608
        f" AND NOT (dedupe_key LIKE '{NAMED}%' AND received_at > $3) AND id NOT IN"
        " (SELECT id FROM webhook_events WHERE payment_id = $1 AND must_fetch ORDER BY id DESC LIMIT $2)",
        payment_id,
        kept,
        counted_since,
    )


async def waiting(db: PracticeDb, came_before: Sequence[datetime], limit: int = 50) -> list[WebhookEvent]:
    """Webhooks that were stored but not applied: their process crashed, or the provider could not be asked. A number of
    each provider, whatever waits at another. ``came_before``: by how often one was tried, the latest time of receipt
    for another try; the last entry is for all that were tried more often."""
    last = len(came_before) - 1
    due = " OR ".join(
        f"(tries {'>=' if tries == last else '='} {tries} AND received_at <= ${tries + 2})" for tries in range(last + 1)
    )
    sql = (
        f"SELECT {_COLUMNS} FROM (SELECT webhook_events.*, ROW_NUMBER() OVER"  # noqa: S608
        " (PARTITION BY provider_code ORDER BY received_at, id) AS place FROM webhook_events"
        f" WHERE state = 'received' AND ({due})) AS waiting WHERE place <= $1 ORDER BY received_at, id"
    )
    return await read_past(
        lambda places: db.fetch(sql, places, *came_before), lambda rows: readable(rows, _event), limit
    )


async def without_payment(db: PracticeDb, config_id: int) -> list[WebhookEvent]:
    """Parked webhooks of a configuration that named no known payment when they arrived."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM webhook_events WHERE state = 'parked' AND reason = 'unknown_reference'"  # noqa: S608
        " AND config_id = $1 ORDER BY id DESC LIMIT 50",
        config_id,
    )
    return readable(rows, _event)


async def held_back(db: PracticeDb, payment_id: str | None, config_id: int | None, but: str) -> tuple[bool, bool]:
    """Whether webhooks about a payment wait or are parked, and whether a configuration has parked ones without a known
    payment. ``but``: the id of one that does not count. None: not asked."""
    row = await db.one(
        "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE payment_id = $1 AND state IN ('received', 'parked')"
        " AND id <> $3) AS of_payment, EXISTS (SELECT 1 FROM webhook_events WHERE config_id = $2"
        " AND state = 'parked' AND reason = 'unknown_reference') AS of_configuration",
        payment_id,
        config_id,
        but,
    )
    assert row is not None
    return bool(row["of_payment"]), bool(row["of_configuration"])


async def count(db: PracticeDb, state: str | None = None, payment_id: str | None = None) -> int:
    """How many webhooks are in a state, or about a payment."""
    known = {"state": state, "payment_id": payment_id}
    narrowed = {name: value for name, value in known.items() if value is not None}
    where = " AND ".join(f"{name} = ${number}" for number, name in enumerate(narrowed, 1)) or "id IS NOT NULL"
    row = await db.one(f"SELECT count(*) AS events FROM webhook_events WHERE {where}", *narrowed.values())  # noqa: S608
    assert row is not None
    return int(row["events"])


async def listed(
    db: PracticeDb, state: str | None = None, payment_id: str | None = None, before: str | None = None, limit: int = 50
) -> list[WebhookEvent]:
    """Webhooks, newest first (ids are ordered by time)."""
    where: list[str] = []
    args: list[Any] = []
    for clause, value in (("id < ", before or None), ("state = ", state), ("payment_id = ", payment_id)):
        if value is not None:
            args.append(value)
            where.append(f"{clause}${len(args)}")
    args.append(limit)
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM webhook_events WHERE {' AND '.join(where) or 'TRUE'}"  # noqa: S608
        f" ORDER BY id DESC LIMIT ${len(args)}",
        *args,
    )
    return [_event(row) for row in rows]


# ── Review cases ──
