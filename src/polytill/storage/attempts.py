"""Attempts: rows in, rows out. ``flows/payments/settle.py`` decides what a change means."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from polytill.domain.states import AttemptState, Environment
from polytill.storage import reading
from polytill.storage.columns import Table, places
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.payments import PAYMENTS, Payment


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
    # The sealed ``next_action`` and what it is, while the request that sealed it still has it. No column.
    opened_action: tuple[str, Any] | None = field(default=None, compare=False, repr=False)


_ATTEMPTS = Table("payment_attempts", Attempt, but="opened_action")
_WITH_PAYMENT = (
    f"SELECT {_ATTEMPTS.of('a')}, {PAYMENTS.of('p', 'p_')}"  # noqa: S608
    " FROM payment_attempts a JOIN payments p ON p.id = a.payment_id"
)
_NEW = (
    "id, payment_id, practice_id, environment, number, provider_code, config_id, credential_version, state, amount,"
    " currency, next_lookup_at, created_at, updated_at, provider_transaction_id, wire_format"
)
_LAST_WORDS = "next_lookup_at, lookups, reason, raw_code, detail, unclear_since"
_CHANGED = f"state, provider_transaction_id, next_action, updated_at, {_LAST_WORDS}"


def insert(unit: Writes, attempt: Attempt) -> None:
    """A new attempt, committed before its call is made."""
    _ATTEMPTS.insert(unit, attempt, _NEW)


def change(unit: Writes, before: Attempt, attempt: Attempt) -> None:
    """Change an attempt whose state and next action are still those that were read. ``Stale`` otherwise."""
    unchanged = "id = $1 AND state = $2 AND COALESCE(next_action, '') = $3"
    _ATTEMPTS.update(unit, attempt, _CHANGED, unchanged, attempt.id, before.state, before.next_action or "")


def looked_up_again(unit: Writes, attempt: Attempt) -> None:
    """Set the next lookup of an attempt and the provider's last words about it; its state stays. ``Stale`` if another
    writer has changed the state."""
    _ATTEMPTS.update(unit, attempt, _LAST_WORDS, "id = $1 AND state = $2", attempt.id, attempt.state)


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
    return await _ATTEMPTS.all(db, "WHERE payment_id = $1 ORDER BY number", payment_id)


async def by_id(db: PracticeDb, attempt_id: str) -> Attempt | None:
    """One attempt."""
    return await _ATTEMPTS.one(db, "WHERE id = $1", attempt_id)


async def named(
    db: PracticeDb, reference: str | None, config_id: int, environment: Environment, transaction_id: str | None
) -> list[tuple[Attempt, Payment]]:
    """The attempts that our reference or the provider's id names, the oldest first, each with its payment: one read."""
    rows = await db.fetch(
        f"{_WITH_PAYMENT} WHERE a.id = $1 OR (a.config_id = $2 AND a.provider_transaction_id = $3 AND a.environment = $4)"
        " ORDER BY a.created_at, a.id",
        reference,
        config_id,
        transaction_id,
        environment,
    )
    return [(_ATTEMPTS.read(row), PAYMENTS.read(row, "p_")) for row in map(dict, rows)]


async def by_reference(db: PracticeDb, reference: str) -> tuple[Attempt, Payment] | None:
    """The attempt of a reference, with its payment."""
    rows = await db.fetch(f"{_WITH_PAYMENT} WHERE a.id = $1", reference)
    return next(((_ATTEMPTS.read(row), PAYMENTS.read(row, "p_")) for row in map(dict, rows)), None)


async def by_provider_id(
    db: PracticeDb, config_id: int, environment: Environment, provider_transaction_id: str
) -> Attempt | None:
    """The attempt that has this id at the provider."""
    return await _ATTEMPTS.one(
        db,
        "WHERE config_id = $1 AND provider_transaction_id = $2 AND environment = $3 ORDER BY created_at LIMIT 1",
        config_id,
        provider_transaction_id,
        environment,
    )


async def any_unnamed(db: PracticeDb, config_id: int, environment: Environment, since: datetime) -> bool:
    """Whether an attempt of an account since a given time waits for the answer that names its transaction."""
    found = await db.value(
        "SELECT 1 FROM payment_attempts WHERE config_id = $1 AND environment = $2 AND created_at >= $3"
        " AND provider_transaction_id IS NULL AND state IN ('sent', 'unknown') LIMIT 1",
        config_id,
        environment,
        since,
    )
    return found is not None


async def any_of_ids(db: PracticeDb, ids: list[str]) -> bool:
    """Whether any of some ids is that of an attempt or of a refund here. That of a past payment's attempt was given by
    the host's own code, which may use it again."""
    if not ids:
        return False
    named = places(len(ids))
    found = await db.value(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM payment_attempts AS a JOIN payments AS p ON p.id = a.payment_id"  # noqa: S608
        f" WHERE a.id IN ({named}) AND p.certainty IS NULL)"
        f" OR EXISTS (SELECT 1 FROM refunds WHERE id IN ({named}))",
        *ids,
    )
    return found is not None


async def provider_of(db: PracticeDb, attempt_id: str) -> str:
    """The code of an attempt's provider."""
    return str(await db.value("SELECT provider_code FROM payment_attempts WHERE id = $1", attempt_id))


async def last_taken(db: PracticeDb, like: Attempt) -> Attempt | None:
    """The newest attempt that took money with the same credentials as another one."""
    return await _ATTEMPTS.one(
        db,
        "WHERE config_id = $1 AND environment = $2 AND credential_version = $3 AND state = 'succeeded'"
        " ORDER BY created_at DESC LIMIT 1",
        like.config_id,
        like.environment,
        like.credential_version,
    )


async def overdue(db: PracticeDb, now: datetime, beyond: datetime | None = None, limit: int = 50) -> list[Attempt]:
    """Attempts whose next lookup is due: ``reading.overdue``."""
    return await reading.overdue(db, _ATTEMPTS, "payment_attempts AS one", now, beyond, limit)
