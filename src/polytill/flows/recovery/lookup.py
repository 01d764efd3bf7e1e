"""Recovery: look up everything that is not settled, for as long as it takes, and settle by the answers.

Nothing is marked as failed without the provider's proof. A lookup that could not be made proves nothing. An attempt
whose link was lost is closed and followed by a new one, so that no payment is found that nobody can pay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from polytill.domain.money import Money
from polytill.domain.sources import Source
from polytill.domain.states import ATTEMPT_CLOSED, ATTEMPT_LIVE, ATTEMPT_WON, AttemptState, PaymentStatus
from polytill.flows.context import Context, Practice, log
from polytill.flows.finding import ExtraSteps, Finding, FindingKind
from polytill.flows.handlers import handler_for
from polytill.flows.next_action import charges_at_once, unless_stale
from polytill.flows.payments import capture_cancel, contradictions
from polytill.flows.payments.create import create_params, start, successor_of
from polytill.flows.payments.reading import PaymentDetails, current_attempt, details_of, find
from polytill.flows.payments.settle import settle
from polytill.flows.provider_calls import NOT_SUPPORTED, OTHER_ACCOUNT, call_for, configuration_of
from polytill.flows.refunds import create as create_refunds
from polytill.flows.schedule import never_after
from polytill.flows.slow_providers import Target
from polytill.flows.webhooks import receive
from polytill.flows.webhooks.apply import MAX_TRIES, TAKEN_UP_AT_S
from polytill.providers.contract import ConfirmPaymentParams, Handler, LookupParams, OperationParams, PaymentFact
from polytill.providers.outcomes import (
    NOT_NOW,
    NOTHING_TO_CLOSE,
    REFUSED_AGAIN,
    Declined,
    NeedsAction,
    NotSent,
    Outcome,
    Reason,
    Succeeded,
    Unknown,
)
from polytill.storage import attempts as storage_attempts
from polytill.storage import operations, payments, refunds, webhook_events
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.due_work import DueWork
from polytill.storage.operations import Operation
from polytill.storage.payments import Payment
from polytill.storage.refunds import Refund
from polytill.storage.webhook_events import WebhookEvent

Look = Callable[[], Coroutine[object, object, object]]
# No payment was started; or the provider rejects the keys, and waiting longer would not help.
SAYS_NO_MORE = frozenset({Reason.not_found, Reason.config})
# The provider has nothing to close, or no call that closes it.
NOT_CLOSABLE = frozenset({NOTHING_TO_CLOSE, NOT_SUPPORTED})
_LINK_LOST = Declined(Reason.expired, True, "link_lost", "The provider's answer with the payment page was lost.")


async def confirm(
    context: Context, practice_id: int, payment_id: str, source: Source = Source.lookup
) -> PaymentDetails:
    """Look up a payment at its provider now, and settle by the answer."""
    practice, payment = await find(context, practice_id, payment_id)
    attempts = await storage_attempts.of_payment(practice.db, payment_id)
    asked = [attempt for attempt in attempts if _worth_looking_up(context, payment, attempt)]
    if not asked and payment.status is not PaymentStatus.succeeded:
        current = current_attempt(payment, attempts)
        asked = [] if current.state in (AttemptState.sent, AttemptState.not_sent) else [current]
    unanswered = False
    for attempt in asked:
        payment, outcome = await _refreshed(practice, payment, attempt, source)
        # "Not found" is an answer: no payment was started.
        unanswered = unanswered or (isinstance(outcome, Unknown) and outcome.reason is not Reason.not_found)
    found = await details_of(practice.db, await _read(practice.db, payment.id))
    found.unanswered, found.asked = unanswered, bool(asked)
    return found


def _worth_looking_up(context: Context, payment: Payment, attempt: Attempt) -> bool:
    if attempt.state is AttemptState.sent:  # its call may still be running
        return attempt.next_lookup_at is not None and attempt.next_lookup_at <= context.world.now()
    if attempt.state is AttemptState.succeeded:
        return payment.provider_fee is None
    return attempt.state in ATTEMPT_LIVE


async def _read(db: PracticeDb, payment_id: str) -> Payment:
    payment = await payments.by_id(db, payment_id)
    assert payment is not None
    return payment


async def refresh(practice: Practice, payment: Payment, attempt: Attempt, source: Source = Source.lookup) -> Payment:
    """Look up one attempt and settle by the answer; if its link was lost, start a new attempt."""
    return (await _refreshed(practice, payment, attempt, source))[0]


async def _refreshed(practice: Practice, payment: Payment, attempt: Attempt, source: Source) -> tuple[Payment, Outcome]:
    """Do what ``refresh`` does, and return the provider's outcome as well."""
    handler = await handler_for(practice.context, attempt)
    if handler is None:
        log.warning("handler_missing", provider=attempt.provider_code, attempt=attempt.id)
        return await _settled(practice, payment, attempt, Unknown(Reason.config), source)
    payment, attempt = await _before_lookup(practice, attempt, source)
    outcome = unless_stale(practice.db, payment, attempt, await _call(practice, payment, attempt))
    outcome, lost = _interpreted(practice.context, handler, payment, attempt, outcome)
    if lost and practice.db.anchor.behind is not None:
        # What followed it may be in none of our rows: nothing is concluded, and no new link is made.
        outcome, lost = Unknown(Reason.not_found), False
    if not lost:
        return await _settled(practice, payment, attempt, outcome, source)
    made = await storage_attempts.of_payment(practice.db, payment.id)
    open_payment = payment.status in (PaymentStatus.requires_action, PaymentStatus.processing)
    if charges_at_once(payment):
        open_payment = False  # a customer must not be surprised by a late charge: a new request is needed
    follows = (
        successor_of(practice.context, payment, attempt, len(made))
        if open_payment and made[-1].id == attempt.id
        else None
    )
    configuration = await configuration_of(practice, attempt.config_id)
    newest = configuration.newest(attempt.environment) if configuration else None
    if follows is not None and newest is not None:
        follows.credential_version = newest.version  # the provider may reject the keys of the lost link by now
    # The link is lost only as long as nobody has it: the answer of its own call may arrive during this lookup.
    finding = Finding(outcome, source, FindingKind.conclusion)
    payment, _ = await settle(practice, payment, attempt, finding, ExtraSteps(successor=follows))
    if follows is None or await storage_attempts.by_id(practice.db, follows.id) is None:
        return payment, outcome
    named = await practice.context.opening.entry(practice.id)
    configuration = await configuration_of(practice, follows.config_id, follows.credential_version)
    assert configuration is not None  # this configuration was just used for the lookup
    answer = await start(practice, named.name, payment, follows, configuration)
    return (await settle(practice, payment, follows, Finding(answer, Source.answer)))[0], answer


async def _before_lookup(practice: Practice, attempt: Attempt, source: Source) -> tuple[Payment, Attempt]:
    """Read both rows again before the lookup: it may repeat the call, and the caller's rows may be old.

    An attempt whose call may still be running is marked unknown first. If that call then ends without reaching the
    provider, this proves nothing any more.
    """
    fresh = await storage_attempts.by_id(practice.db, attempt.id)
    assert fresh is not None
    payment = await _read(practice.db, fresh.payment_id)
    if fresh.state is not AttemptState.sent:
        return payment, fresh
    return await settle(practice, payment, fresh, Finding(Unknown(Reason.timeout), source))


async def _settled(
    practice: Practice, payment: Payment, attempt: Attempt, outcome: Outcome, source: Source
) -> tuple[Payment, Outcome]:
    told = PaymentFact(outcome, attempt.id, getattr(outcome, "provider_transaction_id", None))
    adopted = await contradictions.adopted(practice, attempt, told)
    if adopted is not attempt:
        payment, attempt = await _read(practice.db, payment.id), adopted
    payment, settled = await settle(practice, payment, attempt, Finding(outcome, source))
    # The first lookup also processes webhooks that arrived before the answer that named the transaction.
    before = attempt if attempt.lookups else replace(attempt, provider_transaction_id=None)
    await receive.apply_after(practice, before, settled)
    return payment, outcome


async def _call(practice: Practice, payment: Payment, attempt: Attempt) -> Outcome:
    amount = Money(attempt.amount, attempt.currency)
    if attempt.state not in (AttemptState.sent, AttemptState.unknown):
        ended = attempt.state in ATTEMPT_CLOSED | ATTEMPT_WON
        confirm_params = ConfirmPaymentParams(
            attempt.id, attempt.provider_transaction_id, amount, only_ask=ended, direct=charges_at_once(payment)
        )
        outcome = await call_for(practice, attempt, "confirm_payment", confirm_params)
        is_missing = isinstance(outcome, NotSent | Unknown) and outcome.reason is Reason.not_found
        if is_missing and await contradictions.paid_by_staff(practice.db, attempt) is not None:
            return await _by_our_reference(practice, payment, attempt, outcome)
        return outcome
    entry = await practice.context.opening.entry(practice.id)
    # A saved method is never charged by a repeated call, not even with the same key: its lookup only reads.
    first = None if payment.saved_method_id else create_params(practice.context, entry.name, payment, attempt)
    params = LookupParams(
        attempt.id,
        attempt.provider_transaction_id,
        amount,
        first,
        practice.context.age_s(attempt.id, attempt.created_at),
        int(attempt.created_at.timestamp()),
        direct=charges_at_once(payment),
    )
    return await call_for(practice, attempt, "lookup_payment", params)


async def _by_our_reference(practice: Practice, payment: Payment, attempt: Attempt, missing: Outcome) -> Outcome:
    """Look up a payment by our reference if the provider does not find the id that staff entered, which may be another id
    of the same payment (of its charge or capture). Returns ``missing`` if neither finds it. The create call is not
    repeated.
    """
    params = LookupParams(
        attempt.id,
        None,
        Money(attempt.amount, attempt.currency),
        None,
        practice.context.age_s(attempt.id, attempt.created_at),
        int(attempt.created_at.timestamp()),
        direct=charges_at_once(payment),
    )
    found = await call_for(practice, attempt, "lookup_payment", params)
    return missing if isinstance(found, NotSent) and found.reason is Reason.not_found else found


def _interpreted(
    context: Context, handler: type[Handler], payment: Payment, attempt: Attempt, outcome: Outcome
) -> tuple[Outcome, bool]:
    """Return what a lookup's answer proves, and whether the attempt's link is lost (nobody can pay it, found or not)."""
    moves_money = handler.create_moves_money or charges_at_once(payment)
    undecided = attempt.state in (AttemptState.sent, AttemptState.unknown)
    # The clock that wrote the row may have been wrong, as may ours: count from when this process first found it open.
    open_s = context.open_for_s(attempt.id, attempt.updated_at) if attempt.state is AttemptState.unknown else 0
    if isinstance(outcome, NotSent):
        age_s = context.age_s(attempt.id, attempt.created_at)
        repeated = handler.idempotency == "key" and age_s < handler.idempotency_window_s
        repeated = repeated and payment.saved_method_id is None and attempt.provider_transaction_id is None
        if undecided and repeated and outcome.reason in REFUSED_AGAIN:
            # The identical request was rejected: if the first one had succeeded, its result would have been returned.
            return outcome, False
        if outcome.reason is not Reason.not_found or not undecided:
            return Unknown(outcome.reason, outcome.code, outcome.detail), False  # the lookup did not reach the provider
        if not moves_money:
            # Some providers do not know a link before it is paid: it may still bring money, so lookups continue.
            return _LINK_LOST, True
        # "Not found" proves something only when the first call cannot still be running at the provider.
        return (outcome, True) if open_s >= context.horizon_s(handler) else (Unknown(Reason.not_found), False)
    if undecided and not moves_money and isinstance(outcome, Unknown) and outcome.code == OTHER_ACCOUNT:
        # Whichever account has it, nobody ever had this link. Lookups continue.
        return _LINK_LOST, True
    payable = isinstance(outcome, NeedsAction) and outcome.action is not None
    waits_for_payer = isinstance(outcome, NeedsAction) or (isinstance(outcome, Declined) and not outcome.final)
    if undecided and waits_for_payer and not payable and not moves_money:
        return _LINK_LOST, True
    return outcome, False


async def expire(practice: Practice, payment: Payment) -> Payment:
    """End a checkout that was not paid in time: look it up once more, close it at the provider if possible, cancel it."""
    for attempt in await storage_attempts.of_payment(practice.db, payment.id):
        if attempt.state is AttemptState.needs_action:
            payment, outcome = await _refreshed(practice, payment, attempt, Source.lookup)
            if isinstance(outcome, Succeeded):
                return payment  # paid, but with another amount than requested: a review case is open
            if isinstance(outcome, Unknown) and outcome.reason not in SAYS_NO_MORE:
                return payment  # it may have been paid, and the provider cannot say so now
    if payment.status is not PaymentStatus.requires_action:
        return payment
    for attempt in await storage_attempts.of_payment(practice.db, payment.id):
        if attempt.state is not AttemptState.needs_action:
            continue
        params = OperationParams(f"{attempt.id}-x", attempt.id, attempt.provider_transaction_id)
        outcome = await call_for(practice, attempt, "cancel_payment", params)
        if isinstance(outcome, NotSent) and outcome.reason in NOT_NOW:
            outcome = Unknown(
                outcome.reason, outcome.code, outcome.detail
            )  # no call was made: it is closed another time
        if isinstance(outcome, NotSent) and outcome.reason is Reason.invalid_state and outcome.code not in NOT_CLOSABLE:
            return payment  # the provider has another state, which could not be looked up
        concluded = (isinstance(outcome, Declined) and outcome.final) or isinstance(outcome, NotSent)
        if concluded:
            # Closed at the provider, or not closable: a late success would still be settled.
            outcome = Declined(Reason.expired, True, "expired", "Nobody paid in time.")
        kind = FindingKind.conclusion if concluded else FindingKind.fact
        payment, _ = await settle(practice, payment, attempt, Finding(outcome, Source.expiry, kind))
    return payment


class _Work(NamedTuple):
    due: datetime
    asked: Target
    subject: str
    look: Look


async def sweep(context: Context, practice_id: int, due: DueWork) -> int:
    """Look up everything that is overdue in one practice, one item after the other. Return the number of items.
    ``due``: the kinds of items of which there may be any.

    A slow provider gets no more calls until the next sweep: lookups at other providers and webhooks that it has sent do
    not wait for it. Nor do other practices: while a few sweeps wait for it, the others skip its items. Skipped items
    count as work, so that their practices are visited again soon. The longest overdue item comes first, so that every
    kind of item gets its turn.
    """
    practice = await context.practice(practice_id)
    limiter, elapsed_s, slow = context.slow_providers, context.world.elapsed_s, set()
    work = await _overdue(practice, due)
    now_s = elapsed_s()
    for one in sorted(work, key=lambda one: (limiter.is_slow(one.asked, now_s), not one.asked.is_told, one.due)):
        if one.asked in slow or not limiter.has_room(one.asked, elapsed_s(), context.settings.worker_sweeps):
            continue
        if await _looked(context, practice_id, one):
            slow.add(one.asked)
    return len(work)


async def _looked(context: Context, practice_id: int, one: _Work) -> bool:
    """Process one item. Return whether its provider was slow."""
    slow_s, time_s = context.settings.provider_timeout_s / 2, asyncio.get_running_loop().time
    began_s, slow_from_s, waited = time_s(), context.world.elapsed_s() + slow_s, None
    context.slow_providers.begin(one.asked, slow_from_s)
    try:
        # A task of its own: what it leaves open in its context stays invisible to the next one.
        await asyncio.create_task(one.look())
        waited = False
    except Exception as error:
        # An item that cannot be looked up must not delay the others.
        log.error("lookup_failed", practice=practice_id, subject=one.subject, error=type(error).__name__)
    finally:
        if time_s() - began_s >= slow_s:
            waited = True
        context.slow_providers.end(one.asked, slow_from_s, context.world.elapsed_s(), waited)
    return waited is True


async def _overdue(practice: Practice, due: DueWork) -> list[_Work]:
    """Return the overdue items. Nothing is read here that belongs to one item alone: it may be unreadable."""
    now = practice.now()
    beyond = never_after(now)

    async def look_up(attempt: Attempt) -> None:
        await refresh(practice, await _read(practice.db, attempt.payment_id), attempt)

    async def asked_of(one: Refund | Operation) -> Target:
        return Target(await storage_attempts.provider_of(practice.db, one.attempt_id), one.environment, is_told=False)

    def asks(one: Attempt | Payment | WebhookEvent, is_told: bool = False) -> Target:
        return Target(one.provider_code or "", one.environment, is_told)

    def news(event: WebhookEvent) -> _Work:
        due = event.received_at + timedelta(seconds=TAKEN_UP_AT_S[min(event.tries, MAX_TRIES - 1)])
        look = partial(receive.apply_due, practice, event)
        return _Work(due, asks(event, is_told=not event.must_fetch), event.id, look)

    work: list[_Work] = []
    if due.attempts:
        for one in await storage_attempts.overdue(practice.db, now, beyond):
            work.append(_Work(one.next_lookup_at or now, asks(one), one.id, partial(look_up, one)))
    if due.refunds:
        for back in await refunds.overdue(practice.db, now, beyond):
            look = partial(create_refunds.refresh, practice, back)
            work.append(_Work(back.next_lookup_at or now, await asked_of(back), back.id, look))
    if due.operations:
        for done in await operations.overdue(practice.db, now, beyond):
            look_at = partial(capture_cancel.refresh, practice, done)
            work.append(_Work(done.next_lookup_at or now, await asked_of(done), done.id, look_at))
    if due.webhooks:
        came_before = [practice.context.world.after(-age_s) for age_s in TAKEN_UP_AT_S]
        work += [news(event) for event in await webhook_events.waiting(practice.db, came_before)]
    # What nobody paid expires only when a practice that is behind is adopted: it may have been paid meanwhile.
    if due.unpaid and practice.db.anchor.behind is None:
        for unpaid in await payments.unpaid_past_expiry(practice.db, practice.context.surely_past(0)):
            work.append(_Work(unpaid.expires_at or now, asks(unpaid), unpaid.id, partial(expire, practice, unpaid)))
    return work
