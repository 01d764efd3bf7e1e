"""The event about a change of a payment that a host application acts on."""

from __future__ import annotations

from polytill.domain.states import PaymentStatus
from polytill.flows.context import Context
from polytill.flows.events import record_event
from polytill.providers.outcomes import Reason
from polytill.storage.payments import Change, Payment
from polytill.storage.units import Unit


def record_status_event(context: Context, unit: Unit, payment: Payment, change: Change) -> None:
    """Add the event of a change that a host application acts on. A payer's intermediate steps send none."""
    kind = change.status.value
    if change.status is payment.status:  # captured in part
        kind = "partially_captured"
    if kind in (PaymentStatus.requires_action, PaymentStatus.processing):
        return
    if kind == PaymentStatus.canceled and change.cancel_reason == Reason.expired:
        kind = "expired"
    data = {
        "status": change.status.value,
        "amount": payment.amount,
        "amountCaptured": payment.amount_captured + change.add_captured,
        "providerCode": change.provider_code or payment.provider_code,
        "reason": change.failure_reason or change.cancel_reason,
    }
    record_event(context, unit, payment, f"payment.{kind}", data)
