"""The status of a payment as pages show it. Two statuses of the API have more than one label on pages."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from polytill.domain.states import AttemptState, PaymentStatus
from polytill.flows.payments.reading import PaymentDetails, current_attempt
from polytill.providers.outcomes import Reason
from polytill.storage import payments
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment


class Shown(StrEnum):
    """The labels, as keys of the texts ``status``."""

    requires_action = "requires_action"
    processing = "processing"
    checking = "checking"
    authorized = "authorized"
    succeeded = "succeeded"
    failed = "failed"
    canceled = "canceled"
    expired = "expired"

    @property
    def tone(self) -> str:
        """``good``, ``info``, ``warn``, ``bad`` or nothing. Green is only for success."""
        return TONES.get(self, "")


TONES = {
    Shown.requires_action: "info",
    Shown.processing: "info",
    Shown.checking: "warn",
    Shown.authorized: "info",
    Shown.succeeded: "good",
    Shown.failed: "bad",
}


def shown(payment: Payment, is_pending: bool) -> Shown:
    """The status of one payment. ``is_pending``: whether its provider accepted it and reports that it is in progress."""
    if payment.status is PaymentStatus.processing:
        return Shown.processing if is_pending else Shown.checking
    if payment.status is PaymentStatus.canceled and payment.cancel_reason == Reason.expired:
        return Shown.expired
    return Shown(payment.status.value)


def of_taken(found: PaymentDetails) -> Shown:
    """The status of a payment whose attempts are known."""
    return shown(found.payment, current_attempt(found.payment, found.attempts).state is AttemptState.pending)


async def of_payments(db: PracticeDb, rows: Sequence[Payment]) -> dict[str, Shown]:
    """The status of each payment of a list, by id."""
    processing = [one.id for one in rows if one.status is PaymentStatus.processing]
    pending = await payments.pending_among(db, processing)
    return {one.id: shown(one, one.id in pending) for one in rows}
