"""The meaning of an outcome for a refund, and the steps that write it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from polytill.domain.audit_actions import AuditAction
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.ledger import LedgerAccount, LedgerFact, provider_account
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import REFUND_DONE, REFUND_NEXT, REFUND_RESERVES, REFUND_VOID, RefundState
from polytill.flows.context import Practice
from polytill.flows.events import open_case, record_event
from polytill.flows.payments import returned_amounts
from polytill.flows.payments.reading import current_attempt
from polytill.flows.payments.returned_amounts import News
from polytill.flows.schedule import next_lookup
from polytill.flows.unresolved import refund_with_last_words, schedule_lookup
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Pending, Succeeded, Unknown
from polytill.storage import attempts, audit, ledger, payments, refunds
from polytill.storage.ledger import Entry
from polytill.storage.payments import Change, Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

OUTCOME_OPEN = frozenset({RefundState.sent, RefundState.unknown})


def decide_refund(refund: Refund, outcome: Outcome) -> RefundState | None:
    """The state that an outcome leads to; None if nothing changes. Pure."""
    state: RefundState
    match outcome:
        case Succeeded():
            state = RefundState.succeeded
        case Pending() | NeedsAction():
            state = RefundState.pending
        case Declined():
            state = RefundState.declined if refund.state in OUTCOME_OPEN else RefundState.failed
        case NotSent():
            state = RefundState.not_sent
        case Unknown():
            state = RefundState.unknown
        case _:
            assert_never(outcome)
    return state if state in REFUND_NEXT[refund.state] else None


def as_answered(refund: Refund, state: RefundState, outcome: Outcome) -> Refund:
    """The refund in its new state, with what the provider's answer tells of it."""
    changed = replace(refund, state=state, lookups=0, unclear_since=None)
    changed.provider_refund_id = getattr(outcome, "provider_transaction_id", None) or refund.provider_refund_id
    changed.provider_response = getattr(outcome, "response", None) or refund.provider_response
    if isinstance(outcome, Declined | NotSent | Unknown):
        changed.failure_reason = outcome.reason.value
        changed.raw_code, changed.detail = outcome.code, outcome.detail
    else:
        changed.failure_reason = changed.raw_code = changed.detail = None
    return changed


def keep_state(unit: Unit, refund: Refund, outcome: Outcome, asked: bool, now: datetime) -> None:
    """Store what an answer without a change of state tells: the provider's id, or its message and the next lookup."""
    learnt = getattr(outcome, "provider_transaction_id", None)
    if learnt is not None and refund.provider_refund_id is None:
        same = replace(refund, provider_refund_id=learnt, updated_at=now)
        refunds.change(unit, refund.state, same)
    elif asked:
        kept = replace(refund_with_last_words(refund, outcome, now), lookups=refund.lookups + 1)
        next_at = next_lookup(refund.state, kept.lookups, now)
        refunds.looked_up_again(unit, replace(kept, next_lookup_at=schedule_lookup(now, next_at, kept.unclear_since)))


@dataclass(frozen=True, slots=True)
class Move:
    """One change of a refund's state. ``is_new``: the row is inserted, and the payment must not have changed since it
    was read."""

    before: Refund
    after: Refund
    source: Source
    is_new: bool = False


async def move(practice: Practice, unit: Unit, payment: Payment, move: Move) -> None:
    """Write the amounts, the refund row, the ledger and the audit line of one change of state."""
    before, after = move.before, move.after
    change = Change(payment.status)
    entries: list[Entry] = []
    attempt = await attempts.by_id(practice.db, after.attempt_id)
    assert attempt is not None
    account = provider_account(attempt.provider_code)
    given = LedgerAccount.duplicate_payments if after.returns_duplicate else LedgerAccount.refunds
    if before.state in REFUND_RESERVES and before.reserves:
        change.add_reserved = -before.amount if after.state not in REFUND_RESERVES else 0
    if after.state in REFUND_DONE and before.state not in REFUND_DONE:
        available = payment.amount_captured - payment.amount_refunded - payment.refund_reserved - change.add_reserved
        after.booked = 0 if after.returns_duplicate else max(0, min(after.amount, available))
        after.booked_duplicate = after.amount - after.booked
        change.add_refunded, change.add_duplicate_refunded = after.booked, after.booked_duplicate
        entries.append(Entry(LedgerFact.refund, given, account, after.amount, after.currency))
    elif before.state in REFUND_DONE and after.state not in REFUND_DONE:
        change.add_refunded, change.add_duplicate_refunded = -before.booked, -before.booked_duplicate
        after.booked = after.booked_duplicate = 0
        entries.append(Entry(LedgerFact.refund_failed, account, given, after.amount, after.currency))
        if not after.is_undone:
            open_case(
                practice.context,
                unit,
                payment,
                CaseKind.refund_failed,
                after.id,
                {"refund": after.id, "amount": after.amount},
            )
    now, depends = after.updated_at, move.is_new
    if entries:
        # This may change how much of the attempt's disputes is the same money.
        current = current_attempt(payment, await attempts.of_payment(practice.db, payment.id)).id
        by = after.created_by if after.state in REFUND_DONE else move.source
        news = News(by, current, after)
        booked = await returned_amounts.book(practice, unit, payment, attempt, news)
        depends = depends or news.depends
        change.add_lost, change.add_disputed = booked.add_lost, booked.add_disputed
    seen = payment.dispute_version if entries else None
    payments.change(unit, payment, change, now, payment.version if depends else None, seen)
    if move.is_new:
        refunds.insert(unit, after)
    else:
        refunds.change(unit, before.state, after)
    for entry in entries:
        ledger.book(unit, new_id(practice.context.world), payment, entry, now, after.id)
    _report(practice, unit, payment, move)


def _report(practice: Practice, unit: Unit, payment: Payment, move: Move) -> None:
    """Add the audit line of one change of state, and its event if the refund has ended."""
    before, after = move.before, move.after
    detail = {"refund": after.id, "from": before.state.value, "to": after.state.value, "reason": after.failure_reason}
    audit.append(unit, after.updated_at, move.source, AuditAction(f"refund.{after.state.value}"), payment.id, detail)
    if after.state in REFUND_DONE or after.state in REFUND_VOID:
        type_ = EventType.refund_succeeded if after.state in REFUND_DONE else EventType.refund_failed
        told = {
            "refundId": after.id,
            "amount": after.amount,
            "origin": after.origin.value,
            "reason": after.failure_reason,
        }
        record_event(practice.context, unit, payment, type_, told)
