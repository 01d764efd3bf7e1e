"""How long documents are kept: retention periods in days, with a least period for each kind."""

from __future__ import annotations

from enum import StrEnum


class RetentionKind(StrEnum):
    """What has a retention period of its own."""

    webhooks = "webhooks"  # the bodies of webhooks; the rows stay, so that a repeat is still recognized
    responses = "responses"  # the providers' answers about payments and refunds
    events = "events"  # in a practice's database, and in the owner's feed
    audit = "audit"  # lines of a practice's audit log


# An older copy of a practice's database is brought up to date from what the last 35 days recorded, and providers send
# disputes for months. A year of audit lines is what an annual audit reads.
LEAST_DAYS = {
    RetentionKind.webhooks: 35,
    RetentionKind.responses: 35,
    RetentionKind.events: 35,
    RetentionKind.audit: 365,
}
MOST_DAYS = 36_500
FOR_EVER = 0


def is_allowed(kind: RetentionKind, days: int) -> bool:
    """Whether a period may be set. 0: for ever."""
    return days == FOR_EVER or LEAST_DAYS[kind] <= days <= MOST_DAYS
