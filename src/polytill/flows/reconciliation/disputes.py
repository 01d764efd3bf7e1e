"""Disputes that a provider lists and we do not know of, or know as open: their delivery was lost, or its secret ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from polytill.domain.states import DisputeKind, DisputeState, Environment
from polytill.flows.context import Desk
from polytill.flows.listing import Looks, attempt_listed, listed, no_delivery, tell_too_long
from polytill.flows.provider_calls import handler_class
from polytill.flows.refunds.disputes import confirm_end
from polytill.flows.webhooks.receive import apply_dispute
from polytill.providers.contract import DisputeFact
from polytill.storage import disputes, payments
from polytill.storage.databases import PracticeDb
from polytill.storage.disputes import Dispute
from polytill.storage.provider_configs import Configuration

# A provider lists a dispute by when it was opened, which is after its payment was made: as long as one is open by our
# rows, or was told to have ended in two ways, all since then is asked for again, so far back.
LONGEST_DISPUTE = timedelta(days=180)
CLOCKS_DIFFER = timedelta(seconds=600)


async def compare_disputes(
    desk: Desk,
    db: PracticeDb,
    configuration: Configuration,
    environment: Environment,
    since: datetime,
    until: datetime,
    looks: Looks,
) -> bool | None:
    """Book what is listed of disputes opened between two moments, and of those still open; or, where the provider lists by
    the last change, of those that changed. None where it lists nothing now. False where one could not be booked yet, and
    will not be listed again by itself."""
    handler = handler_class(desk, (await desk.catalog())[configuration.provider_code])
    if handler.list_disputes is None:
        return True
    by_change = handler.disputes_listed_by_change
    oldest = None if by_change else await disputes.oldest_disputed(db, configuration.id, environment)
    if oldest is not None:
        since = min(since, max(oldest - CLOCKS_DIFFER, until - LONGEST_DISPUTE))
    found = await listed(desk, db, configuration, environment, "list_disputes", since, until)
    if found is None:
        return None
    if not found.whole:
        tell_too_long(db, configuration, "list_disputes")
    booked = [await looks.at(_look_at(desk, db, configuration, environment, fact)) for fact in found.facts]
    return all(booked) or not by_change


async def _look_at(
    desk: Desk, db: PracticeDb, configuration: Configuration, environment: Environment, fact: DisputeFact
) -> bool:
    attempt = await attempt_listed(db, configuration, environment, fact)
    if attempt is None:
        return True  # of a payment that is none of ours
    known = {dispute.provider_dispute_id: dispute for dispute in await disputes.of_payment(db, attempt.payment_id)}
    before = known.get(fact.provider_dispute_id)
    if before is not None and not _is_news(before, fact):
        if before.state is not DisputeState.open and before.state == fact.state:
            await confirm_end(desk, db, before)
        return True
    payment = await payments.by_id(db, attempt.payment_id)
    assert payment is not None
    # One that is lost of money that is not known of stays open, and is therefore asked for again.
    return await apply_dispute(desk, db, payment, attempt, fact, no_delivery, is_current=True)


def _is_news(before: Dispute, fact: DisputeFact) -> bool:
    """Whether it ended since, or otherwise than it had, or has become more than an inquiry, or says what was missing,
    or that withdrawn funds were returned."""
    is_ended = fact.state not in (before.state, DisputeState.open)
    is_missing = before.amount is None and (fact.amount is not None or fact.bare_amount is not None)
    escalated = before.state is DisputeState.open and (
        (fact.kind == DisputeKind.chargeback and before.kind is not DisputeKind.chargeback)
        or (fact.funds_withdrawn and not before.funds_withdrawn)
        or (fact.due_at is not None and fact.due_at != before.due_at)
    )
    is_returned = fact.funds_returned and not before.funds_returned
    return is_ended or is_missing or escalated or is_returned
