"""Refunds: rows in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.identifiers import identifier_key
from polytill.domain.states import REFUND_VOID, Environment, RefundOrigin, RefundState
from polytill.storage.columns import columns_of
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import known_or, overdue_sql, read_past, readable, reads_row
from polytill.storage.units import json_text, json_value, moment

# The code with which a reversal ends whose dispute was won: the provider has returned the money to the practice.
DISPUTE_WON = "dispute_won"


@dataclass(slots=True)
class Refund:
    """One refund, requested here (``api``) or made in the provider's dashboard (``provider``)."""

    id: str
    payment_id: str
    practice_id: int
    environment: Environment
    attempt_id: str
    state: RefundState
    amount: int
    currency: str
    reason: str | None
    origin: RefundOrigin
    idempotency_key: str
    fingerprint: str
    created_by: str
    created_at: datetime
    updated_at: datetime
    failure_reason: str | None = None
    raw_code: str | None = None
    provider_refund_id: str | None = None
    provider_response: Any = None
    booked: int = 0
    booked_duplicate: int = 0
    next_lookup_at: datetime | None = None
    lookups: int = 0
    provider_dispute_id: str | None = None  # the dispute that the provider paid by this refund, if it says so
    detail: str | None = None
    unclear_since: datetime | None = None  # since when its provider answers with unknown words
    is_reversal: bool = False  # the provider itself took the money, for a dispute or a bank

    @property
    def is_undone(self) -> bool:
        """Whether it was a reversal for a dispute that the practice has won since, and its money came back."""
        return self.state in REFUND_VOID and self.raw_code == DISPUTE_WON

    @property
    def returns_duplicate(self) -> bool:
        """Whether it refunds a duplicate payment, which does not change what the payment itself captured."""
        return self.idempotency_key.startswith(_DUPLICATE)

    @property
    def reserves(self) -> bool:
        """Whether it reserves part of the captured amount while its outcome is open."""
        return self.origin is RefundOrigin.api and not self.returns_duplicate


# A caller's key never contains a space.
_DUPLICATE = "duplicate "


def duplicate_key(attempt_id: str, known: list[Refund]) -> str:
    """The key of the next refund of a duplicate payment: the same for everybody who knows the same refunds of its
    payment."""
    return f"{_DUPLICATE}{attempt_id} {sum(r.returns_duplicate and r.attempt_id == attempt_id for r in known)}"


_REFUND = columns_of(Refund)


@reads_row
def _refund(row: Any) -> Refund:
    values = dict(row)
    values["environment"] = Environment(values["environment"])
    values["state"], values["origin"] = RefundState(values["state"]), RefundOrigin(values["origin"])
    values["provider_response"] = json_value(values["provider_response"])
    values["is_reversal"] = bool(values["is_reversal"])
    for name in ("next_lookup_at", "created_at", "updated_at", "unclear_since"):
        values[name] = moment(values[name])
    return Refund(**values)


def insert(unit: Writes, refund: Refund) -> None:
    """A new refund. One that is requested here is committed before its call is made. ``Duplicate`` if its idempotency
    key is used already."""
    unit.add(
        "INSERT INTO refunds (id, payment_id, practice_id, environment, attempt_id, state, amount, currency, reason,"
        " origin, provider_refund_id, provider_response, booked, booked_duplicate, idempotency_key, fingerprint,"
        " created_by, next_lookup_at, created_at, updated_at, failure_reason, raw_code, provider_dispute_id, detail,"
        " is_reversal, search_key)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,"
        " $23, $24, $25, $26)",
        refund.id, refund.payment_id, refund.practice_id, refund.environment.value, refund.attempt_id,
        refund.state.value, refund.amount, refund.currency, refund.reason, refund.origin.value, refund.provider_refund_id,
        json_text(refund.provider_response), refund.booked, refund.booked_duplicate, refund.idempotency_key,
        refund.fingerprint, refund.created_by, refund.next_lookup_at, refund.created_at, refund.updated_at,
        refund.failure_reason, refund.raw_code, refund.provider_dispute_id, refund.detail, refund.is_reversal,
        _search_key(refund),
    )  # fmt: skip


def change(unit: Writes, before: RefundState, refund: Refund) -> None:
    """Change a refund that still has the state that was read. ``Stale`` otherwise."""
    unit.add(
        "UPDATE refunds SET state = $3, failure_reason = $4, raw_code = $5, provider_refund_id = $6,"
        " provider_response = $7, booked = $8, booked_duplicate = $9, next_lookup_at = $10, lookups = $11,"
        " updated_at = $12, provider_dispute_id = $13, detail = $14, unclear_since = $15, search_key = $16"
        " WHERE id = $1 AND state = $2",
        refund.id,
        before.value,
        refund.state.value,
        refund.failure_reason,
        refund.raw_code,
        refund.provider_refund_id,
        json_text(refund.provider_response),
        refund.booked,
        refund.booked_duplicate,
        refund.next_lookup_at,
        refund.lookups,
        refund.updated_at,
        refund.provider_dispute_id,
        refund.detail,
        refund.unclear_since,
        _search_key(refund),
        expect=1,
    )


def _search_key(refund: Refund) -> str | None:
    """The provider's id of a refund in the form in which identifiers are compared."""
    return identifier_key(refund.provider_refund_id) if refund.provider_refund_id else None


def looked_up_again(unit: Writes, refund: Refund) -> None:
    """Set the next lookup of a refund and its provider's last words. Nothing else about it changes. ``Stale`` if
    another writer has changed its state."""
    unit.add(
        "UPDATE refunds SET next_lookup_at = $3, lookups = $4, raw_code = $5, detail = $6, unclear_since = $7"
        " WHERE id = $1 AND state = $2",
        refund.id,
        refund.state.value,
        refund.next_lookup_at,
        refund.lookups,
        refund.raw_code,
        refund.detail,
        refund.unclear_since,
        expect=1,
    )


async def by_id(db: PracticeDb, refund_id: str) -> Refund | None:
    """One refund."""
    row = await db.one(f"SELECT {_REFUND} FROM refunds WHERE id = $1", refund_id)  # noqa: S608
    return _refund(row) if row else None


async def by_key(db: PracticeDb, idempotency_key: str) -> Refund | None:
    """The refund with this idempotency key."""
    row = await db.one(
        f"SELECT {_REFUND} FROM refunds WHERE practice_id = $1 AND idempotency_key = $2",  # noqa: S608
        db.practice_id,
        idempotency_key,
    )
    return _refund(row) if row else None


async def of_payment(db: PracticeDb, payment_id: str) -> list[Refund]:
    """A payment's refunds, oldest first."""
    rows = await db.fetch(
        f"SELECT {_REFUND} FROM refunds WHERE payment_id = $1 ORDER BY created_at, id",  # noqa: S608
        payment_id,
    )
    return [_refund(row) for row in rows]


async def overdue(db: PracticeDb, now: datetime, beyond: datetime | None = None, limit: int = 50) -> list[Refund]:
    """Refunds whose next lookup is due: a number of each provider, whatever waits at another. A lookup that was put off
    to after ``beyond`` is due, too."""
    sql = overdue_sql("refunds", _REFUND)
    return await read_past(
        lambda places: db.fetch(sql, now, places, beyond), lambda rows: readable(rows, _refund), limit
    )


async def done_between(
    db: PracticeDb, config_id: int, environment: Environment, since: datetime, until: datetime
) -> list[str]:
    """A configuration's refunds of a window that succeeded, or may have, because this version does not know their
    state."""
    rows = await db.fetch(
        f"SELECT id FROM refunds WHERE {known_or('succeeded', RefundState)} AND environment = $2"  # noqa: S608
        " AND created_at >= $3 AND created_at < $4"
        " AND attempt_id IN (SELECT id FROM payment_attempts WHERE config_id = $1) ORDER BY created_at, id",
        config_id,
        environment.value,
        since,
        until,
    )
    return [row["id"] for row in rows]
