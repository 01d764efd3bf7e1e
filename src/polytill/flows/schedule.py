"""When to ask a provider again about something that is not settled: soon at first, then thinning out."""

from __future__ import annotations

from datetime import datetime, timedelta

from polytill.domain.states import AttemptState, OperationState, RefundState

# A process that dies between "sent" and the answer is noticed this long after the provider's own time limit.
SENT_MARGIN_S = 10.0

# A lost answer is asked for every half minute, however long the provider is away: it shall be known within a minute
# once the provider answers. After a day without an answer it is probably not the provider that is away.
A_DAY_OF_LOOKUPS = 2880

_LATE_CHECKS_S = (3600, 6 * 3600, 24 * 3600, 72 * 3600)

# No two clocks that are right are further apart than this.
CLOCKS_APART_S = 600.0


def after_sent(now: datetime, provider_timeout_s: float) -> datetime:
    """When a call that is under way is overdue."""
    return now + timedelta(seconds=provider_timeout_s + SENT_MARGIN_S)


def never_after(now: datetime) -> datetime:
    """What is put off to a time after this was put off by a clock that was wrong, and is overdue."""
    return now + timedelta(seconds=_LATE_CHECKS_S[-1] + CLOCKS_APART_S)


def next_lookup(state: AttemptState | RefundState | OperationState, lookups: int, now: datetime) -> datetime | None:
    """When to look again; None where there is nothing left to learn.

    Unknown is pursued for ever. A payer who holds a link is asked about with growing pauses, since a webhook may be
    lost. A closed attempt is checked a few more times, because a late success is a fact that must not be missed.
    """
    if state in ("sent", "unknown"):
        return now + timedelta(seconds=min(2 * 2 ** min(lookups, 10), 30 if lookups < A_DAY_OF_LOOKUPS else 600))
    if state in ("needs_action", "pending", "authorized"):
        return now + timedelta(seconds=min(60 * 2 ** min(lookups, 10), 3600))
    if state in ("expired", "canceled") and lookups < len(_LATE_CHECKS_S):
        return now + timedelta(seconds=_LATE_CHECKS_S[lookups])
    return None
