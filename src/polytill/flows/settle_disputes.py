"""The dispute part of ``settle``: a lost one takes its amount from what can still be refunded, or from a second success."""

from __future__ import annotations

from polytill.domain.errors import CheckRefused, Duplicate, Stale
from polytill.domain.ids import new_id
from polytill.domain.states import DisputeState
from polytill.flows import excess
from polytill.flows.desk import Desk
from polytill.flows.notify import open_case, open_currency_case, tell
from polytill.flows.pay import current_attempt
from polytill.flows.settle import TRIES
from polytill.flows.settle_refunds import Also
from polytill.providers.contract import DisputeFact
from polytill.storage import audit, ledger, payments, refunds
from polytill.storage.databases import PracticeDb
from polytill.storage.ledger import Entry
from polytill.storage.payments import Attempt, Change, Payment
from polytill.storage.refunds import Dispute
from polytill.storage.units import Unit


async def apply_dispute_fact(
    desk: Desk, db: PracticeDb, payment: Payment, attempt: Attempt, fact: DisputeFact, also: Also
) -> None:
    """Record a dispute about an attempt of a payment; what a lost one took of a success is booked."""
    for _ in range(TRIES):
        fresh = await payments.by_id(db, payment.id)
        assert fresh is not None
        known = {d.provider_dispute_id: d for d in await refunds.disputes_of(db, payment.id)}
        before = known.get(fact.provider_dispute_id)
        unit = Unit()
        if fact.amount is not None and fact.amount.currency != fresh.currency:
            open_currency_case(desk, unit, fresh, fact.provider_dispute_id, fact.amount, fact.state)
        else:
            await _write(desk, db, unit, fresh, attempt, before, fact)
        also(unit)
        try:
            await db.commit(unit)
            return
        except (Stale, CheckRefused, Duplicate):  # Duplicate: other news of it came first
            continue
    raise Stale


async def attempt_disputed(db: PracticeDb, attempt: Attempt, fact: DisputeFact) -> Attempt:
    """The attempt whose money it is about. Two that were paid under one reference are told apart by the provider's id."""
    named = fact.provider_transaction_id
    if named is None or named == attempt.provider_transaction_id:
        return attempt
    owner = await payments.attempt_of_provider(db, attempt.config_id, attempt.environment, named)
    return owner if owner is not None and owner.payment_id == attempt.payment_id else attempt


async def _write(
    desk: Desk, db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, before: Dispute | None,
    fact: DisputeFact,
) -> None:  # fmt: skip
    now = desk.world.now()
    state = DisputeState(fact.state)
    amount = fact.amount.minor if fact.amount else None
    if before is not None:
        if before.state not in (DisputeState.open, state):
            if state is not DisputeState.open:
                _other_end(desk, unit, payment, before, state)
            return  # decided once; an older delivery changes nothing
        # What was lost is lost once: a repeat tells no other amount, only one that was missing.
        if amount is None or (before.state is not DisputeState.open and before.amount is not None):
            amount = before.amount
    # Of whom it was booked as lost stays written, too.
    is_booked = before is not None and before.state is DisputeState.lost and before.amount is not None
    dispute = Dispute(
        before.id if before else new_id(desk.world), payment.id, payment.practice_id, payment.environment,
        fact.provider_dispute_id, state, fact.provider_state, amount, payment.currency, fact.funds_withdrawn,
        fact.due_at, before.created_at if before else now, now,
        before.attempt_id if before is not None and is_booked else attempt.id,
    )  # fmt: skip
    if before is None:
        refunds.insert_dispute(unit, dispute)
    else:
        refunds.change_dispute(unit, before, dispute)
    is_news = before is None or before.state is not state
    if state is DisputeState.lost and amount and (before is None or is_news or before.amount is None):
        await _book_loss(desk, db, unit, payment, attempt, dispute, amount)
    if not is_news:
        return
    detail = {"dispute": dispute.provider_dispute_id, "state": state.value, "amount": amount}
    if before is None or state is DisputeState.lost:
        open_case(desk, unit, payment, f"dispute_{state.value}", f"{dispute.provider_dispute_id}:{state.value}", detail)
    audit.append(unit, now, "webhook", f"dispute.{state.value}", payment.id, detail)
    tell(desk, unit, payment, f"dispute.{'opened' if state is DisputeState.open else state.value}", detail)


async def _book_loss(
    desk: Desk, db: PracticeDb, unit: Unit, payment: Payment, attempt: Attempt, dispute: Dispute, amount: int
) -> None:
    now, account = desk.world.now(), "disputes"
    if current_attempt(payment, await payments.attempts_of(db, payment.id)).id != attempt.id:
        # Who paid twice had the bank take one of the two back: the payment itself has lost nothing.
        account = "excess"
        resolution = {"action": "lost_in_dispute", "dispute": dispute.provider_dispute_id}
        await excess.end_if_gone(db, unit, payment, attempt, amount, resolution, "provider", now)
    else:
        payments.change(unit, payment, Change(payment.status, add_lost=amount), now)
    entry = Entry("dispute_lost", account, f"provider:{attempt.provider_code}", amount, payment.currency)
    ledger.book(unit, new_id(desk.world), payment.practice_id, payment.environment, payment.id, entry, now)


def _other_end(desk: Desk, unit: Unit, payment: Payment, before: Dispute, state: DisputeState) -> None:
    """What was decided is decided otherwise, as on an appeal: which of the two came last is not told. A person looks."""
    name = before.provider_dispute_id
    detail = {"dispute": name, "state": state.value, "was": before.state.value, "amount": before.amount}
    open_case(desk, unit, payment, f"dispute_{state.value}", f"{name}:{state.value}", detail)
