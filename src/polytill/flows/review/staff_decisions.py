"""Staff decide outcomes that stay unknown: that a payment was paid, and whether a refund, capture or cancel was done.

Each decision settles through the same flow as a provider's answer, with ``staff`` as its source, and is stored in
``staff_decisions`` with the note. ``payments/contradictions.py`` compares it with what the provider reports later.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Stale, invalid
from polytill.domain.identifiers import IdentifierKind, identifier_key
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind, CaseResolution, CaseState
from polytill.domain.sources import Source
from polytill.domain.states import AttemptState, DecidedOn, OperationKind, OperationState, RefundState
from polytill.domain.text import visible
from polytill.flows.context import Context, Practice
from polytill.flows.finding import AddSteps, ExtraSteps, Finding, FindingKind
from polytill.flows.lease import may_begin
from polytill.flows.payments.settle import settle
from polytill.flows.refunds.settle import settle_refund
from polytill.flows.review.resolve import Evidence, add_resolution, evidence, open_or_conflict
from polytill.flows.webhooks import receive
from polytill.providers.outcomes import Declined, NotSent, Outcome, Reason, Succeeded
from polytill.storage import (
    anchors,
    attempts,
    audit,
    operations,
    payment_identifiers,
    payments,
    refunds,
    staff_decisions,
)
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.databases import PracticeDb
from polytill.storage.operations import Operation
from polytill.storage.refunds import Refund
from polytill.storage.staff_decisions import StaffDecision
from polytill.storage.units import Unit

LONGEST_IDENTIFIER = 200
BY_STAFF = "by_staff"  # the code in the place of a provider's code
_NOT_DONE = "Staff decided that this was not done."


@dataclass(frozen=True, slots=True)
class Proof:
    """What staff know from the provider's statement, with a note how they know it.

    ``transaction`` is the provider's id or receipt number, and ``amount`` the amount in minor units.
    """

    note: str
    transaction: str | None = None
    amount: int | None = None


# ── Paid ──


async def mark_paid(context: Context, practice_id: int, case_id: str, proof: Proof, actor: str) -> Evidence:
    """Book an attempt whose outcome stays unknown as paid, as if its provider had reported it.

    The proof needs a transaction and the attempt's amount. ``Conflict`` if the outcome is not unknown, or if the
    transaction is recorded for another attempt.
    """
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    attempt = await undecided(practice.db, case)
    if attempt is None:
        detail = "Only an attempt with an unknown outcome can be marked as paid."
        raise Conflict(detail, code="outcome_known")
    transaction, note, amount = _identifier(proof.transaction or ""), _note(proof.note), proof.amount
    expected = Money(attempt.amount, attempt.currency)
    if amount is None:
        raise invalid("/amount", "Enter the amount that the provider's statement shows.", reason="amount_missing")
    if amount != attempt.amount:
        detail = f"The amount must be {expected}, the amount of the attempt."
        raise invalid("/amount", detail, reason="another_amount", amount=expected)
    await _no_other(practice.db, attempt, transaction)
    payment = await payments.by_id(practice.db, attempt.payment_id)
    assert payment is not None
    await may_begin(context, practice_id, attempt.environment)
    named = attempt.provider_transaction_id or transaction
    seen = {"note": note, "transaction": transaction, "confirmedBy": actor}
    decision = _decision(context, attempt, None, True, Proof(note, transaction, amount), actor)
    resolution = {"action": CaseResolution.marked_paid, "note": note, "transaction": transaction}

    def also(unit: Unit) -> None:
        now = context.world.now()
        staff_decisions.insert(unit, decision)
        if named != transaction:
            payment_identifiers.insert(unit, attempt, {IdentifierKind.receipt: (transaction,)}, now)
        detail = {"attempt": attempt.id, "amount": amount, "transaction": transaction, "note": note}
        audit.append(unit, now, actor, AuditAction.payment_marked_paid, attempt.payment_id, detail)
        add_resolution(unit, case, resolution, actor, now)

    with suppress(Stale):  # somebody else resolved the case, or the transaction paid another attempt meanwhile
        said = Succeeded(expected, named, response=seen)
        finding = Finding(said, Source.staff, FindingKind.conclusion)
        _, settled = await settle(practice, payment, attempt, finding, ExtraSteps(also, resolves=case))
        await receive.apply_after(practice, attempt, settled)
    found = await evidence(context, practice_id, case_id)
    if found.case.state is CaseState.open:
        await _no_other(practice.db, attempt, transaction)
    return _decided(found, resolution, actor)


async def undecided(db: PracticeDb, case: OperatorCase) -> Attempt | None:
    """Return the attempt of an open ``unresolved`` case whose outcome is unknown; None for any other case."""
    if case.kind is not CaseKind.unresolved or case.state is not CaseState.open or "attempt" not in case.detail:
        return None
    attempt = await attempts.by_id(db, case.detail["attempt"])
    is_unknown = attempt is not None and (attempt.state is AttemptState.unknown or attempt.unclear_since is not None)
    return attempt if is_unknown else None


def _identifier(given: str) -> str:
    """Return a transaction or receipt id as staff typed it, without invisible characters."""
    transaction = visible(given)
    if not identifier_key(transaction):
        detail = "Enter the provider's transaction id or receipt number."
        raise invalid("/transactionId", detail, reason="transaction_missing")
    if len(transaction) > LONGEST_IDENTIFIER:
        detail = f"A transaction id must have at most {LONGEST_IDENTIFIER} characters."
        raise invalid("/transactionId", detail, reason="shape_too_long", most=LONGEST_IDENTIFIER)
    return transaction


def _note(note: str) -> str:
    if not note.strip():
        raise invalid("/note", "Describe the proof, for example the provider's statement.", reason="say_how_known")
    return note.strip()


async def _no_other(db: PracticeDb, attempt: Attempt, transaction: str) -> None:
    """``Conflict`` if a transaction is recorded for another attempt at the same provider configuration."""
    other = await payment_identifiers.other_attempt(db, attempt, transaction)
    if other is None:
        return
    payment = await payments.by_id(db, other.payment_id)
    name = payment.number if payment else other.payment_id
    detail = f"Transaction {transaction} is already recorded for payment {name}. Check the id: one transaction pays one attempt."
    raise Conflict(detail, code="transaction_recorded", transaction=transaction, payment=name)


# ── Done, not done ──


async def decide(context: Context, practice_id: int, case_id: str, is_done: bool, proof: Proof, actor: str) -> Evidence:
    """Decide whether a refund, capture or cancel whose outcome stays unknown was done at the provider.

    The proof has the provider's id of a refund that was done, if staff know it; its amount is not used. ``Conflict`` if
    the outcome is not unknown.
    """
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    stuck = await stuck_of(practice.db, case)
    if stuck is None:
        detail = "Only a refund, capture or cancel with an unknown outcome can be decided."
        raise Conflict(detail, code="outcome_known")
    note = _note(proof.note)
    named = _identifier(proof.transaction) if proof.transaction and is_done and isinstance(stuck, Refund) else None
    attempt = await attempts.by_id(practice.db, stuck.attempt_id)
    assert attempt is not None
    await may_begin(context, practice_id, attempt.environment)
    decision = _decision(context, attempt, stuck, is_done, Proof(note, named, stuck.amount), actor)
    what = decision.decided_on
    decided = CaseResolution.marked_done if is_done else CaseResolution.marked_not_done
    resolution = {"action": decided, "note": note} | ({"transaction": named} if named else {})

    def also(unit: Unit) -> None:
        now = context.world.now()
        staff_decisions.insert(unit, decision)
        detail = {what.value: stuck.id, "amount": stuck.amount, "note": note}
        audit.append(unit, now, actor, AuditAction(f"{what.value}.{decided.value}"), stuck.payment_id, detail)
        add_resolution(unit, case, resolution, actor, now)

    with suppress(Stale):  # the provider's answer or another decision was first
        if isinstance(stuck, Refund):
            await _refund_decided(practice, case, stuck, is_done, named, also)
        else:
            await _operation_decided(practice, attempt, stuck, is_done, also)
    return _decided(await evidence(context, practice_id, case_id), resolution, actor)


async def stuck_of(db: PracticeDb, case: OperatorCase) -> Refund | Operation | None:
    """Return the refund, capture or cancel of an open ``unresolved`` case whose outcome is unknown; None for any other
    case."""
    if case.kind is not CaseKind.unresolved or case.state is not CaseState.open or case.payment_id is None:
        return None
    if "refund" in case.detail:
        refund = await refunds.by_id(db, case.detail["refund"])
        is_unknown = refund is not None and (
            refund.state is RefundState.unknown
            or (refund.state is RefundState.pending and refund.unclear_since is not None)
        )
        return refund if is_unknown else None
    found = await operations.open_of_payment(db, case.payment_id)
    return next((o for o in found if o.id == case.subject and o.state is OperationState.unknown), None)


def decided_on(stuck: Refund | Operation | None) -> DecidedOn | None:
    """Return what a decision is about: a refund, a capture or a cancel."""
    if stuck is None:
        return None
    return DecidedOn.refund if isinstance(stuck, Refund) else DecidedOn(stuck.kind)


async def _refund_decided(
    practice: Practice, case: OperatorCase, refund: Refund, is_done: bool, named: str | None, also: AddSteps
) -> None:
    if named is not None:
        for other in await refunds.of_payment(practice.db, refund.payment_id):
            if other.id != refund.id and other.provider_refund_id == named:
                detail = f"Refund {named} is already recorded. Check the id: it can belong to one refund only."
                raise Conflict(detail, code="refund_recorded", transaction=named)
    outcome: Outcome
    if is_done:
        outcome = Succeeded(Money(refund.amount, refund.currency), named)
    elif refund.state is RefundState.unknown:
        outcome = NotSent(Reason.not_found, BY_STAFF, _NOT_DONE)
    else:  # the provider accepted it: it failed later
        outcome = Declined(Reason.declined, True, BY_STAFF, _NOT_DONE)
    await settle_refund(practice, refund, Finding(outcome, Source.staff), ExtraSteps(also, resolves=case))


async def _operation_decided(
    practice: Practice, attempt: Attempt, operation: Operation, is_done: bool, also: AddSteps
) -> None:
    payment = await payments.by_id(practice.db, operation.payment_id)
    assert payment is not None
    state = OperationState.succeeded if is_done else OperationState.not_sent
    changed = replace(
        operation,
        state=state,
        updated_at=practice.now(),
        next_lookup_at=None,
        reason=None if is_done else Reason.not_found.value,
        raw_code=None if is_done else BY_STAFF,
        detail=None if is_done else _NOT_DONE,
    )

    def with_operation(unit: Unit) -> None:
        operations.change(unit, operation.state, changed)
        also(unit)

    if not is_done:
        unit = Unit()
        anchors.hold(unit, practice.db.anchor)
        with_operation(unit)
        await practice.db.commit(unit)
        return
    if attempt.state not in (AttemptState.authorized, AttemptState.needs_action):
        raise Stale  # its attempt has ended: the next lookup ends the operation
    outcome: Outcome = Declined(Reason.canceled, True, BY_STAFF, "Staff decided that this was canceled.")
    if operation.kind is OperationKind.capture:
        outcome = Succeeded(
            Money(payment.amount_captured + (operation.amount or 0), payment.currency), attempt.provider_transaction_id
        )
    finding = Finding(outcome, Source.staff, FindingKind.conclusion)
    _, settled = await settle(practice, payment, attempt, finding, ExtraSteps(with_operation))
    await receive.apply_after(practice, attempt, settled)


# ── Both ──


def _decision(
    context: Context, attempt: Attempt, stuck: Refund | Operation | None, is_done: bool, proof: Proof, actor: str
) -> StaffDecision:
    """A decision about a refund, capture or cancel of an attempt, or (None) about the attempt itself."""
    return StaffDecision(
        new_id(context.world),
        attempt.practice_id,
        attempt.environment,
        attempt.payment_id,
        attempt.id,
        decided_on(stuck) or DecidedOn.payment,
        (stuck or attempt).id,
        is_done,
        attempt.config_id,
        proof.transaction,
        proof.amount,
        attempt.currency,
        proof.note,
        actor,
        context.world.now(),
    )


def _decided(found: Evidence, resolution: dict[str, Any], actor: str) -> Evidence:
    """Return the evidence if this decision ended the case. ``Conflict`` if another decision or fact was first."""
    if (found.case.resolved_by, found.case.detail.get("resolution")) != (actor, resolution):
        raise Conflict("This case is already resolved.", code="case_resolved")
    return found
