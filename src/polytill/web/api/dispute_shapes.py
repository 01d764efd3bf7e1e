"""JSON of disputes: inquiries and chargebacks, with what staff need to respond in time."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from polytill.domain.clock import wire_time
from polytill.domain.states import DisputeKind, DisputeReason, DisputeState
from polytill.storage.disputes import Dispute as DisputeRow
from polytill.web.api.answering import Answer, Minor, Moment


class Dispute(Answer):
    """A dispute about a payment."""

    id: Annotated[str, Field(description="The provider's id of the dispute")]
    kind: Annotated[DisputeKind, Field(description="An inquiry withdraws no funds; it may become a chargeback")]
    status: Annotated[DisputeState, Field(description="`closed`: it ended without a decision that withdrew funds")]
    provider_status: str
    reason: DisputeReason | None
    provider_reason: Annotated[str | None, Field(description="The provider's code")]
    amount: Annotated[Minor | None, Field(description="The disputed amount; null if the provider does not report it")]
    amount_lost: Annotated[
        Minor, Field(description="The part that is booked as lost, without amounts that a refund has returned already")
    ]
    currency: str
    funds_withdrawn: bool
    due_at: Annotated[str | None, Field(description="The deadline for a response to the provider")]
    created_at: Moment
    updated_at: Moment


def dispute_view(dispute: DisputeRow) -> dict[str, Any]:
    """One dispute as JSON."""
    return {
        "id": dispute.provider_dispute_id,
        "kind": dispute.kind.value,
        "status": dispute.state.value,
        "providerStatus": dispute.provider_state,
        "reason": dispute.reason.value if dispute.reason else None,
        "providerReason": dispute.provider_reason,
        "amount": dispute.amount,
        "amountLost": dispute.booked,
        "currency": dispute.currency,
        "fundsWithdrawn": dispute.funds_withdrawn,
        "dueAt": dispute.due_at,
        "createdAt": wire_time(dispute.created_at),
        "updatedAt": wire_time(dispute.updated_at),
    }
