"""Disputes on a practice's pages: the amount, the deadline for the response, and the review case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from polytill.domain.review_cases import CaseKind
from polytill.domain.states import DisputeKind, DisputeState
from polytill.flows.refunds.disputes import OPEN_CASES
from polytill.storage import cases, disputes
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.payments import Payment


@dataclass(frozen=True, slots=True)
class DisputeCard:
    """One dispute on a page. ``title`` is a text key; ``case_id`` its open review case."""

    dispute: Dispute
    title: str
    tone: str
    due: datetime | None
    case_id: str | None


async def cards(db: PracticeDb, payment: Payment) -> list[DisputeCard]:
    """The disputes of a payment, oldest first."""
    return [await _card(db, dispute) for dispute in await _of(db, payment)]


async def _of(db: PracticeDb, payment: Payment) -> list[Dispute]:
    # Most payments have no disputes and need no query.
    return await disputes.of_payment(db, payment.id) if payment.dispute_version else []


async def has_open_inquiry(db: PracticeDb, payment: Payment) -> bool:
    """Whether a payment has an open inquiry, which withdraws no funds."""
    return any(d.state is DisputeState.open and not d.blocks_refunds for d in await _of(db, payment))


async def _card(db: PracticeDb, dispute: Dispute) -> DisputeCard:
    is_inquiry = dispute.kind is DisputeKind.inquiry
    title = f"dispute.inquiry_{dispute.state.value}" if is_inquiry else f"dispute.{dispute.state.value}"
    tone = {DisputeState.open: "warn" if is_inquiry else "bad", DisputeState.lost: "bad"}.get(dispute.state, "")
    kind, suffix = OPEN_CASES[dispute.kind]
    if dispute.state is DisputeState.lost:
        kind, suffix = CaseKind.dispute_lost, "lost"
    known = await cases.listed(db, kind=kind, subject=f"{dispute.provider_dispute_id}:{suffix}")
    return DisputeCard(dispute, title, tone, _moment(dispute.due_at), known[0].id if known else None)


def _moment(text: str | None) -> datetime | None:
    """Parse a provider's deadline; None if it is unreadable."""
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
