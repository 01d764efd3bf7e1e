"""Reconciliation of disputes: a listed dispute may be unknown here or still open here, because its webhook was lost or
the webhook secret had ended."""

from __future__ import annotations

from datetime import datetime, timedelta

from polytill.domain.sources import Source
from polytill.domain.states import DisputeKind, DisputeState
from polytill.flows.context import Practice
from polytill.flows.handlers import handler_for
from polytill.flows.listing import EntryReader, attempt_listed, listed, warn_too_long, without_webhook
from polytill.flows.refunds.disputes import DisputeFinding, confirm_end
from polytill.flows.webhooks.receive import apply_dispute
from polytill.providers.contract import DisputeFact
from polytill.storage import disputes, payments
from polytill.storage.disputes import Dispute
from polytill.storage.provider_configs import Account

# Providers list a dispute by the time of its opening, which is after its payment. As long as a dispute is open in our
# rows, or has two contradicting ends, everything since then is listed again, at most so far back.
LONGEST_DISPUTE = timedelta(days=180)
CLOCKS_DIFFER = timedelta(seconds=600)


async def reconcile_disputes(
    practice: Practice, account: Account, since: datetime, until: datetime, reader: EntryReader
) -> bool | None:
    """Book the listed disputes that were opened in a period, and those that are still open. If the provider lists by
    last change, book those that changed. Return None if the provider lists nothing now, and False if a dispute could
    not be booked yet and will not be listed again."""
    handler = await handler_for(practice.context, account.provider_code)
    if handler is None:
        return None
    if handler.list_disputes is None:
        return True
    by_change = handler.disputes_listed_by_change
    oldest = None if by_change else await disputes.oldest_disputed(practice.db, account.config_id, account.environment)
    if oldest is not None:
        since = min(since, max(oldest - CLOCKS_DIFFER, until - LONGEST_DISPUTE))
    listing = await listed(practice, account, "list_disputes", since, until)
    if listing is None:
        return None
    if not listing.whole:
        warn_too_long(practice, account, "list_disputes")
    booked = [await reader.at(_reconcile_entry(practice, account, fact)) for fact in listing.facts]
    return all(booked) or not by_change


async def _reconcile_entry(practice: Practice, account: Account, fact: DisputeFact) -> bool:
    attempt = await attempt_listed(practice, account, fact)
    if attempt is None:
        return True  # its payment is not ours
    known = {
        dispute.provider_dispute_id: dispute for dispute in await disputes.of_payment(practice.db, attempt.payment_id)
    }
    before = known.get(fact.provider_dispute_id)
    if before is not None and not _is_news(before, fact):
        if before.state is not DisputeState.open and before.state == fact.state:
            await confirm_end(practice, before)
        return True
    payment = await payments.by_id(practice.db, attempt.payment_id)
    assert payment is not None
    # A lost dispute about unknown money stays open, and is therefore listed again.
    return await apply_dispute(practice, payment, attempt, DisputeFinding(fact, Source.lookup), without_webhook)


def _is_news(before: Dispute, fact: DisputeFact) -> bool:
    """Return whether the dispute has ended, has another end than before, is more than an inquiry now, has a fact that
    was missing, or had its withdrawn funds returned."""
    is_ended = fact.state not in (before.state, DisputeState.open)
    is_missing = before.amount is None and (fact.amount is not None or fact.bare_amount is not None)
    escalated = before.state is DisputeState.open and (
        (fact.kind == DisputeKind.chargeback and before.kind is not DisputeKind.chargeback)
        or (fact.funds_withdrawn and not before.funds_withdrawn)
        or (fact.due_at is not None and fact.due_at != before.due_at)
    )
    is_returned = fact.funds_returned and not before.funds_returned
    return is_ended or is_missing or escalated or is_returned
