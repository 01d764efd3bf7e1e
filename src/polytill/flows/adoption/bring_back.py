"""What the owner database's records know and a restored database lacks: payments, attempts and refunds.

What comes back is unknown at first, and a lookup at its provider says what became true: amounts, fees, ledger and events
are booked as for any lost answer. Nothing is created at a provider, because the practice is still behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from polytill.domain.audit_actions import AuditAction
from polytill.domain.errors import Duplicate, Stale
from polytill.domain.money import Money
from polytill.domain.sources import Source
from polytill.domain.states import ATTEMPT_CLOSED, REFUND_VOID, AttemptState, PaymentStatus, RefundState
from polytill.flows.context import Practice
from polytill.flows.finding import Finding, FindingKind
from polytill.flows.handlers import handler_for
from polytill.flows.payment_records import Known, opened
from polytill.flows.payments.settle import reopen, settle
from polytill.flows.recovery import lookup
from polytill.flows.refunds import create as create_refunds
from polytill.providers.outcomes import Succeeded
from polytill.storage import attempts, audit, payment_records, payment_search, payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

PAGE = 200
ENDED = frozenset({PaymentStatus.failed, PaymentStatus.canceled})
TOLD = "Brought back from the owner database's record."


@dataclass(frozen=True, slots=True)
class Lost:
    """What the database lacks of one recorded payment. ``changed``: attempts that it has in an earlier state."""

    known: Known
    is_payment: bool
    attempts: tuple[Attempt, ...]
    changed: tuple[str, ...]
    refunds: tuple[Refund, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether the database has everything."""
        return not (self.is_payment or self.attempts or self.changed or self.refunds)


async def lost(practice: Practice) -> AsyncIterator[Lost]:
    """What the database lacks of each recorded payment, oldest first."""
    after = ""
    while page := await payment_records.listed(practice.context.owner, practice.id, after, PAGE):
        for record in page:
            found = await _lost_of(practice, opened(practice, record))
            if not found.is_nothing:
                yield found
        after = page[-1].payment_id


async def _lost_of(practice: Practice, known: Known) -> Lost:
    payment = await payments.by_id(practice.db, known.payment.id)
    if payment is None:
        return Lost(known, True, tuple(known.attempts), (), tuple(known.refunds))
    made = {one.id: one.state for one in await attempts.of_payment(practice.db, payment.id)}
    keys = {one.idempotency_key for one in await refunds.of_payment(practice.db, payment.id)}
    return Lost(
        known,
        False,
        tuple(one for one in known.attempts if one.id not in made),
        tuple(one.id for one in known.attempts if made.get(one.id, one.state) is not one.state),
        tuple(one for one in known.refunds if one.idempotency_key not in keys),
    )


async def bring_back(practice: Practice, found: Lost, actor: str) -> list[str]:
    """Write what is lost of one payment and look it up. Returns a sentence for everything that stays undecided."""
    known = found.known
    if found.is_payment:
        await _payment(practice, known, actor)
    elif found.attempts:
        await _attempts(practice, found)
    await _look_up(practice, known, {*found.changed, *(one.id for one in found.attempts)})
    undecided = []
    for refund in found.refunds:
        if not await _refund(practice, refund, actor):
            amount = Money(refund.amount, refund.currency)
            undecided.append(
                f"The refund of {amount} of payment {known.payment.number} ({refund.id}) does not fit: the payment has not"
                " captured as much. Look the payment up, then adopt again."
            )
    return undecided


def _unknown(practice: Practice, attempt: Attempt) -> Attempt:
    """An attempt as it is inserted: what was closed stays closed, and everything else is looked up."""
    if attempt.state in ATTEMPT_CLOSED:
        return attempt
    return replace(attempt, state=AttemptState.unknown, reason=None, raw_code=None, next_lookup_at=practice.now())


async def _payment(practice: Practice, known: Known, actor: str) -> None:
    was = known.payment
    status = was.status if was.status in ENDED else PaymentStatus.processing
    payment = replace(was, status=status, amount_captured=0, provider_transaction_id=None)
    unit = Unit()
    payment_records.bring_back(unit, payment, [_unknown(practice, one) for one in known.attempts])
    payment_search.insert(unit, payment_search.row_of(payment))
    detail = {"brought_back": True, "status": was.status.value}
    audit.append(unit, practice.now(), actor, AuditAction.payment_created, payment.id, detail)
    try:
        await practice.db.commit(unit)
    except Duplicate:
        return  # another run was first


async def _attempts(practice: Practice, found: Lost) -> None:
    payment = await payments.by_id(practice.db, found.known.payment.id)
    assert payment is not None
    for attempt in found.attempts:
        try:
            payment = await _attempt(practice, payment, _unknown(practice, attempt))
        except (Duplicate, Stale):
            payment = await payments.by_id(practice.db, payment.id)
            assert payment is not None


async def _attempt(practice: Practice, payment: Payment, attempt: Attempt) -> Payment:
    if payment.status is PaymentStatus.failed and attempt.state is AttemptState.unknown:
        return await reopen(practice, payment, attempt, Source.lookup, {"brought_back": True}, lambda _: None)
    unit = Unit()
    attempts.insert(unit, attempt)
    await practice.db.commit(unit)
    return payment


async def _look_up(practice: Practice, known: Known, ids: set[str]) -> None:
    for was in known.attempts:
        payment = await payments.by_id(practice.db, known.payment.id)
        attempt = await attempts.by_id(practice.db, was.id)
        if was.id not in ids or payment is None or attempt is None:
            continue
        if attempt.state in ATTEMPT_CLOSED and was.state in ATTEMPT_CLOSED:
            continue
        handler = await handler_for(practice.context, attempt)
        if handler is not None and handler.confirmed_by_staff:
            await _confirmed(practice, payment, attempt, was)
        else:
            await lookup.refresh(practice, payment, attempt)


async def _confirmed(practice: Practice, payment: Payment, attempt: Attempt, was: Attempt) -> None:
    """Cash or a transfer that staff had confirmed: no provider knows it, and the record does."""
    if was.state is not AttemptState.succeeded:
        await lookup.refresh(practice, payment, attempt)
        return
    money = Money(was.amount, was.currency)
    said = Succeeded(money, was.id, fee=Money(0, was.currency), response={"note": TOLD})
    await settle(practice, payment, attempt, Finding(said, Source.staff, FindingKind.conclusion))


async def _refund(practice: Practice, was: Refund, actor: str) -> bool:
    """Bring one refund back. False if the payment has not captured as much as it returns."""
    for other in await refunds.of_payment(practice.db, was.payment_id):
        if was.provider_refund_id is not None and other.provider_refund_id == was.provider_refund_id:
            unit = Unit()
            payment_records.give_key(unit, other.id, was)
            await practice.db.commit(unit)
            return True
    now, unit = practice.now(), Unit()
    is_void = was.state in REFUND_VOID
    refund = was if is_void else replace(was, state=RefundState.unknown, next_lookup_at=now)
    if not is_void:
        payments.reserve_refund(unit, was.payment_id, was.amount, now, with_disputed=True)
    refunds.insert(unit, refund)
    audit.append(unit, now, actor, AuditAction.refund_created, was.payment_id, {"refund": was.id, "brought_back": True})
    try:
        await practice.db.commit(unit)
    except Stale:
        return False
    if not is_void:
        await create_refunds.refresh(practice, refund)
    return True
