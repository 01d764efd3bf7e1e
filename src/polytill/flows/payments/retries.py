"""Whether a failed payment can be tried again, or has failed for good. Pure except for the clock."""

from __future__ import annotations

from polytill.domain.states import PaymentStatus
from polytill.flows.context import Context
from polytill.flows.payments.create import MAX_ATTEMPTS
from polytill.flows.payments.decide import CLOSED_FOR_CERTAIN
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment


def may_try_again(context: Context, payment: Payment, attempts: list[Attempt]) -> bool:
    """Whether a new attempt is safe: no earlier one can still be paid."""
    in_time = payment.expires_at is None or context.world.now() < payment.expires_at
    return (
        payment.status is PaymentStatus.failed
        and payment.saved_method_id is None  # its payer was not present
        and in_time
        and len(attempts) < MAX_ATTEMPTS
        and all(attempt.state in CLOSED_FOR_CERTAIN for attempt in attempts)
    )


def is_over_for_certain(payment: Payment, attempts: list[Attempt]) -> bool:
    """Whether a payment failed for good: every attempt was declined, not sent, or ended by its provider."""
    closed = all(attempt.state in CLOSED_FOR_CERTAIN for attempt in attempts)
    return payment.status is PaymentStatus.failed and closed
