"""When to look up something that is not settled: soon at first, then at growing intervals."""

from __future__ import annotations

from datetime import datetime, timedelta

from polytill.domain.states import AttemptState, OperationState, RefundState

# If a process dies between "sent" and the answer, the call is overdue this long after the provider's own time limit.
SENT_MARGIN_S = 10.0

# A lost answer is looked up every half minute, however long the provider is away, so that the outcome is known within a
# minute after the provider is back. After a day without an answer the cause is probably not an outage.
A_DAY_OF_LOOKUPS = 2880

_LATE_CHECKS_S = (3600, 6 * 3600, 24 * 3600, 72 * 3600)

# Two correct clocks differ by no more than this.
CLOCKS_APART_S = 600.0


def after_sent(now: datetime, provider_timeout_s: float) -> datetime:
    """When a call that is in progress is overdue."""
    return now + timedelta(seconds=provider_timeout_s + SENT_MARGIN_S)


def never_after(now: datetime) -> datetime:
    """The latest time that a correct clock schedules. A later time is a wrong clock's, and its task is overdue."""
    return now + timedelta(seconds=_LATE_CHECKS_S[-1] + CLOCKS_APART_S)


def next_lookup(state: AttemptState | RefundState | OperationState, lookups: int, now: datetime) -> datetime | None:
    """When to look up next; None if nothing more can change.

    An unknown outcome is looked up forever. An open link is looked up at growing intervals, because a webhook may be
    lost. A closed attempt is checked a few more times, because a late success must not be missed.
    """
    if state in ("sent", "unknown"):
        return now + timedelta(seconds=min(2 * 2 ** min(lookups, 10), 30 if lookups < A_DAY_OF_LOOKUPS else 600))
    if state in ("needs_action", "pending", "authorized"):
        return now + timedelta(seconds=min(60 * 2 ** min(lookups, 10), 3600))
    if state in ("expired", "canceled") and lookups < len(_LATE_CHECKS_S):
        return now + timedelta(seconds=_LATE_CHECKS_S[lookups])
    return None
