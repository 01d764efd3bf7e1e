"""Review cases: each with its evidence, and the few ways to resolve it.

No resolution guesses about money. A lookup goes through ``settle``. A duplicate payment is refunded with a key that the
case fixes, so that two clicks are one refund. A charge that no lookup can find is marked as not paid by staff who know
it, and a late success is still booked. A case that is marked as handled keeps who did it and why.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Duplicate, NotFound, Stale, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind, CaseResolution, CaseState
from polytill.domain.sources import Source
from polytill.domain.states import AttemptState, OperationState, RefundOrigin, RefundState
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice, log
from polytill.flows.finding import ExtraSteps, Finding, FindingKind
from polytill.flows.handlers import handler_for
from polytill.flows.lease import may_begin
from polytill.flows.payments import duplicates
from polytill.flows.payments.capture_cancel import refresh
from polytill.flows.payments.settle import settle
from polytill.flows.provider_calls import configuration_of
from polytill.flows.recovery import lookup
from polytill.flows.refunds import create as create_refunds
from polytill.flows.schedule import after_sent
from polytill.flows.unresolved import UNDERSTOOD
from polytill.providers.outcomes import Declined, Reason
from polytill.storage import anchors, audit, cases, disputes, operations, payments, practices, refunds
from polytill.storage import attempts as storage_attempts
from polytill.storage.attempts import Attempt
from polytill.storage.cases import OperatorCase
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund, duplicate_key
from polytill.storage.units import Unit

# A transaction that the provider knows is looked up for so long before staff may mark it as not paid.
NOT_UNDERSTOOD_FOR = timedelta(days=1)
UNCLEAR_REASONS = frozenset(reason.value for reason in Reason if reason not in UNDERSTOOD)
PRACTICES_AT_ONCE = 50
CASES_EACH = 20


@dataclass(slots=True)
class Evidence:
    """A case with everything that our rows hold about its payment."""

    case: OperatorCase
    payment: Payment | None
    attempts: list[Attempt]
    refunds: list[Refund]
    disputes: list[Dispute]
    answered: bool = True  # False: the provider was just called and did not answer


async def evidence(context: Context, practice_id: int, case_id: str) -> Evidence:
    """Return one case with its evidence. ``NotFound`` if there is no such case."""
    practice = await context.practice(practice_id)
    return await _evidence(practice.db, await _existing(practice.db, case_id))


async def _existing(db: PracticeDb, case_id: str) -> OperatorCase:
    case = await cases.by_id(db, case_id)
    if case is None:
        raise NotFound("There is no such case.")
    return case


async def _evidence(db: PracticeDb, case: OperatorCase) -> Evidence:
    if case.payment_id is None:
        return Evidence(case, None, [], [], [])
    return Evidence(
        case,
        await payments.by_id(db, case.payment_id),
        await storage_attempts.of_payment(db, case.payment_id),
        await refunds.of_payment(db, case.payment_id),
        await disputes.of_payment(db, case.payment_id),
    )


async def across(context: Context, after_id: int) -> tuple[list[tuple[int, OperatorCase]], int | None]:
    """Return open cases of the next practices by id, for the platform, and the practice to continue after, None at the
    end."""
    entries = await practices.listed(context.owner, after_id, PRACTICES_AT_ONCE)
    found = []
    for entry in entries:
        if not entry.state.has_database:
            continue
        try:
            practice = await context.practice(entry.id)
            found += [(entry.id, case) for case in await cases.listed(practice.db, limit=CASES_EACH)]
        except Exception as error:
            # A practice that cannot be opened must not hide the cases of the others.
            log.error("cases_not_read", practice=entry.id, error=type(error).__name__)
    return found, entries[-1].id if len(entries) == PRACTICES_AT_ONCE else None


# ── Resolutions ──


async def look_up(context: Context, practice_id: int, case_id: str, actor: str) -> Evidence:
    """Look up the case's payment and its refunds again, and settle by the answers. The case stays open."""
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    if case.payment_id is None:
        raise Conflict("This case has no payment, so there is nothing to look up.", code="nothing_to_look_up")
    unit = Unit()
    audit.append(unit, context.world.now(), actor, AuditAction.case_looked_up, case.id, {"kind": case.kind})
    await practice.db.commit(unit)
    answered = await _look_up(practice, case)
    found = await _evidence(practice.db, case)
    found.answered = answered
    return found


async def _look_up(practice: Practice, case: OperatorCase) -> bool:
    """Look up the case's payment, and those of its refunds, captures and cancels whose outcome is unknown or pending.
    Return whether the provider answered."""
    assert case.payment_id is not None
    found = await lookup.confirm(practice.context, practice.id, case.payment_id)
    asked, answered = found.asked, not found.unanswered
    for known in await refunds.of_payment(practice.db, case.payment_id):
        if known.state in (RefundState.pending, RefundState.unknown):
            await create_refunds.refresh(practice, known)
            asked = True
            after = await refunds.by_id(practice.db, known.id)
            answered = answered and (after is None or after.state is not RefundState.unknown)
    for operation in await operations.open_of_payment(practice.db, case.payment_id):
        if operation.state is not OperationState.sent:  # its call may still be running
            await refresh(practice, operation)
            asked = True
    return asked and answered


async def resolve(context: Context, practice_id: int, case_id: str, note: str, actor: str) -> Evidence:
    """Mark a case as handled, with a note that says how or on what proof. No money changes."""
    if not note.strip():
        raise invalid("/note", "Describe how the case was handled, or the proof.", reason="say_how")
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    await _resolve(practice, case, {"action": CaseResolution.resolved, "note": note}, actor)
    return await evidence(context, practice_id, case_id)


async def same_account(context: Context, practice_id: int, case_id: str, note: str, actor: str) -> Evidence:
    """Record that the current keys belong to the account of the replaced keys, with the proof.

    From then on, a "not found" with the current keys is proof for requests of the replaced ones. That holds for every
    case about the same two sets of keys, so all of them end. This case's payment is looked up at once, the others by
    the worker.
    """
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    if not note.strip():
        detail = "Describe the proof that the keys belong to the same account."
        raise invalid("/note", detail, reason="say_how_same_account")
    same = await _same_keys(practice, case)
    if same is None:
        raise Conflict("Only a case about replaced keys can be resolved in this way.", code="not_other_account")
    for other in await cases.listed(practice.db, kind=case.kind, limit=1000):
        if other.id != case.id and await _same_keys(practice, other) == same:
            with suppress(Conflict):  # somebody else resolved it meanwhile
                await _resolve(practice, other, {"action": CaseResolution.same_account, "note": note, **same}, actor)
    await _resolve(practice, case, {"action": CaseResolution.same_account, "note": note, **same}, actor)
    answered = await _look_up(practice, case)
    found = await evidence(context, practice_id, case_id)
    found.answered = answered
    return found


async def _same_keys(practice: Practice, case: OperatorCase) -> dict[str, int] | None:
    """Return the configuration of a case about replaced keys, their version, and the version of their replacement."""
    attempt = (
        await storage_attempts.by_id(practice.db, case.detail["attempt"])
        if case.kind is CaseKind.other_account
        else None
    )
    configuration = await configuration_of(practice, attempt.config_id) if attempt else None
    newest = configuration.newest(attempt.environment) if attempt and configuration else None
    if attempt is None or newest is None or newest.version == attempt.credential_version:
        return None
    return {"config": attempt.config_id, "made_with": attempt.credential_version, "same_as": newest.version}


async def mark_not_paid(context: Context, practice_id: int, case_id: str, note: str, actor: str) -> Evidence:
    """Mark a charge as not paid, with the proof, if no lookup can find it: it has no page, and its provider id was
    lost. Its payment is canceled, and the case ends. A later answer of the provider still counts: a late success is
    booked."""
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    if not note.strip():
        raise invalid("/note", "Describe the proof that nothing was paid.", reason="say_how_not_paid")
    attempt = await unfindable(practice, case)
    if attempt is None:
        detail = "The provider can report this outcome. Look it up instead."
        raise Conflict(detail, code="can_be_found")
    payment = await payments.by_id(practice.db, attempt.payment_id)
    assert payment is not None
    await may_begin(context, practice_id, payment.environment)
    said = Declined(Reason.canceled, True, "marked_not_paid", "Staff marked this as not paid.")
    resolution = {"action": CaseResolution.marked_not_paid, "note": note}

    def also(unit: Unit) -> None:
        add_resolution(unit, case, resolution, actor, context.world.now())

    with suppress(Stale):  # somebody else resolved the case
        finding = Finding(said, Source.staff, FindingKind.conclusion)
        await settle(practice, payment, attempt, finding, ExtraSteps(also, resolves=case))
    found = await evidence(context, practice_id, case_id)
    if (found.case.resolved_by, found.case.detail.get("resolution")) != (actor, resolution):
        raise Conflict("This case is already resolved.", code="case_resolved")
    return found


async def unfindable(practice: Practice, case: OperatorCase) -> Attempt | None:
    """Return the attempt of an ``unresolved`` case if no lookup can resolve it; None for any other case."""
    if case.kind is not CaseKind.unresolved or "attempt" not in case.detail:
        return None
    attempt = await storage_attempts.by_id(practice.db, case.detail["attempt"])
    if attempt is not None and attempt.unclear_since is not None:
        return attempt  # its provider answers in a status that no handler knows
    if attempt is None or attempt.state is not AttemptState.unknown:
        return None
    if attempt.provider_transaction_id is not None:
        is_long = practice.now() - attempt.updated_at >= NOT_UNDERSTOOD_FOR
        return attempt if is_long and attempt.reason in UNCLEAR_REASONS else None
    handler = await handler_for(practice.context, attempt)
    return attempt if handler is not None and handler.create_moves_money else None


async def refund_duplicate(
    context: Context, practice_id: int, case_id: str, actor: str, accept_dispute_risk: bool = False
) -> Evidence:
    """Refund a duplicate payment, or the rest of it. The case ends when the refund has succeeded. A payment with an
    open chargeback is refunded only with ``accept_dispute_risk``."""
    practice = await context.practice(practice_id)
    case = await open_or_conflict(practice.db, case_id)
    if case.kind is not CaseKind.duplicate_payment or case.payment_id is None:
        raise Conflict("Only a duplicate payment can be refunded in this way.", code="not_a_duplicate")
    payment = await payments.by_id(practice.db, case.payment_id)
    attempt = await storage_attempts.by_id(practice.db, case.subject)
    assert payment is not None
    assert attempt is not None
    if attempt.state is not AttemptState.succeeded:
        raise Conflict("This attempt has no money to refund now. Look it up again.", code="not_refundable")
    await create_refunds.can_refund(context, attempt)
    await may_begin(context, practice_id, payment.environment)
    made = await until_committed(partial(_duplicate_refund, practice, case, actor, accept_dispute_risk))
    if made.state is RefundState.sent:
        await asyncio.shield(create_refunds.send(practice, payment, attempt, made))
    return await evidence(context, practice_id, case_id)


async def _duplicate_refund(practice: Practice, case: OperatorCase, actor: str, accept_dispute_risk: bool) -> Refund:
    """Commit the refund row of a duplicate payment before its call: the amount that earlier refunds leave. ``Stale`` if
    the payment has changed meanwhile."""
    assert case.payment_id is not None
    payment = await payments.by_id(practice.db, case.payment_id)
    attempt = await storage_attempts.by_id(practice.db, case.subject)
    assert payment is not None
    assert attempt is not None
    known, disputed = (
        await refunds.of_payment(practice.db, payment.id),
        await disputes.of_payment(practice.db, payment.id),
    )
    left = duplicates.left(attempt, known, disputed)
    if left <= 0:
        raise Conflict("This duplicate payment is already being refunded.", code="already_refunded")
    if not accept_dispute_risk and duplicates.disputed(attempt, disputed):
        raise Conflict(
            "This duplicate payment is disputed. A refund does not end the dispute: if it is lost, the customer is paid"
            " twice. Send acceptDisputeRisk: true to refund it anyway.",
            code=create_refunds.DISPUTED,
            left=Money(0, attempt.currency),
        )
    now = practice.now()
    made = Refund(
        id=new_id(practice.context.world),
        payment_id=payment.id,
        practice_id=payment.practice_id,
        environment=payment.environment,
        attempt_id=attempt.id,
        state=RefundState.sent,
        amount=left,
        currency=attempt.currency,
        reason="Paid twice",
        origin=RefundOrigin.api,
        idempotency_key=duplicate_key(attempt.id, known),
        fingerprint="",
        created_by=actor,
        created_at=now,
        updated_at=now,
        next_lookup_at=after_sent(now, practice.context.settings.provider_timeout_s),
    )
    unit = Unit()
    anchors.hold(unit, practice.db.anchor)
    payments.guard(unit, payment, now)
    refunds.insert(unit, made)
    detail = {"refund": made.id, "amount": made.amount, "case": case.id}
    audit.append(unit, now, actor, AuditAction.refund_created, payment.id, detail)
    try:
        await practice.db.commit(unit)
    except Duplicate:
        raise Conflict("This duplicate payment is already being refunded.", code="already_refunded") from None
    return made


async def open_or_conflict(db: PracticeDb, case_id: str) -> OperatorCase:
    """Return an open case. ``NotFound`` or ``Conflict`` otherwise."""
    case = await _existing(db, case_id)
    if case.state is not CaseState.open:
        raise Conflict("This case is already resolved.", code="case_resolved")
    return case


def add_resolution(unit: Unit, case: OperatorCase, resolution: dict[str, Any], actor: str, now: datetime) -> None:
    """Resolve an open case by a decision of staff, with its audit line, in the unit that carries it out."""
    cases.resolve(unit, case, resolution, actor, now)
    audit.append(unit, now, actor, AuditAction.case_resolved, case.id, {"kind": case.kind, **resolution})


async def _resolve(practice: Practice, case: OperatorCase, resolution: dict[str, Any], actor: str) -> None:
    unit = Unit()
    add_resolution(unit, case, resolution, actor, practice.now())
    try:
        await practice.db.commit(unit)
    except Stale:
        raise Conflict("This case is already resolved.", code="case_resolved") from None
