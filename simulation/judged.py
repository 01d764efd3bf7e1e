"""What the world's judge says about each kind of review case, type of event, origin of a refund and state of a dispute.

A new member is missing here until somebody decides whether the judge can find a wrong one. ``JUDGED`` names the function
that compares it with the providers' books; ``NOT_JUDGED`` gives the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polytill.domain.event_types import EventType
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import DisputeState, RefundOrigin
from simulation import calm, decisions, oracle

JUDGED_CASES: dict[CaseKind, Callable[..., Any]] = {
    CaseKind.duplicate_payment: oracle._payments,
    CaseKind.amount_mismatch: oracle._stuck,
    CaseKind.unresolved: oracle.for_a_person,
    CaseKind.other_account: calm._a_person_decides,
    CaseKind.staff_contradicted: decisions.Decisions._contradictions,
    CaseKind.over_returned: oracle._over_returned,
    CaseKind.inquiry_open: oracle._dispute_cases,
    CaseKind.dispute_open: oracle._dispute_cases,
}
NOT_JUDGED_CASES: dict[CaseKind, str] = {
    CaseKind.duplicate_authorization: "the judge follows captured money only",
    CaseKind.refund_mismatch: "the refund's amount is compared with the books, with or without a case",
    CaseKind.currency_mismatch: "providers of the world refund and dispute in the currency of the payment",
    CaseKind.reversed_and_won: "the amounts are compared with the books, with or without a case",
    CaseKind.refund_or_dispute: "the amounts are compared with the books, with or without a case",
    CaseKind.refund_failed: "the refund's state is compared with the books, with or without a case",
    CaseKind.refund_unclear: "the refunds are compared with the books, with or without a case",
    CaseKind.dispute_won: "the dispute's state is compared with the books, with or without a case",
    CaseKind.dispute_lost: "the dispute's state is compared with the books, with or without a case",
    CaseKind.dispute_closed: "the dispute's state is compared with the books, with or without a case",
    CaseKind.notice: "no provider of the world sends notices",
    CaseKind.saved_method_not_detached: "customers of the world save no methods",
    CaseKind.listing_missing_here: "every payment of the world is ours",
    CaseKind.listing_missing_there: "the payments are compared with the books, with or without a case",
    CaseKind.listing_amount_differs: "the amounts are compared with the books, with or without a case",
    CaseKind.listing_status_differs: "the states are compared with the books, with or without a case",
}

JUDGED_EVENTS: dict[EventType, Callable[..., Any]] = {
    EventType.inquiry_opened: oracle._dispute_events,
    EventType.inquiry_updated: oracle._dispute_events,
    EventType.inquiry_closed: oracle._dispute_events,
    EventType.dispute_opened: oracle._dispute_events,
    EventType.dispute_updated: oracle._dispute_events,
    EventType.dispute_won: oracle._dispute_events,
    EventType.dispute_lost: oracle._dispute_events,
    EventType.dispute_closed: oracle._dispute_events,
    EventType.payment_staff_contradicted: decisions.Decisions._contradictions,
}
_WITH_STATUS = "the judge compares the row that is written in the same transaction"
_WITH_CASE = "the judge compares the case that is opened in the same transaction, or says why not"
NOT_JUDGED_EVENTS: dict[EventType, str] = {
    EventType.payment_succeeded: _WITH_STATUS,
    EventType.payment_authorized: _WITH_STATUS,
    EventType.payment_partially_captured: _WITH_STATUS,
    EventType.payment_failed: _WITH_STATUS,
    EventType.payment_canceled: _WITH_STATUS,
    EventType.payment_expired: _WITH_STATUS,
    EventType.payment_duplicate_payment: _WITH_CASE,
    EventType.payment_duplicate_authorization: _WITH_CASE,
    EventType.payment_amount_mismatch: _WITH_CASE,
    EventType.payment_other_account: _WITH_CASE,
    EventType.payment_unresolved: _WITH_CASE,
    EventType.refund_succeeded: _WITH_STATUS,
    EventType.refund_failed: _WITH_STATUS,
    EventType.practice_closed: "no practice of a simulated world is closed",
    EventType.practice_reopened: "no practice of a simulated world is closed",
    EventType.practice_deleted: "no practice of a simulated world is deleted",
    EventType.rollout_field_due: "no practice of a simulated world is in a rollout",
    EventType.webhook_parked: "what was reported is compared with the books, whichever webhook brought it",
}

JUDGED_ORIGINS: dict[RefundOrigin, Callable[..., Any]] = {
    RefundOrigin.api: oracle._refunds,
    RefundOrigin.provider: oracle._refunds,
}
JUDGED_DISPUTES: dict[DisputeState, Callable[..., Any]] = {
    DisputeState.open: oracle._dispute_cases,
    DisputeState.won: oracle._disputes,
    DisputeState.lost: oracle._disputes,
    DisputeState.closed: oracle._disputes,
}
