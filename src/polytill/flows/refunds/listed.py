"""Refunds that only the provider knows: made in its dashboard, and their webhook lost or not turned on.

As with payments, a listing only triggers a lookup: the provider's answer about the one refund is booked. Refunds that
are known as done are looked up again later, because they may be reversed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import REFUND_DONE, REFUND_VOID, AttemptState, RefundState
from polytill.flows.context import Context, Practice
from polytill.flows.events import open_case
from polytill.flows.finding import Finding
from polytill.flows.handlers import handler_for
from polytill.flows.listing import EntryReader, attempt_listed, listed, warn_too_long, without_webhook
from polytill.flows.payments import contradictions
from polytill.flows.payments.settle import settle
from polytill.flows.provider_calls import fetched
from polytill.flows.refunds import create as refunding
from polytill.flows.refunds.settle import apply_refund_fact, learn_dispute, settle_refund, undecided
from polytill.providers.contract import RefundFact
from polytill.providers.outcomes import Declined, NotSent, Succeeded, Unknown
from polytill.storage import payments, refunds
from polytill.storage.attempts import Attempt
from polytill.storage.provider_configs import Account
from polytill.storage.refunds import Refund
from polytill.storage.units import Unit

# The ages at which a refund that is done is looked up again: a closed card returns the money within days, and Stripe
# mentions up to 30 of them (https://docs.stripe.com/refunds).
LOOKED_UP_AGAIN_AT = (timedelta(days=2), timedelta(days=7), timedelta(days=14), timedelta(days=31))


class _UnderWay(Exception):
    """The call of a refund of the same payment is still in progress."""


async def lists_refunds(context: Context, attempt: Attempt) -> bool:
    """Whether an attempt's provider lists refunds."""
    handler = await handler_for(context, attempt)
    return handler is not None and handler.list_refunds is not None


async def reconcile_refunds(
    practice: Practice, account: Account, since: datetime, until: datetime, reader: EntryReader
) -> list[RefundFact] | None:
    """Reconcile each refund that is listed in a period. Returns those without a certain answer from the provider. None
    if the provider lists nothing now, or the call of a refund that may be one of them is in progress."""
    handler = await handler_for(practice.context, account.provider_code)
    if handler is None:
        return None
    if handler.list_refunds is None:
        return []
    listing = await listed(practice, account, "list_refunds", since, until)
    if listing is None:
        return None
    if not listing.whole:
        warn_too_long(practice, account, "list_refunds")
    unsettled, under_way = [], False
    for fact in listing.facts:
        try:
            if not await reader.at(_reconcile_entry(practice, account, fact)):
                unsettled.append(fact)
        except _UnderWay:
            under_way = True
    return None if under_way else unsettled


async def report_unsettled(practice: Practice, account: Account, fact: RefundFact) -> bool:
    """Open a review case for a refund that was listed long ago and about which nothing is certain yet."""
    attempt = await attempt_listed(practice, account, fact)
    payment = await payments.by_id(practice.db, attempt.payment_id) if attempt else None
    if payment is None:
        return True
    unit = Unit()
    detail = {"refund": fact.provider_refund_id, "refunded": fact.amount.minor if fact.amount else None}
    open_case(
        practice.context, unit, payment, CaseKind.refund_unclear, f"{payment.id}:{fact.provider_refund_id}", detail
    )
    await practice.db.commit(unit)
    return True


async def look_up_missing(
    practice: Practice, account: Account, since: datetime, until: datetime, reader: EntryReader, looked_up: set[str]
) -> None:
    """Look up each refund that is done and reached one of the ages in a period. Only a refund reversal changes
    anything. ``looked_up``: refunds already looked up for the same period; this call adds the others."""
    for age in LOOKED_UP_AGAIN_AT:
        for refund_id in await refunds.done_between(
            practice.db, account.config_id, account.environment, since - age, until - age
        ):
            if refund_id not in looked_up:
                await reader.at(_look_up_missing(practice, refund_id, looked_up))


async def _look_up_missing(practice: Practice, refund_id: str, looked_up: set[str]) -> bool:
    refund = await refunds.by_id(practice.db, refund_id)
    assert refund is not None
    refund, outcome = await refunding.look_up(practice, refund, Source.lookup)
    is_missing = isinstance(outcome, NotSent) and await contradictions.is_decided(practice.db, refund)
    if isinstance(outcome, Declined) or is_missing:
        await settle_refund(practice, refund, Finding(outcome, Source.lookup))
    looked_up.add(refund.id)
    return True


async def _reconcile_entry(practice: Practice, account: Account, fact: RefundFact) -> bool:
    attempt = await attempt_listed(practice, account, fact)
    if attempt is None:
        return True  # the payment was not made here
    recorded = await refunds.of_payment(practice.db, attempt.payment_id)
    agreeing = {"succeeded": REFUND_DONE, "failed": REFUND_VOID}.get(fact.state)
    the_one = next((refund for refund in recorded if refund.provider_refund_id == fact.provider_refund_id), None)
    if the_one is not None and fact.provider_dispute_id is not None and the_one.provider_dispute_id is None:
        await learn_dispute(practice, the_one, fact.provider_dispute_id)
    if the_one is not None and fact.state == "unknown" and the_one.state is not RefundState.sent:
        await refunding.refresh(practice, the_one)  # its message is stored, and a case opens in time
        return True
    if the_one is not None and (agreeing is None or the_one.state in agreeing):
        return True
    if any(refund.state is RefundState.sent for refund in recorded):
        raise _UnderWay  # it may be the listed refund
    for refund in recorded:
        # It may be the listed refund: its answer was lost, or its end was reported without an id.
        is_unnamed = refund.provider_refund_id is None and refund.state not in REFUND_VOID and not refund.is_past_sum
        if refund is the_one or is_unnamed:
            await refunding.refresh(practice, refund)
    recorded = await refunds.of_payment(practice.db, attempt.payment_id)
    if any(refund.provider_refund_id == fact.provider_refund_id for refund in recorded):
        return True
    if any(refund.provider_refund_id is None and refund.state is RefundState.unknown for refund in recorded):
        return False
    payment = await payments.by_id(practice.db, attempt.payment_id)
    assert payment is not None
    reported = await refunding.fetched_refund(practice, payment, attempt, fact)
    if isinstance(reported, Unknown | NotSent):
        return False
    if attempt.state is not AttemptState.succeeded:
        # The payment's money is not booked, although the payment was reconciled before. Either its outcome is still
        # unknown; or the provider's own answer is that it was not paid, or with another amount, which has a case.
        if attempt.state in (AttemptState.sent, AttemptState.unknown):
            return False
        paid = await fetched(practice, attempt, fact.provider_transaction_id)
        if not isinstance(paid, Succeeded):
            return not isinstance(paid, Unknown | NotSent)
        payment, attempt = await settle(practice, payment, attempt, Finding(paid, Source.lookup))
        if attempt.state is not AttemptState.succeeded:
            return True
    if reported.amount is None:
        return True  # it failed, and was not made here: nothing was refunded
    for refund in await apply_refund_fact(practice, payment, attempt, reported, Source.lookup, without_webhook):
        # The listed refund was recorded as ended, or may be one of several: the provider tells which, and its outcome.
        called = reported.provider_refund_id if reported.reference == refund.id else None
        refund, outcome = await refunding.look_up(practice, refund, Source.lookup, called)
        await settle_refund(practice, refund, Finding(outcome, Source.lookup))
    recorded = await refunds.of_payment(practice.db, payment.id)
    if reported.amount.currency != payment.currency or undecided(recorded, attempt, reported) is not None:
        return True  # a person decides
    its = next((refund for refund in recorded if refund.provider_refund_id == fact.provider_refund_id), None)
    if its is not None and fact.provider_dispute_id is not None and its.provider_dispute_id is None:
        await learn_dispute(practice, its, fact.provider_dispute_id)
    return any(_agrees(refund, reported) for refund in recorded)


def _agrees(refund: Refund, reported: RefundFact) -> bool:
    """Whether a refund already has what a fact reports."""
    agreeing = {"succeeded": REFUND_DONE, "failed": REFUND_VOID}.get(reported.state)
    return refund.provider_refund_id == reported.provider_refund_id and (agreeing is None or refund.state in agreeing)
