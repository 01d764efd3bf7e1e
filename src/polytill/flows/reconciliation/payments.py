"""Reconciliation of payments with the provider's listing: missing here, missing there, or different.

A listing alone proves nothing: before anything is written, the one transaction is looked up, and the answer goes
through ``settle``. Every difference that remains opens a review case. Every run may be repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from polytill.domain.ids import new_id
from polytill.domain.money import Money
from polytill.domain.review_cases import CaseKind
from polytill.domain.sources import Source
from polytill.domain.states import AttemptState, CaptureMode, Environment
from polytill.flows.context import Context, Practice, log
from polytill.flows.finding import Finding
from polytill.flows.handlers import handler_for
from polytill.flows.listing import EntryReader, attempt_listed, listed, warn_too_long
from polytill.flows.listing_progress import OVERLAP, Period, Progress
from polytill.flows.next_action import unless_stale
from polytill.flows.payments import second_transactions
from polytill.flows.payments.settle import settle
from polytill.flows.provider_calls import call_for, fetched
from polytill.flows.reconciliation.disputes import reconcile_disputes
from polytill.flows.recovery import lookup
from polytill.flows.refunds.listed import look_up_missing, reconcile_refunds, report_unsettled
from polytill.flows.unresolved import is_unclear
from polytill.flows.webhooks import receive
from polytill.providers.contract import ConfirmPaymentParams, PaymentFact
from polytill.providers.outcomes import Declined, NeedsAction, NotSent, Reason, Succeeded, Unknown
from polytill.storage import attempts, cases, listings, payments
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.provider_configs import Account
from polytill.storage.units import Unit

# Younger transactions may still be in progress on either side.
YOUNGEST = timedelta(seconds=300)
CLOCKS_DIFFER = timedelta(seconds=600)
FIRST_WINDOW = timedelta(days=2)
LONGEST_WINDOW = timedelta(days=1)
WINDOWS_AT_ONCE = 8
# A listed success whose lookup gets no answer keeps its window open for so long; then it opens a review case.
PATIENCE = timedelta(days=1)
SHORTEST_WINDOW = timedelta(seconds=60)
_OUR_REFERENCE = re.compile(r"[0-9a-z]{26}")


@dataclass(slots=True)
class Window:
    """What a provider lists for a period."""

    since: datetime
    until: datetime
    whole: bool
    facts: dict[str, PaymentFact]


async def reconcile(context: Context, practice_id: int) -> int:
    """Reconcile each configuration of a practice from the end of the last run. Return the number of listed
    transactions."""
    practice = await context.practice(practice_id)
    count = 0
    for configuration in (await context.configured(practice.db)).configurations.values():
        for environment in Environment:
            account = configuration.account(environment)
            if account is not None:
                count += await _reconcile_account(practice, account)
    return count


async def _reconcile_account(practice: Practice, account: Account) -> int:
    """Reconcile first the periods that could not be read before, then the newest ones."""
    stored = await listings.kept(practice.db, account.config_id, account.environment)
    place = practice.id, account.config_id, account.environment
    progress = practice.context.reconciled.pop(place, None)
    if progress is None or progress.kept != stored:  # another process has continued, or staff requested a new start
        progress = Progress(stored, stored)
    count = 0
    for period in progress.open:
        until = period.until
        listed_here = await _reconcile(practice, account, period)
        if listed_here is not None:
            count += listed_here
            if period.until < until:  # more is listed by now than one listing holds
                progress.ended(Period(period.until - OVERLAP, until, period.after, unread=True))
            await _ended(practice.db, account, progress, period)
    for _ in range(WINDOWS_AT_ONCE):
        following = _next(practice.context, progress.until)
        if following is None:
            break
        listed_here = await _reconcile(practice, account, following)
        if listed_here is None:
            break
        count += listed_here
        await _ended(practice.db, account, progress, following)
    if progress.open:
        practice.context.reconciled[place] = progress
    return count


async def _ended(db: PracticeDb, account: Account, progress: Progress, period: Period) -> None:
    progress.ended(period)
    until = progress.to_keep()
    if until is not None and until != progress.kept:
        unit = Unit()
        listings.keep(unit, account.config_id, account.environment, until)
        await db.commit(unit)
        progress.kept = until


def _next(context: Context, reconciled_until: datetime | None) -> Period | None:
    """Return the next period to reconcile; None if it is still too short."""
    now = context.surely_past(0)  # a clock that is ahead would mark periods as reconciled that are not over
    since = reconciled_until - OVERLAP if reconciled_until else now - FIRST_WINDOW
    until = min(now - YOUNGEST, since + OVERLAP + LONGEST_WINDOW)
    if reconciled_until is not None and until < reconciled_until + SHORTEST_WINDOW:
        return None
    return Period(since, until, reconciled_until)


async def _reconcile(practice: Practice, account: Account, period: Period) -> int | None:
    """Reconcile one window. Return the number of listed transactions; None if it must be repeated before any later one."""
    window, reader = await _listed(practice, account, period.since, period.until), EntryReader()
    if window is None:
        return None
    since, until = window.since, window.until
    unanswered = [
        fact for fact in window.facts.values() if not await reader.at(_reconcile_entry(practice, account, fact))
    ]
    if window.whole:
        await _find_missing(practice, account, window, reader)
    unsettled = await reconcile_refunds(practice, account, since, until, reader)
    disputed = await reconcile_disputes(practice, account, since, until, reader)
    if unsettled is None or disputed is None:
        return None
    has_waited = period.after is None or practice.context.surely_past(0) - period.after >= PATIENCE
    if (unanswered or unsettled or not disputed) and not has_waited:
        return None  # the whole window is repeated in the next run
    for fact in unanswered:
        if isinstance(fact.outcome, Succeeded):
            await _report_missing(practice, account, fact)
    for refund in unsettled:
        await reader.at(report_unsettled(practice, account, refund))
    await look_up_missing(practice, account, since, until, reader, period.looked_up)
    period.until, period.unread = until, reader.unread
    return len(window.facts)


async def _listed(practice: Practice, account: Account, since: datetime, until: datetime) -> Window | None:
    """List a window, shortened until it fits into one listing. Return None if the provider lists nothing or rejects the
    call. A provider that lists only disputes or refunds has an empty window, in which no payment counts as missing."""
    handler = await handler_for(practice.context, account.provider_code)
    if handler is None:
        log.warning("handler_missing", provider=account.provider_code, practice=practice.id)
        return None  # the period stays open until the handler is back; other configurations are reconciled
    if handler.list_transactions is None and (handler.list_disputes or handler.list_refunds):
        return Window(since, until, False, {})
    while True:
        listing = await listed(practice, account, "list_transactions", since, until)
        if listing is None:
            return None
        if listing.whole or until - since <= OVERLAP + SHORTEST_WINDOW:
            facts = {fact.provider_transaction_id or fact.reference or "": fact for fact in listing.facts}
            if not listing.whole:
                warn_too_long(practice, account, "list_transactions")
            return Window(since, until, listing.whole, facts)
        until = since + max((until - since) / 2, OVERLAP + SHORTEST_WINDOW)


async def _reconcile_entry(practice: Practice, account: Account, fact: PaymentFact) -> bool:
    """Book a difference, or open a review case. Return False if the lookup got no answer and nothing else will repeat
    it."""
    attempt = await attempt_listed(practice, account, fact)
    if attempt is None:
        if isinstance(fact.outcome, Succeeded) and fact.reference and _OUR_REFERENCE.fullmatch(fact.reference):
            await _report_missing(practice, account, fact)
        return True
    payment = await payments.by_id(practice.db, attempt.payment_id)
    assert payment is not None
    if second_transactions.is_another(payment, attempt, fact):
        return await second_transactions.book(practice, payment, attempt, fact, Source.lookup) is None
    if is_unclear(fact.outcome):
        await _looked_up(practice, payment, attempt, fact)  # the provider's words are stored, and a case opens in time
        return True
    if _agrees(payment, attempt, fact):
        return True
    payment, attempt = await _looked_up(practice, payment, attempt, fact)
    if _agrees(payment, attempt, fact):
        return True
    same_state = isinstance(fact.outcome, Succeeded) and attempt.state is _reported_state(fact.outcome)
    kind = CaseKind.listing_amount_differs if same_state else CaseKind.listing_status_differs
    ours = {"status": attempt.state.value, "amount": _taken(payment, attempt), "currency": attempt.currency}
    await _open(
        practice, account.environment, kind, attempt.id, attempt.payment_id, {"ours": ours, "provider": _reported(fact)}
    )
    return True


async def _looked_up(
    practice: Practice, payment: Payment, attempt: Attempt, fact: PaymentFact
) -> tuple[Payment, Attempt]:
    """Look up an attempt and return it with its payment. If its create answer was lost, the listing has the provider's
    id."""
    if attempt.provider_transaction_id is None and fact.provider_transaction_id is not None:
        outcome = await fetched(practice, attempt, fact.provider_transaction_id)
        outcome = unless_stale(practice.db, payment, attempt, outcome)
        if not isinstance(outcome, Unknown | NotSent):
            payment, settled = await settle(practice, payment, attempt, Finding(outcome, Source.lookup))
            await receive.apply_after(practice, attempt, settled)
            return payment, settled
    payment = await lookup.refresh(practice, payment, attempt)
    fresh = await attempts.by_id(practice.db, attempt.id)
    assert fresh is not None
    return payment, fresh


def _reported_state(outcome: Succeeded) -> AttemptState:
    return AttemptState.authorized if outcome.authorized_only else AttemptState.succeeded


def _taken(payment: Payment, attempt: Attempt) -> int:
    """Return the amount that an attempt has captured or holds: a capture may have been partial."""
    partly = payment.capture_mode is CaptureMode.manual and attempt.state is AttemptState.succeeded
    is_the_one = attempt.provider_transaction_id == payment.provider_transaction_id
    return payment.amount_captured if partly and is_the_one else attempt.amount


def _agrees(payment: Payment, attempt: Attempt, fact: PaymentFact) -> bool:
    outcome = fact.outcome
    if isinstance(outcome, Succeeded):
        ours = Money(_taken(payment, attempt), attempt.currency)
        return attempt.state is _reported_state(outcome) and outcome.amount == ours
    # A refund or a dispute may have changed the provider's status of paid money; the lookup below decides.
    is_open = isinstance(outcome, NeedsAction) or (isinstance(outcome, Declined) and not outcome.final)
    if isinstance(outcome, Declined) or is_open:
        return attempt.state not in (AttemptState.succeeded, AttemptState.authorized)
    return True


async def _find_missing(practice: Practice, account: Account, window: Window, reader: EntryReader) -> None:
    facts = window.facts.values()
    known = frozenset(name for fact in facts for name in (fact.reference, fact.provider_transaction_id))
    since, until = window.since + CLOCKS_DIFFER, window.until - CLOCKS_DIFFER
    for attempt_id in await listings.taken_between(practice.db, account.config_id, account.environment, since, until):
        await reader.at(_find(practice, account.environment, attempt_id, known))


async def _find(practice: Practice, environment: Environment, attempt_id: str, known: frozenset[str | None]) -> bool:
    attempt = await attempts.by_id(practice.db, attempt_id)
    assert attempt is not None
    if known & {attempt.id, attempt.provider_transaction_id} - {None}:
        return True
    # It may have been paid long after it was created, in another window: only the provider's "not found" counts.
    params = ConfirmPaymentParams(attempt.id, attempt.provider_transaction_id, Money(attempt.amount, attempt.currency))
    outcome = await call_for(practice, attempt, "confirm_payment", params)
    if isinstance(outcome, NotSent) and outcome.reason is Reason.not_found:
        ours = {"amount": attempt.amount, "currency": attempt.currency, "id": attempt.provider_transaction_id}
        await _open(
            practice, environment, CaseKind.listing_missing_there, attempt.id, attempt.payment_id, {"ours": ours}
        )
    return True


def _reported(fact: PaymentFact) -> dict[str, Any]:
    amount = fact.outcome.amount if isinstance(fact.outcome, Succeeded) else None
    return {
        "reference": fact.reference,
        "id": fact.provider_transaction_id,
        "status": type(fact.outcome).__name__.lower(),
        "amount": amount.minor if amount else None,
        "currency": amount.currency if amount else None,
    }


async def _report_missing(practice: Practice, account: Account, fact: PaymentFact) -> None:
    subject = f"{account.config_id}:{fact.provider_transaction_id or fact.reference}"
    await _open(
        practice, account.environment, CaseKind.listing_missing_here, subject, None, {"provider": _reported(fact)}
    )


async def _open(
    practice: Practice,
    environment: Environment,
    kind: CaseKind,
    subject: str,
    payment_id: str | None,
    detail: dict[str, Any],
) -> None:
    unit = Unit()
    cases.open_case(
        unit,
        new_id(practice.context.world),
        practice.id,
        environment,
        cases.NewCase(kind, subject, payment_id, detail),
        practice.now(),
    )
    await practice.db.commit(unit)
