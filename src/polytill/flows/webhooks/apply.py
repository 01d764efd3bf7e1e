"""The steps after reading a stored webhook: it is applied, ignored, left for later, or parked for review."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from polytill.domain.errors import UnreadableRow
from polytill.domain.event_types import EventType
from polytill.domain.ids import new_id
from polytill.domain.review_cases import CaseKind
from polytill.domain.states import Environment, EventState
from polytill.flows.context import Context, Practice
from polytill.flows.events import is_other_currency, open_currency_case, record_practice_event
from polytill.flows.finding import AddSteps
from polytill.flows.identifiers import attempt_of
from polytill.flows.schedule import CLOCKS_APART_S
from polytill.flows.webhooks.unsigned import short_key
from polytill.providers.contract import DisputeFact, Fact, PaymentFact, RefundFact, WebhookResult
from polytill.storage import cases, webhook_events
from polytill.storage.attempts import Attempt
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Payment
from polytill.storage.reading import report_unreadable
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent

# The ages at which a webhook that had to wait is applied again: a provider may be away for hours. After the last one a
# person must read it. Other events apply it, too, as a decision by staff does; that uses up none of these.
TAKEN_UP_AT_S = (5, 10, 20, 40, 70, 120, 300, 600, 1_200, 2_400, 4_800, 9_600)
MAX_TRIES = len(TAKEN_UP_AT_S)
# Margin of a period, because another clock may differ from ours.
CLOCKS_DIFFER = timedelta(seconds=CLOCKS_APART_S)
# A webhook in one of these states names nothing known here; it stays what it is until that changes.
_ENDED_ELSEWHERE = frozenset({EventState.relaying, EventState.relayed, EventState.dismissed})
# Names of one webhook that are remembered; a webhook of a provider has a few.
MOST_NAMES = 100


def names_in(facts: Sequence[Fact]) -> list[str]:
    """What facts name payments by: the provider's ids, and the reference, which a past payment may have. As they are
    stored and found (``webhook_events.naming``)."""
    told = [
        one
        for fact in facts
        for one in (
            fact.provider_transaction_id,
            getattr(fact, "provider_charge_id", None),
            fact.reference if isinstance(fact, PaymentFact) else fact.payment_reference,
        )
    ]
    return list(dict.fromkeys(short_key(one) for one in told if one))[:MOST_NAMES]


async def finish(
    practice: Practice,
    event: WebhookEvent,
    state: EventState,
    reason: str | None,
    payment_id: str | None = None,
    also: AddSteps | None = None,
) -> None:
    """Write the result of a webhook, with an event if it is parked. ``also`` adds steps to the same unit."""
    unit = Unit()
    if also is not None:
        also(unit)
    if state is EventState.parked:
        mark_parked(practice, event, reason, payment_id)(unit)
    else:
        webhook_events.finish(unit, event, state, reason, payment_id, practice.now())
    await practice.db.commit(unit)


def mark_applied(context: Context, event: WebhookEvent, payment_id: str) -> AddSteps:
    """The step that marks it as applied, for the unit that applies it."""

    def also(unit: Unit) -> None:
        webhook_events.finish(unit, event, EventState.applied, None, payment_id, context.world.now())

    return also


def mark_parked(practice: Practice, event: WebhookEvent, reason: str | None, payment_id: str | None) -> AddSteps:
    """The step that parks it, with an event unless it is parked already."""
    is_news = event.state is not EventState.parked

    def also(unit: Unit) -> None:
        webhook_events.finish(unit, event, EventState.parked, reason, payment_id, practice.now())
        if is_news:
            record_parked(practice, unit, event, reason)

    return also


def record_parked(practice: Practice, unit: Unit, event: WebhookEvent, reason: str | None) -> None:
    """Add the event that reports a parked webhook."""
    told = {"eventId": event.id, "providerCode": event.provider_code, "eventType": event.event_type, "reason": reason}
    record_practice_event(practice, unit, event.environment, EventType.webhook_parked, told)


async def park(practice: Practice, event: WebhookEvent, reason: str | None) -> None:
    """Park a webhook that cannot be applied to anything here. One that is or was relayed, or that staff dismissed, stays
    what it is."""
    if event.state not in _ENDED_ELSEWHERE:
        await finish(practice, event, EventState.parked, reason)


async def ignore(practice: Practice, event: WebhookEvent, reason: str | None) -> None:
    """Record that a webhook changes nothing here. One that is or was relayed, or that staff dismissed, stays what it is:
    the old code may need it."""
    if event.state not in _ENDED_ELSEWHERE:
        await finish(practice, event, EventState.ignored, reason)


async def park_unknown(practice: Practice, event: WebhookEvent, facts: Sequence[Fact]) -> None:
    """Park a webhook whose facts name no known payment. It is applied as soon as one of its names is known."""
    if event.state in _ENDED_ELSEWHERE:
        return
    await finish(
        practice,
        event,
        EventState.parked,
        webhook_events.UNKNOWN_REFERENCE,
        also=lambda unit: webhook_events.name(unit, event, names_in(facts)),
    )


async def wait(practice: Practice, event: WebhookEvent, payment_id: str | None, reason: str) -> None:
    """Leave a webhook to be applied again at its next age; after the last one it is parked."""
    age_s = (practice.now() - event.received_at).total_seconds()
    event.tries = min(event.tries + 1, sum(at_s <= age_s for at_s in TAKEN_UP_AT_S))
    state = EventState.received if event.tries < MAX_TRIES else EventState.parked
    await finish(practice, event, state, reason, payment_id)


async def in_other_currency(
    practice: Practice, event: WebhookEvent, payment: Payment, fact: RefundFact | DisputeFact
) -> bool:
    """Whether a fact is in another currency than its payment. If so, parks the webhook with a case; nothing is booked."""
    if not is_other_currency(payment, fact):
        return False

    def also(unit: Unit) -> None:
        open_currency_case(practice.context, unit, payment, fact, event)

    await finish(practice, event, EventState.parked, "currency_mismatch", payment.id, also)
    return True


async def attempt_of_unsigned(
    db: PracticeDb, config_id: int, environment: Environment, facts: Sequence[Fact]
) -> Attempt | None:
    """The attempt that an unsigned webhook is about. Also None if this version cannot read it: the webhook is stored
    anyway, and applied again until it can be read."""
    try:
        return await attempt_of(db, config_id, environment, facts[0]) if facts else None
    except UnreadableRow as error:
        report_unreadable(error)
        return None


async def may_continue(db: PracticeDb, event: WebhookEvent) -> bool:
    """Whether the current fact is applied, and the next one may be."""
    stored = await webhook_events.by_id(db, event.id)
    return stored is None or (stored.state, stored.reason) == (EventState.received, webhook_events.HAS_MORE)


async def notice(practice: Practice, event: WebhookEvent, result: WebhookResult) -> None:
    """Open a review case for a webhook that changes nothing but that a person must read."""
    unit = Unit()
    now = practice.now()
    detail = {"event": event.id, "type": event.event_type, "reason": result.reason}
    cases.open_case(
        unit,
        new_id(practice.context.world),
        practice.id,
        event.environment,
        cases.NewCase(CaseKind.notice, event.id, None, detail),
        now,
    )
    webhook_events.finish(unit, event, EventState.applied, result.reason, None, now)
    await practice.db.commit(unit)
