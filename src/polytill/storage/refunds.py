"""Refunds: rows in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.identifiers import identifier_key
from polytill.domain.past_payments import TAKEN_OVER_BY
from polytill.domain.states import REFUND_VOID, Environment, RefundOrigin, RefundState
from polytill.storage import reading
from polytill.storage.columns import Table
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import known_or

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
    def is_past_sum(self) -> bool:
        """Whether it stands for all earlier refunds of a past payment that its host could not name, by their sum."""
        is_past = self.origin is RefundOrigin.provider and self.created_by == TAKEN_OVER_BY
        return is_past and self.provider_refund_id is None and self.state is RefundState.succeeded

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


_REFUNDS = Table("refunds", Refund)
_NEW = (
    "id, payment_id, practice_id, environment, attempt_id, state, amount, currency, reason, origin, provider_refund_id,"
    " provider_response, booked, booked_duplicate, idempotency_key, fingerprint, created_by, next_lookup_at, created_at,"
    " updated_at, failure_reason, raw_code, provider_dispute_id, detail, is_reversal"
)
_LAST_WORDS = "next_lookup_at, lookups, raw_code, detail, unclear_since"
_CHANGED = (
    "state, failure_reason, provider_refund_id, provider_response, booked, booked_duplicate, updated_at,"
    f" provider_dispute_id, {_LAST_WORDS}"
)


def insert(unit: Writes, refund: Refund) -> None:
    """A new refund. One that is requested here is committed before its call is made. ``Duplicate`` if its idempotency
    key is used already."""
    _REFUNDS.insert(unit, refund, _NEW, search_key=_search_key(refund))


def change(unit: Writes, before: RefundState, refund: Refund) -> None:
    """Change a refund that still has the state that was read. ``Stale`` otherwise."""
    unchanged = "id = $1 AND state = $2"
    _REFUNDS.update(unit, refund, _CHANGED, unchanged, refund.id, before, search_key=_search_key(refund))


def resize(unit: Writes, before: Refund, refund: Refund) -> None:
    """Change the amount of the sum of earlier refunds, or name it. ``Stale`` if it is no longer as it was read."""
    unchanged = "id = $1 AND state = $2 AND amount = $3 AND provider_refund_id IS NULL"
    columns = "amount, booked, booked_duplicate, provider_refund_id, is_reversal, created_at, updated_at"
    args = (before.id, before.state, before.amount)
    _REFUNDS.update(unit, refund, columns, unchanged, *args, search_key=_search_key(refund))


def _search_key(refund: Refund) -> str | None:
    """The provider's id of a refund in the form in which identifiers are compared."""
    return identifier_key(refund.provider_refund_id) if refund.provider_refund_id else None


def looked_up_again(unit: Writes, refund: Refund) -> None:
    """Set the next lookup of a refund and its provider's last words. Nothing else about it changes. ``Stale`` if
    another writer has changed its state."""
    _REFUNDS.update(unit, refund, _LAST_WORDS, "id = $1 AND state = $2", refund.id, refund.state)


async def by_id(db: PracticeDb, refund_id: str) -> Refund | None:
    """One refund."""
    return await _REFUNDS.one(db, "WHERE id = $1", refund_id)


async def by_key(db: PracticeDb, idempotency_key: str) -> Refund | None:
    """The refund with this idempotency key."""
    return await _REFUNDS.one(db, "WHERE practice_id = $1 AND idempotency_key = $2", db.practice_id, idempotency_key)


async def of_payment(db: PracticeDb, payment_id: str) -> list[Refund]:
    """A payment's refunds, oldest first."""
    return await _REFUNDS.all(db, "WHERE payment_id = $1 ORDER BY created_at, id", payment_id)


async def overdue(db: PracticeDb, now: datetime, beyond: datetime | None = None, limit: int = 50) -> list[Refund]:
    """Refunds whose next lookup is due: ``reading.overdue``."""
    source = "refunds AS one JOIN payment_attempts AS attempt ON attempt.id = one.attempt_id"
    return await reading.overdue(db, _REFUNDS, source, now, beyond, limit)


async def done_between(
    db: PracticeDb, config_id: int, environment: Environment, since: datetime, until: datetime
) -> list[str]:
    """A configuration's refunds of a window that succeeded, or may have, because this version does not know their
    state."""
    return await db.column(
        f"SELECT id FROM refunds WHERE {known_or('succeeded', RefundState)} AND environment = $2"  # noqa: S608
        " AND created_at >= $3 AND created_at < $4"
        " AND attempt_id IN (SELECT id FROM payment_attempts WHERE config_id = $1) ORDER BY created_at, id",
        config_id,
        environment,
        since,
        until,
    )
