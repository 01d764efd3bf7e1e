"""Creates refunds: reserve, call, settle. The database holds the reservation; ``settle`` records the outcome."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Duplicate, NotFound, invalid
from polytill.domain.ids import new_id
from polytill.domain.money import MAX_MINOR, Money
from polytill.domain.sources import Source
from polytill.domain.states import REFUND_RESERVES, RefundOrigin, RefundState
from polytill.flows.command import Command
from polytill.flows.commits import until_committed
from polytill.flows.context import Context, Practice
from polytill.flows.finding import Finding
from polytill.flows.handlers import check_amount, handler_for, required_handler
from polytill.flows.lease import may_begin
from polytill.flows.payments.customers import unless_blank
from polytill.flows.payments.past import check_refundable
from polytill.flows.payments.reading import current_attempt, find
from polytill.flows.payments.returned_amounts import refundable, undisputed
from polytill.flows.practice_state import may_go_on
from polytill.flows.provider_calls import call_for
from polytill.flows.refunds.settle import settle_refund
from polytill.flows.schedule import after_sent
from polytill.providers.contract import RefundFact, RefundLookupParams, RefundParams
from polytill.providers.outcomes import REFUSED_AGAIN, Declined, NotSent, Outcome, Reason, Succeeded, Unknown
from polytill.storage import anchors, attempts, audit, payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

# The error code of a refund of an amount under an open chargeback.
DISPUTED = "payment_disputed"


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A request to refund ``amount`` (minor units), or without one everything that is left.

    ``accept_dispute_risk`` is no part of the fingerprint: it only permits what was requested."""

    amount: int | None = None
    reason: str | None = None
    accept_dispute_risk: bool = False


async def create_refund(
    context: Context, practice_id: int, payment_id: str, request: RefundRequest, command: Command
) -> tuple[Refund, bool]:
    """Refund part or all of the refundable amount. The second value tells whether the key was known.

    An amount under an open chargeback is refunded only with ``accept_dispute_risk``: a lost dispute pays the customer
    the same money again, and a refund does not end the dispute.

    Decides again if the refund could not be stored as decided: less may be refundable by now, or the full amount after
    all (another refund failed meanwhile, or the server let another transaction go first).
    """
    request = replace(request, reason=unless_blank(request.reason))
    command = command.about("refund", payment_id, request.amount, request.reason)

    async def decide() -> tuple[Refund, bool]:
        practice, payment = await find(context, practice_id, payment_id)
        known = await refunds.by_key(practice.db, command.key)
        if known is not None:
            return _replayed(practice, known, command), True
        try:
            return await _create_refund(practice, payment, request, command)
        except Conflict:
            # Of two concurrent requests under one key, the second may see the first one's reservation before its key.
            known = await refunds.by_key(practice.db, command.key)
            if known is None:
                raise
            return _replayed(practice, known, command), True

    return await until_committed(decide)


async def _create_refund(
    practice: Practice, payment: Payment, request: RefundRequest, command: Command
) -> tuple[Refund, bool]:
    amount = request.amount
    if amount is not None and not 0 < amount <= MAX_MINOR:
        raise invalid("/amount", "The amount must be a positive number of minor units.")
    if payment.amount_captured == 0:
        raise Conflict("Nothing was captured, so nothing can be refunded.", code="not_refundable")
    attempt = current_attempt(payment, await attempts.of_payment(practice.db, payment.id))
    await can_refund(practice.context, attempt)
    await check_refundable(practice, payment, attempt)
    wanted = refundable(payment) if amount is None else amount
    if wanted <= 0 or wanted > refundable(payment):
        raise _exceeds(payment)
    if wanted > undisputed(payment) and not request.accept_dispute_risk:
        raise _disputed(payment)
    if amount is not None:
        await check_amount(practice.context, attempt, amount)
    await may_go_on(practice.context, practice.id)
    await may_begin(practice.context, practice.id, payment.environment)
    now = practice.now()
    refund = Refund(
        id=new_id(practice.context.world),
        payment_id=payment.id,
        practice_id=practice.id,
        environment=payment.environment,
        attempt_id=attempt.id,
        state=RefundState.sent,
        amount=wanted,
        currency=payment.currency,
        reason=request.reason,
        origin=RefundOrigin.api,
        idempotency_key=command.key,
        fingerprint=command.fingerprint,
        created_by=command.actor,
        created_at=now,
        updated_at=now,
        next_lookup_at=after_sent(now, practice.context.settings.provider_timeout_s),
    )
    unit = Unit()
    anchors.hold(unit, practice.db.anchor)
    payments.reserve_refund(unit, payment.id, wanted, now, request.accept_dispute_risk)
    refunds.insert(unit, refund)
    detail = {"refund": refund.id, "amount": wanted}
    if wanted > undisputed(payment):
        detail["accepted_dispute_risk"] = True
    audit.append(unit, now, command.actor, AuditAction.refund_created, payment.id, detail)
    try:
        await practice.db.commit(unit)
    except Duplicate:
        known = await refunds.by_key(practice.db, command.key)
        if known is None:
            raise
        return _replayed(practice, known, command), True
    return await asyncio.shield(send(practice, payment, attempt, refund)), False


def _exceeds(payment: Payment) -> Conflict:
    left = Money(max(0, refundable(payment)), payment.currency)
    return Conflict(f"No more than {left} can still be refunded.", code="refund_exceeds_captured", left=left)


def _disputed(payment: Payment) -> Conflict:
    left = Money(undisputed(payment), payment.currency)
    return Conflict(
        "This payment is disputed. A refund does not end the dispute, and if the dispute is lost the customer is paid"
        f" twice. {left} of it is not disputed and can be refunded. Send acceptDisputeRisk: true to refund more.",
        code=DISPUTED,
        left=left,
    )


def _replayed(practice: Practice, refund: Refund, command: Command) -> Refund:
    command.check_repeat(refund.fingerprint, practice.db.data_key.keyed_hash)
    return refund


async def can_refund(context: Context, attempt: Attempt) -> None:
    """``Conflict`` if the attempt's provider has no refunds, ``NotNow`` if its handler is missing."""
    if (await required_handler(context, attempt)).refund_payment is None:
        raise Conflict("This payment's provider cannot refund.", code="not_supported")


async def send(practice: Practice, payment: Payment, attempt: Attempt, refund: Refund) -> Refund:
    """Call the provider for a stored refund, and settle by its answer."""
    params = RefundParams(
        refund.id,
        attempt.id,
        attempt.provider_transaction_id,
        Money(refund.amount, refund.currency),
        _is_full(payment, attempt, refund),
        refund.reason,
    )
    outcome = await call_for(practice, attempt, "refund_payment", params)
    return await settle_refund(practice, refund, Finding(outcome, Source.answer))


def _is_full(payment: Payment, attempt: Attempt, refund: Refund) -> bool:
    """Whether it refunds everything that its attempt has taken."""
    return refund.amount == (attempt.amount if refund.returns_duplicate else payment.amount_captured)


async def refresh(practice: Practice, refund: Refund, source: Source = Source.lookup) -> Refund:
    """Look up the outcome of a refund, and settle by the answer."""
    refund, outcome = await look_up(practice, refund, source)
    return await settle_refund(practice, refund, Finding(outcome, source))


async def look_up(
    practice: Practice, refund: Refund, source: Source, called: str | None = None
) -> tuple[Refund, Outcome]:
    """A refund as it is now, and the provider's answer about it. ``Unknown`` if the answer proves nothing.

    ``called``: the provider's id from a webhook. A lookup without an id may repeat the call. So a refund whose call is
    in progress first becomes unknown (if that call then reports "not sent", this proves nothing any more). One that was
    not sent is not looked up, because somebody was told so and may have requested another. One whose outcome is known
    in another way is never repeated: staff may have refunded by other means before they decided that it was done.
    """
    fresh = await refunds.by_id(practice.db, refund.id)
    assert fresh is not None
    refund = fresh
    if refund.state is RefundState.sent:
        refund = await settle_refund(practice, refund, Finding(Unknown(Reason.timeout), source))
    attempt = await attempts.by_id(practice.db, refund.attempt_id)
    payment = await payments.by_id(practice.db, refund.payment_id)
    assert attempt is not None
    assert payment is not None
    handler, refund_id = await handler_for(practice.context, attempt), refund.provider_refund_id or called
    if refund.is_past_sum:
        return refund, Unknown(Reason.conflict, "sum", "It stands for earlier refunds, by their sum.")
    if refund.state is RefundState.not_sent and refund_id is None:
        return refund, Unknown(Reason.conflict, "not_sent", "To ask about it might be to send it.")
    others = [r for r in await refunds.of_payment(practice.db, refund.payment_id) if r.id != refund.id]
    known = frozenset(r.provider_refund_id for r in others if r.provider_refund_id)
    age_s = practice.context.age_s(refund.id, refund.created_at)
    if handler is not None and refund.state not in REFUND_RESERVES:
        age_s = max(age_s, handler.idempotency_window_s)  # a handler repeats no request that is older
    params = RefundLookupParams(
        refund.id,
        attempt.id,
        attempt.provider_transaction_id,
        refund_id,
        Money(refund.amount, refund.currency),
        _is_full(payment, attempt, refund),
        refund.reason,
        known,
        age_s,
        int(refund.created_at.timestamp()),
    )
    outcome = await call_for(practice, attempt, "lookup_refund", params)
    if handler is None:
        return refund, Unknown(Reason.config)
    # Our clock, or the one that wrote the refund, may be wrong: the horizon counts from this process's first look.
    is_late = practice.context.open_for_s(refund.id, refund.updated_at) >= practice.context.horizon_s(handler)
    repeated = handler.lookup_repeats_refund and refund_id is None and age_s < handler.idempotency_window_s
    return refund, _interpreted(outcome, is_late, repeated)


async def fetched_refund(
    practice: Practice, payment: Payment, attempt: Attempt, hint: RefundFact
) -> RefundFact | Unknown | NotSent:
    """The provider's answer about a refund that was not made here, by its id, else as the only one of its amount."""
    known = frozenset(
        r.provider_refund_id for r in await refunds.of_payment(practice.db, payment.id) if r.provider_refund_id
    )
    params = RefundLookupParams(
        "",
        attempt.id,
        attempt.provider_transaction_id,
        hint.provider_refund_id,
        hint.amount or Money(0, payment.currency),
        False,
        known=known,
    )
    outcome = await call_for(practice, attempt, "lookup_refund", params)
    if isinstance(outcome, Unknown | NotSent):
        return outcome
    state = "succeeded" if isinstance(outcome, Succeeded) else "failed" if isinstance(outcome, Declined) else "pending"
    amount = getattr(outcome, "amount", None) or hint.amount
    refund_id = hint.provider_refund_id or outcome.provider_transaction_id
    return replace(hint, state=state, amount=amount, provider_refund_id=refund_id, response=outcome.response)


def _interpreted(outcome: Outcome, is_late: bool, repeated: bool) -> Outcome:
    """What a lookup's answer proves. A lookup that did not get through proves nothing."""
    if not isinstance(outcome, NotSent):
        return outcome
    if repeated and outcome.reason in REFUSED_AGAIN:
        # The identical request was rejected: if the first one had worked, its result would have been returned.
        return outcome
    # A refund moves money: "not found" proves nothing while the first call may still be running at the provider.
    if outcome.reason is Reason.not_found and is_late:
        return outcome
    return Unknown(outcome.reason, outcome.code, outcome.detail)


async def listed(context: Context, practice_id: int, payment_id: str) -> list[Refund]:
    """A payment's refunds."""
    practice, _ = await find(context, practice_id, payment_id)
    return await refunds.of_payment(practice.db, payment_id)


async def refresh_by_id(context: Context, practice_id: int, payment_id: str, refund_id: str) -> Refund:
    """One refund, after a lookup if its outcome is open."""
    practice, _ = await find(context, practice_id, payment_id)
    refund = await refunds.by_id(practice.db, refund_id)
    if refund is None or refund.payment_id != payment_id:
        raise NotFound("There is no such refund.")
    if refund.state in (RefundState.pending, RefundState.unknown):
        return await refresh(practice, refund)
    return refund
