"""Captures and cancels that were requested from a provider: rows in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.states import Environment, OperationKind, OperationState
from polytill.storage.columns import columns_of
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import overdue_sql, read_past, readable, reads_row
from polytill.storage.units import moment


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


_OPERATION = columns_of(Operation)


@reads_row
def _operation(row: Any) -> Operation:
    values = dict(row)
    values["environment"] = Environment(values["environment"])
    values["kind"], values["state"] = OperationKind(values["kind"]), OperationState(values["state"])
    for name in ("next_lookup_at", "created_at", "updated_at"):
        values[name] = moment(values[name])
    return Operation(**values)


def insert(unit: Writes, operation: Operation) -> None:
    """A capture or cancel, committed before its call is made."""
    unit.add(
        "INSERT INTO payment_operations (id, payment_id, practice_id, environment, attempt_id, kind, amount, state,"
        " idempotency_key, fingerprint, created_by, next_lookup_at, created_at, updated_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        operation.id,
        operation.payment_id,
        operation.practice_id,
        operation.environment.value,
        operation.attempt_id,
        operation.kind.value,
        operation.amount,
        operation.state.value,
        operation.idempotency_key,
        operation.fingerprint,
        operation.created_by,
        operation.next_lookup_at,
        operation.created_at,
        operation.updated_at,
    )


def change(unit: Writes, before: OperationState, operation: Operation) -> None:
    """Change an operation that still has the state that was read."""
    unit.add(
        "UPDATE payment_operations SET state = $3, reason = $4, raw_code = $5, next_lookup_at = $6, lookups = $7,"
        " updated_at = $8, detail = $9 WHERE id = $1 AND state = $2",
        operation.id,
        before.value,
        operation.state.value,
        operation.reason,
        operation.raw_code,
        operation.next_lookup_at,
        operation.lookups,
        operation.updated_at,
        operation.detail,
        expect=1,
    )


async def by_key(db: PracticeDb, idempotency_key: str) -> Operation | None:
    """The capture or cancel with this idempotency key."""
    row = await db.one(
        f"SELECT {_OPERATION} FROM payment_operations WHERE practice_id = $1 AND idempotency_key = $2",  # noqa: S608
        db.practice_id,
        idempotency_key,
    )
    return _operation(row) if row else None


async def of_payment(db: PracticeDb, payment_id: str) -> list[Operation]:
    """A payment's captures and cancels, oldest first."""
    rows = await db.fetch(
        f"SELECT {_OPERATION} FROM payment_operations WHERE payment_id = $1 ORDER BY created_at, id",  # noqa: S608
        payment_id,
    )
    return [_operation(row) for row in rows]


async def open_of_payment(db: PracticeDb, payment_id: str) -> list[Operation]:
    """A payment's captures and cancels with an unknown outcome."""
    rows = await db.fetch(
        f"SELECT {_OPERATION} FROM payment_operations WHERE payment_id = $1"  # noqa: S608
        " AND state IN ('sent', 'pending', 'unknown') ORDER BY created_at, id",
        payment_id,
    )
    return [_operation(row) for row in rows]


async def overdue(db: PracticeDb, now: datetime, beyond: datetime | None = None, limit: int = 50) -> list[Operation]:
    """Captures and cancels whose next lookup is due: a number of each provider, whatever waits at another."""
    sql = overdue_sql("payment_operations", _OPERATION)
    return await read_past(
        lambda places: db.fetch(sql, now, places, beyond), lambda rows: readable(rows, _operation), limit
    )
