"""Review cases: their kinds, what staff can do about one, and how one ends. All are closed lists.

``tests/house/test_totality.py`` holds each against the database schema, page texts, documentation and API.
"""

from __future__ import annotations

from enum import StrEnum


class CaseKind(StrEnum):
    """What a person has to decide or to know. ``docs/running.md`` says what ends each."""

    duplicate_payment = "duplicate_payment"
    duplicate_authorization = "duplicate_authorization"
    amount_mismatch = "amount_mismatch"
    refund_mismatch = "refund_mismatch"
    currency_mismatch = "currency_mismatch"
    other_account = "other_account"
    unresolved = "unresolved"
    staff_contradicted = "staff_contradicted"
    over_returned = "over_returned"
    reversed_and_won = "reversed_and_won"
    refund_or_dispute = "refund_or_dispute"
    refund_failed = "refund_failed"
    refund_unclear = "refund_unclear"
    inquiry_open = "inquiry_open"
    dispute_open = "dispute_open"
    dispute_won = "dispute_won"
    dispute_lost = "dispute_lost"
    dispute_closed = "dispute_closed"
    notice = "notice"
    saved_method_not_detached = "saved_method_not_detached"
    listing_missing_here = "listing_missing_here"
    listing_missing_there = "listing_missing_there"
    listing_amount_differs = "listing_amount_differs"
    listing_status_differs = "listing_status_differs"
