"""Disputes: inquiries and chargebacks, with what staff need to respond in time."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from polytill.domain.states import DisputeKind, DisputeReason, DisputeState
from polytill.storage import disputes
from polytill.web.api.responses import Minor, Moment, ResponseBody


class Dispute(ResponseBody):
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

    @classmethod
    def of(cls, dispute: disputes.Dispute) -> Self:
        """Build it from its row."""
        return cls.from_record(
            dispute,
            id=dispute.provider_dispute_id,
            status=dispute.state,
            provider_status=dispute.provider_state,
            amount_lost=dispute.booked,
        )
