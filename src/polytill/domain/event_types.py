"""The types of events that the host application receives: a closed list, described in ``docs/events.md``."""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    """What an event reports."""

    payment_succeeded = "payment.succeeded"
    payment_authorized = "payment.authorized"
    payment_partially_captured = "payment.partially_captured"
    payment_failed = "payment.failed"
    payment_canceled = "payment.canceled"
    payment_expired = "payment.expired"
    payment_duplicate_payment = "payment.duplicate_payment"
    payment_duplicate_authorization = "payment.duplicate_authorization"
    payment_amount_mismatch = "payment.amount_mismatch"
    payment_other_account = "payment.other_account"
    payment_unresolved = "payment.unresolved"
    payment_staff_contradicted = "payment.staff_contradicted"
    refund_succeeded = "refund.succeeded"
    refund_failed = "refund.failed"
    inquiry_opened = "inquiry.opened"
    inquiry_updated = "inquiry.updated"
    inquiry_closed = "inquiry.closed"
    dispute_opened = "dispute.opened"
    dispute_updated = "dispute.updated"
    dispute_won = "dispute.won"
    dispute_lost = "dispute.lost"
    dispute_closed = "dispute.closed"
    webhook_parked = "webhook.parked"
    practice_closed = "practice.closed"
    practice_reopened = "practice.reopened"
    practice_deleted = "practice.deleted"
    rollout_field_due = "rollout.field_due"
