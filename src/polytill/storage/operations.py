"""Captures and cancels that were requested from a provider: rows in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.states import Environment, OperationKind, OperationState
from polytill.storage import reading
from polytill.storage.columns import Table
from polytill.storage.databases import PracticeDb, Writes


@dataclass(slots=True)
class Operation:
    """A capture or a cancel that we requested from a provider."""

    id: str
    payment_id: str
    practice_id: int
    environment: Environment
    attempt_id: str
    kind: OperationKind
    amount: int | None
    state: OperationState
    idempotency_key: str
    fingerprint: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    raw_code: str | None = None
    next_lookup_at: datetime | None = None
    lookups: int = 0
    detail: str | None = None


_OPERATIONS = Table("payment_operations", Operation)
_NEW = (
    "id, payment_id, practice_id, environment, attempt_id, kind, amount, state, idempotency_key, fingerprint,"
    " created_by, next_lookup_at, created_at, updated_at"
)
_CHANGED = "state, reason, raw_code, next_lookup_at, lookups, updated_at, detail"


def insert(unit: Writes, operation: Operation) -> None:
    """A capture or cancel, committed before its call is made."""
    _OPERATIONS.insert(unit, operation, _NEW)


def change(unit: Writes, before: OperationState, operation: Operation) -> None:
    """Change an operation that still has the state that was read."""
    _OPERATIONS.update(unit, operation, _CHANGED, "id = $1 AND state = $2", operation.id, before)


async def by_key(db: PracticeDb, idempotency_key: str) -> Operation | None:
    """The capture or cancel with this idempotency key."""
    return await _OPERATIONS.one(db, "WHERE practice_id = $1 AND idempotency_key = $2", db.practice_id, idempotency_key)


async def of_payment(db: PracticeDb, payment_id: str) -> list[Operation]:
    """A payment's captures and cancels, oldest first."""
    return await _OPERATIONS.all(db, "WHERE payment_id = $1 ORDER BY created_at, id", payment_id)


async def open_of_payment(db: PracticeDb, payment_id: str) -> list[Operation]:
    """A payment's captures and cancels with an unknown outcome."""
    still_open = "WHERE payment_id = $1 AND state IN ('sent', 'pending', 'unknown') ORDER BY created_at, id"
    return await _OPERATIONS.all(db, still_open, payment_id)


async def overdue(db: PracticeDb, now: datetime, beyond: datetime | None = None, limit: int = 50) -> list[Operation]:
    """Captures and cancels whose next lookup is due: ``reading.overdue``."""
    source = "payment_operations AS one JOIN payment_attempts AS attempt ON attempt.id = one.attempt_id"
    return await reading.overdue(db, _OPERATIONS, source, now, beyond, limit)
