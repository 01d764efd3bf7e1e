"""Disputes: inquiries and chargebacks that providers report. Rows in, rows out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from polytill.domain.identifiers import identifier_key
from polytill.domain.states import CountedAs, DisputeKind, DisputeReason, DisputeState, Environment
from polytill.storage.columns import Table
from polytill.storage.databases import PracticeDb, Writes
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


_DISPUTES = Table("disputes", Dispute)
_CHANGED = (
    "state, provider_state, amount, funds_withdrawn, due_at, updated_at, attempt_id, kind, reason, provider_reason,"
    " booked, counted_as, funds_returned"
)


def insert(unit: Writes, dispute: Dispute) -> None:
    """A dispute that a provider reported. ``Duplicate`` if it is known already."""
    _DISPUTES.insert(unit, dispute, search_key=identifier_key(dispute.provider_dispute_id))


def change(unit: Writes, before: Dispute, dispute: Dispute) -> None:
    """Change a dispute that still is what was read. ``Stale`` otherwise, so that two reports at once of one change record
    it once."""
    unchanged = (
        "id = $1 AND state = $2 AND COALESCE(amount, -1) = $3 AND booked = $4 AND kind = $5 AND provider_state = $6"
        " AND funds_withdrawn = $7 AND funds_returned = $8 AND COALESCE(due_at, '') = $9"
    )
    amount = -1 if before.amount is None else before.amount
    told = (before.kind, before.provider_state, before.funds_withdrawn, before.funds_returned, before.due_at or "")
    _DISPUTES.update(unit, dispute, _CHANGED, unchanged, dispute.id, before.state, amount, before.booked, *told)


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
    oldest = await db.value(
        "SELECT MIN(p.created_at) FROM disputes d JOIN payments p ON p.id = d.payment_id"
        " WHERE (d.state = 'open' OR EXISTS (SELECT 1 FROM operator_cases c WHERE c.state = 'open'"
        " AND c.payment_id = d.payment_id AND c.kind IN ('dispute_won', 'dispute_lost', 'dispute_closed')"
        " AND c.kind <> 'dispute_' || d.state AND c.subject = d.provider_dispute_id || ':' || SUBSTR(c.kind, 9)))"
        " AND d.environment = $2"
        " AND EXISTS (SELECT 1 FROM payment_attempts a WHERE a.payment_id = p.id AND a.config_id = $1)",
        config_id,
        environment,
    )
    return moment(oldest)


async def of_payment(db: PracticeDb, payment_id: str) -> list[Dispute]:
    """A payment's disputes, oldest first."""
    return await _DISPUTES.all(db, "WHERE payment_id = $1 ORDER BY created_at, id", payment_id)
