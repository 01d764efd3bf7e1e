"""Refunds that a provider lists and we do not know: made in its dashboard, and their delivery lost or never switched on.

As with payments, a listing is only a hint: what is booked is what the provider says of the one refund when it is asked.
"""

from __future__ import annotations

from datetime import datetime

from polytill.domain.states import REFUND_DONE, REFUND_VOID, Environment, RefundState
from polytill.flows import refund as refunding
from polytill.flows.calling import handler_class, listing_page
from polytill.flows.desk import Desk
from polytill.flows.settle_refunds import apply_refund_fact
from polytill.providers.contract import RefundFact
from polytill.providers.outcomes import NotSent, Unknown
from polytill.storage import payments, refunds
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt
from polytill.storage.provider_configs import Configuration
from polytill.storage.units import Unit

MAX_PAGES = 50


async def lists_refunds(desk: Desk, attempt: Attempt) -> bool:
    """Whether the provider that an attempt was made at lists refunds."""
    handler = await refunding.handler_of(desk, attempt)
    return handler is not None and handler.list_refunds is not None


async def compare_refunds(
    desk: Desk, db: PracticeDb, configuration: Configuration, environment: Environment, since: datetime, until: datetime
) -> bool:
    """Look at each refund that is listed between two moments. False where not all of it is settled yet: ask again."""
    handler = handler_class(desk, (await desk.catalog())[configuration.provider_code])
    if handler.list_refunds is None:
        return True
    settled, cursor = True, None
    for _ in range(MAX_PAGES):
        page = await listing_page(desk, db, configuration, environment, "list_refunds", since, until, cursor)
        if page is None:
            return False
        for fact in page.facts:
            settled = await _look_at(desk, db, configuration, environment, fact) and settled
        cursor = page.next
        if cursor is None:
            return settled
    return False


async def _look_at(
    desk: Desk, db: PracticeDb, configuration: Configuration, environment: Environment, fact: RefundFact
) -> bool:
    attempt = await _attempt_of(db, configuration, environment, fact)
    if attempt is None:
        return True  # of a payment that is none of ours
    for refund in await refunds.of_payment(db, attempt.payment_id):
        known = refund.provider_refund_id == fact.provider_refund_id
        if known and refund.state in {"succeeded": REFUND_DONE, "failed": REFUND_VOID}.get(fact.state, (refund.state,)):
            return True
        # It may be this one, whose answer was lost.
        if known or (refund.provider_refund_id is None and refund.state in (RefundState.sent, RefundState.unknown)):
            await refunding.refresh(desk, db, refund)
    ours = await refunds.of_payment(db, attempt.payment_id)
    if any(refund.provider_refund_id == fact.provider_refund_id for refund in ours):
        return True
    if any(refund.provider_refund_id is None and refund.state is RefundState.unknown for refund in ours):
        return False
    payment = await payments.by_id(db, attempt.payment_id)
    assert payment is not None
    told = await refunding.fetched_refund(desk, db, payment, attempt, fact)
    if isinstance(told, Unknown | NotSent) or payment.amount_captured == 0:
        return False
    await apply_refund_fact(desk, db, payment, attempt, told, _nothing_else)
    return True


async def _attempt_of(
    db: PracticeDb, configuration: Configuration, environment: Environment, fact: RefundFact
) -> Attempt | None:
    found = await payments.attempt_by_id(db, fact.payment_reference) if fact.payment_reference else None
    if found is None and fact.provider_transaction_id:
        found = await payments.attempt_of_provider(db, configuration.id, environment, fact.provider_transaction_id)
    return found if found is None or found.config_id == configuration.id else None


def _nothing_else(_: Unit) -> None:
    """No delivery brought it."""
