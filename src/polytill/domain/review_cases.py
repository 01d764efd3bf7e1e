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


class CaseState(StrEnum):
    """Whether a case still needs a person."""

    open = "open"
    resolved = "resolved"


class CaseAction(StrEnum):
    """What staff can do about a case, over the API, on pages and on the command line."""

    look_up = "look_up"
    refund_duplicate = "refund_duplicate"
    same_account = "same_account"
    mark_not_paid = "mark_not_paid"
    mark_paid = "mark_paid"
    done = "done"
    not_done = "not_done"
    count_separately = "count_separately"
    count_once = "count_once"
    resolve = "resolve"


class CaseResolution(StrEnum):
    """How a case ended: by an action of staff, or by facts that came later."""

    resolved = "resolved"
    same_account = "same_account"
    marked_not_paid = "marked_not_paid"
    marked_paid = "marked_paid"
    marked_done = "marked_done"
    marked_not_done = "marked_not_done"
    counted_separate = "counted_separate"
    counted_same = "counted_same"
    found_out = "found_out"
    facts_changed = "facts_changed"
    refund_duplicate = "refund_duplicate"
    refunded_at_provider = "refunded_at_provider"
    lost_in_dispute = "lost_in_dispute"
    became_chargeback = "became_chargeback"
    dispute_won = "dispute_won"
    dispute_lost = "dispute_lost"
    dispute_closed = "dispute_closed"
