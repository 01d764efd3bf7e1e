"""An authorization that is captured in parts: what was taken so far, and what one more answer adds to it. Pure.

A payment stays ``authorized`` while a part is still held, with ``amount_captured`` above zero: that part can be refunded
and disputed. It becomes ``succeeded`` with the last capture, or with the release of the rest.
"""

from __future__ import annotations

from polytill.domain.states import AttemptState, PaymentStatus
from polytill.providers.outcomes import Succeeded
from polytill.storage.ledger import Entry
from polytill.storage.payments import Attempt, Change, Payment


def has_money(payment: Payment, attempt: Attempt) -> bool:
    """Whether money of an attempt was booked: all of it, or a part while the rest is still held."""
    return attempt.state is AttemptState.succeeded or (
        attempt.state is AttemptState.authorized and _is_of(payment, attempt) and payment.amount_captured > 0
    )


def whole(outcome: Succeeded) -> int:
    """What an authorization was made for: the part that is held, and the part that was taken already."""
    return outcome.amount.minor + (outcome.captured.minor if outcome.captured else 0)


def part(payment: Payment, attempt: Attempt, outcome: Succeeded) -> tuple[Change, list[Entry]] | None:
    """What an answer adds to what was captured of a payment; None where that is nothing.

    Of an authorization that is still held in part, or of one whose last capture turned out to be none.
    """
    told = outcome.captured if outcome.authorized_only else outcome.amount
    if told is None or told.currency != payment.currency or not _is_of(payment, attempt):
        return None
    more = told.minor - payment.amount_captured
    if payment.capture_mode != "manual" or more <= 0 or told.minor > payment.amount_authorized:
        return None
    change = Change(payment.status, add_captured=more, provider_response=outcome.response)
    return change, [taken(payment, attempt, more)]


def taken(payment: Payment, attempt: Attempt, amount: int) -> Entry:
    """The entry of an amount that was captured. Only the first of a payment is its ``payment``, which sums count."""
    fact = "capture" if payment.amount_captured else "payment"
    return Entry(fact, f"provider:{attempt.provider_code}", "payments", amount, attempt.currency)


def _is_of(payment: Payment, attempt: Attempt) -> bool:
    """Whether the payment's money is this attempt's: not a second hold or success beside it."""
    won = payment.status in (PaymentStatus.authorized, PaymentStatus.succeeded)
    return won and payment.provider_transaction_id in (None, attempt.provider_transaction_id)
