"""Settles payments: the only place that changes a payment's money state, by a provider's answer, a webhook or a lookup.

``decide`` is pure: it gives the meaning of an outcome for a payment and an attempt. ``settle`` writes it as one unit,
compare-and-set on both rows; if another writer was first, it reads again and decides again. A provider's fact is never
rejected: one that does not fit is booked for what it is and opens a review case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, assert_never

from polytill.domain.errors import CheckRefused, Duplicate, Stale
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.states import ATTEMPT_CLOSED, ATTEMPT_NEXT, AttemptState, PaymentStatus
from polytill.flows.context import Desk, log
from polytill.flows.events import tell
from polytill.flows.identifiers import identified
from polytill.flows.payment_events import tell_change
from polytill.flows.payments import contradictions, partial_captures, returned_amounts, saved_methods
from polytill.flows.payments.ended_attempts import as_end
from polytill.flows.payments.settle_attempt import ask_again, timed
from polytill.flows.provider_calls import OTHER_ACCOUNT
from polytill.flows.provider_messages import said
from polytill.flows.unresolved import is_unclear, noted_attempt
from polytill.providers.outcomes import (
    Declined,
    NeedsAction,
    NextAction,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.storage import audit, ledger, payment_identifiers, payments, webhook_events
from polytill.storage.cases import OperatorCase
from polytill.storage.databases import PracticeDb
from polytill.storage.ledger import Entry
from polytill.storage.payments import Attempt, Change, Payment
from polytill.storage.units import Unit

TRIES = 8

_CLOSED_AS = {Reason.canceled: AttemptState.canceled, Reason.expired: AttemptState.expired}


@dataclass(slots=True)
class Case:
    """A review case to open."""

    kind: str
    subject: str
    detail: dict[str, Any]


@dataclass(slots=True)
class Verdict:
    """The meaning of an outcome. ``attempt`` None: nothing changes."""

    attempt: Attempt | None = None
    change: Change | None = None
    entries: list[Entry] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    action: NextAction | None = None
    uses_successor: bool = False
    told_all: bool = True  # False: paid, and one more lookup may return the fee or the method to save


# ── Deciding ──


def decide(payment: Payment, attempt: Attempt, outcome: Outcome, successor: Attempt | None = None) -> Verdict:
    """The meaning of an outcome for a payment and one of its attempts. Pure."""
    match outcome:
        case Succeeded(authorized_only=True):
            return _authorized(payment, attempt, outcome)
        case Succeeded():
            return _succeeded(payment, attempt, outcome)
        case NeedsAction():
            return _moved(payment, attempt, outcome, AttemptState.needs_action, PaymentStatus.requires_action)
        case Pending():
            return _moved(payment, attempt, outcome, AttemptState.pending, PaymentStatus.processing)
        case Declined():
            return _declined(payment, attempt, outcome, successor)
        case NotSent():
            return _closed(payment, attempt, AttemptState.not_sent, outcome, successor)
        case Unknown():
            # Further lookups alone never resolve this.
            detail = {"attempt": attempt.id, "provider": attempt.provider_code}
            cases = [Case(OTHER_ACCOUNT, attempt.id, detail)] if outcome.code == OTHER_ACCOUNT else []
            if attempt.state is not AttemptState.sent:
                return Verdict(cases=cases)
            undecided = payment.status in (PaymentStatus.requires_action, PaymentStatus.processing)
            changed = _with(attempt, AttemptState.unknown, outcome)
            return Verdict(changed, Change(PaymentStatus.processing) if undecided else None, cases=cases)
        case _:
            assert_never(outcome)


def _with(attempt: Attempt, state: AttemptState, outcome: Outcome) -> Attempt:
    changed = replace(attempt, state=state, unclear_since=None)
    transaction_id = getattr(outcome, "provider_transaction_id", None)
    if transaction_id is not None:
        changed.provider_transaction_id = transaction_id
    if isinstance(outcome, Declined | NotSent | Unknown):
        changed.reason, changed.raw_code, changed.detail = outcome.reason.value, outcome.code, outcome.detail
    elif isinstance(outcome, NeedsAction) and outcome.last_decline is not None:
        last = outcome.last_decline
        changed.reason, changed.raw_code, changed.detail = last.reason.value, last.code, last.detail
    elif isinstance(outcome, Succeeded) or attempt.state is AttemptState.unknown:
        # The reason of a lost answer is obsolete once the outcome is known. An open payment keeps its last decline.
        changed.reason = changed.raw_code = changed.detail = None
    return changed


def _fits(payment: Payment, attempt: Attempt, amount: Money) -> bool:
    if amount.currency != attempt.currency:
        return False
    if payment.capture_mode == "manual" and attempt.state is AttemptState.authorized:
        return 0 < amount.minor <= payment.amount_authorized
    return amount.minor == attempt.amount


def mismatch(attempt: Attempt, amount: Money) -> dict[str, Any]:
    """The detail of a case and event about an amount that does not fit its attempt."""
    return {
        "attempt": attempt.id,
        "expected": {"amount": attempt.amount, "currency": attempt.currency},
        "provider": {"amount": amount.minor, "currency": amount.currency},
    }


def _mismatch(attempt: Attempt, outcome: Succeeded) -> Verdict:
    # One case per transaction: another one that does not fit opens a new case, also after the first was resolved.
    named = outcome.provider_transaction_id or attempt.provider_transaction_id
    subject = f"{attempt.id}:{named}" if named else attempt.id
    return Verdict(cases=[Case("amount_mismatch", subject, mismatch(attempt, outcome.amount))])


def _succeeded(payment: Payment, attempt: Attempt, outcome: Succeeded) -> Verdict:
    if attempt.state is AttemptState.succeeded:
        return _fee_learnt_later(payment, attempt, outcome)
    if not _fits(payment, attempt, outcome.amount):
        return _mismatch(attempt, outcome)
    is_rest = payment.status is PaymentStatus.authorized and attempt.state is AttemptState.authorized
    before = payment.amount_captured if is_rest else 0  # captures of the same authorization that are already booked
    amount, provider = outcome.amount.minor - before, f"provider:{attempt.provider_code}"
    if amount < 0:
        return _mismatch(attempt, outcome)
    changed, fee = _with(attempt, AttemptState.succeeded, outcome), []
    if outcome.fee is not None and outcome.fee.minor > 0:
        fee = [Entry("fee", "fees", provider, outcome.fee.minor, outcome.fee.currency)]
    if payment.status is PaymentStatus.succeeded or (
        payment.status is PaymentStatus.authorized and attempt.state is not AttemptState.authorized
    ):
        # Another attempt has already succeeded: a duplicate payment. It is booked separately, and a person refunds it.
        case = Case("excess", attempt.id, {"attempt": attempt.id, "amount": amount, "currency": attempt.currency})
        return Verdict(changed, None, [Entry("excess", provider, "excess", amount, attempt.currency), *fee], [case])
    entries = [*([partial_captures.taken(payment, attempt, amount)] if amount else []), *fee]
    change = Change(
        PaymentStatus.succeeded,
        add_authorized=max(0, before + amount - payment.amount_authorized),
        add_captured=amount,
        provider_code=attempt.provider_code,
        provider_transaction_id=changed.provider_transaction_id,
        provider_response=outcome.response,
        provider_fee=outcome.fee.minor if outcome.fee else None,
        provider_fee_currency=outcome.fee.currency if outcome.fee else None,
        clear_reasons=True,
    )
    told_all = outcome.fee is not None and (outcome.saved_method is not None or not payment.save_method)
    return Verdict(changed, change, entries, told_all=told_all)


def _fee_learnt_later(payment: Payment, attempt: Attempt, outcome: Succeeded) -> Verdict:
    is_the_one = payment.provider_transaction_id in (None, attempt.provider_transaction_id)
    if None not in (attempt.provider_transaction_id, outcome.provider_transaction_id):
        is_the_one = is_the_one and outcome.provider_transaction_id == attempt.provider_transaction_id
    if is_the_one and (more := partial_captures.part(payment, attempt, outcome)):
        return Verdict(_with(attempt, attempt.state, outcome), *more)
    if outcome.fee is None or payment.provider_fee is not None or not is_the_one:
        return Verdict()
    # Only the fee is new, and ends the lookups.
    change = Change(
        payment.status,
        provider_response=outcome.response,
        provider_fee=outcome.fee.minor,
        provider_fee_currency=outcome.fee.currency,
    )
    entry = Entry("fee", "fees", f"provider:{attempt.provider_code}", outcome.fee.minor, outcome.fee.currency)
    return Verdict(_with(attempt, attempt.state, outcome), change, [entry] if outcome.fee.minor > 0 else [])


def _authorized(payment: Payment, attempt: Attempt, outcome: Succeeded) -> Verdict:
    if attempt.state is AttemptState.authorized and (more := partial_captures.part(payment, attempt, outcome)):
        return Verdict(_with(attempt, attempt.state, outcome), *more)
    if AttemptState.authorized not in ATTEMPT_NEXT[attempt.state]:
        return Verdict()
    if not _fits(payment, attempt, replace(outcome.amount, minor=partial_captures.whole(outcome))):
        return _mismatch(attempt, outcome)
    changed = _with(attempt, AttemptState.authorized, outcome)
    taken = outcome.captured.minor if outcome.captured else 0
    if payment.status in (PaymentStatus.succeeded, PaymentStatus.authorized):
        detail = {"attempt": attempt.id, "amount": outcome.amount.minor, "currency": attempt.currency}
        return Verdict(changed, None, [], [Case("excess_authorization", attempt.id, detail)])
    change = Change(
        PaymentStatus.authorized,
        add_authorized=max(0, partial_captures.whole(outcome) - payment.amount_authorized),
        add_captured=taken,
        provider_code=attempt.provider_code,
        provider_transaction_id=changed.provider_transaction_id,
        provider_response=outcome.response,
        clear_reasons=True,
    )
    return Verdict(changed, change, [partial_captures.taken(payment, attempt, taken)] if taken else [])


def _moved(
    payment: Payment, attempt: Attempt, outcome: NeedsAction | Pending, state: AttemptState, status: PaymentStatus
) -> Verdict:
    """The attempt is in progress: the payer must act, or the provider is processing."""
    stays = attempt.state is state
    if not stays and state not in ATTEMPT_NEXT[attempt.state]:
        return Verdict()
    changed = _with(attempt, state, outcome)
    action = outcome.action if isinstance(outcome, NeedsAction) else None
    new_words = (changed.reason, changed.raw_code, changed.provider_transaction_id) != (
        attempt.reason,
        attempt.raw_code,
        attempt.provider_transaction_id,
    )
    if stays and not new_words and action is None:
        return Verdict()
    if payment.status not in (PaymentStatus.requires_action, PaymentStatus.processing):
        return Verdict(changed, None, action=action)  # another attempt decides the payment's status
    change = Change(
        status,
        provider_code=attempt.provider_code,
        provider_transaction_id=changed.provider_transaction_id,
        provider_response=outcome.response,
        failure_reason=changed.reason,
        clear_reasons=attempt.state is AttemptState.unknown and changed.reason is None,
    )
    return Verdict(changed, change, action=action)


def _declined(payment: Payment, attempt: Attempt, outcome: Declined, successor: Attempt | None) -> Verdict:
    if outcome.final:
        closed_as = AttemptState.declined if outcome.closed_for_certain else _CLOSED_AS.get(outcome.reason)
        return _closed(payment, attempt, closed_as or AttemptState.declined, outcome, successor)
    # The payer may try again on the same link or intent.
    waiting = NeedsAction(None, None, outcome.provider_transaction_id, outcome, outcome.response)
    return _moved(payment, attempt, waiting, AttemptState.needs_action, PaymentStatus.requires_action)


def _closed(
    payment: Payment, attempt: Attempt, state: AttemptState, outcome: Declined | NotSent, successor: Attempt | None
) -> Verdict:
    if state not in ATTEMPT_NEXT[attempt.state]:
        return Verdict()
    changed = _with(attempt, state, outcome)
    is_authorization = (
        payment.status is PaymentStatus.authorized
        and attempt.state is AttemptState.authorized
        and payment.provider_transaction_id
        in (None, attempt.provider_transaction_id)  # not a second authorization beside it
    )
    if payment.status not in (PaymentStatus.requires_action, PaymentStatus.processing) and not is_authorization:
        return Verdict(changed)
    if successor is not None and not is_authorization:
        return Verdict(changed, Change(PaymentStatus.processing), uses_successor=True)
    response = outcome.response if isinstance(outcome, Declined) else None
    if is_authorization and payment.amount_captured:  # the rest is released; the captured part stays
        done = replace(attempt, state=AttemptState.succeeded)
        return Verdict(done, Change(PaymentStatus.succeeded, provider_response=response, clear_reasons=True))
    if state in (AttemptState.canceled, AttemptState.expired):
        change = Change(PaymentStatus.canceled, provider_response=response, cancel_reason=outcome.reason.value)
    else:
        change = Change(PaymentStatus.failed, provider_response=response, failure_reason=outcome.reason.value)
    return Verdict(changed, change)


# ── Writing ──


async def settle(
    desk: Desk,
    db: PracticeDb,
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
        outcome = await as_end(desk, db, payment, attempt, outcome)
        verdict = decide(payment, attempt, outcome, successor)
        if isinstance(outcome, NotSent) and attempt.state is not concluded_from:
            verdict = Verdict()  # others have looked it up since, which may have repeated the call
        if isinstance(outcome, NeedsAction) and source != "answer" and _has_gone_on(read, attempt):
            verdict = Verdict()  # it may be about a step that the payer has completed since
        may_be_old = source == "webhook" or attempt.state is not concluded_from
        against = await contradictions.against_staff(desk, db, payment, attempt, outcome, may_be_old)
        asked = source == "lookup" and attempt.state is concluded_from
        # Read before the unit starts, so that an exception here leaves no work open.
        queue = await noted_attempt(desk, db, payment, attempt, verdict.attempt, outcome, asked, decided)
        named = await identified(desk, attempt, outcome)
        now = desk.world.now()
        unit = Unit()
        if verdict.change is not None:
            version = await returned_amounts.captured(desk, db, unit, payment, attempt, verdict.change)
            payments.change(unit, payment, verdict.change, now, version)
        if verdict.attempt is not None:
            _write_attempt(desk, db, unit, payment, attempt, verdict, now, is_new)
        elif asked:
            ask_again(unit, payment, attempt, outcome, now)
        if verdict.uses_successor and successor is not None:
            payments.insert_attempt(unit, successor)
        payment_identifiers.insert(unit, attempt, named, now)
        _write_books(desk, unit, payment, attempt, verdict, source, now)
        contradictions.contradict(desk, unit, payment, against)
        if payment.save_method and isinstance(outcome, Succeeded) and outcome.saved_method and not verdict.cases:
            saved_methods.keep(desk, db, unit, payment, attempt, outcome.saved_method, now)
        if also is not None:
            also(unit)
        queue(unit)
        try:
            await db.commit(unit)
        except (Stale, CheckRefused, Duplicate) as refused:  # Duplicate: another task stored its successor first
            if is_new and isinstance(refused, Duplicate):
                raise
            payment, attempt = await _again(db, payment, attempt)
            if attempt.state is not concluded_from and (
                unless_moved or (unless_closed and attempt.state in ATTEMPT_CLOSED)
            ):
                return payment, attempt
            continue
        _log(db, payment, attempt, verdict, outcome, source)
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
    desk: Desk, db: PracticeDb, payment: Payment, attempt: Attempt, source: str, also: Callable[[Unit], None]
) -> Payment:
    """Try a failed payment again: store its next attempt. ``Stale`` if it is no longer failed, ``Duplicate`` if another
    task was first. The caller must know that every earlier attempt is closed for certain."""
    now = desk.world.now()
    change = Change(PaymentStatus.processing, provider_code=attempt.provider_code, clear_reasons=True)
    unit = Unit()
    payments.change(unit, payment, change, now)
    payments.insert_attempt(unit, attempt)
    audit.append(unit, now, source, "payment.tried_again", payment.id, {"attempt": attempt.id})
    also(unit)
    await db.commit(unit)
    return payments.applied(payment, change, now)


async def _again(db: PracticeDb, payment: Payment, attempt: Attempt) -> tuple[Payment, Attempt]:
    """Both rows as they are now; a new attempt is not stored yet."""
    fresh = await payments.by_id(db, payment.id)
    assert fresh is not None
    return fresh, await payments.attempt_by_id(db, attempt.id) or attempt


def _write_attempt(
    desk: Desk,
    db: PracticeDb,
    unit: Unit,
    payment: Payment,
    before: Attempt,
    verdict: Verdict,
    now: datetime,
    is_new: bool,
) -> None:
    changed = verdict.attempt
    assert changed is not None
    timed(desk, db, payment, before, changed, now, verdict.action, verdict.told_all)
    if is_new:
        payments.insert_attempt(unit, changed)
    else:
        payments.change_attempt(unit, before, changed)


def _log(db: PracticeDb, payment: Payment, attempt: Attempt, verdict: Verdict, outcome: Outcome, source: str) -> None:
    """Log the result, with the provider's code and message. An answer that cannot be understood is a warning."""
    told = {
        "practice": db.practice_id,
        "payment": payment.id,
        "attempt": attempt.id,
        "provider": attempt.provider_code,
        "source": source,
        "outcome": type(outcome).__name__,
        **said(outcome),
    }
    if verdict.change is not None:
        log.info("settled", before=payment.status.value, after=verdict.change.status.value, **told)
    elif is_unclear(outcome):
        log.warning("not_understood", **told)
    elif verdict.attempt is not None:
        log.info("attempt_settled", **told)


def _write_books(
    desk: Desk, unit: Unit, payment: Payment, attempt: Attempt, verdict: Verdict, source: str, now: datetime
) -> None:
    for entry in verdict.entries:
        ledger.book(unit, new_id(desk.world), payment.practice_id, payment.environment, payment.id, entry, now)
    if verdict.change is not None and (verdict.change.status is not payment.status or verdict.change.add_captured):
        tell_change(desk, unit, payment, verdict.change)
    for case in verdict.cases:
        tell(desk, unit, payment, f"payment.{case.kind}", case.detail, unless_case=(case.kind, case.subject))
        webhook_events.open_case(
            unit,
            new_id(desk.world),
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
