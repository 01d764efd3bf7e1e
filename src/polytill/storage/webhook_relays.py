"""Relays: webhooks that are not about anything here, on their way to the old address of their account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import Environment, EventState, RelayState
from polytill.storage.columns import Table, places
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.units import moment


@dataclass(slots=True)
class Relay:
    """One webhook on its way. ``sealed_request``: its exact bytes and its headers; deleted when the relay ends.
    ``size_bytes``: of its body.
    ``otherwise``: the state of the webhook if the old address does not know it either."""

    event_id: str
    practice_id: int
    environment: Environment
    config_id: int
    state: RelayState
    otherwise: EventState
    body_hash: str
    sealed_request: str | None
    size_bytes: int
    next_try_at: datetime | None
    created_at: datetime
    tries: int = 0
    last_status: int | None = None
    last_error: str | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be forwarded: the number of webhooks, and the bytes of their bodies."""

    number: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """The relays that wait in one practice or in all, the creation of the oldest, and the time of the next try."""

    number: int = 0
    oldest_at: datetime | None = None
    next_try_at: datetime | None = None


_RELAYS = Table("webhook_relays", Relay)
_ANSWER = "last_status, last_error, next_try_at"
_END = f"{_ANSWER}, state, sealed_request, ended_at"


def insert(unit: Writes, relay: Relay) -> None:
    """Store a relay, in the unit that stores its webhook."""
    _RELAYS.insert(unit, relay)


def claim(unit: Writes, relay: Relay, until: datetime) -> None:
    """Take a due relay for one try, so that no other process sends it before ``until``. ``Stale`` if another was first."""
    unit.add(
        "UPDATE webhook_relays SET next_try_at = $2, tries = tries + 1"
        " WHERE event_id = $1 AND state = 'waiting' AND tries = $3",
        relay.event_id,
        until,
        relay.tries,
        expect=1,
    )


def try_later(unit: Writes, relay: Relay) -> None:
    """Write the outcome of a try that failed. ``Stale`` if the relay has ended meanwhile, or was claimed again."""
    still = "event_id = $1 AND state = 'waiting' AND tries = $2"
    _RELAYS.update(unit, relay, _ANSWER, still, relay.event_id, relay.tries)


def end(unit: Writes, relay: Relay) -> None:
    """Write how a relay ended. ``Stale`` if it has ended meanwhile."""
    _RELAYS.update(unit, relay, _END, "event_id = $1 AND state = 'waiting'", relay.event_id)


def due_now(unit: Writes, config_id: int, environment: Environment, now: datetime) -> None:
    """Make everything of an account due that waits, because its address has changed."""
    unit.add(
        "UPDATE webhook_relays SET next_try_at = $3 WHERE config_id = $1 AND environment = $2 AND state = 'waiting'",
        config_id,
        environment,
        now,
    )


async def of_event(db: PracticeDb, event_id: str) -> Relay | None:
    """The relay of a webhook. None if it was never to be forwarded."""
    return await _RELAYS.one(db, "WHERE event_id = $1", event_id)


async def of_events(db: PracticeDb, event_ids: list[str]) -> dict[str, Relay]:
    """The relays of some webhooks, by the webhook's id."""
    if not event_ids:
        return {}
    found = await _RELAYS.all(db, f"WHERE event_id IN ({places(len(event_ids))})", *event_ids)
    return {relay.event_id: relay for relay in found}


async def due(db: PracticeDb, now: datetime, limit: int) -> list[Relay]:
    """Relays whose next try is due, the longest overdue first."""
    return await _RELAYS.all(
        db, "WHERE state = 'waiting' AND next_try_at <= $1 ORDER BY next_try_at, event_id LIMIT $2", now, limit
    )


async def backlog(db: PracticeDb, config_id: int | None = None) -> Backlog:
    """What waits, of one configuration or of all."""
    row = await db.one(
        "SELECT count(*) AS number, COALESCE(sum(size_bytes), 0) AS size_bytes FROM webhook_relays"
        " WHERE state = 'waiting' AND config_id = COALESCE(CAST($1 AS INTEGER), config_id)",
        config_id,
    )
    assert row is not None
    return Backlog(int(row["number"]), int(row["size_bytes"]))


async def waiting(db: PracticeDb) -> Waiting:
    """What waits in a practice."""
    row: Any = await db.one(
        "SELECT count(*) AS number, min(created_at) AS oldest_at, min(next_try_at) AS next_try_at FROM webhook_relays"
        " WHERE state = 'waiting'"
    )
    return Waiting(int(row["number"]), moment(row["oldest_at"]), moment(row["next_try_at"]))


async def counts(db: PracticeDb, config_id: int) -> dict[RelayState, int]:
    """How many relays of a configuration are in each state."""
    rows = await db.fetch(
        "SELECT state, count(*) AS number FROM webhook_relays WHERE config_id = $1 GROUP BY state", config_id
    )
    return {RelayState(row["state"]): int(row["number"]) for row in rows}
