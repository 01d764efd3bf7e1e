"""The accounts of the ledger and what is booked on them: closed lists."""

from __future__ import annotations

from enum import StrEnum

_PROVIDER = "provider:"


class LedgerAccount(StrEnum):
    """The accounts of a practice beside those of its providers. ``duplicate_payments``: received a second time, until
    refunded."""

    payments = "payments"
    refunds = "refunds"
    fees = "fees"
    disputes = "disputes"
    duplicate_payments = "duplicate_payments"


class LedgerFact(StrEnum):
    """Why an entry was booked. Only a payment's first capture is a ``payment``, so that sums can count payments; the
    ``opening_`` facts are those of payments that were taken before polytill."""

    payment = "payment"
    capture = "capture"
    duplicate_payment = "duplicate_payment"
    fee = "fee"
    refund = "refund"
    refund_failed = "refund_failed"
    dispute_lost = "dispute_lost"
    dispute_reversed = "dispute_reversed"
    # Of a payment that was taken before polytill, each by its own date.
    opening_payment = "opening_payment"
    opening_fee = "opening_fee"
    opening_refund = "opening_refund"


# The facts that count one payment, and one refund.
OF_ONE_PAYMENT = frozenset({LedgerFact.payment, LedgerFact.opening_payment})
OF_ONE_REFUND = frozenset({LedgerFact.refund, LedgerFact.opening_refund})


def provider_account(code: str) -> str:
    """The account of what a provider holds for the practice: ``provider:stripe``."""
    return f"{_PROVIDER}{code}"


def provider_of(account: str) -> str:
    """The code of the provider whose account it is. Empty if it is not a provider's account."""
    return account.removeprefix(_PROVIDER) if account.startswith(_PROVIDER) else ""
