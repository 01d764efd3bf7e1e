"""Contradictions between staff decisions and later provider facts: the same transaction is booked once, and a
contradiction opens a review case. A decision is never reversed here.

Reads ``staff_decisions`` only if an outcome does not fit the stored state, which is rare.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.event_types import EventType
from polytill.domain.identifiers import IdentifierKind, identifier_key
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import (
    ATTEMPT_CLOSED,
    OPERATION_OPEN,
    REFUND_DONE,
    REFUND_VOID,
    AttemptState,
    CaptureMode,
    DecidedOn,
    OperationState,
    RefundState,
)
from polytill.flows.context import Context, Practice
from polytill.flows.events import open_case, record_event
from polytill.flows.handlers import handler_for
from polytill.flows.identifiers import identifiers_of
from polytill.providers.contract import Fact, PaymentFact, WebhookProof
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Outcome, Reason, Succeeded, Unknown
from polytill.storage import attempts, audit, operations, payment_identifiers, staff_decisions
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.staff_decisions import StaffDecision
from polytill.storage.units import Unit


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A staff decision that the provider contradicts: subject and detail of its review case."""

    subject: str
    detail: dict[str, Any]


# ── Payments ──


async def against_staff(
    practice: Practice, payment: Payment, attempt: Attempt, outcome: Outcome, may_be_old: bool
) -> Contradiction | None:
    """How an outcome contradicts a staff decision about an attempt, its capture or its cancel; None if it does not.

    ``may_be_old``: the outcome came from a webhook, or was requested before the decision. Then only money and final
    outcomes count, because an open state may have been true earlier.
    """
    if not _may_contradict(payment, attempt, outcome) or (may_be_old and _may_pass(outcome)):
        return None
    for decision in reversed(await staff_decisions.of_attempt(practice.db, attempt.id)):
        says = await _contradicts(practice, payment, attempt, decision, outcome)
        if says is not None:
            return _contradiction(decision, says, outcome)
    return None


def _may_contradict(payment: Payment, attempt: Attempt, outcome: Outcome) -> bool:
    """Whether an outcome does not fit an attempt, whoever decided it. Pure: an outcome that fits costs no query."""
    is_taken = isinstance(outcome, Succeeded) and not outcome.authorized_only
    if attempt.state is AttemptState.succeeded:
        if isinstance(outcome, Succeeded) and is_taken:
            return outcome.amount != _taken(payment, attempt) or _names_another(attempt, outcome)
        says_no = isinstance(outcome, Succeeded | Declined | NeedsAction | NotSent)
        return says_no or (isinstance(outcome, Unknown) and outcome.reason is Reason.not_found)
    if attempt.state is AttemptState.authorized:
        return is_taken or (isinstance(outcome, Declined) and outcome.reason is Reason.canceled)
    return attempt.state in ATTEMPT_CLOSED and isinstance(outcome, Succeeded)


def _may_pass(outcome: Outcome) -> bool:
    """Whether an outcome may be true at one time and not later."""
    if isinstance(outcome, Succeeded):
        return outcome.authorized_only
    return not (isinstance(outcome, Declined) and outcome.final)


def _taken(payment: Payment, attempt: Attempt) -> Money:
    is_the_one = payment.provider_transaction_id == attempt.provider_transaction_id
    is_captured = payment.capture_mode is CaptureMode.manual and is_the_one
    return Money(payment.amount_captured if is_captured else attempt.amount, attempt.currency)


def _names_another(attempt: Attempt, outcome: Outcome) -> bool:
    named = getattr(outcome, "provider_transaction_id", None)
    return named is not None and named != attempt.provider_transaction_id


async def _contradicts(
    practice: Practice, payment: Payment, attempt: Attempt, decision: StaffDecision, outcome: Outcome
) -> str | None:
    is_taken = isinstance(outcome, Succeeded) and not outcome.authorized_only
    match decision.decided_on, decision.is_done, attempt.state:
        case (DecidedOn.payment | DecidedOn.capture, True, AttemptState.succeeded):
            return await _not_as_paid(practice.context, payment, attempt, decision, outcome)
        case (DecidedOn.cancel, True, state) if state in ATTEMPT_CLOSED and isinstance(outcome, Succeeded):
            return "paid" if is_taken else "authorized"
        case (DecidedOn.capture, False, AttemptState.authorized) if is_taken:
            return None if await _asked_since(practice.db, decision) else "captured"
        case (DecidedOn.cancel, False, AttemptState.authorized) if isinstance(outcome, Declined):
            return None if await _asked_since(practice.db, decision) else "canceled"
    return None


async def _not_as_paid(
    context: Context, payment: Payment, attempt: Attempt, decision: StaffDecision, outcome: Outcome
) -> str | None:
    if isinstance(outcome, Succeeded):
        if outcome.authorized_only:
            return "not_captured"
        if outcome.amount != _taken(payment, attempt):
            return "other_amount"
        is_same = not _names_another(attempt, outcome) or await _is_same(
            context, attempt, decision, outcome.provider_transaction_id, outcome.response
        )
        return None if is_same else "other_transaction"
    if isinstance(outcome, Declined):
        return "declined"
    return "not_paid" if isinstance(outcome, NeedsAction) else "not_found"


async def _asked_since(db: PracticeDb, decision: StaffDecision) -> bool:
    """Whether the same operation was requested again after staff decided that it was not done."""
    counted = OPERATION_OPEN | {OperationState.succeeded}
    return any(
        one.id != decision.subject
        and one.kind == decision.decided_on.value
        and one.state in counted
        and one.created_at >= decision.decided_at
        for one in await operations.of_payment(db, decision.payment_id)
    )


def _contradiction(decision: StaffDecision, says: str, outcome: Outcome) -> Contradiction:
    amount, named = getattr(outcome, "amount", None), getattr(outcome, "provider_transaction_id", None)
    reason = getattr(outcome, "reason", None)
    provider = {
        "says": says,
        "transaction": named,
        "amount": amount.minor if amount else None,
        "currency": amount.currency if amount else None,
        "reason": reason.value if reason else None,
        "code": getattr(outcome, "code", None),
        "message": getattr(outcome, "detail", None),
    }
    detail = {
        "attempt": decision.attempt_id,
        "decided_on": decision.decided_on.value,
        "decision": "done" if decision.is_done else "not_done",
        "decided_by": decision.decided_by,
        "note": decision.note,
        "transaction": decision.transaction_id,
        "amount": decision.amount,
        "currency": decision.currency,
        "provider": provider,
    }
    # One case per contradiction: another one opens a new case, also after the first was resolved.
    subject = f"{decision.subject}:{says}" + (f":{named}" if says == "other_transaction" else "")
    return Contradiction(subject, detail)


def contradict(context: Context, unit: Unit, payment: Payment, against: Contradiction | None) -> None:
    """Open the review case of a contradiction, and add its event."""
    if against is not None:
        told = (CaseKind.staff_contradicted, against.subject)
        record_event(context, unit, payment, EventType.payment_staff_contradicted, against.detail, unless_case=told)
        open_case(context, unit, payment, CaseKind.staff_contradicted, against.subject, against.detail)


# ── The provider's own id of a transaction that staff named ──


async def paid_by_staff(db: PracticeDb, attempt: Attempt) -> StaffDecision | None:
    """The decision by which staff marked an attempt as paid."""
    if attempt.state is not AttemptState.succeeded:
        return None
    found = await staff_decisions.of_attempt(db, attempt.id)
    return next((one for one in found if one.decided_on is DecidedOn.payment and one.is_done), None)


async def may_have_another_id(db: PracticeDb, attempt: Attempt) -> bool:
    """Whether the provider may know an attempt by another id: none is stored, or staff, not the provider, gave it."""
    if attempt.provider_transaction_id is None:
        return True
    decision = await paid_by_staff(db, attempt)
    return decision is not None and decision.transaction_id == attempt.provider_transaction_id


async def adopted(practice: Practice, attempt: Attempt, fact: Fact) -> Attempt:
    """An attempt with the provider's own id, if a proven fact is about the transaction that staff marked as paid and
    names it by another id than they did (staff may have used its receipt, for example). Any other attempt is returned
    unchanged."""
    if not isinstance(fact, PaymentFact) or attempt.state is not AttemptState.succeeded:
        return attempt
    named, outcome = fact.provider_transaction_id, fact.outcome
    if named in (None, attempt.provider_transaction_id) or not isinstance(outcome, Succeeded):
        return attempt
    assert named is not None
    decision = await paid_by_staff(practice.db, attempt)
    if decision is None or not await _is_same(practice.context, attempt, decision, named, outcome.response):
        return attempt
    is_about_it = outcome.provider_transaction_id in (None, named)
    if not is_about_it or outcome.amount != Money(attempt.amount, attempt.currency):
        return attempt
    return await _adopt(practice, attempt, named, outcome.response, Unit())


async def adopted_after_lookup(
    practice: Practice, payment: Payment, attempt: Attempt, fact: PaymentFact, answer: Succeeded
) -> Attempt | None:
    """The same for a fact that only triggered a lookup, whose ``answer`` confirms the named transaction and its amount.
    None if it is another transaction.

    If only the address authenticates a webhook, nothing proves the receipt in it, and the answer contains none. What is
    proven is that the provider's only request for this attempt was paid. So nothing is booked a second time; a receipt
    that differs from the one that staff gave opens a case.
    """
    decision = await paid_by_staff(practice.db, attempt)
    named, told = fact.provider_transaction_id, getattr(fact.outcome, "response", None)
    if decision is None or named is None:
        return None
    if await _is_same(practice.context, attempt, decision, named, answer.response):
        return await _adopt(practice, attempt, named, answer.response, Unit())
    if await _is_same(practice.context, attempt, decision, named, told):
        return await _adopt(practice, attempt, named, told, Unit())
    handler, unit = await handler_for(practice.context, attempt), Unit()
    is_named_by_staff = attempt.provider_transaction_id == decision.transaction_id
    if handler is None or handler.webhook_proof is not WebhookProof.address or not is_named_by_staff:
        return None
    found = await identifiers_of(practice.context, attempt, None, told)
    for receipt in found.get(IdentifierKind.receipt, ()):
        differs = _contradiction(decision, "other_transaction", replace(answer, provider_transaction_id=receipt))
        contradict(practice.context, unit, payment, differs)
    return await _adopt(practice, attempt, named, answer.response, unit)


async def _adopt(practice: Practice, attempt: Attempt, named: str, response: object, unit: Unit) -> Attempt:
    found = await identifiers_of(practice.context, attempt, named, response)
    now = practice.now()
    staff_decisions.rename(unit, attempt, named)
    payment_identifiers.insert(unit, attempt, found, now)
    audit.append(
        unit, now, Source.provider, AuditAction.payment_transaction_named, attempt.payment_id, {"transaction": named}
    )
    await practice.db.commit(unit)
    fresh = await attempts.by_id(practice.db, attempt.id)
    assert fresh is not None
    return fresh


async def _is_same(
    context: Context, attempt: Attempt, decision: StaffDecision, named: str | None, response: object
) -> bool:
    """Whether a transaction, by any of its identifiers, is the one that staff named."""
    found = await identifiers_of(context, attempt, named, response)
    keys = {
        identifier_key(one) for kind, some in found.items() if kind is not IdentifierKind.card_last4 for one in some
    }
    return identifier_key(decision.transaction_id or "") in keys


# ── Refunds ──


async def refund_against_staff(
    db: PracticeDb, refund: Refund, outcome: Outcome, becomes: RefundState | None
) -> Contradiction | None:
    """How a refund's outcome contradicts a staff decision about it. ``becomes``: its next state; None if unchanged."""
    came_back = refund.state in REFUND_VOID and becomes in REFUND_DONE
    if not came_back and not was_never_made(refund, outcome):
        return None
    decision = await _about_refund(db, refund.attempt_id, refund.id)
    if decision is None or decision.is_done is came_back:
        return None
    if came_back:
        return _contradiction(decision, "refunded", outcome)
    return _contradiction(decision, "not_found" if isinstance(outcome, NotSent) else "declined", outcome)


def was_never_made(refund: Refund, outcome: Outcome) -> bool:
    """Whether a provider reports that a done refund was never made: it finds none, or it declined the request. A refund
    that failed later has the provider's id, and that is a refund reversal. Pure."""
    if refund.state not in REFUND_DONE:
        return False
    is_named = getattr(outcome, "provider_transaction_id", None) or refund.provider_refund_id
    return isinstance(outcome, NotSent) or (isinstance(outcome, Declined) and not is_named)


async def adopted_against_staff(
    db: PracticeDb, known: list[Refund], attempt: Attempt, amount: int, outcome: Outcome
) -> Contradiction | None:
    """The same for a refund that is reported without our reference: staff may have decided that it was not made."""
    for refund in known:
        if refund.attempt_id == attempt.id and refund.amount == amount and refund.state in REFUND_VOID:
            decision = await _about_refund(db, attempt.id, refund.id)
            if decision is not None and not decision.is_done:
                return _contradiction(decision, "refunded", outcome)
    return None


async def is_decided(db: PracticeDb, refund: Refund) -> bool:
    """Whether staff decided the outcome of a refund."""
    return await _about_refund(db, refund.attempt_id, refund.id) is not None


async def _about_refund(db: PracticeDb, attempt_id: str, refund_id: str) -> StaffDecision | None:
    found = await staff_decisions.of_attempt(db, attempt_id)
    return next((one for one in found if (one.decided_on, one.subject) == (DecidedOn.refund, refund_id)), None)
