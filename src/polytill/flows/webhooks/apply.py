"""What a stored delivery is about, and what becomes of it: applied, ignored, left for later, or parked for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polytill.domain.errors import UnreadableRow
from polytill.domain.ids import new_id
from polytill.domain.states import Environment, EventState
from polytill.flows.context import Desk
from polytill.flows.events import open_currency_case, tell_practice
from polytill.flows.identifiers import attempt_of
from polytill.providers.contract import DisputeFact, Fact, RefundFact, WebhookResult
from polytill.storage import webhook_events
from polytill.storage.databases import PracticeDb
from polytill.storage.payments import Attempt, Payment
from polytill.storage.reading import tell_unreadable
from polytill.storage.units import Unit
from polytill.storage.webhook_events import WebhookEvent

# How old a delivery that had to wait is when it is taken up again, by how often it was tried: a provider may be away for
# hours. After the last time a person has to look at it.
TAKEN_UP_AT_S = (5, 10, 20, 40, 70, 120, 300, 600, 1_200, 2_400, 4_800, 9_600)
MAX_TRIES = len(TAKEN_UP_AT_S)
# Why news of a refund or of a lost dispute wait: the payment's own money is not known of yet.
NOT_CAPTURED = "payment_not_captured"


async def finish(
    desk: Desk,
    db: PracticeDb,
    event: WebhookEvent,
    state: EventState,
    reason: str | None,
    payment_id: str | None = None,
    also: Callable[[Unit], None] | None = None,
) -> None:
    """Write what became of it; the platform hears of one that is parked. ``also`` adds steps to the same unit."""
    unit = Unit()
    if also is not None:
        also(unit)
    webhook_events.finish(unit, event, state, reason, payment_id, desk.world.now())
    if state is EventState.parked and event.state is not EventState.parked:
        told = {
            "eventId": event.id,
            "providerCode": event.provider_code,
            "eventType": event.event_type,
            "reason": reason,
        }
        tell_practice(desk, unit, db.practice_id, event.environment, "webhook.parked", told)
    await db.commit(unit)
    event.state, event.reason = state, reason


def finishing(desk: Desk, event: WebhookEvent, payment_id: str) -> Callable[[Unit], None]:
    """The step that marks it applied, for the unit that applies it."""

    def also(unit: Unit) -> None:
        webhook_events.finish(unit, event, EventState.applied, None, payment_id, desk.world.now())

    return also


async def wait(desk: Desk, db: PracticeDb, event: WebhookEvent, payment_id: str | None, reason: str) -> None:
    """Leave a delivery to be taken up again; after many tries it is parked."""
    state = EventState.received if event.tries + 1 < MAX_TRIES else EventState.parked
    await finish(desk, db, event, state, reason, payment_id)


async def in_other_currency(
    desk: Desk, db: PracticeDb, event: WebhookEvent, payment: Payment, fact: RefundFact | DisputeFact
) -> bool:
    """Whether news is in another currency than its payment. It is parked then, for a person; nothing is booked."""
    if isinstance(fact, RefundFact):
        told, name = fact.amount or fact.total, fact.provider_refund_id or fact.reference or "total"
    else:
        told, name = fact.amount, fact.provider_dispute_id
    if told is None or told.currency == payment.currency:
        return False

    def also(unit: Unit) -> None:
        open_currency_case(desk, unit, payment, name, told, fact.state, event=event.id, type=event.event_type)

    await finish(desk, db, event, EventState.parked, "currency_mismatch", payment.id, also)
    return True


async def attempt_hinted(
    db: PracticeDb, config_id: int, environment: Environment, facts: Sequence[Fact]
) -> Attempt | None:
    """The attempt that a hint is about. None also where this version cannot read it: the hint is stored all the same, and
    taken up until it can."""
    try:
        return await attempt_of(db, config_id, environment, facts[0]) if facts else None
    except UnreadableRow as error:
        tell_unreadable(error)
        return None


async def may_go_on(db: PracticeDb, event: WebhookEvent) -> bool:
    """Whether the fact in hand is applied, and the next one's turn has come."""
    stored = await webhook_events.by_id(db, event.id)
    return stored is None or (stored.state, stored.reason) == (EventState.received, webhook_events.HAS_MORE)


async def notice(desk: Desk, db: PracticeDb, event: WebhookEvent, result: WebhookResult) -> None:
    """A delivery that changes nothing and that a person must read: it opens a review case."""
    unit = Unit()
    now = desk.world.now()
    detail = {"event": event.id, "type": event.event_type, "reason": result.reason}
    webhook_events.open_case(
        unit, new_id(desk.world), db.practice_id, event.environment, "notice", event.id, None, detail, now
    )
    webhook_events.finish(unit, event, EventState.applied, result.reason, None, now)
    await db.commit(unit)
