"""Disputes: inquiries and chargebacks that providers report. Rows in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from polytill.domain.identifiers import identifier_key
from polytill.domain.states import CountedAs, DisputeKind, DisputeReason, DisputeState, Environment
from polytill.storage.columns import columns_of, insert_into
from polytill.storage.databases import PracticeDb, Writes
from polytill.storage.reading import reads_row
from polytill.storage.units import moment


@dataclass(slots=True)
class Dispute:
    """A customer's dispute. ``attempt_id`` is the attempt whose money it is about.

    ``amount`` is the amount that the provider names; None if it names none. ``booked`` is the part that the ledger has
    as lost: less than ``amount`` if a refund returned the same money already.
    """

    id: str
    payment_id: str
    practice_id: int
    environment: Environment
    provider_dispute_id: str
    state: DisputeState
    provider_state: str
    amount: int | None
    currency: str
    funds_withdrawn: bool
    due_at: str | None
    created_at: datetime
    updated_at: datetime
    attempt_id: str
    kind: DisputeKind = DisputeKind.chargeback
    reason: DisputeReason | None = None
    provider_reason: str | None = None
    booked: int = 0
    counted_as: CountedAs | None = None  # staff decided whether it is the same money as a refund
    funds_returned: bool = False  # the provider shows that what it withdrew for it came back

    @property
    def blocks_refunds(self) -> bool:
        """Whether a refund could return the same money twice: an open chargeback. A refund is the usual answer to an
        inquiry, as long as no funds were withdrawn for it."""
        return self.state is DisputeState.open and (self.kind is DisputeKind.chargeback or self.funds_withdrawn)


_COLUMNS = columns_of(Dispute)
_INSERT = insert_into("disputes", f"{_COLUMNS}, search_key")


def insert(unit: Writes, dispute: Dispute) -> None:
    """A dispute that a provider reported. ``Duplicate`` if it is known already."""
    unit.add(
        _INSERT,
        dispute.id, dispute.payment_id, dispute.practice_id, dispute.environment.value, dispute.provider_dispute_id,
        dispute.state.value, dispute.provider_state, dispute.amount, dispute.currency, dispute.funds_withdrawn,
        dispute.due_at, dispute.created_at, dispute.updated_at, dispute.attempt_id, dispute.kind.value,
        dispute.reason.value if dispute.reason else None, dispute.provider_reason, dispute.booked,
        dispute.counted_as.value if dispute.counted_as else None, dispute.funds_returned,
        identifier_key(dispute.provider_dispute_id),
    )  # fmt: skip


def change(unit: Writes, before: Dispute, dispute: Dispute) -> None:
    """Change a dispute that still has the state, the amount and the booked loss that were read."""
    unit.add(
        "UPDATE disputes SET state = $3, provider_state = $4, amount = $5, funds_withdrawn = $6, due_at = $7,"
        " updated_at = $8, attempt_id = $10, kind = $11, reason = $12, provider_reason = $13, booked = $14,"
        " counted_as = $16, funds_returned = $17"
        " WHERE id = $1 AND state = $2 AND COALESCE(amount, -1) = $9 AND booked = $15",
        dispute.id,
        before.state.value,
        dispute.state.value,
        dispute.provider_state,
        dispute.amount,
        dispute.funds_withdrawn,
        dispute.due_at,
        dispute.updated_at,
        -1 if before.amount is None else before.amount,
        dispute.attempt_id,
        dispute.kind.value,
        dispute.reason.value if dispute.reason else None,
        dispute.provider_reason,
        dispute.booked,
        before.booked,
        dispute.counted_as.value if dispute.counted_as else None,
        dispute.funds_returned,
        expect=1,
    )


def book(unit: Writes, dispute: Dispute, booked: int, now: datetime) -> None:
    """Set how much of a dispute is booked as lost. ``Stale`` if another writer has changed it since."""
    unit.add(
        "UPDATE disputes SET booked = $3, updated_at = $4 WHERE id = $1 AND booked = $2",
        dispute.id,
        dispute.booked,
        booked,
        now,
        expect=1,
    )


async def oldest_disputed(db: PracticeDb, config_id: int, environment: Environment) -> datetime | None:
    """The creation time of the oldest payment of a configuration with a dispute that is open, or that was reported to have
    ended in two ways. None if there is none."""
    row = await db.one(
        "SELECT MIN(p.created_at) AS oldest FROM disputes d JOIN payments p ON p.id = d.payment_id"
        " WHERE (d.state = 'open' OR EXISTS (SELECT 1 FROM operator_cases c WHERE c.state = 'open'"
        " AND c.payment_id = d.payment_id AND c.kind IN ('dispute_won', 'dispute_lost', 'dispute_closed')"
        " AND c.kind <> 'dispute_' || d.state AND c.subject = d.provider_dispute_id || ':' || SUBSTR(c.kind, 9)))"
        " AND d.environment = $2"
        " AND EXISTS (SELECT 1 FROM payment_attempts a WHERE a.payment_id = p.id AND a.config_id = $1)",
        config_id,
        environment.value,
    )
    return moment(row["oldest"]) if row and row["oldest"] else None


async def of_payment(db: PracticeDb, payment_id: str) -> list[Dispute]:
    """A payment's disputes, oldest first."""
    rows = await db.fetch(
        f"SELECT {_COLUMNS} FROM disputes WHERE payment_id = $1 ORDER BY created_at, id",  # noqa: S608
        payment_id,
    )
    return [_dispute(row) for row in rows]


@reads_row
def _dispute(row: Any) -> Dispute:
    values = dict(row)
    values["environment"] = Environment(values["environment"])
    values["state"], values["kind"] = DisputeState(values["state"]), DisputeKind(values["kind"])
    values["reason"] = DisputeReason(values["reason"]) if values["reason"] else None
    values["counted_as"] = CountedAs(values["counted_as"]) if values["counted_as"] else None
    values["funds_withdrawn"] = bool(values["funds_withdrawn"])
    values["funds_returned"] = bool(values["funds_returned"])
    values["created_at"], values["updated_at"] = moment(values["created_at"]), moment(values["updated_at"])
    return Dispute(**values)
