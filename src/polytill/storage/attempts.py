"""Attempts: rows in, rows out. ``flows/payments/settle.py`` decides what a change means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import AttemptState, Environment
from polytill.storage.columns import columns_of
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.payments import PAYMENT_COLUMNS, Payment, payment_of
from polytill.storage.reading import read_past, readable, reads_row
from polytill.storage.units import moment


@dataclass(slots=True)
class Attempt:
    """One try at one provider. Its id is our reference and idempotency key at the provider."""

    id: str
    payment_id: str
    practice_id: int
    environment: Environment
    number: int
    provider_code: str
    config_id: int
    credential_version: int
    state: AttemptState
    amount: int
    currency: str
    created_at: datetime
    updated_at: datetime
    provider_transaction_id: str | None = None
    reason: str | None = None
    raw_code: str | None = None
    detail: str | None = None
    unclear_since: datetime | None = None  # since when its provider answers with unknown words
    next_action: str | None = None  # sealed
    next_lookup_at: datetime | None = None
    lookups: int = 0
    wire_format: int = 0  # the parameters of its create call: ``flows/payments/create.py``


_ATTEMPT_COLUMNS = columns_of(Attempt)

_OF_ATTEMPT, _OF_PAYMENT = _ATTEMPT_COLUMNS.split(", "), PAYMENT_COLUMNS.replace(",", " ").split()
_WITH_PAYMENT = ", ".join([*(f"a.{name}" for name in _OF_ATTEMPT), *(f"p.{name} AS p_{name}" for name in _OF_PAYMENT)])


def _with_payment(row: dict[str, Any]) -> tuple[Attempt, Payment]:
    of_payment = {name: row.pop(f"p_{name}") for name in _OF_PAYMENT}
    return _attempt(row), payment_of(of_payment)


@reads_row
def _attempt(row: Any) -> Attempt:
    values = dict(row)
    values["environment"] = Environment(values["environment"])
    values["state"] = AttemptState(values["state"])
    for name in ("next_lookup_at", "created_at", "updated_at", "unclear_since"):
        values[name] = moment(values[name])
    return Attempt(**values)


def insert(unit: Writes, attempt: Attempt) -> None:
    """A new attempt, committed before its call is made."""
    unit.add(
        "INSERT INTO payment_attempts (id, payment_id, practice_id, environment, number, provider_code, config_id,"
        " credential_version, state, amount, currency, next_lookup_at, created_at, updated_at, provider_transaction_id,"
        " wire_format) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        attempt.id,
        attempt.payment_id,
        attempt.practice_id,
        attempt.environment.value,
        attempt.number,
        attempt.provider_code,
        attempt.config_id,
        attempt.credential_version,
        attempt.state.value,
        attempt.amount,
        attempt.currency,
        attempt.next_lookup_at,
        attempt.created_at,
        attempt.updated_at,
        attempt.provider_transaction_id,
        attempt.wire_format,
    )


def change(unit: Writes, before: Attempt, attempt: Attempt) -> None:
    """Change an attempt whose state and next action are still those that were read. ``Stale`` otherwise."""
    unit.add(
        "UPDATE payment_attempts SET state = $3, provider_transaction_id = $4, reason = $5, raw_code = $6,"
        " detail = $7, next_action = $8, next_lookup_at = $9, lookups = $10, updated_at = $11, unclear_since = $13"
        " WHERE id = $1 AND state = $2 AND COALESCE(next_action, '') = $12",
        attempt.id,
        before.state.value,
        attempt.state.value,
        attempt.provider_transaction_id,
        attempt.reason,
        attempt.raw_code,
        attempt.detail,
        attempt.next_action,
        attempt.next_lookup_at,
        attempt.lookups,
        attempt.updated_at,
        before.next_action or "",
        attempt.unclear_since,
        expect=1,
    )


def looked_up_again(unit: Writes, attempt: Attempt) -> None:
    """Set the next lookup of an attempt and the provider's last words about it; its state stays. ``Stale`` if another
    writer has changed the state."""
    unit.add(
        "UPDATE payment_attempts SET next_lookup_at = $3, lookups = $4, reason = $5, raw_code = $6, detail = $7,"
        " unclear_since = $8 WHERE id = $1 AND state = $2",
        attempt.id,
        attempt.state.value,
        attempt.next_lookup_at,
        attempt.lookups,
        attempt.reason,
        attempt.raw_code,
        attempt.detail,
        attempt.unclear_since,
        expect=1,
    )


def set_message(unit: Writes, attempt_id: str, reason: str, code: str | None, detail: str | None) -> None:
    """Record what a provider said when it rejected a capture or a cancel. The attempt stays as it is."""
    unit.add(
        "UPDATE payment_attempts SET reason = $2, raw_code = $3, detail = $4 WHERE id = $1",
        attempt_id,
        reason,
        code,
        detail,
        expect=1,
    )


async def of_payment(db: PracticeDb, payment_id: str) -> list[Attempt]:
    """A payment's attempts in order."""
    rows = await db.fetch(
        f"SELECT {_ATTEMPT_COLUMNS} FROM payment_attempts WHERE payment_id = $1 ORDER BY number",  # noqa: S608
        payment_id,
    )
    return [_attempt(row) for row in rows]


async def by_id(db: PracticeDb, attempt_id: str) -> Attempt | None:
    """One attempt."""
    row = await db.one(f"SELECT {_ATTEMPT_COLUMNS} FROM payment_attempts WHERE id = $1", attempt_id)  # noqa: S608
    return _attempt(row) if row else None


async def named(
    db: PracticeDb, reference: str | None, config_id: int, environment: Environment, transaction_id: str | None
) -> list[tuple[Attempt, Payment]]:
    """The attempts that our reference or the provider's id names, the oldest first, each with its payment: one read."""
    rows = await db.fetch(
        f"SELECT {_WITH_PAYMENT} FROM payment_attempts a JOIN payments p ON p.id = a.payment_id"  # noqa: S608
        " WHERE a.id = $1 OR (a.config_id = $2 AND a.provider_transaction_id = $3 AND a.environment = $4)"
        " ORDER BY a.created_at, a.id",
        reference,
        config_id,
        transaction_id,
        environment.value,
    )
    return [_with_payment(dict(row)) for row in rows]


async def by_provider_id(
    db: PracticeDb, config_id: int, environment: Environment, provider_transaction_id: str
) -> Attempt | None:
    """The attempt that has this id at the provider."""
    row = await db.one(
        f"SELECT {_ATTEMPT_COLUMNS} FROM payment_attempts"  # noqa: S608
        " WHERE config_id = $1 AND provider_transaction_id = $2 AND environment = $3 ORDER BY created_at LIMIT 1",
        config_id,
        provider_transaction_id,
        environment.value,
    )
    return _attempt(row) if row else None


async def provider_of(db: PracticeDb, attempt_id: str) -> str:
    """The code of an attempt's provider."""
    row = await db.one("SELECT provider_code FROM payment_attempts WHERE id = $1", attempt_id)
    assert row is not None
    return str(row["provider_code"])


async def last_taken(db: PracticeDb, like: Attempt) -> Attempt | None:
    """The newest attempt that took money with the same credentials as another one."""
    row = await db.one(
        f"SELECT {_ATTEMPT_COLUMNS} FROM payment_attempts"  # noqa: S608
        " WHERE config_id = $1 AND environment = $2 AND credential_version = $3 AND state = 'succeeded'"
        " ORDER BY created_at DESC LIMIT 1",
        like.config_id,
        like.environment.value,
        like.credential_version,
    )
    return _attempt(row) if row else None


async def overdue(db: PracticeDb, now: datetime, beyond: datetime | None = None, limit: int = 50) -> list[Attempt]:
    """Attempts whose next lookup is due: a number of each provider, whatever waits at another. A lookup that was put
    off to after ``beyond`` is due, too."""
    sql = (
        f"SELECT {_ATTEMPT_COLUMNS} FROM (SELECT payment_attempts.*, ROW_NUMBER() OVER"  # noqa: S608
        " (PARTITION BY provider_code ORDER BY next_lookup_at, id) AS place FROM payment_attempts"
        " WHERE next_lookup_at <= $1 OR next_lookup_at > $3) AS overdue WHERE place <= $2 ORDER BY next_lookup_at, id"
    )
    return await read_past(
        lambda places: db.fetch(sql, now, places, beyond), lambda rows: readable(rows, _attempt), limit
    )
