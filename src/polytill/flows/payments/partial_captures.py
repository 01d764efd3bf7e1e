"""Partial captures of an authorization: how much was captured so far, and how much one more answer adds. Pure.

A payment stays ``authorized`` while a part is still held, with ``amount_captured`` above zero: the captured part can be
refunded and disputed. It becomes ``succeeded`` with the last capture, or with the release of the rest.
"""

from __future__ import annotations

from polytill.domain.ledger import LedgerAccount, LedgerFact, provider_account
from polytill.domain.states import AttemptState, CaptureMode, PaymentStatus
from polytill.providers.outcomes import Succeeded
from polytill.storage.attempts import Attempt
from polytill.storage.ledger import Entry
from polytill.storage.payments import Change, Payment


def has_money(payment: Payment, attempt: Attempt) -> bool:
    """Whether money of an attempt was booked: all of it, or a part while the rest is still held."""
    return attempt.state is AttemptState.succeeded or (
        attempt.state is AttemptState.authorized and _is_of(payment, attempt) and payment.amount_captured > 0
    )


def whole(outcome: Succeeded) -> int:
    """The full amount of an authorization: the part that is held, and the part that was already captured."""
    return outcome.amount.minor + (outcome.captured.minor if outcome.captured else 0)


def part(payment: Payment, attempt: Attempt, outcome: Succeeded) -> tuple[Change, list[Entry]] | None:
    """How much an answer adds to a payment's captured amount; None if nothing.

    For an authorization that is still held in part, or one whose last capture turned out not to be the last.
    """
    told = outcome.captured if outcome.authorized_only else outcome.amount
    if told is None or told.currency != payment.currency or not _is_of(payment, attempt):
        return None
    more = told.minor - payment.amount_captured
    if payment.capture_mode is not CaptureMode.manual or more <= 0 or told.minor > payment.amount_authorized:
        return None
    change = Change(payment.status, add_captured=more, provider_response=outcome.response)
    return change, [taken(payment, attempt, more)]


def taken(payment: Payment, attempt: Attempt, amount: int) -> Entry:
    """The ledger entry of a captured amount. Only a payment's first capture is a ``payment``, which sums count."""
    fact = LedgerFact.capture if payment.amount_captured else LedgerFact.payment
    return Entry(fact, provider_account(attempt.provider_code), LedgerAccount.payments, amount, attempt.currency)


def _is_of(payment: Payment, attempt: Attempt) -> bool:
    """Whether the payment's money is this attempt's, not a second authorization or success."""
    won = payment.status in (PaymentStatus.authorized, PaymentStatus.succeeded)
    return won and payment.provider_transaction_id in (None, attempt.provider_transaction_id)
