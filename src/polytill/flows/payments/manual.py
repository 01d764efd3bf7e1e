"""Manual payments: staff confirm that a payment was received, with a note and an audit line."""

from __future__ import annotations

from dataclasses import dataclass

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Conflict, Stale, invalid
from polytill.domain.money import Money
from polytill.domain.sources import Source
from polytill.domain.states import AttemptState, PaymentStatus
from polytill.flows.commits import TRIES
from polytill.flows.context import Context
from polytill.flows.finding import ExtraSteps, Finding, FindingKind
from polytill.flows.handlers import handler_for
from polytill.flows.lease import may_begin
from polytill.flows.payments.reading import PaymentDetails, current_attempt, details_of, find
from polytill.flows.payments.settle import settle
from polytill.flows.practice_state import may_go_on
from polytill.providers.outcomes import Succeeded
from polytill.storage import attempts, audit
from polytill.storage.units import Unit


@dataclass(frozen=True, slots=True)
class Received:
    """What staff have received. ``amount``: minor units, counted; ``note``: what they saw; ``proof``: a receipt or
    statement."""

    amount: int
    note: str
    proof: str | None


async def confirm_manual_payment(
    context: Context, practice_id: int, payment_id: str, received: Received, actor: str
) -> PaymentDetails:
    """Book a payment that staff have seen arrive. Its amount must equal the payment's, as a second check. A payment
    that is already confirmed stays unchanged. ``Conflict`` if the provider, not staff, knows whether it was paid.
    """
    practice, payment = await find(context, practice_id, payment_id)
    attempt = current_attempt(payment, await attempts.of_payment(practice.db, payment_id))
    handler = await handler_for(context, attempt)
    if handler is None or not handler.confirmed_by_staff:
        detail = "The provider confirms this payment; staff cannot."
        raise Conflict(detail, code="not_manual")
    if not received.note.strip():
        raise invalid("/note", "Say what you saw.", reason="say_what_you_saw")
    if received.amount != payment.amount:
        detail = f"The payment is about {Money(payment.amount, payment.currency)}; another amount cannot settle it."
        raise invalid("/amount", detail, reason="another_amount", amount=Money(payment.amount, payment.currency))
    if payment.status is PaymentStatus.succeeded or attempt.state is AttemptState.succeeded:
        return await details_of(practice.db, (await find(context, practice_id, payment_id))[1])
    await may_go_on(context, practice_id)
    await may_begin(context, practice_id, payment.environment)
    money = Money(received.amount, payment.currency)
    seen = {"note": received.note, "proof": received.proof}
    said = Succeeded(money, attempt.id, fee=Money(0, payment.currency), response={**seen, "confirmedBy": actor})
    finding = Finding(said, Source.staff, FindingKind.conclusion)

    def also(unit: Unit) -> None:
        detail = {"attempt": attempt.id, "amount": received.amount, **seen}
        audit.append(unit, context.world.now(), actor, AuditAction.payment_confirmed_manually, payment.id, detail)

    # Only the first of two concurrent confirmations is recorded; the second changes nothing and writes no audit line.
    for _ in range(TRIES):
        payment, attempt = await settle(practice, payment, attempt, finding, ExtraSteps(also))
        if attempt.state is AttemptState.succeeded:
            return await details_of(practice.db, payment)
    raise Stale
