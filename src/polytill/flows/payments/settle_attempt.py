"""The attempt's part of ``settle``: its row after a fact, and its next lookup."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from polytill.domain.states import ATTEMPT_CLOSED, ATTEMPT_WON, AttemptState
from polytill.flows.context import Practice
from polytill.flows.next_action import seal_action
from polytill.flows.payments.decide import Verdict
from polytill.flows.schedule import never_after, next_lookup
from polytill.flows.unresolved import schedule_lookup, with_last_words
from polytill.providers.outcomes import Outcome, Unknown
from polytill.storage import attempts
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

# The number of lookups for the fee or the method to save after the payment was received.
ASKED_FOR_THE_REST = 3


def schedule_next_lookup(unit: Unit, payment: Payment, attempt: Attempt, outcome: Outcome, now: datetime) -> None:
    """Schedule the next lookup if nothing has changed. One lost answer does not end the lookups for details that a
    received payment still lacks."""
    lookups, state = attempt.lookups + 1, attempt.state
    if _is_early(attempt, now):
        lookups, next_at = attempt.lookups, attempt.next_lookup_at
    elif state is AttemptState.succeeded and isinstance(outcome, Unknown) and lookups < ASKED_FOR_THE_REST:
        next_at = next_lookup(AttemptState.pending, lookups, now)
    else:
        next_at = _by_expiry(payment, state, next_lookup(state, lookups, now), now)
    said = with_last_words(attempt, outcome, now)
    next_at = schedule_lookup(now, next_at, said.unclear_since)
    attempts.looked_up_again(unit, replace(said, next_lookup_at=next_at, lookups=lookups))


def _is_early(attempt: Attempt, now: datetime) -> bool:
    """Whether an attempt that has ended is looked up before its time, because a host or a customer asked. That uses up
    none of the few lookups that are left."""
    ended, due = attempt.state in ATTEMPT_CLOSED | ATTEMPT_WON, attempt.next_lookup_at
    return ended and due is not None and now < due <= never_after(now)


def timed(
    practice: Practice, payment: Payment, before: Attempt, changed: Attempt, verdict: Verdict, now: datetime
) -> None:
    """Set the next lookup and the payer's next action on an attempt that has changed."""
    changed.updated_at = now
    changed.lookups = before.lookups + (not _is_early(before, now)) if changed.state is before.state else 0
    changed.next_lookup_at = next_lookup(changed.state, changed.lookups, now)
    if not verdict.told_all and changed.lookups < ASKED_FOR_THE_REST:
        changed.next_lookup_at = next_lookup(AttemptState.pending, changed.lookups, now)
    changed.next_lookup_at = _by_expiry(payment, changed.state, changed.next_lookup_at, now)
    if verdict.action is not None:
        changed.next_action = seal_action(practice, changed.id, verdict.action)
        changed.opened_action = changed.next_action, verdict.action
    elif changed.state in ATTEMPT_CLOSED or changed.state is AttemptState.succeeded:
        changed.next_action = None


def _by_expiry(payment: Payment, state: AttemptState, next_at: datetime | None, now: datetime) -> datetime | None:
    """A link is looked up no later than its payment's expiry, so that it is closed then, not up to an hour later."""
    if state is AttemptState.needs_action and next_at and payment.expires_at and now < payment.expires_at:
        return min(next_at, payment.expires_at)
    return next_at
