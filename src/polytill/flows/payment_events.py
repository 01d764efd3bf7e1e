"""The event about a change of a payment that a host application acts on."""

from __future__ import annotations

from polytill.domain.event_types import EventType
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import PaymentStatus
from polytill.flows.context import Context
from polytill.flows.events import record_event
from polytill.providers.outcomes import Reason
from polytill.storage.payments import Change, Payment
from polytill.storage.units import Unit

OF_STATUS: dict[PaymentStatus, EventType | None] = {
    PaymentStatus.requires_action: None,
    PaymentStatus.processing: None,
    PaymentStatus.authorized: EventType.payment_authorized,
    PaymentStatus.succeeded: EventType.payment_succeeded,
    PaymentStatus.failed: EventType.payment_failed,
    PaymentStatus.canceled: EventType.payment_canceled,
}
# The event beside each review case that a payment's outcome opens.
OF_CASE = {
    CaseKind.duplicate_payment: EventType.payment_duplicate_payment,
    CaseKind.duplicate_authorization: EventType.payment_duplicate_authorization,
    CaseKind.amount_mismatch: EventType.payment_amount_mismatch,
    CaseKind.other_account: EventType.payment_other_account,
}


def record_status_event(context: Context, unit: Unit, payment: Payment, change: Change) -> None:
    """Add the event of a change that a host application acts on. A payer's intermediate steps send none."""
    type_ = OF_STATUS[change.status]
    if change.status is payment.status:  # captured in part
        type_ = EventType.payment_partially_captured
    if type_ is None:
        return
    if type_ is EventType.payment_canceled and change.cancel_reason == Reason.expired:
        type_ = EventType.payment_expired
    data = {
        "status": change.status.value,
        "amount": payment.amount,
        "amountCaptured": payment.amount_captured + change.add_captured,
        "providerCode": change.provider_code or payment.provider_code,
        "reason": change.failure_reason or change.cancel_reason,
    }
    record_event(context, unit, payment, type_, data)
