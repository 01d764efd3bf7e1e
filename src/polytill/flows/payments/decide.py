"""The meaning of an outcome for a payment and one of its attempts. Pure: ``settle`` writes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from polytill.domain.ledger import LedgerAccount, LedgerFact, provider_account
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import ATTEMPT_NEXT, AttemptState, CaptureMode, PaymentStatus
from polytill.domain.values import with_changes
from polytill.flows.payments import partial_captures
from polytill.flows.provider_calls import OTHER_ACCOUNT
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
from polytill.storage.attempts import Attempt
from polytill.storage.ledger import Entry
from polytill.storage.payments import Change, Payment

_CLOSED_AS = {Reason.canceled: AttemptState.canceled, Reason.expired: AttemptState.expired}
# Nobody can pay such an attempt any more. An expired or canceled one may still be payable on the provider's page.
CLOSED_FOR_CERTAIN = frozenset({AttemptState.declined, AttemptState.not_sent})


@dataclass(slots=True)
class Case:
    """A review case to open."""

    kind: CaseKind
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
            return _closed(payment, attempt, closed_state(outcome), outcome, successor)
        case Unknown():
            # Further lookups alone never resolve this.
            detail = {"attempt": attempt.id, "provider": attempt.provider_code}
            cases = [Case(CaseKind.other_account, attempt.id, detail)] if outcome.code == OTHER_ACCOUNT else []
            if attempt.state is not AttemptState.sent:
                return Verdict(cases=cases)
            undecided = payment.status in (PaymentStatus.requires_action, PaymentStatus.processing)
            changed = _with(attempt, AttemptState.unknown, outcome)
            return Verdict(changed, Change(PaymentStatus.processing) if undecided else None, cases=cases)
        case _:
            assert_never(outcome)


def closed_state(outcome: Declined | NotSent) -> AttemptState:
    """The state of an attempt that an outcome ends."""
    if isinstance(outcome, NotSent):
        return AttemptState.not_sent
    closed_as = None if outcome.closed_for_certain else _CLOSED_AS.get(outcome.reason)
    return closed_as or AttemptState.declined


def _with(attempt: Attempt, state: AttemptState, outcome: Outcome) -> Attempt:
    after = with_changes(attempt, state=state, unclear_since=None)
    transaction_id = getattr(outcome, "provider_transaction_id", None)
    if transaction_id is not None:
        after.provider_transaction_id = transaction_id
    if isinstance(outcome, Declined | NotSent | Unknown):
        after.reason, after.raw_code, after.detail = outcome.reason.value, outcome.code, outcome.detail
    elif isinstance(outcome, NeedsAction) and outcome.last_decline is not None:
        last = outcome.last_decline
        after.reason, after.raw_code, after.detail = last.reason.value, last.code, last.detail
    elif isinstance(outcome, Succeeded) or attempt.state is AttemptState.unknown:
        # The reason of a lost answer is obsolete once the outcome is known. An open payment keeps its last decline.
        after.reason = after.raw_code = after.detail = None
    return after


def _fits(payment: Payment, attempt: Attempt, amount: Money) -> bool:
    if amount.currency != attempt.currency:
        return False
    if payment.capture_mode is CaptureMode.manual and attempt.state is AttemptState.authorized:
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
    return Verdict(cases=[Case(CaseKind.amount_mismatch, subject, mismatch(attempt, outcome.amount))])


def _succeeded(payment: Payment, attempt: Attempt, outcome: Succeeded) -> Verdict:
    if attempt.state is AttemptState.succeeded:
        return _fee_learnt_later(payment, attempt, outcome)
    if not _fits(payment, attempt, outcome.amount):
        return _mismatch(attempt, outcome)
    is_rest = payment.status is PaymentStatus.authorized and attempt.state is AttemptState.authorized
    before = payment.amount_captured if is_rest else 0  # captures of the same authorization that are already booked
    amount, provider = outcome.amount.minor - before, provider_account(attempt.provider_code)
    if amount < 0:
        return _mismatch(attempt, outcome)
    changed, fee = _with(attempt, AttemptState.succeeded, outcome), []
    if outcome.fee is not None and outcome.fee.minor > 0:
        fee = [Entry(LedgerFact.fee, LedgerAccount.fees, provider, outcome.fee.minor, outcome.fee.currency)]
    if payment.status is PaymentStatus.succeeded or (
        payment.status is PaymentStatus.authorized and attempt.state is not AttemptState.authorized
    ):
        # Another attempt has already succeeded: a duplicate payment. It is booked separately, and a person refunds it.
        case = Case(
            CaseKind.duplicate_payment,
            attempt.id,
            {"attempt": attempt.id, "amount": amount, "currency": attempt.currency},
        )
        return Verdict(
            changed,
            None,
            [
                Entry(
                    LedgerFact.duplicate_payment, provider, LedgerAccount.duplicate_payments, amount, attempt.currency
                ),
                *fee,
            ],
            [case],
        )
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
    # Only the fee is new, and ends the lookups; of a past payment perhaps the transaction, too.
    changed = _with(attempt, attempt.state, outcome)
    change = Change(
        payment.status,
        provider_transaction_id=changed.provider_transaction_id,
        provider_response=outcome.response,
        provider_fee=outcome.fee.minor,
        provider_fee_currency=outcome.fee.currency,
    )
    is_past = payment.certainty is not None
    entry = Entry(
        LedgerFact.opening_fee if is_past else LedgerFact.fee,
        LedgerAccount.fees,
        provider_account(attempt.provider_code),
        outcome.fee.minor,
        outcome.fee.currency,
        payment.created_at if is_past else None,
    )
    return Verdict(changed, change, [entry] if outcome.fee.minor > 0 else [])


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
        return Verdict(changed, None, [], [Case(CaseKind.duplicate_authorization, attempt.id, detail)])
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
        return _closed(payment, attempt, closed_state(outcome), outcome, successor)
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
