"""Payments that were taken before polytill: which of them can be refunded here."""

from __future__ import annotations

from polytill.domain.errors import Conflict
from polytill.domain.past_payments import Certainty, Doubt
from polytill.flows.context import Practice
from polytill.flows.provider_calls import configuration_of
from polytill.storage import disputes
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment


async def check_refundable(practice: Practice, payment: Payment, attempt: Attempt) -> None:
    """``Conflict`` if a past payment is uncertain: a refund could return money that was never taken. Keys that were
    entered since then end the doubt about its account."""
    if payment.certainty is not Certainty.uncertain:
        return
    doubts = set(payment.doubts or ())
    if Doubt.not_configured in doubts:
        configuration = await configuration_of(practice, attempt.config_id)
        if configuration is not None and configuration.account(payment.environment) is not None:
            doubts.discard(Doubt.not_configured)
        else:
            raise Conflict(
                "This payment was taken before polytill, with an account that is not set up here. Set the provider up"
                " first.",
                code="past_payment_not_configured",
            )
    if Doubt.disputed in doubts and await disputes.of_payment(practice.db, payment.id):
        doubts.discard(Doubt.disputed)  # the dispute itself is known here, and says what can be refunded
    if doubts:
        raise Conflict(
            "This payment was taken before polytill, and its record is uncertain"
            f" ({', '.join(sorted(doubts))}). Check it first: `polytill legacy backfill --check`.",
            code="past_payment_uncertain",
        )
