"""Settles payments: the only place that changes a payment's money state, by a provider's answer, a webhook or a lookup.

``decide`` is pure: it gives the meaning of an outcome for a payment and an attempt. ``settle`` writes it as one unit,
compare-and-set on both rows; if another writer was first, it reads again and decides again. A provider's fact is never
rejected: one that does not fit is booked for what it is and opens a review case.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from polytill.domain.errors import CheckRefused, Duplicate, Stale
from polytill.domain.ids import new_id
from polytill.domain.states import ATTEMPT_CLOSED, AttemptState, PaymentStatus
from polytill.flows.context import Context, Practice, log
from polytill.flows.events import record_event
from polytill.flows.identifiers import named_by_outcome
from polytill.flows.payment_events import OF_CASE, record_status_event
from polytill.flows.payments import contradictions, returned_amounts, saved_methods
from polytill.flows.payments.decide import Verdict, decide
from polytill.flows.payments.ended_attempts import as_closed
from polytill.flows.payments.settle_attempt import schedule_next_lookup, timed
from polytill.flows.provider_messages import messages_of
from polytill.flows.unresolved import is_unclear, noted_attempt
from polytill.providers.outcomes import NeedsAction, NotSent, Outcome, Succeeded
from polytill.storage import attempts, audit, cases, ledger, payment_identifiers, payments
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Change, Payment
from polytill.storage.units import Unit

TRIES = 8


# ── Deciding ──


# ── Writing ──


async def settle(
    practice: Practice,
    payment: Payment,
    attempt: Attempt,
    outcome: Outcome,
    source: str,
    successor: Attempt | None = None,
    also: Callable[[Unit], None] | None = None,
    unless_moved: bool = False,
    unless_closed: bool = False,
    is_new: bool = False,
    decided: OperatorCase | None = None,
) -> tuple[Payment, Attempt]:
    """Write the meaning of an outcome, with ledger, audit and cases, as one unit. Returns both rows as updated.

    - ``successor``: the next attempt, stored if this one is closed for certain.
    - ``also``: further steps of the unit (the webhook event of the fact, the requested capture), even without a change.
    - ``unless_moved``: the outcome depends on the attempt's state; write nothing if another writer has moved it.
    - ``unless_closed``: write nothing only if another writer has closed the attempt meanwhile.
    - ``is_new``: the unit stores the attempt, too. ``Duplicate`` if its number is taken.
    - ``decided``: the case that ``also`` resolves, as staff decided.
    """
    read, concluded_from = attempt, attempt.state
    for _ in range(TRIES):
        outcome = await as_closed(practice, payment, attempt, outcome)
        verdict = decide(payment, attempt, outcome, successor)
        if isinstance(outcome, NotSent) and attempt.state is not concluded_from:
            verdict = Verdict()  # others have looked it up since, which may have repeated the call
        if isinstance(outcome, NeedsAction) and source != "answer" and _has_gone_on(read, attempt):
            verdict = Verdict()  # it may be about a step that the payer has completed since
        may_be_old = source == "webhook" or attempt.state is not concluded_from
        against = await contradictions.against_staff(practice, payment, attempt, outcome, may_be_old)
        asked = source == "lookup" and attempt.state is concluded_from
        # Read before the unit starts, so that an exception here leaves no work open.
        queue = await noted_attempt(practice, payment, attempt, verdict.attempt, outcome, asked, decided)
        named = await named_by_outcome(practice.context, attempt, outcome)
        now = practice.now()
        unit = Unit()
        if verdict.change is not None:
            version = await returned_amounts.captured(practice, unit, payment, attempt, verdict.change)
            payments.change(unit, payment, verdict.change, now, version)
        if verdict.attempt is not None:
            _write_attempt(practice, unit, payment, attempt, verdict, now, is_new)
        elif asked:
            schedule_next_lookup(unit, payment, attempt, outcome, now)
        if verdict.uses_successor and successor is not None:
            attempts.insert(unit, successor)
        payment_identifiers.insert(unit, attempt, named, now)
        _write_books(practice.context, unit, payment, attempt, verdict, source, now)
        contradictions.contradict(practice.context, unit, payment, against)
        if payment.save_method and isinstance(outcome, Succeeded) and outcome.saved_method and not verdict.cases:
            saved_methods.store(practice, unit, payment, attempt, outcome.saved_method, now)
        if also is not None:
            also(unit)
        queue(unit)
        try:
            await practice.db.commit(unit)
        except (Stale, CheckRefused, Duplicate) as refused:  # Duplicate: another task stored its successor first
            if is_new and isinstance(refused, Duplicate):
                raise
            payment, attempt = await _again(practice.db, payment, attempt)
            if attempt.state is not concluded_from and (
                unless_moved or (unless_closed and attempt.state in ATTEMPT_CLOSED)
            ):
                return payment, attempt
            continue
        _log(practice.db, payment, attempt, verdict, outcome, source)
        if verdict.change is not None:
            payment = payments.applied(payment, verdict.change, now)
        return payment, verdict.attempt or attempt
    raise Stale


def _has_gone_on(read: Attempt, attempt: Attempt) -> bool:
    """Whether an attempt's next action has changed since the attempt was read."""
    if read.state is not AttemptState.needs_action:
        return False
    return (read.state, read.next_action) != (attempt.state, attempt.next_action)


async def reopen(
    practice: Practice, payment: Payment, attempt: Attempt, source: str, also: Callable[[Unit], None]
) -> Payment:
    """Try a failed payment again: store its next attempt. ``Stale`` if it is no longer failed, ``Duplicate`` if another
    task was first. The caller must know that every earlier attempt is closed for certain."""
    now = practice.now()
    change = Change(PaymentStatus.processing, provider_code=attempt.provider_code, clear_reasons=True)
    unit = Unit()
    payments.change(unit, payment, change, now)
    attempts.insert(unit, attempt)
    audit.append(unit, now, source, "payment.tried_again", payment.id, {"attempt": attempt.id})
    also(unit)
    await practice.db.commit(unit)
    return payments.applied(payment, change, now)


async def _again(db: PracticeDb, payment: Payment, attempt: Attempt) -> tuple[Payment, Attempt]:
    """Both rows as they are now; a new attempt is not stored yet."""
    fresh = await payments.by_id(db, payment.id)
    assert fresh is not None
    return fresh, await attempts.by_id(db, attempt.id) or attempt


def _write_attempt(
    practice: Practice, unit: Unit, payment: Payment, before: Attempt, verdict: Verdict, now: datetime, is_new: bool
) -> None:
    changed = verdict.attempt
    assert changed is not None
    timed(practice, payment, before, changed, now, verdict.action, verdict.told_all)
    if is_new:
        attempts.insert(unit, changed)
    else:
        attempts.change(unit, before, changed)


def _log(db: PracticeDb, payment: Payment, attempt: Attempt, verdict: Verdict, outcome: Outcome, source: str) -> None:
    """Log the result, with the provider's code and message. An answer that cannot be understood is a warning."""
    told = {
        "practice": db.practice_id,
        "payment": payment.id,
        "attempt": attempt.id,
        "provider": attempt.provider_code,
        "source": source,
        "outcome": type(outcome).__name__,
        **messages_of(outcome),
    }
    if verdict.change is not None:
        log.info("settled", before=payment.status.value, after=verdict.change.status.value, **told)
    elif is_unclear(outcome):
        log.warning("not_understood", **told)
    elif verdict.attempt is not None:
        log.info("attempt_settled", **told)


def _write_books(
    context: Context, unit: Unit, payment: Payment, attempt: Attempt, verdict: Verdict, source: str, now: datetime
) -> None:
    for entry in verdict.entries:
        ledger.book(unit, new_id(context.world), payment, entry, now)
    if verdict.change is not None and (verdict.change.status is not payment.status or verdict.change.add_captured):
        record_status_event(context, unit, payment, verdict.change)
    for case in verdict.cases:
        record_event(context, unit, payment, OF_CASE[case.kind], case.detail, unless_case=(case.kind, case.subject))
        cases.open_case(
            unit,
            new_id(context.world),
            payment.practice_id,
            payment.environment,
            case.kind,
            case.subject,
            payment.id,
            case.detail,
            now,
        )
    if verdict.attempt is not None:
        detail = {
            "attempt": attempt.id,
            "provider": attempt.provider_code,
            "from": attempt.state.value,
            "to": verdict.attempt.state.value,
            "reason": verdict.attempt.reason,
        }
        status = verdict.change.status if verdict.change else payment.status
        audit.append(unit, now, source, f"payment.{status.value}", payment.id, detail)
