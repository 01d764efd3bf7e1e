"""Review cases: the request that resolves one, and the responses."""

from __future__ import annotations

from typing import Any, Self

from polytill.domain.review_cases import CaseAction, CaseKind, CaseState
from polytill.domain.states import Environment
from polytill.flows.review import resolve
from polytill.storage.cases import OperatorCase
from polytill.web.api.models.attempts import Attempt
from polytill.web.api.models.disputes import Dispute
from polytill.web.api.models.payments import PaymentSummary
from polytill.web.api.models.refunds import Refund
from polytill.web.api.requests import RequestBody
from polytill.web.api.responses import Moment, ResponseBody
from polytill.web.api.values import Amount, Text


class ResolveCase(RequestBody):
    """How to resolve a case. Every action except ``look_up`` and ``refund_duplicate`` needs a note. ``mark_paid`` needs
    the provider's ``transactionId`` and the ``amount`` on its statement (minor units); ``done`` for a refund may
    contain the ``transactionId``. ``acceptDisputeRisk`` lets ``refund_duplicate`` refund an amount that an open chargeback
    is about."""

    action: CaseAction
    note: Text | None = None
    transaction_id: Text | None = None
    amount: Amount | None = None
    accept_dispute_risk: bool = False


class ReviewCaseSummary(ResponseBody):
    """A review case as the platform sees it: its practice and kind, without the practice's amounts."""

    practice_id: int
    id: str
    kind: CaseKind
    environment: Environment
    status: CaseState
    created_at: Moment

    @classmethod
    def of(cls, practice_id: int, case: OperatorCase) -> Self:
        """Build it from its row."""
        return cls.from_record(case, practice_id=practice_id, status=case.state)


class ReviewCasePage(ResponseBody):
    """Open cases of some practices; ``nextAfter`` is null at the end."""

    data: list[ReviewCaseSummary]
    next_after: int | None


class ReviewCase(ReviewCaseSummary):
    """A review case as its practice sees it."""

    subject: str
    payment_id: str | None
    detail: dict[str, Any]
    resolved_at: Moment | None
    resolved_by: str | None


class ReviewCaseEvidence(ResponseBody):
    """A review case with the records of its payment."""

    case: ReviewCase
    payment: PaymentSummary | None
    attempts: list[Attempt]
    refunds: list[Refund]
    disputes: list[Dispute]

    @classmethod
    def of(cls, practice_id: int, found: resolve.Evidence) -> Self:
        """Build it from the case and the records of its payment."""
        return cls(
            case=ReviewCase.of(practice_id, found.case),
            payment=PaymentSummary.of(found.payment) if found.payment else None,
            attempts=[Attempt.of(attempt) for attempt in found.attempts],
            refunds=[Refund.of(refund) for refund in found.refunds],
            disputes=[Dispute.of(dispute) for dispute in found.disputes],
        )
