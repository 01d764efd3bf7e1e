"""Second transactions: a link that was paid twice, with one attempt here and two successes at the provider.

If a provider lets a payer try again under one reference (Flutterwave), a second success cannot be prevented. It becomes
its own attempt, because a refund needs a reference to it, and settles as a duplicate payment.
"""

from __future__ import annotations

from dataclasses import replace

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Duplicate, Stale
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import AttemptState
from polytill.flows.context import Practice
from polytill.flows.events import record_event
from polytill.flows.finding import ExtraSteps, Finding
from polytill.flows.payments import contradictions
from polytill.flows.payments.decide import mismatch
from polytill.flows.payments.settle import settle
from polytill.flows.provider_calls import call_for
from polytill.providers.contract import ConfirmPaymentParams, PaymentFact
from polytill.providers.outcomes import NotSent, Reason, Succeeded, Unknown
from polytill.storage import attempts, audit, cases, payments
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.units import Unit


def is_another(payment: Payment, attempt: Attempt, fact: PaymentFact) -> bool:
    """Whether a success is about another transaction than the one that paid this attempt. Never of a past payment: its
    host may have used the reference again."""
    if payment.certainty is not None:
        return False
    is_paid = attempt.state is AttemptState.succeeded and attempt.provider_transaction_id is not None
    other = fact.provider_transaction_id not in (None, attempt.provider_transaction_id)
    return is_paid and other and isinstance(fact.outcome, Succeeded)


async def book(
    practice: Practice, payment: Payment, attempt: Attempt, fact: PaymentFact, source: Source
) -> Unknown | NotSent | None:
    """Look up the other transaction and book the result. Returns the outcome if the lookup failed, else None."""
    named, amount = fact.provider_transaction_id, Money(attempt.amount, attempt.currency)
    assert named is not None
    # Counted before the lookup: of two concurrent tasks, one gets the number, and the other starts again.
    number = len(await attempts.of_payment(practice.db, payment.id)) + 1
    again = await attempts.by_provider_id(practice.db, attempt.config_id, attempt.environment, named)
    if again is not None and (again.state is AttemptState.succeeded or again.payment_id != payment.id):
        return None
    asked = ConfirmPaymentParams(attempt.id, named, amount, only_ask=True)
    outcome = await call_for(practice, attempt, "confirm_payment", asked)
    if isinstance(outcome, Unknown | NotSent):
        return outcome
    if not isinstance(outcome, Succeeded) or outcome.authorized_only or outcome.provider_transaction_id != named:
        return None
    if again is not None:
        await settle(practice, payment, again, Finding(outcome, source))
    elif outcome.amount != amount:
        await _not_booked(practice, payment, attempt, outcome)
    else:
        try:
            own = await contradictions.adopted_after_lookup(practice, payment, attempt, fact, outcome)
            if own is not None:
                fresh = await payments.by_id(practice.db, payment.id)
                assert fresh is not None
                await settle(practice, fresh, own, Finding(outcome, source))
            else:
                await _book_as_its_own(practice, payment, attempt, outcome, number, source)
        except (Duplicate, Stale):  # another webhook about it was first
            return Unknown(Reason.conflict)
    return None


async def _book_as_its_own(
    practice: Practice, payment: Payment, attempt: Attempt, outcome: Succeeded, number: int, source: Source
) -> None:
    """Store another transaction that paid an attempt's link as an attempt of its own, in the unit that books it. The
    provider does not know the new attempt's id, so lookups use the transaction's id alone."""
    now = practice.now()
    again = replace(
        attempt,
        id=new_id(practice.context.world),
        number=number,
        state=AttemptState.sent,
        created_at=now,
        updated_at=now,
        provider_transaction_id=outcome.provider_transaction_id,
        lookups=0,
    )
    detail = {"attempt": again.id, "of": attempt.id, "transaction": again.provider_transaction_id}
    # Staff may have given a wrong id for the only payment; the case shows that before they refund a duplicate payment.
    against = await contradictions.against_staff(practice, payment, attempt, outcome, may_be_old=False)

    def also(unit: Unit) -> None:
        contradictions.contradict(practice.context, unit, payment, against)
        audit.append(unit, now, source, AuditAction.payment_paid_again, attempt.payment_id, detail)

    await settle(practice, payment, again, Finding(outcome, source), ExtraSteps(also, stores_attempt=True))


async def _not_booked(practice: Practice, payment: Payment, attempt: Attempt, outcome: Succeeded) -> None:
    """Open a review case for a second transaction of another amount than requested."""
    unit = Unit()
    subject = f"{attempt.id}:{outcome.provider_transaction_id}"
    detail = mismatch(attempt, outcome.amount) | {"transaction": outcome.provider_transaction_id}
    record_event(
        practice.context,
        unit,
        payment,
        EventType.payment_amount_mismatch,
        detail,
        unless_case=(CaseKind.amount_mismatch, subject),
    )
    cases.open_case(
        unit,
        new_id(practice.context.world),
        payment.practice_id,
        payment.environment,
        cases.NewCase(CaseKind.amount_mismatch, subject, payment.id, detail),
        practice.now(),
    )
    await practice.db.commit(unit)
