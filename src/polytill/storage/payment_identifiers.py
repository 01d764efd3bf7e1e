"""The identifiers that providers, statements and receipts use for a payment: stored with the attempt, found by an
index."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from polytill.domain.identifiers import OF_A_CHARGE, IdentifierKind, Identifiers, identifier_key
from polytill.domain.states import Environment
from polytill.storage.attempts import Attempt, by_id, by_provider_id
from polytill.storage.columns import places
from polytill.storage.databases import PracticeDb, Writes

MOST_AT_ONCE = 24
_KINDS = {kind.value: kind for kind in IdentifierKind}


def insert(unit: Writes, attempt: Attempt, found: Identifiers, now: datetime) -> None:
    """Add identifiers of an attempt. Existing ones stay as they are."""
    pairs = [(kind.value, value) for kind, values in found.items() for value in values][:MOST_AT_ONCE]
    if not pairs:
        return
    args: list[object] = [attempt.id, attempt.payment_id, attempt.practice_id, attempt.environment, now]
    rows = []
    for kind, value in pairs:
        args += (kind, value, identifier_key(value))
        rows.append(f"($1, $2, $3, $4, $5, {places(3, len(args) - 2)})")
    unit.add(
        "INSERT INTO payment_identifiers"  # noqa: S608
        " (attempt_id, payment_id, practice_id, environment, created_at, kind, value, search_key)"
        f" VALUES {', '.join(rows)} ON CONFLICT DO NOTHING",
        *args,
    )


async def of_payments(db: PracticeDb, payment_ids: Iterable[str]) -> dict[str, Identifiers]:
    """The identifiers of payments, by attempt."""
    found: dict[str, Identifiers] = {}
    for row in await _rows(db, list(payment_ids)):
        _add(found.setdefault(row["attempt_id"], {}), row)
    return found


async def by_payment(db: PracticeDb, payment_ids: Iterable[str]) -> dict[str, list[Identifiers]]:
    """The identifiers of payments, each with one entry for each attempt that has any."""
    found: dict[str, dict[str, Identifiers]] = {}
    for row in await _rows(db, list(payment_ids)):
        _add(found.setdefault(row["payment_id"], {}).setdefault(row["attempt_id"], {}), row)
    return {payment_id: list(of_attempts.values()) for payment_id, of_attempts in found.items()}


async def references(db: PracticeDb, payment_ids: Iterable[str]) -> dict[str, list[str]]:
    """Our own references of payments, one for each attempt. The providers know the attempts by them."""
    found: dict[str, list[str]] = {}
    for row in await _of_payments(db, "payment_id, id FROM payment_attempts", "payment_id, number", list(payment_ids)):
        found.setdefault(row["payment_id"], []).append(row["id"])
    return found


async def _rows(db: PracticeDb, ids: list[str]) -> list[Any]:
    what = "payment_id, attempt_id, kind, value FROM payment_identifiers"
    return await _of_payments(db, what, "attempt_id, created_at, kind, value", ids)


async def _of_payments(db: PracticeDb, what: str, order: str, ids: list[str]) -> list[Any]:
    rows = []
    for at in range(0, len(ids), 90):  # so that there are few statements of different texts
        part = ids[at : at + 90]
        rows += await db.fetch(f"SELECT {what} WHERE payment_id IN ({places(len(part))}) ORDER BY {order}", *part)
    return rows


def _add(kept: Identifiers, row: Any) -> None:
    kind = _KINDS.get(row["kind"])  # a newer version may have more kinds
    if kind is not None:
        kept[kind] = (*kept.get(kind, ()), row["value"])


async def other_attempt(db: PracticeDb, attempt: Attempt, transaction_id: str) -> Attempt | None:
    """Another attempt at the same provider configuration that has this identifier, in any spelling."""
    attempt_id = await db.value(
        "SELECT i.attempt_id FROM payment_identifiers AS i JOIN payment_attempts AS a ON a.id = i.attempt_id"
        " WHERE i.search_key = $1 AND i.kind <> $2 AND i.environment = $3 AND a.config_id = $4 AND i.attempt_id <> $5"
        " ORDER BY i.attempt_id LIMIT 1",
        identifier_key(transaction_id),
        IdentifierKind.card_last4,
        attempt.environment,
        attempt.config_id,
        attempt.id,
    )
    if attempt_id is not None:
        return await by_id(db, attempt_id)
    found = await by_provider_id(db, attempt.config_id, attempt.environment, transaction_id)
    return found if found is not None and found.id != attempt.id else None


async def attempt_of_charge(db: PracticeDb, config_id: int, environment: Environment, charge_id: str) -> Attempt | None:
    """The attempt of a charge or capture, for providers that name neither our reference nor the payment's own id."""
    kinds = ", ".join(f"'{kind}'" for kind in OF_A_CHARGE)
    attempt_id = await db.value(
        "SELECT i.attempt_id FROM payment_identifiers AS i"  # noqa: S608
        " JOIN payment_attempts AS a ON a.id = i.attempt_id"
        f" WHERE i.search_key = $1 AND i.value = $2 AND i.kind IN ({kinds}) AND i.environment = $3 AND a.config_id = $4"
        " ORDER BY i.attempt_id LIMIT 1",
        identifier_key(charge_id),
        charge_id,
        environment,
        config_id,
    )
    return await by_id(db, attempt_id) if attempt_id else None
