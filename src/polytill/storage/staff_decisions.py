"""Decisions by staff about an outcome that stayed unknown: rows in, rows out. A row never changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.identifiers import identifier_key
from polytill.domain.states import DecidedOn, Environment
from polytill.storage.attempts import Attempt
from polytill.storage.columns import Table
from polytill.storage.databases import PracticeDb, Writes


@dataclass(frozen=True, slots=True)
class StaffDecision:
    """One decision. ``subject`` is the id of the attempt, refund or operation. ``is_done``: it was paid, refunded,
    captured or canceled; False: it was not. ``amount`` is in minor units of ``currency``."""

    id: str
    practice_id: int
    environment: Environment
    payment_id: str
    attempt_id: str
    decided_on: DecidedOn
    subject: str
    is_done: bool
    config_id: int
    transaction_id: str | None
    amount: int | None
    currency: str
    note: str
    decided_by: str
    decided_at: datetime


_DECISIONS = Table("staff_decisions", StaffDecision)


def insert(unit: Writes, decision: StaffDecision) -> None:
    """A new decision. ``Duplicate`` if its subject was decided already, or if another attempt of the same provider
    configuration was decided to be paid by the same transaction."""
    name = decision.transaction_id if decision.decided_on is DecidedOn.payment else None
    _DECISIONS.insert(unit, decision, transaction_key=None if name is None else identifier_key(name))


async def of_attempt(db: PracticeDb, attempt_id: str) -> list[StaffDecision]:
    """The decisions about an attempt, its refunds, captures and cancels, oldest first."""
    return await _DECISIONS.all(db, "WHERE attempt_id = $1 ORDER BY decided_at, id", attempt_id)


def rename(unit: Writes, attempt: Attempt, own_id: str) -> None:
    """Replace the id that staff gave by the provider's own id of the same transaction. ``Stale`` if it is replaced
    already."""
    unit.add(
        "UPDATE payment_attempts SET provider_transaction_id = $3 WHERE id = $1 AND provider_transaction_id = $2",
        attempt.id,
        attempt.provider_transaction_id,
        own_id,
        expect=1,
    )
    unit.add(
        "UPDATE payments SET provider_transaction_id = $3, version = version + 1"
        " WHERE id = $1 AND provider_transaction_id = $2",
        attempt.payment_id,
        attempt.provider_transaction_id,
        own_id,
    )
