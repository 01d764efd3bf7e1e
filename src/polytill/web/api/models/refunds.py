"""Refunds: the request and the response."""

from __future__ import annotations

from typing import Self

from polytill.domain.states import Environment, RefundOrigin, RefundState
from polytill.storage import refunds
from polytill.web.api.requests import BodyWithBlanks
from polytill.web.api.responses import Minor, Moment, ResponseBody
from polytill.web.api.values import Amount, Text
from polytill.web.code_by import CodeBy, code_by


class CreateRefund(BodyWithBlanks):
    """A refund; without an amount, everything that can still be refunded."""

    amount: Amount | None = None
    reason: Text | None = None
    accept_dispute_risk: bool = False


class Refund(ResponseBody):
    """One refund."""

    id: str
    payment_id: str
    status: RefundState
    amount: Minor
    currency: str
    reason: str | None
    origin: RefundOrigin
    failure_reason: str | None
    code: str | None
    detail: str | None
    code_by: CodeBy
    provider_refund_id: str | None
    provider_dispute_id: str | None
    environment: Environment
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, refund: refunds.Refund) -> Self:
        """Build it from its row."""
        return cls.from_record(
            refund, status=refund.state, code=refund.raw_code, code_by=code_by(refund.raw_code, refund.detail)
        )
