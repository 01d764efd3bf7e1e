"""Webhooks from providers: verified, stored once, then applied, ignored or parked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from polytill.domain.clock import wire_time
from polytill.domain.states import Environment, EventState
from polytill.storage.columns import Condition, Table, places
from polytill.storage.databases import PracticeDb, Tx, Writes
from polytill.storage.reading import read_past, readable
from polytill.storage.units import Counted, Unit


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
    dismissed_note: str | None = None  # why staff dismissed it
    has_more: bool = False


# A webhook of several facts, between two of them. If the process crashes there, the whole webhook is processed again.
HAS_MORE = "has_more"
# The reasons of webhooks that name nothing known here. They are applied as soon as their payment becomes known.
UNKNOWN_REFERENCE = "unknown_reference"
RELAY_GAVE_UP = "relay_gave_up"
# A refund or a lost dispute waits for this reason: the payment's own money is not booked yet.
NOT_CAPTURED = "payment_not_captured"
# The start of the keys of unsigned webhooks that name something of a payment besides the payment itself.
NAMED = "named:"

_EVENTS = Table("webhook_events", WebhookEvent, but="has_more")
_NEW = (
    "id, practice_id, environment, config_id, provider_code, dedupe_key, event_type, state, reason, body, must_fetch,"
    " payment_id, tries, received_at"
)


def insert_once(unit: Writes, event: WebhookEvent) -> None:
    """Store a webhook. Affects no row if the same fact was received before."""
    _EVENTS.insert(unit, event, _NEW, " ON CONFLICT (config_id, environment, dedupe_key) DO NOTHING")


def insert(unit: Writes, event: WebhookEvent) -> None:
    """Store a webhook. ``Duplicate`` if the same fact was received before."""
    _EVENTS.insert(unit, event, _NEW)


def end_relay(unit: Writes, event: WebhookEvent, state: EventState, reason: str | None, now: datetime) -> None:
    """Record how the relay of a webhook ended. ``Stale`` unless it is still being relayed."""
    unit.add(
        "UPDATE webhook_events SET state = $2, reason = $3, applied_at = $4 WHERE id = $1 AND state = 'relaying'",
        event.id,
        state,
        reason,
        now,
        expect=1,
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
        state,
        reason,
        payment_id,
        now,
        event.tries,
    )


async def by_id(db: PracticeDb, event_id: str) -> WebhookEvent | None:
    """One delivery."""
    return await _EVENTS.one(db, "WHERE id = $1", event_id)


async def by_dedupe_key(
    db: PracticeDb, config_id: int, environment: Environment, dedupe_key: str
) -> WebhookEvent | None:
    """The webhook with this key."""
    named = "WHERE config_id = $1 AND environment = $2 AND dedupe_key = $3"
    return await _EVENTS.one(db, named, config_id, environment, dedupe_key)


async def unsigned_since(
    db: PracticeDb, config_id: int, environment: Environment, payment_id: str | None, since: datetime
) -> int:
    """How many unsigned webhooks arrived since a given time: about a reference in one payment's webhooks, or about no
    known payment."""
    named = f"payment_id = $4 AND dedupe_key LIKE '{NAMED}%'"
    about, args = ("payment_id IS NULL", []) if payment_id is None else (named, [payment_id])
    count = await db.value(
        "SELECT COUNT(*) FROM webhook_events WHERE must_fetch AND config_id = $1 AND environment = $2"  # noqa: S608
        f" AND received_at > $3 AND {about}",
        config_id,
        environment,
        since,
        *args,
    )
    return int(count)


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
        f"SELECT {_EVENTS.columns} FROM (SELECT webhook_events.*, ROW_NUMBER() OVER"  # noqa: S608
        " (PARTITION BY provider_code ORDER BY received_at, id) AS place FROM webhook_events"
        f" WHERE state = 'received' AND ({due})) AS waiting WHERE place <= $1 ORDER BY received_at, id"
    )
    return await read_past(
        lambda places: db.fetch(sql, places, *came_before), lambda rows: readable(rows, _EVENTS.read), limit
    )


def name(unit: Writes, event: WebhookEvent, names: Sequence[str]) -> None:
    """Store by which names ``naming`` finds a webhook that names no known payment. Known names stay as they are."""
    if not names:
        return
    rows = ", ".join(f"($1, $2, ${number})" for number in range(3, 3 + len(names)))
    unit.add(
        f"INSERT INTO webhook_names (event_id, config_id, name) VALUES {rows} ON CONFLICT DO NOTHING",  # noqa: S608
        event.id,
        event.config_id,
        *names,
    )


# Webhooks that named no known payment when they arrived, and that name ($2) now, at a configuration ($1), except one
# ($3). There can be very many without a payment, but few with one name.
_NAMED = "FROM webhook_names JOIN webhook_events ON webhook_events.id = webhook_names.event_id"
_OF_NONE = (
    f"webhook_events.reason IN ('{UNKNOWN_REFERENCE}', '{RELAY_GAVE_UP}')"
    " AND webhook_events.state IN ('parked', 'relaying', 'relayed', 'dismissed')"
)
_NAMING = f"{_NAMED} WHERE webhook_names.config_id = $1 AND webhook_names.name = $2 AND webhook_events.id <> $3 AND {_OF_NONE}"
# SQL parameters for a list of names, so that there are few statements of different texts.
AT_ONCE = 100


async def naming(db: PracticeDb, config_id: int, name: str, but: str, unsigned: int = 50) -> list[str]:
    """The ids of webhooks with a name that named no known payment when they arrived, oldest first. ``but``: the id of
    one that does not count. ``unsigned``: the most of those that anybody may have sent; the newest of them."""
    rows = await db.fetch(
        f"SELECT webhook_events.id, webhook_events.must_fetch {_NAMING} ORDER BY webhook_events.id",
        config_id,
        name,
        but,
    )
    of_anybody = [row["id"] for row in rows if row["must_fetch"]]
    left_out = set(of_anybody[:-unsigned])
    return [row["id"] for row in rows if row["id"] not in left_out]


def _for_payment(payment: str, but: str) -> str:
    """SQL: webhooks about a payment, except one, that are applied when its money is booked. One that staff dismissed is
    among them, because they cannot know that it will be needed."""
    return (
        f"FROM webhook_events WHERE payment_id = {payment} AND id <> {but} AND (state = 'received'"
        f" OR (state IN ('parked', 'dismissed') AND reason = '{NOT_CAPTURED}'))"
    )


async def for_payment(db: PracticeDb, payment_id: str, but: str) -> list[str]:
    """The ids of webhooks that are to be applied when a payment's money is booked, oldest first. ``but``: the id of one
    that does not count."""
    rows = await db.fetch(f"SELECT id {_for_payment('$1', '$2')} ORDER BY id", payment_id, but)
    return [row["id"] for row in rows]


async def naming_any(db: PracticeDb, config_id: int, names: Sequence[str], unsigned: int = 50) -> list[str]:
    """As ``naming``, for many names. ``unsigned``: the most of each name."""
    found: dict[str, list[str]] = {}
    signed: set[str] = set()
    for at in range(0, len(names), AT_ONCE):
        part = list(names[at : at + AT_ONCE])
        part += [part[0]] * (AT_ONCE - len(part))
        sql = (
            f"SELECT webhook_events.id, webhook_events.must_fetch, webhook_names.name {_NAMED}"
            f" WHERE webhook_names.config_id = $1 AND webhook_names.name IN ({places(AT_ONCE, 2)}) AND {_OF_NONE}"
            " ORDER BY webhook_events.id"
        )
        for row in await db.fetch(sql, config_id, *part):
            if row["must_fetch"]:
                found.setdefault(row["name"], []).append(row["id"])
            else:
                signed.add(row["id"])
    return sorted(signed | {one for ids in found.values() for one in ids[-unsigned:]})


async def held_back(
    db: PracticeDb, payment_id: str | None, config_id: int | None, name: str | None, but: str
) -> tuple[bool, bool]:
    """Whether there are webhooks for ``for_payment``, and whether for ``naming``. ``but``: the id of one that does not
    count. None: not asked."""
    row: Any = await db.one(
        f"SELECT EXISTS (SELECT 1 {_for_payment('$4', '$3')}) AS of_payment, EXISTS (SELECT 1 {_NAMING}) AS by_name",
        config_id,
        name,
        but,
        payment_id,
    )
    return bool(row["of_payment"]), bool(row["by_name"])


def count_held_back(
    unit: Unit, payment_id: str | None, config_id: int | None, name: str | None, but: str
) -> tuple[Counted, Counted]:
    """As ``held_back``, in the unit that ends the wait: no rows if there are certainly none. Of the webhooks about the
    payment it also counts those that wait for something else. A webhook that is stored while the unit runs may be
    missing: its own process reads the payment afterwards."""
    of_payment = unit.count(
        "SELECT 1 WHERE EXISTS (SELECT id FROM webhook_events WHERE payment_id = $1 AND id <> $2"
        " AND state <> 'applied' AND state <> 'ignored')",
        payment_id,
        but,
    )
    by_name = unit.count(
        "SELECT 1 WHERE EXISTS (SELECT event_id FROM webhook_names WHERE config_id = $1 AND name = $2 AND event_id <> $3)",
        config_id,
        name,
        but,
    )
    return of_payment, by_name


@dataclass(frozen=True, slots=True)
class Which:
    """A selection of parked webhooks. None: whatever it is. ``up_to``: the id of the newest one that may be in it."""

    ids: tuple[str, ...] | None = None
    provider_code: str | None = None
    environment: Environment | None = None
    event_type: str | None = None
    reason: str | None = None
    received_before: datetime | None = None
    up_to: str | None = None

    def named(self) -> dict[str, Any]:
        """What it selects by, for the audit log."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: wire_time(value) if isinstance(value, datetime) else value
            for name, value in named.items()
            if value is not None
        }

    def where(self) -> Condition:
        """The condition of its rows."""
        where = Condition()
        where.compare("state =", EventState.parked)
        if self.ids is not None:
            where.parts.append(f"id IN ({', '.join(where.add(one) for one in self.ids) or 'NULL'})")
        where.compare("provider_code =", self.provider_code)
        where.compare("environment =", self.environment)
        where.compare("event_type =", self.event_type)
        where.compare("reason =", self.reason)
        where.compare("received_at <", self.received_before)
        where.compare("id <=", self.up_to)
        return where


async def count_parked(db: PracticeDb, which: Which) -> int:
    """How many parked webhooks a selection has."""
    where = which.where()
    return int(await db.value(f"SELECT count(*) FROM webhook_events WHERE {where}", *where.args))  # noqa: S608


async def parked(db: PracticeDb, which: Which, limit: int) -> list[WebhookEvent]:
    """The parked webhooks of a selection, newest first."""
    where = which.where()
    return await _EVENTS.all(db, f"WHERE {where} ORDER BY id DESC LIMIT {where.add(limit)}", *where.args)


async def parked_kinds(db: PracticeDb) -> list[tuple[str, str, str | None]]:
    """The providers, types and reasons of parked webhooks that exist."""
    rows = await db.fetch(
        "SELECT DISTINCT provider_code, event_type, reason FROM webhook_events WHERE state = 'parked'"
        " ORDER BY provider_code, event_type, reason LIMIT 500"
    )
    return [(row["provider_code"], row["event_type"], row["reason"]) for row in rows]


async def dismiss(tx: Tx, which: Which, note: str, most: int) -> int:
    """Dismiss the oldest parked webhooks of a selection. Return how many."""
    where = which.where()
    chosen = f"SELECT id FROM webhook_events WHERE {where} ORDER BY id LIMIT {where.add(most)}"  # noqa: S608
    dismissed = await tx.fetch(
        f"UPDATE webhook_events SET state = 'dismissed', dismissed_note = {where.add(note)}"  # noqa: S608
        f" WHERE id IN ({chosen}) AND state = 'parked' RETURNING id",
        *where.args,
    )
    return len(dismissed)


async def count(db: PracticeDb, state: str | None = None, payment_id: str | None = None) -> int:
    """How many webhooks are in a state, or about a payment."""
    where = _where(state, payment_id)
    return int(await db.value(f"SELECT count(*) FROM webhook_events WHERE {where}", *where.args))  # noqa: S608


async def listed(
    db: PracticeDb, state: str | None = None, payment_id: str | None = None, before: str | None = None, limit: int = 50
) -> list[WebhookEvent]:
    """Webhooks, newest first (ids are ordered by time)."""
    where = _where(state, payment_id)
    where.compare("id <", before or None)
    return await _EVENTS.all(db, f"WHERE {where} ORDER BY id DESC LIMIT {where.add(limit)}", *where.args)


def _where(state: str | None, payment_id: str | None) -> Condition:
    where = Condition()
    where.compare("state =", state)
    where.compare("payment_id =", payment_id)
    return where
