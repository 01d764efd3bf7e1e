"""Payments that a host application took before polytill: how sure each is, and why one is not. Closed lists."""

from __future__ import annotations

from enum import StrEnum

# Who made the rows of a past payment.
TAKEN_OVER_BY = "backfill"


class Certainty(StrEnum):
    """How sure a past payment is. ``verified``: its provider confirmed it. ``recorded``: complete and consistent, its
    provider was not asked. ``uncertain``: something is missing or contradicts. ``rejected``: it was not taken over."""

    verified = "verified"
    recorded = "recorded"
    uncertain = "uncertain"
    rejected = "rejected"


class Doubt(StrEnum):
    """Why a past payment is uncertain."""

    not_configured = "not_configured"  # the practice has no keys for this account
    no_transaction_id = "no_transaction_id"
    transaction_id_form = "transaction_id_form"  # the provider has no payments with such ids
    disputed = "disputed"  # the customer's bank has taken the money, or may
    not_found = "not_found"  # the provider does not know it
    not_paid = "not_paid"  # the provider does not say that it is paid
    other_amount = "other_amount"  # the provider says another amount
    other_currency = "other_currency"


class Rejection(StrEnum):
    """Why a row was not taken over."""

    row_unreadable = "row_unreadable"
    practice_unknown = "practice_unknown"
    provider_missing = "provider_missing"
    provider_unknown = "provider_unknown"
    environment_unknown = "environment_unknown"
    nothing_identifies = "nothing_identifies"  # neither a transaction id nor a reference
    amount_missing = "amount_missing"
    amount_unreadable = "amount_unreadable"
    amount_not_positive = "amount_not_positive"
    amount_too_fine = "amount_too_fine"  # more decimals than the currency has
    amount_too_large = "amount_too_large"
    currency_missing = "currency_missing"
    currency_unknown = "currency_unknown"
    date_missing = "date_missing"
    date_unreadable = "date_unreadable"
    date_impossible = "date_impossible"  # in the future, or before 2000
    was_not_paid = "was_not_paid"
    status_unknown = "status_unknown"
    fee_unreadable = "fee_unreadable"
    refunds_unreadable = "refunds_unreadable"
    refunded_too_much = "refunded_too_much"
    text_unreadable = "text_unreadable"  # too long, or not text
    reference_taken = "reference_taken"  # another payment here has it
    contradicts_known = "contradicts_known"  # the same payment is known here with another amount


class BackfillAction(StrEnum):
    """What was done with a row. ``changed``: a known past payment is surer now, or less sure."""

    created = "created"
    changed = "changed"
    unchanged = "unchanged"
    none = "none"
