"""Captures and cancels: stored before the call, settled by the provider's answer, looked up if the answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Duplicate, Stale, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.sources import Source
from polytill.domain.states import (
    ATTEMPT_CLOSED,
    OPERATION_OPEN,
    AttemptState,
    OperationKind,
    OperationState,
    PaymentStatus,
)
from polytill.flows.command import Command
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice, log
from polytill.flows.finding import AddSteps, ExtraSteps, Finding, FindingKind
from polytill.flows.handlers import check_amount, required_handler
from polytill.flows.lease import may_begin
from polytill.flows.next_action import charges_at_once, unless_stale
from polytill.flows.payments.reading import PaymentDetails, current_attempt, details_of, find
from polytill.flows.payments.settle import settle
from polytill.flows.practice_state import may_go_on
from polytill.flows.provider_calls import call_for
from polytill.flows.provider_messages import messages_of
from polytill.flows.schedule import after_sent, next_lookup
from polytill.flows.unresolved import noted_operation
from polytill.providers.contract import ConfirmPaymentParams, Handler, OperationParams
from polytill.providers.outcomes import (
    NOT_NOW,
    NOTHING_TO_CLOSE,
    Declined,
    NeedsAction,
    NotSent,
    Outcome,
    Pending,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.storage import anchors, attempts, audit, operations, payments
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.operations import Operation
from polytill.storage.payments import Payment
from polytill.storage.units import Unit

# This decline comes from polytill, not from a provider, so it has no code or message.
CANCELED_HERE = Declined(Reason.canceled, True)


async def capture(
    context: Context, practice_id: int, payment_id: str, amount: int | None, command: Command
) -> PaymentDetails:
    """Capture an authorized amount, or part of it; the rest is released."""
    command = command.about("capture", payment_id, amount)
    asked = partial(_capture, context, practice_id, payment_id, amount, command)
    return await _once(asked, context, practice_id, payment_id, command)


async def cancel(context: Context, practice_id: int, payment_id: str, command: Command) -> PaymentDetails:
    """Cancel a payment before money has moved."""
    command = command.about("cancel", payment_id)
    asked = partial(_cancel, context, practice_id, payment_id, command)
    return await _once(asked, context, practice_id, payment_id, command)


async def _once(
    ask: Callable[[], Awaitable[PaymentDetails]], context: Context, practice_id: int, payment_id: str, command: Command
) -> PaymentDetails:
    """Decide again if the payment changed while its operation was being stored. Of two concurrent requests under one
    key, the second may see the effect of the first before it sees the key: that is a repeat, not a conflict."""
    try:
        return await until_committed(ask)
    except Conflict:
        practice, payment = await find(context, practice_id, payment_id)
        replayed = await _replayed(practice.db, payment, command)
        if replayed is None:
            raise
        return replayed


async def _capture(
    context: Context, practice_id: int, payment_id: str, amount: int | None, command: Command
) -> PaymentDetails:
    practice, payment = await find(context, practice_id, payment_id)
    replayed = await _replayed(practice.db, payment, command)
    if replayed is not None:
        return replayed
    if payment.status is not PaymentStatus.authorized:
        raise Conflict(f"A payment that is {payment.status} cannot be captured.", code="not_capturable")
    held = payment.amount_authorized - payment.amount_captured
    wanted = held if amount is None else amount
    if not 0 < wanted <= held:
        most = Money(held, payment.currency)
        raise invalid("/amount", f"The amount must be more than zero and no more than {most}.")
    await _none_open(practice.db, payment)
    attempt = current_attempt(payment, await attempts.of_payment(practice.db, payment_id))
    if amount is not None:
        await check_amount(context, attempt, amount)
    return await _begin(practice, payment, attempt, OperationKind.capture, wanted, command)


async def _cancel(context: Context, practice_id: int, payment_id: str, command: Command) -> PaymentDetails:
    practice, payment = await find(context, practice_id, payment_id)
    replayed = await _replayed(practice.db, payment, command)
    if replayed is not None:
        return replayed
    if payment.status is PaymentStatus.canceled:
        return await _nothing_left_to_cancel(practice, payment, command)
    if payment.status not in (PaymentStatus.requires_action, PaymentStatus.processing, PaymentStatus.authorized):
        raise Conflict(f"A payment that is {payment.status} cannot be canceled.", code="not_cancelable")
    await _none_open(practice.db, payment)
    attempt = current_attempt(payment, await attempts.of_payment(practice.db, payment_id))
    if attempt.state not in (AttemptState.needs_action, AttemptState.authorized):
        raise Conflict(
            "The outcome of this payment is not known yet. It can be canceled once it is known.", code="outcome_unknown"
        )
    return await _begin(practice, payment, attempt, OperationKind.cancel, None, command)


async def _nothing_left_to_cancel(practice: Practice, payment: Payment, command: Command) -> PaymentDetails:
    """The payment is already canceled. The key is stored, so that it identifies this request from now on."""
    found = await details_of(practice.db, payment)
    now = practice.now()
    operation = Operation(
        new_id(practice.context.world),
        payment.id,
        payment.practice_id,
        payment.environment,
        current_attempt(payment, found.attempts).id,
        OperationKind.cancel,
        None,
        OperationState.succeeded,
        command.key,
        command.fingerprint,
        command.actor,
        now,
        now,
    )
    unit = Unit()
    operations.insert(unit, operation)
    try:
        await practice.db.commit(unit)
    except Duplicate:
        replayed = await _replayed(practice.db, payment, command)
        assert replayed is not None
        return replayed
    return found


async def _none_open(db: PracticeDb, payment: Payment) -> None:
    if await operations.open_of_payment(db, payment.id):
        raise Conflict("A capture or cancel of this payment is under way.", code="operation_under_way")


async def _replayed(db: PracticeDb, payment: Payment, command: Command) -> PaymentDetails | None:
    known = await operations.by_key(db, command.key)
    if known is None:
        return None
    command.check_repeat(known.fingerprint)
    return PaymentDetails(payment, await attempts.of_payment(db, payment.id), replayed=True)


async def _begin(
    practice: Practice, payment: Payment, attempt: Attempt, kind: OperationKind, amount: int | None, command: Command
) -> PaymentDetails:
    handler = await required_handler(practice.context, attempt)
    await may_go_on(practice.context, practice.id)
    await may_begin(practice.context, payment.practice_id, payment.environment)
    now = practice.now()
    operation = Operation(
        new_id(practice.context.world),
        payment.id,
        payment.practice_id,
        payment.environment,
        attempt.id,
        kind,
        amount,
        OperationState.sent,
        command.key,
        command.fingerprint,
        command.actor,
        now,
        now,
        next_lookup_at=after_sent(now, practice.context.settings.provider_timeout_s),
    )
    unit = Unit()
    anchors.hold(unit, practice.db.anchor)
    # The payment must not have changed since it was read, so that only one of two concurrent operations is stored.
    payments.guard(unit, payment, now)
    operations.insert(unit, operation)
    audit.append(
        unit,
        now,
        command.actor,
        AuditAction(f"payment.{kind}"),
        payment.id,
        {"operation": operation.id, "amount": amount},
    )
    try:
        await practice.db.commit(unit)
    except Duplicate:
        replayed = await _replayed(practice.db, payment, command)
        assert replayed is not None
        return replayed
    return await asyncio.shield(_send(practice, handler, payment, attempt, operation))


async def _send(
    practice: Practice, handler: type[Handler], payment: Payment, attempt: Attempt, operation: Operation
) -> PaymentDetails:
    params = OperationParams(
        operation.id,
        attempt.id,
        attempt.provider_transaction_id,
        Money(operation.amount, payment.currency) if operation.amount is not None else None,
    )
    closable = operation.kind is OperationKind.capture or handler.cancel_payment is not None
    outcome = await call_for(practice, attempt, f"{operation.kind}_payment", params) if closable else None
    if outcome is None or (isinstance(outcome, NotSent) and outcome.code == NOTHING_TO_CLOSE):
        outcome = await _canceled_here(practice, payment, attempt)
        if outcome is CANCELED_HERE:
            return await _end_here(practice, payment, attempt, operation, CANCELED_HERE)
    return await _settle(practice, payment, attempt, operation, outcome)


async def _end_here(
    practice: Practice, payment: Payment, attempt: Attempt, operation: Operation, outcome: Outcome
) -> PaymentDetails:
    """Cancel a payment that no customer has started to pay. Declined if one has started since the lookup."""
    finding = Finding(outcome, Source.answer, FindingKind.conclusion)
    payment, attempt = await settle(practice, payment, attempt, finding)
    with suppress(Stale):  # a worker has already ended the operation
        await _end(practice, payment, attempt, operation)
    return await details_of(practice.db, payment)


async def _canceled_here(practice: Practice, payment: Payment, attempt: Attempt) -> Outcome:
    """The provider has nothing to cancel. Look up whether the payment was paid meanwhile; otherwise it is canceled
    here, and a late success would still be booked."""
    outcome = await call_for(practice, attempt, "confirm_payment", _question(payment, attempt, only_ask=True))
    outcome = unless_stale(practice.db, payment, attempt, outcome)
    if (
        isinstance(outcome, NeedsAction)
        or (isinstance(outcome, NotSent) and outcome.reason is Reason.not_found)
        or (isinstance(outcome, Declined) and not outcome.final)
    ):
        return CANCELED_HERE
    return outcome


def _question(payment: Payment, attempt: Attempt, only_ask: bool) -> ConfirmPaymentParams:
    amount, direct = Money(attempt.amount, attempt.currency), charges_at_once(payment)
    return ConfirmPaymentParams(attempt.id, attempt.provider_transaction_id, amount, only_ask=only_ask, direct=direct)


def _state_of(operation: Operation, outcome: Outcome) -> OperationState:
    """The operation's state that an outcome leads to."""
    match outcome:
        case Succeeded():
            return (
                OperationState.succeeded
                if operation.kind is OperationKind.capture and not outcome.authorized_only
                else OperationState.declined
            )
        case Declined(final=True):
            return OperationState.succeeded if operation.kind is OperationKind.cancel else OperationState.declined
        case Declined() | NeedsAction():
            return OperationState.declined
        case Pending():
            return OperationState.pending
        case NotSent():
            return OperationState.not_sent
        case Unknown():
            return OperationState.unknown


async def _settle(
    practice: Practice, payment: Payment, attempt: Attempt, operation: Operation, outcome: Outcome
) -> PaymentDetails:
    now = practice.now()
    state = _state_of(operation, outcome)
    changed = replace(
        _with_words(operation, outcome),
        state=state,
        updated_at=now,
        lookups=operation.lookups + 1,
        next_lookup_at=next_lookup(state, operation.lookups, now),
    )

    queue = await _noted(practice, payment, operation, changed)

    def also(unit: Unit) -> None:
        operations.change(unit, operation.state, changed)
        queue(unit)

    # A call that was not sent, or whose outcome is unknown, proves nothing about the payment itself.
    fact = Finding(Unknown(Reason.timeout) if isinstance(outcome, NotSent | Unknown) else outcome, Source.answer)
    try:
        payment, _ = await settle(practice, payment, attempt, fact, ExtraSteps(also))
    except Stale:
        found = await operations.by_key(practice.db, operation.idempotency_key)
        if found is None or found.state is operation.state:
            raise
        # A worker settled the operation, or found it still open, while the call was in progress.
        if found.state in OPERATION_OPEN:
            return await _settle(practice, payment, attempt, found, outcome)
        payment, _ = await settle(practice, payment, attempt, fact)
    await _keep_words(practice.db, attempt, outcome)
    log.info(
        "operation_settled",
        practice=practice.id,
        payment=payment.id,
        operation=operation.id,
        kind=operation.kind,
        before=operation.state.value,
        after=state.value,
        **messages_of(outcome),
    )
    return await details_of(practice.db, payment)


def _with_words(operation: Operation, outcome: Outcome) -> Operation:
    """A capture or cancel with the provider's latest message. A lookup without an answer does not replace it."""
    told = outcome.last_decline if isinstance(outcome, NeedsAction) else outcome
    if not isinstance(told, Declined | NotSent | Unknown):
        return replace(operation, reason=None, raw_code=None, detail=None)
    if isinstance(told, Unknown) and operation.detail and (told.reason in NOT_NOW or not (told.code or told.detail)):
        return operation
    return replace(operation, reason=told.reason.value, raw_code=told.code, detail=told.detail)


async def _keep_words(db: PracticeDb, attempt: Attempt, outcome: Outcome) -> None:
    """Store on the attempt why a capture or cancel was declined; the attempt's state does not change. In a unit of its
    own, because PostgreSQL changes a row only once in a statement."""
    if isinstance(outcome, NotSent | Unknown | Declined) and (outcome.code or outcome.detail):
        fresh = await attempts.by_id(db, attempt.id)
        if fresh is not None and fresh.state is attempt.state:
            unit = Unit()
            attempts.set_message(unit, attempt.id, outcome.reason.value, outcome.code, outcome.detail)
            await db.commit(unit)


async def _end(practice: Practice, payment: Payment, attempt: Attempt, operation: Operation) -> None:
    """End the operation of a settled attempt: it has succeeded, or never can."""
    wanted = (
        attempt.state is AttemptState.succeeded
        if operation.kind is OperationKind.capture
        else attempt.state in ATTEMPT_CLOSED
    )
    state = OperationState.succeeded if wanted else OperationState.declined
    changed = replace(operation, state=state, updated_at=practice.now(), next_lookup_at=None)
    queue = await _noted(practice, payment, operation, changed)
    unit = Unit()
    operations.change(unit, operation.state, changed)
    queue(unit)
    await practice.db.commit(unit)


async def _noted(practice: Practice, payment: Payment, before: Operation, after: Operation) -> AddSteps:
    """The step that opens or closes the case of an operation whose outcome was unknown."""
    if before.state is not OperationState.unknown:
        return lambda _: None
    is_known = after.state is not OperationState.unknown
    return await noted_operation(practice, payment, before, after, is_known)


async def refresh(practice: Practice, operation: Operation) -> None:
    """Look up the outcome of a capture or cancel, by the payment's own state at the provider."""
    payment = await payments.by_id(practice.db, operation.payment_id)
    attempt = await attempts.by_id(practice.db, operation.attempt_id)
    assert payment is not None
    assert attempt is not None
    if attempt.state is AttemptState.succeeded or attempt.state in ATTEMPT_CLOSED:
        await _end(practice, payment, attempt, operation)
        return
    handler = await required_handler(practice.context, attempt)
    if operation.kind is OperationKind.cancel and handler.cancel_payment is None:
        await _send(practice, handler, payment, attempt, operation)
        return
    question = _question(payment, attempt, only_ask=operation.kind is OperationKind.cancel)
    outcome = await call_for(practice, attempt, "confirm_payment", question)
    outcome = unless_stale(practice.db, payment, attempt, outcome)
    if isinstance(outcome, NotSent):
        outcome = Unknown(outcome.reason, outcome.code, outcome.detail)
    undone = isinstance(outcome, NeedsAction) or (isinstance(outcome, Succeeded) and outcome.authorized_only)
    if undone and practice.context.open_for_s(operation.id, operation.created_at) < practice.context.horizon_s(handler):
        outcome = Unknown(Reason.conflict)  # the call may still be running at the provider
    await _settle(practice, payment, attempt, operation, outcome)
